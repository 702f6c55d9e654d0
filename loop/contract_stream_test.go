package loop

import (
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

var _ = contract(
	contractTest{"echo", testEcho},
	contractTest{"echo over unix sockets", testEchoUnix},
	contractTest{"nothing is received before Recv", testRecvIsAsked},
	contractTest{"pause and resume", testPause},
	contractTest{"pause and resume within a tick", testPauseResume},
	contractTest{"idle connections hold no block", testIdleHoldsNothing},
	contractTest{"end of file, then sending on", testHalfClose},
	contractTest{"bytes and their end together", testBytesAndEnd},
	contractTest{"end while paused", testEndWhilePaused},
	contractTest{"reset by the peer", testReset},
	contractTest{"sending to a peer that is gone", testSendBroken},
	contractTest{"shutdown after the queue", testShutdown},
	contractTest{"shutdown at once", testShutdownAtOnce},
	contractTest{"last bytes and end in one segment", testEndInOneSegment},
	contractTest{"a small socket buffer", testTinySndBuf},
	contractTest{"one send for a tick", testOneSend},
	contractTest{"sent adds up", testSentAddsUp},
	contractTest{"many views", testManyViews},
	contractTest{"a received block can be sent", testForward},
	contractTest{"close is an orderly end", testCloseEOF},
	contractTest{"abort is a reset", testAbort},
	contractTest{"owner", testOwner},
	contractTest{"peer address", testPeer},
	contractTest{"peer of a connection that was reset", testPeerReset},
	contractTest{"peer of a unix socket", testUnixPeer},
)

func testEcho(r *rig) {
	id, c := r.tcpPair(SockOpts{NoDelay: true, KeepAliveSec: 30})
	r.l.Recv(id)
	for i := range 100 {
		want := pattern(i, i*37+1)
		r.write(c, want)
		r.same(r.recvAll(id, len(want)), want)
		r.send(id, want)
		r.same(r.readFull(c, len(want)), want)
	}
	r.closed(id)
	r.equal("Conns", r.l.Conns(), 0)
}

func testEchoUnix(r *rig) {
	id, c := r.unixPair()
	r.l.Recv(id)
	for i := range 100 {
		want := pattern(i, i*37+1)
		r.write(c, want)
		r.same(r.recvAll(id, len(want)), want)
		r.send(id, want)
		r.same(r.readFull(c, len(want)), want)
	}
	r.closed(id)
}

func testRecvIsAsked(r *rig) {
	id, c := r.tcpPair(SockOpts{})
	r.write(c, "early")
	r.quiet(30 * time.Millisecond)
	r.l.Recv(id)
	r.equal("bytes", r.recvAll(id, 5), "early")
}

func testPause(r *rig) {
	id, c := r.tcpPair(SockOpts{})
	r.l.Recv(id)
	r.write(c, "one")
	r.equal("bytes", r.recvAll(id, 3), "one")
	r.l.Pause(id)
	r.quiet(20 * time.Millisecond) // the request has arrived by then
	r.write(c, "two")
	// What is on its way may still come, but it is not an endless stream.
	got := ""
	for ev := r.next(50 * time.Millisecond); ev != nil; ev = r.next(50 * time.Millisecond) {
		got += r.take(ev)
	}
	r.l.Recv(id)
	r.write(c, "three")
	r.equal("bytes", got+r.recvAll(id, 8-len(got)), "twothree")

	// Backpressure reaches the peer.
	r.l.Pause(id)
	r.quiet(20 * time.Millisecond)
	c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	big := pattern(1, 64<<20)
	n, err := io.WriteString(c, big)
	if !errors.Is(err, unix.ETIMEDOUT) && !isTimeout(err) {
		r.Fatalf("a peer wrote %d bytes to a paused connection: %v", n, err)
	}
	r.l.Recv(id)
	r.same(r.recvAll(id, n), big[:n])
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func testPauseResume(r *rig) {
	id, c := r.tcpPair(SockOpts{})
	r.l.Recv(id)
	want := pattern(3, 200_000)
	go io.WriteString(c, want)
	var got strings.Builder
	for got.Len() < len(want) {
		ev := r.expect(Received, id)
		got.WriteString(r.take(&ev))
		r.l.Pause(id)
		if got.Len()%3 == 0 {
			if err := r.l.Poll(0); err != nil {
				r.Fatal(err)
			}
		}
		r.l.Recv(id)
	}
	r.same(got.String(), want)
	r.l.Pause(id)
	c.CloseWrite()
	r.l.Recv(id)
	r.expect(RecvEnd, id)
	r.l.Pause(id)
	r.l.Recv(id)
	r.quiet(20 * time.Millisecond) // one RecvEnd
}

func testIdleHoldsNothing(r *rig) {
	_, addr := r.listen(SockOpts{}, 0)
	var ids []ConnID
	base := -1
	for range 50 {
		r.client(addr)
		ids = append(ids, r.expect(Accepted, 0).Conn)
		r.l.Recv(ids[len(ids)-1])
		r.quiet(2 * time.Millisecond)
		if base < 0 {
			base = r.pool.InUse() // a backend may keep some at hand
		}
	}
	r.equal("blocks in use for 50 idle connections", r.pool.InUse(), base)
}

func testHalfClose(r *rig) {
	id, c := r.tcpPair(SockOpts{})
	r.l.Recv(id)
	r.quiet(5 * time.Millisecond)
	c.CloseWrite()
	r.equal("errno", r.expect(RecvEnd, id).Errno, unix.Errno(0))
	want := pattern(1, 300_000)
	r.send(id, want)
	r.same(r.readFull(c, len(want)), want)
	r.closed(id)
	r.quiet(10 * time.Millisecond)
}

func testBytesAndEnd(r *rig) {
	for i := range 20 {
		id, c := r.tcpPair(SockOpts{})
		want := pattern(i, i*i*i*4+1)
		wrote := make(chan bool)
		go func() {
			io.WriteString(c, want)
			c.CloseWrite()
			wrote <- true
		}()
		if i%2 == 0 {
			time.Sleep(time.Millisecond)
		}
		r.l.Recv(id)
		r.same(r.recvAll(id, len(want)), want)
		r.equal("errno", r.expect(RecvEnd, id).Errno, unix.Errno(0))
		<-wrote
		r.closed(id)
	}
}

func testEndWhilePaused(r *rig) {
	id, c := r.tcpPair(SockOpts{})
	r.write(c, "last words")
	c.CloseWrite()
	r.quiet(20 * time.Millisecond)
	r.l.Recv(id)
	r.equal("bytes", r.recvAll(id, 10), "last words")
	r.expect(RecvEnd, id)
}

func testReset(r *rig) {
	id, c := r.tcpPair(SockOpts{})
	r.l.Recv(id)
	r.quiet(5 * time.Millisecond)
	c.SetLinger(0)
	c.Close()
	r.equal("errno", r.expect(RecvEnd, id).Errno, unix.ECONNRESET)
	r.closed(id)
}

func testSendBroken(r *rig) {
	id, c := r.tcpPair(SockOpts{})
	c.SetLinger(0)
	c.Close()
	time.Sleep(5 * time.Millisecond)
	r.send(id, pattern(1, 10_000))
	ev := r.expect(Sent, id)
	if ev.Errno != unix.EPIPE && ev.Errno != unix.ECONNRESET || ev.N != 10_000 {
		r.Fatalf("Sent: errno %v, n %d", ev.Errno, ev.N)
	}
	r.send(id, "more")
	r.equal("Queued", r.l.Queued(id), 0)
	r.quiet(10 * time.Millisecond)
	r.closed(id)
}

func testShutdown(r *rig) {
	id, c := r.tcpPair(SockOpts{SndBuf: 8192})
	want := pattern(2, 600_000)
	r.l.Recv(id)
	r.send(id, want)
	r.l.Shutdown(id)
	r.send(id, "too late")
	got := make(chan error, 1)
	go func() {
		b, err := io.ReadAll(c)
		if err == nil && string(b) != want {
			err = errors.New("the bytes differ")
		}
		got <- err
	}()
	r.pump(got)
	r.write(c, "still heard")
	r.equal("bytes", r.recvAll(id, 11), "still heard")
	r.closed(id)
}

func testEndInOneSegment(r *rig) {
	id, c := r.tcpPair(SockOpts{NoDelay: true})
	r.send(id, "bye")
	r.l.Shutdown(id)
	got := make(chan error, 1)
	go func() {
		b, err := io.ReadAll(c)
		if err == nil && string(b) != "bye" {
			err = fmt.Errorf("%q", b)
		}
		got <- err
	}()
	r.pump(got)
	r.equal("segments the peer got after the handshake's", segmentsIn(r, c)-1, 1)
	r.closed(id)
}

// segmentsIn is how many segments c has received.
func segmentsIn(r *rig, c tcpConn) uint32 {
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		r.Fatal(err)
	}
	var info *unix.TCPInfo
	if ctlErr := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); ctlErr != nil || err != nil {
		r.Fatal(ctlErr, err)
	}
	return info.Segs_in
}

