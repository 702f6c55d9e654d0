package proxy

import (
	"golang.org/x/sys/unix"

	"zproxy/buf"
	"zproxy/loop"
	"zproxy/proto"
	"zproxy/proto/http1"
	"zproxy/proxy/snapshot"
	"zproxy/upstream"
)

// responses is the way of a response, from its origin to its client.
type responses struct{ part }

func (rs *responses) received(o *origin, v buf.View) {
	switch o.state {
	case originBusy:
		x := rs.w.xs.At(o.x)
		c := rs.w.clients.At(x.client)
		if o.flags&originUnsent != 0 && x.flags&xOriginDeaf == 0 {
			// As below: the connection is as good as closed.
			rs.pool.Release(v)
			rs.cut(c, x, o, 0)
			return
		}
		if x.flags&xResponseBegun != 0 {
			rs.feed(c, x, o, v)
			return
		}
		if o.in.Empty() {
			rs.parse(c, x, o, v)
			return
		}
		incomplete := o.in.Len() > 1 && !rs.w.heads.mayEnd(&o.in, v)
		rs.pool.Coalesce(&o.in, v)
		if !incomplete {
			rs.parseJoined(c, x, o)
		}
	case originTunnel:
		rs.w.tunnels.fromOrigin(o, v)
	default:
		rs.pool.Release(v)
	}
}

// parse parses heads at v's first byte; o.in is empty.
func (rs *responses) parse(c *client, x *exchange, o *origin, v buf.View) {
	for {
		b := rs.pool.Bytes(v)
		n, f := x.respBody.ResponseHead(b, x.method, &rs.w.heads.limits, &rs.w.heads.resp)
		if f != nil {
			rs.pool.Release(v)
			rs.w.failExchange(c, x, f)
			return
		}
		if n == 0 {
			rs.pool.Push(&o.in, v)
			return
		}
		if rs.w.heads.resp.Status >= 200 || rs.w.heads.resp.Status == 101 {
			rs.finalHead(c, x, o, &rs.w.heads.resp, v, n)
			return
		}
		if !rs.interim(c, x, o, &rs.w.heads.resp) {
			rs.pool.Release(v)
			return
		}
		v = v.Slice(uint32(n), v.Len-uint32(n))
		if v.Len == 0 {
			rs.pool.Release(v)
			return
		}
	}
}

// parseJoined parses the head that spans the views of o.in.
func (rs *responses) parseJoined(c *client, x *exchange, o *origin) {
	if o.in.Len() == 1 {
		rs.parse(c, x, o, rs.pool.Pop(&o.in))
		return
	}
	b := rs.w.heads.joined(&o.in, rs.w.heads.limits.HeadBytes+rs.pool.BlockBytes())
	n, f := x.respBody.ResponseHead(b, x.method, &rs.w.heads.limits, &rs.w.heads.resp)
	switch {
	case f != nil:
		rs.w.failExchange(c, x, f)
	case n == 0:
	case rs.w.heads.resp.Status >= 200 || rs.w.heads.resp.Status == 101:
		rs.m.HeadJoins++
		rs.pool.Consume(&o.in, n)
		rs.finalHead(c, x, o, &rs.w.heads.resp, buf.View{}, 0)
	default:
		rs.pool.Consume(&o.in, n)
		if rs.interim(c, x, o, &rs.w.heads.resp) && !o.in.Empty() {
			rs.parseJoined(c, x, o)
		}
	}
}

// legsHold breaks an exchange that ran out of memory in mid-message; false
// means it has ended.
func (rs *responses) legsHold(c *client, x *exchange) bool {
	if x.flags&xBroken == 0 {
		return true
	}
	x.flags |= xResponseBegun // whatever was queued cannot be followed by another head
	rs.w.failExchange(c, x, &faultMemory)
	return false
}

