package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"zproxy/loop"
)

// TestLongBodiesAreGathered: bodies of a length that is known, and long, are
// received in large pieces, whichever way they go.
func TestLongBodiesAreGathered(t *testing.T) {
	const long = 3 << 20
	body := strings.Repeat("x", long)
	besides(t, func(t *testing.T, io_ loop.IO) {
		origin := startOrigin(t, func(n int, c net.Conn) {
			for {
				head, err := readHead(c)
				if err != nil {
					return
				}
				if strings.HasPrefix(head, "POST") {
					readN(c, long)
				}
				switch {
				case strings.HasPrefix(head, "GET /long"):
					io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 3145728\r\n\r\n"+body)
				case strings.HasPrefix(head, "GET /chunked"):
					io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n300000\r\n"+body+"\r\n0\r\n\r\n")
				default:
					io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				}
			}
		})
		r := start(t, io_, 1, yaml(origin, ""), nil)
		want := uint64(0)
		for _, x := range []struct {
			request string
			answer  int // bytes of its body
			gathers uint64
		}{
			{"GET / HTTP/1.1\r\nHost: h\r\n\r\n", 2, 0},
			{"GET /long HTTP/1.1\r\nHost: h\r\n\r\n", long, 1},
			{"GET /chunked HTTP/1.1\r\nHost: h\r\n\r\n", long, 0},
			{"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3145728\r\n\r\n" + body, 2, 1},
			{"GET / HTTP/1.1\r\nHost: h\r\n\r\n", 2, 0},
		} {
			c := r.dial()
			go io.WriteString(c, x.request)
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatalf("%.20q: %v", x.request, err)
			}
			if n, err := io.Copy(io.Discard, res.Body); n != int64(x.answer) || err != nil || res.StatusCode != 200 {
				t.Fatalf("%.20q: %s, %d bytes, %v", x.request, res.Status, n, err)
			}
			c.Close()
			if want += x.gathers; r.reports()[0].Loop.Gathers != want {
				t.Errorf("behind %.20q %d bodies were gathered, want %d", x.request, r.reports()[0].Loop.Gathers, want)
			}
		}
	})
}
