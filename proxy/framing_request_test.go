package proxy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"zproxy/loop"
)

// A request by HTTP/2 without content tells an origin of HTTP/1 so where its
// method is about content, and nowhere else (RFC 9110 8.6).
func TestRequestsWithoutContent(t *testing.T) {
	besides(t, func(t *testing.T, io_ loop.IO) {
		heads := make(chan string, 1)
		origin := startOrigin(t, func(_ int, c net.Conn) {
			for {
				head, err := readHead(c)
				if err != nil {
					return
				}
				heads <- head
				io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
			}
		})
		r := start(t, io_, 1, strings.Replace(yaml(origin, ""), "8080\"", "8080\", protocols: [http1, h2c]", 1), nil)
		wire := dialWire(t, r.addr)
		for method, want := range map[string]string{
			"POST": "0", "PUT": "0", "PATCH": "0", "QUERY": "0", "GET": "", "HEAD": "", "DELETE": "", "OPTIONS": "", "PURGE": "", "query": "",
		} {
			for _, length := range []string{"", "0"} {
				pairs := []string{":method", method, ":scheme", "http", ":path", "/", ":authority", "h"}
				if length != "" {
					pairs = append(pairs, "content-length", length)
				}
				wire.mu.Lock()
				s := wire.open(wire.opened + 1 + wire.opened&1)
				s.headers(true, pairs...)
				wire.mu.Unlock()
				if got := s.status(t); got != "204" {
					t.Fatalf("%s: %s", method, got)
				}
				checkLength(t, fmt.Sprintf("%s with %q", method, length), <-heads, max(want, length))
			}
		}
	})
}

func checkLength(t *testing.T, name, head, want string) {
	t.Helper()
	_, rest, found := strings.Cut(head, "\r\nContent-Length: ")
	got, _, _ := strings.Cut(rest, "\r\n")
	if found != (want != "") || got != want || strings.Contains(head, http.CanonicalHeaderKey("transfer-encoding")) {
		t.Errorf("%s: %q, want a length of %q", name, head, want)
	}
}
