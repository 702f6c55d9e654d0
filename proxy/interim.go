package proxy

import (
	"zproxy/proto"
	"zproxy/proto/http1"
	"zproxy/proto/http2"
	"zproxy/proxy/snapshot"
)

// interimLimit bounds the 1xx responses of one exchange.
const interimLimit = 32

var (
	continueHead  = []byte("HTTP/1.1 100 Continue\r\n\r\n")
	continueBlock = http2.AppendStatus(nil, 100)
)

// interim handles a 1xx response of the origin (RFC 9110 15.2). It passes on to
// a client of HTTP/1.1 or HTTP/2 unless listener or route say otherwise, and not
// without bound. False means the exchange has ended.
func (rs *responses) interim(c *client, x *exchange, o *origin, h *proto.Head) bool {
	if x.interims++; x.interims&mostInterims > interimLimit {
		rs.w.failExchange(c, x, &faultInterimFlood)
		return false
	}
	switch {
	case h.Status == 100:
		return rs.originContinues(c, x, o, h)
	case x.minor() == 0 || rs.dropsInterim(c, x):
		return true
	}
	return rs.passInterim(c, x, h)
}

func (rs *responses) passInterim(c *client, x *exchange, h *proto.Head) bool {
	http1.MarkHopByHop(h)
	rs.w.legs.interim(c, x, h, nil)
	return rs.legsHold(c, x)
}

// originContinues handles a 100 of the origin. It is for a client that asked
// for one and has not had it (RFC 9110 10.1.1): others, which may wait for
// nothing but the answer, would take it for that.
func (rs *responses) originContinues(c *client, x *exchange, o *origin, h *proto.Head) bool {
	if x.flags&xContinue == 0 {
		return true
	}
	if !rs.passInterim(c, x, h) {
		return false
	}
	rs.continued(c, x, o)
	return true
}

// continued: the client has been told to send its body. o is nil where there is no
// origin yet.
func (rs *responses) continued(c *client, x *exchange, o *origin) {
	x.flags &^= xExpect | xContinue
	if x.flags&xRequestDone != 0 {
		return
	}
	rs.w.clientDeadline(c, x)
	if o != nil {
		rs.w.originDeadline(x, o)
	}
}

// sendContinue tells the client to go on in the place of an origin that has
// said nothing for a while: a proxy may, and the client is to send its body one
// day anyway (RFC 9110 10.1.1). What the origin says later goes no further.
func (rs *responses) sendContinue(c *client, x *exchange, o *origin) {
	rs.m.ContinuesOwn++
	rs.w.legs.continueNow(c, x)
	if rs.legsHold(c, x) {
		rs.continued(c, x, o)
	}
}

// dropsInterim says that interim responses go no further.
func (rs *responses) dropsInterim(c *client, x *exchange) bool {
	switch rs.w.snapOf(x).Routes[x.route].Interim {
	case snapshot.InterimPass:
		return false
	case snapshot.InterimDrop:
		return true
	}
	return rs.w.snap.Listeners[c.listener].DropInterim
}
