package proxy

import (
	"zproxy/proto/http2"
)

// A stream whose answer has left before its request had ended is told to stop
// (RFC 9113 8.1), but not at once: a client that reads the answer and
// RST_STREAM together may take the answer for lost (curl 7.88 does). So the
// stream lingers. Its window stays closed, and what still comes is thrown away.
// Most clients see the answer's end and end or reset the stream themselves;
// who has not when lingerNs are over since the answer was received is reset.

// finishStream: the answer of a stream has been queued whole, and its exchange
// is over.
func (w *Worker) finishStream(c *client) {
	st := w.streams.At(c.stream)
	c.state = clientFlush
	if st.owed > 0 { // nothing keeps the connection's window closed any more
		w.sessionOf(st).h2.Consumed(0, int(st.owed))
		st.owed = 0
	}
	if st.id == 0 || st.flags&streamEnded != 0 {
		w.lingerStream(c, st)
		return
	}
	w.clientDue(c, w.takeBy(c))
}

// lingerStream: the answer of a stream has left whole.
func (w *Worker) lingerStream(c *client, st *stream) {
	c.state = clientLinger
	if w.lingeringStreamEnded(c, st) {
		return
	}
	se := w.sessionOf(st)
	c.takeMark, c.takeFrom = se.sent+uint64(w.l.Queued(se.conn)), w.l.Now()
	w.clientDue(c, w.l.Now()+lingerNs)
}

// lingeringStreamEnded lets a stream go that has come to its end from both
// sides.
func (w *Worker) lingeringStreamEnded(c *client, st *stream) bool {
	if c.state != clientLinger || st.id != 0 {
		return false
	}
	w.endClientStream(c, http2.ErrNo)
	return true
}

// lingeringStreamTimeout resets a stream whose client has had the end of its
// answer for a while, or has not taken it for send_timeout: its connection's
// deadline does not judge what only the kernel still holds.
func (w *Worker) lingeringStreamTimeout(c *client) {
	se := w.sessionOf(w.streams.At(c.stream))
	if se.taken(w) < c.takeMark && w.l.Now()-c.takeFrom < w.snap.limits.sendNs {
		w.clientDue(c, w.l.Now()+lingerNs)
		return
	}
	w.endClientStream(c, http2.ErrNo)
}
