package loop

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/buf"
)

var _ = contract(
	contractTest{"dial", testDial},
	contractTest{"dial a unix socket", testDialUnix},
	contractTest{"dial in vain", testDialRefused},
	contractTest{"dial and close", testDialClose},
	contractTest{"intents before Connected", testDialEarly},
	contractTest{"the pool runs out", testPoolExhausted},
	contractTest{"close while parked", testParkedClose},
	contractTest{"descriptors run out", testEMFILE},
	contractTest{"fairness", testFairness},
	contractTest{"reading does not wait for writing", testReadWhileWriting},
	contractTest{"a unix listener for two loops", testUnixListener},
	contractTest{"stop accepting", testStopAccept},
)

func (r *rig) remote(addr string, o SockOpts) *Remote {
	r.Helper()
	remote, err := NewRemote(addr, o)
	if err != nil {
		r.Fatal(err)
	}
	return remote
}

func testDial(r *rig) {
	ln := r.origin()
	defer ln.Close()
	for range 20 {
		id := r.l.Dial(r.remote(ln.Addr().String(), SockOpts{NoDelay: true, KeepAliveSec: 9, SndBuf: 1 << 16}), 5)
		ev := r.expect(Connected, id)
		r.equal("errno", ev.Errno, unix.Errno(0))
		r.equal("owner", ev.Owner, 5)
		c, err := ln.Accept()
		if err != nil {
			r.Fatal(err)
		}
		r.equal("peer", r.l.Peer(id), ln.Addr())
		r.l.Recv(id)
		r.send(id, "question")
		r.readFull(c, 8)
		r.write(c, "answer")
		r.equal("bytes", r.recvAll(id, 6), "answer")
		c.Close()
		r.expect(RecvEnd, id)
		r.closed(id)
	}
}

func testDialUnix(r *rig) {
	for _, path := range []string{filepath.Join(r.TempDir(), "s"), fmt.Sprintf("@zproxy-test-%d", os.Getpid())} {
		ln, err := net.Listen("unix", path)
		if err != nil {
			r.Fatal(err)
		}
		id := r.l.Dial(r.remote("unix:"+path, SockOpts{}), 0)
		r.equal("errno", r.expect(Connected, id).Errno, unix.Errno(0))
		c, err := ln.Accept()
		if err != nil {
			r.Fatal(err)
		}
		r.send(id, "hello")
		r.equal("bytes", r.readFull(c, 5), "hello")
		c.Close()
		ln.Close()
		r.closed(id)
	}
}

func testDialRefused(r *rig) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	for _, x := range []struct {
		addr string
		want unix.Errno
	}{{addr, unix.ECONNREFUSED}, {"unix:" + filepath.Join(r.TempDir(), "none"), unix.ENOENT}} {
		id := r.l.Dial(r.remote(x.addr, SockOpts{}), 0)
		r.l.Recv(id)
		r.send(id, "for nobody")
		r.equal("errno", r.expect(Connected, id).Errno, x.want)
		r.l.Recv(id)
		r.send(id, "for nobody")
		r.quiet(5 * time.Millisecond)
		r.l.Export(id)
		r.equal("FD", r.expect(Closed, id).FD, -1)
	}
}

func testDialClose(r *rig) {
	// A listener whose queue is full does not answer.
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		r.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		r.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		r.Fatal(err)
	}
	addr, err := LocalAddr(fd)
	if err != nil {
		r.Fatal(err)
	}
	remote := r.remote(addr.String(), SockOpts{})
	var ids []ConnID
	for range 8 {
		ids = append(ids, r.l.Dial(remote, 0))
	}
	pending := map[ConnID]bool{}
	for _, id := range ids {
		pending[id] = true
	}
	for ev := r.next(50 * time.Millisecond); ev != nil; ev = r.next(50 * time.Millisecond) {
		if ev.Kind != Connected || ev.Errno != 0 {
			r.Fatalf("%v, errno %v", ev.Kind, ev.Errno)
		}
		delete(pending, ev.Conn)
	}
	if len(pending) == 0 {
		r.Fatal("no dial is under way: this test tests nothing")
	}
	for _, id := range ids {
		r.l.Close(id)
	}
	for range ids {
		r.expect(Closed, 0)
	}
	id := r.l.Dial(remote, 0) // never begun
	r.l.Close(id)
	r.expect(Closed, id)
	r.quiet(10 * time.Millisecond)
}

