//go:build giouring

package loop

import (
	"bytes"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/buf"
)

const uringTestBlock = 1024

// openTestUring makes a loop on this thread, and destroys it with the test:
// then every block must be back.
func openTestUring(t *testing.T, blocks, entries int) (*Loop, *uring) {
	t.Helper()
	if f := Probe(); !f.Usable {
		t.Skipf("%s", f.Reason)
	}
	runtime.LockOSThread()
	pool := buf.NewPool(buf.NewSliceMemory(blocks*uringTestBlock, min(blocks, 64)*uringTestBlock), uringTestBlock)
	l, err := New(Config{IO: Uring, Pool: pool, Entries: entries, CPU: -1})
	if err != nil {
		runtime.UnlockOSThread()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Destroy(); err != nil {
			t.Error(err)
		}
		if n := pool.InUse(); n != 0 {
			t.Errorf("%d blocks in use after Destroy", n)
		}
		runtime.UnlockOSThread()
	})
	return l, l.be.(*uring)
}

// drive polls until done says so, or 5 s have passed.
func uringTestDrive(t *testing.T, l *Loop, done func() bool, each func(*Event)) {
	t.Helper()
	for until := time.Now().Add(5 * time.Second); !done(); {
		if time.Now().After(until) {
			t.Fatal("nothing happens any more")
		}
		if err := l.Poll(10 * time.Millisecond); err != nil {
			t.Fatal(err)
		}
		for ev := l.Next(); ev != nil; ev = l.Next() {
			each(ev)
		}
	}
}

func uringTestView(t *testing.T, p *buf.Pool, b []byte) buf.View {
	t.Helper()
	v, ok := p.Get()
	if !ok {
		t.Fatal("no block")
	}
	copy(p.Bytes(v), b)
	v.Len = uint32(len(b))
	return v
}

// More entries in one tick than the submission queue has, and more vectors
// than are kept between two submissions.
func TestUringSubmissionQueueFull(t *testing.T) {
	const conns = 400
	l, u := openTestUring(t, 8192, ringEntriesMin)
	if u.g.params.sqEntries*2 > conns {
		t.Fatalf("a queue of %d entries", u.g.params.sqEntries)
	}
	peers := make([]int, conns)
	index := map[ConnID]int{}
	for i := range peers {
		a, b := testPair(t)
		fd, err := unix.Dup(a)
		if err != nil {
			t.Fatal(err)
		}
		unix.SetNonblock(fd, true)
		peers[i] = b
		id := l.Adopt(fd, uint32(i))
		index[id] = i
		l.Recv(id)
		for k := range 3 { // a vector
			l.Send(id, uringTestView(t, l.pool, []byte{byte(i), byte(i >> 8), byte(k)}))
		}
		if _, err := unix.Write(b, []byte{byte(i), byte(i >> 8)}); err != nil {
			t.Fatal(err)
		}
	}
	received, sent := 0, 0
	uringTestDrive(t, l, func() bool { return received == conns && sent == conns }, func(ev *Event) {
		i := index[ev.Conn]
		switch ev.Kind {
		case Received:
			received++
			if got := l.pool.Bytes(ev.View); !bytes.Equal(got, []byte{byte(i), byte(i >> 8)}) {
				t.Errorf("connection %d received % x", i, got)
			}
			l.pool.Release(ev.View)
		case Sent:
			sent++
			if ev.N != 9 || ev.Errno != 0 {
				t.Errorf("connection %d: sent %d bytes, %v", i, ev.N, ev.Errno)
			}
		default:
			t.Errorf("%v of connection %d", ev.Kind, i)
		}
	})
	for i, fd := range peers {
		var got [16]byte
		n, err := unix.Read(fd, got[:])
		want := []byte{byte(i), byte(i >> 8), 0, byte(i), byte(i >> 8), 1, byte(i), byte(i >> 8), 2}
		if err != nil || !bytes.Equal(got[:n], want) {
			t.Errorf("peer %d got % x, %v", i, got[:n], err)
		}
	}
}

// A ping-pong allocates nothing.
func TestUringAllocs(t *testing.T) {
	l, _ := openTestUring(t, 1024, 0)
	a, b := testPair(t)
	fd, err := unix.Dup(a)
	if err != nil {
		t.Fatal(err)
	}
	id := l.Adopt(fd, 0)
	l.Recv(id)
	ping := []byte("ping")
	got := make([]byte, 16)
	round := func() {
		unix.Write(b, ping)
		for received, sent := false, false; !received || !sent; {
			if err := l.Poll(time.Second); err != nil {
				t.Fatal(err)
			}
			for ev := l.Next(); ev != nil; ev = l.Next() {
				switch ev.Kind {
				case Received:
					received = true
					second, _ := l.pool.Get()
					l.Send(id, ev.View)
					l.Send(id, second.Slice(0, 1)) // a vector
				case Sent:
					sent = true
				}
			}
		}
		unix.Read(b, got)
	}
	for range 2 * recvDepthMin {
		round()
	}
	if n := testing.AllocsPerRun(200, round); n != 0 {
		t.Errorf("%v allocations per round", n)
	}
}

