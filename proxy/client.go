package proxy

import (
	"golang.org/x/sys/unix"

	"zproxy/buf"
	"zproxy/loop"
	"zproxy/proto"
	"zproxy/proto/http1"
	"zproxy/proto/http2"
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
	clientRunnable             // listed in Worker.runnable
	clientStalled              // takes no answers: its next request waits until it does
	clientSniff                // its first bytes say which version it speaks
)

// client is one accepted connection, or one stream of one. Pointer-free; 72
// bytes.
type client struct {
	conn     loop.ConnID
	stream   uint32    // in Worker.streams; 0: a connection of its own
	in       buf.Chain // received, not yet parsed; of a stream: content held back, see wholeWith
	x        uint32    // its exchange, 0 when none
	requests uint32    // so far; once none more is read, the bytes discarded instead
	scanned  http1.Cursor
	listener uint16
	state    clientState
	flags    uint8
	sent     uint64 // bytes given to the kernel
	takeMark uint64 // bytes taken at takeFrom
	takeFrom int64  // since when its rate is watched, 0: it is not; of one that lingers, since when all has left
}

func (w *Worker) accepted(conn loop.ConnID, listener int) {
	w.m.Accepted++
	if to := w.lessLoaded(); to >= 0 && !w.draining {
		w.handOver(conn, listener, to)
		return
	}
	w.admitConn(conn, listener)
}

// openClient begins to serve a connection; 0 is one that another loop handed
// over and this one has no room for: it is closed already.
func (w *Worker) openClient(conn loop.ConnID, listener int) {
	if conn == 0 {
		w.countFault(&faultNoSocket)
		return
	}
	versions := w.speaks(conn, listener)
	if versions == onlyHTTP2 {
		w.openSession(conn, listener)
	} else {
		i, c := w.clients.Alloc()
		c.conn, c.listener = conn, uint16(listener)
		if versions == eitherVersion {
			c.flags |= clientSniff
		}
		w.l.SetOwner(conn, ownerOf(ownerClient, i))
	}
	w.countConns(1)
	w.l.Recv(conn)
	w.l.Deadline(conn, w.l.Now()+w.snap.limits.requestHeaderNs)
}

// countConns publishes how many clients this loop serves, for neighbours that
// look for a less loaded one. Written per connection, never per request.
func (w *Worker) countConns(d int64) {
	w.m.ClientConns += uint64(d)
	w.peers[w.index].Conns.Store(int64(w.m.ClientConns))
}

func (w *Worker) clientEvent(i uint32, ev *loop.Event) {
	c := w.clients.At(i)
	switch ev.Kind {
	case loop.Received:
		w.m.BytesIn += uint64(ev.N)
		w.clientReceived(i, c, ev.View)
	case loop.Sent:
		w.clientSent(i, c, ev)
	case loop.RecvEnd:
		w.clientRecvEnd(i, c, ev.Errno)
	case loop.Timer:
		w.clientTimeout(i, c)
	case loop.Closed:
		if c.flags&clientRunnable != 0 {
			w.forgetRunnable(i)
		}
		if c.flags&clientPaused != 0 {
			w.paused--
		}
		w.lingersNoMore(c)
		w.pool.Drop(&c.in)
		w.clients.Free(i)
		w.countConns(-1)
	}
}

func (w *Worker) clientReceived(i uint32, c *client, v buf.View) {
	switch c.state {
	case clientIdle, clientHead:
		w.clientHeadBytes(i, c, v)
	case clientBusy:
		w.clientBusyBytes(i, c, v)
	case clientTunnel:
		w.tunnelFromClient(c, v)
	default:
		w.discard(c, v)
	}
}

// clientHeadBytes parses the common case, a whole head in one block, where it
// lies; anything else goes through c.in.
func (w *Worker) clientHeadBytes(i uint32, c *client, v buf.View) {
	if c.flags&clientSniff != 0 && w.sniff(i, c, v) {
		return
	}
	if c.in.Empty() && w.clientQueued(c) <= w.high {
		w.parseView(i, c, v)
		return
	}
	incomplete := c.state == clientHead && c.in.Len() > 1 && !w.mayEnd(&c.in, v)
	w.pool.Coalesce(&c.in, v)
	if !incomplete && c.flags&clientRunnable == 0 && !w.stall(c) {
		w.parsePending(i, c)
	}
	if c.in.Bytes() > pipelineBytes && c.state != clientHead {
		w.pauseClient(c)
	}
}

