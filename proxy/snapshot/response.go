package snapshot

import (
	"strconv"

	"zproxy/proto"
	"zproxy/proto/http2"
	"zproxy/proto/ws"
)

// Response is a response of the proxy's own, prepared at load: everything of the
// head but Date and Connection.
type Response struct {
	Status uint16
	Head   []byte // status line and fields, each with CRLF
	Block  []byte // the same as a field block of HTTP/2
	Body   []byte
}

// NewResponse prepares a response.
func NewResponse(status int, contentType string, fields []proto.Extra, body string) *Response {
	a := &Response{Status: uint16(status)}
	b := append(a.Head, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, proto.ReasonPhrase(status)...)
	b = append(b, "\r\n"...)
	a.Head = b
	a.Block = http2.AppendStatus(nil, status)
	// RFC 9110 8.6: no Content-Length with 204; 304 has no content of its own.
	if status != 204 && status != 304 {
		a.Body = []byte(body)
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

func (a *Response) add(f proto.Extra) {
	a.Head = AppendLine(a.Head, f)
	a.Block = http2.AppendField(a.Block, &f)
}

// AppendLine appends f as HTTP/1 has it.
func AppendLine(b []byte, f proto.Extra) []byte {
	b = append(b, f.Name...)
	b = append(b, ": "...)
	b = append(b, f.Value...)
	return append(b, "\r\n"...)
}

// newPage prepares the response for a status of the proxy's own. A 426 says what to
// upgrade to (RFC 9110 15.5.22), and which version of it (RFC 6455 4.4).
func newPage(status int, contentType, body string) *Response {
	a := NewResponse(status, contentType, nil, body)
	if status == 426 {
		a.add(proto.Extra{Name: "Sec-WebSocket-Version", Value: []byte(ws.Version)})
		a.Head = append(a.Head, "Upgrade: websocket\r\nConnection: upgrade\r\n"...)
	}
	return a
}

// OwnStatuses are what faults may carry; each has a page.
var OwnStatuses = []int{400, 401, 403, 404, 405, 408, 413, 414, 421, 426, 429, 431, 501, 502, 503, 504, 505, 508}

// bareStatuses are those that filters respond with without content.
var bareStatuses = []int{200, 204, 301, 302, 303, 307, 308}

// Bare is the response without content for one of them.
func (s *Snapshot) Bare(status uint16) *Response { return s.bare[status] }

// Page is the response for a status of the proxy's own.
func (s *Snapshot) Page(status uint16) *Response {
	if int(status) < len(s.pages) && s.pages[status] != nil {
		return s.pages[status]
	}
	return s.pages[502]
}