func testShutdownAtOnce(r *rig) {
	id, c := r.unixPair()
	r.l.Shutdown(id)
	got := make(chan error, 1)
	go func() {
		_, err := io.ReadAll(c)
		got <- err
	}()
	r.pump(got)
	r.closed(id)
}

func testTinySndBuf(r *rig) {
	id, c := r.tcpPair(SockOpts{SndBuf: 2048})
	want := pattern(5, 900_000)
	r.send(id, want)
	r.same(r.readFull(c, len(want)), want)
	if r.l.Stats().ShortSends == 0 && r.l.Stats().SendCalls < 10 {
		r.Errorf("the socket took everything at once: %+v", r.l.Stats())
	}
	r.closed(id)
}

func testOneSend(r *rig) {
	id, c := r.tcpPair(SockOpts{})
	r.quiet(5 * time.Millisecond)
	before := r.l.Stats().SendCalls
	for range 10 {
		r.send(id, "0123456789")
	}
	r.equal("Queued", r.l.Queued(id), 100)
	r.equal("N", r.expect(Sent, id).N, 100)
	r.equal("sends", r.l.Stats().SendCalls-before, 1)
	r.equal("Queued", r.l.Queued(id), 0)
	r.readFull(c, 100)
}

func testSentAddsUp(r *rig) {
	id, c := r.tcpPair(SockOpts{SndBuf: 4096})
	want := pattern(9, 700_000)
	r.send(id, want)
	go io.Copy(io.Discard, c)
	left := len(want)
	for left > 0 {
		ev := r.expect(Sent, id)
		left -= int(ev.N)
		if r.l.Queued(id) > left {
			r.Fatalf("Queued %d with %d bytes left", r.l.Queued(id), left)
		}
	}
	r.equal("bytes left", left, 0)
}

