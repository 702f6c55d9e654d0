package e2e

import (
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// flood opens connections until stopped or n are open, and says nothing on
// them. A dial may wait in the kernel's queue or fail: that is what is tested.
type flood struct {
	mu     sync.Mutex
	conns  []net.Conn
	failed atomic.Int64
	end    chan struct{}
	all    sync.WaitGroup
}

func startFlood(addr string, n int) *flood {
	f := &flood{end: make(chan struct{})}
	for range 16 {
		f.all.Go(func() {
			for range n / 16 {
				select {
				case <-f.end:
					return
				default:
				}
				c, err := net.DialTimeout("tcp", addr, 200*time.Millisecond)
				if err != nil {
					f.failed.Add(1)
					continue
				}
				f.mu.Lock()
				f.conns = append(f.conns, c)
				f.mu.Unlock()
			}
		})
	}
	return f
}

func (f *flood) stop() (opened int) {
	close(f.end)
	f.all.Wait()
	for _, c := range f.conns {
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
	return len(f.conns)
}

// fresh opens a connection and asks, again and again until it is answered.
func fresh(t *testing.T, z *zproxy) {
	t.Helper()
	eventually(t, patience, "a new client is served", func() (bool, string) {
		c, err := net.DialTimeout("tcp", z.addr, fastLimit)
		if err != nil {
			return false, err.Error()
		}
		defer c.Close()
		k := &talk{Conn: c}
		k.send("GET /hello HTTP/1.1\r\nHost: h\r\n\r\n", 0)
		k.listen(1, false, fastLimit)
		return len(k.answers) == 1 && k.answers[0].Status == 200, fmt.Sprintf("%d answers", len(k.answers))
	})
}

// rush opens connections until n were established, and says nothing on them. It
// closes those that the proxy has ended, so it needs descriptors for the others
// alone. A dial may find the kernel's queue full: then there is another.
type rush struct {
	opened, unanswered      atomic.Int64
	refused, late, answered atomic.Int64 // ended; ended after fastLimit; bytes that came
	mu                      sync.Mutex
	open                    map[net.Conn]bool
	opening                 sync.WaitGroup
}

func startRush(addr string, n int64, until time.Time) *rush {
	r := &rush{open: map[net.Conn]bool{}}
	for range 16 {
		r.opening.Go(func() {
			for time.Now().Before(until) {
				c, err := net.DialTimeout("tcp", addr, 200*time.Millisecond)
				if err != nil {
					r.unanswered.Add(1)
					continue
				}
				if r.opened.Add(1) > n {
					r.opened.Add(-1)
					c.Close()
					return
				}
				r.mu.Lock()
				r.open[c] = true
				r.mu.Unlock()
				go r.watch(c, time.Now())
			}
		})
	}
	return r
}

// watch waits for the end of a connection, which has to come without a byte.
func (r *rush) watch(c net.Conn, since time.Time) {
	n, _ := c.Read(make([]byte, 1))
	r.answered.Add(int64(n))
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open[c] {
		delete(r.open, c)
		r.refused.Add(1)
		if time.Since(since) > fastLimit {
			r.late.Add(1)
		}
	}
	c.Close()
}

// stop ends those that are still open.
func (r *rush) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.open {
		delete(r.open, c)
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
}

// Connections beyond the limit, 20 000 of them, are reset at once: nobody waits
// for nothing, those that are served go on being served, and there is room
// again when the flood has gone. Connections to origins do not count.
func TestConnectionFlood(t *testing.T) {
	const many, limit, served = 20_000, 100, 16
	eachBackend(t, func(t *testing.T, backend string) {
		z := start(t, backend, fmt.Sprintf(`
loops: 1
listeners: [{address: LISTEN}]
upstreams: {app: {endpoints: [{address: %q}], pool: {prewarm: %d}}}
routes: [{path: "/*", upstream: app}]
limits: {connections: %d, request_header_timeout: 2m}
`, startNginx(t, t.TempDir()).addr, limit+20, limit))
		fast := startLoad(z.addr, "/hello", "hello\n", served)
		eventually(t, patience, "all that are to be served are", func() (bool, string) {
			n := z.metrics(t).sum("zproxy_client_connections")
			return n == served, fmt.Sprint(n)
		})
		begun, cpu := time.Now(), z.processCPU(t)
		f := startRush(z.addr, many+limit-served, begun.Add(2*time.Minute))
		defer f.stop()
		f.opening.Wait()
		took, spent := time.Since(begun), z.processCPU(t)-cpu
		eventually(t, patience, "the proxy has as many clients as it may", func() (bool, string) {
			n := z.metrics(t).sum("zproxy_client_connections")
			if n > limit {
				t.Errorf("%v client connections during the flood, the limit is %d", n, limit)
			}
			return n >= limit, fmt.Sprint(n)
		})
		// Where the kernel's queue was full it has dropped the last ACK of some
		// handshakes, and repeats them seconds later: so nobody leaves before.
		eventually(t, patience, "those beyond the limit are reset", func() (bool, string) {
			n := f.refused.Load()
			return n == many, fmt.Sprintf("%d of %d", n, f.opened.Load())
		})
		undisturbed(t, "a flood of connections", fast)
		if late := f.late.Load(); late > many/100 {
			t.Errorf("%d of %d connections were reset after more than %v", late, many, fastLimit)
		}
		eventually(t, patience, "those that were reset are counted as shed", func() (bool, string) {
			shed := z.metrics(t).sum("zproxy_shed_total")
			return shed >= many, fmt.Sprint(shed)
		})
		if n := f.answered.Load(); n > 0 {
			t.Errorf("%d bytes came", n)
		}
		cpu = z.processCPU(t)
		time.Sleep(500 * time.Millisecond)
		if spent := z.processCPU(t) - cpu; spent > 200*time.Millisecond {
			t.Errorf("%v of CPU in half a second in which nothing comes", spent)
		}
		t.Logf("%d connections were refused within %v, which took the proxy %v of CPU; %d more the kernel did not answer in time",
			f.refused.Load(), took.Round(time.Millisecond), spent, f.unanswered.Load())
		f.stop()
		fresh(t, z)
	})
}

// With few descriptors a flood of connections is served or refused all the
// same, within fastLimit or little more: nobody waits in the kernel's queue
// because descriptors were out for a moment. The log says what has run out, and
// at the start that the limit is low.
func TestFloodOfFewDescriptors(t *testing.T) {
	const many = 20_000
	eachBackend(t, func(t *testing.T, backend string) {
		defer limitDescriptors(t, 300)()
		z := start(t, backend, "listeners: [{address: LISTEN}]\nlimits: {request_header_timeout: 2m}\nroutes: [{path: \"/*\", respond: {body: ok}}]")
		eventually(t, patience, "there is a warning at the start", func() (bool, string) {
			return z.says("level=WARN", "subject=limits", "few clients", "LimitNOFILE"), z.out.String()
		})
		f := startRush(z.addr, many, time.Now().Add(2*time.Minute))
		defer f.stop()
		f.opening.Wait()
		var held float64
		eventually(t, patience, "every connection is the proxy's or has been refused", func() (bool, string) {
			held = z.metrics(t).sum("zproxy_client_connections")
			n := float64(f.refused.Load())
			return n+held == float64(f.opened.Load()), fmt.Sprintf("%v refused and %v held of %d", n, held, f.opened.Load())
		})
		if limit := z.metrics(t).sum("zproxy_loop_connections_limit"); held == 0 || held > limit || limit > 300 {
			t.Errorf("%v connections are held, the limit is %v", held, limit)
		}
		if late := f.late.Load(); late > many/100 {
			t.Errorf("%d of %d connections were reset after more than %v", late, many, fastLimit)
		}
		eventually(t, patience, "the log says what has run out", func() (bool, string) {
			return z.says("level=WARN", "subject=limits", "beyond the limit of connections", "times="), z.out.String()
		})
		f.stop()
		eventually(t, patience, "a new client is served", func() (bool, string) {
			res, err := http.Get(z.url("/"))
			if err != nil {
				return false, err.Error()
			}
			res.Body.Close()
			return res.StatusCode == 200, res.Status
		})
	})
}
