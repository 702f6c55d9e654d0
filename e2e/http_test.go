package e2e

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// curl as a client: versions, HEAD, ranges of what nginx can do.
func TestCurl(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		path, sum := bodyFile(t, mib, "1MiB")
		z := bodyProxy(t, backend, startNginx(t, bodyDir).addr)

		head, body := curlHead(t, "--http1.0", z.url("/hello"))
		if !strings.HasPrefix(head, "HTTP/1.1 200") || body != "hello\n" || !strings.Contains(strings.ToLower(head), "connection: close") {
			t.Errorf("HTTP/1.0: %q %q", head, body)
		}
		head, body = curlHead(t, "--http1.0", "-H", "Connection: keep-alive", z.url("/hello"))
		if !strings.Contains(strings.ToLower(head), "connection: keep-alive") || body != "hello\n" {
			t.Errorf("HTTP/1.0 with keep-alive: %q %q", head, body)
		}
		head, _ = curlHead(t, "--head", z.url(path))
		if !strings.HasPrefix(head, "HTTP/1.1 200") || !strings.Contains(head, "Content-Length: 1048576\r\n") {
			t.Errorf("HEAD: %q", head)
		}
		if code := curl(t, "-o", "/dev/null", "-w", "%{http_code}", "--time-cond", filepath.Join(bodyDir, path), z.url(path)); code != "304" {
			t.Errorf("status %s, want 304", code)
		}
		if code := curl(t, "-o", "/dev/null", "-w", "%{http_code}", "-X", "OPTIONS", "--request-target", "*", z.url("/")); code == "000" || code == "502" {
			t.Errorf("OPTIONS *: status %s", code)
		}
		// As a forward proxy sees it: the absolute form.
		if body := curl(t, "--proxy", "http://"+z.addr, "http://example.com/hello"); body != "hello\n" {
			t.Errorf("absolute form: %q", body)
		}
		// One connection for three URLs.
		got := curl(t, "-w", "%{num_connects} ", z.url("/hello"), z.url("/hello"), z.url("/hello"))
		if got != "hello\n1 hello\n0 hello\n0 " {
			t.Errorf("three on one connection: %q", got)
		}
		to := filepath.Join(t.TempDir(), "parallel")
		curl(t, "--parallel", "--fail", "-o", to+"#1", z.url(path+"?[1-8]"))
		for i := 1; i <= 8; i++ {
			sameFile(t, fmt.Sprintf("%s%d", to, i), sum)
		}
	})
}

// Expect: 100-continue is the origin's to answer: with 100, or at once with
// what makes the upload pointless.
func TestExpectContinue(t *testing.T) {
	const size = mib
	besides(t, func(t *testing.T, backend string) {
		path, sum := bodyFile(t, size, "1MiB")
		o := startOrigin(t, func(c *originConn) {
			for r := c.request(); r != nil; r = c.request() {
				if r.URL.Path == "/refused" {
					c.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno\n")
					return
				}
				if r.Header.Get("Expect") == "100-continue" {
					c.write("HTTP/1.1 100 Continue\r\n\r\n")
				}
				n, got, err := sumUp(r.Body)
				if err != nil {
					return
				}
				c.write(ok(uploaded(n, got, "length", "")))
			}
		})
		z := bodyProxy(t, backend, o.addr)
		file := filepath.Join(bodyDir, path)
		// 100 seconds of patience: whoever does not forward the 100 is seen.
		args := []string{"--expect100-timeout", "100", "-H", "Expect: 100-continue", "-T", file}
		if got := curl(t, append(args, z.url("/taken"))...); got != uploaded(size, sum, "length", "") {
			t.Errorf("the origin received %s, want SHA-256 %s", got, sum)
		}
		head, body := curlHead(t, append(args, z.url("/refused"))...)
		if !strings.HasPrefix(head, "HTTP/1.1 403") || strings.Contains(head, "100 Continue") || body != "no\n" {
			t.Errorf("refused: %q %q", head, body)
		}
	})
}

// An origin that answers in the middle of an upload: the client gets the
// answer, and the rest of its upload is nobody's next request.
func TestEarlyAnswer(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		o := startOrigin(t, func(c *originConn) {
			if c.request() != nil {
				io.CopyN(io.Discard, c.br, 1700) // all there is: what is not read would reset the answer
				c.write("HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbig\n")
			}
		})
		z := bodyProxy(t, backend, o.addr)
		for range 5 {
			c := dial(t, z.addr)
			c.write("POST / HTTP/1.1\r\nHost: e2e\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("GET /x HTTP/1.1\r\n", 100))
			res, body := c.response("POST")
			if res.StatusCode != 413 || body != "big\n" || !res.Close {
				t.Errorf("%s %q, close %v; want 413 and the end", res.Status, body, res.Close)
			}
			c.Close()
		}
	})
}

