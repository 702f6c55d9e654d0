package http2

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"

	"zproxy/proto"
	"zproxy/proto/http1"
)

// decodeBlock is what somebody else's decoder makes of a block.
func decodeBlock(t testing.TB, b []byte) string {
	t.Helper()
	fields, err := hpack.NewDecoder(0, nil).DecodeFull(b)
	if err != nil {
		t.Fatalf("%x: %v", b, err)
	}
	w := &strings.Builder{}
	for _, f := range fields {
		fmt.Fprintf(w, "%s: %s", f.Name, f.Value)
		if f.Sensitive {
			w.WriteString(" !")
		}
		w.WriteByte('\n')
	}
	return w.String()
}

func requestHead(t testing.TB, in string) *proto.Head {
	t.Helper()
	h := new(proto.Head)
	if n, _, f := http1.ParseRequest([]byte(in), http1.Cursor{}, &http1.Limits{HeadBytes: 1 << 20, Fields: 1000, LineBytes: 1 << 20}, h); n == 0 {
		t.Fatalf("%q: %v", in, f)
	}
	return h
}

func responseHead(t testing.TB, in string) *proto.Head {
	t.Helper()
	h := new(proto.Head)
	if n, _, f := http1.ParseResponse([]byte(in), http1.Cursor{}, proto.GET, &http1.Limits{HeadBytes: 1 << 20, Fields: 1000, LineBytes: 1 << 20}, h); n == 0 {
		t.Fatalf("%q: %v", in, f)
	}
	return h
}

func line(method, scheme, authority, path, protocol string) *RequestLine {
	return &RequestLine{[]byte(method), []byte(scheme), []byte(authority), []byte(path), []byte(protocol)}
}

func TestRequestBlock(t *testing.T) {
	h := requestHead(t, "GET / HTTP/1.1\r\nHost: h\r\nACCEPT: */*\r\nX-Own: 1\r\nConnection: x-gone, te\r\nX-Gone: 2\r\nTE: trailers\r\n"+
		"Keep-Alive: 5\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\nAccept-Encoding: gzip, deflate\r\nAuthorization: Basic x\r\nCookie: a=b\r\n"+
		"Proxy-Authorization: y\r\nContent-Length: 3\r\nX-Empty:\r\nX-Long: "+strings.Repeat("l", 1000)+"\r\n"+strings.Repeat("N", 200)+": v\r\n\r\n")
	http1.MarkHopByHop(h)
	extras := []proto.Extra{{Name: "TE", Value: []byte("trailers")}, {Name: "X-Forwarded-For", Value: []byte("192.0.2.1")}, {Name: "X-Evil", Value: []byte("a\r\nb: c")},
		// Whoever adds them, they have no place here.
		{Name: "Connection", Value: []byte("upgrade")}, {Name: "UPGRADE", Value: []byte("websocket")}, proto.NewExtra(proto.TokenKeepAlive, []byte("5")),
		{Name: "te", Value: []byte("gzip")}, {Name: "Transfer-Encoding", Value: []byte("chunked")}, {Name: "Proxy-Connection"}, {Name: "HTTP2-Settings"}}
	rest := "accept: */*\nx-own: 1\naccept-encoding: gzip, deflate\nauthorization: Basic x !\ncookie: a=b !\nproxy-authorization: y !\nx-empty: \nx-long: " +
		strings.Repeat("l", 1000) + "\n" + strings.Repeat("n", 200) + ": v\n"
	last := "te: trailers\nx-forwarded-for: 192.0.2.1\nx-evil: a  b: c\n"
	for _, c := range []struct {
		line   *RequestLine
		length int64
		want   string
	}{
		{line("GET", "http", "o.example:80", "/", ""), -1, ":method: GET\n:scheme: http\n:authority: o.example:80\n:path: /\n"},
		{line("POST", "https", "o", "/a?b", ""), 0, ":method: POST\n:scheme: https\n:authority: o\n:path: /a?b\n"},
		{line("PATCH", "other", "o", "*", ""), 1<<63 - 1, ":method: PATCH\n:scheme: other\n:authority: o\n:path: *\n"},
		{line("CONNECT", "", "o:443", "", ""), -1, ":method: CONNECT\n:authority: o:443\n"},
		{line("CONNECT", "http", "o", "/c", "websocket"), -1, ":method: CONNECT\n:scheme: http\n:authority: o\n:path: /c\n:protocol: websocket\n"},
	} {
		b := AppendRequestBlock([]byte("before"), h, c.line, c.length, extras)[len("before"):]
		want := c.want + rest
		if c.length >= 0 {
			want += fmt.Sprintf("content-length: %d\n", c.length)
		}
		want += last
		if got := decodeBlock(t, b); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		if n := RequestBlockBound(h, c.line, extras); n < len(b) || n > 2*len(b)+400 {
			t.Errorf("bound %d for %d bytes", n, len(b))
		}
	}
}

