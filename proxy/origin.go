package proxy

import (
	"golang.org/x/sys/unix"

	"zproxy/buf"
	"zproxy/internal/plant"
	"zproxy/loop"
	"zproxy/proto"
	"zproxy/proto/http1"
	"zproxy/proto/http2"
)

type originState uint8

const (
	originConnecting originState = iota
	originIdle                   // in its pool
	originBusy                   // carries an exchange
	originTunnel
	originExporting // leaves for a neighbour
	originLinger    // write side closed: discard until the origin closes too
	originClosing
)

const (
	originDirty     = 1 << iota // bytes behind the response: never reused
	originPaused                // reading is suspended
	originEOF                   // the origin closed its write side
	originUncounted             // its slot in the cap has been given back
	originUnsent                // nothing of its request has left yet
)

// origin is one connection to an endpoint, or one stream of one. Pointer-free.
type origin struct {
	conn     loop.ConnID
	stream   uint32    // in Worker.streams; 0: a connection of its own
	in       buf.Chain // received, not yet parsed; of a stream: content held back, see answeredWith
	x        uint32
	uses     uint32
	self     uint32 // its index
	addr     uint32 // key of the address it is connected to
	cluster  uint16
	endpoint uint16
	exportTo uint16 // loop that asked for this connection
	state    originState
	flags    uint8
}

// openOrigin dials; nil when the loop has no room for one more connection.
func (w *Worker) openOrigin(r *loop.Remote, key uint32, cluster, endpoint int) (uint32, *origin) {
	conn := w.connect(r, cluster, endpoint)
	if conn == 0 {
		w.m.UpstreamConnectErrors++
		w.reportDial(cluster, endpoint, key, &faultNoSocket)
		return 0, nil
	}
	oi, o := w.origins.Alloc()
	o.self, o.addr = oi, key
	o.cluster, o.endpoint = uint16(cluster), uint16(endpoint)
	o.conn = conn
	w.l.SetOwner(conn, ownerOf(ownerOrigin, oi))
	w.m.UpstreamConnects++
	w.originDue(o, w.l.Now()+w.snap.clusters[cluster].connectNs)
	return oi, o
}

func (w *Worker) originEvent(oi uint32, ev *loop.Event) {
	o := w.origins.At(oi)
	switch ev.Kind {
	case loop.Received:
		w.m.UpstreamBytesIn += uint64(ev.N)
		w.originReceived(oi, o, ev.View)
	case loop.Spliced:
		w.m.UpstreamBytesIn += uint64(ev.N)
		w.responseSpliced(o, int(ev.N))
	case loop.Sent:
		w.originSent(o, ev)
	case loop.RecvEnd:
		w.originRecvEnd(o, ev.Errno)
	case loop.Connected:
		w.originConnected(oi, o, ev.Errno)
	case loop.Timer:
		w.originTimeout(o)
	case loop.Closed:
		w.originClosed(oi, o, ev)
	}
}

func (w *Worker) originConnected(oi uint32, o *origin, errno unix.Errno) {
	if errno != 0 {
		w.dialFailed(o, w.connectFault(int(o.cluster), errno))
		return
	}
	w.pools[o.cluster].DialOK(w.l.Now(), int(o.endpoint))
	w.l.Recv(o.conn)
	if o.x == 0 {
		w.idleOrigin(oi, o)
		return
	}
	x := w.xs.At(o.x)
	took := x.took(w.l.Now())
	x.connectUs = microseconds(took)
	w.m.Connect.RecordValue(took)
	w.attach(w.clients.At(x.client), x, oi, o)
}

// idleOrigin returns a connection to its pool, or closes it when the pool has
// no room.
func (w *Worker) idleOrigin(oi uint32, o *origin) {
	o.x, o.state = 0, originIdle
	w.originBulk(o, false)
	if !w.draining && w.pools[o.cluster].PutAddr(w.l.Now(), uint64(oi), int(o.endpoint), o.addr) {
		w.originDue(o, 0)
		w.serveWaiters(int(o.cluster))
		return
	}
	w.closeOrigin(o)
}

