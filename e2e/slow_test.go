package e2e

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	slowPeers = 8
	// fastLimit is what a request may take beside others: far more than it needs, and less than
	// it would wait for any timeout.
	fastLimit = 2 * time.Second
	// slowWhole is what a slow peer may take as a whole.
	slowWhole = 4 * patience
)

// pace lets through 1 KiB every 10 ms until it is over, then all.
type pace struct {
	r    io.Reader
	over func() bool
}

func (p *pace) Read(b []byte) (int, error) {
	if !p.over() {
		time.Sleep(10 * time.Millisecond)
		b = b[:min(len(b), 1024)]
	}
	return p.r.Read(b)
}

// after is over when d has passed.
func after(d time.Duration) func() bool {
	end := time.Now().Add(d)
	return func() bool { return time.Now().After(end) }
}

// besideSlow has the others answered while slow peers are slow, however long that takes: they
// stay so while the flag is set. Whoever waited for one of them would wait for ever.
func besideSlow(t *testing.T, z *zproxy, fast *load, fill time.Duration, held *atomic.Bool) {
	t.Helper()
	time.Sleep(fill) // they fill up what they find
	queuesBounded(t, z)
	fast.reach(t, fast.answered.Load()+100)
	if answered, failed, slowest := fast.stop(t); failed > 0 || slowest > fastLimit {
		t.Errorf("beside slow peers %d requests were answered and %d not, the slowest in %v", answered, failed, slowest)
	}
	held.Store(false)
}

// steady lets through rate bytes/s until its time is over, then all. However
// late a busy machine wakes it, it makes up for that: the client's kernel
// opens its window again only once there is room for a whole segment, 64 KiB
// on loopback, and a proxy that waits for this must not wait for the test.
type steady struct {
	r     io.Reader
	rate  float64
	begun time.Time
	until time.Duration // from begun on
	taken int
}

