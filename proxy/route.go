package proxy

import (
	"slices"

	"zproxy/internal/plant"
	"zproxy/loop"
	"zproxy/proto"
	"zproxy/proto/http1"
	"zproxy/proto/http2"
	"zproxy/router"
	"zproxy/upstream"
)

// anyPath is what OPTIONS * is routed as: it asks about the server as a whole
// (RFC 9110 9.3.7).
var anyPath = []byte("/")

// routeExchange finds the route of h and begins what it says.
func (w *Worker) routeExchange(c *client, x *exchange, h *proto.Head) {
	path := h.Bytes(h.Path)
	changed := false
	if h.Form == proto.AsteriskForm || len(path) == 0 {
		path = anyPath
	} else {
		var ok bool
		path, changed, ok = router.Normalize(path, w.path[:0])
		if changed {
			w.path = path
		}
		if !ok {
			w.failExchange(c, x, &faultBadPath)
			return
		}
	}
	r, cache := w.snap.routers[c.listener], w.caches[c.listener]
	switch cache.Lookup(r, h.Bytes(h.Host), path, h.Method, h.Bytes(h.MethodName), &w.match) {
	case router.NotFound:
		w.failExchange(c, x, &faultNoRoute)
		return
	case router.MethodNotAllowed:
		w.failExchange(c, x, &faultMethod)
		return
	}
	x.route = w.match.Value
	rt := &w.snap.routes[x.route]
	if rt.answer != nil {
		if h.Protocol.Len > 0 && rt.answer.status/100 == 2 { // which would accept it
			w.failExchange(c, x, &faultConnect)
			return
		}
		if rt.to != nil {
			w.redirect(c, x, h, rt, path)
			return
		}
		w.replyFixed(c, x, rt.answer, proto.Extra{})
		return
	}
	if !changed {
		path = nil
	}
	w.forward(c, x, h, int32(rt.cluster), path)
}

// routeCaches gives each listener a cache; listeners with the same table of
// routes share one.
func routeCaches(routers []*router.Router) []*router.Cache {
	caches := make([]*router.Cache, len(routers))
	for i := range routers {
		for j := range i {
			if routers[j] == routers[i] {
				caches[i] = caches[j]
			}
		}
		if caches[i] == nil {
			caches[i] = router.NewCache(router.CacheEntries)
		}
	}
	return caches
}

// countRoutes brings the counters of the caches up to date.
func (w *Worker) countRoutes() {
	w.m.RouteCacheHits, w.m.RouteCacheMisses = 0, 0
	for i, c := range w.caches {
		if !slices.Contains(w.caches[:i], c) {
			w.m.RouteCacheHits += c.Hits
			w.m.RouteCacheMisses += c.Misses
		}
	}
}

// forward writes the request head as the origin gets it and looks for a
// connection. path, when not nil, is the normalised path that was routed; it
// replaces the received one, so that the origin reads what the router read.
func (w *Worker) forward(c *client, x *exchange, h *proto.Head, cluster int32, path []byte) {
	x.cluster = int16(cluster)
	cl := w.snap.clusters[cluster]
	http1.MarkHopByHop(h)
	v, ok := w.vet(c, x, h)
	if !ok {
		return
	}
	if w.upgrades(x, h) {
		x.flags |= xUpgrade
		if f := w.socketRequest(x, h); f != nil {
			w.failExchange(c, x, f)
			return
		}
	}
	w.requestExtras(c, x, h, v)
	target := w.target(h, path)
	host := cl.host
	if len(host) == 0 {
		if host = h.Bytes(h.Host); len(host) == 0 {
			host = cl.defaultHost // HTTP/1.0 without Host
		}
	}
	if h.Body == proto.BodyChunked {
		x.flags |= xRequestChunked
	}
	w.noteAsker(x, h)
	line := http2.RequestLine{Method: h.Bytes(h.MethodName), Scheme: cl.originScheme(), Authority: host, Path: target}
	if cl.h2 && x.flags&xUpgrade != 0 {
		line.Method, line.Protocol = methodConnect, webSocket
	}
	if !w.keepHead(x, h, cl, &line) {
		w.failExchange(c, x, &faultMemory)
		return
	}
	if !cl.h2 && h.H2 && h.Length == 0 && x.flags&xRequestDone == 0 {
		// In HTTP/1 the head alone would say that it is all, which END_STREAM is
		// to say (see wholeWith).
		x.flags |= xHeadWaits
		w.clientDeadline(c, x)
		return
	}
	w.limitStream(c, x)
	w.seek(c, x)
	if c.x == 0 || c.state != clientBusy || w.xs.At(c.x) != x || x.flags&xRequestDone != 0 {
		return
	}
	w.pumpRequest(c, x)
	if c.state == clientBusy && x.flags&xRequestDone == 0 {
		w.restrainClient(c)
	}
}

