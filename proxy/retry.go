package proxy

import (
	"zproxy/proto"
	"zproxy/proxy/retry"
	"zproxy/proxy/snapshot"
)

// retries decides on further tries of requests.
type retries struct{ part }

// keepsBody says that the beginning of x's body is kept while it is sent.
func (rt *retries) keepsBody(x *exchange) bool {
	return x.again.KeepsBody(rt.w.clusters[x.cluster], x.origin != 0 && rt.w.origins.At(x.origin).flags&originUnsent != 0)
}

// stateOf is how far x has come.
func (rt *retries) stateOf(x *exchange) retry.State {
	return retry.State{Whole: rt.isWhole(x), Answered: x.flags&xResponseBegun != 0 || x.interims&mostInterims != 0}
}

// isWhole says that all is still there that was sent of the request.
func (rt *retries) isWhole(x *exchange) bool {
	if x.head.ID == 0 || x.flags&xLongHead != 0 {
		return false
	}
	return x.flags&xBodyGiven == 0 || rt.w.clusters[x.cluster].Retry.Bodies && x.flags&xBodyLost == 0 && rt.keepsBody(x)
}

// mayTry says that the request may be sent again for this reason, were it not for the budget.
func (rt *retries) mayTry(x *exchange, on snapshot.RetryCause) bool {
	return x.again.May(&rt.w.clusters[x.cluster].Retry, on, rt.stateOf(x))
}

// tries is mayTry, and counts the try.
func (rt *retries) tries(x *exchange, on snapshot.RetryCause) bool {
	return rt.mayTry(x, on) && rt.counts(x)
}

// counts counts a try, if the budget has one more.
func (rt *retries) counts(x *exchange) bool {
	if !x.again.Begin(rt.w.clusters[x.cluster], rt.l.Now()) {
		rt.m.UpstreamRetriesDenied++
		return false
	}
	return true
}

// triesStale is tries where a connection that had served before turns out to be dead.
func (rt *retries) triesStale(x *exchange) bool {
	if !x.again.MayStale(rt.stateOf(x)) {
		return false
	}
	x.again.Stale()
	rt.m.UpstreamStale++
	return true
}

// triesUnsent is tries, for a request of any method, where nothing of it has left.
func (rt *retries) triesUnsent(x *exchange) bool {
	return x.again.MayUnsent(&rt.w.clusters[x.cluster].Retry, rt.stateOf(x)) && rt.counts(x)
}

// tryAgain sends the request to another origin than o, which may have acted on it. (Connections
// that were idle together tend to be closed together: the pool takes another endpoint, or a fresh
// connection, not the next idle one.) reusable: o's response is over.
func (rt *retries) tryAgain(c *client, x *exchange, o *origin, reusable bool) {
	x.flags |= xPerhapsDone
	rt.sendAgain(c, x, o, reusable)
}

// sendAgain gives o up and looks for another origin for the request.
func (rt *retries) sendAgain(c *client, x *exchange, o *origin, reusable bool) {
	x.tried = rt.w.clusters[x.cluster].Shared.AddTried(x.tried, int(x.endpoint))
	x.flags &^= xHeadGiven | xBodyGiven | xRequestGiven | xOriginDeaf | xReused | xStreamReset
	rt.m.UpstreamRetries++
	rt.w.origins.detach(x, reusable)
	x.state, x.soughtMs = xRouting, x.sinceMs(rt.l.Now()) // what the origin took is not waiting for a connection
	rt.w.dispatch(c, x)
}

// turnsDown says that a response with head h is not passed on, but the request tried again. Where
// its origin says when to come back (Retry-After, RFC 9110 10.2.3), that is only if another
// endpoint is up that was not tried.
func (rs *responses) turnsDown(x *exchange, o *origin, h *proto.Head) bool {
	cl := rs.w.clusters[x.cluster]
	if !cl.Retry.Has(h.Status) || !rs.w.retries.mayTry(x, snapshot.OnStatus) {
		return false
	}
	if v, ok := h.Get(proto.TokenRetryAfter); ok && string(v) != "0" &&
		!cl.Shared.HasOther(rs.l.Now(), cl.Shared.AddTried(x.tried, int(x.endpoint))) {
		return false
	}
	return rs.w.retries.tries(x, snapshot.OnStatus)
}

// endsWith says that nothing is still to come of a response with head h, which has n bytes of
// length; end: of a stream that has ended.
func endsWith(h *proto.Head, length uint32, n int, end bool) bool {
	left := int64(length) - int64(n)
	return end || length > 0 && h.KeepAlive && (h.Body == proto.BodyNone && left == 0 || h.Body == proto.BodyLength && left == h.Length)
}

// patienceNs is how long o has for the head of its response: as long as a try, if there can be
// another one.
func (rt *retries) patienceNs(x *exchange, o *origin) int64 {
	cl := rt.w.clusters[x.cluster]
	if cl.Retry.PerTryNs == 0 || cl.Retry.PerTryNs >= cl.ResponseNs || o.flags&originPatient != 0 || !rt.mayTry(x, snapshot.OnTimeout) {
		o.flags &^= originHasty
		return cl.ResponseNs
	}
	o.flags |= originHasty
	return cl.Retry.PerTryNs
}
