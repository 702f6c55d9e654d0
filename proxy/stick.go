package proxy

import (
	"zproxy/proxy/forward"
	"zproxy/upstream"
)

// Sticky sessions: which endpoint a request has a token for. That is kept beside the exchanges, by
// their number, as keys are.

// sticker is what a request says of its upstream's endpoints.
type sticker struct {
	cluster int16
	stick   uint16 // see upstream.Sticks
}

// noteStick keeps which endpoint of a cluster exchange number i has a token for.
func (rq *requests) noteStick(i uint32, cluster int32, token []byte) {
	for int(i) >= len(rq.stickers) {
		rq.stickers = append(rq.stickers, sticker{})
	}
	rq.stickers[i] = sticker{int16(cluster), uint16(upstream.Sticks(rq.w.leases.Pool(int(cluster)), token))}
}

// stick is the endpoint, and 1, that x, number i, has a token for; 0: for none. What has gone on to
// another upstream has none there.
func (rq *requests) stick(i uint32, x *exchange) int {
	if rq.w.clusters[x.cluster].Sticky == nil || int(i) >= len(rq.stickers) {
		return 0
	}
	if s := rq.stickers[i]; s.cluster == x.cluster {
		return int(s.stick)
	}
	return 0
}

// stuck is what the client is told of the endpoint whose response x has: nothing if it has a token, and
// may come back to that endpoint.
func (rq *requests) stuck(c *client, x *exchange) (told forward.Stuck) {
	cl := rq.w.clusters[x.cluster]
	if cl.Sticky == nil {
		return told
	}
	p := rq.w.leases.Pool(int(x.cluster))
	if s := rq.stick(c.x, x); s != 0 && (s == int(x.endpoint)+1 || upstream.Holds(p, rq.l.Now(), s-1, x.tried)) {
		return told
	}
	return forward.Stuck{By: cl.Sticky, To: upstream.Token(p, int(x.endpoint)), WithTLS: rq.w.snap.Listeners[c.listener].Server != nil}
}
