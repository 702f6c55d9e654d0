package proxy

import (
	"time"

	"zproxy/buf"
	"zproxy/loop"
	"zproxy/proto/http2"
)

// A client that still sends when its last answer has left must not be closed at
// once: bytes that nobody reads are answered with a reset, which destroys what of
// the answer the client has not read yet (RFC 9112 9.6). So its connection
// lingers: the write side is closed, and what comes is thrown away until the
// client closes as well, or nothing comes for limits.lingering_timeout, or
// limits.lingering_time is over. Connections of HTTP/2 that end with a GOAWAY do
// the same.
//
// Such a connection holds nothing but its place. Where places become few, those
// that have lingered the longest go. Many of them may send as fast as they can, and
// others are not to wait for that: no loop throws away more than discardBytes in
// discardNs, and who has his turn after that is not read before it.

// lingererNs is how often it is looked at who lingers where places are few: all
// clients are walked.
const lingererNs = int64(50 * time.Millisecond)

const (
	discardNs    = int64(10 * time.Millisecond)
	discardBytes = 1 << 20
	discardTurns = 4 // so many are read on after each discardNs
)

// discarding is what has come behind last answers since a time, and the
// connections that are not read for it, those first that have not been for longest.
type discarding struct {
	since  int64
	bytes  int
	unread []loop.ConnID
}

// closeAfterFlush closes once the queued bytes have left. With linger the
// write side is closed first and input discarded, lest a reset overtake the
// answer.
func (w *Worker) closeAfterFlush(c *client, linger bool) {
	if c.stream != 0 {
		w.clientFinish(c)
		w.finishStream(c)
		return
	}
	w.pool.Drop(&c.in)
	c.requests = 0
	if linger {
		// What comes is thrown away at once, but it takes a block until then: heads go
		// first, and accepting does not wait for it.
		w.clientBulk(c, true)
		w.l.Shutdown(c.conn)
		w.resumeClient(c)
		w.lingerClient(c)
		return
	}
	if w.clientQueued(c) == 0 {
		w.closeClient(c)
		return
	}
	c.state = clientFlush
	w.l.Shutdown(c.conn) // its end leaves with the last bytes
	w.clientDue(c, w.l.Now()+w.snap.limits.sendNs)
}

// flushed: all has left to a client that was to be closed then. Should it have
// sent something meanwhile, it may be sending more.
func (w *Worker) flushed(c *client) {
	if c.requests == 0 {
		w.closeClient(c)
		return
	}
	w.lingerClient(c)
}

func (w *Worker) lingerClient(c *client) {
	c.state = clientLinger
	w.lingering++
	if w.clientQueued(c) == 0 {
		c.takeFrom = 0
		if c.flags&clientEOF != 0 {
			w.closeClient(c)
			return
		}
	}
	w.lingerDeadline(c)
}

// lingerDeadline: the answer must go on leaving; once it has, the lingering
// begins.
func (w *Worker) lingerDeadline(c *client) {
	if w.clientQueued(c) > 0 {
		w.clientDue(c, w.takeBy(c))
		return
	}
	if c.takeFrom == 0 {
		c.takeFrom = w.l.Now()
	}
	w.clientDue(c, w.lingerBy(c.takeFrom, c.flags&clientPaused == 0))
}

// lingerBy is the deadline of a client that has just sent something, or has only
// begun to linger. Who is not read has not fallen silent.
func (w *Worker) lingerBy(since int64, read bool) int64 {
	lim := &w.snap.limits
	pause := lim.lingerTimeoutNs
	if !read {
		pause = lim.lingerTimeNs
	}
	if w.draining {
		pause = min(pause, lingerNs)
	}
	return min(w.l.Now()+pause, since+lim.lingerTimeNs)
}

// discard takes bytes of a client that is no more listened to.
func (w *Worker) discard(c *client, v buf.View) {
	c.requests += v.Len
	w.pool.Release(v)
	if c.requests > lingerBytes {
		w.closeClient(c)
		return
	}
	if w.discards(v.Len) && c.flags&clientPaused == 0 {
		w.pauseClient(c)
		w.discarding.unread = append(w.discarding.unread, c.conn)
	}
	if c.state == clientLinger && w.clientQueued(c) == 0 {
		w.lingerDeadline(c)
	}
}

// discards counts n bytes that are thrown away; true: no more for now.
func (w *Worker) discards(n uint32) bool {
	d := &w.discarding
	if now := w.l.Now(); now-d.since >= discardNs {
		d.since, d.bytes = now, 0
	}
	d.bytes += int(n)
	return d.bytes > discardBytes
}

