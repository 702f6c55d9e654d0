package http1

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"zproxy/proto"
)

// describe writes everything a head says, for comparisons.
func describe(h *proto.Head) string {
	var s strings.Builder
	at := func(name string, sp proto.Span) { fmt.Fprintf(&s, "%s=%q ", name, h.Bytes(sp)) }
	at("method", h.MethodName)
	at("target", h.Target)
	at("scheme", h.Scheme)
	at("host", h.Host)
	at("path", h.Path)
	at("query", h.Query)
	at("reason", h.Reason)
	fmt.Fprintf(&s, "m=%v form=%d 1.%d status=%d body=%v length=%d cl=%d keep=%v close=%v expect=%v upgrade=%v te=%v\n",
		h.Method, h.Form, h.Minor, h.Status, h.Body, h.Length, h.ContentLength, h.KeepAlive, h.ConnClose, h.Expect100, h.Upgrade, h.HasTETrailers)
	for i := range h.Fields {
		f := &h.Fields[i]
		fmt.Fprintf(&s, "%q: %q %d-%d %d %d\n", h.Bytes(f.Name), h.Bytes(f.Value), f.Name.Off, f.End, f.Token, f.Flags)
	}
	return s.String()
}

type parser func(b []byte, scanned Cursor, h *proto.Head) (int, Cursor, *proto.Fault)

func requestParser(lim *Limits) parser {
	return func(b []byte, scanned Cursor, h *proto.Head) (int, Cursor, *proto.Fault) {
		return ParseRequest(b, scanned, lim, h)
	}
}

// outcome feeds in in pieces that end at cuts (and at the end), and tells the
// first result that is not "more". Before each piece the head has described
// somebody else's message, as one that many connections share does.
func outcome(parse parser, in []byte, cuts func(i int) bool) string {
	var h proto.Head
	var scanned Cursor
	for i := 1; i <= len(in); i++ {
		if i < len(in) && !cuts(i) {
			continue
		}
		if _, _, f := ParseRequest([]byte(foreign), Cursor{}, &testLimits, &h); f != nil {
			panic(f.Reason)
		}
		n, next, f := parse(in[:i:i], scanned, &h)
		switch {
		case f != nil:
			if str(&h, h.Target) == "/foreign" {
				return fmt.Sprintf("fault %s, and %q %q of another message", f.Code.Name(), str(&h, h.MethodName), str(&h, h.Target))
			}
			return fmt.Sprintf("fault %s, method %d", f.Code.Name(), h.Method)
		case n > 0:
			return fmt.Sprint(n, " ", describe(&h))
		}
		scanned = next
	}
	return "more"
}

const foreign = "HEAD /foreign HTTP/1.1\r\nHost: a\r\n\r\n"

func atOnce(int) bool       { return false }
func everyByte(int) bool    { return true }
func everyThird(i int) bool { return i%3 == 0 }

// inAnyPieces checks that splitting changes nothing and returns the outcome.
func inAnyPieces(t *testing.T, parse parser, in string) string {
	t.Helper()
	want := outcome(parse, []byte(in), atOnce)
	for name, cuts := range map[string]func(int) bool{"bytes": everyByte, "threes": everyThird} {
		if got := outcome(parse, []byte(in), cuts); got != want {
			t.Errorf("%q in %s:\n%s\nat once:\n%s", in, name, got, want)
		}
	}
	return want
}

