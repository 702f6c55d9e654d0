package loop

import (
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/buf"
)

var _ = contract(
	contractTest{"close drops what was collected", testCloseDrops},
	contractTest{"close drops the queue", testCloseQueue},
	contractTest{"close before anything", testCloseAtOnce},
	contractTest{"stale handles", testStale},
	contractTest{"slots are reused under new names", testGenerations},
	contractTest{"closing at random moments", testRandomClose},
	contractTest{"export and adopt", testExport},
	contractTest{"export of a busy stream loses nothing", testExportBusy},
	contractTest{"export after bytes", testExportSpoiled},
	contractTest{"export of what was adopted at once", testExportAtOnce},
	contractTest{"adopt what has bytes waiting", testAdoptWaiting},
	contractTest{"destroy with everything open", testDestroy},
)

func testCloseDrops(r *rig) {
	id, c := r.tcpPair(SockOpts{})
	r.l.Recv(id)
	r.write(c, pattern(1, 20_000))
	c.CloseWrite()
	deadline := time.Now().Add(testTimeout)
	for r.l.head == len(r.l.events) && time.Now().Before(deadline) {
		if err := r.l.Poll(time.Millisecond); err != nil {
			r.Fatal(err)
		}
	}
	r.l.Deadline(id, 1)
	r.l.Close(id)
	r.expect(Closed, id)
	r.quiet(20 * time.Millisecond)
}

func testCloseQueue(r *rig) {
	id, c := r.tcpPair(SockOpts{SndBuf: 4096})
	v, _ := r.pool.Get()
	for range 2000 { // 8 MB, which fits nowhere
		r.pool.Retain(v)
		r.l.Send(id, v)
	}
	r.pool.Release(v)
	for range 3 {
		if err := r.l.Poll(time.Millisecond); err != nil {
			r.Fatal(err)
		}
	}
	r.l.Close(id)
	r.send(id, "not any more")
	r.equal("Queued", r.l.Queued(id), 0)
	r.expect(Closed, id)
	r.quiet(10 * time.Millisecond)
	r.equal("references", r.pool.Refs(v), 0)
	io.Copy(io.Discard, c)
}

func testCloseAtOnce(r *rig) {
	a, _ := r.unixPair()
	r.l.Recv(a)
	r.l.Close(a)
	r.l.Close(a)
	r.l.Abort(a)
	r.expect(Closed, a)
	t := r.l.NewTimer(0)
	r.l.Deadline(t, 1)
	r.l.Close(t)
	r.expect(Closed, t)
	r.quiet(10 * time.Millisecond)
	r.equal("timers", r.l.Stats().Timers, 0)
}

func testStale(r *rig) {
	old, _ := r.tcpPair(SockOpts{})
	r.closed(old)
	id, c := r.tcpPair(SockOpts{})
	r.equal("slot", id.slot(), old.slot())
	for _, bad := range []ConnID{old, 0, makeID(9999, 1), makeID(id.slot(), id.gen()+1), makeID(0, 1)} {
		v, _ := r.pool.Get()
		r.l.Send(bad, v)
		r.equal("references", r.pool.Refs(v), 0)
		r.l.Recv(bad)
		r.l.Pause(bad)
		r.l.Shutdown(bad)
		r.l.Deadline(bad, 1)
		r.l.SetOwner(bad, 99)
		r.l.Close(bad)
		r.l.Abort(bad)
		r.l.Export(bad)
		r.equal("Queued", r.l.Queued(bad), 0)
	}
	r.quiet(20 * time.Millisecond)
	r.l.Recv(id)
	r.write(c, "alive")
	ev := r.expect(Received, id)
	r.equal("bytes", r.take(&ev), "alive")
	r.equal("owner", ev.Owner, 7)
}

func testGenerations(r *rig) {
	seen := map[ConnID]bool{}
	for range 300 {
		id, _ := r.unixPair()
		if seen[id] || id == 0 {
			r.Fatalf("ID %x was there before", id)
		}
		seen[id] = true
		r.closed(id)
	}
	// A generation wraps: the slot goes on.
	r.l.conns.at(1).gen = ^uint32(0)
	a, _ := r.unixPair()
	r.closed(a)
	b, c := r.unixPair()
	if a == b || b.slot() != a.slot() {
		r.Fatalf("IDs %x and %x", a, b)
	}
	r.l.Recv(b)
	r.write(c, "x")
	r.recvAll(b, 1)
}