// answers handles what a final head h says of its origin, and whether it opens a tunnel.
// False: the exchange has ended, or has become one. v and n are as in finalHead; end: the
// response ends with it.
func (rs *responses) answers(c *client, x *exchange, o *origin, h *proto.Head, v buf.View, n int, end bool) bool {
	took := x.took(rs.l.Now())
	x.firstByteUs = microseconds(took)
	rs.m.Response.RecordValue(took)
	if h.Status < 500 {
		rs.w.leases.Pool(int(x.cluster)).ResponseOK(rs.l.Now(), int(x.endpoint))
		if x.reqBytes == 0 && x.flags&xRequestDone != 0 {
			upstream.Took(rs.w.leases.Pool(int(x.cluster)), rs.l.Now(), int(x.endpoint), took)
		}
	} else {
		rs.w.clusters[x.cluster].Shared.ServerError(rs.l.Now(), int(x.endpoint))
	}
	if h.Status >= 400 && rs.turnsDown(x, o, h) {
		reusable := x.flags&xRequestGiven != 0 && endsWith(h, v.Len, n, end)
		rs.w.release(&v)
		rs.w.retries.tryAgain(c, x, o, reusable)
		return false
	}
	rs.answered(x, h.Status < 500)
	x.status = h.Status
	x.flags |= xBodyLost // the request was processed
	rs.pool.Drop(&x.backlog)
	if x.switches(o, h) {
		rs.w.tunnels.start(c, x, o, h, v, n, end)
		return false
	}
	if x.flags&xUpgrade != 0 && c.opensTunnel(h.Status) { // to pass it on would say that the tunnel is open
		rs.w.release(&v)
		rs.w.failExchange(c, x, &faultNoSwitch)
		return false
	}
	if !h.KeepAlive {
		o.flags |= originDirty
	}
	return true
}

// begin begins the response with h, its final head, for the client; see responseHead for
// what it returns.
func (rs *responses) begin(c *client, x *exchange, h *proto.Head, end bool) []byte {
	x.flags &^= xExpect
	x.respBody.Start(h.Body, h.Length)
	if x.flags&xFiltered != 0 {
		rs.w.filters.respond(c, x, h)
	}
	out := rs.w.legs.responseHead(c, x, h, end)
	x.flags |= xResponseBegun
	if x.flags&xRequestDone == 0 {
		rs.w.clientDeadline(c, x) // what it sends has no deadline of its own any more
	}
	return out
}

// finalHead handles a final response head h, whose n bytes start v, or, when v
// is empty, were joined from o.in and consumed.
func (rs *responses) finalHead(c *client, x *exchange, o *origin, h *proto.Head, v buf.View, n int) {
	if !rs.answers(c, x, o, h, v, n, false) {
		return
	}
	scarce := v.ID != 0 && !rs.l.Room(loop.Responses)
	if scarce && int(v.Len)-n > rs.w.memory.little() && !rs.w.memory.keepsResponse(c, 0) {
		rs.w.release(&v)
		rs.w.failExchange(c, x, &faultMemory)
		return
	}
	out := rs.begin(c, x, h, false)
	apart := v.ID == 0 || out == nil || len(out) > n || scarce
	if apart {
		rs.w.lines.sendBytes(c.conn, x, out)
	}
	if !rs.legsHold(c, x) {
		rs.w.release(&v)
		return
	}
	switch {
	case v.ID == 0:
		rs.feedWaiting(c, x, o)
	case apart:
		if v = v.Slice(uint32(n), v.Len-uint32(n)); scarce && int(v.Len) <= rs.w.memory.little() {
			v = rs.w.memory.copied(v)
		}
		rs.feed(c, x, o, v)
	default:
		rs.headInPlace(c, x, o, h, v, n, out)
	}
}

// streamHead handles a final response head that came as a frame; end: and the response
// ends with it.
func (rs *responses) streamHead(c *client, x *exchange, o *origin, h *proto.Head, end bool) {
	if !rs.answers(c, x, o, h, buf.View{}, 0, end) {
		return
	}
	rs.w.lines.sendBytes(c.conn, x, rs.begin(c, x, h, end))
	switch {
	case !rs.legsHold(c, x):
	case end:
		rs.end(c, x, nil)
	default:
		rs.applyBackpressure(c, x, o)
	}
}

// headInPlace writes the head out, which is not longer than the old one of
// n bytes, over that one, up against the body: both leave as one piece.
func (rs *responses) headInPlace(c *client, x *exchange, o *origin, h *proto.Head, v buf.View, n int, out []byte) {
	at := n - len(out)
	b := rs.pool.Bytes(v)
	copy(b[at:n], out)
	if h.Body == proto.BodyChunked || x.flags&xResponseFramed != 0 {
		// Framing to take off or to put on lies between the head and the data.
		rs.pool.Retain(v)
		rs.l.Send(c.conn, v.Slice(uint32(at), uint32(len(out))))
		rs.feed(c, x, o, v.Slice(uint32(n), v.Len-uint32(n)))
		return
	}
	d := decodeBody(&x.respBody, b[n:])
	x.respBytes += uint64(d.n)
	if d.used < len(b)-n {
		o.flags |= originDirty
	}
	rs.l.Send(c.conn, v.Slice(uint32(at), uint32(len(out)+d.n)))
	rs.piece(c, x, o, d.piece)
}

