package proxy

import (
	"zproxy/proto/http2"
	"zproxy/proxy/h2conn"
)

// A stream whose answer has left before its request had ended is told to stop
// (RFC 9113 8.1), but not at once: a client that reads the answer and
// RST_STREAM together may take the answer for lost (curl 7.88 does). So the
// stream lingers. Its window stays closed, and what still comes is thrown away.
// Most clients see the answer's end and end or reset the stream themselves;
// who has not when lingerNs are over since the answer was received is reset.

// finishAnswer: the answer of a stream has been queued whole, and its exchange
// is over.
func (cs *clients) finishAnswer(c *client) {
	st := cs.w.streams.At(c.stream)
	c.state = clientFlush
	cs.w.streams.Settle(st) // nothing keeps the connection's window closed any more
	if st.HasEnded() {
		cs.lingerStream(c, st)
		return
	}
	cs.w.legs.due(&c.leg, cs.w.writeDeadline(c))
}

// lingerStream: the answer of a stream has left whole.
func (cs *clients) lingerStream(c *client, st *h2conn.Stream) {
	c.state = clientLinger
	if cs.lingerEnded(c, st) {
		return
	}
	c.takeMark, c.takeFrom = cs.w.streams.SendsUpTo(st), cs.l.Now()
	cs.w.legs.due(&c.leg, cs.l.Now()+lingerNs)
}

// lingerEnded lets a stream go that has come to its end from both
// sides.
func (cs *clients) lingerEnded(c *client, st *h2conn.Stream) bool {
	if c.state != clientLinger || !st.IsOver() {
		return false
	}
	cs.w.requests.endClientStream(c, http2.ErrNo)
	return true
}

// streamLingers resets a stream whose client has had the end of its
// answer for a while, or has not taken it for send_timeout: its connection's
// deadline does not judge what only the kernel still holds.
func (cs *clients) streamLingers(c *client) {
	if cs.w.streams.Taken(cs.w.streams.At(c.stream)) < c.takeMark && cs.l.Now()-c.takeFrom < cs.w.snap.Limits.SendNs {
		cs.w.legs.due(&c.leg, cs.l.Now()+lingerNs)
		return
	}
	cs.w.requests.endClientStream(c, http2.ErrNo)
}