// testRandomClose opens and ends connections in every way at any time, in the
// middle of traffic; every one must end in exactly one Closed, and an event
// must never carry another's bytes.
func testRandomClose(r *rig) {
	rng := rand.New(rand.NewPCG(1, 2))
	_, addr := r.listen(SockOpts{SndBuf: 8192}, 1)
	type state struct{ ended bool }
	open := map[ConnID]*state{}
	clients := 0
	end := time.Now().Add(700 * time.Millisecond)
	for running := true; running || len(open) > 0; {
		running = time.Now().Before(end)
		if running && len(open) < 30 {
			clients++
			go noisyClient(r, addr, clients)
		}
		if err := r.l.Poll(time.Millisecond); err != nil {
			r.Fatal(err)
		}
		for ev := r.l.Next(); ev != nil; ev = r.l.Next() {
			s := open[ev.Conn]
			if (s == nil) != (ev.Kind == Accepted) {
				r.Fatalf("%v of a connection that is not there", ev.Kind)
			}
			if s != nil && s.ended && ev.Kind != Closed {
				r.Fatalf("%v after Close", ev.Kind)
			}
			switch ev.Kind {
			case Accepted:
				open[ev.Conn] = &state{}
				r.l.Recv(ev.Conn)
				r.l.Deadline(ev.Conn, r.l.Now()+rng.Int64N(int64(20*time.Millisecond)))
			case Received:
				b := r.pool.Bytes(ev.View)
				for i := range b {
					if b[i] != b[0] {
						r.Fatal("bytes of two clients in one connection")
					}
				}
				r.l.Send(ev.Conn, ev.View)
			case Closed:
				if ev.FD >= 0 {
					unix.Close(int(ev.FD))
				}
				delete(open, ev.Conn)
				continue
			}
			if n := rng.IntN(12); n < 4 && ev.Kind != Accepted || ev.Kind == RecvEnd || ev.Kind == Timer || !running {
				open[ev.Conn].ended = true
				[]func(ConnID){r.l.Close, r.l.Close, r.l.Abort, r.l.Export}[n%4](ev.Conn)
			}
		}
	}
	r.equal("Conns", r.l.Conns(), 0)
}

func noisyClient(r *rig, addr string, seed int) {
	c, err := r.dial(addr)
	if err != nil {
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(testTimeout))
	b := make([]byte, 30_000)
	for i := range b {
		b[i] = byte(seed)
	}
	go io.Copy(io.Discard, c)
	for range 1 + seed%5 {
		if _, err := c.Write(b[:1+seed*977%len(b)]); err != nil {
			return
		}
		time.Sleep(time.Duration(seed%3) * time.Millisecond)
	}
	if seed%4 == 0 {
		c.(tcpConn).SetLinger(0)
	}
}

func testExport(r *rig) {
	id, c := r.tcpPair(SockOpts{})
	second := r.again(Config{}, 64)
	r.l.Recv(id)
	for i := range 50 {
		want := pattern(i, 3000)
		r.write(c, want)
		r.same(r.recvAll(id, len(want)), want)
		r.send(id, want)
		r.same(r.readFull(c, len(want)), want)
		r.l.Export(id)
		ev := r.expect(Closed, id)
		if ev.FD < 0 {
			r.Fatal("an idle connection was not exported")
		}
		r.equal("Conns", r.l.Conns(), 0)
		r, second = second, r
		id = r.l.Adopt(int(ev.FD), netip.AddrPort{}, 3)
		r.l.Recv(id)
	}
}

func testExportBusy(r *rig) {
	id, c := r.tcpPair(SockOpts{})
	want := pattern(4, 3_000_000)
	go io.WriteString(c, want)
	r.l.Recv(id)
	got := ""
	for exports := 0; len(got) < len(want); {
		ev := r.expect(Received, id)
		got += r.take(&ev)
		if exports == 20 || len(got) > len(want)/2 {
			continue
		}
		// Stop receiving, take what is on its way, move on.
		exports++
		r.l.Pause(id)
		for range 20 {
			if ev := r.next(time.Millisecond); ev != nil {
				got += r.take(ev)
			}
		}
		r.l.Export(id)
		closed := r.expect(Closed, id)
		if closed.FD < 0 {
			r.Skip("this backend had received more: the connection was closed, which Export allows")
		}
		id = r.l.Adopt(int(closed.FD), netip.AddrPort{}, 0)
		r.l.Recv(id)
	}
	r.same(got, want)
}

