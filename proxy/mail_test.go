package proxy

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/buf"
	"zproxy/config"
	"zproxy/loop"
	"zproxy/metrics"
	"zproxy/proxy/snapshot"
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

// Mail to one loop keeps its order; a mailbox that is full holds up no
// mail to another loop.
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
	w := &Worker{peers: peers}
	w.join(gear{})
	w.handoff.unposted = make([]int, len(peers))
	for peers[1].Loop.Post(loop.Mail{}) {
	}
	deliver := func(to int, a uint64) { w.handoff.deliver(to, loop.Mail{Kind: mailLook, A: a}) }
	deliver(1, 10)
	deliver(2, 20)
	deliver(1, 11)
	deliver(2, 21)
	if got := mailed(t, peers[2].Loop); len(got) != 2 || got[0] != 20 || got[1] != 21 {
		t.Errorf("beside a full mailbox %v arrived, want [20 21]", got)
	}
	for peers[2].Loop.Post(loop.Mail{}) {
	}
	deliver(2, 22)
	w.handoff.deliverAgain()
	if len(w.handoff.pending) != 3 {
		t.Errorf("%d mails wait for full mailboxes, want 3", len(w.handoff.pending))
	}
	mailed(t, peers[2].Loop)
	w.handoff.deliverAgain()
	if got := mailed(t, peers[2].Loop); len(got) != 1 || got[0] != 22 {
		t.Errorf("behind mail to a full mailbox %v arrived, want [22]", got)
	}
	if got := mailed(t, peers[1].Loop); len(got) != 0 {
		t.Errorf("%v arrived in a full mailbox", got)
	}
	deliver(1, 12) // there is room now, but others came before it
	w.handoff.deliverAgain()
	if got := mailed(t, peers[1].Loop); len(got) != 3 || got[0] != 10 || got[1] != 11 || got[2] != 12 {
		t.Errorf("%v arrived, want [10 11 12]", got)
	}
	if len(w.handoff.pending) != 0 {
		t.Errorf("%d mails are left", len(w.handoff.pending))
	}
}

// Many clients come to one loop before its neighbour wakes up: it passes on as
// many as make both even, not all that are too many at that moment.
func TestCrowdIsShared(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cfg, err := config.Parse("test.yaml", []byte("listeners: [{address: \"127.0.0.1:1\"}]\nroutes: [{path: \"/*\", respond: {status: 200}}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	snap, err := snapshot.NewRegistry(2, nil).Compile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	fds, err := loop.OpenListeners("127.0.0.1:0", 1, nil, loop.SockOpts{})
	if err != nil {
		t.Fatal(err)
	}
	var workers []*Worker
	peers := make([]*Neighbour, 2)
	for i := range peers {
		pool := buf.NewPool(buf.NewSliceMemory(1<<20, 1<<20), 4096)
		l, err := loop.New(loop.Config{Index: i, CPU: -1, IO: loop.Epoll, Pool: pool})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Destroy()
		peers[i] = &Neighbour{Loop: l}
		workers = append(workers, NewWorker(Config{Loop: l, Pool: pool, Snapshot: snap, Metrics: new(metrics.Loop), MaxBlocks: 256}, peers))
		workers[i].begin()
	}
	workers[0].Listen(fds[0], 0)
	sa, err := unix.Getsockname(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	const crowd = 200
	for range crowd {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := unix.Connect(fd, sa); err != nil {
			t.Fatal(err)
		}
	}
	turns := func(w *Worker, done func() bool) {
		for end := time.Now().Add(patience); !done(); {
			if err := w.turn(time.Millisecond); err != nil {
				t.Fatal(err)
			}
			if time.Now().After(end) {
				t.Fatal("not done after 5 s")
			}
		}
	}
	own, gone := &workers[0].m.ClientConns, &workers[0].m.HandedOver
	turns(workers[0], func() bool { return *own+*gone == crowd })
	if *gone < 80 || *gone > 100 || peers[1].coming.Load() != int64(*gone) {
		t.Errorf("of %d clients %d were passed on, want 80 to 100; %d are on their way", crowd, *gone, peers[1].coming.Load())
	}
	turns(workers[1], func() bool { return workers[1].m.ClientConns == *gone })
	if n := peers[1].coming.Load(); n != 0 || peers[1].Conns.Load() != int64(*gone) {
		t.Errorf("%d clients are still on their way to a loop that has %d, want 0 and %d", n, peers[1].Conns.Load(), *gone)
	}
}