func testManyViews(r *rig) {
	id, c := r.tcpPair(SockOpts{})
	var want strings.Builder
	v, _ := r.pool.Get()
	copy(r.pool.Bytes(v), pattern(3, testBlock))
	for i := range 1000 { // far more than one call takes; not adjacent
		off := uint32(i * 7919 % 4000)
		r.pool.Retain(v)
		want.WriteString(string(r.pool.Bytes(v.Slice(off, 11))))
		r.l.Send(id, v.Slice(off, 11))
	}
	r.pool.Release(v)
	r.same(r.readFull(c, want.Len()), want.String())
}

func testForward(r *rig) {
	a, ca := r.tcpPair(SockOpts{})
	b, cb := r.unixPair()
	r.l.Recv(a)
	want := pattern(8, 2_000_000)
	go func() {
		io.WriteString(ca, want)
		ca.CloseWrite()
	}()
	got := make(chan error, 1)
	go func() {
		all, err := io.ReadAll(cb)
		if err == nil && string(all) != want {
			err = errors.New("the bytes differ")
		}
		got <- err
	}()
	for ended := false; !ended; {
		ev := r.next(testTimeout)
		switch {
		case ev == nil:
			r.Fatal("no event")
		case ev.Kind == Received:
			r.l.Send(b, ev.View)
			if r.l.Queued(b) > 100_000 {
				r.l.Pause(a)
			}
		case ev.Kind == Sent:
			if r.l.Queued(b) < 50_000 {
				r.l.Recv(a)
			}
		case ev.Kind == RecvEnd:
			r.l.Shutdown(b)
			ended = true
		}
	}
	r.pump(got)
}

