package proxy

import (
	"bytes"

	"golang.org/x/sys/unix"

	"zproxy/buf"
	"zproxy/internal/slab"
	"zproxy/loop"
	"zproxy/proto"
	"zproxy/proto/http1"
	"zproxy/proto/http2"
	"zproxy/proxy/tunnel"
)

type clientState uint8

const (
	clientIdle    clientState = iota // between requests: nothing received
	clientHead                       // part of a head is in c.in
	clientBusy                       // an exchange is under way
	clientTunnel                     // 101 was sent: bytes pass both ways
	clientFlush                      // last answer queued: close once it has left
	clientLinger                     // write side closed: discard until the peer closes too
	clientClosing                    // Close was called: only Closed is still to come
)

const (
	clientPaused   = 1 << iota // reading is suspended
	clientEOF                  // the peer closed its write side
	clientRunnable             // listed in clients.runnable
	clientStalled              // takes no answers: its next request waits until it does
	clientSniff                // its first bytes say which version it speaks
)

// client is one accepted connection, or one stream of one. Pointer-free; 72
// bytes.
type client struct {
	leg
	requests uint32 // so far; once none more is read, the bytes discarded instead
	scanned  http1.Cursor
	listener uint16
	state    clientState
	flags    uint8
	sent     uint64 // bytes given to the kernel
	takeMark uint64 // bytes taken at takeFrom
	takeFrom int64  // since when its rate is watched, 0: it is not; of one that lingers, since when all has left
}

// clients are those of a worker: connections of HTTP/1, and streams.
type clients struct {
	part
	slab.Slab[client]
	runnable []uint32 // with a pipelined request left to serve
	ended    []uint32 // entries of streams that are free at the end of the turn
	bare     exchange // stands in for an exchange while bytes that are none are answered
	// lingering is how many connections of HTTP/1 linger, lingererAt when it is looked at next
	// whether they can stay.
	lingering  int
	lingererAt int64
	discarding discarding
}

func (cs *clients) event(i uint32, ev *loop.Event) {
	c := cs.At(i)
	switch ev.Kind {
	case loop.Received:
		cs.m.BytesIn += uint64(ev.N)
		cs.received(i, c, ev.View)
	case loop.Sent:
		cs.sent(i, c, ev)
	case loop.RecvEnd:
		cs.recvEnd(i, c, ev.Errno)
	case loop.Timer:
		cs.timeout(i, c)
	case loop.Closed:
		if c.flags&clientRunnable != 0 {
			cs.forgetRunnable(i)
		}
		if c.flags&clientPaused != 0 {
			cs.w.memory.paused--
		}
		cs.lingersNoMore(c)
		cs.pool.Drop(&c.in)
		cs.Free(i)
		cs.countConns(-1)
	}
}

func (cs *clients) received(i uint32, c *client, v buf.View) {
	switch c.state {
	case clientIdle, clientHead:
		cs.headBytes(i, c, v)
	case clientBusy:
		cs.busyBytes(i, c, v)
	case clientTunnel:
		cs.w.tunnels.fromClient(c, v)
	default:
		cs.discard(c, v)
	}
}

// headBytes parses the common case, a whole head in one block, where it
// lies; anything else goes through c.in.
func (cs *clients) headBytes(i uint32, c *client, v buf.View) {
	if c.flags&clientSniff != 0 && cs.sniff(i, c, v) {
		return
	}
	if c.in.Empty() && cs.w.legs.queued(&c.leg) <= cs.w.memory.High {
		cs.parseView(i, c, v)
		return
	}
	incomplete := c.state == clientHead && c.in.Len() > 1 && !cs.w.heads.mayEnd(&c.in, v)
	cs.pool.Coalesce(&c.in, v)
	if !incomplete && c.flags&clientRunnable == 0 && !cs.stall(c) {
		cs.parsePending(i, c)
	}
	if c.in.Bytes() > pipelineBytes && c.state != clientHead {
		cs.w.legs.pauseClient(c)
	}
}

