package loop

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

var _ = contract(
	contractTest{"splice", testSplice},
	contractTest{"splice between unix sockets", testSpliceUnix},
	contractTest{"splice between sends", testSpliceBetweenSends},
	contractTest{"splice counts what was received", testSpliceCounts},
	contractTest{"splice while bytes arrive", testSpliceArriving},
	contractTest{"splice to who does not read", testSpliceBackpressure},
	contractTest{"splice and pause", testSplicePause},
	contractTest{"splice and the end of file", testSpliceEnd},
	contractTest{"splice and a reset", testSpliceReset},
	contractTest{"splice to a peer that is gone", testSpliceBroken},
	contractTest{"splice and close the source", testSpliceCloseFrom},
	contractTest{"splice and close the target", testSpliceCloseTo},
	contractTest{"splice and close both", testSpliceCloseBoth},
	contractTest{"splice without a pipe", testSpliceNoPipe},
	contractTest{"splice what cannot be", testSpliceRefused},
	contractTest{"more splices than pipes", testSpliceMany},
)

// splicing is two connections of which one gets what the other receives, with
// their peers, and what has happened.
type splicing struct {
	*rig
	from, to ConnID
	src, dst net.Conn
	left     int // bytes that belong to dst
	went     int // of them, those that were Spliced
	behind   string
	insist   bool   // ask again whenever something has come
	end      *Event // RecvEnd of from, or the Sent that said that to is broken
}

func newSplicing(r *rig, n int) *splicing {
	r.Helper()
	_, addr := r.listen(SockOpts{NoDelay: true, SndBuf: 64 << 10}, 7)
	s := &splicing{rig: r, left: n}
	s.src = r.client(addr)
	s.from = r.expect(Accepted, 0).Conn
	s.dst = r.client(addr)
	s.to = r.expect(Accepted, 0).Conn
	r.l.Recv(s.from)
	return s
}

// whole sends want, all of which is to arrive by what was asked for.
func (s *splicing) whole(want string) {
	s.Helper()
	done := reading(s.dst, want, false)
	go io.WriteString(s.src, want)
	s.until("the body", s.allGone)
	s.wait(done)
}

// splice asks for all that is left, which must be possible.
func (s *splicing) splice() {
	s.Helper()
	if !s.l.Splice(s.from, s.to, uint64(s.left)) {
		s.Fatal("Splice is not possible")
	}
}

// handle sends on by hand what comes in blocks.
func (s *splicing) handle(ev *Event) {
	s.Helper()
	switch {
	case ev.Kind == Spliced && ev.Conn == s.from:
		s.went += int(ev.N)
		if s.left -= int(ev.N); s.left < 0 {
			s.Fatalf("%d bytes too many were spliced", -s.left)
		}
	case ev.Kind == Received && ev.Conn == s.from:
		part := min(s.left, int(ev.N))
		s.left -= part
		s.behind += string(s.pool.Bytes(ev.View)[part:])
		s.l.Send(s.to, ev.View.Slice(0, uint32(part)))
	case ev.Kind == RecvEnd && ev.Conn == s.from || ev.Kind == Sent && ev.Conn == s.to && ev.Errno != 0:
		end := *ev
		s.end = &end
	case ev.Kind != Sent || ev.Errno != 0:
		s.Fatalf("%v of %x (errno %v)", ev.Kind, ev.Conn, ev.Errno)
	}
	if s.insist && s.left > 0 && (ev.Kind == Spliced || ev.Kind == Received) {
		s.l.Splice(s.from, s.to, uint64(s.left)) // no, or what is left of it
	}
}

// until runs the loop until ok.
func (s *splicing) until(what string, ok func() bool) {
	s.Helper()
	for deadline := time.Now().Add(4 * testTimeout); !ok(); {
		if time.Now().After(deadline) {
			s.Fatalf("waiting for %s: %d bytes left, %d spliced, %d queued", what, s.left, s.went, s.l.Queued(s.to))
		}
		if ev := s.next(time.Millisecond); ev != nil {
			s.handle(ev)
		}
	}
}

