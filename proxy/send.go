package proxy

import (
	"zproxy/buf"
	"zproxy/internal/plant"
	"zproxy/loop"
	"zproxy/proto"
	"zproxy/proto/http1"
	"zproxy/proto/http2"
)

// chunkHeaderBytes holds the longest chunk header: sixteen digits and CRLF.
const chunkHeaderBytes = 18

// sendBytes queues a copy of b, over as many blocks as it takes.
func (w *Worker) sendBytes(conn loop.ConnID, x *exchange, b []byte) {
	for len(b) > 0 {
		n := min(len(b), w.pool.BlockBytes())
		v := w.keep(x, b[:n])
		if v.ID == 0 {
			return
		}
		w.l.Send(conn, v)
		b = b[n:]
	}
}

// sendData queues body bytes, as one chunk when chunked is set. It takes v's
// reference.
func (w *Worker) sendData(conn loop.ConnID, x *exchange, v buf.View, chunked bool) {
	if plant.Is(plant.Byte) && v.Len%64 == 63 {
		v.Len--
	}
	if !chunked {
		w.l.Send(conn, v)
		return
	}
	if !w.sendChunkHeader(conn, x, int(v.Len)) {
		w.pool.Release(v)
		return
	}
	w.sendChunkData(conn, x, v)
}

func (w *Worker) sendChunkHeader(conn loop.ConnID, x *exchange, n int) bool {
	b := w.pool.Reserve(chunkHeaderBytes)
	if b == nil {
		x.flags |= xBroken
		return false
	}
	b = http1.AppendChunkHeader(b[:0], n)
	w.l.Send(conn, w.pool.Commit(len(b)))
	return true
}

// sendChunkData queues the last bytes of a chunk with the CRLF behind them,
// in the same block where it has room.
func (w *Worker) sendChunkData(conn loop.ConnID, x *exchange, v buf.View) {
	long, n := w.pool.Extend(v, crlf)
	w.l.Send(conn, long)
	if n < len(crlf) {
		w.sendBytes(conn, x, crlf[n:])
	}
}

var (
	crlf      = []byte(http1.ChunkEnd)
	lastChunk = []byte(http1.LastChunk)
)

// sendLastChunk ends a chunked body; section is its trailer section with the
// empty line, or nil for an empty one.
func (w *Worker) sendLastChunk(conn loop.ConnID, x *exchange, section []byte) {
	if section == nil {
		section = crlf
	}
	w.scratch = append(w.scratch[:0], lastChunk...)
	w.scratch = append(w.scratch, section...)
	w.sendBytes(conn, x, w.scratch)
}

// originHead gives the request head to o. The exchange keeps its reference,
// for a replay and for the log.
func (w *Worker) originHead(x *exchange, o *origin) {
	x.flags |= xHeadGiven
	if o.stream != 0 {
		w.streamRequest(x, o)
		return
	}
	if x.head.ID != 0 && x.headQ.Empty() {
		if !plant.Is(plant.Release) {
			w.pool.Retain(x.head)
		}
		w.l.Send(o.conn, x.head)
		return
	}
	for !x.headQ.Empty() {
		w.l.Send(o.conn, w.pool.Pop(&x.headQ))
	}
}

// originData gives body bytes to o. It takes v's reference.
func (w *Worker) originData(x *exchange, o *origin, v buf.View) {
	x.flags |= xBodyGiven
	if o.stream != 0 {
		w.keepBody(x, v)
		w.streamPush(w.streams.At(o.stream), v)
	} else {
		w.sendData(o.conn, x, v, x.flags&xRequestChunked != 0)
	}
	w.originDeadline(x, o)
}

// keepBody keeps the beginning of a body that was given to a stream, which the
// origin may yet refuse: as much as a small request has.
func (w *Worker) keepBody(x *exchange, v buf.View) {
	if x.flags&xBodyLost != 0 {
		return
	}
	if w.pressure > 1 || x.backlog.Len() >= keptPieces || x.backlog.Bytes()+int(v.Len) > keptBytes {
		x.flags |= xBodyLost
		w.pool.Drop(&x.backlog)
		return
	}
	w.pool.Retain(v)
	w.pool.Push(&x.backlog, v)
}

const (
	keptBytes  = 64 << 10
	keptPieces = 8
)