// stall holds back the next request of a client that does not take the
// answers to those before: pipelining must not make the proxy keep them all.
func (cs *clients) stall(c *client) bool {
	if cs.w.legs.queued(&c.leg) <= cs.w.memory.High {
		return false
	}
	c.flags |= clientStalled
	cs.w.legs.pauseClient(c)
	cs.w.legs.due(&c.leg, cs.w.writeDeadline(c))
	return true
}

// idleSent: bytes of the last answer have left a client that is between
// requests. Its keep-alive time begins when all have.
func (cs *clients) idleSent(i uint32, c *client) {
	queued := cs.w.legs.queued(&c.leg)
	if c.flags&clientStalled != 0 {
		if queued > cs.w.memory.Low {
			cs.w.legs.due(&c.leg, cs.w.writeDeadline(c))
			return
		}
		c.flags &^= clientStalled
		cs.next(i, c)
		return
	}
	switch {
	case c.flags&clientRunnable != 0 || c.state == clientHead:
	case queued > 0:
		cs.w.legs.due(&c.leg, cs.w.writeDeadline(c))
	default:
		cs.idleDue(c)
	}
}

// parseView parses the head at v's first byte; c.in is empty.
func (cs *clients) parseView(i uint32, c *client, v buf.View) {
	n, scanned, f := http1.ParseRequest(cs.pool.Bytes(v), c.scanned, &cs.w.heads.limits, &cs.w.heads.head)
	switch {
	case f != nil:
		cs.replyBare(i, c, f, &cs.w.heads.head)
		cs.pool.Release(v)
	case n == 0:
		c.scanned = scanned
		cs.pool.Push(&c.in, v)
		cs.awaitHead(i, c)
	default:
		c.scanned = http1.Cursor{}
		if rest := v.Len - uint32(n); rest > 0 {
			cs.pool.Retain(v)
			cs.pool.Push(&c.in, v.Slice(uint32(n), rest))
		}
		cs.w.startExchange(i, c, &cs.w.heads.head, cs.w.heads.head.Body == proto.BodyNone || cs.w.heads.head.Length == 0, nil)
		cs.pool.Release(v)
	}
}

// parsePending parses the next request out of c.in, joining its head when it
// spans blocks.
func (cs *clients) parsePending(i uint32, c *client) {
	if (c.state != clientIdle && c.state != clientHead) || c.in.Empty() {
		return
	}
	if c.in.Len() == 1 {
		cs.parseView(i, c, cs.pool.Pop(&c.in))
		return
	}
	b := cs.w.heads.joined(&c.in, cs.w.heads.limits.HeadBytes+cs.pool.BlockBytes())
	n, scanned, f := http1.ParseRequest(b, c.scanned, &cs.w.heads.limits, &cs.w.heads.head)
	switch {
	case f != nil:
		cs.replyBare(i, c, f, &cs.w.heads.head)
	case n == 0:
		c.scanned = scanned
		cs.awaitHead(i, c)
	default:
		cs.m.HeadJoins++
		c.scanned = http1.Cursor{}
		cs.pool.Consume(&c.in, n)
		cs.w.startExchange(i, c, &cs.w.heads.head, cs.w.heads.head.Body == proto.BodyNone || cs.w.heads.head.Length == 0, nil)
	}
}

// awaitHead notes that a head is incomplete. Its deadline runs from its first
// byte, so a trickle cannot extend it.
func (cs *clients) awaitHead(i uint32, c *client) {
	if c.state == clientIdle {
		c.state = clientHead
		cs.w.legs.due(&c.leg, cs.l.Now()+cs.w.snap.Limits.RequestHeaderNs)
	}
	if c.flags&clientEOF != 0 {
		cs.closeAfterFlush(c, false)
		return
	}
	if cs.l.Crowded() {
		cs.shed(i, c)
		return
	}
	cs.w.legs.resumeClient(c) // it may have been paused for what came behind another request
}