func testDialEarly(r *rig) {
	ln := r.origin()
	defer ln.Close()
	id := r.l.Dial(r.remote(ln.Addr().String(), SockOpts{}), 0)
	want := pattern(1, 100_000)
	r.l.Recv(id)
	r.send(id, want)
	r.l.Shutdown(id)
	r.expect(Connected, id)
	c, err := ln.Accept()
	if err != nil {
		r.Fatal(err)
	}
	defer c.Close()
	r.write(c, "greeting")
	r.equal("bytes", r.recvAll(id, 8), "greeting")
	c.SetDeadline(time.Now().Add(testTimeout))
	got := make(chan error, 1)
	go func() {
		b, err := io.ReadAll(c)
		if err == nil && string(b) != want {
			err = errors.New("the bytes differ")
		}
		got <- err
	}()
	r.pump(got) // the end may need one more tick than the bytes
}

// hold pulls Received events without giving blocks back, until none comes.
func (r *rig) hold(views []buf.View, got *int) []buf.View {
	r.Helper()
	for ev := r.next(50 * time.Millisecond); ev != nil; ev = r.next(50 * time.Millisecond) {
		if ev.Kind == Received {
			*got += int(ev.N)
			views = append(views, ev.View)
		}
	}
	return views
}

func testPoolExhausted(r *rig) {
	r = r.again(Config{}, 12)
	_, addr := r.listen(SockOpts{}, 0)
	const conns = 5
	want := pattern(1, 60_000)
	got := map[ConnID]string{}
	for range conns {
		c := r.client(addr)
		got[r.expect(Accepted, 0).Conn] = ""
		go io.WriteString(c, want)
	}
	for id := range got {
		r.l.Recv(id)
	}
	done := 0
	for round := 0; done < conns; round++ {
		if round > 2000 {
			r.Fatal("no progress")
		}
		var held []Event
		for ev := r.next(5 * time.Millisecond); ev != nil; ev = r.next(5 * time.Millisecond) {
			if ev.Kind == Received {
				held = append(held, *ev)
			}
		}
		for i := range held {
			s := got[held[i].Conn] + r.take(&held[i])
			got[held[i].Conn] = s
			if len(s) == len(want) {
				r.same(s, want)
				done++
			}
		}
	}
	s := r.l.Stats()
	if s.Enobufs == 0 || s.Parked == 0 {
		r.Errorf("the pool did not run out: %+v", s)
	}
	if s.Polls > 100_000 {
		r.Errorf("%d polls: the loop was busy waiting", s.Polls)
	}
}

func testParkedClose(r *rig) {
	r = r.again(Config{}, 12)
	_, addr := r.listen(SockOpts{}, 0)
	var ids []ConnID
	for range 4 {
		c := r.client(addr)
		id := r.expect(Accepted, 0).Conn
		ids = append(ids, id)
		go io.WriteString(c, pattern(1, 100_000))
	}
	for _, id := range ids {
		r.l.Recv(id)
	}
	n := 0
	held := r.hold(nil, &n)
	if r.l.Stats().Parked == 0 {
		r.Fatal("nobody is parked: this test tests nothing")
	}
	polls := r.l.Stats().Polls
	r.client(addr)
	r.quiet(100 * time.Millisecond) // it is not accepted
	if n := r.l.Stats().Polls - polls; n > 50 {
		r.Errorf("%d polls in 100 ms with everybody parked", n)
	}
	for _, id := range ids[:3] {
		r.l.Close(id)
		r.expect(Closed, id)
	}
	for _, v := range held {
		r.pool.Release(v)
	}
	received, accepted := false, false // both go on
	for !received || !accepted {
		switch ev := r.next(testTimeout); {
		case ev == nil:
			r.Fatalf("received: %v, accepted: %v", received, accepted)
		case ev.Kind == Received:
			r.take(ev)
			received = true
		case ev.Kind == Accepted:
			accepted = true
		}
	}
}

