package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// timed is one GET with how long it took.
func timed(t *testing.T, addr, path string) (status int, took time.Duration) {
	t.Helper()
	c := dial(t, addr)
	defer c.Close()
	begin := time.Now()
	c.write("GET " + path + " HTTP/1.1\r\nHost: e2e\r\n\r\n")
	res, _ := c.response("GET")
	return res.StatusCode, time.Since(begin)
}

// quick is what an answer of the proxy's own may take here: far below every
// timeout involved.
const quick = 1500 * time.Millisecond

// Nobody listens where the origin should be: 502 at once where there is no
// queue to wait in, and after the queue timeout at the latest.
func TestDeadOrigin(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		for _, queue := range []string{"queue: 0", "queue_timeout: 300ms"} {
			z := start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN}]
upstreams: {app: {endpoints: [{address: %q}], pool: {%s}}}
routes: [{path: "/*", upstream: app}]
`, freeAddr(t), queue))
			for i := range 5 {
				status, took := timed(t, z.addr, "/")
				if status != 502 || took > quick {
					t.Errorf("%s, request %d: status %d after %v, want 502", queue, i, status, took)
				}
			}
		}
	})
}

// An endpoint that cannot be connected to does not keep the proxy from
// starting: the log says so before a request has met it, and when it is back.
func TestPrewarm(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		o := startOrigin(t, slowAnswer(t, atOnce))
		dead := freeAddr(t)
		z := start(t, backend, fmt.Sprintf(`
loops: 1
listeners: [{address: LISTEN}]
upstreams:
  live: {endpoints: [{address: %q}], pool: {prewarm: 3}}
  dead: {endpoints: [{address: %q}], pool: {prewarm: 3}}
routes:
  - {path: "/*", upstream: live}
  - {path: "/dead", upstream: dead}
`, o.addr, dead))
		eventually(t, patience, "connections are there before the first request", func() (bool, string) {
			now, _ := o.open()
			idle := 0 // what the proxy knows to be there
			for _, l := range z.status(t).Loops {
				for _, p := range l.Pools {
					idle += p.Idle
				}
			}
			return now == 3 && idle == 3, fmt.Sprintf("%d open, %d idle", now, idle)
		})
		eventually(t, patience, "the log says what fails", func() (bool, string) {
			return z.says("subject=upstream", "endpoint is down", "upstream=dead", "endpoint="+dead, "connecting failed"), z.out.String()
		})
		eventually(t, patience, "metrics have it", func() (bool, string) {
			m := z.metrics(t)
			up, failures := m.sum("zproxy_endpoint_up", dead), m.sum("zproxy_endpoint_failures_total", dead)
			return up == 0 && failures > 0, fmt.Sprintf("endpoint_up %v, endpoint_failures_total %v", up, failures)
		})
		c := dial(t, z.addr)
		c.get("/")
		c.Close()
		if _, total := o.open(); total != 3 {
			t.Errorf("%d connections, want the 3 that were there", total)
		}
		l, err := net.Listen("tcp", dead)
		if err != nil {
			t.Skipf("%s has been taken by somebody else meanwhile: %v", dead, err)
		}
		defer l.Close()
		eventually(t, patience, "the log says that it is back", func() (bool, string) {
			return z.says("subject=upstream", "endpoint is back", "upstream=dead", "endpoint="+dead), z.out.String()
		})
	})
}

// An origin that accepts and says nothing: 504 after the response timeout, not
// before and not long after.
func TestSilentOrigin(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		silent := startOrigin(t, func(c *originConn) { io.Copy(io.Discard, c.Conn) })
		z := start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN}]
upstreams: {app: {endpoints: [{address: %q}], timeouts: {response: 400ms}}}
routes: [{path: "/*", upstream: app}]
`, silent.addr))
		for range 2 {
			status, took := timed(t, z.addr, "/")
			if status != 504 || took < 390*time.Millisecond || took > quick {
				t.Errorf("status %d after %v, want 504 after 400ms", status, took)
			}
		}
		z.counts(t, 2, "zproxy_upstream_timeouts_total")
		eventually(t, patience, "the connections to it are given up", func() (bool, string) {
			now, total := silent.open()
			return now == 0 && total == 2, fmt.Sprintf("%d of %d open", now, total)
		})
	})
}