// keepHead writes the head of x as the origin gets it, behind the note for the log,
// if there is one. False: there is no memory for it.
func (w *Worker) keepHead(x *exchange, h *proto.Head, cl *cluster, line *http2.RequestLine) bool {
	bound := 0
	if cl.h2 {
		bound = http2.RequestBlockBound(h, line, w.extras)
	} else {
		bound = http1.RequestHeadBound(h, line.Path, line.Authority, w.extras)
	}
	w.note = w.note[:0]
	if w.log != nil {
		w.noteRequest(h, line.Authority, line.Path)
	}
	noted := len(w.note)
	if bound += noted; bound > w.pool.BlockBytes() {
		w.out = w.requestHead(append(w.out[:0], w.note...), h, cl, line, x.flags&xUpgrade != 0)
		x.flags |= xLongHead
		w.longHead(x, w.out, noted)
		return x.flags&xBroken == 0
	}
	b := w.pool.Reserve(bound)
	if b == nil {
		return false
	}
	n := len(w.requestHead(append(b[:0], w.note...), h, cl, line, x.flags&xUpgrade != 0))
	x.head = w.pool.Commit(n).Slice(uint32(noted), uint32(n-noted))
	return true
}

// requestHead appends the head of a request as the origins of cl take it. upgrade:
// no content follows, but a tunnel may.
func (w *Worker) requestHead(dst []byte, h *proto.Head, cl *cluster, line *http2.RequestLine, upgrade bool) []byte {
	if cl.h2 {
		return http2.AppendRequestBlock(dst, h, line, h.ContentLength, w.extras)
	}
	body, length := h.Body, h.Length
	if body == proto.BodyNone && !upgrade && (h.ContentLength == 0 || h.Method.ExpectsContent(line.Method)) {
		body, length = proto.BodyLength, 0
	}
	return http1.AppendRequestHead(dst, h, line.Path, line.Authority, body, length, w.extras)
}

// longHead keeps a head that does not fit one block as a chain. It can be sent
// once only. The first noted bytes are the note for the log.
func (w *Worker) longHead(x *exchange, b []byte, noted int) {
	for len(b) > 0 {
		n := min(len(b), w.pool.BlockBytes())
		v := w.keep(x, b[:n])
		if v.ID == 0 {
			return
		}
		if x.head.ID == 0 {
			v = v.Slice(uint32(noted), v.Len-uint32(noted))
			w.pool.Retain(v)
			x.head = v // its beginning, for the log
		}
		w.pool.Push(&x.headQ, v)
		b = b[n:]
	}
}

// target is the request-target for the origin (RFC 9112 3.2.1): the routed
// path when it differs from the received one, the received target otherwise.
func (w *Worker) target(h *proto.Head, path []byte) []byte {
	if path == nil && h.Form != proto.AbsoluteForm {
		return h.Bytes(h.Target)
	}
	w.out = w.out[:0]
	if path == nil {
		w.out = h.AppendOriginTarget(w.out)
	} else {
		w.out = append(w.out, path...)
		if h.Query.Off != 0 {
			w.out = append(w.out, '?')
			w.out = append(w.out, h.Bytes(h.Query)...)
		}
	}
	w.path = append(w.path[:0], w.out...)
	return w.path
}

// replayable reports whether the request may be sent again after its
// connection broke (RFC 9110 9.2.2, RFC 9112 9.3.1): nothing came back, nothing
// of the body has gone, the whole head is kept. A reused connection that turns
// out to be dead was nobody's fault; one that was fresh counts as a retry.
func (w *Worker) replayable(x *exchange, o *origin) bool {
	if x.head.ID == 0 || x.flags&(xBodyGiven|xLongHead) != 0 {
		return false
	}
	if o.uses > 1 && x.stales >= staleRetries || o.uses <= 1 && int(x.attempts) >= w.snap.clusters[x.cluster].retries {
		return false
	}
	return plant.Is(plant.Twice) || upstream.Retryable(x.method, o.uses > 1, false, false, true)
}

// replay sends the request again after the connection o broke. Connections
// that were idle together tend to be closed together, so it goes to another
// endpoint or on a fresh connection, not on the next idle one.
func (w *Worker) replay(c *client, x *exchange, o *origin) {
	if o.uses > 1 {
		x.stales++
	} else {
		x.attempts++
	}
	x.flags |= xPerhapsDone
	w.sendAgain(c, x, o)
}

// sendAgain gives o up and looks for another origin for the request.
func (w *Worker) sendAgain(c *client, x *exchange, o *origin) {
	x.tried |= 1 << uint(o.endpoint)
	x.flags &^= xHeadGiven | xRequestGiven | xOriginDeaf | xReused | xStreamReset
	w.m.UpstreamRetries++
	w.detachOrigin(x, false)
	x.state, x.soughtMs = xRouting, x.sinceMs(w.l.Now()) // what the origin took is not waiting for a connection
	w.dispatch(c, x)
}

// remoteSet is what the addresses of one endpoint were turned into, rebuilt
// when they change.
type remoteSet struct {
	generation uint32
	byKey      map[uint32]*loop.Remote
}

// remote picks the address to dial next at an endpoint and gives it as the
// loop takes it, with its key; nil when there is none.
func (w *Worker) remote(cluster, endpoint int) (*loop.Remote, uint32) {
	addrs, i := w.pools[cluster].Address(w.l.Now(), endpoint)
	if addrs == nil {
		return nil, 0
	}
	set := &w.remotes[cluster][endpoint]
	if addrs.Generation != set.generation || set.byKey == nil {
		set.generation, set.byKey = addrs.Generation, map[uint32]*loop.Remote{}
	}
	key := addrs.Keys[i]
	r := set.byKey[key]
	if r == nil {
		var err error
		if r, err = loop.NewRemote(addrs.Addrs[i], w.snap.clusters[cluster].socket); err != nil {
			return nil, 0
		}
		set.byKey[key] = r
	}
	return r, key
}
