package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"sort"
	"strings"
	"testing"
)

// startEchoingX runs an origin that tells which of the fields whose names begin with X- it gets.
func startEchoingX(t *testing.T) (addr string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		var told []string
		for name, values := range r.Header {
			if strings.HasPrefix(name, "X") && !strings.HasPrefix(name, "X-Forwarded") {
				told = append(told, fmt.Sprint(name, values))
			}
		}
		sort.Strings(told)
		w.Header().Set("X-Secret", "origin")
		fmt.Fprint(w, strings.Join(told, " "))
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// Filters refuse and change what they should, over every version and in clear and TLS, whatever a client does about it.
func TestFilters(t *testing.T) {
	need(t, "curl")
	besides(t, func(t *testing.T, backend string) {
		pair := newAuthority(t, "ca", nil).issue(t, "ecdsa", nil, "a.example")
		secure := freeAddr(t)
		z := start(t, backend, fmt.Sprintf(`
listeners:
  - {address: LISTEN, protocols: [http1, h2c]}
  - {address: %q, protocols: [http1, h2], tls: {certificates: [{cert: %q, key: %q}]}}
upstreams: {app: {endpoints: [{address: %q}]}}
forwarding: {trusted_proxies: [127.0.0.1]}
filters:
  - response_headers: {set: {X-Frame-Options: DENY, X-ID: "{request_id}"}, remove: [X-Secret]}
hosts:
  - {host: closed.example, filters: [{ip: {allow: [10.0.0.0/8]}}]}
routes:
  - {path: "/*", upstream: app, filters: [{request_headers: {set: {X-User: "{cookie.user}", X-How: "{method}/{scheme}/{tls_version}/{client_ip}"}}}]}
  - {path: "/private/*", upstream: app, filters: [{ip: {deny: [127.0.0.0/8]}}]}
  - {path: "/*", host: closed.example, upstream: app}
`, secure, pair.cert, pair.key, startEchoingX(t)))
		for _, version := range []string{"--http1.1", "--http2-prior-knowledge", "--http1.0"} {
			for _, c := range []struct {
				args   []string
				status string
				body   string
			}{
				{[]string{"-H", "Cookie: user=joe", z.url("/")}, "200", "X-How[GET/http//127.0.0.1] X-User[joe]"},
				{[]string{"-H", "X-User: root", z.url("/")}, "200", "X-How[GET/http//127.0.0.1]"},
				{[]string{"-H", "x_user: root", "-H", "X_USER: root", "-H", "Cookie: user=joe", z.url("/")}, "200", "X-How[GET/http//127.0.0.1] X-User[joe]"},
				{[]string{"-H", "Connection: x-user, x-how", z.url("/")}, "200", "X-How[GET/http//127.0.0.1]"},
				{[]string{"-H", "X-Forwarded-For: 10.1.2.3", "-d", "a", z.url("/")}, "200", "X-How[POST/http//10.1.2.3]"},
				{[]string{z.url("/private/a")}, "403", "403 Forbidden"},
				{[]string{"--path-as-is", z.url("/x/../private/a")}, "403", "403 Forbidden"},
				{[]string{"--path-as-is", z.url("/%70rivate//a")}, "403", "403 Forbidden"},
				{[]string{"-H", "X-Forwarded-For: 10.1.2.3", z.url("/private/a")}, "200", ""},
				{[]string{"-H", "Host: CLOSED.example:80", z.url("/")}, "403", "403 Forbidden"},
				{[]string{"-H", "Host: closed.example", "-H", "X-Forwarded-For: 10.1.2.3", z.url("/")}, "200", ""},
			} {
				if version == "--http2-prior-knowledge" && slices.Contains(c.args, "Connection: x-user, x-how") {
					continue // there is no such field
				}
				out, err := exec.Command("curl", append([]string{"-s", "-i", version, "--max-time", "20"}, c.args...)...).CombinedOutput()
				head, body, _ := strings.Cut(string(out), "\r\n\r\n")
				if err != nil || !strings.Contains(strings.SplitN(head, "\r\n", 2)[0], " "+c.status) || strings.TrimSpace(body) != c.body {
					t.Errorf("%s %q: %v\n%s\nwant %s %q", version, c.args, err, out, c.status, c.body)
				}
				if head = strings.ToLower(head) + "\r\n"; strings.Count(head, "x-frame-options: deny\r\n") != 1 || strings.Count(head, "x-id: ") != 1 || strings.Contains(head, "x-secret") {
					t.Errorf("%s %q: the response has\n%s", version, c.args, head)
				}
			}
		}
		for _, h2 := range []bool{false, true} {
			client := (&zproxy{addr: secure}).secureClient(t, h2, &tls.Config{InsecureSkipVerify: true})
			res, err := client.Get("https://a.example/")
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(res.Body)
			res.Body.Close()
			if string(body) != "X-How[GET/https/TLSv1.3/127.0.0.1]" || res.Header.Get("X-Frame-Options") != "DENY" {
				t.Errorf("HTTP/2 %v: %s\n%v", h2, body, res.Header)
			}
		}
		m := z.metrics(t)
		if n := m.sum("zproxy_filter_requests_total", `filter="ip"`, `verdict="rejected"`); n != 3*3+3 {
			t.Errorf("%v refusals are counted", n)
		}
	})
}