// stall holds back the next request of a client that does not take the
// answers to those before: pipelining must not make the proxy keep them all.
func (w *Worker) stall(c *client) bool {
	if w.clientQueued(c) <= w.high {
		return false
	}
	c.flags |= clientStalled
	w.pauseClient(c)
	w.clientDue(c, w.takeBy(c))
	return true
}

// idleSent: bytes of the last answer have left a client that is between
// requests. Its keep-alive time begins when all have.
func (w *Worker) idleSent(i uint32, c *client) {
	queued := w.clientQueued(c)
	if c.flags&clientStalled != 0 {
		if queued > w.low {
			w.clientDue(c, w.takeBy(c))
			return
		}
		c.flags &^= clientStalled
		w.nextRequest(i, c)
		return
	}
	switch {
	case c.flags&clientRunnable != 0 || c.state == clientHead:
	case queued > 0:
		w.clientDue(c, w.takeBy(c))
	default:
		w.clientDue(c, w.l.Now()+w.snap.limits.keepaliveNs)
	}
}

// parseView parses the head at v's first byte; c.in is empty.
func (w *Worker) parseView(i uint32, c *client, v buf.View) {
	n, scanned, f := http1.ParseRequest(w.pool.Bytes(v), c.scanned, &w.limits, &w.head)
	switch {
	case f != nil:
		w.badRequest(i, c, f)
		w.pool.Release(v)
	case n == 0:
		c.scanned = scanned
		w.pool.Push(&c.in, v)
		w.awaitHead(i, c)
	default:
		c.scanned = http1.Cursor{}
		if rest := v.Len - uint32(n); rest > 0 {
			w.pool.Retain(v)
			w.pool.Push(&c.in, v.Slice(uint32(n), rest))
		}
		w.startExchange(i, c, &w.head, w.head.Body == proto.BodyNone || w.head.Length == 0, nil)
		w.pool.Release(v)
	}
}

// parsePending parses the next request out of c.in, joining its head when it
// spans blocks.
func (w *Worker) parsePending(i uint32, c *client) {
	if (c.state != clientIdle && c.state != clientHead) || c.in.Empty() {
		return
	}
	if c.in.Len() == 1 {
		w.parseView(i, c, w.pool.Pop(&c.in))
		return
	}
	b := w.joined(&c.in, w.limits.HeadBytes+w.pool.BlockBytes())
	n, scanned, f := http1.ParseRequest(b, c.scanned, &w.limits, &w.head)
	switch {
	case f != nil:
		w.badRequest(i, c, f)
	case n == 0:
		c.scanned = scanned
		w.awaitHead(i, c)
	default:
		w.m.HeadJoins++
		c.scanned = http1.Cursor{}
		w.pool.Consume(&c.in, n)
		w.startExchange(i, c, &w.head, w.head.Body == proto.BodyNone || w.head.Length == 0, nil)
	}
}

// awaitHead notes that a head is incomplete. Its deadline runs from its first
// byte, so a trickle cannot extend it.
func (w *Worker) awaitHead(i uint32, c *client) {
	if c.state == clientIdle {
		c.state = clientHead
		w.clientDue(c, w.l.Now()+w.snap.limits.requestHeaderNs)
	}
	if c.flags&clientEOF != 0 {
		w.closeAfterFlush(c, false)
		return
	}
	if w.l.Crowded() {
		w.shedClient(i, c)
		return
	}
	w.resumeClient(c) // it may have been paused for what came behind another request
}

// clientBusyBytes takes bytes that arrive while an exchange is under way:
// request body, or requests pipelined behind it.
func (w *Worker) clientBusyBytes(i uint32, c *client, v buf.View) {
	x := w.xs.At(c.x)
	if x.flags&xRequestDone == 0 && c.in.Empty() {
		w.feedRequest(c, x, v)
	} else {
		incomplete := x.flags&xRequestTrailers != 0 && !w.mayEnd(&c.in, v)
		w.pool.Coalesce(&c.in, v)
		if x.flags&xRequestDone == 0 && !incomplete {
			w.pumpRequest(c, x)
		}
	}
	w.restrainClient(c)
}

// restrainClient stops reading a client that has more than enough waiting.
func (w *Worker) restrainClient(c *client) {
	if c.state != clientBusy || c.flags&clientPaused != 0 {
		return
	}
	x := w.xs.At(c.x)
	full := c.in.Bytes() > min(pipelineBytes, w.high)
	if x.flags&xRequestDone == 0 {
		full = w.requestBacklog(x) > w.high
	}
	if full {
		w.pauseClient(c)
		w.clientDeadline(c, x)
	}
}

