package http1

import (
	"testing"

	"zproxy/proto"
)

var testLimits = Limits{HeadBytes: 64 << 10, Fields: 128, LineBytes: 8 << 10}

const (
	wrkHead  = "GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"
	curlHead = "GET /index.html HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n"
	// A page load by a current browser.
	browserHead = "GET /products/shoes?size=42&color=blue HTTP/1.1\r\nHost: shop.example.com\r\n" +
		"Connection: keep-alive\r\nCache-Control: max-age=0\r\n" +
		"sec-ch-ua: \"Chromium\";v=\"128\", \"Not;A=Brand\";v=\"24\"\r\nsec-ch-ua-mobile: ?0\r\n" +
		"sec-ch-ua-platform: \"Linux\"\r\nUpgrade-Insecure-Requests: 1\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari/537.36\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n" +
		"Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\nSec-Fetch-Dest: document\r\n" +
		"Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9\r\n" +
		"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\r\n"
	nginxHead = "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 22 Nov 2025 21:30:00 GMT\r\n" +
		"Content-Type: application/octet-stream\r\nContent-Length: 128\r\n" +
		"Last-Modified: Sat, 22 Nov 2025 21:00:00 GMT\r\nConnection: keep-alive\r\nETag: \"69222222-80\"\r\nAccept-Ranges: bytes\r\n\r\n"
)

func BenchmarkParseRequest(b *testing.B) {
	for _, c := range []struct{ name, head string }{{"wrk", wrkHead}, {"curl", curlHead}, {"browser", browserHead}} {
		b.Run(c.name, func(b *testing.B) {
			in := []byte(c.head)
			h := proto.Head{Fields: make([]proto.Field, 0, 32)}
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				if n, _, f := ParseRequest(in, Cursor{}, &testLimits, &h); n != len(in) {
					b.Fatal(f)
				}
			}
		})
	}
}

func BenchmarkParseResponse(b *testing.B) {
	in := []byte(nginxHead)
	h := proto.Head{Fields: make([]proto.Field, 0, 32)}
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if n, _, f := ParseResponse(in, Cursor{}, proto.GET, &testLimits, &h); n != len(in) {
			b.Fatal(f)
		}
	}
}

// What a forwarded request costs here: parse, mark, write.
func BenchmarkForwardRequest(b *testing.B) {
	for _, c := range []struct{ name, head string }{{"wrk", wrkHead}, {"curl", curlHead}, {"browser", browserHead}} {
		b.Run(c.name, func(b *testing.B) {
			in := []byte(c.head)
			h := proto.Head{Fields: make([]proto.Field, 0, 32)}
			extras := []proto.Extra{{Name: "X-Forwarded-For", Value: []byte("192.0.2.1")}, {Name: "X-Forwarded-Proto", Value: []byte("http")}}
			out := make([]byte, 0, 4096)
			b.ReportAllocs()
			for b.Loop() {
				ParseRequest(in, Cursor{}, &testLimits, &h)
				MarkHopByHop(&h)
				out = AppendRequestHead(out[:0], &h, h.Bytes(h.Target), h.Bytes(h.Host), h.Body, h.Length, extras)
			}
		})
	}
}

func BenchmarkBodySmallChunks(b *testing.B) {
	var in []byte
	for range 64 {
		in = append(AppendChunkHeader(in, 100), make([]byte, 100)...)
		in = append(in, ChunkEnd...)
	}
	in = append(in, LastChunk...)
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		var d Body
		d.Start(proto.BodyChunked, -1)
		for rest := in; ; {
			piece, skip, n, _ := d.Next(rest)
			rest = rest[skip+n:]
			if piece != PieceData {
				break
			}
		}
	}
}

// A head fed byte by byte costs a bounded number of passes, not one per byte.
func BenchmarkTrickle16K(b *testing.B) {
	in := []byte("GET / HTTP/1.1\r\nHost: a\r\nX: ")
	for len(in) < 16<<10 {
		in = append(in, 'x')
	}
	in = append(in, "\r\n\r\n"...)
	h := proto.Head{Fields: make([]proto.Field, 0, 32)}
	for b.Loop() {
		var scanned Cursor
		for i := range in {
			_, scanned, _ = ParseRequest(in[:i+1], scanned, &testLimits, &h)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(in)), "ns/call")
}
