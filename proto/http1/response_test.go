package http1

import (
	"strings"
	"testing"

	"zproxy/proto"
)

func responseParser(req proto.Method, lim *Limits) parser {
	return func(b []byte, scanned Cursor, h *proto.Head) (int, Cursor, *proto.Fault) {
		return ParseResponse(b, scanned, req, lim, h)
	}
}

// Where a response ends (RFC 9112 section 6.3), rule by rule.
func TestResponseFraming(t *testing.T) {
	const cl, te = "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"
	for _, c := range []struct {
		req                   proto.Method
		line, fields          string
		body                  proto.BodyKind
		length, contentLength int64
		keepAlive             bool
	}{
		{proto.GET, "HTTP/1.1 200 OK", cl, proto.BodyLength, 5, 5, true},
		{proto.GET, "HTTP/1.1 200 OK", te, proto.BodyChunked, -1, -1, true},
		{proto.GET, "HTTP/1.1 200 OK", "", proto.BodyUntilClose, -1, -1, false},
		{proto.GET, "HTTP/1.0 200 OK", "", proto.BodyUntilClose, -1, -1, false},
		{proto.GET, "HTTP/1.0 200 OK", cl, proto.BodyLength, 5, 5, false},
		{proto.GET, "HTTP/1.0 200 OK", cl + "Connection: keep-alive\r\n", proto.BodyLength, 5, 5, true},
		{proto.GET, "HTTP/1.1 200 OK", cl + "Connection: close\r\n", proto.BodyLength, 5, 5, false},
		{proto.GET, "HTTP/1.1 200 OK", "Connection: keep-alive\r\n", proto.BodyUntilClose, -1, -1, false},
		{proto.HEAD, "HTTP/1.1 200 OK", cl, proto.BodyNone, -1, 5, true},
		{proto.HEAD, "HTTP/1.1 200 OK", te, proto.BodyNone, -1, -1, true},
		{proto.HEAD, "HTTP/1.1 200 OK", "", proto.BodyNone, -1, -1, true},
		{proto.GET, "HTTP/1.1 304 Not Modified", cl, proto.BodyNone, -1, 5, true},
		{proto.GET, "HTTP/1.1 304 Not Modified", "", proto.BodyNone, -1, -1, true},
		{proto.GET, "HTTP/1.1 204 No Content", "", proto.BodyNone, -1, -1, true},
		{proto.GET, "HTTP/1.1 204 No Content", "Content-Length: 0\r\n", proto.BodyNone, -1, 0, true},
		{proto.GET, "HTTP/1.1 204 No Content", cl, proto.BodyNone, -1, 5, false},
		{proto.GET, "HTTP/1.1 204 No Content", te, proto.BodyNone, -1, -1, false},
		{proto.POST, "HTTP/1.1 100 Continue", "", proto.BodyNone, -1, -1, true},
		{proto.GET, "HTTP/1.1 103 Early Hints", "Link: </style.css>; rel=preload; as=style\r\n", proto.BodyNone, -1, -1, true},
		{proto.GET, "HTTP/1.1 101 Switching Protocols", "Upgrade: websocket\r\nConnection: Upgrade\r\n", proto.BodyNone, -1, -1, true},
		{proto.CONNECT, "HTTP/1.1 200 OK", "", proto.BodyNone, -1, -1, true},
		{proto.CONNECT, "HTTP/1.1 200 OK", cl + te, proto.BodyNone, -1, -1, true},
		{proto.CONNECT, "HTTP/1.1 407 Auth", cl, proto.BodyLength, 5, 5, true},
		{proto.GET, "HTTP/1.1 205 Reset Content", "Content-Length: 0\r\n", proto.BodyLength, 0, 0, true},
		{proto.GET, "HTTP/1.1 599 ", cl, proto.BodyLength, 5, 5, true},
		{proto.GET, "HTTP/1.1 999", cl, proto.BodyLength, 5, 5, true},
	} {
		in := c.line + "\r\n" + c.fields + "\r\n"
		var h proto.Head
		n, _, f := ParseResponse([]byte(in), Cursor{}, c.req, &testLimits, &h)
		if f != nil || n != len(in) {
			t.Errorf("%v %q: n = %d, fault %v", c.req, in, n, f)
			continue
		}
		if h.Body != c.body || h.Length != c.length || h.ContentLength != c.contentLength || h.KeepAlive != c.keepAlive {
			t.Errorf("%v %q: %s", c.req, in, describe(&h))
		}
		inAnyPieces(t, responseParser(c.req, &testLimits), in)
	}
}

func TestStatusLine(t *testing.T) {
	for _, c := range []struct {
		line, reason string
		status       uint16
		minor        uint8
	}{
		{"HTTP/1.1 200 OK", "OK", 200, 1},
		{"HTTP/1.0 404 Not Found", "Not Found", 404, 0},
		{"HTTP/1.1 200 ", "", 200, 1},
		{"HTTP/1.1 200", "", 200, 1},
		{"HTTP/1.9 500 caf\xe9\tx", "caf\xe9\tx", 500, 1},
	} {
		in := c.line + "\r\nContent-Length: 0\r\n\r\n"
		var h proto.Head
		if n, _, f := ParseResponse([]byte(in), Cursor{}, proto.GET, &testLimits, &h); n != len(in) || h.Status != c.status || h.Minor != c.minor || str(&h, h.Reason) != c.reason {
			t.Errorf("%q: n = %d, fault %v, %s", in, n, f, describe(&h))
		}
	}
	var h proto.Head
	ParseResponse([]byte("HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"), Cursor{}, proto.GET, &testLimits, &h)
	if !h.Upgrade {
		t.Error("101 does not upgrade")
	}
}

