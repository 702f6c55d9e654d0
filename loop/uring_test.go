//go:build giouring

package loop

import (
	"bytes"
	"net/netip"
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
	needUring(t)
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

// uringTestConn is a connection of l and the other end of it.
func uringTestConn(t *testing.T, l *Loop, owner uint32) (ConnID, int) {
	t.Helper()
	a, b := testPair(t)
	fd, err := unix.Dup(a)
	if err != nil {
		t.Fatal(err)
	}
	return l.Adopt(fd, netip.AddrPort{}, owner), b
}

// More entries in one tick than the submission queue has, and more vectors
// than are kept between two submissions.
func TestUringSubmissionQueueFull(t *testing.T) {
	for _, entries := range []int{ringEntriesMin, ringEntriesMax} {
		testSubmissionQueueFull(t, entries)
	}
}

func testSubmissionQueueFull(t *testing.T, entries int) {
	const conns, views = 400, 10
	if conns < 4*ringEntriesMin || conns*views <= sendIovsMax || conns <= sendMsgsMax {
		t.Fatal("that is not enough to fill anything")
	}
	l, u := openTestUring(t, 8192, entries)
	if int(u.g.params.sqEntries) != entries {
		t.Fatalf("a queue of %d entries, want %d", u.g.params.sqEntries, entries)
	}
	peers := make([]int, conns)
	for i := range peers {
		id, fd := uringTestConn(t, l, uint32(i))
		peers[i] = fd
		l.Recv(id)
		for k := range views { // each in a block of its own
			l.Send(id, uringTestView(t, l.pool, []byte{byte(i), byte(i >> 8), byte(k)}))
		}
		if _, err := unix.Write(fd, []byte{byte(i), byte(i >> 8)}); err != nil {
			t.Fatal(err)
		}
	}
	received, sent := 0, 0
	uringTestDrive(t, l, func() bool { return received == conns && sent == conns }, func(ev *Event) {
		i := ev.Owner
		switch ev.Kind {
		case Received:
			received++
			if got := l.pool.Bytes(ev.View); !bytes.Equal(got, []byte{byte(i), byte(i >> 8)}) {
				t.Errorf("connection %d received % x", i, got)
			}
			l.pool.Release(ev.View)
		case Sent:
			sent++
			if ev.N != 3*views || ev.Errno != 0 {
				t.Errorf("connection %d: sent %d bytes, %v", i, ev.N, ev.Errno)
			}
		default:
			t.Errorf("%v of connection %d", ev.Kind, i)
		}
	})
	for i, fd := range peers {
		var got [64]byte
		n, err := unix.Read(fd, got[:])
		var want []byte
		for k := range views {
			want = append(want, byte(i), byte(i>>8), byte(k))
		}
		if err != nil || !bytes.Equal(got[:n], want) {
			t.Errorf("peer %d got % x, %v", i, got[:n], err)
		}
	}
}

// A ping-pong allocates nothing.
func TestUringAllocs(t *testing.T) {
	l, _ := openTestUring(t, 1024, 0)
	id, b := uringTestConn(t, l, 0)
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
		id, fd := uringTestConn(t, l, 0)
		peers[i] = fd
		l.Recv(id)
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
	for range 8 {
		burst()
	}
	// A loop without traffic has few ticks. Each Trim takes the buffers out, and
	// the tick behind it puts them in again.
	for range 3 {
		l.Trim()
		if err := l.Poll(0); err != nil {
			t.Fatal(err)
		}
	}
	if n := u.posted(); n != recvDepthMin {
		t.Errorf("%d buffers in the ring of a loop that was trimmed three times", n)
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
		id, fd := uringTestConn(t, l, uint32(i))
		l.Recv(id)
		if _, err := unix.Write(fd, bytes.Repeat([]byte{byte(i)}, 2*uringTestBlock)); err != nil {
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
	uringTestDrive(t, l, func() bool { return len(held) == blocks && l.Stats().Parked > 0 }, take)
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

// fillSocket queues more for id than its socket takes, until a send waits for
// room.
func fillSocket(t *testing.T, l *Loop, id ConnID) {
	t.Helper()
	for range 600 {
		l.Send(id, uringTestView(t, l.pool, make([]byte, uringTestBlock)))
	}
	quiet := 0
	for n := 0; quiet < 10; n++ {
		quiet++
		if err := l.Poll(0); err != nil || n > 10000 {
			t.Fatalf("Poll: %v; a socket takes anything", err)
		}
		for l.Next() != nil {
			quiet = 0
		}
	}
	if l.Queued(id) == 0 || l.Stats().ShortSends == 0 {
		t.Fatalf("%d bytes queued, %d short sends", l.Queued(id), l.Stats().ShortSends)
	}
}

// A send that waits for room does not keep a connection from being closed.
func TestUringCloseEndsSend(t *testing.T) {
	l, u := openTestUring(t, 1024, 0)
	id, _ := uringTestConn(t, l, 0)
	fillSocket(t, l, id)
	if u.inflight != 2 {
		t.Fatalf("%d operations in flight, want a send and the wake-up", u.inflight)
	}
	l.Close(id)
	closed := false
	uringTestDrive(t, l, func() bool { return closed }, func(ev *Event) { closed = ev.Kind == Closed })
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
	id, _ := uringTestConn(t, l, 0)
	l.Recv(id)
	fillSocket(t, l, id)
	if u.inflight != 4 {
		t.Fatalf("%d operations in flight: want a wake-up, an accept, a receive and a send", u.inflight)
	}
}

// What completes while the loop ends is thrown away, not lost.
func TestUringDiscard(t *testing.T) {
	l, u := openTestUring(t, 1024, 0)
	if err := l.Poll(0); err != nil { // fills the ring of buffers
		t.Fatal(err)
	}
	blocks, ops := l.pool.InUse(), u.inflight
	u.discard(packUserData(urRecv, 1, 1), 7, cqeBuffer|cqeMore|3<<cqeBufferShift)
	if n := l.pool.InUse(); n != blocks-1 {
		t.Errorf("%d blocks in use after a receive, %d before", n, blocks)
	}
	a, _ := testPair(t)
	fd, err := unix.Dup(a)
	if err != nil {
		t.Fatal(err)
	}
	u.discard(packUserData(urAccept, 0, 0), int32(fd), cqeMore)
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
		t.Errorf("an accepted connection is still open: %v", err)
	}
	if u.inflight != ops {
		t.Errorf("%d operations in flight, want %d", u.inflight, ops)
	}
}

// Accepting is asked for again before its cancellation is complete.
func TestUringAcceptOffOn(t *testing.T) {
	needUring(t)
	r := newRig(t, Uring)
	_, addr := r.listen(SockOpts{}, 0)
	if err := r.l.Poll(0); err != nil {
		t.Fatal(err)
	}
	ln := r.l.listeners[0]
	r.l.be.acceptOff(ln)
	r.l.be.acceptOn(ln)
	for range 3 {
		if err := r.l.Poll(time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	r.client(addr)
	r.expect(Accepted, 0)
}

// A connection of short messages that is paused is not cancelled at once, but
// with the first message that comes nevertheless.
func TestUringLazyPause(t *testing.T) {
	l, u := openTestUring(t, 1024, 0)
	id, peer := uringTestConn(t, l, 0)
	var got []byte
	poll := func() {
		t.Helper()
		for range 5 {
			if err := l.Poll(time.Millisecond); err != nil {
				t.Fatal(err)
			}
			for ev := l.Next(); ev != nil; ev = l.Next() {
				if ev.Kind == Received {
					got = append(got, l.pool.Bytes(ev.View)...)
					l.pool.Release(ev.View)
				}
			}
		}
	}
	l.Recv(id)
	poll()
	receiving := u.inflight
	for range 3 {
		l.Pause(id)
		poll()
		l.Recv(id)
		poll()
	}
	if calls := l.Stats().RecvCalls; u.inflight != receiving || calls != 1 {
		t.Errorf("%d operations in flight, %d before; %d receives submitted", u.inflight, receiving, calls)
	}
	l.Pause(id)
	poll()
	for _, s := range []string{"1", "2", "3"} {
		unix.Write(peer, []byte(s))
		poll()
	}
	if string(got) != "1" {
		t.Errorf("paused, and received %q", got)
	}
	l.Recv(id)
	poll()
	if string(got) != "123" {
		t.Errorf("resumed, and received %q", got)
	}
	if l.box.asleep.Load() != 0 {
		t.Error("awake, and everybody who posts writes the eventfd")
	}
}

// What the kernel's limit on a multishot receive is for, without that limit.
func TestUringWithoutRecvLimit(t *testing.T) {
	needUring(t)
	for _, ct := range contractTests {
		switch ct.name {
		case "fairness", "pause and resume", "pause and resume within a tick",
			"a received block can be sent", "bytes and their end together":
			t.Run(ct.name, func(t *testing.T) {
				r := newRig(t, Uring)
				r.l.be.(*uring).recvLimit = 0
				ct.run(r)
			})
		}
	}
}
