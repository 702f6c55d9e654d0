package loop

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"

	"zproxy/buf"
)

// stubBackend has a clock that tests set, and no sockets.
type stubBackend struct {
	piping // none
	clock  int64
	waited int64
}

func (s *stubBackend) now() int64                  { return s.clock }
func (s *stubBackend) wall() int64                 { return s.clock / 1e6 }
func (s *stubBackend) acceptOn(*listener)          {}
func (s *stubBackend) acceptOff(*listener)         {}
func (s *stubBackend) acceptStop(*listener)        {}
func (s *stubBackend) refuse(int32)                {}
func (s *stubBackend) unread(*conn) int            { return 0 }
func (s *stubBackend) broken(*conn) bool           { return false }
func (s *stubBackend) local(*conn) netip.AddrPort  { return netip.AddrPort{} }
func (s *stubBackend) dial(ConnID, *conn, *Remote) {}
func (s *stubBackend) adopt(ConnID, *conn)         {}
func (s *stubBackend) recvOn(ConnID, *conn)        {}
func (s *stubBackend) recvOff(ConnID, *conn)       {}
func (s *stubBackend) flush(ConnID, *conn)         {}
func (s *stubBackend) shutdown(ConnID, *conn)      {}
func (s *stubBackend) cancel(ConnID, *conn)        {}
func (s *stubBackend) close(ConnID, *conn)         {}
func (s *stubBackend) detach(ConnID, *conn) bool   { return true }
func (s *stubBackend) wait(waitNs int64) error     { s.waited = waitNs; return nil }
func (s *stubBackend) unix(int32) bool             { return false }
func (s *stubBackend) unacked(*conn) int           { return 0 }
func (s *stubBackend) lowat(*conn, int)            {}
func (s *stubBackend) destroy() error              { return nil }

func stubLoop(t testing.TB, clock int64) (*Loop, *stubBackend) {
	s := &stubBackend{clock: clock}
	pool := buf.NewPool(buf.NewSliceMemory(testBlock, testBlock), testBlock)
	l, err := newLoop(Config{Pool: pool}, hostedIO, -1, func(*Loop) (backend, error) { return s, nil })
	if err != nil {
		t.Fatal(err)
	}
	return l, s
}

// TestTimersAgainstModel sets, moves and clears deadlines near and far, lets
// time pass in small steps and in jumps, and compares with a map.
func TestTimersAgainstModel(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		l, s := stubLoop(t, int64(clockStart)+rng.Int64N(1e15))
		var ids []ConnID
		for range 200 {
			ids = append(ids, l.NewTimer(0))
		}
		model := map[ConnID]int64{}
		span := func() int64 { return rng.Int64N(int64(1) << (10 + rng.IntN(45))) }
		for range 3000 {
			for range rng.IntN(8) {
				id := ids[rng.IntN(len(ids))]
				at := int64(0)
				if rng.IntN(5) > 0 {
					at = s.clock + span() - 1e6
					model[id] = at
				} else {
					delete(model, id)
				}
				l.Deadline(id, at)
			}
			if rng.IntN(30) == 0 { // a slot goes and another comes
				i := rng.IntN(len(ids))
				delete(model, ids[i])
				l.Close(ids[i])
				ids[i] = l.NewTimer(0)
			}
			step := span()
			if rng.IntN(2) == 0 && s.waited > 0 {
				step = s.waited // as a backend would
			}
			s.clock += step
			if err := l.Poll(-1); err != nil {
				t.Fatal(err)
			}
			for ev := l.Next(); ev != nil; ev = l.Next() {
				if ev.Kind == Closed {
					continue
				}
				at, ok := model[ev.Conn]
				if !ok || at > l.Now() {
					t.Fatalf("seed %d: a timer fired %d ns early (known: %v)", seed, at-l.Now(), ok)
				}
				delete(model, ev.Conn)
			}
			first := int64(math.MaxInt64)
			for id, at := range model {
				if at <= l.Now()-tickNs {
					t.Fatalf("seed %d: timer %x is %d ns late", seed, id, l.Now()-at)
				}
				first = min(first, at)
			}
			// The wait that follows ends before the first is more than a tick late.
			if w := l.waitNs(-1); len(model) > 0 && (w < 0 || l.Now()+w > first+tickNs) {
				t.Fatalf("seed %d: waits %d ns, the first deadline is in %d", seed, w, first-l.Now())
			}
		}
	}
}

func TestDeadlineExtremes(t *testing.T) {
	l, s := stubLoop(t, clockStart)
	far, past := l.NewTimer(0), l.NewTimer(0)
	l.Deadline(far, math.MaxInt64)
	l.Deadline(past, math.MinInt64)
	s.clock += 1e9
	if err := l.Poll(-1); err != nil {
		t.Fatal(err)
	}
	if ev := l.Next(); ev == nil || ev.Conn != past {
		t.Fatalf("%v, want the deadline in the past", ev)
	}
	if ev := l.Next(); ev != nil {
		t.Fatalf("%v, want nothing", ev)
	}
}

// TestLazyDeadline: moving a deadline away does not touch the wheel.
func TestLazyDeadline(t *testing.T) {
	l, s := stubLoop(t, clockStart)
	id := l.NewTimer(0)
	l.Deadline(id, s.clock+10e9)
	place := l.conns.at(id.slot()).timerBucket
	for i := range int64(100) {
		l.Deadline(id, s.clock+10e9+i*1e9)
		if l.conns.at(id.slot()).timerBucket != place {
			t.Fatal("the timer moved")
		}
	}
	if n := testing.AllocsPerRun(100, func() { l.Deadline(id, l.Now()+5e9); l.Deadline(id, l.Now()+9e9) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkDeadline(b *testing.B) {
	l, s := stubLoop(b, clockStart)
	id := l.NewTimer(0)
	for i := range b.N {
		l.Deadline(id, s.clock+75e9+int64(i))
	}
}
