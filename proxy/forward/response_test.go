package forward

import (
	"strings"
	"testing"

	"zproxy/proto"
	"zproxy/proto/http1"
	"zproxy/router"
	"zproxy/variables"
)

func answered(t *testing.T, method proto.Method, status string, fields ...string) *proto.Head {
	t.Helper()
	h := &proto.Head{Fields: make([]proto.Field, 0, 32)}
	text := "HTTP/1.1 " + status + "\r\n" + strings.Join(append(fields, ""), "\r\n") + "\r\n"
	if n, _, f := http1.ParseResponse([]byte(text), http1.Cursor{}, method, &http1.Limits{HeadBytes: 9000, Fields: 32, LineBytes: 999}, h); f != nil || n != len(text) {
		t.Fatalf("%q: %d bytes, %v", text, n, f)
	}
	return h
}

// What a client gets of an origin's fields, and what the proxy adds.
func TestFieldsOfResponses(t *testing.T) {
	const ms = 784111777_000
	for _, c := range []struct {
		name, section, status string
		fields                []string
		lines, block          string
	}{
		{"without a Date, RFC 9110 5.6.7", "", "200 OK", []string{"X: 1"}, "x: 1\ndate: Sun, 06 Nov 1994 08:49:37 GMT\n", "x: 1\ndate: Sun, 06 Nov 1994 08:49:37 GMT\n"},
		{"Via has no instance", "via: zproxy", "200 OK", []string{"Date: d"}, "date: d\nvia: 1.1 zproxy\n", "date: d\nvia: 1.1 zproxy\n"},
		{"fields of the hop", "", "200 OK", []string{"Date: d", "Connection: x-own", "X-Own: 1", "Keep-Alive: timeout=9"}, "date: d\n", "date: d\n"},
		{"426 says to what", "", "426 Upgrade Required", []string{"Date: d", "Upgrade: TLS/1.0", "Upgrade: HTTP/1.1", "Connection: upgrade"},
			"date: d\nupgrade: TLS/1.0, HTTP/1.1\nconnection: upgrade\n", "date: d\n"},
		{"who switches says to what", "", "101 Switching Protocols", []string{"Date: d", "Upgrade: websocket", "Connection: upgrade"},
			"date: d\nupgrade: websocket\nconnection: upgrade\n", "date: d\n"},
		{"Upgrade with others means nothing", "", "200 OK", []string{"Date: d", "Upgrade: websocket", "Connection: upgrade"}, "date: d\n", "date: d\n"},
	} {
		f, fields := compiled(t, c.section), NewFields()
		h := answered(t, proto.GET, c.status, c.fields...)
		if got := shown(h, fields.Response(f, h, ms, &Stuck{})); got != c.block {
			t.Errorf("%s: on a stream\n%swant\n%s", c.name, got, c.block)
		}
		if got := shown(h, fields.ResponseLines(f, h, ms, &Stuck{}, nil)); got != c.lines {
			t.Errorf("%s: in lines\n%swant\n%s", c.name, got, c.lines)
		}
	}
	// The origin has agreed on a stream, where there was no key to answer.
	f, fields := compiled(t, ""), NewFields()
	h := &proto.Head{Status: 101, H2: true}
	if got, want := shown(h, fields.ResponseLines(f, h, 0, &Stuck{}, []byte("accepted"))), "upgrade: websocket\nconnection: upgrade\nsec-websocket-accept: accepted\n"; !strings.HasSuffix(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// How the end of a response is told, by version.
func TestFraming(t *testing.T) {
	for _, c := range []struct {
		name   string
		method proto.Method
		status string
		field  string
		h2     bool
		minor  uint8
		end    bool
		want   proto.BodyKind
		length int64
	}{
		{"a length stays one", proto.GET, "200 OK", "Content-Length: 5", false, 1, false, proto.BodyLength, 5},
		{"chunks stay chunks", proto.GET, "200 OK", "Transfer-Encoding: chunked", false, 1, false, proto.BodyChunked, -1},
		{"not for HTTP/1.0", proto.GET, "200 OK", "Transfer-Encoding: chunked", false, 0, false, proto.BodyUntilClose, -1},
		{"until the close, in chunks", proto.GET, "200 OK", "X: 1", false, 1, false, proto.BodyChunked, -1},
		{"a HEAD says of what length", proto.HEAD, "200 OK", "Content-Length: 5", false, 1, false, proto.BodyNone, 5},
		{"a 304, too", proto.GET, "304 Not Modified", "Content-Length: 5", false, 1, false, proto.BodyNone, 5},
		{"a 204 has none, RFC 9110 8.6", proto.GET, "204 No Content", "Content-Length: 5", false, 1, false, proto.BodyNone, -1},
		{"a stream's length", proto.GET, "200 OK", "Content-Length: 5", true, 1, false, proto.BodyLength, 5},
		{"0 bytes whose END_STREAM is to come", proto.GET, "200 OK", "Content-Length: 0", true, 1, false, proto.BodyChunked, 0},
		{"0 bytes that have ended", proto.GET, "200 OK", "Content-Length: 0", true, 1, true, proto.BodyLength, 0},
		{"trailers have their place behind chunks", proto.GET, "200 OK", "Content-Length: 5\r\nTrailer: x", true, 1, false, proto.BodyChunked, 5},
		{"and none in HTTP/1.0", proto.GET, "200 OK", "Content-Length: 5\r\nTrailer: x", true, 0, false, proto.BodyUntilClose, 5},
	} {
		h := answered(t, c.method, c.status, c.field)
		h.H2 = c.h2
		if framing, length := Framing(h, c.minor, c.end); framing != c.want || length != c.length && framing != proto.BodyChunked && framing != proto.BodyUntilClose {
			t.Errorf("%s: %v, %d, want %v, %d", c.name, framing, length, c.want, c.length)
		}
	}
	for _, c := range []struct {
		status, field string
		h2, want      bool
	}{{"204 No Content", "X: 1", false, true}, {"200 OK", "Content-Length: 0", false, true}, {"200 OK", "Content-Length: 1", false, false}, {"200 OK", "Content-Length: 0", true, false}} {
		h := answered(t, proto.GET, c.status, c.field)
		if h.H2 = c.h2; EndsWith(h) != c.want {
			t.Errorf("%s, %s, by HTTP/2: %v: ends with its head: %v", c.status, c.field, c.h2, !c.want)
		}
	}
}

// Where a request is sent to, in its own words.
func TestLocation(t *testing.T) {
	f := compiled(t, "trusted_proxies: [10.0.0.1]")
	for _, c := range []struct{ first, host, to, want string }{
		{"GET /a/b?c=d HTTP/1.1", "h.example:8080", "https://{host}{path}?{query}", "https://h.example/a/b?c=d"},
		{"GET /a/b HTTP/1.1", "h.example", "{scheme}://{host}/x/{path.id}?{query}", "http://h.example/x/b"},
		{"GET /a/b HTTP/1.1", "h.example", "/?ip={client_ip}&id={request_id}", "/?ip=192.0.2.7&id=r-1"},
		{"GET /a/b HTTP/1.0", "", "/{path.id}", "/b"},
		{"GET /a/b HTTP/1.0", "", "https://{host}/", ""},
	} {
		to, wrong := variables.Parse(c.to, []string{"id"})
		if wrong != nil {
			t.Fatal(wrong)
		}
		lines := []string{"X-Forwarded-For: 192.0.2.7", "X-Request-ID: r-1"}
		if c.host != "" {
			lines = append(lines, "Host: "+c.host)
		}
		q := from(f, "10.0.0.1", parsed(t, c.first, lines...))
		m := router.Match{NParams: 1}
		m.Params[0] = router.Param{Off: 3, Len: 1}
		fields := NewFields()
		got, ok := fields.Location(to, q, q.Head.Bytes(q.Head.Path), &m)
		if ok != (c.want != "") || string(got.Value) != c.want {
			t.Errorf("%s: %q, %v, want %q", c.to, got.Value, ok, c.want)
		}
	}
}
