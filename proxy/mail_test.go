package proxy

import (
	"runtime"
	"testing"

	"zproxy/buf"
	"zproxy/loop"
)

// mailed is what has arrived at a loop, by the field A of each mail.
func mailed(t *testing.T, l *loop.Loop) (got []uint64) {
	t.Helper()
	for {
		if err := l.Poll(0); err != nil {
			t.Fatal(err)
		}
		ev := l.Next()
		if ev == nil {
			return got
		}
		for ; ev != nil; ev = l.Next() {
			if m := l.Mail(ev); m.Kind != 0 {
				got = append(got, m.A)
			}
		}
	}
}

// Letters to one loop keep their order; a mailbox that is full holds up no
// letter to another loop.
func TestFullMailboxHoldsUpNobodyElse(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var peers []*Neighbour
	for i := range 3 {
		pool := buf.NewPool(buf.NewSliceMemory(1<<16, 1<<16), 4096)
		l, err := loop.New(loop.Config{Index: i, CPU: -1, IO: loop.Epoll, Pool: pool})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Destroy()
		peers = append(peers, &Neighbour{Loop: l})
	}
	w := &Worker{peers: peers, unposted: make([]int, len(peers))}
	for peers[1].Loop.Post(loop.Mail{}) {
	}
	letter := func(to int, a uint64) { w.deliver(to, loop.Mail{Kind: mailWake, A: a}) }
	letter(1, 10)
	letter(2, 20)
	letter(1, 11)
	letter(2, 21)
	if got := mailed(t, peers[2].Loop); len(got) != 2 || got[0] != 20 || got[1] != 21 {
		t.Errorf("beside a full mailbox %v arrived, want [20 21]", got)
	}
	for peers[2].Loop.Post(loop.Mail{}) {
	}
	letter(2, 22)
	w.deliverAgain()
	if len(w.letters) != 3 {
		t.Errorf("%d letters wait for full mailboxes, want 3", len(w.letters))
	}
	mailed(t, peers[2].Loop)
	w.deliverAgain()
	if got := mailed(t, peers[2].Loop); len(got) != 1 || got[0] != 22 {
		t.Errorf("behind letters to a full mailbox %v arrived, want [22]", got)
	}
	if got := mailed(t, peers[1].Loop); len(got) != 0 {
		t.Errorf("%v arrived in a full mailbox", got)
	}
	letter(1, 12) // there is room now, but others came before it
	w.deliverAgain()
	if got := mailed(t, peers[1].Loop); len(got) != 3 || got[0] != 10 || got[1] != 11 || got[2] != 12 {
		t.Errorf("%v arrived, want [10 11 12]", got)
	}
	if len(w.letters) != 0 {
		t.Errorf("%d letters are left", len(w.letters))
	}
}
