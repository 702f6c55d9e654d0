package simnet

import (
	"fmt"
	"strconv"

	"golang.org/x/net/http2/hpack"
)

// A WebSocket on a stream (RFC 8441): an extended CONNECT opens it, and its bytes
// travel in DATA, cut anywhere. END_STREAM is a half-close, RST_STREAM a break.

// earlyBytes is what the proxy keeps for a client that does not wait for the
// answer, whatever its marks are.
const earlyBytes = 500

// talk begins to send a body as the messages of a WebSocket.
func (e *h2End) talk(s *h2Stream, direction int) {
	n := s.q.Body
	s.handed = &s.q.Sent
	if direction == downward {
		n, s.handed = s.q.Reply.Body, &s.q.Replied
	}
	s.said, s.places = appendMessages(nil, e.r.rng, s.q, direction, n)
	e.body(s, direction, len(s.said), false)
}

// content is the next n bytes of the body that is being sent.
func (s *h2Stream) content(n int) []byte {
	if s.places == nil {
		return appendBody(nil, s.q.ID, s.direction, s.at, n)
	}
	b := s.said[:n:n]
	s.said = s.said[n:]
	return b
}

// listen reads what came through a WebSocket, with data for what its messages
// carry.
func (e *h2End) listen(s *h2Stream, b []byte, data func([]byte) error) error {
	err := s.frames.feed(b, e.server, data, func(payload []byte) {
		pong, at := appendSocketFrame(nil, opPong, payload, !e.server, 99), 0
		if s.said, at = insert(s.said, s.at, s.places, pong); at >= 0 {
			s.n += len(pong)
			e.writeSoon()
		}
	})
	if err != nil {
		return err
	}
	if e.server {
		return e.r.closed(&s.frames, &s.q.ClientEnded, s.got, s.q.Body)
	}
	return e.r.closed(&s.frames, &s.q.ReplyEnded, s.got, s.q.Reply.Body)
}

// halfClose ends this end's direction before it has said all.
func (e *h2End) halfClose(s *h2Stream) {
	s.outgoing, s.sentEnd = false, true
	e.frame(h2Data, h2EndStream, s.id, nil)
	e.forget(s)
}

// connect asks for a WebSocket. A client that has nothing to say, and does not
// wait for the answer, may end its direction with the head.
func (c *h2Client) connect(s *h2Stream) {
	q := s.q
	bare := q.Early && q.BreakAt == 0 && q.BreakHow == byHalfClose
	c.headers(s, bare, ":method", "CONNECT", ":protocol", "websocket", ":scheme", c.r.scheme(), ":path", fmt.Sprintf("/r/%d?q=%d", q.ID, q.Body),
		":authority", "sim.example", "sec-websocket-version", "13", "x-id", strconv.Itoa(q.ID), "x-fill", fill(q.ID, upward, q.Fill),
		"x-forwarded-for", forged, "forwarded", "for="+forged)
	c.say(&q.HeadSent)
	switch {
	case bare:
		c.r.Leaves++
		q.ClientEnded = true
		c.say(&q.Sent)
	case q.Early:
		c.speak(s)
	}
	if !q.Tunnels() {
		c.say(&q.Sent)
	}
}

// speak sends what the client has to say, to the byte at which it breaks off; in
// calm runs no more than will be kept before there is an answer.
func (c *h2Client) speak(s *h2Stream) {
	q := s.q
	c.talk(s, upward)
	switch {
	case q.BreakAt >= 0:
		s.stopAt, s.stop = min(q.BreakAt, s.n), func() { c.breakOff(s) }
	case !s.tunnel && c.r.Traits.Calm:
		s.stopAt, s.stop = min(earlyBytes, s.n), func() { s.outgoing = false }
	}
}

func (c *h2Client) breakOff(s *h2Stream) {
	c.r.Leaves++
	if s.q.BreakHow != byHalfClose {
		c.resetStream(s, h2Cancel)
		c.over(s)
		return
	}
	s.q.ClientEnded = true
	c.halfClose(s)
	c.spent(s)
}

// onTunnel: the answer agrees.
func (c *h2Client) onTunnel(s *h2Stream, h *head, id string) error {
	for _, name := range []string{"sec-websocket-accept", "content-length"} {
		if v, ok, _ := h.get(name); ok {
			return fmt.Errorf("a tunnel's answer has %s: %s", name, v)
		}
	}
	s.tunnel = true
	switch {
	case s.sentEnd:
	case s.places == nil:
		c.speak(s)
	case c.r.Traits.Calm:
		s.stopAt, s.stop, s.outgoing = -1, nil, true
		c.writeSoon()
	}
	return s.q.checkReplyHead(h, id, 101)
}

// onConnect takes the place of a method in the head of a request: GET, if it is
// a WebSocket that may come here.
func (o *h2Origin) onConnect(q *Request, h *head, fields []hpack.HeaderField) error {
	if !o.connects {
		return fmt.Errorf("request %d is a CONNECT for an origin that has announced none", q.ID)
	}
	if got := named(fields, ":protocol"); got != "websocket" {
		return fmt.Errorf("request %d is a CONNECT to %q", q.ID, got)
	}
	if v, _, err := h.get("sec-websocket-version"); err != nil || v != "13" {
		return fmt.Errorf("request %d has version %q (%v)", q.ID, v, err)
	}
	if v, ok, _ := h.get("sec-websocket-key"); ok {
		return fmt.Errorf("request %d has key %s", q.ID, v)
	}
	return nil
}

// agree answers 200, says what there is to say, and breaks off where planned.
func (o *h2Origin) agree(s *h2Stream) {
	q, p := s.q, &s.q.Reply
	s.tunnel = true
	stopAt, end := -1, false
	var stop func()
	switch {
	case s.faulty && p.Cut >= 0 && p.How == byHalfClose:
		q.ReplyEnded = true
		stopAt, end = p.Cut, p.Cut == 0
		stop = func() { o.r.Cuts++; o.halfClose(s); o.over() }
	case s.faulty && p.Cut >= 0:
		stopAt, stop = p.Cut, func() { o.r.Cuts++; o.resetStream(s, p.Code); o.over() }
		if p.Cut == 0 {
			stop()
			return
		}
	case s.faulty && p.Stop >= 0:
		stopAt, stop = p.Stop, func() { o.r.Stops++; s.outgoing = false }
	}
	for range p.Interims {
		o.headers1xx(s, "103")
	}
	o.headers(s, end, ":status", "200", "x-id", strconv.Itoa(q.ID), "x-fill", fill(q.ID, downward, p.Fill))
	if end {
		o.r.Cuts++
		o.forget(s)
		o.over()
		return
	}
	o.talk(s, downward)
	if stop != nil {
		s.stopAt, s.stop = min(stopAt, s.n), stop
	}
}
