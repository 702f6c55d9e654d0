package proxy

import (
	"zproxy/proto"
	"zproxy/proto/http1"
	"zproxy/proto/http2"
	"zproxy/proxy/forward"
	"zproxy/proxy/retry"
	"zproxy/proxy/snapshot"
	"zproxy/router"
)

// anyPath is what OPTIONS * is routed as: it asks about the server as a whole
// (RFC 9110 9.3.7).
var anyPath = []byte("/")

// route finds the route of q and begins what it says.
func (rq *requests) route(c *client, x *exchange, q *forward.Request) {
	h := q.Head
	if a := rq.w.snap.Challenge(h); a != nil {
		rq.w.responses.replyFixed(c, x, a, proto.Extra{})
		return
	}
	path := h.Bytes(h.Path)
	changed := false
	if h.Form == proto.AsteriskForm || len(path) == 0 {
		path = anyPath
	} else {
		var ok bool
		path, changed, ok = router.Normalize(path, rq.path[:0])
		if changed {
			rq.path = path
		}
		if !ok {
			rq.w.failExchange(c, x, &faultBadPath)
			return
		}
	}
	r, cache, m := rq.w.snap.Listeners[c.listener].Router, rq.caches[c.listener], &rq.match
	m.Holds = 0
	if r.Conditional() {
		m.Holds = rq.w.snapOf(x).Holds(q.TLS)
	}
	switch cache.Lookup(r, h.Bytes(h.Host), path, h.Method, h.Bytes(h.MethodName), m) {
	case router.NotFound:
		rq.w.failExchange(c, x, &faultNoRoute)
		return
	case router.MethodNotAllowed:
		// RFC 9110 15.5.6: a 405 names what is allowed.
		rq.w.countFault(&faultMethod)
		rq.w.responses.replyFault(c, x, &faultMethod, rq.w.heads.fields.Allow(m.Allow))
		return
	}
	x.route = m.Value
	rt := &rq.w.snapOf(x).Routes[x.route]
	rq.w.filters.change = nil
	if rt.Chain != nil && !rq.w.filters.pass(c, x, q, rt, path, changed) {
		return
	}
	rq.follow(c, x, q, rt, path, changed)
}

// follow does what route rt says, which q was routed to as path; changed: that is not what was received.
func (rq *requests) follow(c *client, x *exchange, q *forward.Request, rt *snapshot.Route, path []byte, changed bool) {
	h := q.Head
	if rt.Response != nil {
		if h.Protocol.Len > 0 && rt.Response.Status/100 == 2 { // which would accept it
			rq.w.failExchange(c, x, &faultConnect)
			return
		}
		if rt.To != nil {
			rq.w.responses.redirect(c, x, q, rt, path, &rq.match)
			return
		}
		rq.w.responses.replyFixed(c, x, rt.Response, proto.Extra{})
		return
	}
	if !changed {
		path = nil
	}
	rq.forward(c, x, q, int32(rq.upstreamOf(h, rt)), path)
}

// routeCaches gives each listener a cache; listeners with the same table of
// routes share one.
func routeCaches(listeners []*snapshot.Listener) []*router.Cache {
	caches, of := make([]*router.Cache, len(listeners)), map[*router.Router]*router.Cache{}
	for i, l := range listeners {
		if l == nil {
			continue
		}
		if of[l.Router] == nil {
			of[l.Router] = router.NewCache(router.CacheEntries)
		}
		caches[i] = of[l.Router]
	}
	return caches
}

