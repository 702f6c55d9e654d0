package proxy

import (
	"strconv"

	"zproxy/proto"
	"zproxy/proto/http2"
	"zproxy/proto/ws"
	"zproxy/variables"
)

// answer is a response of the proxy's own, prepared at load: everything of the
// head but Date and Connection.
type answer struct {
	status uint16
	head   []byte // status line and fields, each with CRLF
	block  []byte // the same as a field block of HTTP/2
	body   []byte
}

// newAnswer prepares an answer.
func newAnswer(status int, contentType string, fields []proto.Extra, body string) *answer {
	a := &answer{status: uint16(status)}
	b := append(a.head, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, proto.ReasonPhrase(status)...)
	b = append(b, "\r\n"...)
	a.head = b
	a.block = http2.AppendStatus(nil, status)
	// RFC 9110 8.6: no Content-Length with 204; 304 has no content of its own.
	if status != 204 && status != 304 {
		a.body = []byte(body)
		if body != "" {
			a.add(proto.Extra{Name: "Content-Type", Value: []byte(contentType)})
		}
		a.add(proto.Extra{Name: "Content-Length", Value: strconv.AppendInt(nil, int64(len(body)), 10)})
	}
	for _, f := range fields {
		a.add(f)
	}
	return a
}

func (a *answer) add(f proto.Extra) {
	a.head = appendLine(a.head, f)
	a.block = http2.AppendField(a.block, &f)
}

// appendLine appends f as HTTP/1 has it.
func appendLine(b []byte, f proto.Extra) []byte {
	b = append(b, f.Name...)
	b = append(b, ": "...)
	b = append(b, f.Value...)
	return append(b, "\r\n"...)
}

// newPage prepares the answer of a status of the proxy's own. A 426 says what to
// upgrade to (RFC 9110 15.5.22), and which version of it (RFC 6455 4.4).
func newPage(status int, contentType, body string) *answer {
	a := newAnswer(status, contentType, nil, body)
	if status == 426 {
		a.add(proto.Extra{Name: "Sec-WebSocket-Version", Value: []byte(ws.Version)})
		a.head = append(a.head, "Upgrade: websocket\r\nConnection: upgrade\r\n"...)
	}
	return a
}

// replyFixed gives a route's own answer.
func (w *Worker) replyFixed(c *client, x *exchange, a *answer, extra proto.Extra) {
	w.m.ResponsesOwn++
	x.status = a.status
	if x.flags&xGRPC != 0 && a.status >= 400 {
		w.giveGRPCAnswer(c, x, grpcStatus(a.status), proto.ReasonPhrase(int(a.status)), "")
		return
	}
	w.giveAnswer(c, x, a, extra, "")
}

// redirect gives the answer of a route whose Location depends on the request; path
// is the one that was routed, as w.match refers to it.
func (w *Worker) redirect(c *client, x *exchange, h *proto.Head, rt *route, path []byte) {
	host := h.Bytes(h.Host)
	n, _, _ := proto.ParseAuthority(host)
	if n == 0 && rt.to.Uses(variables.Host) { // HTTP/1.0 without Host
		w.failExchange(c, x, proto.RequestFault(proto.FaultHostMissing))
		return
	}
	v := &w.values
	v.Of[variables.Scheme], v.Of[variables.Host] = w.who.peer.scheme, host[:n]
	v.Of[variables.Path], v.Of[variables.Query] = path, h.Bytes(h.Query)
	w.addrText = w.addrText[:0]
	if w.who.addr.IsValid() {
		w.addrText = w.who.addr.AppendTo(w.addrText)
	}
	v.Of[variables.ClientIP], v.Of[variables.RequestID] = w.addrText, w.requestID(h)
	for i := range w.match.NParams {
		p := w.match.Params[i]
		v.Params[i] = path[p.Off : p.Off+p.Len]
	}
	w.scratch = rt.to.AppendURL(w.scratch[:0], v)
	w.replyFixed(c, x, rt.answer, proto.Extra{Name: "Location", Value: w.scratch})
}