// streamRequest sends the request head of x to an origin that is a stream.
func (w *Worker) streamRequest(x *exchange, o *origin) {
	block := w.pool.Bytes(x.head)
	if !x.headQ.Empty() {
		block = w.joined(&x.headQ, x.headQ.Bytes())
	}
	end := x.flags&(xRequestDone|xUpgrade) == xRequestDone && x.backlog.Empty() && x.trailer.ID == 0
	if !w.streamHead(w.streams.At(o.stream), block, end) {
		x.flags |= xBroken
	}
	w.pool.Drop(&x.headQ)
}

// originBacklog gives o the body bytes that waited for it, as one chunk when
// the body is chunked.
func (w *Worker) originBacklog(x *exchange, o *origin) {
	x.flags |= xBodyGiven
	if o.stream != 0 {
		waiting := x.backlog
		x.backlog = buf.Chain{}
		for !waiting.Empty() {
			v := w.pool.Pop(&waiting)
			w.keepBody(x, v)
			w.streamPush(w.streams.At(o.stream), v)
		}
		return
	}
	chunked := x.flags&xRequestChunked != 0
	if chunked && !w.sendChunkHeader(o.conn, x, x.backlog.Bytes()) {
		return
	}
	for !x.backlog.Empty() {
		v := w.pool.Pop(&x.backlog)
		if chunked && x.backlog.Empty() {
			w.sendChunkData(o.conn, x, v)
		} else {
			w.l.Send(o.conn, v)
		}
	}
}

// keepsTrailers says that the request's trailers go to the origin: HTTP/1 has
// a place for them behind chunks alone.
func (w *Worker) keepsTrailers(x *exchange) bool {
	return x.flags&xRequestChunked != 0 || x.cluster >= 0 && w.snap.clusters[x.cluster].h2
}

// requestTrailerSection appends trailers as the origin of x takes them.
func (w *Worker) requestTrailerSection(dst []byte, x *exchange, t *proto.Head) []byte {
	if w.snap.clusters[x.cluster].h2 {
		return http2.AppendTrailerBlock(dst, t)
	}
	return http1.AppendTrailers(dst, t)
}

// originEnd gives o the end of the request and begins the wait for its
// response.
func (w *Worker) originEnd(x *exchange, o *origin) {
	x.flags |= xRequestGiven
	if o.stream != 0 {
		if x.flags&xUpgrade == 0 { // else the tunnel goes on
			w.retain(x.trailer)
			w.streamFinish(w.streams.At(o.stream), x.trailer)
		}
	} else if x.flags&xRequestChunked != 0 {
		var section []byte
		if x.trailer.ID != 0 {
			section = w.pool.Bytes(x.trailer)
		}
		w.sendLastChunk(o.conn, x, section)
	}
	w.originDeadline(x, o)
}

// clientBareHead passes a head on that has no content, and behind which the
// client's direction goes on: an interim response, or one that opens a tunnel.
func (w *Worker) clientBareHead(c *client, x *exchange, h *proto.Head, extras []proto.Extra) {
	if c.stream != 0 {
		w.block = http2.AppendResponseBlock(w.block[:0], h, -1, extras)
		if !w.streamHead(w.streams.At(c.stream), w.block, false) {
			x.flags |= xBroken
		}
		return
	}
	w.out = http1.AppendResponseHead(w.out[:0], h, 1, proto.BodyNone, -1, true, extras)
	w.sendBytes(c.conn, x, w.out)
}

// responseHead writes h as the client gets it into w.out and decides how its
// body ends (RFC 9112 6.1, 6.3). To a stream it is sent at once.
func (w *Worker) responseHead(c *client, x *exchange, h *proto.Head, end bool) {
	if c.stream != 0 {
		w.streamResponse(c, x, h, end)
		return
	}
	kind, length := h.Body, h.Length
	if kind == proto.BodyLength && h.H2 && !end && (announcesTrailers(h) || length == 0) {
		// HTTP/1 has a place for trailers behind chunks alone; and with a length
		// of 0 the head would say that it is all, which END_STREAM is to say.
		kind = proto.BodyChunked
	}
	switch kind {
	case proto.BodyNone:
		length = h.ContentLength // what a HEAD or a 304 says about the content it stands for
		if h.Status == 204 {
			length = -1 // RFC 9110 8.6: none there, whatever the origin sent
		}
	case proto.BodyChunked, proto.BodyUntilClose:
		kind = proto.BodyChunked
		if x.minor == 0 {
			kind = proto.BodyUntilClose
			x.flags |= xResponseToClose
		} else {
			x.flags |= xResponseChunked
		}
	}
	if x.flags&(xRequestDone|xResponseToClose) != xRequestDone || w.draining {
		// The rest of an upload would stand where the next request begins.
		x.flags &^= xKeepAlive
	}
	w.responseExtras(c, h)
	w.out = http1.AppendResponseHead(w.out[:0], h, x.minor, kind, length, x.flags&xKeepAlive != 0, w.extras)
}

