package loop

import "golang.org/x/sys/unix"

const (
	splicesMax     = 255 // at once; conn.splice is a byte
	splicesPerTick = 4   // fillings of a pipe, per connection
)

// splice is bytes on their way from one connection to another. A pipe is used
// only while there are bytes in it.
type splice struct {
	from  ConnID // 0: it has given what it had to
	to    ConnID
	left  uint64 // bytes that are still to come
	held  int    // bytes in the pipe
	pipe  pipe
	begun bool  // nothing that came before stands in its way
	waits bool  // from goes on when to has taken what there is
	next  uint8 // in the free list
}

// Splice lets the next n bytes of from, counted behind the last Received or
// Spliced that was pulled, go to to behind what was Sent, without becoming
// blocks. What is in blocks already is Received as ever, and counts. What goes this way is
// reported as Spliced to from and, once the kernel has taken it, as Sent to to.
// Recv, Pause and RecvEnd of from are as before; behind the n bytes, or when
// the splice cannot go on (no pipe, to is shut down, broken or closed), it is
// Received again. Close(from) leaves what is under way to to; Close(to) drops
// it, like what is queued. The next filling of the pipe waits until to has taken
// the last one. False: not possible now.
func (l *Loop) Splice(from, to ConnID, n uint64) bool {
	c, d := l.live(from), l.live(to)
	if c == nil || d == nil || c == d || c.splice != 0 || d.splice != 0 || !l.pipesLeft() ||
		c.has(flagConnecting|flagRecvEnded|flagTimerOnly) || d.has(flagConnecting|flagSendBroken|flagShutWanted|flagTimerOnly) {
		return false
	}
	if n -= min(n, l.unpulled(from)); n == 0 {
		return false
	}
	i := l.newSplice()
	if i == 0 {
		return false
	}
	l.splices[i] = splice{from: from, to: to, left: n}
	c.splice, d.splice = i, i
	c.flags = c.flags&^flagParked | flagSpliceFrom | flagRecvDirty // it needs no block now
	d.flags |= flagSpliceTo
	l.todo(from, c)
	return true
}

// newSplice takes an entry; 0: there is none.
func (l *Loop) newSplice() uint8 {
	if l.freeSplice != 0 {
		i := l.freeSplice
		l.freeSplice = l.splices[i].next
		return i
	}
	if len(l.splices) > splicesMax {
		return 0
	}
	if len(l.splices) == 0 {
		l.splices = append(l.splices, splice{}) // 0 is none
	}
	l.splices = append(l.splices, splice{})
	return uint8(len(l.splices) - 1)
}

// relayed is what relay asks of a backend.
type relayed uint8

const (
	relayWait  relayed = iota // call it again when the socket can be read
	relayLater                // nothing: recvOn will be called, or has nothing to do any more
	relayOver                 // receive as usual
)

// relay moves what c has received, whose next bytes are spliced, as far as they
// can go. Backends call it where they would receive, with nothing in flight.
func (l *Loop) relay(id ConnID, c *conn) relayed {
	s := &l.splices[c.splice]
	d := l.live(s.to)
	if d == nil || d.has(flagSendBroken|flagShutWanted) {
		l.endSpliceFrom(c)
		return relayOver
	}
	if !s.begun && l.unpulled(id) > 0 {
		l.again(id, c)
		return relayLater
	}
	if !d.sendq.Empty() || d.has(flagSendBusy) {
		s.waits = true
		l.todo(s.to, d)
		return relayLater
	}
	s.begun = true
	for range splicesPerTick {
		p, ok := l.takePipe()
		if !ok {
			l.endSpliceFrom(c)
			return relayOver
		}
		n, errno := l.be.pull(c, p, int(min(s.left, pipeBytes)))
		l.stats.RecvCalls++
		if errno != 0 || n == 0 {
			l.pipes = append(l.pipes, p)
			if errno == unix.EINTR {
				continue
			}
			return l.pulledNothing(id, c, errno)
		}
		s.pipe, s.held = p, n
		s.left -= uint64(n)
		l.stats.Spliced += uint64(n)
		if c.watermark != 0 {
			l.pieceReceived(c, uint64(n))
		}
		over := s.left == 0
		l.push(Event{Kind: Spliced, Conn: id, N: uint32(n), FD: -1})
		to := s.to
		if over {
			l.endSpliceFrom(c)
		}
		drained := l.drain(to, d)
		if over || c.splice == 0 { // the latter: to is broken
			return relayOver
		}
		if !drained {
			s.waits = true
			return relayLater
		}
	}
	l.again(id, c)
	return relayLater
}