// feedWaiting feeds body bytes that lie in o.in behind a joined head.
func (rs *responses) feedWaiting(c *client, x *exchange, o *origin) {
	if o.in.Empty() {
		rs.feed(c, x, o, buf.View{})
		return
	}
	for !o.in.Empty() && x.state != xEnded && x.flags&xResponseTrailers == 0 {
		rs.feed(c, x, o, rs.pool.Pop(&o.in))
	}
}

// feed decodes body bytes of the response and passes them on.
func (rs *responses) feed(c *client, x *exchange, o *origin, v buf.View) {
	if x.flags&xResponseTrailers != 0 {
		incomplete := !rs.w.heads.mayEnd(&o.in, v)
		rs.pool.Coalesce(&o.in, v)
		if incomplete {
			rs.applyBackpressure(c, x, o)
		} else {
			rs.trailers(c, x, o)
		}
		return
	}
	var d decoded
	if v.ID == 0 {
		d = decodeBody(&x.respBody, nil)
	} else {
		d = decodeBody(&x.respBody, rs.pool.Bytes(v))
	}
	if d.fault != nil {
		rs.pool.Release(v)
		rs.w.failExchange(c, x, d.fault.AsResponse())
		return
	}
	left := v.Slice(uint32(d.used), v.Len-uint32(d.used))
	if d.piece == http1.PieceTrailers && left.Len > 0 {
		rs.pool.Retain(v)
		rs.pool.PushFront(&o.in, left)
	} else if left.Len > 0 {
		o.flags |= originDirty
	}
	if d.n > 0 {
		if !rs.data(c, x, v.Slice(uint32(d.at), uint32(d.n))) {
			return
		}
	} else if v.ID != 0 {
		rs.pool.Release(v)
	}
	rs.piece(c, x, o, d.piece)
}

// data gives the client body bytes; it takes v's reference. False: the
// exchange has ended.
func (rs *responses) data(c *client, x *exchange, v buf.View) bool {
	had := x.respBytes
	x.respBytes += uint64(v.Len)
	rs.w.legs.responseData(c, x, v, had)
	return rs.legsHold(c, x)
}

// piece goes on after body bytes were passed to the client.
func (rs *responses) piece(c *client, x *exchange, o *origin, piece http1.Piece) {
	switch piece {
	case http1.PieceEnd:
		rs.end(c, x, nil)
	case http1.PieceTrailers:
		x.flags |= xResponseTrailers
		rs.trailers(c, x, o)
	default:
		rs.w.legs.originBulk(o, true)
		rs.gatherBody(o.conn, &x.respBody, &o.in)
		rs.splice(c, x, o)
		rs.applyBackpressure(c, x, o)
	}
}

func (rs *responses) trailers(c *client, x *exchange, o *origin) {
	if o.in.Empty() {
		rs.applyBackpressure(c, x, o)
		return
	}
	b := rs.w.heads.joined(&o.in, rs.w.heads.limits.HeadBytes+rs.pool.BlockBytes())
	n, f := x.respBody.Trailers(b, &rs.w.heads.limits, &rs.w.heads.trail)
	switch {
	case f != nil:
		rs.w.failExchange(c, x, f.AsResponse())
	case n == 0:
		rs.applyBackpressure(c, x, o)
	default:
		rs.pool.Consume(&o.in, n)
		rs.end(c, x, &rs.w.heads.trail)
	}
}

// applyBackpressure stops reading an origin whose client does not keep up, and
// sets the deadline of whoever is waited for.
func (rs *responses) applyBackpressure(c *client, x *exchange, o *origin) {
	if o.flags&originPaused == 0 && rs.w.legs.queued(&c.leg) > rs.w.legs.highFor(c) {
		rs.w.legs.pauseOrigin(o)
		rs.w.clientDeadline(c, x)
	}
	rs.w.originDeadline(x, o)
}