func testCloseEOF(r *rig) {
	id, c := r.tcpPair(SockOpts{})
	r.closed(id)
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		r.Fatalf("the peer reads %v, want EOF", err)
	}
}

func testAbort(r *rig) {
	id, c := r.tcpPair(SockOpts{})
	r.send(id, "some")
	r.expect(Sent, id)
	r.readFull(c, 4)
	r.l.Abort(id)
	r.expect(Closed, id)
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		r.Fatalf("the peer reads %v, want a reset", err)
	}
}

func testOwner(r *rig) {
	id, c := r.tcpPair(SockOpts{})
	r.l.Recv(id)
	r.write(c, "a")
	ev := r.expect(Received, id)
	r.take(&ev)
	r.equal("owner of the listener", ev.Owner, 7)
	r.l.SetOwner(id, 42)
	r.write(c, "b")
	ev = r.expect(Received, id)
	r.take(&ev)
	r.equal("owner", ev.Owner, 42)
	r.l.Close(id)
	r.equal("owner", r.expect(Closed, id).Owner, 42)
}

func testPeer(r *rig) {
	id, c := r.tcpPair(SockOpts{})
	r.equal("peer of an accepted connection", r.l.Peer(id), c.LocalAddr())
	r.equal("address of this end", Local(r.l, id), c.RemoteAddr())
	r.l.Export(id)
	ev := r.expect(Closed, id)
	r.equal("peer of an exported connection", r.l.ExportedPeer(), c.LocalAddr())
	r.equal("peer of an adopted connection", r.l.Peer(r.l.Adopt(int(ev.FD), r.l.ExportedPeer(), 0)), c.LocalAddr())
	u, _ := r.unixPair()
	if Local(r.l, u).IsValid() || Local(r.l, 0).IsValid() {
		r.Error("a unix socket, or no connection, has an address")
	}
	if r.l.Peer(u).IsValid() {
		r.Error("a unix socket has a peer address")
	}
	if r.l.Peer(0).IsValid() {
		r.Error("no connection has a peer address")
	}
}

// testPeerReset: a client that resets its connection is known by its address
// from the first event on, wherever the connection goes, or is not accepted. (The
// kernel forgets the peer of a connection that was reset.)
func testPeerReset(r *rig) {
	_, addr := r.listen(SockOpts{}, 0)
	if err := r.l.Poll(0); err != nil {
		r.Fatal(err)
	}
	reset := func(c tcpConn) {
		c.SetLinger(0)
		c.Close()
	}
	for range 20 {
		c := r.client(addr)
		r.write(c, "before it is accepted")
		want := c.LocalAddr().String()
		reset(c)
		if ev := r.next(5 * time.Millisecond); ev != nil {
			r.equal("event", ev.Kind, Accepted)
			r.equal("peer", r.l.Peer(ev.Conn), want)
			r.closed(ev.Conn)
		}
	}
	c := r.client(addr)
	want := c.LocalAddr().String()
	id := r.expect(Accepted, 0).Conn
	other := r.client(addr)
	r.l.Export(r.expect(Accepted, 0).Conn)
	fd := int(r.expect(Closed, 0).FD)
	peer := r.l.ExportedPeer()
	reset(c)
	reset(other)
	if err := r.l.Poll(0); err != nil {
		r.Fatal(err)
	}
	r.equal("peer of a connection reset since", r.l.Peer(id), want)
	r.equal("peer of one that was exported", peer, other.LocalAddr())
	r.equal("peer of one that was adopted", r.l.Peer(r.l.Adopt(fd, peer, 0)), peer)
}

// testUnixPeer: a client of a unix listener is accepted without an address.
func testUnixPeer(r *rig) {
	path := "unix:" + filepath.Join(r.TempDir(), "s")
	fds, err := OpenListeners(path, 1, nil, SockOpts{})
	if err != nil {
		r.Fatal(err)
	}
	r.l.Accept(fds[0], 0)
	c, err := net.Dial("unix", path[len("unix:"):])
	if err != nil {
		r.Fatal(err)
	}
	defer c.Close()
	id := r.expect(Accepted, 0).Conn
	r.equal("has an address", r.l.Peer(id).IsValid(), false)
	r.l.Recv(id)
	r.write(c, "here")
	r.equal("bytes", r.recvAll(id, 4), "here")
}