func (s *splicing) allGone() bool { return s.left == 0 }

// still runs the loop for d.
func (s *splicing) still(d time.Duration) {
	s.Helper()
	for deadline := time.Now().Add(d); time.Now().Before(deadline); {
		if ev := s.next(time.Millisecond); ev != nil {
			s.handle(ev)
		}
	}
}

// wait runs the loop until done has nothing to complain about.
func (s *splicing) wait(done chan error) {
	s.Helper()
	s.until("a peer", func() bool {
		select {
		case err := <-done:
			if err != nil {
				s.Fatalf("peer: %v", err)
			}
			return true
		default:
			return false
		}
	})
}

// reading reads what is wanted, to the end if that belongs to it.
func reading(c net.Conn, want string, toEnd bool) chan error {
	done := make(chan error, 1)
	go func() {
		b := make([]byte, len(want))
		_, err := io.ReadFull(c, b)
		if err == nil && toEnd {
			if n, end := c.Read(make([]byte, 1)); end != io.EOF {
				err = fmt.Errorf("%d bytes and %v, want the end", n, end)
			}
		}
		if err == nil && string(b) != want {
			err = errors.New("the bytes differ")
		}
		done <- err
	}()
	return done
}

func testSplice(r *rig) {
	const size = 3_000_000
	s := newSplicing(r, size)
	s.insist = true
	for round := range 4 {
		want := pattern(round, size)
		s.left, s.went = size, 0
		s.splice()
		s.whole(want)
		if s.went < size/2 {
			r.Fatalf("only %d bytes of %d were spliced", s.went, size)
		}
		r.equal("Queued", r.l.Queued(s.to), 0)
		// Both are as before.
		r.write(s.src, "next")
		r.equal("bytes", r.recvAll(s.from, 4), "next")
		r.send(s.to, "head")
		r.equal("bytes", r.readFull(s.dst, 4), "head")
	}
	r.closed(s.from)
	r.closed(s.to)
	r.equal("behind it", s.behind, "")
}

func testSpliceUnix(r *rig) {
	s := &splicing{rig: r, left: 2_000_000}
	s.from, s.src = r.unixPair()
	s.to, s.dst = r.unixPair()
	r.l.Recv(s.from)
	want := pattern(1, s.left)
	s.splice()
	s.whole(want)
	r.closed(s.from)
	r.closed(s.to)
}

// testSpliceBetweenSends: what was Sent before and behind keeps its place, and
// the end of the sending direction has the last.
func testSpliceBetweenSends(r *rig) {
	for round := range 5 {
		s := newSplicing(r, 1_500_000)
		before, body, behind := pattern(1, round*100_000+1), pattern(2, s.left), pattern(3, round*100_000+1)
		go io.WriteString(s.src, body)
		r.send(s.to, before)
		s.splice()
		s.still(time.Duration(round) * time.Millisecond)
		done := reading(s.dst, before+body+behind, true)
		s.until("the body", s.allGone)
		r.send(s.to, behind)
		r.l.Shutdown(s.to)
		s.wait(done)
		r.closed(s.from)
		r.closed(s.to)
	}
}

// testSpliceCounts: what has been received when Splice is called, seen or not,
// is part of it and comes as blocks. What follows the last byte is Received.
func testSpliceCounts(r *rig) {
	for round := range 20 {
		s := newSplicing(r, 30_000*(1+round))
		s.insist = round%2 == 0
		body, behind := pattern(round, s.left), pattern(99, 1+round*1000)
		go io.WriteString(s.src, body+behind)
		first := r.expect(Received, s.from)
		s.handle(&first)
		for calls := range 3 { // only one of them counts
			asked := s.left > 0 && r.l.Splice(s.from, s.to, uint64(s.left))
			if calls > 0 && asked {
				r.Fatal("a second Splice beside the first")
			}
		}
		done := reading(s.dst, body, false)
		s.until("what is behind", func() bool { return len(s.behind) == len(behind) })
		s.wait(done)
		r.same(s.behind, behind)
		r.equal("left", s.left, 0)
		r.closed(s.from)
		r.closed(s.to)
	}
}

