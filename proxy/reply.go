package proxy

import (
	"zproxy/proto"
	"zproxy/proxy/snapshot"
	"zproxy/variables"
)

// replyFixed gives a route's own answer.
func (rs *responses) replyFixed(c *client, x *exchange, a *snapshot.Response, extra proto.Extra) {
	rs.m.ResponsesOwn++
	x.status = a.Status
	if x.flags&xGRPC != 0 && a.Status >= 400 {
		rs.giveGRPCAnswer(c, x, grpcStatus(a.Status), proto.ReasonPhrase(int(a.Status)), "")
		return
	}
	rs.giveAnswer(c, x, a, extra, "")
}

// redirect gives the answer of a route whose Location depends on the request; path
// is the one that was routed, as heads.match refers to it.
func (rs *responses) redirect(c *client, x *exchange, h *proto.Head, rt *snapshot.Route, path []byte) {
	host := h.Bytes(h.Host)
	n, _, _ := proto.ParseAuthority(host)
	if n == 0 && rt.To.Uses(variables.Host) { // HTTP/1.0 without Host
		rs.w.failExchange(c, x, proto.RequestFault(proto.FaultHostMissing))
		return
	}
	v := &rs.w.heads.values
	v.Of[variables.Scheme], v.Of[variables.Host] = rs.w.heads.who.peer.scheme, host[:n]
	v.Of[variables.Path], v.Of[variables.Query] = path, h.Bytes(h.Query)
	rs.w.heads.addrText = rs.w.heads.addrText[:0]
	if rs.w.heads.who.addr.IsValid() {
		rs.w.heads.addrText = rs.w.heads.who.addr.AppendTo(rs.w.heads.addrText)
	}
	v.Of[variables.ClientIP], v.Of[variables.RequestID] = rs.w.heads.addrText, rs.w.heads.requestID(h)
	for i := range rs.w.heads.match.NParams {
		p := rs.w.heads.match.Params[i]
		v.Params[i] = path[p.Off : p.Off+p.Len]
	}
	rs.w.heads.scratch = rt.To.AppendURL(rs.w.heads.scratch[:0], v)
	rs.replyFixed(c, x, rt.Response, proto.Extra{Name: "Location", Value: rs.w.heads.scratch})
}

// replyFault answers with the page of f's status. The exchange has no origin.
func (rs *responses) replyFault(c *client, x *exchange, f *proto.Fault) {
	rs.m.ResponsesOwn++
	x.status = f.Status
	var allow proto.Extra
	if f == &faultMethod {
		// RFC 9110 15.5.6: a 405 names what is allowed.
		rs.w.heads.scratch = rs.w.heads.match.Allow.AppendAllow(rs.w.heads.scratch[:0])
		allow = proto.Extra{Name: "Allow", Value: rs.w.heads.scratch}
	}
	if x.flags&xRequestDone == 0 {
		x.flags &^= xKeepAlive
	}
	if x.flags&xGRPC != 0 {
		rs.giveGRPCAnswer(c, x, grpcStatusOf(f), publicReason(f), f.Reason)
		return
	}
	rs.giveAnswer(c, x, rs.w.snap.Page(f.Status), allow, f.Reason)
}

// giveAnswer queues an answer, with one more field if extra has a name, and
// ends the exchange.
func (rs *responses) giveAnswer(c *client, x *exchange, a *snapshot.Response, extra proto.Extra, why string) {
	i := x.client
	keep := x.flags&(xKeepAlive|xRequestDone) == xKeepAlive|xRequestDone && !rs.w.drain.on
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
