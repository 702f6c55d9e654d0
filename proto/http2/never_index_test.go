package http2

import (
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"

	"zproxy/proto"
)

// blockOf makes a block of lines "name: value"; those with " !" behind are never to be
// indexed, which is how decodeBlock tells them.
func (r *rig) blockOf(fields string) []byte {
	r.blk.Reset()
	for f := range strings.Lines(fields) {
		f, never := strings.CutSuffix(strings.TrimSuffix(f, "\n"), " !")
		at := strings.Index(f[1:], ": ") + 1
		r.enc.WriteField(hpack.HeaderField{Name: f[:at], Value: f[at+2:], Sensitive: never})
	}
	return []byte(r.blk.String())
}

// What came as a literal that is never indexed is written as one (RFC 7541 sections 6.2.3
// and 7.1.3), the first time and when its block comes again.
func TestNeverIndexedRequests(t *testing.T) {
	const line = ":method: GET\n:scheme: http\n:authority: a\n:path: /\n"
	for _, c := range []struct{ name, in, want string }{
		{"none", line + "x: y\n", line + "x: y\n"},
		{"a name of its own", line + "x: y !\nz: y\n", line + "x: y !\nz: y\n"},
		{"a known name", line + "user-agent: u !\naccept: */*\n", line + "user-agent: u !\naccept: */*\n"},
		{"a field of the static table", line + "accept-encoding: gzip, deflate !\n", line + "accept-encoding: gzip, deflate !\n"},
		{"one of several of a name", line + "x: 1\nx: 2 !\nx: 3\n", line + "x: 1\nx: 2 !\nx: 3\n"},
		{"crumbs", line + "cookie: a\ncookie: b\n", line + "cookie: a; b !\n"},
		{"content-length", line + "content-length: 0 !\n", line + "content-length: 0 !\n"},
		{"what the proxy writes anew", line + "te: trailers !\nvia: 1.1 a\n", line + "via: 1.1 a\nte: trailers !\nvia: 2.0 z\n"},
		{":method", ":method: GET !\n:scheme: http\n:authority: a\n:path: /\n", ":method: GET !\n:scheme: http\n:authority: a\n:path: /\n"},
		{":method HEAD", ":method: HEAD !\n:scheme: http\n:authority: a\n:path: /\n", ":method: HEAD !\n:scheme: http\n:authority: a\n:path: /\n"},
		{":scheme", ":method: GET\n:scheme: http !\n:authority: a\n:path: /\n", ":method: GET\n:scheme: http !\n:authority: a\n:path: /\n"},
		{":path", ":method: GET\n:scheme: http\n:authority: a\n:path: /token !\n", ":method: GET\n:scheme: http\n:authority: a\n:path: /token !\n"},
		{":authority", ":method: GET\n:scheme: http\n:authority: a !\n:path: /\n", ":method: GET\n:scheme: http\n:authority: a !\n:path: /\n"},
		{"host", ":method: GET\n:scheme: http\n:path: /\nhost: a !\nx: y\n", ":method: GET\n:scheme: http\n:authority: a !\n:path: /\nx: y\n"},
		{":protocol", ":method: CONNECT\n:scheme: http\n:authority: a\n:path: /\n:protocol: websocket !\n",
			":method: CONNECT\n:scheme: http\n:authority: a\n:path: /\n:protocol: websocket !\n"},
	} {
		r := server(t, func(c *Config) { c.ConnectProtocol = true })
		for n := range uint32(5) {
			if events, _ := r.feedBlock(2*n+1, true, string(r.blockOf(c.in))); len(events) != 1 || !strings.HasPrefix(events[0], "head") {
				t.Fatalf("%s: %q", c.name, events)
			}
			h := r.s.Head()
			l := &RequestLine{h.Bytes(h.MethodName), h.Bytes(h.Scheme), h.Bytes(h.Host), h.Bytes(h.Target), h.Bytes(h.Protocol)}
			var extras []proto.Extra
			if h.HasTETrailers {
				extras = []proto.Extra{proto.NewExtra(proto.TokenTE, []byte("trailers")), proto.NewExtra(proto.TokenVia, []byte("2.0 z"))}
			}
			b := AppendRequestBlock(nil, h, l, h.ContentLength, extras)
			if got := decodeBlock(t, b); got != c.want {
				t.Errorf("%s: block %d goes on as\n%s\nwant\n%s", c.name, n+1, got, c.want)
			}
			if bound := RequestBlockBound(h, l, extras); bound < len(b) {
				t.Errorf("%s: %d bytes, bound %d", c.name, len(b), bound)
			}
			if method := map[proto.Method]string{proto.HEAD: "HEAD", proto.CONNECT: "CONNECT"}[h.Method]; blockMethod(b) != method {
				t.Errorf("%s: taken for %q", c.name, blockMethod(b))
			}
		}
		if !r.keeps(sectionRequest) {
			t.Errorf("%s: the block was not kept", c.name)
		}
	}
}

// So are those of answers and of trailers.
func TestNeverIndexedResponses(t *testing.T) {
	const head, interim, trailers = ":status: 200\netag: e !\nserver: s\nx: y !\ncontent-length: 5 !\n", ":status: 103 !\nlink: l !\n", "grpc-status: 0\nx-sum: 1 !\n"
	r := client(t, nil)
	for n := range 5 {
		id := r.streams.At(r.request(uint32(n)+1, "HEAD", true)).ID
		for _, c := range []struct {
			in  string
			end bool
		}{{interim, false}, {head, false}, {trailers, true}} {
			if events, _ := r.feedBlock(id, c.end, string(r.blockOf(c.in))); len(events) != 1 || strings.HasPrefix(events[0], "reset") {
				t.Fatalf("%q", events)
			}
			h := r.s.Head()
			if c.end {
				if got := decodeBlock(t, AppendTrailerBlock(nil, h)); got != c.in {
					t.Errorf("trailers %d go on as\n%s", n+1, got)
				}
				continue
			}
			b := AppendResponseBlock(nil, h, h.ContentLength, nil)
			if got := decodeBlock(t, b); got != c.in {
				t.Errorf("answer %d goes on as\n%s", n+1, got)
			}
			if bound := ResponseBlockBound(h, nil); bound < len(b) || interimBlock(b) != (h.Status < 200) {
				t.Errorf("%d bytes, bound %d, interim %v", len(b), bound, interimBlock(b))
			}
		}
	}
	if !r.keeps(sectionTrailers) {
		t.Error("nothing was kept")
	}
}