func TestResponseBlock(t *testing.T) {
	for status := 100; status < 1000; status++ {
		if got := decodeBlock(t, AppendStatus(nil, status)); got != fmt.Sprintf(":status: %d\n", status) {
			t.Fatalf("%d: %s", status, got)
		}
		if interimBlock(AppendStatus(nil, status)) != (status < 200) {
			t.Errorf("%d is interim or not", status)
		}
	}
	h := responseHead(t, "HTTP/1.1 200 OK\r\nServer: s\r\nSet-Cookie: a\r\nSET-cookie: b\r\nTransfer-Encoding: chunked\r\nETag: \"e\"\r\n\r\n")
	b := AppendResponseBlock(nil, h, 5, []proto.Extra{{Name: "Via", Value: []byte("1.1 z")}})
	if got, want := decodeBlock(t, b), ":status: 200\nserver: s\nset-cookie: a !\nset-cookie: b !\netag: \"e\"\ncontent-length: 5\nvia: 1.1 z\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	h.Drop(proto.TokenServer)
	if b := AppendTrailerBlock(nil, h); decodeBlock(t, b) != "set-cookie: a !\nset-cookie: b !\netag: \"e\"\n" || TrailerBlockBound(h) < len(b) {
		t.Errorf("trailers %s", decodeBlock(t, b))
	}
}

// RFC 7541 appendix A as somebody else has it.
func TestStaticTable(t *testing.T) {
	d := hpack.NewDecoder(0, nil)
	for i := 1; i < len(staticTable); i++ {
		f, err := d.DecodeFull([]byte{indexed | byte(i)})
		if err != nil || f[0].Name != staticTable[i].name || f[0].Value != staticTable[i].value {
			t.Errorf("%d: %v %v", i, f, err)
		}
	}
	if _, err := d.DecodeFull([]byte{indexed | byte(len(staticTable))}); err == nil {
		t.Error("the table goes on")
	}
}

func TestHeadFrames(t *testing.T) {
	for _, n := range []int{0, 1, 100, 16382, 16383, 16384, 16385, 40000, 49151, 49152} {
		for range 2 {
			r := client(t, nil)
			stream, _ := r.s.Open(1)
			block := AppendField([]byte{0x82}, &proto.Extra{Name: "x", Value: make([]byte, max(0, n-10))})
			for len(block) < n {
				block = append(block, 0x84)
			}
			block = block[:max(n, 1)]
			out := r.s.AppendHead(nil, stream, block, true)
			if len(out) > HeadBound(len(block)) {
				t.Errorf("%d bytes for a block of %d, bound %d", len(out), len(block), HeadBound(len(block)))
			}
			var joined []byte
			for first := true; len(out) > 0; first = false {
				f := parseFrameHeader(out)
				kind, bits := uint8(frameContinuation), uint8(0)
				if first {
					kind, bits = frameHeaders, bitEndStream
				}
				if int(f.length) == len(out)-9 {
					bits |= bitEndHeaders
				} else if f.length != 16384 {
					t.Errorf("a frame of %d bytes is not the last", f.length)
				}
				if f.kind != kind || f.bits != bits || f.id != 1 {
					t.Errorf("block of %d: %+v", n, f)
				}
				joined = append(joined, out[9:9+f.length]...)
				out = out[9+f.length:]
			}
			if joined[0] != tableUpdate || string(joined[1:]) != string(block) {
				t.Errorf("a block of %d is another on the wire", n)
			}
			second, _ := r.s.Open(1)
			if out := r.s.AppendHead(nil, second, []byte{0x82}, true); out[9] != 0x82 {
				t.Error("the table is cleared twice")
			}
		}
	}
}

func TestBlocksAllocateNothing(t *testing.T) {
	h := requestHead(t, "GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: x\r\n\r\n")
	line := RequestLine{Method: []byte("GET"), Scheme: []byte("http"), Authority: []byte("a"), Path: []byte("/")}
	extras := []proto.Extra{{Name: "X-Unknown", Value: []byte("1")}, proto.NewExtra(proto.TokenXForwardedProto, []byte("http"))}
	b := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { b = AppendRequestBlock(b[:0], h, &line, 5, extras) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