func announcesTrailers(h *proto.Head) bool {
	_, ok := h.Get(proto.TokenTrailer)
	return ok
}

// streamResponse sends h to a client that is a stream, which ends with it where
// nothing follows. Behind a head of HTTP/2 that says there is no content, there
// may be trailers, or a reset that says it is not whole.
func (w *Worker) streamResponse(c *client, x *exchange, h *proto.Head, end bool) {
	w.responseExtras(c, h)
	length := h.ContentLength
	if h.Status == 204 {
		length = -1
	}
	w.block = http2.AppendResponseBlock(w.block[:0], h, length, w.extras)
	end = end || !h.H2 && (h.Body == proto.BodyNone || h.Body == proto.BodyLength && h.Length == 0)
	if !w.streamHead(w.streams.At(c.stream), w.block, end) {
		x.flags |= xBroken
	}
}

// clientSent: bytes have left for the client.
func (w *Worker) clientSent(i uint32, c *client, ev *loop.Event) {
	w.m.BytesOut += uint64(ev.N)
	if ev.Errno != 0 {
		w.clientSendBroken(c)
		return
	}
	c.sent += uint64(ev.N)
	w.clientDrained(i, c)
}

// clientDrained: bytes have left the queue of a client, and whoever fills it
// may go on.
func (w *Worker) clientDrained(i uint32, c *client) {
	queued := w.clientQueued(c)
	if queued == 0 {
		c.takeFrom = 0
	}
	switch c.state {
	case clientBusy:
		x := w.xs.At(c.x)
		if x.origin == 0 || x.flags&xResponseBegun == 0 {
			return
		}
		o := w.origins.At(x.origin)
		if o.flags&originPaused == 0 {
			return
		}
		if queued == 0 || queued <= w.lowFor(c) && x.flags&xSpliced == 0 {
			w.resumeOrigin(o)
			w.originDeadline(x, o)
		}
		w.clientDeadline(c, x)
	case clientTunnel:
		x := w.xs.At(c.x)
		w.tunnelDrained(c, x, w.origins.At(x.origin))
	case clientFlush:
		if queued == 0 {
			w.flushed(c)
		} else {
			w.clientDue(c, w.takeBy(c))
		}
	case clientLinger:
		if queued == 0 && c.flags&clientEOF != 0 {
			w.closeClient(c)
		} else {
			w.lingerDeadline(c)
		}
	case clientIdle, clientHead:
		w.idleSent(i, c)
	}
}

// clientSendBroken: what was queued for the client is lost and nothing more
// can be sent.
func (w *Worker) clientSendBroken(c *client) {
	switch c.state {
	case clientBusy:
		w.clientGone(c)
	case clientTunnel:
		w.endTunnel(c, w.xs.At(c.x), whyClientBroke)
	default:
		w.closeClient(c)
	}
}

// responseEnd: the response is whole; t is its trailer section, borrowed, or
// nil.
func (w *Worker) responseEnd(c *client, x *exchange, t *proto.Head) {
	if o := w.origins.At(x.origin); o.stream != 0 && !o.in.Empty() && !w.responseData(c, x, w.pool.Pop(&o.in)) {
		return
	}
	if c.stream != 0 {
		var trailer buf.View
		if t != nil {
			w.block = http2.AppendTrailerBlock(w.block[:0], t)
			trailer = w.keep(x, w.block)
		}
		if !w.legsHold(c, x) {
			return
		}
		w.streamFinish(w.streams.At(c.stream), trailer)
	} else if x.flags&xResponseChunked != 0 {
		var section []byte
		if t != nil {
			w.out = http1.AppendTrailers(w.out[:0], t)
			section = w.out
		}
		w.sendLastChunk(c.conn, x, section)
		if !w.legsHold(c, x) {
			return
		}
	}
	w.finishExchange(c, x, true)
}