// closeOrigin closes whatever state the connection is in; its slot is counted
// back when Closed arrives.
func (w *Worker) closeOrigin(o *origin) {
	if o.stream != 0 {
		w.endOriginStream(o, http2.ErrCancel)
		return
	}
	if o.state != originClosing {
		o.state = originClosing
		w.pool.Drop(&o.in)
		w.l.Close(o.conn)
	}
}

// abortOrigin closes with a reset: what was sent must not pass for whole.
func (w *Worker) abortOrigin(o *origin) {
	if o.state != originClosing {
		o.state = originClosing
		w.pool.Drop(&o.in)
		w.l.Abort(o.conn)
	}
}

func (w *Worker) originClosed(oi uint32, o *origin, ev *loop.Event) {
	if o.state == originExporting {
		w.exportedOrigin(o, int(ev.FD))
	} else if o.flags&originUncounted == 0 && !(plant.Is(plant.Slot) && o.uses%8 == 7) {
		w.pools[o.cluster].Closed(int(o.endpoint))
	}
	w.pool.Drop(&o.in)
	cluster := int(o.cluster)
	w.origins.Free(oi)
	w.serveWaiters(cluster)
}

// detachOrigin separates the exchange from its origin. A reusable connection
// goes back to the pool, any other is closed, so that a message cut short is
// seen to be.
func (w *Worker) detachOrigin(x *exchange, reusable bool) {
	if x.origin == 0 {
		return
	}
	oi := x.origin
	o := w.origins.At(oi)
	x.origin, o.x = 0, 0
	if o.stream != 0 {
		w.endOriginStream(o, x.originCode())
		return
	}
	switch {
	case o.state == originConnecting:
		// The dial goes on; the connection will serve somebody else.
	case (reusable || plant.Is(plant.Swap)) && o.state == originBusy && w.atRest(o):
		w.resumeOrigin(o)
		w.idleOrigin(oi, o)
	case o.state == originTunnel && (x.flags&xBothDone != xBothDone || w.originQueued(o) > 0):
		w.abortOrigin(o)
	default:
		w.closeOrigin(o)
	}
}

// atRest: the next byte either way belongs to the next exchange. An origin that
// answers early may have left a body unread, and whatever is behind it.
func (w *Worker) atRest(o *origin) bool {
	return o.flags&(originDirty|originEOF) == 0 && o.in.Empty() && w.originQueued(o) == 0
}

func (w *Worker) originReceived(oi uint32, o *origin, v buf.View) {
	switch o.state {
	case originBusy:
		x := w.xs.At(o.x)
		c := w.clients.At(x.client)
		if o.flags&originUnsent != 0 {
			// As below: the connection is as good as closed.
			w.pool.Release(v)
			w.originCut(c, x, o, 0)
			return
		}
		if x.flags&xResponseBegun != 0 {
			w.feedResponse(c, x, o, v)
			return
		}
		if o.in.Empty() {
			w.parseResponse(c, x, o, v)
			return
		}
		incomplete := o.in.Len() > 1 && !w.mayEnd(&o.in, v)
		w.pool.Coalesce(&o.in, v)
		if !incomplete {
			w.parseJoined(c, x, o)
		}
	case originTunnel:
		w.tunnelFromOrigin(o, v)
	case originIdle:
		// RFC 9112 9.2: unsolicited bytes cannot belong to any request to come.
		w.pool.Release(v)
		w.dropIdle(o)
	default:
		w.pool.Release(v)
	}
}

// dropIdle closes a pooled connection that can no longer be used.
func (w *Worker) dropIdle(o *origin) {
	w.pools[o.cluster].Remove(uint64(o.self), int(o.endpoint))
	w.closeOrigin(o)
}

// parseResponse parses heads at v's first byte; o.in is empty.
func (w *Worker) parseResponse(c *client, x *exchange, o *origin, v buf.View) {
	for {
		b := w.pool.Bytes(v)
		n, f := x.respBody.ResponseHead(b, x.method, &w.limits, &w.resp)
		if f != nil {
			w.pool.Release(v)
			w.failExchange(c, x, f)
			return
		}
		if n == 0 {
			w.pool.Push(&o.in, v)
			return
		}
		if w.resp.Status >= 200 || w.resp.Status == 101 {
			w.finalHead(c, x, o, &w.resp, v, n, false)
			return
		}
		if !w.interim(c, x, o, &w.resp) {
			w.pool.Release(v)
			return
		}
		v = v.Slice(uint32(n), v.Len-uint32(n))
		if v.Len == 0 {
			w.pool.Release(v)
			return
		}
	}
}