// unpulled is how many bytes were received which the owner has not seen.
func (l *Loop) unpulled(id ConnID) (n uint64) {
	for i := l.head; i < len(l.events); i++ {
		if ev := &l.events[i]; ev.Conn == id && (ev.Kind == Received || ev.Kind == Spliced) {
			n += uint64(ev.N)
		}
	}
	return n
}

// pulledNothing is what it means that the pipe stayed empty.
func (l *Loop) pulledNothing(id ConnID, c *conn, errno unix.Errno) relayed {
	switch errno {
	case unix.EAGAIN:
		l.drained(c)
		return relayWait
	case unix.EINVAL, unix.ENOSYS, unix.EPERM:
		// No splice for this kind of socket, on this kernel, in this sandbox.
		l.pipesRestUntil = l.nowNs + pipesRestNs
		fallthrough
	case unix.ENOMEM:
		l.endSpliceFrom(c)
		return relayOver
	}
	l.recvEnded(id, c, errno)
	return relayLater
}

// drain gives c what the pipe has for it. False: c takes no more for now and
// drain will be called again, or c is broken.
func (l *Loop) drain(id ConnID, c *conn) bool {
	s := &l.splices[c.splice]
	if s.held == 0 {
		return true
	}
	n, errno := 0, unix.Errno(0)
	for s.held > 0 && errno == 0 {
		var k int
		k, errno = l.be.push(c, s.pipe, s.held)
		l.stats.SendCalls++
		switch {
		case errno == unix.EINTR:
			errno = 0
		case errno == 0 && k == 0:
			errno = unix.EPIPE // cannot be; going round for ever is worse
		case errno == 0:
			s.held -= k
			n += k
		}
	}
	if s.held == 0 {
		l.pipes = append(l.pipes, s.pipe)
		if s.from == 0 {
			l.freeSpliceOf(c)
		}
	} else if errno == unix.EAGAIN {
		l.stats.ShortSends++
		l.be.awaitRoom(id, c)
	}
	if n > 0 {
		l.sentSome(id, c, n, 0)
	}
	if errno != 0 && errno != unix.EAGAIN {
		l.sent(id, c, 0, errno)
	}
	return errno == 0
}

// resumeSplice lets the other side of a splice go on when c has nothing left to
// send.
func (l *Loop) resumeSplice(c *conn) {
	s := &l.splices[c.splice]
	if s.waits && s.held == 0 && c.sendq.Empty() && !c.has(flagSendBusy) {
		s.waits = false
		if from := l.conns.lookup(s.from); from != nil {
			l.again(s.from, from)
		}
	}
}

// spliceBegun says that what is in flight for c to be received is part of its
// splice.
func (l *Loop) spliceBegun(c *conn) bool { return l.splices[c.splice].begun }

// deduct counts what c received before its splice could begin.
func (l *Loop) deduct(c *conn, n uint32) {
	s := &l.splices[c.splice]
	if s.left -= min(s.left, uint64(n)); s.left == 0 {
		l.endSpliceFrom(c)
	}
}

// endSpliceFrom makes c receive as usual. What the pipe has stays on its way.
// What comes next is likely to be a head with another long body behind it.
func (l *Loop) endSpliceFrom(c *conn) {
	s := &l.splices[c.splice]
	c.splice = 0
	c.flags &^= flagSpliceFrom
	if s.begun {
		c.flags |= flagBrief
	}
	s.from, s.left = 0, 0
	if s.held == 0 {
		l.freeSpliceOf(l.conns.lookup(s.to))
	}
}

// endSpliceTo drops what the pipe has for c, and gives the number of bytes. The
// other side receives as usual.
func (l *Loop) endSpliceTo(c *conn) (lost int) {
	s := &l.splices[c.splice]
	lost = s.held
	if lost > 0 {
		l.losePipe(s.pipe)
		s.held = 0
	}
	from := l.conns.lookup(s.from)
	if from == nil {
		l.freeSpliceOf(c)
		return lost
	}
	id := s.from
	l.endSpliceFrom(from)
	l.again(id, from)
	return lost
}

// endSplice takes a connection that ends out of its splice, and gives the number
// of bytes that are lost with it.
func (l *Loop) endSplice(c *conn) int {
	if c.has(flagSpliceFrom) {
		l.endSpliceFrom(c)
	}
	if c.has(flagSpliceTo) {
		return l.endSpliceTo(c)
	}
	return 0
}

// freeSpliceOf frees the entry of the receiving side to; nothing is held.
func (l *Loop) freeSpliceOf(to *conn) {
	i := to.splice
	to.splice = 0
	to.flags &^= flagSpliceTo
	l.splices[i] = splice{next: l.freeSplice}
	l.freeSplice = i
}
