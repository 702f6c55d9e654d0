package loop

import (
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Trouble of the kernel's making, or of peers that use it to make some.
var _ = contract(
	contractTest{"a reset at each stage", testResets},
	contractTest{"more at once than any queue holds", testManyAtOnce},
	contractTest{"a descriptor used again", testDescriptorReuse},
	contractTest{"receives cancelled in mid-stream", testCancelledReceives},
	contractTest{"bytes and a reset that came together", testBytesAndReset},
)

// testBytesAndReset: of more connections than a tick has blocks for, each is heard of
// to its end.
func testBytesAndReset(r *rig) {
	const conns = 60
	ln := r.origin()
	defer ln.Close()
	sent := strings.Repeat("x", 2*r.pool.BlockBytes()+100)
	ids := map[ConnID]int{}
	for range conns {
		id := r.l.Dial(r.remote(ln.Addr().String(), SockOpts{}), 0)
		r.expect(Connected, id)
		r.l.Recv(id)
		ids[id] = 0
	}
	r.quiet(10 * time.Millisecond)
	for range conns {
		c, err := ln.Accept()
		if err != nil {
			r.Fatal(err)
		}
		r.write(c, sent)
		c.(tcpConn).SetLinger(0)
		c.Close()
	}
	for deadline := time.Now().Add(10 * time.Second); len(ids) > 0; {
		if time.Now().After(deadline) {
			r.Fatalf("%d of %d connections have not ended", len(ids), conns)
		}
		if err := r.l.Poll(100 * time.Millisecond); err != nil {
			r.Fatal(err)
		}
		for ev := r.l.Next(); ev != nil; ev = r.l.Next() {
			switch ev.Kind {
			case Received:
				ids[ev.Conn] += int(ev.View.Len)
				r.pool.Release(ev.View)
			case RecvEnd:
				if n := ids[ev.Conn]; n > len(sent) || ev.Errno == 0 {
					r.Errorf("%d bytes of %d, and an end with %v; want a reset", n, len(sent), ev.Errno)
				}
				delete(ids, ev.Conn)
			default:
				r.Fatalf("unexpected %v", ev)
			}
		}
	}
}

// testResets: whatever a connection is about when its peer resets it, it has at
// most one RecvEnd, with an error, nothing after it, and one Closed.
func testResets(r *rig) {
	stages := []struct {
		name string
		do   func(id ConnID, c tcpConn)
		ends string // how many RecvEnd there may be
	}{
		{"before anything is asked for", func(id ConnID, c tcpConn) {}, "0"},
		{"receiving", func(id ConnID, c tcpConn) { r.l.Recv(id) }, "1"},
		{"with bytes not pulled", func(id ConnID, c tcpConn) { r.l.Recv(id); r.write(c, "unseen") }, "1"},
		{"paused", func(id ConnID, c tcpConn) { r.l.Recv(id); r.l.Poll(0); r.l.Pause(id) }, "01"},
		{"with a send that waits for room", func(id ConnID, c tcpConn) { r.l.Recv(id); r.send(id, pattern(1, 800_000)) }, "1"},
		{"after Shutdown", func(id ConnID, c tcpConn) { r.l.Recv(id); r.send(id, "last"); r.l.Shutdown(id) }, "1"},
		{"with a deadline", func(id ConnID, c tcpConn) { r.l.Recv(id); r.l.Deadline(id, r.l.Now()+int64(time.Hour)) }, "1"},
	}
	for _, st := range stages {
		id, c := r.tcpPair(SockOpts{SndBuf: 4096})
		st.do(id, c)
		for range 3 {
			if err := r.l.Poll(time.Millisecond); err != nil {
				r.Fatal(err)
			}
		}
		c.SetLinger(0)
		c.Close()
		ends := 0
		for ev := r.next(20 * time.Millisecond); ev != nil; ev = r.next(20 * time.Millisecond) {
			switch {
			case ev.Conn != id || ends > 0 && ev.Kind != Sent:
				r.Fatalf("%s: %v of %x after the end of %x", st.name, ev.Kind, ev.Conn, id)
			case ev.Kind == Received:
				r.take(ev)
			case ev.Kind == RecvEnd:
				ends++
				if ev.Errno == 0 {
					r.Errorf("%s: a reset is reported as an orderly end", st.name)
				}
			}
		}
		if !strings.Contains(st.ends, strconv.Itoa(ends)) {
			r.Errorf("%s: %d RecvEnd", st.name, ends)
		}
		r.closed(id)
		r.quiet(2 * time.Millisecond)
	}
	// Before it is accepted: it is accepted and ends, or is never seen.
	_, addr := r.listen(SockOpts{}, 0)
	r.quiet(5 * time.Millisecond)
	c := r.client(addr)
	c.SetLinger(0)
	c.Close()
	if ev := r.next(50 * time.Millisecond); ev != nil {
		id := ev.Conn
		r.l.Recv(id)
		if errno := r.expect(RecvEnd, id).Errno; errno == 0 {
			r.Error("reset before it was accepted, and reported as an orderly end")
		}
		r.closed(id)
	}
	r.equal("connections left", r.l.Conns(), 0)
}

// testManyAtOnce makes far more complete in one tick than the queues were made
// for: 512 connections that receive, send and end, where io_uring has room for
// 512 completions and looks at 256 at a time.
func testManyAtOnce(r *rig) {
	const conns = 512
	r = r.again(Config{Entries: 128}, 4*conns)
	type peer interface {
		io.ReadWriteCloser
		CloseWrite() error
	}
	peers := map[ConnID]peer{}
	for range conns {
		id, c := r.unixPair()
		peers[id] = c.(peer)
		r.l.Recv(id)
	}
	for range 2 {
		r.quiet(2 * time.Millisecond)
	}
	for id, c := range peers {
		if _, err := io.WriteString(c, "question"); err != nil {
			r.Fatal(err)
		}
		c.CloseWrite()
		r.send(id, "answer")
	}
	type seen struct{ received, sent, ended int }
	got := map[ConnID]*seen{}
	for id := range peers {
		got[id] = &seen{}
	}
	for left := 3 * conns; left > 0; {
		ev := r.next(testTimeout)
		if ev == nil {
			r.Fatalf("%d of %d events are missing", left, 3*conns)
		}
		s := got[ev.Conn]
		switch ev.Kind {
		case Received:
			r.equal("bytes", r.take(ev), "question")
			s.received++
		case Sent:
			s.sent++
		case RecvEnd:
			s.ended++
		}
		left--
	}
	for id, s := range got {
		r.equal("events of a connection", *s, seen{1, 1, 1})
		r.l.Close(id)
	}
	for range peers {
		r.expect(Closed, 0)
	}
}

// testDescriptorReuse closes connections with everything in flight and makes
// others with the same descriptors at once: what was for the old is not given
// to the new.
func testDescriptorReuse(r *rig) {
	used := map[int]int{}
	again := 0
	for n := range 300 {
		p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			r.Fatal(err)
		}
		if used[p[0]]++; used[p[0]] > 1 {
			again++
		}
		id := r.l.Adopt(p[0], netip.AddrPort{}, uint32(n))
		r.l.Recv(id)
		if err := r.l.Poll(0); err != nil {
			r.Fatal(err)
		}
		want := pattern(n, 100)
		if _, err := unix.Write(p[1], []byte(want)); err != nil {
			r.Fatal(err)
		}
		if n%2 == 0 { // heard
			ev := r.expect(Received, id)
			r.equal("owner", ev.Owner, n)
			r.same(r.take(&ev), want)
		} // else bytes and an event for it may be under way
		unix.Write(p[1], []byte("too late"))
		unix.Close(p[1])
		r.l.Close(id)
		r.expect(Closed, id)
	}
	if again < 100 {
		r.Errorf("a descriptor was used again %d times: this test tests nothing", again)
	}
	// A socket that somebody else has too outlives its connection, and the kernel
	// may go on to tell of it: that is no news of the next one.
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		r.Fatal(err)
	}
	kept, err := unix.Dup(p[0])
	if err != nil {
		r.Fatal(err)
	}
	defer unix.Close(kept)
	defer unix.Close(p[1])
	old := r.l.Adopt(p[0], netip.AddrPort{}, 0)
	r.l.Recv(old)
	r.quiet(2 * time.Millisecond)
	r.closed(old)
	id, c := r.unixPair()
	r.equal("slot", id.slot(), old.slot())
	r.l.Recv(id)
	r.quiet(2 * time.Millisecond)
	calls := r.l.Stats().RecvCalls
	unix.Write(p[1], []byte("for the old one"))
	r.quiet(5 * time.Millisecond)
	r.equal("receives for nothing", r.l.Stats().RecvCalls-calls, 0)
	r.write(c, "new")
	r.equal("bytes", r.recvAll(id, 3), "new")
}

