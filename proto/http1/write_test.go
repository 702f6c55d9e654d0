package http1

import (
	"strings"
	"testing"

	"zproxy/proto"
)

func mustRequest(t *testing.T, in string) *proto.Head {
	t.Helper()
	h := new(proto.Head)
	if n, _, f := ParseRequest([]byte(in), Cursor{}, &testLimits, h); n == 0 {
		t.Fatalf("%q: %v", in, f)
	}
	return h
}

func mustResponse(t *testing.T, in string) *proto.Head {
	t.Helper()
	h := new(proto.Head)
	if n, _, f := ParseResponse([]byte(in), Cursor{}, proto.GET, &testLimits, h); n == 0 {
		t.Fatalf("%q: %v", in, f)
	}
	return h
}

func TestAppendRequestHead(t *testing.T) {
	for _, c := range []struct{ name, fields, want string }{
		{"nothing to drop", "A: 1\r\nB:  2 \r\n", "A: 1\r\nB:  2 \r\n"},
		{"runs", "A: 1\r\nConnection: close\r\nB: 2\r\nC: 3\r\nKeep-Alive: x\r\nTE: trailers\r\nD: 4\r\n", "A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n"},
		{"first and last", "Upgrade: x\r\nA: 1\r\nProxy-Connection: keep-alive\r\n", "A: 1\r\n"},
		{"all", "Connection: a\r\nA: 1\r\n", ""},
		{"named by Connection", "X-Hop: 1\r\nConnection: x-hop, ,Foo\r\nfoo: 2\r\nKeep: 3\r\nConnection: bar\r\nBAR: 4\r\n", "Keep: 3\r\n"},
		{"a known field named by Connection", "Accept: 1\r\nConnection: accept\r\n", ""},
		{"end-to-end fields stay", "Connection: host, cookie, authorization, x-forwarded-for, content-type\r\nCookie: a\r\nX-Forwarded-For: b\r\nContent-Type: d\r\n",
			"Cookie: a\r\nX-Forwarded-For: b\r\nContent-Type: d\r\n"},
		{"for proxies", "Proxy-Authorization: a\r\nProxy-Authenticate: b\r\nTrailer: c\r\n", "Proxy-Authorization: a\r\nProxy-Authenticate: b\r\nTrailer: c\r\n"},
		{"obs-text", "A: \xe9\xff\r\nConnection: close\r\nB: \x80\r\n", "A: \xe9\xff\r\nB: \x80\r\n"},
		{"framing is our own", "content-length: 007\r\nA: 1\r\n", "A: 1\r\n"},
	} {
		h := mustRequest(t, "POST /a HTTP/1.1\r\nHOST: client.example\r\n"+c.fields+"\r\n")
		MarkHopByHop(h)
		got := string(AppendRequestHead(nil, h, []byte("/b?c"), []byte("origin:80"), proto.BodyLength, 7, []proto.Extra{{Name: "Via", Value: []byte("1.1 z")}}))
		want := "POST /b?c HTTP/1.1\r\nHost: origin:80\r\n" + c.want + "Content-Length: 7\r\nVia: 1.1 z\r\n\r\n"
		if got != want {
			t.Errorf("%s:\n%q\nwant\n%q", c.name, got, want)
		}
	}
	h := mustRequest(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	for kind, want := range map[proto.BodyKind]string{
		proto.BodyNone: "", proto.BodyChunked: "Transfer-Encoding: chunked\r\n", proto.BodyLength: "Content-Length: 0\r\n",
	} {
		if got := string(AppendRequestHead(nil, h, []byte("/"), []byte("a"), kind, 0, nil)); got != "GET / HTTP/1.1\r\nHost: a\r\n"+want+"\r\n" {
			t.Errorf("%v: %q", kind, got)
		}
	}
}

func TestAppendResponseHead(t *testing.T) {
	h := mustResponse(t, "HTTP/1.0 200 Fine\xe9\r\nServer: x\r\nConnection: close\r\nHost: odd\r\nContent-Length: 0005\r\nETag: y\r\n\r\n")
	MarkHopByHop(h)
	const head = "HTTP/1.1 200 Fine\xe9\r\nServer: x\r\nHost: odd\r\nETag: y\r\n"
	for _, c := range []struct {
		minor     uint8
		body      proto.BodyKind
		length    int64
		keepAlive bool
		want      string
	}{
		{1, proto.BodyLength, 5, true, "Content-Length: 5\r\n"},
		{1, proto.BodyLength, 5, false, "Content-Length: 5\r\nConnection: close\r\n"},
		{0, proto.BodyLength, 5, true, "Content-Length: 5\r\nConnection: keep-alive\r\n"},
		{0, proto.BodyUntilClose, -1, false, "Connection: close\r\n"},
		{1, proto.BodyChunked, -1, true, "Transfer-Encoding: chunked\r\n"},
		{1, proto.BodyNone, 5, true, "Content-Length: 5\r\n"},
		{1, proto.BodyNone, -1, true, ""},
		{1, proto.BodyLength, 1<<63 - 1, false, "Content-Length: 9223372036854775807\r\nConnection: close\r\n"},
	} {
		got := string(AppendResponseHead(nil, h, c.minor, c.body, c.length, c.keepAlive, []proto.Extra{{Name: "Via", Value: []byte("z")}}))
		if want := head + c.want + "Via: z\r\n\r\n"; got != want {
			t.Errorf("%+v: %q\nwant %q", c, got, want)
		}
		if bound := ResponseHeadBound(h, []proto.Extra{{Name: "Via", Value: []byte("z")}}); len(got) > bound {
			t.Errorf("%d bytes, more than the bound %d", len(got), bound)
		}
	}
}

// Bytes that come from elsewhere than a checked line cannot begin a line.
func TestNoLineIsInjected(t *testing.T) {
	h := mustRequest(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	evil := []byte("/x HTTP/1.1\r\nEvil: 1\r\n\r\n\x00\x7f long enough for a word of eight\n")
	out := string(AppendRequestHead(nil, h, evil, evil, proto.BodyNone, -1, []proto.Extra{{Name: "X", Value: evil}}))
	if got := strings.Count(out, "\n"); got != 4 || strings.Count(out, "\r") != 4 || strings.ContainsAny(out, "\x00\x7f") {
		t.Errorf("%d lines: %q", got, out)
	}
	if !strings.HasPrefix(string(evil), "/x HTTP/1.1\r\n") {
		t.Error("the caller's bytes were changed")
	}
}

// A head that did not come as lines is composed from names and values.
func TestHeadWithoutLines(t *testing.T) {
	buf := []byte("GETa1b2\rhop")
	h := &proto.Head{Buf: buf, MethodName: proto.Span{Len: 3}, Fields: []proto.Field{
		{Name: proto.Span{Off: 3, Len: 1}, Value: proto.Span{Off: 4, Len: 1}},
		{Name: proto.Span{Off: 8, Len: 3}, Flags: proto.FlagDrop},
		{Name: proto.Span{Off: 5, Len: 1}, Value: proto.Span{Off: 6, Len: 2}},
		{Name: proto.Span{Off: 8, Len: 3}, Token: proto.TokenHost},
	}}
	got := string(AppendRequestHead(nil, h, []byte("/"), []byte("o"), proto.BodyNone, -1, nil))
	if want := "GET / HTTP/1.1\r\nHost: o\r\na: 1\r\nb: 2 \r\n\r\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if bound := RequestHeadBound(h, []byte("/"), []byte("o"), nil); len(got) > bound {
		t.Errorf("%d bytes, more than the bound %d", len(got), bound)
	}
}

// Framing fields and Host are the writer's own even when nobody marked them.
func TestUnmarkedFramingIsNotCopied(t *testing.T) {
	h := mustRequest(t, "POST / HTTP/1.1\r\nA: 1\r\nContent-Length: 5\r\nHost: a\r\nB: 2\r\n\r\n")
	if got := string(AppendRequestHead(nil, h, []byte("/"), []byte("b"), proto.BodyChunked, -1, nil)); got !=
		"POST / HTTP/1.1\r\nHost: b\r\nA: 1\r\nB: 2\r\nTransfer-Encoding: chunked\r\n\r\n" {
		t.Errorf("%q", got)
	}
	h = mustResponse(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: 1\r\n\r\n")
	if got := string(AppendResponseHead(nil, h, 1, proto.BodyLength, 5, true, nil)); got != "HTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 5\r\n\r\n" {
		t.Errorf("%q", got)
	}
}

// The bound holds when everything is as long as it gets, and wastes little.
func TestBounds(t *testing.T) {
	long := []byte(strings.Repeat("a", 1000))
	extras := []proto.Extra{{Name: string(long), Value: long}, {Name: string(long), Value: long}}
	h := mustRequest(t, "GET /"+string(long)+" HTTP/1.1\r\nX: "+string(long)+"\r\nHost: a\r\nY: z\r\n\r\n")
	n := len(AppendRequestHead(nil, h, long, long, proto.BodyLength, 1<<63-1, extras))
	if bound := RequestHeadBound(h, long, long, extras); n > bound || bound > n+40 {
		t.Errorf("request head of %d bytes, bound %d", n, bound)
	}
	h = mustResponse(t, "HTTP/1.1 200 "+string(long)+"\r\nX: "+string(long)+"\r\n\r\n")
	n = len(AppendResponseHead(nil, h, 0, proto.BodyLength, 1<<63-1, true, extras))
	if bound := ResponseHeadBound(h, extras); n > bound || bound > n+40 {
		t.Errorf("response head of %d bytes, bound %d", n, bound)
	}
}

func TestAppendChunkHeader(t *testing.T) {
	for n, want := range map[int]string{1: "1\r\n", 255: "ff\r\n", 16384: "4000\r\n"} {
		if got := string(AppendChunkHeader(nil, n)); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

// Nothing on the way of a message allocates, once Fields has its capacity.
func TestNoAllocation(t *testing.T) {
	h := proto.Head{Fields: make([]proto.Field, 0, 32)}
	out := make([]byte, 0, 4096)
	extras := []proto.Extra{{Name: "X-Forwarded-For", Value: []byte("192.0.2.1")}}
	browser, nginx := []byte(browserHead), []byte(nginxHead)
	bad := []byte("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 6\r\n\r\n")
	absolute := []byte("GET http://[::1]:80/x%20y?z HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\nConnection: a,b,close\r\n\r\n")
	chunked := []byte("3;a=\"b\"\r\nabc\r\n0\r\nX: y\r\n\r\n")
	for name, run := range map[string]func(){
		"request": func() {
			ParseRequest(browser, Cursor{}, &testLimits, &h)
			MarkHopByHop(&h)
			out = AppendRequestHead(out[:0], &h, h.Bytes(h.Target), h.Bytes(h.Host), h.Body, h.Length, extras)
		},
		"request in pieces": func() {
			var scanned Cursor
			for i := 100; i <= len(browser); i++ {
				_, scanned, _ = ParseRequest(browser[:i], scanned, &testLimits, &h)
			}
		},
		"response": func() {
			ParseResponse(nginx, Cursor{}, proto.GET, &testLimits, &h)
			MarkHopByHop(&h)
			out = AppendResponseHead(out[:0], &h, 1, h.Body, h.Length, true, extras)
		},
		"faults": func() {
			ParseRequest(bad, Cursor{}, &testLimits, &h)
			ParseRequest(absolute, Cursor{}, &testLimits, &h)
			ParseResponse(bad, Cursor{}, proto.GET, &testLimits, &h)
		},
		"chunked": func() {
			var d Body
			d.Start(proto.BodyChunked, -1)
			b := chunked
			for {
				piece, skip, n, _ := d.Next(b)
				b = b[skip+n:]
				if piece == PieceTrailers {
					break
				}
			}
			ParseTrailers(b, Cursor{}, &testLimits, &h)
			out = AppendTrailers(AppendChunkHeader(out[:0], 5), &h)
		},
	} {
		if n := testing.AllocsPerRun(100, run); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
