package http2

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"

	"zproxy/proto"
)

// browserFields are what a browser sends with every request.
var browserFields = []string{":method", "GET", ":authority", "www.example.com", ":scheme", "https", ":path", "/assets/app.js",
	"user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0", "accept", "*/*",
	"accept-language", "en-US,en;q=0.5", "accept-encoding", "gzip, deflate, br, zstd", "cookie", "session=0123456789abcdef",
	"referer", "https://www.example.com/"}

// answered begins benchmarks and measurements: requests of the same fields,
// of which the first fills the table.
type answered struct {
	*rig
	frames []byte // HEADERS with all fields indexed
	block  []byte // of the response
	out    []byte
}

func newAnswered(t testing.TB, fields ...string) *answered {
	a := &answered{rig: server(t, nil)}
	a.s.cfg.ScoreLimit = 1 << 30
	a.headers(1, true, fields...)
	a.feed()
	a.respond(1, 200, true)
	a.headers(0, true, fields...)
	a.frames = bytes.Clone(a.in.Bytes())
	a.in.Reset()
	h := responseHead(t, "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Tue, 25 Nov 2025 12:00:00 GMT\r\nContent-Type: text/html\r\nETag: \"abc\"\r\n\r\n")
	a.block = AppendResponseBlock(nil, h, 128, nil)
	return a
}

// exchange is a request in and its answer out, with a body of 128 bytes.
func (a *answered) exchange(id uint32) {
	append32(a.frames[:5], id)
	var ev Event
	used := a.s.Next(a.frames, a.now, &ev)
	if ev.Kind != EventHead || used != len(a.frames) {
		a.t.Fatalf("%+v", ev)
	}
	a.out = a.s.AppendHead(a.out[:0], ev.Stream, a.block, false)
	a.out = a.s.AppendDataHeader(a.out, ev.Stream, 128, true)
	a.s.sendWindow += 128
}

func TestExchangeAllocatesNothing(t *testing.T) {
	a := newAnswered(t, browserFields...)
	id := uint32(3)
	if n := testing.AllocsPerRun(1000, func() {
		a.exchange(id)
		id += 2
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	a.empty()
}

func BenchmarkExchangeSmallGet(b *testing.B) {
	a := newAnswered(b, getFields...)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		a.exchange(uint32(2*i + 3))
	}
}

func BenchmarkExchangeBrowser(b *testing.B) {
	a := newAnswered(b, browserFields...)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		a.exchange(uint32(2*i + 3))
	}
}

// BenchmarkExchangeLiterals is a client that indexes nothing, as this proxy.
func BenchmarkExchangeLiterals(b *testing.B) {
	a := newAnswered(b, getFields...)
	h := requestHead(b, "GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\nX-Forwarded-For: 192.0.2.1\r\nVia: 1.1 zproxy\r\n\r\n")
	block := AppendRequestBlock(nil, h, line("GET", "http", "a.example", "/", ""), -1, nil)
	a.frames = append(appendFrameHeader(nil, len(block), frameHeaders, bitEndStream|bitEndHeaders, 1), block...)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		a.exchange(uint32(2*i + 3))
	}
}

func BenchmarkResponseIn(b *testing.B) {
	r := client(b, nil)
	fields := []string{":status", "200", "server", "nginx", "content-type", "text/html", "content-length", "128", "etag", "\"abc\""}
	r.request(1, "GET", true)
	r.headers(1, true, fields...)
	r.feed()
	r.headers(1, false, fields...) // the table has them now
	second := r.in.Len()
	r.fr.WriteData(1, true, make([]byte, 128))
	frames := bytes.Clone(r.in.Bytes())
	block := AppendRequestBlock(nil, new(proto.Head), line("GET", "http", "a.example", "/", ""), -1, nil)
	b.ReportAllocs()
	for b.Loop() {
		stream, _ := r.s.Open(1)
		r.out = r.s.AppendHead(r.out[:0], stream, block, true)
		id := r.streams.At(stream).ID
		append32(frames[:5], id)
		append32(frames[:second+5], id)
		var ev Event
		used := r.s.Next(frames, r.now, &ev)
		if ev.Kind != EventHead {
			b.Fatalf("%+v", ev)
		}
		r.s.Next(frames[used:], r.now, &ev)
		if ev.Kind != EventData || !ev.Freed {
			b.Fatalf("%+v", ev)
		}
		r.s.Consumed(0, ev.N)
		r.s.Flushed()
	}
}