// fillDescriptors makes copies of fd until there are no holes below the highest
// descriptor.
func fillDescriptors(r *rig, fd int) (fill []int, highest int) {
	for n := range 20000 {
		if _, err := unix.FcntlInt(uintptr(n), unix.F_GETFD, 0); err == nil {
			highest = n
		}
	}
	for {
		n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			r.Fatal(err)
		}
		fill = append(fill, n)
		if n > highest {
			return fill, n
		}
	}
}

func testEMFILE(r *rig) {
	fds, err := OpenListeners("127.0.0.1:0", 1, nil, SockOpts{})
	if err != nil {
		r.Fatal(err)
	}
	ap, err := LocalAddr(fds[0])
	if err != nil {
		r.Fatal(err)
	}
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		r.Fatal(err)
	}
	// The clients' sockets are there before; the next descriptor is too many.
	var clients []int
	for range 3 {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			r.Fatal(err)
		}
		defer unix.Close(fd)
		clients = append(clients, fd)
	}
	ln := r.origin()
	defer ln.Close()
	id := r.l.Dial(r.remote(ln.Addr().String(), SockOpts{}), 0)
	r.equal("errno", r.expect(Connected, id).Errno, unix.Errno(0))
	fill, highest := fillDescriptors(r, clients[0])
	limited := old
	limited.Cur = uint64(highest + 1)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limited); err != nil {
		r.Fatal(err)
	}
	restore := func() {
		unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
		for _, fd := range fill {
			unix.Close(fd)
		}
		fill = nil
	}
	defer restore()
	r.l.Accept(fds[0], 0)
	for _, fd := range clients {
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(ap.Port()), Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			r.Fatal(err)
		}
	}
	polls := r.l.Stats().Polls
	r.quiet(250 * time.Millisecond)
	s := r.l.Stats()
	if s.AcceptErrors == 0 || s.AcceptErrors > 10 {
		r.Errorf("%d accept errors in 250 ms, want a few", s.AcceptErrors)
	}
	if n := s.Polls - polls; n > 100 {
		r.Errorf("%d polls in 250 ms: the loop was busy waiting", n)
	}
	// The loop's own descriptors serve who waits, without a rest.
	r.l.acceptRetryAt = math.MaxInt64
	for range clients {
		r.l.Close(id)
		r.expect(Closed, id)
		id = r.expect(Accepted, 0).Conn
	}
	restore()
	r.l.acceptRetryAt = 0
	r.client(ap.String())
	r.expect(Accepted, 0)
}

func testFairness(r *rig) {
	_, addr := r.listen(SockOpts{}, 0)
	var flood atomic.Bool
	flood.Store(true)
	big := r.client(addr)
	id := r.expect(Accepted, 0).Conn
	small := r.client(addr)
	quick := r.expect(Accepted, 0).Conn
	over := make(chan bool)
	go func() {
		b := make([]byte, 1<<20)
		for flood.Load() {
			if _, err := big.Write(b); err != nil {
				break
			}
		}
		big.Close()
		over <- true
	}()
	r.l.Recv(id)
	r.l.Recv(quick)
	// Every backend has a bound. For epoll it is one turn asked for and one
	// announced; for io_uring it is the kernel's, for one submission.
	bound := 128
	if r.io == Epoll {
		bound = 2 * blocksPerTick
	}
	for range 50 {
		r.write(small, "ping")
		answered := false
		for polls := 0; !answered; polls++ {
			if polls > 200 {
				r.Fatal("a small message waits for a flood")
			}
			if err := r.l.Poll(testTimeout); err != nil {
				r.Fatal(err)
			}
			blocks := 0
			for ev := r.l.Next(); ev != nil; ev = r.l.Next() {
				if ev.Kind != Received {
					continue
				}
				if ev.Conn == id {
					blocks++
				} else {
					answered = true
				}
				r.take(ev)
			}
			if blocks > bound {
				r.Fatalf("%d blocks of one connection in one tick", blocks)
			}
		}
	}
	flood.Store(false)
	for ended := false; !ended; {
		ev := r.next(testTimeout)
		if ev == nil {
			r.Fatal("the flood does not end")
		}
		if ev.Kind == Received {
			r.take(ev)
		}
		ended = ev.Kind == RecvEnd
	}
	<-over
}