// parseJoined parses the head that spans the views of o.in.
func (w *Worker) parseJoined(c *client, x *exchange, o *origin) {
	if o.in.Len() == 1 {
		w.parseResponse(c, x, o, w.pool.Pop(&o.in))
		return
	}
	b := w.joined(&o.in, w.limits.HeadBytes+w.pool.BlockBytes())
	n, f := x.respBody.ResponseHead(b, x.method, &w.limits, &w.resp)
	switch {
	case f != nil:
		w.failExchange(c, x, f)
	case n == 0:
	case w.resp.Status >= 200 || w.resp.Status == 101:
		w.m.HeadJoins++
		w.pool.Consume(&o.in, n)
		w.finalHead(c, x, o, &w.resp, buf.View{}, 0, false)
	default:
		w.pool.Consume(&o.in, n)
		if w.interim(c, x, o, &w.resp) && !o.in.Empty() {
			w.parseJoined(c, x, o)
		}
	}
}

// legsHold breaks an exchange that ran out of memory in mid-message; false
// means it has ended.
func (w *Worker) legsHold(c *client, x *exchange) bool {
	if x.flags&xBroken == 0 {
		return true
	}
	x.flags |= xResponseBegun // whatever was queued cannot be followed by another head
	w.failExchange(c, x, &faultMemory)
	return false
}

// finalHead handles a final response head h, whose n bytes start v, or, when v
// is empty, were joined from o.in and consumed, or came as a frame; end: and
// the response ends with it.
func (w *Worker) finalHead(c *client, x *exchange, o *origin, h *proto.Head, v buf.View, n int, end bool) {
	took := x.took(w.l.Now())
	x.firstByteUs = microseconds(took)
	w.m.Response.RecordValue(took)
	w.pools[o.cluster].ResponseOK(w.l.Now(), int(o.endpoint))
	x.status = h.Status
	if o.stream != 0 {
		x.flags |= xBodyLost // it was processed
		w.pool.Drop(&x.backlog)
	}
	if x.switches(o, h) {
		w.startTunnel(c, x, o, h, v, n, end)
		return
	}
	if x.flags&xUpgrade != 0 && c.stream != 0 && h.Status/100 == 2 { // to pass it on would say that the tunnel is open
		w.release(&v)
		w.failExchange(c, x, &faultNoSwitch)
		return
	}
	if !h.KeepAlive {
		o.flags |= originDirty
	}
	scarce := v.ID != 0 && !w.l.Room(loop.Responses)
	if scarce && int(v.Len)-n > w.little() && !w.keepsResponse(c, 0) {
		w.release(&v)
		w.failExchange(c, x, &faultMemory)
		return
	}
	x.flags &^= xExpect
	x.respBody.Start(h.Body, h.Length)
	w.responseHead(c, x, h, end)
	x.flags |= xResponseBegun
	if x.flags&xRequestDone == 0 {
		w.clientDeadline(c, x) // what it sends has no deadline of its own any more
	}
	apart := v.ID == 0 || c.stream != 0 || len(w.out) > n || scarce
	if apart && c.stream == 0 {
		w.sendBytes(c.conn, x, w.out)
	}
	if !w.legsHold(c, x) {
		w.release(&v)
		return
	}
	switch {
	case o.stream != 0 && end:
		w.responseEnd(c, x, nil)
	case o.stream != 0:
		w.restrainOrigin(c, x, o)
	case v.ID == 0:
		w.feedWaiting(c, x, o)
	case apart:
		if v = v.Slice(uint32(n), v.Len-uint32(n)); scarce && int(v.Len) <= w.little() {
			v = w.copied(v)
		}
		w.feedResponse(c, x, o, v)
	default:
		w.headInPlace(c, x, o, h, v, n)
	}
}

