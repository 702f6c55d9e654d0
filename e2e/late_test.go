package e2e

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

const lateConfig = `
loops: 1
listeners: [{address: LISTEN, protocols: [http1, h2c]}]
upstreams:
  app:
    endpoints: [{address: %[1]q}]
    timeouts: {connect: 1s, response: 1s, idle: 1s}
  narrow:
    endpoints: [{address: %[1]q}]
    pool: {max_connections: 10, queue_timeout: 1s}
    timeouts: {response: 3s}
routes: [{path: "/narrow", upstream: narrow}, {path: "/*", upstream: app}]
limits: {request_header_timeout: 1s, request_body_timeout: 1s, send_timeout: 1s, keepalive_timeout: 1s}
http2: {idle_timeout: 1s}
`

// A proxy that is stopped for longer than all its limits, as a debugger, a
// cgroup's freezer or a host without a free CPU may do, holds nothing against
// peers that did their part meanwhile: whatever had arrived in time counts. Who
// did not is out of time.
func TestLate(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		gate := make(chan struct{})
		var waiting sync.WaitGroup // for requests to be where they wait
		origin := startOrigin(t, func(c *originConn) {
			for {
				r := c.request()
				if r == nil {
					return
				}
				head := "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
				switch r.URL.Path {
				case "/answer", "/narrow":
					waiting.Done()
					<-gate
				case "/rest":
					c.write(head + "do")
					waiting.Done()
					<-gate
					c.write("ne")
					continue
				default:
					if _, err := io.Copy(io.Discard, r.Body); err != nil {
						return
					}
				}
				c.write(head + "done")
			}
		})
		z := start(t, backend, fmt.Sprintf(lateConfig, origin.addr))
		const each = 10
		waiting.Add(3 * each)
		var clients []*client
		var rests []string
		more := func(first, rest string) {
			c := dial(t, z.addr)
			c.write(first)
			clients, rests = append(clients, c), append(rests, rest)
		}
		long := strings.Repeat("x", 100_000)
		for range each {
			more("GET / HTTP/1.1\r\nHo", "st: h\r\nX: y\r\n\r\n")
			more(fmt.Sprintf("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(long), long[:1000]), long[1000:])
			more("PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", strings.Repeat("2\r\nde\r\n", 5000)+"0\r\n\r\n")
			more("GET /answer HTTP/1.1\r\nHost: h\r\n\r\n", "")
			more("GET /rest HTTP/1.1\r\nHost: h\r\n\r\n", "")
			more("GET /narrow HTTP/1.1\r\nHost: h\r\n\r\n", "")
		}
		waiting.Wait()
		waiting.Add(2 * each) // those that queue behind, and streams
		for range each {
			more("GET /narrow HTTP/1.1\r\nHost: h\r\n\r\n", "")
		}
		h := dialH2(t, z.addr)
		var streams []*h2stream
		for i := range uint32(each) {
			s := h.ask(4*i+1, false, "POST", "/")
			h.data(s.id, false, "abc")
			streams = append(streams, s, h.ask(4*i+3, true, "GET", "/answer"))
		}
		idle, silent := dial(t, z.addr), dial(t, z.addr)
		idle.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		idle.response("GET")
		silent.write("GET / HTTP/1.1\r\nHo")
		time.Sleep(200 * time.Millisecond)

		z.signal(t, syscall.SIGSTOP)
		time.Sleep(100 * time.Millisecond)
		close(gate)
		for i, c := range clients {
			c.write(rests[i])
		}
		for i := 0; i < len(streams); i += 2 {
			h.data(streams[i].id, true, "de")
		}
		idle.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		time.Sleep(1200 * time.Millisecond)
		z.signal(t, syscall.SIGCONT)

		for i, c := range append(clients, idle) {
			res, body := c.response("GET")
			if res.StatusCode != 200 || body != "done" {
				t.Errorf("client %d: %s %q", i, res.Status, body)
			}
			c.Close()
		}
		for _, s := range streams {
			h.until("an answer", s.over)
			if s.status() != "200" || string(s.body) != "done" || s.reset && s.code != http2.ErrCodeNo {
				t.Errorf("%v", s)
			}
		}
		h.Close()
		if text, _ := endOf(silent.Conn); !strings.HasPrefix(text, "HTTP/1.1 408 ") {
			t.Errorf("who sent nothing in time: %q", text)
		}
	})
}
