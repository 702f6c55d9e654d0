package proxy

import (
	"zproxy/proto"
	"zproxy/proxy/snapshot"
	"zproxy/upstream"
)

// Limits of an upstream on the requests under way: the one that is configured, and the one that is
// found out.

// Bits of interims: the request is counted against these limits of its upstream.
const (
	xEntered     = 1 << 7 // all of its time
	xAdmitted    = 1 << 6 // until it is answered
	mostInterims = xAdmitted - 1
	_            = uint(mostInterims - interimLimit - 1)
)

// retryAfter is what a client is told whose request is shed (RFC 9110 10.2.3): limits change in less.
var retryAfter = proto.Extra{Name: "Retry-After", Value: []byte("1")}

// enter counts a request of rt at cl: by which bits of its interims are to say so, or says why it may not.
func enter(rt *snapshot.Route, cl *snapshot.Cluster) (counted uint8, f *proto.Fault) {
	if cl.Shared.Limited() {
		if !cl.Shared.Enter() {
			return 0, &faultMaxRequests
		}
		counted = xEntered
	}
	if a := upstream.ConcurrencyOf(cl.Shared); a != nil {
		if !a.Enter(rt.Urgency) {
			if counted != 0 {
				cl.Shared.Leave()
			}
			return 0, &faultShed
		}
		counted |= xAdmitted
	}
	return counted, nil
}

// leave takes x out of these counts.
func (w *Worker) leave(x *exchange) {
	if x.interims&xEntered != 0 {
		w.clusters[x.cluster].Shared.Leave()
	}
	if x.interims&xAdmitted != 0 {
		upstream.ConcurrencyOf(w.clusters[x.cluster].Shared).Leave()
	}
	x.interims &= mostInterims
}

// answered tells the limit that is found out that x is answered, or that its origin has not been able to in
// time. With told the time it has taken since it began to look for a connection counts: an error may come fast, and
// a request with content waits for its client.
func (rs *responses) answered(x *exchange, told bool) {
	if x.interims&xAdmitted == 0 {
		return
	}
	a := upstream.ConcurrencyOf(rs.w.clusters[x.cluster].Shared)
	if told && x.reqBytes == 0 && x.flags&xRequestDone != 0 {
		a.Sample(rs.l.Now(), rs.l.Now()-x.sought())
	}
	a.Leave()
	x.interims &^= xAdmitted
}
