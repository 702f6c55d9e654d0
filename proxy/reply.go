package proxy

import (
	"strconv"

	"zproxy/proto"
)

// answer is a response of the proxy's own, prepared at load: everything of the
// head but Date and Connection.
type answer struct {
	status uint16
	head   []byte // status line and fields, each with CRLF
	body   []byte
}

// newAnswer prepares an answer. fields are whole lines, with CRLF.
func newAnswer(status int, contentType, fields, body string) *answer {
	a := &answer{status: uint16(status)}
	b := append(a.head, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, reasonPhrase(status)...)
	b = append(b, "\r\n"...)
	// RFC 9110 8.6: no Content-Length with 204; 304 has no content of its own.
	if status != 204 && status != 304 {
		a.body = []byte(body)
		if body != "" {
			b = append(b, "Content-Type: "...)
			b = append(b, contentType...)
			b = append(b, "\r\n"...)
		}
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, int64(len(body)), 10)
		b = append(b, "\r\n"...)
	}
	a.head = append(b, fields...)
	return a
}

// replyFixed gives a route's own answer.
func (w *Worker) replyFixed(c *client, x *exchange, a *answer) {
	w.m.ResponsesOwn++
	x.status = a.status
	w.giveAnswer(c, x, a, nil, "")
}

// replyFault answers with the page of f's status. The exchange has no origin.
func (w *Worker) replyFault(c *client, x *exchange, f *proto.Fault) {
	w.m.ResponsesOwn++
	x.status = f.Status
	var allow []byte
	if f == &faultMethod {
		// RFC 9110 15.5.6: a 405 names what is allowed.
		w.scratch = append(w.scratch[:0], "Allow: "...)
		w.scratch = w.match.Allow.AppendAllow(w.scratch)
		w.scratch = append(w.scratch, "\r\n"...)
		allow = w.scratch
	}
	if x.flags&xRequestDone == 0 {
		x.flags &^= xKeepAlive
	}
	w.giveAnswer(c, x, w.snap.page(f.Status), allow, f.Reason)
}

// giveAnswer queues an answer and ends the exchange.
func (w *Worker) giveAnswer(c *client, x *exchange, a *answer, fields []byte, why string) {
	i := x.client
	keep := x.flags&(xKeepAlive|xRequestDone) == xKeepAlive|xRequestDone
	w.writeAnswer(c, x, a, fields, keep, x.method == proto.HEAD)
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
func (w *Worker) writeAnswer(c *client, x *exchange, a *answer, fields []byte, keep, head bool) {
	b := append(w.out[:0], a.head...)
	b = append(b, "Date: "...)
	b = append(b, w.dateField()...)
	b = append(b, "\r\n"...)
	b = append(b, fields...)
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
	w.countFault(f)
	w.m.ResponsesOwn++
	w.m.ResponsesByClass[f.Status/100]++
	w.bare = exchange{client: i, minor: 1, status: f.Status, route: -1, cluster: -1, endpoint: -1}
	w.writeAnswer(c, &w.bare, w.snap.page(f.Status), nil, false, w.head.Method == proto.HEAD && f.Code != codeHeadTimeout)
	w.logBare(c, f)
	w.closeAfterFlush(c, true)
}

// statusPhrases are the reason phrases of what the proxy answers itself
// (RFC 9110 15).
var statusPhrases = map[int]string{
	200: "OK", 201: "Created", 202: "Accepted", 204: "No Content",
	301: "Moved Permanently", 302: "Found", 303: "See Other", 304: "Not Modified",
	307: "Temporary Redirect", 308: "Permanent Redirect",
	400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
	405: "Method Not Allowed", 406: "Not Acceptable", 408: "Request Timeout", 409: "Conflict",
	410: "Gone", 411: "Length Required", 413: "Content Too Large", 414: "URI Too Long",
	415: "Unsupported Media Type", 417: "Expectation Failed", 418: "I'm a Teapot", 421: "Misdirected Request",
	422: "Unprocessable Content", 426: "Upgrade Required", 429: "Too Many Requests",
	431: "Request Header Fields Too Large", 451: "Unavailable For Legal Reasons",
	500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway",
	503: "Service Unavailable", 504: "Gateway Timeout", 505: "HTTP Version Not Supported",
}

// reasonPhrase may be empty: RFC 9112 4 lets it be.
func reasonPhrase(status int) string { return statusPhrases[status] }

// ownStatuses are what faults may carry; each has a page.
var ownStatuses = []int{400, 404, 405, 408, 413, 414, 431, 501, 502, 503, 504, 505}
