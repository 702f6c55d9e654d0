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
    timeouts: {connect: 3s, response: 3s, idle: 3s}
  narrow:
    endpoints: [{address: %[1]q}]
    pool: {max_connections: 10, queue_timeout: 3s}
    timeouts: {response: 9s}
routes: [{path: "/narrow", upstream: narrow}, {path: "/*", upstream: app}]
limits: {request_header_timeout: 3s, request_body_timeout: 3s, send_timeout: 3s, keepalive_timeout: 3s}
http2: {idle_timeout: 3s}
`

// gatedOrigin answers what waits for its gate, "/rest" with the second half of
// the answer alone, and anything else at once. here is told of each that waits.
func gatedOrigin(t *testing.T, gate chan struct{}, here *sync.WaitGroup) *origin {
	return startOrigin(t, func(c *originConn) {
		for r := c.request(); r != nil; r = c.request() {
			head := "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
			switch r.URL.Path {
			case "/answer", "/narrow":
				here.Done()
				<-gate
			case "/rest":
				c.write(head + "do")
				here.Done()
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
}

// latecomers are requests of which a part is sent, and the rest later.
type latecomers struct {
	t       *testing.T
	addr    string
	clients []*client
	rests   []string
}

func (l *latecomers) send(first, rest string) {
	c := dial(l.t, l.addr)
	c.write(first)
	l.clients, l.rests = append(l.clients, c), append(l.rests, rest)
}

func (l *latecomers) sendRests() {
	for i, c := range l.clients {
		c.write(l.rests[i])
	}
}

func (l *latecomers) answered() {
	for i, c := range l.clients {
		res, body := c.response("GET")
		if res.StatusCode != 200 || body != "done" {
			l.t.Errorf("client %d: %s %q", i, res.Status, body)
		}
		c.Close()
	}
}

// A proxy that is stopped for longer than all its limits, as a debugger, a
// cgroup's freezer or a host without a free CPU may do, holds nothing against
// peers that did their part meanwhile: whatever had arrived in time counts. Who
// did not is out of time.
func TestLate(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		gate := make(chan struct{})
		var here sync.WaitGroup
		z := start(t, backend, fmt.Sprintf(lateConfig, gatedOrigin(t, gate, &here).addr))
		const each = 10
		here.Add(3 * each)
		l := &latecomers{t: t, addr: z.addr}
		long := strings.Repeat("x", 100_000)
		for range each {
			l.send("GET / HTTP/1.1\r\nHo", "st: h\r\nX: y\r\n\r\n")
			l.send(fmt.Sprintf("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(long), long[:1000]), long[1000:])
			l.send("PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", strings.Repeat("2\r\nde\r\n", 5000)+"0\r\n\r\n")
			l.send("GET /answer HTTP/1.1\r\nHost: h\r\n\r\n", "")
			l.send("GET /rest HTTP/1.1\r\nHost: h\r\n\r\n", "")
			l.send("GET /narrow HTTP/1.1\r\nHost: h\r\n\r\n", "")
		}
		here.Wait()
		here.Add(2 * each) // those that queue behind, and streams
		for range each {
			l.send("GET /narrow HTTP/1.1\r\nHost: h\r\n\r\n", "")
		}
		idle, silent := dial(t, z.addr), dial(t, z.addr)
		idle.get("/")
		l.clients, l.rests = append(l.clients, idle), append(l.rests, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		silent.write("GET / HTTP/1.1\r\nHo")
		h := dialH2(t, z.addr)
		var streams []*h2stream
		for i := range uint32(each) {
			s := h.ask(4*i+1, false, "POST", "/")
			h.data(s.id, false, "abc")
			streams = append(streams, s, h.ask(4*i+3, true, "GET", "/answer"))
		}
		time.Sleep(200 * time.Millisecond)

		z.signal(t, syscall.SIGSTOP)
		time.Sleep(100 * time.Millisecond)
		close(gate)
		l.sendRests()
		for i := 0; i < len(streams); i += 2 {
			h.data(streams[i].id, true, "de")
		}
		time.Sleep(3200 * time.Millisecond)
		z.signal(t, syscall.SIGCONT)

		l.answered()
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