// What an origin says that is no response, or only a part of one, never looks
// whole to the client.
func TestBrokenResponses(t *testing.T) {
	cases := []struct {
		name, response string
		status         int  // of the proxy's own answer, or of the origin's that is cut
		cut            bool // the client must see that the body is not all there
	}{
		{"garbage", "SSH-2.0-OpenSSH_9.2\r\n", 502, false},
		{"nothing", "", 502, false},
		{"half a head", "HTTP/1.1 200 OK\r\nContent-Le", 502, false},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 502, false},
		{"length and chunked", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 502, false},
		{"cut body", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc", 200, true},
		{"cut long body", "HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + strings.Repeat("x", 700_000), 200, true},
		{"cut chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n", 200, true},
		{"bad chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcdeXX\r\n0\r\n\r\n", 200, true},
	}
	besides(t, func(t *testing.T, backend string) {
		broken := startOrigin(t, func(c *originConn) {
			if r := c.request(); r != nil {
				var i int
				fmt.Sscanf(r.URL.Path, "/%d", &i)
				c.write(cases[i].response)
			}
		})
		z := bodyProxy(t, backend, broken.addr)
		for i, k := range cases {
			// To a client of HTTP/1.0 chunks end with the connection: a cut is
			// seen as a reset, which may swallow the head as well.
			for _, version := range []string{"HTTP/1.1", "HTTP/1.0"} {
				c := dial(t, z.addr)
				// POST, so that nothing is asked twice.
				c.write(fmt.Sprintf("POST /%d %s\r\nHost: e2e\r\nContent-Length: 0\r\n\r\n", i, version))
				res, err := readHead(c)
				if err != nil && k.cut && version == "HTTP/1.0" {
					continue
				}
				if err != nil {
					t.Fatalf("%s, %s: %v", k.name, version, err)
				}
				_, err = io.ReadAll(res.Body)
				if res.StatusCode != k.status || (err != nil) != k.cut {
					t.Errorf("%s, %s: %s, body: %v; want %d, cut %v", k.name, version, res.Status, err, k.status, k.cut)
				}
				c.Close()
			}
		}
	})
}

// More bytes than the response had belong to nobody: the connection they came
// on is not used again.
func TestBytesBehindResponse(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		o := startOrigin(t, answering(func(c *originConn, r *http.Request) {
			c.write(ok("right") + "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")
		}))
		z := bodyProxy(t, backend, o.addr)
		c := dial(t, z.addr)
		for range 5 {
			if body := c.get("/"); body != "right" {
				t.Fatalf("body %q", body)
			}
		}
		if _, total := o.open(); total != 5 {
			t.Errorf("%d connections for 5 requests", total)
		}
		c.Close()
	})
}