// testReadWhileWriting sends without a pause, in every tick.
func testReadWhileWriting(r *rig) {
	out, sink := r.tcpPair(SockOpts{}) // takes thousands of bytes without its peer
	in, c := r.unixPair()
	go io.Copy(io.Discard, sink)
	r.l.Recv(in)
	r.send(out, "x")
	wrote := false
	for polls := 0; polls < 2000; polls++ {
		if err := r.l.Poll(testTimeout); err != nil {
			r.Fatal(err)
		}
		for ev := r.l.Next(); ev != nil; ev = r.l.Next() {
			switch ev.Kind {
			case Received:
				r.take(ev)
				return
			case Sent:
				r.send(out, "x")
			}
		}
		if polls > 100 && !wrote {
			wrote = true
			r.write(c, "read me")
		}
	}
	r.Fatal("what was received is not reported")
}

func testUnixListener(r *rig) {
	second := r.again(Config{}, 64)
	path := filepath.Join(r.TempDir(), "s")
	for range 2 { // the second time over what the first has left
		fds, err := OpenListeners("unix:"+path, 2, nil, SockOpts{})
		if err != nil {
			r.Fatal(err)
		}
		if _, err := OpenListeners("unix:"+path, 1, nil, SockOpts{}); err == nil {
			r.Fatal("a socket in use was taken")
		}
		r.l.Accept(fds[0], 1)
		second.l.Accept(fds[1], 2)
		// What the attempt above left in the queue.
		ev, to := r.next(10*time.Millisecond), r
		if ev == nil {
			ev, to = second.next(10*time.Millisecond), second
		}
		if ev == nil || ev.Kind != Accepted {
			r.Fatal("nobody accepts")
		}
		to.closed(ev.Conn)
		for _, x := range []*rig{r, second, r} {
			c, err := net.Dial("unix", path)
			if err != nil {
				r.Fatal(err)
			}
			id := x.expect(Accepted, 0).Conn
			x.l.Recv(id)
			x.write(c, "hi")
			x.recvAll(id, 2)
			c.Close()
			x.expect(RecvEnd, id)
			x.closed(id)
		}
		r.l.StopAccept(fds[0])
		second.l.StopAccept(fds[1])
		r.quiet(5 * time.Millisecond)
		second.quiet(5 * time.Millisecond)
	}
}

func testStopAccept(r *rig) {
	fd, addr := r.listen(SockOpts{DeferAcceptSec: 1, FastOpen: 16, Backlog: 5}, 0)
	r.l.Poll(0)
	c := r.client(addr)
	r.write(c, "x")
	r.expect(Accepted, 0)
	r.l.StopAccept(fd)
	r.l.StopAccept(12345)
	r.quiet(20 * time.Millisecond)
	if c, err := r.dial(addr); err == nil {
		c.Close()
		r.Error("somebody still listens")
	}
	// Its place is taken by another one.
	_, addr = r.listen(SockOpts{}, 3)
	r.client(addr)
	r.equal("owner", r.expect(Accepted, 0).Owner, 3)
	r.equal("listeners", len(r.l.listeners), 1)
}