// testCancelledReceives pauses and resumes without regard to what is in flight:
// each byte comes once, in order.
func testCancelledReceives(r *rig) {
	const size = 2_000_000
	id, c := r.tcpPair(SockOpts{})
	want := pattern(9, size)
	go io.WriteString(c, want)
	r.l.Recv(id)
	got := make([]byte, 0, size)
	for n := 0; len(got) < size; n++ {
		ev := r.next(testTimeout)
		if ev == nil {
			r.Fatalf("nothing comes behind byte %d", len(got))
		}
		if ev.Kind != Received {
			r.Fatalf("%v", ev.Kind)
		}
		got = append(got, r.take(ev)...)
		r.l.Pause(id)
		switch n % 4 {
		case 1: // takes effect, and is taken back while it does
			if err := r.l.Poll(0); err != nil {
				r.Fatal(err)
			}
		case 2:
			for range 3 {
				if err := r.l.Poll(0); err != nil {
					r.Fatal(err)
				}
			}
		}
		r.l.Recv(id)
	}
	r.same(string(got), want)
	// A short message to one that is paused may come nevertheless, and then ends
	// the receive, while the owner wants to go on already.
	for range 100 {
		r.l.Pause(id)
		if err := r.l.Poll(0); err != nil {
			r.Fatal(err)
		}
		r.write(c, "paused")
		text := ""
		for ev := r.next(time.Millisecond); ev != nil; ev = r.l.Next() {
			text += r.take(ev)
		}
		r.l.Recv(id)
		if err := r.l.Poll(0); err != nil {
			r.Fatal(err)
		}
		r.write(c, "resumed")
		r.equal("bytes", text+r.recvAll(id, len("pausedresumed")-len(text)), "pausedresumed")
	}
	r.closed(id)
}