// busyBytes takes bytes that arrive while an exchange is under way:
// request body, or requests pipelined behind it.
func (cs *clients) busyBytes(i uint32, c *client, v buf.View) {
	x := cs.w.xs.At(c.x)
	if x.flags&xRequestDone == 0 && c.in.Empty() {
		cs.feed(c, x, v)
	} else {
		incomplete := x.flags&xRequestTrailers != 0 && !cs.w.heads.mayEnd(&c.in, v)
		cs.pool.Coalesce(&c.in, v)
		if x.flags&xRequestDone == 0 && !incomplete {
			cs.pump(c, x)
		}
	}
	cs.applyBackpressure(c)
}

// applyBackpressure stops reading a client that has more than enough waiting.
func (cs *clients) applyBackpressure(c *client) {
	if c.state != clientBusy || c.flags&clientPaused != 0 {
		return
	}
	x := cs.w.xs.At(c.x)
	full := c.in.Bytes() > min(pipelineBytes, cs.w.memory.High)
	if x.flags&xRequestDone == 0 {
		full = cs.w.requests.backlog(x) > cs.w.memory.High
	}
	if full {
		cs.w.legs.pauseClient(c)
		cs.w.clientDeadline(c, x)
	}
}

// pump feeds body bytes that waited in c.in to the exchange.
func (cs *clients) pump(c *client, x *exchange) {
	for !c.in.Empty() && x.state != xEnded && x.flags&xRequestDone == 0 {
		if x.flags&xRequestTrailers != 0 {
			cs.trailers(c, x)
			return
		}
		if cs.w.requests.backlog(x) > cs.w.memory.High {
			return
		}
		cs.feed(c, x, cs.pool.Pop(&c.in))
	}
}

// feed decodes body bytes of the request; what lies behind its end goes
// to the front of c.in.
func (cs *clients) feed(c *client, x *exchange, v buf.View) {
	d := decodeBody(&x.reqBody, cs.pool.Bytes(v))
	if d.fault == nil && cs.w.snap.Limits.BodyBytes > 0 && x.reqBytes+uint64(d.n) > cs.w.snap.Limits.BodyBytes {
		d.fault = &faultBodyTooLarge
	}
	if d.fault != nil {
		cs.pool.Release(v)
		cs.w.requests.fault(c, x, d.fault)
		return
	}
	rest := v.Slice(uint32(d.used), v.Len-uint32(d.used))
	if rest.Len > 0 {
		if d.n > 0 {
			cs.pool.Retain(v)
		}
		cs.pool.PushFront(&c.in, rest)
	} else if d.n == 0 {
		cs.pool.Release(v)
	}
	if d.n > 0 {
		cs.w.requests.received(x, v.Slice(uint32(d.at), uint32(d.n)))
		if x.flags&xBroken != 0 {
			cs.w.failExchange(c, x, &faultMemory)
			return
		}
	}
	switch d.piece {
	case http1.PieceEnd:
		cs.w.requests.end(c, x, nil)
	case http1.PieceTrailers:
		x.flags |= xRequestTrailers
		cs.trailers(c, x)
	default:
		cs.w.responses.gatherBody(c.conn, &x.reqBody, &c.in)
		cs.awaitBody(c)
	}
}

func (cs *clients) awaitBody(c *client) {
	if c.state != clientBusy {
		return
	}
	if c.flags&clientEOF != 0 && c.in.Empty() {
		cs.gone(c)
		return
	}
	x := cs.w.xs.At(c.x)
	if x.flags&xContentWaits != 0 && !cs.w.scarce.bringsNothing(c, x) && !cs.w.scarce.mute(c, x) {
		cs.w.scarce.contentCame(c, x)
		return
	}
	cs.w.clientDeadline(c, x)
}

// trailers parses the trailer section at the front of c.in.
func (cs *clients) trailers(c *client, x *exchange) {
	if c.in.Empty() {
		cs.awaitBody(c)
		return
	}
	b := cs.w.heads.joined(&c.in, cs.w.heads.limits.HeadBytes+cs.pool.BlockBytes())
	n, f := x.reqBody.Trailers(b, &cs.w.heads.limits, &cs.w.heads.trail)
	switch {
	case f != nil:
		cs.w.requests.fault(c, x, f)
	case n == 0:
		if c.flags&clientEOF != 0 {
			cs.gone(c)
			return
		}
		cs.awaitBody(c)
	default:
		cs.pool.Consume(&c.in, n)
		cs.w.requests.end(c, x, &cs.w.heads.trail)
	}
}