func BenchmarkRequestBlock(b *testing.B) {
	h := requestHead(b, "GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\nX-Custom-Thing: 1\r\n\r\n")
	l := line("GET", "http", "a.example", "/", "")
	extras := []proto.Extra{{Name: "X-Forwarded-For", Value: []byte("192.0.2.1")}, {Name: "Via", Value: []byte("1.1 zproxy")}}
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendRequestBlock(dst[:0], h, l, -1, extras)
	}
}

// BenchmarkDecoders has both decoders read what browsers send once the table has it,
// the same with paths of their own, and 4000 fields of which nobody wants the most.
func BenchmarkDecoders(b *testing.B) {
	var blk bytes.Buffer
	enc := hpack.NewEncoder(&blk)
	browser := func(path string, sensitive bool) []byte {
		blk.Reset()
		for i := 0; i < len(browserFields); i += 2 {
			f := hpack.HeaderField{Name: browserFields[i], Value: browserFields[i+1]}
			if f.Name == ":path" {
				f.Value, f.Sensitive = path, sensitive
			}
			enc.WriteField(f)
		}
		return bytes.Clone(blk.Bytes())
	}
	first := browser("/", false)
	var paths [][]byte
	for i := range 100 {
		paths = append(paths, browser(fmt.Sprint("/item/", i), true))
	}
	cfg := DefaultConfig()
	for _, c := range []struct {
		name   string
		blocks [][]byte
	}{
		{"same", [][]byte{browser("/", false)}},
		{"paths", paths},
		{"bomb", [][]byte{[]byte(strings.Repeat("\x8f", 4000))}},
	} {
		b.Run(c.name+"/own", func(b *testing.B) {
			d, x := decoder{max: defaultTable}, section{}
			x.begin(sectionRequest, &cfg)
			d.decode(first, &x)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				x.begin(sectionRequest, &cfg)
				if d.decode(c.blocks[i%len(c.blocks)], &x) != nil {
					b.Fatal("refused")
				}
			}
		})
		b.Run(c.name+"/library", func(b *testing.B) {
			x := section{}
			var d *hpack.Decoder
			d = hpack.NewDecoder(defaultTable, func(f hpack.HeaderField) {
				x.field([]byte(f.Name), []byte(f.Value), 0)
				d.SetEmitEnabled(x.wants)
			})
			x.begin(sectionRequest, &cfg)
			d.Write(first)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				x.begin(sectionRequest, &cfg)
				d.SetEmitEnabled(true)
				if _, err := d.Write(c.blocks[i%len(c.blocks)]); err != nil || d.Close() != nil {
					b.Fatal("refused")
				}
			}
		})
	}
}

func BenchmarkData16K(b *testing.B) {
	r := server(b, nil)
	r.post(1)
	r.feed()
	frame := append(appendFrameHeader(nil, 16384, frameData, 0, 1), make([]byte, 16384)...)
	stream := r.s.Find(1)
	b.SetBytes(16384)
	b.ReportAllocs()
	for b.Loop() {
		var ev Event
		r.s.Next(frame, r.now, &ev)
		r.s.Consumed(stream, ev.N)
		if len(r.s.Output()) > 400 {
			r.s.Flushed()
		}
	}
}

func BenchmarkSchedule(b *testing.B) {
	r := server(b, nil)
	for i := range 100 {
		r.headers(uint32(2*i+1), true, append(getFields[:8:8], "priority", strings.Repeat("i,", 1)+"u=3")...)
	}
	r.feed()
	for i := r.s.First(); i != 0; i = r.s.After(i) {
		r.s.Ready(i, false)
	}
	b.ReportAllocs()
	for b.Loop() {
		i, _ := r.s.NextReady()
		r.s.Unready(i)
		r.s.Ready(i, false)
	}
}