// forward writes the request head as the origin gets it and looks for a
// connection. path, when not nil, is the normalised path that was routed; it
// replaces the received one, so that the origin reads what the router read.
func (rq *requests) forward(c *client, x *exchange, q *forward.Request, cluster int32, path []byte) {
	h := q.Head
	cluster = rq.speaking(cluster, h)
	x.cluster = int16(cluster)
	cl := rq.w.clusters[cluster]
	counted, f := enter(&rq.w.snapOf(x).Routes[x.route], cl)
	if f != nil {
		rq.refuse(c, x, f)
		return
	}
	x.interims |= counted
	http1.MarkHopByHop(h)
	noted, ok := rq.mayPass(c, x, q)
	if !ok {
		return
	}
	if forward.Upgrades(h, x.flags&xRequestDone != 0, cl.H2) {
		x.flags |= xUpgrade
		if f := rq.w.tunnels.request(x, h); f != nil {
			rq.w.failExchange(c, x, f)
			return
		}
	}
	way := forward.Way{Noted: noted, H2: cl.H2, Upgrade: x.flags&xUpgrade != 0, Key: rq.w.tunnels.Key(), Change: rq.w.filters.change}
	extras := rq.w.heads.fields.Request(&rq.w.snap.Forwarding, q, &way)
	host := cl.Host
	if len(host) == 0 {
		if host = h.Bytes(h.Host); len(host) == 0 {
			host = cl.DefaultHost // HTTP/1.0 without Host
		}
	}
	if h.Body == proto.BodyChunked {
		x.flags |= xRequestChunked
	}
	x.from = q.Asker(x.flags&xRequestDone != 0)
	rq.w.origins.noteUniqueID(c.x, q, cl.TLVs)
	if cl.Key != nil {
		rq.setKey(c.x, q.KeyHash(cl.Key, path))
	}
	if cl.Sticky != nil {
		rq.noteStick(c.x, cluster, cl.Sticky.Token(h))
	}
	line := http2.RequestLine{Method: h.Bytes(h.MethodName), Scheme: cl.OriginScheme(), Authority: host, Path: rq.targetOf(h, path)}
	if cl.H2 && x.flags&xUpgrade != 0 {
		line.Method, line.Protocol = forward.Connect, forward.WebSocket
	}
	x.again = retry.Of(cl.Retry.Repeat(h))
	if !rq.w.heads.keepHead(x, q, cl.H2, &line, extras) {
		rq.w.failExchange(c, x, &faultMemory)
		return
	}
	if !cl.H2 && h.H2 && h.Length == 0 && x.flags&xRequestDone == 0 {
		// In HTTP/1 the head alone would say that it is all, which END_STREAM is
		// to say (see wholeWith).
		x.flags |= xHeadWaits
		rq.w.clientDeadline(c, x)
		return
	}
	rq.w.limitStream(c, x)
	rq.w.seek(c, x)
	if x.state == xEnded || x.flags&xRequestDone != 0 {
		return
	}
	rq.w.clients.pump(c, x)
	if x.state != xEnded && x.flags&xRequestDone == 0 {
		rq.w.clients.applyBackpressure(c)
	}
}

// refuse answers x, which its upstream takes no more of, with f.
func (rq *requests) refuse(c *client, x *exchange, f *proto.Fault) {
	extra := proto.Extra{}
	if f == &faultShed {
		extra = retryAfter
	}
	rq.w.countFault(f)
	rq.w.responses.replyFault(c, x, f, extra)
}

// targetOf is the request-target for the origin: the received one, where nothing is to be
// changed. It is lent until the next request.
func (rq *requests) targetOf(h *proto.Head, path []byte) []byte {
	if path == nil && h.Form != proto.AbsoluteForm {
		return h.Bytes(h.Target)
	}
	rq.target = forward.AppendTarget(rq.target[:0], h, path)
	return rq.target
}

// mayPass drops what q's client may not say, and refuses or answers q where it is to go no
// further. False: it has.
func (rq *requests) mayPass(c *client, x *exchange, q *forward.Request) (forward.Noted, bool) {
	noted, verdict := q.Judge(&rq.w.snap.Forwarding)
	switch verdict {
	case forward.Loops:
		rq.w.failExchange(c, x, &faultLoop)
	case forward.TooManyHops:
		rq.w.failExchange(c, x, &faultHops)
	case forward.BadMaxForwards:
		rq.w.failExchange(c, x, &faultMaxForwards)
	case forward.Last:
		rq.w.responses.answerHere(c, x, q.Head)
	}
	return noted, verdict == forward.Pass
}