// Requests that are accepted, most of them examples of the RFCs.
var goodRequests = []struct {
	name, in string
	check    func(h *proto.Head) bool
}{
	{"RFC 9112 section 3.1 origin-form", "GET /where?q=now HTTP/1.1\r\nHost: www.example.org\r\n\r\n", func(h *proto.Head) bool {
		return h.Form == proto.OriginForm && str(h, h.Path) == "/where" && str(h, h.Query) == "q=now" && str(h, h.Host) == "www.example.org" &&
			h.Method == proto.GET && h.Minor == 1 && h.KeepAlive && h.Body == proto.BodyNone && h.Lines
	}},
	{"RFC 9112 section 3.2.2 absolute-form", "GET http://www.example.org/pub/WWW/TheProject.html HTTP/1.1\r\nHost: other\r\n\r\n", func(h *proto.Head) bool {
		return h.Form == proto.AbsoluteForm && str(h, h.Host) == "www.example.org" && str(h, h.Path) == "/pub/WWW/TheProject.html" &&
			str(h, h.Scheme) == "http" && h.Query.Off == 0
	}},
	{"absolute-form without path, with query", "GET HTTPS://a:8443?x=1 HTTP/1.1\r\nHost: a\r\n\r\n", func(h *proto.Head) bool {
		return str(h, h.Host) == "a:8443" && str(h, h.Path) == "/" && str(h, h.Query) == "x=1" && string(h.AppendOriginTarget(nil)) == "/?x=1"
	}},
	{"RFC 9112 section 3.2.3 authority-form", "CONNECT www.example.com:80 HTTP/1.1\r\nHost: www.example.com\r\n\r\n", func(h *proto.Head) bool {
		return h.Form == proto.AuthorityForm && str(h, h.Host) == "www.example.com:80" && h.Path.Len == 0 && h.Method == proto.CONNECT
	}},
	{"RFC 9112 section 3.2.4 asterisk-form", "OPTIONS * HTTP/1.1\r\nHost: www.example.org:8001\r\n\r\n", func(h *proto.Head) bool {
		return h.Form == proto.AsteriskForm && str(h, h.Path) == "*" && str(h, h.Host) == "www.example.org:8001"
	}},
	{"RFC 9112 section 3.2.4 OPTIONS on its way", "OPTIONS http://www.example.org:8001 HTTP/1.1\r\nHost: a\r\n\r\n", func(h *proto.Head) bool {
		return string(h.AppendOriginTarget(nil)) == "*" && str(h, h.Path) == "/"
	}},
	{"OPTIONS absolute-form with path", "OPTIONS http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", func(h *proto.Head) bool {
		return string(h.AppendOriginTarget(nil)) == "/"
	}},
	{"empty lines before (RFC 9112 section 2.2)", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", func(h *proto.Head) bool { return str(h, h.MethodName) == "GET" }},
	{"1.0 without Host closes", "GET / HTTP/1.0\r\n\r\n", func(h *proto.Head) bool { return h.Minor == 0 && !h.KeepAlive && h.Host.Len == 0 }},
	{"1.0 keep-alive", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", func(h *proto.Head) bool { return h.KeepAlive }},
	{"1.0 keep-alive and close", "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", func(h *proto.Head) bool { return !h.KeepAlive && h.ConnClose }},
	{"close among others", "GET / HTTP/1.1\r\nHost: a\r\nConnection: x , ,\tClose\r\n\r\n", func(h *proto.Head) bool { return !h.KeepAlive && h.ConnClose }},
	{"close in a second field", "GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: close\r\n\r\n", func(h *proto.Head) bool { return !h.KeepAlive }},
	{"later minor version", "GET / HTTP/1.7\r\nHost: a\r\n\r\n", func(h *proto.Head) bool { return h.Minor == 1 }},
	{"unknown method", "PURGE /x HTTP/1.1\r\nHost: a\r\n\r\n", func(h *proto.Head) bool { return h.Method == proto.MethodOther && str(h, h.MethodName) == "PURGE" }},
	{"methods are case-sensitive", "get / HTTP/1.1\r\nHost: a\r\n\r\n", func(h *proto.Head) bool { return h.Method == proto.MethodOther }},
	{"content-length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0042\r\n\r\n", func(h *proto.Head) bool { return h.Body == proto.BodyLength && h.Length == 42 && h.ContentLength == 42 }},
	{"largest content-length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\n", func(h *proto.Head) bool { return h.Length == 1<<63-1 }},
	{"chunked, any letter case", "POST / HTTP/1.1\r\nHost: a\r\ntransfer-ENCODING:\t CHunked \t\r\n\r\n", func(h *proto.Head) bool { return h.Body == proto.BodyChunked && h.Length == -1 }},
	{"expect", "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\n", func(h *proto.Head) bool { return h.Expect100 }},
	{"expect without content", "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", func(h *proto.Head) bool { return !h.Expect100 }},
	{"expect in 1.0 is ignored", "PUT / HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", func(h *proto.Head) bool { return !h.Expect100 }},
	{"RFC 6455 section 1.3 upgrade", "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n", func(h *proto.Head) bool { return h.Upgrade && h.KeepAlive }},
	{"upgrade that Connection does not name", "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", func(h *proto.Head) bool { return !h.Upgrade }},
	{"upgrade in 1.0 is ignored", "GET / HTTP/1.0\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", func(h *proto.Head) bool { return !h.Upgrade }},
	{"TE", "GET / HTTP/1.1\r\nHost: a\r\nTE: gzip;q=0.5, trailers\r\n\r\n", func(h *proto.Head) bool { return h.HasTETrailers }},
	{"obs-text, HTAB and empty values", "GET / HTTP/1.1\r\nHost: a\r\nX: \xe9\tb \xff\x80\x81\x82\x83\x84\x85\x86 \r\nY:\r\nZ: \t \r\n\r\n", func(h *proto.Head) bool {
		return str(h, h.Fields[1].Value) == "\xe9\tb \xff\x80\x81\x82\x83\x84\x85\x86" && h.Fields[2].Value.Len == 0 && h.Fields[3].Value.Len == 0
	}},
	{"obs-text among spaces", "GET / HTTP/1.1\r\nHost: a\r\nX: caf\xe9 au lait \xff for all\r\n\r\n", func(h *proto.Head) bool {
		return str(h, h.Fields[1].Value) == "caf\xe9 au lait \xff for all"
	}},
	{"IPv6 host", "GET / HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n\r\n", func(h *proto.Head) bool { return str(h, h.Host) == "[2001:db8::1]:8080" }},
	{"what browsers leave unencoded", "GET /a%20b/[x]?q={|}^`\\%&a=?/ HTTP/1.1\r\nHost: a\r\n\r\n", func(h *proto.Head) bool { return str(h, h.Query) == "q={|}^`\\%&a=?/" }},
	{"empty query is a query", "GET /? HTTP/1.1\r\nHost: a\r\n\r\n", func(h *proto.Head) bool { return h.Query.Off > 0 && h.Query.Len == 0 && str(h, h.Path) == "/" }},
	{"body follows", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", func(h *proto.Head) bool { return h.Length == 2 }},
}

func str(h *proto.Head, s proto.Span) string { return string(h.Bytes(s)) }

func TestRequestsAccepted(t *testing.T) {
	for _, c := range goodRequests {
		t.Run(c.name, func(t *testing.T) {
			var h proto.Head
			n, _, f := ParseRequest([]byte(c.in), Cursor{}, &testLimits, &h)
			if f != nil || n != strings.Index(c.in, "\r\n\r\n")+4 && !strings.HasPrefix(c.in, "\r\n") {
				t.Fatalf("n = %d, fault %v", n, f)
			}
			if !c.check(&h) {
				t.Errorf("head is %s", describe(&h))
			}
			inAnyPieces(t, requestParser(&testLimits), c.in)
		})
	}
}

// Requests that are refused. A line in fields stands for the fields of
// "GET / HTTP/1.1" with a Host.
var badRequests = []struct {
	in     string
	code   proto.FaultCode
	status uint16
}{
	{"\x16\x03\x01\x02\x00\x01\x00\x01", proto.FaultTLS, 400},
	{"\x16", proto.FaultTLS, 400},
	{"\r\n\x16\x03\x01\x02\x00\x01\x00\x01", proto.FaultBadMethod, 400},
	{"G@T / HTTP/1.1\r\n", proto.FaultBadMethod, 400},
	{" GET / HTTP/1.1\r\n", proto.FaultBadMethod, 400},
	{"GET\t/ HTTP/1.1\r\n", proto.FaultBadMethod, 400},
	{"GET\r\n", proto.FaultBadMethod, 400},
	{"\rGET / HTTP/1.1\r\n", proto.FaultBadMethod, 400},
	{"\nGET / HTTP/1.1\r\n", proto.FaultBareLF, 400},
	{"\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n", proto.FaultBadMethod, 400},
	{strings.Repeat("A", 33), proto.FaultMethodTooLong, 501},
	{"GET /\r\n", proto.FaultBadRequestLine, 400}, // HTTP/0.9
	{"GET  / HTTP/1.1\r\n", proto.FaultBadRequestLine, 400},
	{"GET /  HTTP/1.1\r\n", proto.FaultBadRequestLine, 400},
	{"GET /a b HTTP/1.1\r\n", proto.FaultBadRequestLine, 400},
	{"GET / HTTP/1.1 \r\n", proto.FaultBadVersion, 400},
	{"GET / HTTP/1.1\n", proto.FaultBareLF, 400},
	{"GET / HTTP/1.1\r\r\n", proto.FaultBareCR, 400},
	{"GET /\rx HTTP/1.1\r\n", proto.FaultBareCR, 400},
	{"GET / HTTP/1.\r\n", proto.FaultBadVersion, 400},
	{"GET / HTTP/1.x\r\n", proto.FaultBadVersion, 400},
	{"GET / HTTP/11\r\n", proto.FaultBadVersion, 400},
	{"GET / HTTP/1.10\r\n", proto.FaultBadVersion, 400},
	{"GET / http/1.1\r\n", proto.FaultBadVersion, 400},
	{"GET / HTTP/2.0\r\n", proto.FaultVersionUnsupported, 505},
	{"GET / HTTP/0.9\r\n", proto.FaultVersionUnsupported, 505},
	{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", proto.FaultVersionUnsupported, 505}, // RFC 9113 section 3.4
	{"GET /\x00 HTTP/1.1\r\n", proto.FaultBadTarget, 400},
	{"GET /\x7f HTTP/1.1\r\n", proto.FaultBadTarget, 400},
	{"GET /\xe9 HTTP/1.1\r\n", proto.FaultBadTarget, 400},
	{"GET /#fragment HTTP/1.1\r\n", proto.FaultBadTarget, 400},
	{"GET /<script> HTTP/1.1\r\n", proto.FaultBadTarget, 400},
	{"GET /?a\"b HTTP/1.1\r\n", proto.FaultBadTarget, 400},
	{"GET /%zz HTTP/1.1\r\n", proto.FaultBadTarget, 400},
	{"GET /%4 HTTP/1.1\r\n", proto.FaultBadTarget, 400},
	{"GET * HTTP/1.1\r\n", proto.FaultBadTarget, 400},
	{"GET :path HTTP/1.1\r\n", proto.FaultBadTarget, 400},
	{"GET www.example.com/ HTTP/1.1\r\n", proto.FaultBadTarget, 400},
	{"GET ?q HTTP/1.1\r\n", proto.FaultBadTarget, 400},
	{"GET ftp://a/ HTTP/1.1\r\n", proto.FaultBadScheme, 400},
	{"GET http:///x HTTP/1.1\r\n", proto.FaultBadAuthority, 400},
	{"GET http://u:p@a/ HTTP/1.1\r\n", proto.FaultUserinfo, 400},
	{"GET http://[::1/ HTTP/1.1\r\n", proto.FaultBadAuthority, 400},
	{"GET http://a:99999/ HTTP/1.1\r\n", proto.FaultBadAuthority, 400},
	{"CONNECT / HTTP/1.1\r\n", proto.FaultBadAuthority, 400},
	{"CONNECT a HTTP/1.1\r\n", proto.FaultBadAuthority, 400},
	{"CONNECT http://a:80/ HTTP/1.1\r\n", proto.FaultBadAuthority, 400},
}

// Fields of a request, behind "POST / HTTP/1.1" and one Host.
var badRequestFields = []struct {
	in     string
	code   proto.FaultCode
	status uint16
}{
	{"Host: b\r\n", proto.FaultHostDuplicate, 400},
	{"X: a\n", proto.FaultBareLF, 400},
	{"X: a\rb\r\n", proto.FaultBareCR, 400},
	{"X: a\r\r\n", proto.FaultBareCR, 400},
	{"X: a\x00b\r\n", proto.FaultFieldValue, 400},
	{"X: a\x7f\r\n", proto.FaultFieldValue, 400},
	{"X: a\x0bb\r\n", proto.FaultFieldValue, 400},
	{"X: a\r\n b\r\n", proto.FaultObsFold, 400}, // RFC 9112 section 5.2
	{"Transfer-Encoding:\r\n chunked\r\n", proto.FaultObsFold, 400},
	{"X : a\r\n", proto.FaultFieldSpaceBeforeColon, 400}, // RFC 9112 section 5.1
	{"Content-Length\t: 5\r\n", proto.FaultFieldSpaceBeforeColon, 400},
	{"X\r\n", proto.FaultFieldNoColon, 400},
	{"X\r\nY: z\r\n", proto.FaultFieldNoColon, 400},
	{": a\r\n", proto.FaultFieldName, 400},
	{"X Y: a\r\n", proto.FaultFieldName, 400},
	{"X\x00: a\r\n", proto.FaultFieldName, 400},
	{"X(: a\r\n", proto.FaultFieldName, 400},
	{"\xe9: a\r\n", proto.FaultFieldName, 400},
	{":path: /\r\n", proto.FaultFieldName, 400},
	{"Content\x0dLength: 5\r\n", proto.FaultBareCR, 400},
	{"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", proto.FaultLengthAndCoding, 400},
	{"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", proto.FaultLengthAndCoding, 400},
	{"Content-Length: 5\r\nContent-Length: 6\r\n", proto.FaultLengthDuplicate, 400},
	{"Content-Length: 5\r\nContent-Length: 5\r\n", proto.FaultLengthDuplicate, 400},
	{"Content-Length: 5, 5\r\n", proto.FaultLengthDuplicate, 400},
	{"Content-Length: 5,\r\n", proto.FaultLengthDuplicate, 400},
	{"Content-Length: \r\n", proto.FaultLengthInvalid, 400},
	{"Content-Length: ,5\r\n", proto.FaultLengthInvalid, 400},
	{"Content-Length: +5\r\n", proto.FaultLengthInvalid, 400},
	{"Content-Length: -5\r\n", proto.FaultLengthInvalid, 400},
	{"Content-Length: 0x5\r\n", proto.FaultLengthInvalid, 400},
	{"Content-Length: 5a\r\n", proto.FaultLengthInvalid, 400},
	{"Content-Length: \"5\"\r\n", proto.FaultLengthInvalid, 400},
	{"Content-Length: 9223372036854775808\r\n", proto.FaultLengthInvalid, 400},
	{"Content-Length: 18446744073709551621\r\n", proto.FaultLengthInvalid, 400},
	{"Transfer-Encoding: \r\n", proto.FaultCodingInvalid, 400},
	{"Transfer-Encoding: ,chunked\r\n", proto.FaultCodingInvalid, 400},
	{"Transfer-Encoding: chunked,\r\n", proto.FaultCodingInvalid, 400},
	{"Transfer-Encoding: chunked, chunked\r\n", proto.FaultCodingInvalid, 400},
	{"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", proto.FaultCodingInvalid, 400},
	{"Transfer-Encoding: chunked;q=1\r\n", proto.FaultCodingInvalid, 400},
	{"Transfer-Encoding: \"chunked\"\r\n", proto.FaultCodingInvalid, 400},
	{"Transfer-Encoding: chunked foo\r\n", proto.FaultCodingInvalid, 400},
	{"Transfer-Encoding: chunked\x0b\r\n", proto.FaultFieldValue, 400},
	{"Transfer-Encoding: chunked\x85\r\n", proto.FaultCodingInvalid, 400},
	{"Transfer-Encoding: gzip\r\n", proto.FaultCodingNotFinal, 400},
	{"Transfer-Encoding: identity\r\n", proto.FaultCodingNotFinal, 400},
	{"Transfer-Encoding: xchunked\r\n", proto.FaultCodingNotFinal, 400},
	{"Transfer-Encoding: chunked, identity\r\n", proto.FaultCodingNotFinal, 400},
	{"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n", proto.FaultCodingNotFinal, 400},
	{"Transfer-Encoding: gzip, chunked\r\n", proto.FaultCodingUnknown, 501},
	{"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", proto.FaultCodingUnknown, 501},
	{"Connection: " + strings.Repeat("a,", 64) + "\r\n", proto.FaultConnectionOptions, 400},
}

func TestRequestsRefused(t *testing.T) {
	check := func(in string, code proto.FaultCode, status uint16) {
		var h proto.Head
		_, _, f := ParseRequest([]byte(in), Cursor{}, &testLimits, &h)
		if f == nil || f.Code != code || f.Status != status || f.Reason == "" {
			t.Errorf("%q: fault %+v, want %s with %d", in, f, code.Name(), status)
		}
		inAnyPieces(t, requestParser(&testLimits), in)
	}
	for _, c := range badRequests {
		check(c.in, c.code, c.status)
		if c.in[0] == 'G' && strings.HasSuffix(c.in, "\r\n") {
			check(c.in+"Host: a\r\n\r\n", c.code, c.status)
		}
	}
	for _, c := range badRequestFields {
		check("POST / HTTP/1.1\r\nHost: a\r\n"+c.in+"\r\n", c.code, c.status)
	}
	check("GET / HTTP/1.1\r\n\r\n", proto.FaultHostMissing, 400)
	check("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", proto.FaultHostDuplicate, 400)
	check("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", proto.FaultCodingInOldVersion, 400)
	check("GET / HTTP/1.1\r\n Host: a\r\n\r\n", proto.FaultObsFold, 400)
	check("GET http://a/ HTTP/1.1\r\n\r\n", proto.FaultHostMissing, 400)
	check("GET http://a/ HTTP/1.1\r\nHost: [\r\n\r\n", proto.FaultHostInvalid, 400)
	for _, host := range []string{"", "a b", "[::1", "::1", "a:b", "a:80:80", "a:65536", "a/b", "u@a", "a,b:1:", "[::1]x", "é", "a%2", "[fe80::1%25eth0]"} {
		check("GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n", proto.FaultHostInvalid, 400)
	}
}

func TestRequestLimits(t *testing.T) {
	lim := Limits{HeadBytes: 200, Fields: 3, LineBytes: 20}
	parse := requestParser(&lim)
	head := func(target string, fields ...string) string {
		return "GET " + target + " HTTP/1.1\r\nHost: a\r\n" + strings.Join(fields, "") + "\r\n"
	}
	fill := func(n int) string { // a field that makes the head n bytes long
		return "X: " + strings.Repeat("x", n-len(head("/", "X: \r\n"))) + "\r\n"
	}
	for _, c := range []struct{ in, want string }{
		{head("/" + strings.Repeat("a", 19)), "46 "},
		{head("/" + strings.Repeat("a", 20)), "fault target_too_long"},
		{"GET /" + strings.Repeat("a", 31), "fault target_too_long"},
		{"GET /" + strings.Repeat("a", 500), "fault target_too_long"},
		{"GET / HTTP/1.1" + strings.Repeat("a", 30), "fault target_too_long"},
		{head("/", "A: b\r\n", "C: d\r\n"), "39 "},
		{head("/", "A: b\r\n", "C: d\r\n", "E: f\r\n"), "fault too_many_fields"},
		{head("/", fill(200)), "200 "},
		{head("/", fill(201)), "fault head_too_large"},
		{head("/", fill(199)) + strings.Repeat("body", 100), "199 "},
		{head("/", fill(400)), "fault head_too_large"},
		{head("/", fill(1000))[:250], "fault head_too_large"},
		// a fault behind the limit is not seen
		{head("/", fill(300), "bad\r\n"), "fault head_too_large"},
		{head("/", fill(100), "bad\r\n"), "fault field_no_colon"},
	} {
		if got := inAnyPieces(t, parse, c.in); !strings.HasPrefix(got, c.want) {
			t.Errorf("%q: %s, want %s", c.in, got, c.want)
		}
	}
	for code, status := range map[proto.FaultCode]uint16{proto.FaultTargetTooLong: 414, proto.FaultTooManyFields: 431, proto.FaultHeadTooLarge: 431} {
		if f := proto.RequestFault(code); f.Status != status || f.Code != code {
			t.Errorf("%s answers %d, want %d", code.Name(), f.Status, status)
		}
	}
}

// A fault in the fields leaves method and target for the log, also when the
// head came in pieces.
func TestFaultKeepsMethodAndTarget(t *testing.T) {
	in := []byte("DELETE /x?y HTTP/1.1\r\nHost: a\r\nbad\r\n")
	var h proto.Head
	var scanned Cursor
	for i := range in {
		var f *proto.Fault
		if _, scanned, f = ParseRequest(in[:i+1], scanned, &testLimits, &h); f != nil {
			if i+1 != len(in) || h.Method != proto.DELETE || str(&h, h.Target) != "/x?y" {
				t.Errorf("after %d bytes: %v, %s", i+1, f, describe(&h))
			}
			return
		}
	}
	t.Error("no fault")
}

// Whatever is fed byte by byte is looked at a bounded number of times: a
// parser that starts over for every byte of a long line, or for every one of
// many lines, takes microseconds per byte here.
func TestTrickledHeadIsNotRescanned(t *testing.T) {
	const start = "GET / HTTP/1.1\r\nHost: a\r\n"
	lim := Limits{HeadBytes: 1 << 20, Fields: MaxFields, LineBytes: 1 << 20}
	for name, in := range map[string]string{
		"long line":   start + "X: " + strings.Repeat("x", 100<<10),
		"many lines":  start + strings.Repeat("a:b\r\n", 20<<10),
		"long target": "GET /" + strings.Repeat("x", 100<<10),
		"unknown":     "FETCH /" + strings.Repeat("x", 100<<10),
	} {
		b := []byte(in)
		h := proto.Head{Fields: make([]proto.Field, 0, MaxFields)}
		best := time.Hour
		for range 3 {
			begin, scanned := time.Now(), Cursor{}
			for i := 1; i <= len(b); i++ {
				var f *proto.Fault
				if _, scanned, f = ParseRequest(b[:i], scanned, &lim, &h); f != nil {
					t.Fatalf("%s: %v", name, f)
				}
			}
			best = min(best, time.Since(begin))
		}
		if perByte := best / time.Duration(len(b)); perByte > 500*time.Nanosecond {
			t.Errorf("%s: %v for each byte of a trickled head of %d bytes: it is read again and again", name, perByte, len(b))
		}
	}
}
