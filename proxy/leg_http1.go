package proxy

import (
	"zproxy/buf"
	"zproxy/loop"
	"zproxy/proto"
	"zproxy/proto/http1"
	"zproxy/proxy/forward"
	"zproxy/proxy/snapshot"
)

// lines are what legs that are connections of their own are sent: heads in lines, bodies
// as they are or in chunks (RFC 9112).
type lines struct{ part }

// request sends the head of a request.
func (ln *lines) request(x *exchange, o *origin) {
	if x.head.ID != 0 && x.headQ.Empty() {
		ln.pool.Retain(x.head)
		ln.l.Send(o.conn, x.head)
		return
	}
	for !x.headQ.Empty() {
		ln.l.Send(o.conn, ln.pool.Pop(&x.headQ))
	}
}

// backlog sends what waited of a request's body, as one chunk when it is chunked.
func (ln *lines) backlog(x *exchange, o *origin) {
	chunked := x.flags&xRequestChunked != 0
	if chunked && !ln.sendChunkHeader(o.conn, x, x.backlog.Bytes()) {
		return
	}
	waiting, keeps := x.backlog, ln.w.retries.keepsBody(x)
	x.backlog = buf.Chain{}
	for !waiting.Empty() {
		v := ln.pool.Pop(&waiting)
		if keeps {
			ln.w.requests.keepBody(x, v)
		}
		if chunked && waiting.Empty() {
			ln.sendChunkData(o.conn, x, v)
		} else {
			ln.l.Send(o.conn, v)
		}
	}
}

func (ln *lines) requestEnd(x *exchange, o *origin) {
	if x.flags&xRequestChunked == 0 {
		return
	}
	var section []byte
	if x.trailer.ID != 0 {
		section = ln.pool.Bytes(x.trailer)
	}
	ln.sendLastChunk(o.conn, x, section)
}

// response writes h as the client gets it, and decides how its body ends. The head is lent.
func (ln *lines) response(c *client, x *exchange, h *proto.Head, end bool) []byte {
	framing, length := forward.Framing(h, x.minor(), end)
	switch framing {
	case proto.BodyChunked:
		x.flags |= xResponseFramed
	case proto.BodyUntilClose:
		x.flags |= xResponseToClose
	}
	if x.flags&(xRequestDone|xResponseToClose) != xRequestDone || ln.w.drain.on {
		// The rest of an upload would stand where the next request begins.
		x.flags &^= xKeepAlive
	}
	hd := &ln.w.heads
	stuck := ln.w.requests.stuck(c, x)
	extras := hd.fields.ResponseLines(&ln.w.snap.Forwarding, h, ln.l.WallMs(), &stuck, ln.w.tunnels.Accept())
	hd.out = http1.AppendResponseHead(hd.out[:0], h, x.minor(), framing, length, x.flags&xKeepAlive != 0, extras)
	return hd.out
}

func (ln *lines) interim(c *client, x *exchange, h *proto.Head, extras []proto.Extra) {
	ln.w.heads.out = http1.AppendResponseHead(ln.w.heads.out[:0], h, 1, proto.BodyNone, -1, true, extras)
	ln.sendBytes(c.conn, x, ln.w.heads.out)
}

func (ln *lines) responseEnd(c *client, x *exchange, t *proto.Head) bool {
	if x.flags&xResponseFramed == 0 {
		return true
	}
	var section []byte
	if t != nil {
		ln.w.heads.out = http1.AppendTrailers(ln.w.heads.out[:0], t)
		section = ln.w.heads.out
	}
	ln.sendLastChunk(c.conn, x, section)
	return ln.w.responses.legsHold(c, x)
}

// answer queues the bytes of a response of the proxy's own.
func (ln *lines) answer(c *client, x *exchange, a *snapshot.Response, extra proto.Extra, keep, head bool) {
	hd := &ln.w.heads
	hd.out = forward.AppendLines(hd.out[:0], a, hd.fields.Date(ln.l.WallMs()), hd.fields.Own(extra), x.minor(), keep, head)
	ln.sendBytes(c.conn, x, hd.out)
}

// sendBytes queues a copy of b, over as many blocks as it takes.
func (ln *lines) sendBytes(conn loop.ConnID, x *exchange, b []byte) {
	for len(b) > 0 {
		n := min(len(b), ln.pool.BlockBytes())
		v := ln.w.keep(x, b[:n])
		if v.ID == 0 {
			return
		}
		ln.l.Send(conn, v)
		b = b[n:]
	}
}

// sendData queues body bytes, as one chunk when chunked is set. It takes v's
// reference.
func (ln *lines) sendData(conn loop.ConnID, x *exchange, v buf.View, chunked bool) {
	if !chunked {
		ln.l.Send(conn, v)
		return
	}
	if !ln.sendChunkHeader(conn, x, int(v.Len)) {
		ln.pool.Release(v)
		return
	}
	ln.sendChunkData(conn, x, v)
}

func (ln *lines) sendChunkHeader(conn loop.ConnID, x *exchange, n int) bool {
	b := ln.pool.Reserve(chunkHeaderBytes)
	if b == nil {
		x.flags |= xBroken
		return false
	}
	b = http1.AppendChunkHeader(b[:0], n)
	ln.l.Send(conn, ln.pool.Commit(len(b)))
	return true
}

// sendChunkData queues the last bytes of a chunk with the CRLF behind them,
// in the same block where it has room.
func (ln *lines) sendChunkData(conn loop.ConnID, x *exchange, v buf.View) {
	long, n := ln.pool.Extend(v, crlf)
	ln.l.Send(conn, long)
	if n < len(crlf) {
		ln.sendBytes(conn, x, crlf[n:])
	}
}

// sendLastChunk ends a chunked body; section is its trailer section with the
// empty line, or nil for an empty one.
func (ln *lines) sendLastChunk(conn loop.ConnID, x *exchange, section []byte) {
	if section == nil {
		section = crlf
	}
	ln.w.heads.scratch = append(ln.w.heads.scratch[:0], lastChunk...)
	ln.w.heads.scratch = append(ln.w.heads.scratch, section...)
	ln.sendBytes(conn, x, ln.w.heads.scratch)
}

// chunkHeaderBytes holds the longest chunk header: sixteen digits and CRLF.
const chunkHeaderBytes = 18

var (
	crlf      = []byte(http1.ChunkEnd)
	lastChunk = []byte(http1.LastChunk)
)