// recvEnd: the peer closed its write side (errno 0) or is gone.
func (cs *clients) recvEnd(i uint32, c *client, errno unix.Errno) {
	c.flags |= clientEOF
	switch c.state {
	case clientBusy:
		cs.busyEnd(c, cs.w.xs.At(c.x), errno)
	case clientTunnel:
		cs.w.tunnels.clientEnd(c, errno)
	case clientFlush, clientLinger:
		if errno != 0 || cs.w.legs.queued(&c.leg) == 0 {
			cs.close(c)
		}
	case clientIdle, clientHead:
		if c.flags&(clientRunnable|clientStalled) == 0 || errno != 0 {
			cs.closeAfterFlush(c, false)
		}
	}
}

// busyEnd: nothing more will come from a client whose exchange is under
// way. It may still read (RFC 9112 9.6), unless the operator says otherwise.
func (cs *clients) busyEnd(c *client, x *exchange, errno unix.Errno) {
	switch {
	case errno != 0 || x.flags&xRequestDone == 0 && !cs.bodyWaits(c):
		cs.gone(c)
	case cs.w.snap.Limits.EndHalfClosed && x.flags&xResponseBegun != 0:
		cs.m.ClientAborts++
		cs.w.breakClient(c, x, whyHalfClosed)
	case cs.w.snap.Limits.EndHalfClosed:
		cs.m.ClientAborts++
		x.status = statusClientGone
		cs.w.endExchange(c, x, whyHalfClosed)
		cs.closeAfterFlush(c, false) // what it was answered before
	}
}

const whyHalfClosed = "client closed its write side"

// bodyWaits reports whether received body bytes are still to be fed, so that
// an end of input does not yet mean the body is cut short.
func (cs *clients) bodyWaits(c *client) bool { return !c.in.Empty() }

// gone ends the exchange of a client that left before its answer: the
// origin leg is broken, so that a body cut short is never taken for whole.
func (cs *clients) gone(c *client) {
	x := cs.w.xs.At(c.x)
	cs.m.ClientAborts++
	if x.status == 0 {
		x.status = statusClientGone
	}
	cs.w.endExchange(c, x, "client closed the connection")
	cs.w.legs.close(c)
}

func (cs *clients) timeout(i uint32, c *client) {
	switch c.state {
	case clientIdle:
		if cs.w.legs.queued(&c.leg) > 0 {
			if !cs.w.stillTakes(c) {
				cs.abort(c) // its last answer is cut: that must be seen
			}
		} else if cs.w.legs.starves(&c.leg) {
			cs.shed(i, c)
		} else if part, _ := cs.l.Partial(c.conn); part > 0 {
			cs.awaitHead(i, c) // it has begun
		} else {
			cs.close(c)
		}
	case clientHead:
		if cs.w.legs.starves(&c.leg) { // the rest may be there, unread
			cs.shed(i, c)
			return
		}
		cs.m.Timeouts408++
		cs.replyBare(i, c, &faultHeadTimeout, nil)
	case clientBusy:
		cs.w.busyTimeout(c, cs.w.xs.At(c.x))
	case clientTunnel:
		cs.w.tunnels.timeout(c)
	case clientFlush:
		if !cs.w.stillTakes(c) {
			cs.w.legs.abort(c)
		}
	case clientLinger:
		cs.w.legs.lingerTimeout(c)
	}
}

// close drops whatever is queued and closes a client's connection. The exchange, if any,
// has ended before.
func (cs *clients) close(c *client) {
	if c.state != clientClosing {
		cs.lingersNoMore(c)
		c.state = clientClosing
		cs.pool.Drop(&c.in)
		cs.l.Close(c.conn)
	}
}