func TestResponsesRefused(t *testing.T) {
	for _, c := range []struct {
		in   string
		code proto.FaultCode
	}{
		{"<html>", proto.FaultNotHTTP}, // HTTP/0.9
		{"HTTQ/1.1 200 OK", proto.FaultNotHTTP},
		{"SSH-2.0-OpenSSH_9.2\r\n", proto.FaultNotHTTP},
		{"\r\nHTTP/1.1 200 OK\r\n", proto.FaultNotHTTP},
		{"0\r\n\r\nHTTP/1.1 200 OK\r\n", proto.FaultNotHTTP}, // the end of an earlier body
		{"http/1.1 200 OK\r\n", proto.FaultNotHTTP},
		{"ICY 200 OK\r\n", proto.FaultNotHTTP},
		{"HTTP/1.1 200 OK\n", proto.FaultBareLF},
		{"HTTP/1.1 200 OK\rX: y\r\n", proto.FaultBareCR},
		{"HTTP/1.1\r\n", proto.FaultBadStatus},
		{"HTTP/1.1 \r\n", proto.FaultBadStatus},
		{"HTTP/1.1 20 OK\r\n", proto.FaultBadStatus},
		{"HTTP/1.1 2000 OK\r\n", proto.FaultBadStatus},
		{"HTTP/1.1 2x0 OK\r\n", proto.FaultBadStatus},
		{"HTTP/1.1 099 OK\r\n", proto.FaultBadStatus},
		{"HTTP/1.1 000 OK\r\n", proto.FaultBadStatus},
		{"HTTP/1.1  200 OK\r\n", proto.FaultBadStatus},
		{"HTTP/1.1\t200 OK\r\n", proto.FaultBadStatus},
		{"HTTP/1.1 200\tOK\r\n", proto.FaultBadStatus},
		{"HTTP/1.1 200OK\r\n", proto.FaultBadStatus},
		{"HTTP/1.1 200 O\x00K\r\n", proto.FaultBadReason},
		{"HTTP/2.0 200 OK\r\n", proto.FaultVersionUnsupported},
		{"HTTP/1. 200 OK\r\n", proto.FaultBadVersion},
		{"HTTP/11 200 OK\r\n", proto.FaultBadVersion},
		{"HTTP/\r\n", proto.FaultBadVersion},
		{"HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n", proto.FaultCodingForbidden},
		{"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n", proto.FaultLengthForbidden},
		{"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", proto.FaultCodingInOldVersion},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", proto.FaultLengthAndCoding},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", proto.FaultCodingNotFinal},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", proto.FaultCodingUnknown},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", proto.FaultLengthDuplicate},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", proto.FaultLengthDuplicate},
		{"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n", proto.FaultLengthInvalid},
		{"HTTP/1.1 304 Not Modified\r\nContent-Length: five\r\n\r\n", proto.FaultLengthInvalid},
		{"HTTP/1.1 200 OK\r\nX: a\r\n\tb\r\n\r\n", proto.FaultObsFold},
		{"HTTP/1.1 200 OK\r\nX : a\r\n\r\n", proto.FaultFieldSpaceBeforeColon},
		{"HTTP/1.1 200 OK\r\nX: a\x00\r\n\r\n", proto.FaultFieldValue},
		{"HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 129), proto.FaultTooManyFields},
		{"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", 70<<10), proto.FaultHeadTooLarge},
	} {
		var h proto.Head
		_, _, f := ParseResponse([]byte(c.in), Cursor{}, proto.GET, &testLimits, &h)
		if f == nil || f.Code != c.code || f.Status != 502 {
			t.Errorf("%.100q: fault %+v, want %s with 502", c.in, f, c.code.Name())
		}
		if len(c.in) < 1000 {
			inAnyPieces(t, responseParser(proto.GET, &testLimits), c.in)
		}
	}
}

func TestTrailers(t *testing.T) {
	parse := func(b []byte, scanned Cursor, h *proto.Head) (int, Cursor, *proto.Fault) {
		return ParseTrailers(b, scanned, &testLimits, h)
	}
	in := "Expires: Sat\r\nX-Checksum: abc\r\nContent-Length: 5\r\ntransfer-encoding: chunked\r\nHost: evil\r\n" +
		"Trailer: x\r\nServer-Timing: a\r\nETag: \"x\"\r\nAuthorization: y\r\nSet-Cookie: z\r\n\r\n"
	var h proto.Head
	n, _, f := ParseTrailers([]byte(in+"GET / HTTP/1.1"), Cursor{}, &testLimits, &h)
	if f != nil || n != len(in) {
		t.Fatalf("n = %d, fault %v", n, f)
	}
	const want = "X-Checksum: abc\r\nServer-Timing: a\r\nETag: \"x\"\r\n\r\n"
	if got := AppendTrailers(nil, &h); string(got) != want || len(got) > TrailersBound(&h) {
		t.Errorf("trailers sent: %q, want %q, bound %d", got, want, TrailersBound(&h))
	}
	inAnyPieces(t, parse, in)
	if n, _, f := ParseTrailers([]byte("\r\nnext"), Cursor{}, &testLimits, &h); n != 2 || f != nil || len(h.Fields) != 0 {
		t.Errorf("empty section: n = %d, fault %v", n, f)
	}
	for in, want := range map[string]string{
		"X: y\r\n z\r\n\r\n": "fault obs_fold",
		"X: y\n\n":           "fault bare_lf",
		"\n":                 "fault bare_lf",
		"\rx\r\n":            "fault bare_cr",
		"X y: z\r\n\r\n":     "fault field_name",
		"a:\r\n\r\n":         "6 ",
		"X: y":               "more",
	} {
		if got := inAnyPieces(t, parse, in); !strings.HasPrefix(got, want) {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}
