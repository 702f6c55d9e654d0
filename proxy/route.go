package proxy

import (
	"zproxy/proto"
	"zproxy/proto/http1"
	"zproxy/proto/http2"
	"zproxy/proxy/snapshot"
	"zproxy/router"
)

// anyPath is what OPTIONS * is routed as: it asks about the server as a whole
// (RFC 9110 9.3.7).
var anyPath = []byte("/")

// route finds the route of h and begins what it says.
func (rq *requests) route(c *client, x *exchange, h *proto.Head) {
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
		path, changed, ok = router.Normalize(path, rq.w.heads.path[:0])
		if changed {
			rq.w.heads.path = path
		}
		if !ok {
			rq.w.failExchange(c, x, &faultBadPath)
			return
		}
	}
	r, cache := rq.w.snap.Listeners[c.listener].Router, rq.w.heads.caches[c.listener]
	rq.w.heads.match.Holds = 0
	if r.Conditional() {
		rq.w.heads.match.Holds = rq.w.snapOf(x).Holds(rq.w.heads.tlsOf(c))
	}
	switch cache.Lookup(r, h.Bytes(h.Host), path, h.Method, h.Bytes(h.MethodName), &rq.w.heads.match) {
	case router.NotFound:
		rq.w.failExchange(c, x, &faultNoRoute)
		return
	case router.MethodNotAllowed:
		rq.w.failExchange(c, x, &faultMethod)
		return
	}
	x.route = rq.w.heads.match.Value
	rt := &rq.w.snapOf(x).Routes[x.route]
	if rt.Response != nil {
		if h.Protocol.Len > 0 && rt.Response.Status/100 == 2 { // which would accept it
			rq.w.failExchange(c, x, &faultConnect)
			return
		}
		if rt.To != nil {
			rq.w.responses.redirect(c, x, h, rt, path)
			return
		}
		rq.w.responses.replyFixed(c, x, rt.Response, proto.Extra{})
		return
	}
	if !changed {
		path = nil
	}
	rq.forward(c, x, h, int32(rq.target(h, rt)), path)
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

// countRoutes brings the counters of the caches up to date.
func (jo *journal) countRoutes() {
	jo.m.RouteCacheHits, jo.m.RouteCacheMisses = jo.w.heads.lookups()
}

// forward writes the request head as the origin gets it and looks for a
// connection. path, when not nil, is the normalised path that was routed; it
// replaces the received one, so that the origin reads what the router read.
func (rq *requests) forward(c *client, x *exchange, h *proto.Head, cluster int32, path []byte) {
	cluster = rq.speaking(cluster, h)
	x.cluster = int16(cluster)
	cl := rq.w.clusters[cluster]
	if cl.Shared.Limited() {
		if !cl.Shared.Enter() {
			rq.w.failExchange(c, x, &faultMaxRequests)
			return
		}
		x.interims |= xEntered
	}
	http1.MarkHopByHop(h)
	v, ok := rq.w.heads.vet(c, x, h)
	if !ok {
		return
	}
	if rq.w.heads.upgrades(x, h) {
		x.flags |= xUpgrade
		if f := rq.w.tunnels.request(x, h); f != nil {
			rq.w.failExchange(c, x, f)
			return
		}
	}
	rq.w.heads.requestExtras(c, x, h, v)
	target := rq.w.heads.target(h, path)
	host := cl.Host
	if len(host) == 0 {
		if host = h.Bytes(h.Host); len(host) == 0 {
			host = cl.DefaultHost // HTTP/1.0 without Host
		}
	}
	if h.Body == proto.BodyChunked {
		x.flags |= xRequestChunked
	}
	rq.w.heads.noteAsker(x, h)
	rq.w.origins.noteUniqueID(c.x, h, cl.SendProxy)
	if cl.Key != nil {
		rq.noteKey(c, h, cl.Key, path)
	}
	line := http2.RequestLine{Method: h.Bytes(h.MethodName), Scheme: cl.OriginScheme(), Authority: host, Path: target}
	if cl.H2 && x.flags&xUpgrade != 0 {
		line.Method, line.Protocol = methodConnect, webSocket
	}
	x.again = uint8(cl.Retry.Repeat(h)) << repeatShift
	if !rq.w.heads.keepHead(x, h, cl, &line) {
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