// testSpliceArriving: a receive that was under way brings its bytes as blocks,
// which count.
func testSpliceArriving(r *rig) {
	s := newSplicing(r, 0)
	r.quiet(5 * time.Millisecond) // it receives
	for round := range 10 {
		body, behind := pattern(round, 20_000*(round%4)+1), pattern(99, 5000)
		s.left, s.behind = len(body), ""
		s.splice()
		r.write(s.src, body+behind)
		done := reading(s.dst, body, false)
		s.until("what is behind", func() bool { return len(s.behind) == len(behind) })
		s.wait(done)
		r.same(s.behind, behind)
	}
	r.closed(s.from)
	r.closed(s.to)
}

// writing writes want until it is done or has waited, and gives how far it came.
func (s *splicing) writing(want string) chan int {
	wrote := make(chan int, 1)
	go func() {
		n, err := 0, error(nil)
		for b := []byte(want); n < len(b) && err == nil; {
			var k int
			s.src.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
			k, err = s.src.Write(b[n:min(n+16<<10, len(b))])
			n += k
		}
		wrote <- n
	}()
	return wrote
}

// written runs the loop until the source stands still.
func (s *splicing) written(wrote chan int) (n int) {
	s.Helper()
	s.until("the source", func() bool {
		select {
		case n = <-wrote:
			return true
		default:
			return false
		}
	})
	return n
}

// testSpliceBackpressure: a target that does not read stops the source.
func testSpliceBackpressure(r *rig) {
	const size = 16 << 20
	s := newSplicing(r, size)
	want := pattern(1, size)
	wrote := s.writing(want)
	s.splice()
	n := s.written(wrote)
	if s.left == size || s.left < size/2 {
		r.Fatalf("%d bytes were written, %d left: nobody was stopped", n, s.left)
	}
	if q := r.l.Queued(s.to); q == 0 || q > pipeBytes+blocksPerTick*testBlock {
		r.Fatalf("%d bytes wait for who does not read", q)
	}
	done := reading(s.dst, want[:n], false)
	s.wait(done)
	s.until("what is to be reported", func() bool { return s.left == size-n })
	r.closed(s.from)
	r.closed(s.to)
}

func testSplicePause(r *rig) {
	const size = 16 << 20
	s := newSplicing(r, size)
	want := pattern(1, size)
	s.splice()
	wrote := s.writing(want)
	go io.Copy(io.Discard, s.dst)
	s.until("a beginning", func() bool { return s.went > 0 })
	r.l.Pause(s.from)
	s.still(50 * time.Millisecond)
	left := s.left
	n := s.written(wrote)
	if r.equal("left after a pause", s.left, left); left == 0 {
		r.Fatal("the splice was not stopped")
	}
	r.l.Recv(s.from)
	s.until("the rest", func() bool { return s.left == size-n })
	r.closed(s.from)
	r.closed(s.to)
}

// testSpliceEnd: the source ends before it has given all.
func testSpliceEnd(r *rig) {
	for round := range 5 {
		s := newSplicing(r, 2_000_000)
		want := pattern(round, 300_000*round+1)
		s.splice()
		done := reading(s.dst, want, true)
		go func() {
			io.WriteString(s.src, want)
			s.src.(tcpConn).CloseWrite()
		}()
		s.until("its end", func() bool { return s.end != nil })
		r.equal("errno", s.end.Errno, unix.Errno(0))
		r.equal("left", s.left, 2_000_000-len(want))
		r.l.Close(s.from)
		r.l.Shutdown(s.to) // what is under way arrives
		r.expect(Closed, s.from)
		s.wait(done)
		r.closed(s.to)
	}
}