// 103 passes, in front of the answer it belongs to; HTTP/1.0 clients get none.
func TestInterimResponses(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		o := startOrigin(t, answering(func(c *originConn, r *http.Request) {
			c.write("HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n" + ok("done"))
		}))
		z := bodyProxy(t, backend, o.addr)
		c := dial(t, z.addr)
		c.write("GET / HTTP/1.1\r\nHost: e2e\r\n\r\n")
		res := c.head("GET")
		if res.StatusCode != 103 || res.Header.Get("Link") == "" {
			t.Errorf("%s %v, want 103 with Link", res.Status, res.Header)
		}
		if res, body := c.response("GET"); res.StatusCode != 200 || body != "done" {
			t.Errorf("%s %q", res.Status, body)
		}
		c.Close()
		c = dial(t, z.addr)
		c.write("GET / HTTP/1.0\r\n\r\n")
		if res, body := c.response("GET"); res.StatusCode != 200 || body != "done" {
			t.Errorf("HTTP/1.0: %s %q", res.Status, body)
		}
		c.Close()
	})
}

// Requests written in one go are answered in their order, those with bodies
// and those the proxy answers itself among them.
func TestPipelining(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		o := startOrigin(t, answering(func(c *originConn, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			if r.URL.Path == "/3" {
				time.Sleep(50 * time.Millisecond) // order must not depend on haste
			}
			c.write(ok(r.Method + " " + r.URL.Path + " " + string(b)))
		}))
		z := start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN}]
upstreams: {app: {endpoints: [{address: %q}]}}
routes:
  - {path: "/*", upstream: app}
  - {path: "/own", respond: {body: "own"}}
`, o.addr))
		var requests strings.Builder
		var want []string
		for i := range 200 {
			switch i % 4 {
			case 0:
				fmt.Fprintf(&requests, "GET /%d HTTP/1.1\r\nHost: e2e\r\n\r\n", i)
				want = append(want, fmt.Sprintf("GET /%d ", i))
			case 1:
				fmt.Fprintf(&requests, "POST /%d HTTP/1.1\r\nHost: e2e\r\nContent-Length: 5\r\n\r\nbody%d", i, i%10)
				want = append(want, fmt.Sprintf("POST /%d body%d", i, i%10))
			case 2:
				fmt.Fprintf(&requests, "GET /own HTTP/1.1\r\nHost: e2e\r\n\r\n")
				want = append(want, "own")
			case 3:
				fmt.Fprintf(&requests, "PUT /%d HTTP/1.1\r\nHost: e2e\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n1\r\nd\r\n0\r\n\r\n", i)
				want = append(want, fmt.Sprintf("PUT /%d abcd", i))
			}
		}
		c := dial(t, z.addr)
		c.write(requests.String())
		for i, w := range want {
			if res, body := c.response("GET"); res.StatusCode != 200 || body != w {
				t.Fatalf("answer %d: %s %q, want %q", i, res.Status, body, w)
			}
		}
		c.Close()
	})
}

// Trailers and fields: what is for the next hop only stays here, what is for
// the end arrives.
func TestFieldsAndTrailers(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		seen := make(chan *http.Request, 1)
		o := startOrigin(t, answering(func(c *originConn, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			seen <- r
			c.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nConnection: X-Hop\r\nX-Hop: secret\r\nX-End: seen\r\n\r\n" +
				"5;ext=1\r\nhello\r\n0\r\nX-Sum: 42\r\nContent-Length: 7\r\n\r\n")
		}))
		z := bodyProxy(t, backend, o.addr)
		c := dial(t, z.addr)
		c.write("POST /a%20b?q=1 HTTP/1.1\r\nHost: shop.example\r\nConnection: X-Private\r\nX-Private: secret\r\nX-Forwarded-For: 192.0.2.1\r\n" +
			"Transfer-Encoding: chunked\r\nTrailer: X-Check\r\nX-End: kept\r\n\r\n3\r\nabc\r\n0\r\nX-Check: 7\r\n\r\n")
		res, body := c.response("POST")
		if body != "hello" || res.Trailer.Get("X-Sum") != "42" || res.Trailer.Get("Content-Length") != "" {
			t.Errorf("body %q, trailers %v", body, res.Trailer)
		}
		if res.Header.Get("X-Hop") != "" || res.Header.Get("X-End") != "seen" {
			t.Errorf("fields of the response: %v", res.Header)
		}
		r := <-seen
		for name, want := range map[string]string{
			"X-Private": "", "X-End": "kept", "X-Forwarded-For": "127.0.0.1",
			"X-Forwarded-Proto": "http", "X-Forwarded-Host": "shop.example",
		} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("the origin got %s: %q, want %q", name, got, want)
			}
		}
		if r.Host != "shop.example" || r.RequestURI != "/a%20b?q=1" || r.Trailer.Get("X-Check") != "7" {
			t.Errorf("the origin got host %q, target %q, trailers %v", r.Host, r.RequestURI, r.Trailer)
		}
		c.Close()
	})
}