// discardOn has those read whose turn it is.
func (w *Worker) discardOn() {
	d := &w.discarding
	if len(d.unread) == 0 || w.l.Now()-d.since < discardNs {
		return
	}
	d.since, d.bytes = w.l.Now(), 0
	k := 0
	for turns := 0; k < len(d.unread) && turns < discardTurns; k++ {
		owner := w.l.Owner(d.unread[k])
		switch i := owner & ownerMask; {
		case owner == 0: // it is gone
		case owner>>ownerShift == ownerSession:
			if se := w.sessions[i]; se.state == sessionFlush && se.paused {
				turns++
				se.paused = false
				w.l.Recv(se.conn)
				w.lingerSession(se)
			}
		default:
			if c := w.clients.At(i); c.state == clientFlush || c.state == clientLinger {
				turns++
				w.resumeClient(c)
				if c.state == clientLinger && w.clientQueued(c) == 0 {
					w.lingerDeadline(c)
				}
			}
		}
	}
	d.unread = d.unread[:copy(d.unread, d.unread[k:])]
}

// lingersNoMore comes before a client's state changes for the last time.
func (w *Worker) lingersNoMore(c *client) {
	if c.state == clientLinger && c.stream == 0 {
		w.lingering--
	}
}

func (w *Worker) sessionLingersNoMore(se *session) {
	if se.state == sessionFlush && se.role == http2.Server {
		w.lingering--
	}
}

// lingerSession is lingerDeadline for a client's session that has ended.
func (w *Worker) lingerSession(se *session) {
	if w.l.Queued(se.conn) > 0 {
		if se.takeFrom == 0 {
			se.takeFrom, se.takeMark = w.l.Now(), se.taken(w)
		}
		w.l.Deadline(se.conn, se.takeFrom+w.snap.limits.sendNs)
		return
	}
	if se.ended {
		w.dropSession(se)
		return
	}
	if se.leaveAt == 0 {
		se.leaveAt = w.l.Now()
	}
	w.l.Deadline(se.conn, w.lingerBy(se.leaveAt, !se.paused))
}

func (w *Worker) lingeringSessionReceived(se *session, n uint32) {
	se.discarded += n
	if se.discarded > lingerBytes {
		w.dropSession(se)
		return
	}
	if w.discards(n) && !se.paused {
		se.paused = true
		w.l.Pause(se.conn)
		w.discarding.unread = append(w.discarding.unread, se.conn)
	}
	if w.l.Queued(se.conn) == 0 {
		w.lingerSession(se)
	}
}

func (w *Worker) lingeringSessionTimeout(se *session) {
	if se.role == http2.Server && w.l.Queued(se.conn) > 0 {
		if !se.takes(w) {
			w.m.ClientAborts++
			w.breakSession(se, "")
			return
		}
		se.takeFrom = 0
		w.lingerSession(se)
		return
	}
	w.dropSession(se)
}

// endLingerers closes connections that linger where most places are taken: those
// of the first half of the time since the first of them began.
func (w *Worker) endLingerers() {
	now := w.l.Now()
	if w.lingering == 0 || now < w.lingererAt || !w.l.NearlyFull() {
		return
	}
	w.lingererAt = now + lingererNs
	first := now
	for i := uint32(1); i <= uint32(w.clients.Cap()); i++ {
		if w.clients.Live(i) && w.onlyLingers(w.clients.At(i)) {
			first = min(first, w.clients.At(i).takeFrom)
		}
	}
	for _, se := range w.sessions {
		if se != nil && se.onlyLingers() {
			first = min(first, se.leaveAt)
		}
	}
	until := first + (now-first)/2
	for i := uint32(1); i <= uint32(w.clients.Cap()); i++ {
		if w.clients.Live(i) && w.onlyLingers(w.clients.At(i)) && w.clients.At(i).takeFrom <= until {
			w.closeClient(w.clients.At(i))
		}
	}
	for _, se := range w.sessions {
		if se != nil && se.onlyLingers() && se.leaveAt <= until {
			w.dropSession(se)
		}
	}
}

// onlyLingers says that all has left to a client that lingers.
func (w *Worker) onlyLingers(c *client) bool {
	return c.state == clientLinger && c.stream == 0 && w.clientQueued(c) == 0 && c.takeFrom != 0
}

func (se *session) onlyLingers() bool {
	return se.state == sessionFlush && se.role == http2.Server && se.leaveAt != 0
}
