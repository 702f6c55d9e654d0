package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

type rawConn = syscall.RawConn

// origin is a scripted origin: what it does with a connection is up to the
// test.
type origin struct {
	addr  string
	l     net.Listener
	mu    sync.Mutex
	conns map[net.Conn]bool
	total int
}

// originConn is one connection of an origin.
type originConn struct {
	net.Conn
	br *bufio.Reader
}

// request reads the head of a request; nil when the connection has ended.
func (c *originConn) request() *http.Request {
	r, err := http.ReadRequest(c.br)
	if err != nil {
		return nil
	}
	return r
}

func (c *originConn) write(text string) { io.WriteString(c.Conn, text) }

// startOrigin listens on a free port and runs serve once per connection, which
// closes when serve returns.
func startOrigin(t *testing.T, serve func(c *originConn)) *origin {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &origin{addr: l.Addr().String(), l: l, conns: map[net.Conn]bool{}}
	var running sync.WaitGroup
	running.Add(1)
	go func() {
		defer running.Done()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			o.note(c, true)
			running.Add(1)
			go func() {
				defer running.Done()
				defer o.note(c, false)
				defer c.Close()
				serve(&originConn{c, bufio.NewReaderSize(c, 64<<10)})
			}()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		o.mu.Lock()
		for c := range o.conns {
			c.Close()
		}
		o.mu.Unlock()
		running.Wait()
	})
	return o
}

func (o *origin) note(c net.Conn, open bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if open {
		o.conns[c] = true
		o.total++
	} else {
		delete(o.conns, c)
	}
}

// open is how many connections there are, and how many there ever were.
func (o *origin) open() (now, total int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.conns), o.total
}

// answering serves connections with handler, one response per request.
func answering(handler func(c *originConn, r *http.Request)) func(*originConn) {
	return func(c *originConn) {
		for r := c.request(); r != nil; r = c.request() {
			handler(c, r)
			io.Copy(io.Discard, r.Body)
		}
	}
}

// ok is a whole response.
func ok(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// startHashing runs an origin that answers each upload with its SHA-256,
// length, framing and trailer.
func startHashing(t *testing.T) *origin {
	return startOrigin(t, answering(func(c *originConn, r *http.Request) {
		n, sum, err := sumUp(r.Body)
		if err != nil {
			return // cut short: no answer
		}
		framing := "length"
		if len(r.TransferEncoding) > 0 {
			framing = r.TransferEncoding[0]
		}
		c.write(ok(uploaded(n, sum, framing, r.Trailer.Get("X-Check"))))
	}))
}

// uploaded is the answer of a hashing origin.
func uploaded(n int64, sum, framing, trailer string) string {
	return strconv.FormatInt(n, 10) + " " + sum + " " + framing + " " + trailer
}

// startEcho runs the origin of the benchmarks, whose /echo sends back what it
// is sent while it is sent.
func startEcho(t *testing.T) (addr string) {
	t.Helper()
	for try := 1; ; try++ {
		addr = freeAddr(t)
		p := spawn(t, originBin, "-listen", addr)
		if p.listens("tcp", addr) {
			return addr
		}
		if try == startTries {
			t.Fatalf("the origin does not start:\n%s", p.out.String())
		}
	}
}
