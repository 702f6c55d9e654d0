package proxy

import (
	"io"
	"net"
	"strings"
	"testing"

	"zproxy/loop"
)

const changedHeads = `
filters:
  - response_headers: {set: {X-Frame-Options: DENY, X-ID: "{request_id}"}, remove: [Server], rename: {X-Old: X-New}}
  - ip: {deny: [192.0.2.0/24]}
forwarding: {trusted_proxies: [127.0.0.1]}
routes:
  - path: "/u/:id"
    upstream: app
    filters:
      - request_headers: {set: {X-User: "{path.id} {header.x-who}", X-Forwarded-Proto: "https"}, remove: [Cookie], rename: {X-Was: X-Is}, add: {X-More: a}}
  - {path: "/own", respond: {status: 200, body: yes}}`

// Heads are changed both ways, whatever a client calls its fields, those of the proxy's own responses as well.
func TestFiltersChangeHeads(t *testing.T) {
	besides(t, func(t *testing.T, lio loop.IO) {
		addr, heard := headsOrigin(t, 0)
		r := start(t, lio, 1, yaml(addr, changedHeads), nil)
		c := r.dial()
		got := talk(t, c, get("/u/4%202", "x-user: root", "X_User: root", "X-USER: root", "X-Who: a", "x-who: b", "Cookie: c", "X-Was: d", "x_is: root", "X-More: b", "Connection: X-User, X-More"), "200")
		for _, want := range []string{"X-Frame-Options: DENY\r\n", "X-ID: "} {
			if strings.Count(got, want) != 1 {
				t.Errorf("the client was not sent one %q:\n%s", want, got)
			}
		}
		head := <-heard
		for _, want := range []string{"X-User: 4%202 a, b\r\n", "X-Forwarded-Proto: https\r\n", "X-Is: d\r\n", "X-More: a\r\n"} {
			if strings.Count(head, want) != 1 {
				t.Errorf("the origin was not sent one %q:\n%s", want, head)
			}
		}
		for _, not := range []string{"root", "ookie", "X-Was", "More: b", "Proto: http\r"} {
			if strings.Contains(head, not) {
				t.Errorf("the origin was sent %q:\n%s", not, head)
			}
		}
		own := talk(t, c, get("/own")+get("/u/1", "X-Forwarded-For: 192.0.2.1"), "200", "403")
		if strings.Count(own, "X-Frame-Options: DENY\r\n") != 2 || strings.Count(own, "X-ID: ") != 2 {
			t.Errorf("responses of the proxy's own are not changed:\n%s", own)
		}
	})
}

// What an origin sends in the place of what a filter sets does not come to the client.
func TestFiltersChangeResponses(t *testing.T) {
	besides(t, func(t *testing.T, lio loop.IO) {
		origin := answeringOrigin(t, "HTTP/1.1 200 OK\r\nServer: a\r\nx_frame_options: b\r\nX-OLD: c\r\nX-New: d\r\nVary: e\r\nContent-Length: 2\r\n\r\nok")
		r := start(t, lio, 1, yaml(origin, changedHeads), nil)
		got := talk(t, r.dial(), get("/u/1"), "200")
		for _, want := range []string{"X-Frame-Options: DENY\r\n", "X-New: c\r\n", "Vary: e\r\n", "\r\n\r\nok"} {
			if strings.Count(got, want) != 1 {
				t.Errorf("the client was not sent one %q:\n%s", want, got)
			}
		}
		for _, not := range []string{"Server", "x_frame", "X-OLD", "X-New: d"} {
			if strings.Contains(got, not) {
				t.Errorf("the client was sent %q:\n%s", not, got)
			}
		}
	})
}

// A field that a filter sets, or removes, does not come as a trailer either.
func TestFiltersChangeTrailers(t *testing.T) {
	besides(t, func(t *testing.T, lio loop.IO) {
		heard := make(chan string, 1)
		addr := startOrigin(t, func(_ int, c net.Conn) {
			head, err := readHead(c)
			if err != nil {
				return
			}
			for !strings.Contains(head, "0\r\n") || !strings.HasSuffix(head, "\r\n\r\n") {
				b := make([]byte, 4096)
				n, err := c.Read(b)
				if err != nil {
					return
				}
				head += string(b[:n])
			}
			heard <- head
			io.WriteString(c, shortAnswer)
		})
		r := start(t, lio, 1, yaml(addr, changedHeads), nil)
		c := r.dial()
		io.WriteString(c, "POST /u/1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
		talk(t, c, "2\r\nhi\r\n0\r\nX-Sum: kept\r\nx_user: root\r\nCookie: root\r\n\r\n", "200")
		got := <-heard
		if !strings.Contains(got, "X-Sum: kept\r\n") || strings.Contains(got, "root") || !strings.Contains(got, "hi\r\n") {
			t.Errorf("the origin was sent\n%s", got)
		}
	})
}
