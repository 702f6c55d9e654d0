package proxy

// Peers that are slow on purpose hold what they hold for little: one byte
// before every timeout keeps a connection for ever. So, beside the longest
// pause, there is a least rate (limits.min_rate), over spans of at least the
// timeout in question. It is looked at where a deadline is set anyway: writeDeadline
// and readDeadline then return the present, and stillTakes and stillGives judge when
// the deadline has come. A span in which the loop itself did not run for a while
// says nothing: peers stop when the kernel's buffers are full.

// writeDeadline is the deadline of a client that has bytes queued for it. Its rate
// runs from the first of a row of calls; clients.sent ends the row when nothing
// is queued.
func (w *Worker) writeDeadline(c *client) int64 {
	now, lim := w.l.Now(), &w.snap.Limits
	if lim.MinRate > 0 {
		if c.takeFrom == 0 {
			c.takeFrom, c.takeMark = now, w.taken(c)
		} else if now-c.takeFrom >= lim.SendNs {
			return now
		}
	}
	return now + lim.SendNs
}

// taken is how many bytes of its answers the client's host has acknowledged: what waits
// in the kernel has not been taken. (Of a stream nothing does: it has no connection.)
func (w *Worker) taken(c *client) uint64 { return c.sent - uint64(w.l.Unacked(c.conn)) }

// stillTakes judges a client whose deadline has come while bytes were queued;
// true: it is fast enough and has got another one.
func (w *Worker) stillTakes(c *client) bool {
	if c.takeFrom == 0 {
		return false
	}
	took := w.taken(c) - c.takeMark
	if took == 0 || took < w.snap.Limits.MinRate.Bytes(w.l.Leaps().RanNs(c.takeFrom, w.l.Now())) {
		return false
	}
	c.takeFrom = 0
	if at := w.writeDeadline(c); c.state == clientBusy {
		w.busyDue(c, w.xs.At(c.x), at)
	} else {
		w.legs.due(&c.leg, at)
	}
	return true
}

// readDeadline is the deadline of a client that is to send more of a request's body.
func (w *Worker) readDeadline(x *exchange) int64 {
	now, lim := w.l.Now(), &w.snap.Limits
	if lim.MinRate > 0 {
		if uint32(x.reqBytes) != x.bodySeen {
			x.bodySeen, x.bodyAtMs = uint32(x.reqBytes), x.sinceMs(now)
		}
		if x.bodyFromMs == 0 {
			x.bodyAtMs, x.bodyMark = x.sinceMs(now), x.reqBytes
			x.bodyFromMs = max(1, x.bodyAtMs)
		} else if x.watched(now) >= lim.RequestBodyNs {
			return now
		}
	}
	return now + lim.RequestBodyNs
}

// stillGives judges a client whose deadline has come in mid-body; true: it has
// not paused for too long, is fast enough and has got another deadline.
//
// Content within TLS comes when its record is whole. Who needs it has what has come of
// one counted, once: it is in bodyMark then. Of HTTP/2 it may be another stream's: a
// record is not long, so that does not go on.
func (w *Worker) stillGives(c *client, x *exchange) bool {
	part := uint64(0)
	if !w.gives(x, 0) {
		n, idleMs, shared := w.legs.partial(&c.leg)
		part = uint64(n)
		if int64(idleMs)*1e6 >= w.snap.Limits.RequestBodyNs || shared && x.bodyFromMs == 0 || !w.gives(x, part) {
			return false
		}
	}
	x.bodyFromMs = 0
	w.busyDue(c, x, w.readDeadline(x))
	x.bodyMark += part
	return true
}

// gives says that x has not paused for too long and is fast enough. It has not paused
// where part of a record has come.
func (w *Worker) gives(x *exchange, part uint64) bool {
	now, lim := w.l.Now(), &w.snap.Limits
	if x.bodyFromMs == 0 { // without a least rate the deadline is that of the pause
		return part > 0
	}
	if part == 0 && int64(x.sinceMs(now)-x.bodyAtMs)*1e6 >= lim.RequestBodyNs {
		return false
	}
	came := int64(x.reqBytes - x.bodyMark + part) // below 0 where a record that is whole by now had less content
	return came >= int64(lim.MinRate.Bytes(w.l.Leaps().RanNs(now-x.watched(now), now)))
}