// headInPlace writes the head in w.out, which is not longer than the old one of
// n bytes, over that one, up against the body: both leave as one piece.
func (w *Worker) headInPlace(c *client, x *exchange, o *origin, h *proto.Head, v buf.View, n int) {
	at := n - len(w.out)
	b := w.pool.Bytes(v)
	copy(b[at:n], w.out)
	if h.Body == proto.BodyChunked || x.flags&xResponseChunked != 0 {
		// Framing to take off or to put on lies between the head and the data.
		w.pool.Retain(v)
		w.l.Send(c.conn, v.Slice(uint32(at), uint32(len(w.out))))
		w.feedResponse(c, x, o, v.Slice(uint32(n), v.Len-uint32(n)))
		return
	}
	d := decodeBody(&x.respBody, b[n:])
	x.respBytes += uint64(d.n)
	if d.used < len(b)-n {
		o.flags |= originDirty
	}
	w.l.Send(c.conn, v.Slice(uint32(at), uint32(len(w.out)+d.n)))
	w.responsePiece(c, x, o, d.piece)
}

// feedWaiting feeds body bytes that lie in o.in behind a joined head.
func (w *Worker) feedWaiting(c *client, x *exchange, o *origin) {
	if o.in.Empty() {
		w.feedResponse(c, x, o, buf.View{})
		return
	}
	// The exchange may end, and its slot serve another, before o.in is empty:
	// what is left then makes the connection unfit for reuse.
	for xi := o.x; !o.in.Empty() && o.state == originBusy && o.x == xi && x.flags&xResponseTrailers == 0; {
		w.feedResponse(c, x, o, w.pool.Pop(&o.in))
	}
}

// feedResponse decodes body bytes of the response and passes them on.
func (w *Worker) feedResponse(c *client, x *exchange, o *origin, v buf.View) {
	if x.flags&xResponseTrailers != 0 {
		incomplete := !w.mayEnd(&o.in, v)
		w.pool.Coalesce(&o.in, v)
		if incomplete {
			w.restrainOrigin(c, x, o)
		} else {
			w.responseTrailers(c, x, o)
		}
		return
	}
	var d decoded
	if v.ID == 0 {
		d = decodeBody(&x.respBody, nil)
	} else {
		d = decodeBody(&x.respBody, w.pool.Bytes(v))
	}
	if d.fault != nil {
		w.pool.Release(v)
		w.failExchange(c, x, d.fault.AsResponse())
		return
	}
	left := v.Slice(uint32(d.used), v.Len-uint32(d.used))
	if d.piece == http1.PieceTrailers && left.Len > 0 {
		w.pool.Retain(v)
		w.pool.PushFront(&o.in, left)
	} else if left.Len > 0 {
		o.flags |= originDirty
	}
	if d.n > 0 {
		if !w.responseData(c, x, v.Slice(uint32(d.at), uint32(d.n))) {
			return
		}
	} else if v.ID != 0 {
		w.pool.Release(v)
	}
	w.responsePiece(c, x, o, d.piece)
}

// responseData gives the client body bytes; it takes v's reference. False: the
// exchange has ended.
func (w *Worker) responseData(c *client, x *exchange, v buf.View) bool {
	x.respBytes += uint64(v.Len)
	if c.stream != 0 {
		if !w.keepsResponse(c, x.respBytes-uint64(v.Len)) {
			x.flags |= xBroken
		}
		w.streamPush(w.streams.At(c.stream), v)
		return w.legsHold(c, x)
	}
	w.sendData(c.conn, x, v, x.flags&xResponseChunked != 0)
	return w.legsHold(c, x)
}

// responsePiece goes on after body bytes were passed to the client.
func (w *Worker) responsePiece(c *client, x *exchange, o *origin, piece http1.Piece) {
	switch piece {
	case http1.PieceEnd:
		w.responseEnd(c, x, nil)
	case http1.PieceTrailers:
		x.flags |= xResponseTrailers
		w.responseTrailers(c, x, o)
	default:
		w.originBulk(o, true)
		w.gatherBody(o.conn, o.stream, &x.respBody, &o.in)
		w.spliceResponse(c, x, o)
		w.restrainOrigin(c, x, o)
	}
}

