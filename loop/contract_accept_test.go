package loop

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

var _ = contract(
	contractTest{"at most MaxConns", testMaxConns},
	contractTest{"accepting fails for want of something", testAcceptFails},
	contractTest{"stop accepting with connections waiting", testStopAcceptWaiting},
)

// testStopAcceptWaiting: who was connected before the listener closes is
// accepted, not reset.
func testStopAcceptWaiting(r *rig) {
	fd, addr := r.listen(SockOpts{}, 4)
	if err := r.l.Poll(0); err != nil {
		r.Fatal(err)
	}
	const waiting = 5
	clients := map[string]net.Conn{}
	for range waiting {
		c := r.client(addr)
		clients[c.LocalAddr().String()] = c
	}
	r.l.StopAccept(fd)
	var ids []ConnID
	for range waiting {
		ids = append(ids, r.expect(Accepted, 0).Conn)
	}
	for _, id := range ids {
		c := clients[r.l.Peer(id).String()]
		if c == nil {
			r.Fatalf("accepted %v", r.l.Peer(id))
		}
		r.l.Recv(id)
		r.write(c, "hello")
		r.equal("bytes", r.recvAll(id, 5), "hello")
	}
}

// testMaxConns: whoever comes when there are as many as there may be is reset,
// not left waiting. Connections that the loop makes itself do not count.
func testMaxConns(r *rig) {
	r = r.again(Config{MaxConns: 2}, 64)
	ln := r.origin()
	defer ln.Close()
	for range 3 {
		id := r.l.Dial(r.remote(ln.Addr().String(), SockOpts{}), 0)
		r.equal("errno", r.expect(Connected, id).Errno, unix.Errno(0))
	}
	_, addr := r.listen(SockOpts{}, 0)
	var ids []ConnID
	for range 2 {
		r.client(addr)
		ids = append(ids, r.expect(Accepted, 0).Conn)
	}
	for n := range 5 {
		extra := r.client(addr)
		polls := r.l.Stats().Polls
		r.quiet(30 * time.Millisecond)
		if n := r.l.Stats().Polls - polls; n > 30 {
			r.Errorf("%d polls in 30 ms: the loop was busy waiting", n)
		}
		extra.SetDeadline(time.Now().Add(testTimeout))
		if _, err := extra.Read(make([]byte, 1)); err == nil || isTimeout(err) {
			r.Fatalf("a connection too many reads %v, want its end", err)
		}
		r.equal("Refused", r.l.Stats().Refused, n+1)
		r.l.Close(ids[0])
		r.expect(Closed, ids[0])
		r.client(addr)
		ids = append(ids[1:], r.expect(Accepted, 0).Conn)
	}
	r.equal("ConnsHigh", r.l.Stats().ConnsHigh, 5)
}

// testAcceptFails: when process or system are out of something, all rest for a
// while and go on; what befell one connection stops nobody.
func testAcceptFails(r *rig) {
	_, addr := r.listen(SockOpts{}, 0)
	for _, errno := range []unix.Errno{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOBUFS, unix.ECONNABORTED} {
		r.quiet(5 * time.Millisecond)
		begun, polls := time.Now(), r.l.Stats().Polls
		r.l.acceptFailed(errno)
		rests := r.l.paused != 0
		r.quiet(5 * time.Millisecond)
		r.client(addr)
		r.expect(Accepted, 0)
		rested := time.Since(begun)
		if wants := errno != unix.ECONNABORTED; rests != wants || wants && rested < 90*time.Millisecond {
			r.Errorf("after %v the listener rests: %v; the next one is accepted in %v", errno, rests, rested)
		}
		if n := r.l.Stats().Polls - polls; n > 50 {
			r.Errorf("%d polls in %v after %v: the loop was busy waiting", n, rested, errno)
		}
	}
	r.equal("errors", r.l.Stats().AcceptErrors, 5)
}