// replyFault answers with the page of f's status. The exchange has no origin.
func (w *Worker) replyFault(c *client, x *exchange, f *proto.Fault) {
	w.m.ResponsesOwn++
	x.status = f.Status
	var allow proto.Extra
	if f == &faultMethod {
		// RFC 9110 15.5.6: a 405 names what is allowed.
		w.scratch = w.match.Allow.AppendAllow(w.scratch[:0])
		allow = proto.Extra{Name: "Allow", Value: w.scratch}
	}
	if x.flags&xRequestDone == 0 {
		x.flags &^= xKeepAlive
	}
	if x.flags&xGRPC != 0 {
		w.giveGRPCAnswer(c, x, grpcStatusOf(f), publicReason(f), f.Reason)
		return
	}
	w.giveAnswer(c, x, w.snap.page(f.Status), allow, f.Reason)
}

// giveAnswer queues an answer, with one more field if extra has a name, and
// ends the exchange.
func (w *Worker) giveAnswer(c *client, x *exchange, a *answer, extra proto.Extra, why string) {
	i := x.client
	if c.stream != 0 {
		w.giveStreamAnswer(c, x, a, extra, why)
		return
	}
	keep := x.flags&(xKeepAlive|xRequestDone) == xKeepAlive|xRequestDone
	w.writeAnswer(c, x, a, extra, keep, x.method == proto.HEAD)
	linger := x.lingers()
	if x.flags&xBroken != 0 {
		keep, linger = false, false
	}
	x.respBytes = uint64(len(a.body))
	w.endExchange(c, x, why)
	if keep {
		w.nextRequest(i, c)
		return
	}
	w.closeAfterFlush(c, linger || !c.in.Empty())
}

// writeAnswer queues the bytes of an answer.
func (w *Worker) writeAnswer(c *client, x *exchange, a *answer, extra proto.Extra, keep, head bool) {
	b := append(w.out[:0], a.head...)
	b = appendLine(b, w.dateField())
	if extra.Name != "" {
		b = appendLine(b, extra)
	}
	switch {
	case !keep:
		b = append(b, "Connection: close\r\n"...)
	case x.minor == 0:
		b = append(b, "Connection: keep-alive\r\n"...)
	}
	b = append(b, "\r\n"...)
	if !head {
		b = append(b, a.body...)
	}
	w.out = b
	w.sendBytes(c.conn, x, b)
}

// replyBare answers bytes that are no request: there is no exchange. The
// connection closes, because what follows has no known beginning.
func (w *Worker) replyBare(i uint32, c *client, f *proto.Fault) {
	if f.Code == proto.FaultTLS {
		w.refuseTLS(i, c, f)
		return
	}
	w.countFault(f)
	w.m.ResponsesOwn++
	w.m.ResponsesByClass[f.Status/100]++
	w.bare = exchange{client: i, minor: 1, status: f.Status, route: -1, cluster: -1, endpoint: -1}
	w.writeAnswer(c, &w.bare, w.snap.page(f.Status), proto.Extra{}, false, w.head.Method == proto.HEAD && f.Code != codeHeadTimeout)
	w.logBare(c, f)
	w.closeAfterFlush(c, true)
}

// handshakeFailure is what a client that speaks TLS is told: an alert record of
// TLS (RFC 8446 5.1 and 6.2), fatal, handshake_failure. An answer of HTTP would
// be a malformed record to it.
var handshakeFailure = []byte{21, 3, 1, 0, 2, 2, 40}

// refuseTLS ends a connection that begins with a ClientHello: there is no TLS
// on this listener, and no answer of HTTP, so none is counted.
func (w *Worker) refuseTLS(i uint32, c *client, f *proto.Fault) {
	w.countFault(f)
	w.bare = exchange{client: i, route: -1, cluster: -1, endpoint: -1}
	w.sendBytes(c.conn, &w.bare, handshakeFailure)
	w.logBare(c, f)
	w.closeAfterFlush(c, true)
}

// ownStatuses are what faults may carry; each has a page.
var ownStatuses = []int{400, 404, 405, 408, 413, 414, 421, 426, 431, 501, 502, 503, 504, 505, 508}
