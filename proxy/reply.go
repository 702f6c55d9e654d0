package proxy

import (
	"zproxy/proto"
	"zproxy/proxy/forward"
	"zproxy/proxy/snapshot"
	"zproxy/router"
)

// replyFixed gives a route's own answer.
func (rs *responses) replyFixed(c *client, x *exchange, a *snapshot.Response, extra proto.Extra) {
	rs.m.ResponsesOwn++
	x.status = a.Status
	if x.flags&xGRPC != 0 && a.Status >= 400 {
		rs.giveGRPCAnswer(c, x, forward.GRPCStatusOf(a.Status), proto.ReasonPhrase(int(a.Status)), "")
		return
	}
	rs.giveAnswer(c, x, a, extra, "")
}

// redirect gives the answer of a route whose Location depends on the request, whose path was
// routed as path with what m has found.
func (rs *responses) redirect(c *client, x *exchange, q *forward.Request, rt *snapshot.Route, path []byte, m *router.Match) {
	location, ok := rs.w.heads.fields.Location(rt.To, q, path, m)
	if !ok {
		rs.w.failExchange(c, x, proto.RequestFault(proto.FaultHostMissing))
		return
	}
	rs.replyFixed(c, x, rt.Response, location)
}

// replyFault answers with the page of f's status, and one more field if extra has a name.
// The exchange has no origin.
func (rs *responses) replyFault(c *client, x *exchange, f *proto.Fault, extra proto.Extra) {
	rs.m.ResponsesOwn++
	x.status = f.Status
	if x.flags&xRequestDone == 0 {
		x.flags &^= xKeepAlive
	}
	if x.flags&xGRPC != 0 {
		rs.giveGRPCAnswer(c, x, grpcStatusOf(f), publicReason(f), f.Reason)
		return
	}
	rs.giveAnswer(c, x, rs.w.snap.Page(f.Status), extra, f.Reason)
}

// giveAnswer queues an answer, with one more field if extra has a name, and
// ends the exchange.
func (rs *responses) giveAnswer(c *client, x *exchange, a *snapshot.Response, extra proto.Extra, why string) {
	i := x.client
	keep := x.flags&(xKeepAlive|xRequestDone) == xKeepAlive|xRequestDone && !rs.w.drain.on
	if x.flags&xFiltered != 0 {
		rs.w.filters.respond(c, x, nil)
	}
	rs.w.legs.answer(c, x, a, extra, keep)
	linger, broken := x.lingers(), x.flags&xBroken != 0
	x.respBytes = uint64(len(a.Body))
	rs.w.endExchange(c, x, why)
	if broken {
		rs.w.legs.unanswered(c)
		return
	}
	rs.w.legs.answered(i, c, keep, linger)
}

// answerHere answers a request that may not be forwarded any more, as its final
// recipient: OPTIONS with what the route allows, TRACE with the request as it was
// received (RFC 9110 9.3.7, 9.3.8).
func (rs *responses) answerHere(c *client, x *exchange, h *proto.Head) {
	a, allow := emptyAnswer, proto.Extra{}
	if h.Method == proto.OPTIONS {
		if methods := rs.w.snapOf(x).Routes[x.route].Methods; len(methods) > 0 {
			allow = proto.Extra{Name: "Allow", Value: methods}
		}
	} else {
		rs.w.heads.out = forward.AppendTrace(rs.w.heads.out[:0], h)
		// (NewResponse allocates: nobody traces in bulk, and who does slows itself down.)
		a = snapshot.NewResponse(200, "message/http", nil, string(rs.w.heads.out))
	}
	rs.m.ResponsesOwn++
	x.status = a.Status
	rs.giveAnswer(c, x, a, allow, whyMaxForwards)
}

const whyMaxForwards = "answered here as Max-Forwards is 0"

var emptyAnswer = snapshot.NewResponse(200, "", nil, "")

// replyBare answers bytes that are no request: there is no exchange. The connection
// closes, because what follows has no known beginning (RFC 9112 2.2, 6.3). h is what
// was read of the head, nil where nothing was.
func (cs *clients) replyBare(i uint32, c *client, f *proto.Fault, h *proto.Head) {
	if f.Code == proto.FaultTLS {
		cs.refuseTLS(i, c, f, h)
		return
	}
	cs.w.countFault(f)
	cs.m.ResponsesOwn++
	cs.m.ResponsesByClass[f.Status/100]++
	cs.bare = exchange{client: i, status: f.Status, route: -1, cluster: -1, endpoint: -1}
	cs.w.lines.answer(c, &cs.bare, cs.w.snap.Page(f.Status), proto.Extra{}, false, h != nil && h.Method == proto.HEAD)
	cs.w.journal.logBare(c, f, h)
	cs.closeAfterFlush(c, true)
}

// handshakeFailure is what a client that speaks TLS is told: an alert record of
// TLS (RFC 8446 5.1 and 6.2), fatal, handshake_failure. An answer of HTTP would
// be a malformed record to it.
var handshakeFailure = []byte{21, 3, 1, 0, 2, 2, 40}

// refuseTLS ends a connection that begins with a ClientHello: there is no TLS
// on this listener, and no answer of HTTP, so none is counted.
func (cs *clients) refuseTLS(i uint32, c *client, f *proto.Fault, h *proto.Head) {
	cs.w.countFault(f)
	cs.bare = exchange{client: i, route: -1, cluster: -1, endpoint: -1}
	cs.w.lines.sendBytes(c.conn, &cs.bare, handshakeFailure)
	cs.w.journal.logBare(c, f, h)
	cs.closeAfterFlush(c, true)
}