func (w *Worker) responseTrailers(c *client, x *exchange, o *origin) {
	if o.in.Empty() {
		w.restrainOrigin(c, x, o)
		return
	}
	b := w.joined(&o.in, w.limits.HeadBytes+w.pool.BlockBytes())
	n, f := x.respBody.Trailers(b, &w.limits, &w.trail)
	switch {
	case f != nil:
		w.failExchange(c, x, f.AsResponse())
	case n == 0:
		w.restrainOrigin(c, x, o)
	default:
		w.pool.Consume(&o.in, n)
		w.responseEnd(c, x, &w.trail)
	}
}

// restrainOrigin stops reading an origin whose client does not keep up, and
// sets the deadline of whoever is waited for.
func (w *Worker) restrainOrigin(c *client, x *exchange, o *origin) {
	if o.flags&originPaused == 0 && w.clientQueued(c) > w.highFor(c) && !plant.Is(plant.Bound) {
		w.pauseOrigin(o)
		w.clientDeadline(c, x)
	}
	w.originDeadline(x, o)
}

// originSent: request bytes have left; a body that waited goes on.
func (w *Worker) originSent(o *origin, ev *loop.Event) {
	w.m.UpstreamBytesOut += uint64(ev.N)
	o.flags &^= originUnsent
	if o.x == 0 {
		if o.state == originLinger && (ev.Errno != 0 || o.flags&originEOF != 0 && w.originQueued(o) == 0) {
			w.closeOrigin(o) // it has closed its side before
		}
		return
	}
	x := w.xs.At(o.x)
	c := w.clients.At(x.client)
	if o.state == originTunnel {
		w.tunnelSent(c, x, o, ev.Errno)
		return
	}
	if ev.Errno != 0 {
		// The origin may have answered before it stopped listening: its answer,
		// or the end of it, is still to be read (RFC 9112 9.5).
		x.flags |= xOriginDeaf
		o.flags |= originDirty
		if !x.backlog.Empty() {
			x.flags |= xBodyGiven
			w.pool.Drop(&x.backlog)
		}
	}
	w.originDrained(o)
}

// originDrained: bytes have left the queue of an origin, or it takes no more.
func (w *Worker) originDrained(o *origin) {
	x := w.xs.At(o.x)
	c := w.clients.At(x.client)
	if o.state == originTunnel {
		w.tunnelDrained(c, x, o)
		return
	}
	if x.flags&(xRequestDone|xBodyGiven) != xRequestDone {
		w.originDeadline(x, o)
	}
	if x.flags&xRequestDone == 0 && (x.flags&xOriginDeaf != 0 || w.originQueued(o) <= w.low) {
		w.resumeRequest(c, x)
	}
}

// originRecvEnd: the origin closed (errno 0) or broke the connection.
func (w *Worker) originRecvEnd(o *origin, errno unix.Errno) {
	o.flags |= originEOF
	switch o.state {
	case originIdle:
		w.dropIdle(o)
	case originBusy:
		x := w.xs.At(o.x)
		w.originCut(w.clients.At(x.client), x, o, errno)
	case originTunnel:
		w.tunnelOriginEnd(o, errno)
	case originLinger:
		if errno != 0 || w.originQueued(o) == 0 {
			w.closeOrigin(o)
		}
	}
}

// originCut: no more bytes will come from an origin that carries an exchange.
func (w *Worker) originCut(c *client, x *exchange, o *origin, errno unix.Errno) {
	if x.flags&xResponseBegun != 0 {
		f := x.respBody.EOF().AsResponse()
		if f == nil && errno == 0 {
			w.responseEnd(c, x, nil)
			return
		}
		if errno == unix.EPROTO {
			f = &faultOriginRecord
		} else if f == nil {
			f = &faultOriginReset
		}
		w.failExchange(c, x, f)
		return
	}
	if o.in.Empty() && x.interims == 0 && w.replayable(x, o) {
		if o.uses > 1 {
			w.m.UpstreamStale++
		}
		w.replay(c, x, o)
		return
	}
	if o.uses <= 1 {
		w.pools[o.cluster].ResponseFailed(w.l.Now(), int(o.endpoint))
	}
	if x.flags&xStreamReset != 0 {
		w.failReset(c, x)
		return
	}
	if errno == unix.EPROTO {
		w.failExchange(c, x, &faultOriginRecord)
		return
	}
	w.failExchange(c, x, &faultOriginClosed)
}