func (s *steady) Read(b []byte) (int, error) {
	for since := time.Since(s.begun); since < s.until; since = time.Since(s.begun) {
		if due := int(s.rate*since.Seconds()) - s.taken; due > 0 {
			b = b[:min(len(b), due)]
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	n, err := s.r.Read(b)
	s.taken += n
	return n, err
}

// Clients that hardly read get every byte all the same, and nobody else waits
// for them.
func TestSlowReaders(t *testing.T) {
	const size = 16 * mib
	eachBackend(t, func(t *testing.T, backend string) {
		path, sum := bodyFile(t, size, "16MiB")
		z := bodyProxy(t, backend, startNginx(t, bodyDir).addr)
		fast := startLoad(z.addr, "/hello", "hello\n", 4)
		var held atomic.Bool
		held.Store(true)
		over := func() bool { return !held.Load() }
		var slow sync.WaitGroup
		for range slowPeers {
			c := dialSmall(t, z.addr)
			c.SetDeadline(time.Now().Add(slowWhole))
			c.write("GET " + path + " HTTP/1.1\r\nHost: e2e\r\n\r\n")
			slow.Add(1)
			go func() {
				defer slow.Done()
				res, err := readHead(c)
				if err != nil {
					t.Error(err)
					return
				}
				if n, got, err := sumUp(&pace{res.Body, over}); err != nil || n != size || got != sum {
					t.Errorf("%d bytes, SHA-256 %s, %v; want %s", n, got, err, sum)
				}
			}()
		}
		besideSlow(t, z, fast, 2500*time.Millisecond, &held)
		slow.Wait()
		bounded(t, z)
	})
}

// queuesBounded: what slow receivers leave is left with the senders; it does
// not pile up here.
func queuesBounded(t *testing.T, z *zproxy) {
	t.Helper()
	m := z.metrics(t)
	held := (m.sum("zproxy_buffer_blocks_in_use") - m.sum("zproxy_buffer_blocks_posted")) * m.sum("zproxy_buffer_block_bytes")
	if limit := float64((slowPeers + 1) * mib); held > limit {
		t.Errorf("%.1f MiB of buffers in use for %d slow peers", held/mib, slowPeers)
	}
}

// Clients that hardly write are heard out, byte for byte, and nobody else
// waits for them.
func TestSlowWriters(t *testing.T) {
	const size = 2 * mib
	eachBackend(t, func(t *testing.T, backend string) {
		z := bodyProxy(t, backend, startHashing(t).addr)
		sum := sumOfStream(t, size)
		empty := uploaded(0, sumOfStream(t, 0), "length", "")
		fast := startLoad(z.addr, "/", empty, 4)
		var held atomic.Bool
		held.Store(true)
		over := func() bool { return !held.Load() }
		var slow sync.WaitGroup
		for range slowPeers {
			c := dial(t, z.addr)
			c.SetDeadline(time.Now().Add(slowWhole))
			c.write(fmt.Sprintf("PUT /up HTTP/1.1\r\nHost: e2e\r\nContent-Length: %d\r\n\r\n", size))
			slow.Add(1)
			go func() {
				defer slow.Done()
				if _, err := io.Copy(c.Conn, &pace{stream(size), over}); err != nil {
					t.Error(err)
					return
				}
				res, err := readHead(c)
				if err != nil {
					t.Error(err)
					return
				}
				if b, err := io.ReadAll(res.Body); err != nil || string(b) != uploaded(size, sum, "length", "") {
					t.Errorf("the origin received %s (%v), want SHA-256 %s", b, err, sum)
				}
			}()
		}
		besideSlow(t, z, fast, 2500*time.Millisecond, &held)
		slow.Wait()
	})
}

// An origin that hardly reads, or hardly writes, slows down nobody but those
// who ask it.
func TestSlowOrigin(t *testing.T) {
	const size = 8 * mib
	eachBackend(t, func(t *testing.T, backend string) {
		sum := sumOfStream(t, size)
		var held atomic.Bool
		held.Store(true)
		over := func() bool { return !held.Load() }
		slowOrigin := startOrigin(t, answering(func(c *originConn, r *http.Request) {
			if r.Method == "GET" {
				c.write(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size))
				io.Copy(c.Conn, &pace{stream(size), over})
				return
			}
			n, got, err := sumUp(&pace{r.Body, over})
			if err == nil {
				c.write(ok(uploaded(n, got, "length", "")))
			}
		}))
		fastOrigin := startHashing(t)
		z := start(t, backend, fmt.Sprintf(`
loops: 1
listeners: [{address: LISTEN}]
upstreams:
  slow: {endpoints: [{address: %q}]}
  fast: {endpoints: [{address: %q}]}
routes:
  - {path: "/slow", upstream: slow}
  - {path: "/fast", upstream: fast}
`, slowOrigin.addr, fastOrigin.addr))
		fast := startLoad(z.addr, "/fast", uploaded(0, sumOfStream(t, 0), "length", ""), 4)
		up, down := dial(t, z.addr), dial(t, z.addr)
		up.SetDeadline(time.Now().Add(slowWhole))
		down.SetDeadline(time.Now().Add(slowWhole))
		go func() {
			io.WriteString(up.Conn, fmt.Sprintf("PUT /slow HTTP/1.1\r\nHost: e2e\r\nContent-Length: %d\r\n\r\n", size))
			io.Copy(up.Conn, stream(size))
		}()
		down.write("GET /slow HTTP/1.1\r\nHost: e2e\r\n\r\n")
		res := down.head("GET")
		besideSlow(t, z, fast, time.Second, &held)
		if n, got := sumOf(t, res.Body); n != size || got != sum {
			t.Errorf("%d bytes, SHA-256 %s; want %s", n, got, sum)
		}
		if _, got := up.response("PUT"); got != uploaded(size, sum, "length", "") {
			t.Errorf("the origin received %s, want SHA-256 %s", got, sum)
		}
		up.Close()
		down.Close()
	})
}