// abort closes with a reset: the one way to show the end of a body that
// is delimited by the close of its connection to be a cut.
func (cs *clients) abort(c *client) {
	if c.state != clientClosing {
		cs.lingersNoMore(c)
		c.state = clientClosing
		cs.pool.Drop(&c.in)
		cs.l.Abort(c.conn)
	}
}

// next readies a kept-alive client for its next request.
func (cs *clients) next(i uint32, c *client) {
	c.state = clientIdle
	cs.w.legs.clientBulk(c, false)
	if c.flags&clientEOF != 0 && cs.w.snap.Limits.EndHalfClosed {
		cs.closeAfterFlush(c, false)
		return
	}
	if !c.in.Empty() && cs.stall(c) {
		return
	}
	if c.in.Bytes() <= pipelineBytes/2 {
		cs.w.legs.resumeClient(c)
	}
	if !c.in.Empty() {
		if c.flags&clientRunnable == 0 {
			c.flags |= clientRunnable
			cs.runnable = append(cs.runnable, i)
		}
		cs.w.legs.due(&c.leg, cs.l.Now()+cs.w.snap.Limits.RequestHeaderNs)
		return
	}
	if c.flags&clientEOF != 0 {
		cs.closeAfterFlush(c, false)
		return
	}
	cs.idleDue(c)
}

// sent: bytes have left for the client.
func (cs *clients) sent(i uint32, c *client, ev *loop.Event) {
	cs.m.BytesOut += uint64(ev.N)
	if ev.Errno != 0 {
		cs.sendBroken(c)
		return
	}
	c.sent += uint64(ev.N)
	cs.w.responses.drained(i, c)
}

// sendBroken: what was queued for the client is lost and nothing more
// can be sent.
func (cs *clients) sendBroken(c *client) {
	switch c.state {
	case clientBusy:
		cs.gone(c)
	case clientTunnel:
		cs.w.tunnels.broke(c, cs.w.xs.At(c.x), tunnel.Client)
	default:
		cs.close(c)
	}
}

// sniff finds out which version a client speaks, from its first bytes: the
// preface of HTTP/2 is no request of HTTP/1 (RFC 9113 3.4). True: v has been
// dealt with.
func (cs *clients) sniff(i uint32, c *client, v buf.View) bool {
	var first [http2.PrefaceLen]byte
	n := cs.pool.CopyOut(&c.in, first[:])
	n += copy(first[n:], cs.pool.Bytes(v))
	if !bytes.Equal(first[:n], []byte(http2.Preface[:n])) {
		c.flags &^= clientSniff
		return false
	}
	cs.pool.Coalesce(&c.in, v)
	if n < len(first) {
		cs.awaitHead(i, c)
		return true
	}
	se := cs.greet(c.conn, int(c.listener))
	c.state = clientClosing
	for !c.in.Empty() {
		cs.w.h2.Received(se, cs.pool.Pop(&c.in))
		cs.w.told.pull()
	}
	eof := c.flags&clientEOF != 0
	cs.Free(i)
	if eof {
		cs.w.h2.Lost(se, 0)
		cs.w.told.pull()
	}
	return true
}

// serveRunnable serves pipelined requests, one of each client at a time, for a
// bounded number of rounds: what then is left comes after the next Poll, so
// that no client holds the loop.
func (cs *clients) serveRunnable() {
	for round := 0; round < pipelineRounds && len(cs.runnable) > 0; round++ {
		n := len(cs.runnable)
		for i := 0; i < n; i++ {
			if ci := cs.runnable[i]; ci != 0 {
				c := cs.At(ci)
				c.flags &^= clientRunnable
				cs.parsePending(ci, c)
				cs.w.freeExchanges()
			}
		}
		cs.runnable = append(cs.runnable[:0], cs.runnable[n:]...)
	}
}

// forgetRunnable strikes a client that closed out of the list.
func (cs *clients) forgetRunnable(i uint32) {
	for j, ci := range cs.runnable {
		if ci == i {
			cs.runnable[j] = 0
		}
	}
}
