package proxy

import (
	"zproxy/buf"
	"zproxy/proto"
	"zproxy/proto/http2"
	"zproxy/proxy/forward"
	"zproxy/proxy/snapshot"
)

// frames are what legs that are streams are sent: heads as field blocks, bodies as DATA
// frames, once the session has room for them (RFC 9113 8.1).
type frames struct{ part }

// request sends the head of a request, with the end of it where nothing follows.
func (fr *frames) request(x *exchange, o *origin) {
	block := fr.pool.Bytes(x.head)
	if !x.headQ.Empty() {
		block = fr.w.heads.joined(&x.headQ, x.headQ.Bytes())
	}
	end := x.flags&(xRequestDone|xUpgrade) == xRequestDone && x.backlog.Empty() && x.trailer.ID == 0
	if !fr.w.streams.Head(fr.w.streams.At(o.stream), block, end) {
		x.flags |= xBroken
	}
	fr.pool.Drop(&x.headQ)
}

// backlog sends what waited of a request's body.
func (fr *frames) backlog(x *exchange, o *origin) {
	waiting := x.backlog
	x.backlog = buf.Chain{}
	for !waiting.Empty() {
		v := fr.pool.Pop(&waiting)
		fr.w.requests.keepBody(x, v)
		fr.w.streams.Push(fr.w.streams.At(o.stream), v)
	}
}

func (fr *frames) requestEnd(x *exchange, o *origin) {
	if x.flags&xUpgrade == 0 { // else the tunnel goes on
		fr.w.retain(x.trailer)
		fr.w.streams.Finish(fr.w.streams.At(o.stream), x.trailer)
	}
}

// response sends h to a client, whose stream ends with it where nothing follows.
func (fr *frames) response(c *client, x *exchange, h *proto.Head, end bool) {
	x.flags |= xResponseFramed
	hd := &fr.w.heads
	stuck := fr.w.requests.stuck(c, x)
	extras := hd.fields.Response(&fr.w.snap.Forwarding, h, fr.l.WallMs(), &stuck)
	hd.block = http2.AppendResponseBlock(hd.block[:0], h, forward.Length(h), extras)
	if !fr.w.streams.Head(fr.w.streams.At(c.stream), hd.block, end || forward.EndsWith(h)) {
		x.flags |= xBroken
	}
}

func (fr *frames) interim(c *client, x *exchange, h *proto.Head, extras []proto.Extra) {
	fr.w.heads.block = http2.AppendResponseBlock(fr.w.heads.block[:0], h, -1, extras)
	if !fr.w.streams.Head(fr.w.streams.At(c.stream), fr.w.heads.block, false) {
		x.flags |= xBroken
	}
}

func (fr *frames) responseEnd(c *client, x *exchange, t *proto.Head) bool {
	var trailer buf.View
	if t != nil {
		fr.w.heads.block = http2.AppendTrailerBlock(fr.w.heads.block[:0], t)
		trailer = fr.w.keep(x, fr.w.heads.block)
	}
	if !fr.w.responses.legsHold(c, x) {
		return false
	}
	fr.w.streams.Finish(fr.w.streams.At(c.stream), trailer)
	return true
}

// answer queues a response of the proxy's own.
func (fr *frames) answer(c *client, x *exchange, a *snapshot.Response, extra proto.Extra, head bool) {
	st := fr.w.streams.At(c.stream)
	hd := &fr.w.heads
	hd.block = forward.AppendBlock(hd.block[:0], a, hd.fields.Date(fr.l.WallMs()), hd.fields.Own(extra))
	body := a.Body
	if head {
		body = nil
	}
	if !fr.w.streams.Head(st, hd.block, len(body) == 0) {
		x.flags |= xBroken
		return
	}
	for len(body) > 0 {
		n := min(len(body), fr.pool.BlockBytes())
		v := fr.w.keep(x, body[:n])
		if v.ID == 0 {
			return
		}
		fr.w.streams.Push(st, v)
		body = body[n:]
	}
	fr.w.streams.Finish(st, buf.View{})
}

// trailersOnly answers a client with one head that ends its stream.
func (fr *frames) trailersOnly(c *client, x *exchange, block []byte) {
	st := fr.w.streams.At(c.stream)
	if !fr.w.streams.Head(st, block, true) {
		x.flags |= xBroken
		return
	}
	fr.w.streams.Finish(st, buf.View{})
}