// pumpRequest feeds body bytes that waited in c.in to the exchange.
func (w *Worker) pumpRequest(c *client, x *exchange) {
	if c.stream != 0 {
		return // what is in c.in waits for the end of the request
	}
	for !c.in.Empty() && c.state == clientBusy && x.flags&xRequestDone == 0 {
		if x.flags&xRequestTrailers != 0 {
			w.requestTrailers(c, x)
			return
		}
		if w.requestBacklog(x) > w.high {
			return
		}
		w.feedRequest(c, x, w.pool.Pop(&c.in))
	}
}

// feedRequest decodes body bytes of the request; what lies behind its end goes
// to the front of c.in.
func (w *Worker) feedRequest(c *client, x *exchange, v buf.View) {
	d := decodeBody(&x.reqBody, w.pool.Bytes(v))
	if d.fault == nil && w.snap.limits.bodyBytes > 0 && x.reqBytes+uint64(d.n) > w.snap.limits.bodyBytes {
		d.fault = &faultBodyTooLarge
	}
	if d.fault != nil {
		w.pool.Release(v)
		w.requestFault(c, x, d.fault)
		return
	}
	rest := v.Slice(uint32(d.used), v.Len-uint32(d.used))
	if rest.Len > 0 {
		if d.n > 0 {
			w.pool.Retain(v)
		}
		w.pool.PushFront(&c.in, rest)
	} else if d.n == 0 {
		w.pool.Release(v)
	}
	if d.n > 0 {
		w.requestData(x, v.Slice(uint32(d.at), uint32(d.n)))
		if x.flags&xBroken != 0 {
			w.failExchange(c, x, &faultMemory)
			return
		}
	}
	switch d.piece {
	case http1.PieceEnd:
		w.requestEnd(c, x, nil)
	case http1.PieceTrailers:
		x.flags |= xRequestTrailers
		w.requestTrailers(c, x)
	default:
		w.gatherBody(c.conn, c.stream, &x.reqBody, &c.in)
		w.awaitBody(c)
	}
}

func (w *Worker) awaitBody(c *client) {
	if c.state != clientBusy {
		return
	}
	if c.flags&clientEOF != 0 && c.in.Empty() {
		w.clientGone(c)
		return
	}
	x := w.xs.At(c.x)
	if x.flags&xContentWaits != 0 && !w.bringsNothing(c, x) && !w.mute(c, x) {
		w.contentCame(c, x)
		return
	}
	w.clientDeadline(c, x)
}

// requestTrailers parses the trailer section at the front of c.in.
func (w *Worker) requestTrailers(c *client, x *exchange) {
	if c.in.Empty() {
		w.awaitBody(c)
		return
	}
	b := w.joined(&c.in, w.limits.HeadBytes+w.pool.BlockBytes())
	n, f := x.reqBody.Trailers(b, &w.limits, &w.trail)
	switch {
	case f != nil:
		w.requestFault(c, x, f)
	case n == 0:
		if c.flags&clientEOF != 0 {
			w.clientGone(c)
			return
		}
		w.awaitBody(c)
	default:
		w.pool.Consume(&c.in, n)
		w.requestEnd(c, x, &w.trail)
	}
}

// clientRecvEnd: the peer closed its write side (errno 0) or is gone.
func (w *Worker) clientRecvEnd(i uint32, c *client, errno unix.Errno) {
	c.flags |= clientEOF
	switch c.state {
	case clientBusy:
		w.busyClientEnd(c, w.xs.At(c.x), errno)
	case clientTunnel:
		w.tunnelClientEnd(c, errno)
	case clientFlush, clientLinger:
		if errno != 0 || w.clientQueued(c) == 0 {
			w.closeClient(c)
		}
	case clientIdle, clientHead:
		if c.flags&(clientRunnable|clientStalled) == 0 || errno != 0 {
			w.closeAfterFlush(c, false)
		}
	}
}

