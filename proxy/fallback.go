package proxy

import (
	"zproxy/proto"
	"zproxy/proxy/snapshot"
)

// golden is the step with which numbers that are drawn one after the other spread most evenly: a
// share is never off by more than a request or two, where random numbers would be by the root of
// how many there were (Weyl's sequence).
const golden = 0x9E3779B9

// upstreamOf is the number of the upstream that a request of rt goes to.
func (rq *requests) upstreamOf(h *proto.Head, rt *snapshot.Route) int {
	to := &rt.Place
	if rt.Split != nil {
		draw, ok := rt.Draw(h)
		if !ok {
			rq.drawn += golden
			draw = rq.drawn
		}
		to = rt.Target(draw)
	}
	cluster := to.Cluster
	if to.Any != 0 && !rq.w.clusters[cluster].Shared.Available(rq.l.Now()) {
		rq.m.UpstreamFallbacks++
		cluster = to.Any - 1
	}
	if rt.Fallback != 0 && !rq.w.clusters[cluster].Shared.Available(rq.l.Now()) {
		rq.m.UpstreamFallbacks++
		return rt.Fallback - 1
	}
	return cluster
}

// fallsOver moves x, which got no endpoint and may be sent to one, to what its route falls back to.
// Its head was written for its upstream: it stays there where another would get another head.
func (rq *requests) fallsOver(x *exchange) bool {
	s := rq.w.snapOf(x)
	rt := &s.Routes[x.route]
	to := rt.Next(int(x.cluster)) - 1
	if to < 0 || x.flags&xUpgrade != 0 || !rq.w.snaps.has(to) || rq.w.clusters[to] != s.Clusters[to] {
		return false
	}
	now, next := rq.w.clusters[x.cluster], rq.w.clusters[to]
	if now.Shared.Available(rq.l.Now()) || !next.TakesHeadsOf(now) {
		return false
	}
	counted, f := enter(rt, next)
	if f != nil {
		return false
	}
	x.again.End(now)
	rq.w.leave(x)
	x.interims |= counted
	if next.Key != nil && (now.Key == nil || *now.Key != *next.Key) {
		rq.setKey(rq.w.clients.At(x.client).x, 0) // its head is not looked at again
	}
	x.cluster, x.tried = int16(to), 0
	x.flags &^= xConnectFailed | xConnectTimedOut | xHandshakeFailed
	if !x.method.Safe() { // by the rules of another upstream it might not be sent again
		x.again.Never()
	}
	x.state, x.soughtMs = xRouting, x.sinceMs(rq.l.Now())
	rq.m.UpstreamFallbacks++
	return true
}