func testSpliceReset(r *rig) {
	s := newSplicing(r, 2_000_000)
	s.splice()
	go io.Copy(io.Discard, s.dst)
	r.write(s.src, pattern(1, 100_000))
	s.until("a beginning", func() bool { return s.left <= 1_900_000 })
	s.src.(tcpConn).SetLinger(0)
	s.src.Close()
	s.until("the reset", func() bool { return s.end != nil })
	r.equal("what", s.end.Kind, RecvEnd)
	r.equal("errno", s.end.Errno, unix.ECONNRESET)
	r.closed(s.from)
	r.closed(s.to)
}

// testSpliceBroken: the target is gone. The source then receives as ever.
func testSpliceBroken(r *rig) {
	const size = 16 << 20
	s := newSplicing(r, size)
	s.splice()
	go io.WriteString(s.src, pattern(1, size))
	s.until("a beginning", func() bool { return s.went > 0 })
	s.dst.(tcpConn).SetLinger(0)
	s.dst.Close()
	s.until("the news", func() bool { return s.end != nil })
	if s.end.Kind != Sent || s.end.Errno != unix.EPIPE && s.end.Errno != unix.ECONNRESET {
		r.Fatalf("%v (errno %v)", s.end.Kind, s.end.Errno)
	}
	r.equal("Queued", r.l.Queued(s.to), 0)
	went := s.went
	s.until("all of the source", s.allGone)
	if s.went-went > splicesPerTick*pipeBytes || s.went == size {
		r.Fatalf("%d bytes were spliced after that", s.went-went)
	}
	r.closed(s.from)
	r.closed(s.to)
}

// testSpliceCloseFrom: what has left the source reaches the target.
func testSpliceCloseFrom(r *rig) {
	s := newSplicing(r, 6_000_000)
	want := pattern(1, s.left)
	s.splice()
	go io.WriteString(s.src, want)
	s.until("a part", func() bool { return s.went > 0 })
	r.l.Close(s.from)
	r.expect(Closed, s.from)
	r.l.Shutdown(s.to)
	// More may have left than there are events for that were pulled.
	var got []byte
	done := make(chan error, 1)
	go func() {
		var err error
		got, err = io.ReadAll(s.dst)
		done <- err
	}()
	s.wait(done)
	if len(got) < 6_000_000-s.left {
		r.Fatalf("%d bytes arrived, %d were spliced", len(got), 6_000_000-s.left)
	}
	r.same(string(got), want[:len(got)])
	r.closed(s.to)
}

// testSpliceCloseTo: the source receives as ever.
func testSpliceCloseTo(r *rig) {
	const size = 16 << 20
	s := newSplicing(r, size)
	s.splice()
	go io.WriteString(s.src, pattern(1, size))
	s.until("a beginning", func() bool { return s.went > 0 })
	r.l.Close(s.to)
	left, closed := s.left, false
	for left > 0 || !closed {
		ev := r.next(testTimeout)
		switch {
		case ev == nil:
			r.Fatalf("%d bytes are left, closed: %v", left, closed)
		case ev.Kind == Closed && ev.Conn == s.to:
			closed = true
		case ev.Kind == Received:
			left -= len(r.take(ev))
		case ev.Kind == Spliced && !closed:
			left -= int(ev.N)
		default:
			r.Fatalf("%v of %x (errno %v)", ev.Kind, ev.Conn, ev.Errno)
		}
	}
	r.equal("left", left, 0)
	r.closed(s.from)

	// What was dropped is not what others get.
	s = newSplicing(r, 2_000_000)
	want := pattern(7, s.left)
	s.splice()
	s.whole(want)
	r.closed(s.from)
	r.closed(s.to)
}

func testSpliceCloseBoth(r *rig) {
	for round := range 10 {
		s := newSplicing(r, 16<<20)
		s.splice()
		go io.WriteString(s.src, pattern(1, 8<<20))
		if round > 1 {
			s.until("a beginning", func() bool { return s.went > 0 })
		}
		if round%2 == 0 {
			r.l.Close(s.from)
			r.l.Abort(s.to)
		} else {
			r.l.Close(s.to)
			r.l.Close(s.from)
		}
		r.expect(Closed, 0)
		r.expect(Closed, 0)
	}
}