// busyClientEnd: nothing more will come from a client whose exchange is under
// way. It may still read (RFC 9112 9.6), unless the operator says otherwise.
func (w *Worker) busyClientEnd(c *client, x *exchange, errno unix.Errno) {
	switch {
	case errno != 0 || x.flags&xRequestDone == 0 && !w.bodyWaits(c):
		w.clientGone(c)
	case w.snap.limits.endHalfClosed && x.flags&xResponseBegun != 0:
		w.m.ClientAborts++
		w.breakClient(c, x, whyHalfClosed)
	case w.snap.limits.endHalfClosed:
		w.m.ClientAborts++
		x.status = statusClientGone
		w.endExchange(c, x, whyHalfClosed)
		w.closeAfterFlush(c, false) // what it was answered before
	}
}

const whyHalfClosed = "client closed its write side"

// bodyWaits reports whether received body bytes are still to be fed, so that
// an end of input does not yet mean the body is cut short.
func (w *Worker) bodyWaits(c *client) bool { return !c.in.Empty() }

// clientGone ends the exchange of a client that left before its answer: the
// origin leg is broken, so that a body cut short is never taken for whole.
func (w *Worker) clientGone(c *client) {
	x := w.xs.At(c.x)
	w.m.ClientAborts++
	if x.status == 0 {
		x.status = statusClientGone
	}
	w.endExchange(c, x, "client closed the connection")
	w.closeClient(c)
}

func (w *Worker) clientTimeout(i uint32, c *client) {
	switch c.state {
	case clientIdle:
		if w.clientQueued(c) > 0 {
			if !w.stillTakes(c) {
				w.abortClient(c) // its last answer is cut: that must be seen
			}
		} else if w.clientStarves(c) {
			w.shedClient(i, c)
		} else if part, _ := w.l.Partial(c.conn); part > 0 {
			w.awaitHead(i, c) // it has begun
		} else {
			w.closeClient(c)
		}
	case clientHead:
		if w.clientStarves(c) { // the rest may be there, unread
			w.shedClient(i, c)
			return
		}
		w.m.Timeouts408++
		w.replyBare(i, c, &faultHeadTimeout)
	case clientBusy:
		w.busyTimeout(c, w.xs.At(c.x))
	case clientTunnel:
		w.tunnelTimeout(c)
	case clientFlush:
		if !w.stillTakes(c) {
			w.abortClient(c)
		}
	case clientLinger:
		if c.stream != 0 {
			w.lingeringStreamTimeout(c)
		} else if w.clientQueued(c) > 0 {
			if !w.stillTakes(c) {
				w.abortClient(c)
			}
		} else {
			w.closeClient(c)
		}
	}
}

// closeClient drops whatever is queued and closes. The exchange, if any, has
// ended before.
func (w *Worker) closeClient(c *client) {
	if c.stream != 0 {
		w.endClientStream(c, http2.ErrCancel)
		return
	}
	if c.state != clientClosing {
		w.lingersNoMore(c)
		c.state = clientClosing
		w.pool.Drop(&c.in)
		w.l.Close(c.conn)
	}
}

// abortClient closes with a reset: the one way to show the end of a body that
// is delimited by the close of its connection to be a cut.
func (w *Worker) abortClient(c *client) {
	if c.stream != 0 {
		w.endClientStream(c, http2.ErrInternal)
		return
	}
	if c.state != clientClosing {
		w.lingersNoMore(c)
		c.state = clientClosing
		w.pool.Drop(&c.in)
		w.l.Abort(c.conn)
	}
}

// nextRequest readies a kept-alive client for its next request.
func (w *Worker) nextRequest(i uint32, c *client) {
	c.state = clientIdle
	w.clientBulk(c, false)
	if c.flags&clientEOF != 0 && w.snap.limits.endHalfClosed {
		w.closeAfterFlush(c, false)
		return
	}
	if !c.in.Empty() && w.stall(c) {
		return
	}
	if c.in.Bytes() <= pipelineBytes/2 {
		w.resumeClient(c)
	}
	if !c.in.Empty() {
		if c.flags&clientRunnable == 0 {
			c.flags |= clientRunnable
			w.runnable = append(w.runnable, i)
		}
		w.clientDue(c, w.l.Now()+w.snap.limits.requestHeaderNs)
		return
	}
	if c.flags&clientEOF != 0 || w.draining {
		w.closeAfterFlush(c, false)
		return
	}
	w.clientDue(c, w.l.Now()+w.snap.limits.keepaliveNs)
}

// badRequest answers a head that cannot be parsed and closes: what follows it
// has no known boundaries (RFC 9112 2.2, 6.3).
func (w *Worker) badRequest(i uint32, c *client, f *proto.Fault) {
	w.replyBare(i, c, f)
}