// The ring of buffers follows a burst, up and down again.
func TestUringDepth(t *testing.T) {
	const conns = 100
	l, u := openTestUring(t, 4096, 0)
	peers := make([]int, conns)
	for i := range peers {
		a, b := testPair(t)
		fd, err := unix.Dup(a)
		if err != nil {
			t.Fatal(err)
		}
		peers[i] = b
		l.Recv(l.Adopt(fd, 0))
	}
	burst := func() {
		for _, fd := range peers {
			if _, err := unix.Write(fd, []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		received := 0
		uringTestDrive(t, l, func() bool { return received == conns }, func(ev *Event) {
			if ev.Kind != Received {
				t.Fatalf("%v", ev.Kind)
			}
			received++
			l.pool.Release(ev.View)
		})
	}
	if u.bufs.depth != recvDepthMin {
		t.Fatalf("depth %d to begin with", u.bufs.depth)
	}
	for range 8 {
		burst()
	}
	before := l.Stats().Enobufs
	burst()
	if n := l.Stats().Enobufs - before; n != 0 {
		t.Errorf("%d receives without a buffer in the ninth burst of the same size", n)
	}
	if l.Stats().Parked != 0 {
		t.Errorf("%d connections parked with %d blocks free", l.Stats().Parked, l.pool.Free())
	}
	for range 8 * recvCalmTicks {
		if err := l.Poll(0); err != nil {
			t.Fatal(err)
		}
	}
	if u.bufs.depth != recvDepthMin {
		t.Errorf("depth %d after calm", u.bufs.depth)
	}
}

// A pool of a few blocks is not all in the ring, and those who wait for blocks
// go on when there are some.
func TestUringPoolExhausted(t *testing.T) {
	const conns, blocks = 8, 4
	l, u := openTestUring(t, blocks, 0)
	if u.bufs.limit != 1 {
		t.Fatalf("%d of %d blocks may be in the ring", u.bufs.limit, blocks)
	}
	for i := range conns {
		a, b := testPair(t)
		fd, err := unix.Dup(a)
		if err != nil {
			t.Fatal(err)
		}
		l.Recv(l.Adopt(fd, uint32(i)))
		if _, err := unix.Write(b, bytes.Repeat([]byte{byte(i)}, 2*uringTestBlock)); err != nil {
			t.Fatal(err)
		}
	}
	var held []buf.View
	var got [conns]int
	take := func(ev *Event) {
		if ev.Kind == Received {
			got[ev.Owner] += int(ev.N)
			held = append(held, ev.View)
		}
	}
	uringTestDrive(t, l, func() bool { return len(held) == blocks }, take)
	if l.Stats().Parked == 0 {
		t.Fatal("nobody is parked though all blocks are taken")
	}
	release := func() {
		for _, v := range held {
			l.pool.Release(v)
		}
		held = held[:0]
	}
	release()
	want := [conns]int{}
	for i := range want {
		want[i] = 2 * uringTestBlock
	}
	uringTestDrive(t, l, func() bool { return got == want }, func(ev *Event) {
		take(ev)
		release()
	})
}

// Destroy takes back what is in flight: multishot operations, a send that
// finds no room, and the blocks the kernel holds (see openTestUring).
func TestUringDestroyInFlight(t *testing.T) {
	l, u := openTestUring(t, 1024, 0)
	fds, err := OpenListeners("127.0.0.1:0", 1, nil, SockOpts{})
	if err != nil {
		t.Fatal(err)
	}
	l.Accept(fds[0], 0)
	a, _ := testPair(t)
	fd, err := unix.Dup(a)
	if err != nil {
		t.Fatal(err)
	}
	id := l.Adopt(fd, 0)
	l.Recv(id)
	for range 600 {
		l.Send(id, uringTestView(t, l.pool, make([]byte, uringTestBlock)))
	}
	for range 20 {
		if err := l.Poll(0); err != nil {
			t.Fatal(err)
		}
		for l.Next() != nil {
		}
	}
	if l.Queued(id) == 0 || u.inflight != 4 {
		t.Fatalf("%d bytes queued, %d operations in flight: want a wake-up, an accept, a receive and a send", l.Queued(id), u.inflight)
	}
}

// What the kernel's limit on a multishot receive is for, without that limit.
func TestUringWithoutRecvLimit(t *testing.T) {
	if f := Probe(); !f.Usable {
		t.Skipf("%s", f.Reason)
	}
	for _, ct := range contractTests {
		switch ct.name {
		case "fairness", "pause and resume", "pause and resume within a tick",
			"a received block can be sent", "the pool runs out", "bytes and their end together":
			t.Run(ct.name, func(t *testing.T) {
				r := newRig(t, Uring)
				r.l.be.(*uring).recvLimit = 0
				ct.run(r)
			})
		}
	}
}