// testSpliceNoPipe: where there is none, bytes go in blocks.
func testSpliceNoPipe(r *rig) {
	s := newSplicing(r, 1_000_000)
	want := pattern(1, s.left)
	s.splice()
	r.l.pipeCount += pipesMax
	if r.l.trimPipes(); r.l.Splice(s.to, s.from, 1) {
		r.Error("Splice promises a pipe")
	}
	s.whole(want)
	r.equal("spliced", s.went, 0)
	r.l.pipeCount -= pipesMax
	r.closed(s.from)
	r.closed(s.to)
}

func testSpliceRefused(r *rig) {
	s := newSplicing(r, 100)
	other, _ := r.tcpPair(SockOpts{})
	timer := r.l.NewTimer(1)
	for what, yes := range map[string]bool{
		"to itself":         r.l.Splice(s.from, s.from, 1),
		"nothing":           r.l.Splice(s.from, s.to, 0),
		"to nobody":         r.l.Splice(s.from, 0, 1),
		"from nobody":       r.l.Splice(1<<40, s.to, 1),
		"to a timer":        r.l.Splice(s.from, timer, 1),
		"from a timer":      r.l.Splice(timer, s.to, 1),
		"first":             !r.l.Splice(s.from, s.to, 1),
		"to one in use":     r.l.Splice(other, s.to, 1),
		"from one in use":   r.l.Splice(s.from, other, 1),
		"to the other side": r.l.Splice(other, s.from, 1),
	} {
		if yes {
			r.Errorf("Splice %s: not as it should be", what)
		}
	}
	r.l.Close(timer)
	r.expect(Closed, timer)
	r.closed(s.from)
	if r.l.Shutdown(s.to); r.l.Splice(other, s.to, 1) {
		r.Error("Splice to who sends no more")
	}
	r.closed(s.to)
	r.closed(other)
}

// testSpliceMany: more at once than there are pipes, to targets that read late.
func testSpliceMany(r *rig) {
	const size = 1 << 20
	all := map[ConnID]*splicing{}
	want := pattern(1, size)
	for range pipesMax + 6 {
		s := newSplicing(r, size)
		all[s.from], all[s.to] = s, s
	}
	for id, s := range all {
		if id != s.from {
			continue
		}
		if !r.l.Splice(s.from, s.to, size) {
			r.Fatal("Splice is not possible")
		}
		go io.WriteString(s.src, want)
	}
	var ends []chan error
	run := func(ok func() bool) {
		for deadline := time.Now().Add(6 * testTimeout); !ok(); {
			if time.Now().After(deadline) {
				r.Fatal("no end")
			}
			if ev := r.next(time.Millisecond); ev != nil {
				all[ev.Conn].handle(ev)
				if s := all[ev.Conn]; ev.Kind == Received && r.l.Queued(s.to) > 16*testBlock {
					r.l.Pause(s.from)
				} else if ev.Kind == Sent && r.l.Queued(s.to) < testBlock {
					r.l.Recv(s.from)
				}
			}
		}
	}
	began := time.Now()
	run(func() bool { return time.Since(began) > 300*time.Millisecond })
	for id, s := range all {
		if id == s.from {
			ends = append(ends, reading(s.dst, want, false))
		}
	}
	for _, end := range ends {
		run(func() bool {
			select {
			case err := <-end:
				if err != nil {
					r.Fatalf("peer: %v", err)
				}
				return true
			default:
				return false
			}
		})
	}
	if n := r.l.pipeCount; n > pipesMax {
		r.Errorf("%d pipes", n)
	}
	// What the peers have read may not have been reported yet, and that is not to come between what follows.
	run(func() bool {
		for _, s := range all {
			if !s.allGone() || r.l.Queued(s.to) > 0 {
				return false
			}
		}
		return true
	})
	for id := range all {
		r.closed(id)
	}
}
