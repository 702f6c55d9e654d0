package proxy

import (
	"slices"

	"zproxy/buf"
	"zproxy/loop"
	"zproxy/proto"
	"zproxy/proxy/forward"
	"zproxy/proxy/snapshot"
	"zproxy/router"
)

// requests is the way of a request, from its client to its origin.
type requests struct {
	part
	asked        forward.Request // the one that is being looked at, or was last
	starts       uint32          // its exchange, while that begins: nothing has been written of it yet
	match        router.Match    // its route
	path, target []byte          // what its origin gets for them, where that differs
	caches       []*router.Cache // by listener
	hits, misses uint64          // of the caches before
	drawn        uint32          // for the request that was split last
	keys         []uint64        // by exchange, see key.go
	stickers     []sticker       // by exchange, see noteStick
}

// begin makes room for requests.
func (rq *requests) begin() {
	rq.asked = forward.NewRequest()
	rq.path = make([]byte, 0, router.NormalizedBound(snapshot.MaxTargetBytes))
}

// prepare is for a snapshot that becomes the current one.
func (rq *requests) prepare(s *snapshot.Snapshot) {
	rq.hits, rq.misses = rq.lookups()
	rq.caches = routeCaches(s.Listeners)
}

// lookups is how many routes were found in caches, and how many were not.
func (rq *requests) lookups() (hits, misses uint64) {
	hits, misses = rq.hits, rq.misses
	for i, c := range rq.caches {
		if c != nil && !slices.Contains(rq.caches[:i], c) {
			hits, misses = hits+c.Hits, misses+c.Misses
		}
	}
	return hits, misses
}

// data gives body bytes to o. It takes v's reference.
func (rq *requests) data(x *exchange, o *origin, v buf.View) {
	rq.w.legs.requestData(x, o, v)
	rq.w.originDeadline(x, o)
}

// keepBody keeps the beginning of a body that was given to an origin, see keepsBody: as
// much as a small request has.
func (rq *requests) keepBody(x *exchange, v buf.View) {
	if x.flags&xBodyLost != 0 {
		return
	}
	if rq.w.memory.Pressure > 1 || x.backlog.Len() >= keptPieces || x.backlog.Bytes()+int(v.Len) > keptBytes {
		x.flags |= xBodyLost
		rq.pool.Drop(&x.backlog)
		return
	}
	rq.pool.Retain(v)
	rq.pool.Push(&x.backlog, v)
}

const (
	keptBytes  = 64 << 10
	keptPieces = 8
)

// keepsTrailers says that the request's trailers go to the origin: HTTP/1 has
// a place for them behind chunks alone. Those that come while a filter is waited for go no further (RFC 9110 6.5.1).
func (rq *requests) keepsTrailers(x *exchange) bool {
	return x.flags&xRequestChunked != 0 && x.state != xFiltering || x.cluster >= 0 && rq.w.clusters[x.cluster].H2
}

// finish gives o the end of the request and begins the wait for its
// response.
func (rq *requests) finish(x *exchange, o *origin) {
	rq.w.legs.requestEnd(x, o)
	rq.w.originDeadline(x, o)
}

// backlog is how many bytes of the request wait for the origin.
func (rq *requests) backlog(x *exchange) int {
	if x.origin != 0 && x.state == xForwarding {
		return rq.w.legs.queued(&rq.w.origins.At(x.origin).leg)
	}
	return x.backlog.Bytes()
}

// resume goes on with a request body that was held up.
func (rq *requests) resume(c *client, x *exchange) {
	rq.w.legs.pump(c, x)
	if x.state != xEnded && x.flags&xRequestDone == 0 && rq.backlog(x) <= rq.w.memory.High {
		rq.w.legs.resumeClient(c)
		rq.w.clients.awaitBody(c)
	}
}

// received takes decoded body bytes of the request. It never ends the
// exchange: what goes wrong shows in xBroken or in an event to come.
func (rq *requests) received(x *exchange, v buf.View) {
	x.reqBytes += uint64(v.Len)
	x.flags &^= xExpect // or it has got tired of waiting
	switch {
	case x.flags&xOriginDeaf != 0:
		x.flags |= xBodyGiven | xBodyLost // it is gone all the same: a replay would lack it
		rq.pool.Release(v)
	case x.state == xForwarding:
		rq.data(x, rq.w.origins.At(x.origin), v)
	default:
		rq.w.h2.Queue(&x.backlog, v)
	}
}

