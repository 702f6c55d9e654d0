package loop

import (
	"golang.org/x/sys/unix"

	"zproxy/buf"
)

// What a backend reports. None of these calls the owner: they put events into
// the queue, and work into the todo list of the next Poll.

// opBegin counts an operation that is in the kernel and refers to c.
func (l *Loop) opBegin(c *conn) { c.inflight++ }

// opEnd counts its end, after what it brought was reported.
func (l *Loop) opEnd(id ConnID, c *conn) {
	c.inflight--
	if c.inflight == 0 && c.has(flagTornDown) {
		l.teardown(id, c)
	}
}

// connected is the end of a dial.
func (l *Loop) connected(id ConnID, c *conn, errno unix.Errno) {
	if c.has(flagClosing) {
		return
	}
	if errno == 0 {
		c.flags &^= flagConnecting
		if c.has(flagRecvDirty|flagShutWanted) || !c.sendq.Empty() {
			l.todo(id, c)
		}
	} else {
		c.flags |= flagSendBroken | flagRecvEnded
		l.pool.Drop(&c.sendq)
	}
	l.push(Event{Kind: Connected, Conn: id, Errno: errno, FD: -1})
}

// received passes v on.
func (l *Loop) received(id ConnID, c *conn, v buf.View) {
	if c.has(flagClosing | flagRecvEnded) {
		c.flags |= flagSpoiled
		l.pool.Release(v)
		return
	}
	if c.has(flagSpliceFrom) {
		l.deduct(c, v.Len)
	}
	l.stats.Received += uint64(v.Len)
	if c.watermark != 0 {
		l.pieceReceived(c, uint64(v.Len))
	}
	l.push(Event{Kind: Received, Conn: id, N: v.Len, View: v, FD: -1})
}

// recvEnded ends the subscription.
func (l *Loop) recvEnded(id ConnID, c *conn, errno unix.Errno) {
	if c.has(flagClosing | flagRecvEnded) {
		c.flags |= flagSpoiled
		return
	}
	c.flags |= flagRecvEnded
	if c.has(flagSpliceFrom) {
		l.endSpliceFrom(c)
	}
	if errno == 0 && c.has(flagReset) {
		errno = unix.ECONNRESET // the kernel tells it once, and calls the rest an end of file
	}
	l.push(Event{Kind: RecvEnd, Conn: id, Errno: errno, FD: -1})
}

// sent takes n bytes from the front of the queue or, with an errno, all of it.
func (l *Loop) sent(id ConnID, c *conn, n int, errno unix.Errno) {
	if errno != 0 {
		n = c.sendq.Bytes()
		l.pool.Drop(&c.sendq)
		c.flags |= flagSendBroken | flagSpoiled
		if c.has(flagSpliceTo) {
			n += l.endSpliceTo(c)
		}
		if errno == unix.ECONNRESET {
			c.flags |= flagReset
		}
	} else {
		l.pool.Consume(&c.sendq, n)
	}
	l.sentSome(id, c, n, errno)
}

// sentSome goes on after n bytes have left, by whatever way.
func (l *Loop) sentSome(id ConnID, c *conn, n int, errno unix.Errno) {
	if c.has(flagClosing) {
		return
	}
	if !c.has(flagSendBusy) && !c.sendq.Empty() {
		l.todo(id, c)
	}
	if c.has(flagSpliceTo) {
		l.resumeSplice(c)
	}
	l.shutdownIfSent(id, c)
	l.push(Event{Kind: Sent, Conn: id, Errno: errno, N: uint32(n), FD: -1})
}

// shutdownIfSent ends the sending direction when that is wanted and everything
// has left, or waits in the kernel for this to leave together with the end.
func (l *Loop) shutdownIfSent(id ConnID, c *conn) {
	if c.sendq.Empty() && c.flags&(flagShutWanted|flagShutDone|flagSendBusy|flagSendBroken) == flagShutWanted {
		c.flags |= flagShutDone
		l.be.shutdown(id, c)
	}
}

// again makes the next Poll call recvOn (when subscribed) and flush (when
// there is something to send) once more.
func (l *Loop) again(id ConnID, c *conn) {
	if c.has(flagClosing) {
		return
	}
	c.flags |= flagRecvDirty
	if c.has(flagSub) {
		l.partial = true // there may be more in its socket
	}
	l.todo(id, c)
}

// teardown is the join at the end of a connection. It is entered when the
// close intent is carried out and again when the last operation in flight is
// back; whoever comes last finishes.
func (l *Loop) teardown(id ConnID, c *conn) {
	if c.has(flagFinished) {
		return
	}
	if !c.has(flagTornDown) {
		if !c.sendq.Empty() || c.has(flagConnecting|flagSendBroken|flagRecvEnded) {
			c.flags |= flagSpoiled
		}
		if !c.has(flagTimerOnly|flagAdopt) && c.fd >= 0 {
			l.be.cancel(id, c)
		}
		if l.endSplice(c) > 0 {
			c.flags |= flagSpoiled
		}
		if c.watermark != 0 {
			l.endWatermark(c)
		}
		c.flags |= flagTornDown
		if c.has(flagFinished) {
			return
		}
	}
	if c.inflight != 0 {
		return
	}
	c.flags |= flagFinished
	l.pool.Drop(&c.sendq)
	l.wheel.remove(&l.conns, id.slot(), c)
	c.deadline = 0
	if c.has(flagTimerOnly) {
		l.timerCount--
		l.push(Event{Kind: Closed, Conn: id, FD: -1})
		return
	}
	l.uncountConn(c)
	fd := int32(-1)
	if c.has(flagExport) && !l.spoiled(id, c) && (c.has(flagAdopt) || l.be.detach(id, c)) {
		fd = c.fd
	} else if c.fd >= 0 {
		l.be.close(id, c)
		l.descriptorClosed()
	}
	c.fd = -1
	l.push(Event{Kind: Closed, Conn: id, FD: fd})
}

// spoiled says whether an exported connection has lost something, also among
// the events that were collected and not pulled.
func (l *Loop) spoiled(id ConnID, c *conn) bool {
	if c.has(flagSpoiled) || c.fd < 0 {
		return true
	}
	for i := l.head; i < len(l.events); i++ {
		if ev := &l.events[i]; ev.Conn == id && ev.lost() {
			return true
		}
	}
	return false
}
