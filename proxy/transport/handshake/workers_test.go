package handshake

import (
	stdtls "crypto/tls"
	"testing"
	"time"

	"zproxy/internal/tlstest"
)

// Those who have begun go first, each in turn.
func TestQueue(t *testing.T) {
	w := NewWorkers(1)
	release := w.hold(1)
	fresh, begun := []*Job{{dead: true}, {dead: true}}, []*Job{{dead: true}, {dead: true}}
	for i := range 2 {
		w.push(fresh[i], false)
		w.push(begun[i], true)
	}
	for i, want := range []*Job{begun[0], begun[1], fresh[0], fresh[1], nil} {
		if j := w.pop(false); j != want {
			t.Errorf("the Job at place %d is another", i)
		}
	}
	release()
	if n := w.computing(); n != 0 {
		t.Errorf("%d compute", n)
	}
}

// A seat serves one Job after another, whatever became of the one before, and is given
// back when there are no more.
func TestSeats(t *testing.T) {
	w := NewWorkers(1)
	w.tended = true // by the test
	server := ServerConfig(store(t, &stdtls.Config{Certificates: []stdtls.Certificate{tlstest.Certificate(t, "ecdsa")}}))
	var first *seat
	for round := range 4 {
		if a, b := tlstest.Pipe(t); round == 1 {
			j := w.Start(server, true, func() bool { return true })
			j.Feed([]byte{22, 3, 1})
			j.End()
			until(t, "an end", func() bool { _, r, over := j.Take(nil); return over && r.Err != nil })
		} else {
			peer := stdtls.Client(a, &stdtls.Config{InsecureSkipVerify: true})
			failed := make(chan error, 1)
			go func() { failed <- peer.Handshake() }()
			r := drive(t, w, server, true, b, 4096)
			if err := <-failed; err != nil || r.Err != nil {
				t.Fatal(err, r.Err)
			}
		}
		until(t, "free", func() bool { return len(w.unused()) == 1 && w.computing() == 0 })
		if first == nil {
			first = w.unused()[0]
		}
		if w.unused()[0] != first || first.job != nil {
			t.Fatalf("round %d: another seat, or one that is not free", round)
		}
	}
	if w.tend(); len(w.unused()) != 0 || w.tended {
		t.Error("the seat is kept")
	}
	if _, more := first.next(); more {
		t.Error("the seat goes on")
	}
}

func until(t *testing.T, what string, met func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !met(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never %s", what)
		}
	}
}

func (w *Workers) unused() []*seat {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.free
}