// end notes that the request has been received whole; t is its trailer
// section, borrowed, or nil.
func (rq *requests) end(c *client, x *exchange, t *proto.Head) {
	x.flags |= xRequestDone
	x.flags &^= xRequestTrailers
	if c.holdsBack() {
		rq.received(x, rq.pool.Pop(&c.in))
	}
	rq.w.clientDeadline(c, x)
	if t != nil && rq.keepsTrailers(x) {
		hd := &rq.w.heads
		forward.JudgeTrailers(&rq.w.snap.Forwarding, t, hd.peerOf(c), hd.tlsOf(c))
		if x.flags&xFiltered != 0 {
			rq.w.filters.passages[c.x].Forward.Mark(t) // what was dropped as a field is no trailer either
		}
		hd.out = forward.AppendTrailers(hd.out[:0], t, rq.w.clusters[x.cluster].H2)
		if len(hd.out) > rq.pool.BlockBytes() {
			rq.fault(c, x, proto.RequestFault(proto.FaultHeadTooLarge))
			return
		}
		x.trailer = rq.w.keep(x, hd.out)
	}
	if x.flags&(xHeadWaits|xContentWaits) != 0 && x.flags&xBroken == 0 {
		x.flags &^= xHeadWaits
		rq.w.scarce.contentCame(c, x)
		return
	}
	if x.flags&(xOriginDeaf|xBroken) == 0 && x.state == xForwarding {
		rq.finish(x, rq.w.origins.At(x.origin))
	}
	if x.flags&xBroken != 0 {
		// Its trailers or its last chunk found no memory: the origin must not
		// wait for them, nor take what follows for them.
		rq.w.failExchange(c, x, &faultMemory)
		return
	}
	if !c.in.Empty() {
		rq.w.clients.applyBackpressure(c)
	}
}

// fault answers a request whose body turned out wrong. The origin leg
// is broken before its message is whole.
func (rq *requests) fault(c *client, x *exchange, f *proto.Fault) {
	rq.w.failExchange(c, x, f)
}

// sent: request bytes have left; a body that waited goes on.
func (rq *requests) sent(o *origin, ev *loop.Event) {
	rq.m.UpstreamBytesOut += uint64(ev.N)
	first := ev.Errno == 0 && o.flags&originUnsent != 0
	if first {
		o.flags &^= originUnsent
	}
	if o.x == 0 {
		if o.state == originLinger && (ev.Errno != 0 || o.flags&originEOF != 0 && rq.w.legs.queued(&o.leg) == 0) {
			rq.w.origins.close(o) // it has closed its side before
		}
		return
	}
	x := rq.w.xs.At(o.x)
	c := rq.w.clients.At(x.client)
	if o.state == originTunnel {
		rq.w.tunnels.sent(c, x, o, ev.Errno)
		return
	}
	if first && x.flags&xBodyGiven != 0 && rq.w.clusters[x.cluster].SendProxy != 0 && !rq.w.retries.keepsBody(x) {
		x.flags |= xBodyLost // it was kept for an origin that refuses the header alone
		rq.pool.Drop(&x.backlog)
	}
	if ev.Errno != 0 {
		// The origin may have answered before it stopped listening: its answer,
		// or the end of it, is still to be read (RFC 9112 9.5).
		x.flags |= xOriginDeaf
		o.flags |= originDirty
		if x.flags&xRequestDone == 0 && !x.backlog.Empty() {
			x.flags |= xBodyGiven | xBodyLost
			rq.pool.Drop(&x.backlog)
		}
	}
	rq.drained(o)
}

// drained: bytes have left the queue of an origin, or it takes no more.
func (rq *requests) drained(o *origin) {
	x := rq.w.xs.At(o.x)
	c := rq.w.clients.At(x.client)
	if o.state == originTunnel {
		rq.w.tunnels.drained(c, x, o)
		return
	}
	if x.flags&(xRequestDone|xBodyGiven) != xRequestDone {
		rq.w.originDeadline(x, o)
	}
	if x.flags&xRequestDone == 0 && (x.flags&xOriginDeaf != 0 || rq.w.legs.queued(&o.leg) <= rq.w.memory.Low) {
		rq.resume(c, x)
	}
}