// Requests that could be understood in two ways are refused, and the origin
// never hears of them.
func TestAmbiguousRequests(t *testing.T) {
	requests := map[string]string{
		"length and chunked":  "POST / HTTP/1.1\r\nHost: e2e\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"two lengths":         "POST / HTTP/1.1\r\nHost: e2e\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
		"chunked twice":       "POST / HTTP/1.1\r\nHost: e2e\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
		"space before colon":  "GET / HTTP/1.1\r\nHost: e2e\r\nContent-Length : 0\r\n\r\n",
		"folded field":        "GET / HTTP/1.1\r\nHost: e2e\r\nX: a\r\n b\r\n\r\n",
		"no host":             "GET / HTTP/1.1\r\n\r\n",
		"two hosts":           "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"bare LF":             "GET / HTTP/1.1\nHost: e2e\n\n",
		"negative length":     "POST / HTTP/1.1\r\nHost: e2e\r\nContent-Length: -1\r\n\r\n",
		"NUL in a field":      "GET / HTTP/1.1\r\nHost: e2e\r\nX: a\x00b\r\n\r\n",
		"bad chunk size":      "POST / HTTP/1.1\r\nHost: e2e\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nabcde\r\n0\r\n\r\n",
		"chunked in HTTP/1.0": "POST / HTTP/1.0\r\nHost: e2e\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	}
	besides(t, func(t *testing.T, backend string) {
		complete := make(chan string, len(requests))
		o := startOrigin(t, func(c *originConn) {
			if r := c.request(); r != nil {
				if _, err := io.ReadAll(r.Body); err == nil {
					complete <- fmt.Sprint(r.Method, r.URL, r.Header)
				}
			}
		})
		z := bodyProxy(t, backend, o.addr)
		for name, request := range requests {
			c := dial(t, z.addr)
			c.write(request + "GET /smuggled HTTP/1.1\r\nHost: e2e\r\n\r\n")
			res, _ := c.response("GET")
			if res.StatusCode != 400 || !res.Close {
				t.Errorf("%s: %s, close %v; want 400 and the end", name, res.Status, res.Close)
			}
			c.ends()
			c.Close()
		}
		select {
		case r := <-complete:
			t.Errorf("the origin was given %s", r)
		default:
		}
	})
}

// What has its limits is answered when they are reached.
func TestLimits(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		config := fmt.Sprintf(`
listeners: [{address: LISTEN}]
upstreams: {app: {endpoints: [{address: %q}]}}
routes:
  - {path: "/up", methods: [PUT], upstream: app}
  - {path: "/fixed", respond: {body: "fixed\n"}}
limits: {header_bytes: 4KiB, headers: 16, body_bytes: 1KiB, `, startHashing(t).addr)
		z := start(t, backend, config+"request_header_timeout: 2m, request_body_timeout: 2m, keepalive_timeout: 2m}\n")
		// What is too slow is sent before the first of it is waited for.
		short := start(t, backend, config+"request_header_timeout: 2s, request_body_timeout: 2s, keepalive_timeout: 2s}\n")
		cases := []struct {
			name, request string
			status        int
		}{
			{"no route", "GET /nowhere HTTP/1.1\r\nHost: e2e\r\n\r\n", 404},
			{"method", "GET /up HTTP/1.1\r\nHost: e2e\r\n\r\n", 405},
			{"head too long", "GET /fixed HTTP/1.1\r\nHost: e2e\r\nX: " + strings.Repeat("x", 5000) + "\r\n\r\n", 431},
			{"too many fields", "GET /fixed HTTP/1.1\r\nHost: e2e\r\n" + strings.Repeat("X: y\r\n", 20) + "\r\n", 431},
			{"body too long", "PUT /up HTTP/1.1\r\nHost: e2e\r\nContent-Length: 1025\r\n\r\n", 413},
			{"chunks too long", "PUT /up HTTP/1.1\r\nHost: e2e\r\nTransfer-Encoding: chunked\r\n\r\n800\r\n" + strings.Repeat("x", 2048) + "\r\n0\r\n\r\n", 413},
			{"CONNECT", "CONNECT e2e:443 HTTP/1.1\r\nHost: e2e:443\r\n\r\n", 501},
			{"version", "GET /fixed HTTP/3.0\r\nHost: e2e\r\n\r\n", 505},
		}
		begin := time.Now()
		idle, slowHead, slowBody := dial(t, short.addr), dial(t, short.addr), dial(t, short.addr)
		idle.write("GET /fixed HTTP/1.1\r\nHost: e2e\r\n\r\n")
		slowHead.write("GET /fixed HTTP/1.1\r\nHost:")
		slowBody.write("PUT /up HTTP/1.1\r\nHost: e2e\r\nContent-Length: 10\r\n\r\nabc")
		for _, k := range cases {
			c := dial(t, z.addr)
			c.write(k.request)
			res, _ := c.response("GET")
			if res.StatusCode != k.status {
				t.Errorf("%s: %s, want %d", k.name, res.Status, k.status)
			}
			if allow := res.Header.Get("Allow"); k.status == 405 && allow != "PUT" {
				t.Errorf("Allow: %q, want PUT", allow)
			}
			c.Close()
		}
		for name, c := range map[string]*client{"head": slowHead, "body": slowBody} {
			if res, _ := c.response("GET"); res.StatusCode != 408 {
				t.Errorf("slow %s: %s, want 408", name, res.Status)
			}
			c.Close()
		}
		if _, body := idle.response("GET"); body != "fixed\n" {
			t.Errorf("body %q", body)
		}
		idle.ends()
		if after := time.Since(begin); after < 1900*time.Millisecond || after > 10*time.Second {
			t.Errorf("an idle connection was closed after %v, want 2s", after)
		}
	})
}

// An endpoint that was down is up again without a request, on every backend: it
// is connected to, and nothing is sent. Connections to h2c endpoints count as
// connections, their streams as streams.
func TestEndpointIsBackWithoutRequest(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		down := freeAddr(t)
		z := start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN}]
upstreams: {app: {endpoints: [{address: %q}], timeouts: {connect: 500ms}, pool: {queue_timeout: 100ms}}}
routes: [{path: "/*", upstream: app}]
`, down))
		c := dial(t, z.addr)
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		if res, _ := c.response("GET"); res.StatusCode < 500 { // it no longer waits for the endpoint
			t.Errorf("without an endpoint: %s", res.Status)
		}
		eventually(t, patience, "the endpoint is down", func() (bool, string) {
			return z.metrics(t).sum("zproxy_endpoint_up", down) == 0, ""
		})
		c.Close()
		l, err := net.Listen("tcp", down)
		if err != nil {
			t.Skipf("%s has been taken by somebody else meanwhile: %v", down, err)
		}
		defer l.Close()
		got := make(chan int, 100)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				n, _ := c.Read(make([]byte, 1))
				c.Close()
				got <- n
			}
		}()
		eventually(t, patience, "it is up again", func() (bool, string) {
			return z.metrics(t).sum("zproxy_endpoint_up", down) == 1, z.out.String()
		})
		if n := <-got; n != 0 {
			t.Error("something was sent")
		}
		if more := len(got); more > 0 {
			t.Errorf("%d connections, want one", more+1)
		}
	})
}