func testExportSpoiled(r *rig) {
	// Bytes that were collected and not pulled.
	id, c := r.tcpPair(SockOpts{})
	r.l.Recv(id)
	r.write(c, "collected")
	deadline := time.Now().Add(testTimeout)
	for r.l.head == len(r.l.events) && time.Now().Before(deadline) {
		if err := r.l.Poll(time.Millisecond); err != nil {
			r.Fatal(err)
		}
	}
	r.l.Export(id)
	r.equal("FD", r.expect(Closed, id).FD, -1)

	// Bytes that were not sent.
	id, _ = r.tcpPair(SockOpts{})
	r.send(id, "unsent")
	r.l.Export(id)
	r.equal("FD", r.expect(Closed, id).FD, -1)

	// The end of the peer.
	id, c = r.tcpPair(SockOpts{})
	r.l.Recv(id)
	c.CloseWrite()
	r.expect(RecvEnd, id)
	r.l.Export(id)
	r.equal("FD", r.expect(Closed, id).FD, -1)

	// A timer has no descriptor, and so has a dial that failed.
	id = r.l.NewTimer(0)
	r.l.Export(id)
	r.equal("FD", r.expect(Closed, id).FD, -1)
}

func testExportAtOnce(r *rig) {
	id, c := r.unixPair()
	r.l.Export(id)
	ev := r.expect(Closed, id)
	if ev.FD < 0 {
		r.Fatal("not exported")
	}
	id = r.l.Adopt(int(ev.FD), netip.AddrPort{}, 0)
	r.l.Recv(id)
	r.write(c, "here")
	r.equal("bytes", r.recvAll(id, 4), "here")
}

func testAdoptWaiting(r *rig) {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		r.Fatal(err)
	}
	c := r.fileConn(p[1])
	want := pattern(1, 50_000)
	r.write(c, want)
	c.Close()
	id := r.l.Adopt(p[0], netip.AddrPort{}, 0)
	r.l.Recv(id)
	r.same(r.recvAll(id, len(want)), want)
	r.expect(RecvEnd, id)
}

func testDestroy(r *rig) {
	other := r.again(Config{}, 64)
	_, addr := other.listen(SockOpts{}, 0)
	clients := map[ConnID]net.Conn{}
	for range 20 {
		c := other.client(addr)
		clients[other.expect(Accepted, 0).Conn] = c
	}
	for id, c := range clients {
		other.l.Recv(id)
		other.write(c, "bytes that are collected and never pulled")
		v, _ := other.pool.Get()
		for range 1000 {
			other.pool.Retain(v)
			other.l.Send(id, v)
		}
		other.pool.Release(v)
	}
	remote, err := NewRemote(addr, SockOpts{})
	if err != nil {
		r.Fatal(err)
	}
	other.l.Dial(remote, 0)
	other.l.NewTimer(0)
	other.unixPair()
	f, err := os.Open(os.DevNull)
	if err != nil {
		r.Fatal(err)
	}
	defer f.Close()
	if err := other.l.Poll(0); err != nil {
		r.Fatal(err)
	}
	other.l.Dial(remote, 0)
	fd, err := unix.Dup(int(f.Fd()))
	if err != nil {
		r.Fatal(err)
	}
	if !other.l.Post(Mail{FD: int32(fd)}) {
		r.Fatal("Post")
	}
	if err := other.l.Destroy(); err != nil {
		r.Fatal(err)
	}
	if other.l.Post(Mail{}) {
		r.Error("Post to a destroyed loop says true")
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
		r.Errorf("the descriptor of a mail nobody got: %v", err)
	}
	r.equal("blocks in use", other.pool.InUse(), 0)
}

func TestConnSize(t *testing.T) {
	if n := sizeofConn; n > 80 {
		t.Errorf("a connection takes %d bytes, at most 80 are planned", n)
	}
	if n := sizeofEvent; n > 48 {
		t.Errorf("an event takes %d bytes, at most 48 are planned", n)
	}
}

func TestNewNeedsPool(t *testing.T) {
	if _, err := New(Config{IO: Epoll}); err == nil {
		t.Error("New without a pool")
	}
	pool := buf.NewPool(buf.NewSliceMemory(testBlock, testBlock), testBlock)
	if _, err := New(Config{IO: hostedIO, Pool: pool}); err == nil {
		t.Error("New with a backend that is not there")
	}
	l, err := New(Config{Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Destroy()
	if (l.IO() == Uring) != (l.Fallback() == "") {
		t.Errorf("auto: %v, fallback %q", l.IO(), l.Fallback())
	}
}