// recvEnd: the origin closed (errno 0) or broke the connection.
func (rs *responses) recvEnd(o *origin, errno unix.Errno) {
	o.flags |= originEOF
	switch o.state {
	case originBusy:
		x := rs.w.xs.At(o.x)
		rs.cut(rs.w.clients.At(x.client), x, o, errno)
	case originTunnel:
		rs.w.tunnels.originEnd(o, errno)
	case originLinger:
		if errno != 0 || rs.w.legs.queued(&o.leg) == 0 {
			rs.w.origins.close(o)
		}
	}
}

// cut: no more bytes will come from an origin that carries an exchange.
func (rs *responses) cut(c *client, x *exchange, o *origin, errno unix.Errno) {
	if x.flags&xResponseBegun != 0 {
		f := x.respBody.EOF().AsResponse()
		if f == nil && errno == 0 {
			rs.end(c, x, nil)
			return
		}
		if errno == unix.EPROTO {
			f = &faultOriginRecord
		} else if f == nil {
			f = &faultOriginReset
		}
		rs.w.failExchange(c, x, f)
		return
	}
	stale, unsent := o.flags&originStale != 0, errno != 0 && rs.w.legs.isUnsent(o)
	if o.in.Empty() && (stale && rs.w.retries.triesStale(x) || !stale && (unsent && rs.w.retries.triesUnsent(x) || rs.w.retries.tries(x, snapshot.OnReset))) {
		if unsent {
			rs.w.retries.sendAgain(c, x, o, false)
		} else {
			rs.w.retries.tryAgain(c, x, o, false)
		}
		return
	}
	if !stale {
		rs.w.leases.Pool(int(x.cluster)).ResponseFailed(rs.l.Now(), int(x.endpoint))
	}
	if x.flags&xStreamReset != 0 {
		rs.failReset(c, x)
		return
	}
	if errno == unix.EPROTO {
		rs.w.failExchange(c, x, &faultOriginRecord)
		return
	}
	rs.w.failExchange(c, x, &faultOriginClosed)
}

// lost ends what o, which works, is not to go on with, for f: it is tried elsewhere where
// the rules for retries allow it.
func (rs *responses) lost(c *client, x *exchange, o *origin, f *proto.Fault) {
	if o.in.Empty() && rs.w.retries.tries(x, snapshot.OnReset) {
		rs.w.retries.tryAgain(c, x, o, false)
		return
	}
	rs.w.failExchange(c, x, f)
}

// drained: bytes have left the queue of a client, and whoever fills it
// may go on.
func (rs *responses) drained(i uint32, c *client) {
	queued := rs.w.legs.queued(&c.leg)
	if queued == 0 {
		c.takeFrom = 0
	}
	switch c.state {
	case clientBusy:
		x := rs.w.xs.At(c.x)
		if x.origin == 0 || x.flags&xResponseBegun == 0 {
			return
		}
		o := rs.w.origins.At(x.origin)
		if o.flags&originPaused == 0 {
			return
		}
		if queued == 0 || queued <= rs.w.legs.lowFor(c) && x.flags&xSpliced == 0 {
			rs.w.legs.resumeOrigin(o)
			rs.w.originDeadline(x, o)
		}
		rs.w.clientDeadline(c, x)
	case clientTunnel:
		x := rs.w.xs.At(c.x)
		rs.w.tunnels.drained(c, x, rs.w.origins.At(x.origin))
	case clientFlush:
		if queued == 0 {
			rs.w.clients.flushed(c)
		} else {
			rs.w.legs.due(&c.leg, rs.w.writeDeadline(c))
		}
	case clientLinger:
		if queued == 0 && c.flags&clientEOF != 0 {
			rs.w.legs.close(c)
		} else {
			rs.w.clients.lingerDeadline(c)
		}
	case clientIdle, clientHead:
		rs.w.clients.idleSent(i, c)
	}
}

// end: the response is whole; t is its trailer section, borrowed, or
// nil.
func (rs *responses) end(c *client, x *exchange, t *proto.Head) {
	if o := rs.w.origins.At(x.origin); o.holdsBack() && !rs.data(c, x, rs.pool.Pop(&o.in)) {
		return
	}
	if rs.w.legs.responseEnd(c, x, t) {
		rs.w.finishExchange(c, x, true)
	}
}
