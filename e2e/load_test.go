package e2e

import (
	"bufio"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"zproxy/internal/mixedload"
)

const manyClients = 2000

// enoughFiles raises the limit on open files to what n connections take, and
// says how to when it may not.
func enoughFiles(t *testing.T, n int) {
	t.Helper()
	want := uint64(3*n + 500) // both sides of the proxy, and the origin's
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatal(err)
	}
	if lim.Cur >= want {
		return
	}
	lim.Cur, lim.Max = want, max(want, lim.Max)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		t.Skipf("%d open files are needed (ulimit -n %d as root): %v", want, want, err)
	}
}

// 2 000 clients at once, each with a connection it keeps: everybody is
// answered, again and again.
func TestManyConnections(t *testing.T) {
	enoughFiles(t, manyClients)
	eachBackend(t, func(t *testing.T, backend string) {
		origin := startNginx(t, t.TempDir())
		z := start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN}]
upstreams: {app: {endpoints: [{address: %q}], pool: {max_connections: 512, queue: 4096, queue_timeout: 20s}}}
routes: [{path: "/*", upstream: app}]
`, origin.addr))

		t.Run("wrk", func(t *testing.T) {
			r := wrkFor(t, manyClients, manyClients, 5*time.Second, z.url("/hello"))
			if r.bad != 0 || r.errors != 0 || r.requests < manyClients {
				t.Errorf("requests %d, bad %d, errors %d:\n%s", r.requests, r.bad, r.errors, r.text)
			}
			t.Logf("%d requests", r.requests)
		})
		t.Run("held open", func(t *testing.T) { holdOpen(t, z, manyClients) })
	})
}

// With batch_wait nobody is forgotten: neither many clients, for whom the loop
// waits, nor one, whom nobody else keeps it awake for. With 0 it never waits.
func TestBatchWait(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		origin := startNginx(t, t.TempDir())
		for _, c := range []struct {
			wait  string
			waits bool
		}{{"2ms", true}, {"0", false}} {
			z := start(t, backend, fmt.Sprintf(`
batch_wait: %s
listeners: [{address: LISTEN}]
upstreams: {app: {endpoints: [{address: %q}]}}
routes: [{path: "/*", upstream: app}]
`, c.wait, origin.addr))
			for _, connections := range []int{200, 2} {
				r := wrkFor(t, connections, 10*connections, time.Second, z.url("/hello"))
				if r.bad != 0 || r.errors != 0 || r.requests < 10*connections {
					t.Errorf("%s, %d clients: requests %d, bad %d, errors %d:\n%s", c.wait, connections, r.requests, r.bad, r.errors, r.text)
				}
			}
			if waits := z.metrics(t).sum("zproxy_loop_batch_waits_total"); waits > 0 != c.waits {
				t.Errorf("%s: %v waits for more", c.wait, waits)
			}
		}
	})
}

// holdOpen opens n connections, and has all of them open while each asks
// twice.
func holdOpen(t *testing.T, z *zproxy, n int) {
	clients := make([]*client, n)
	for i := range clients {
		clients[i] = dial(t, z.addr)
	}
	for round := range 2 {
		for _, c := range clients {
			c.SetDeadline(time.Now().Add(patience))
			c.write("GET /hello HTTP/1.1\r\nHost: e2e\r\n\r\n")
		}
		for i, c := range clients {
			res, body := c.response("GET")
			if res.StatusCode != 200 || body != "hello\n" || res.Close {
				t.Fatalf("round %d, client %d: %s, %q, close %v", round, i, res.Status, body, res.Close)
			}
		}
	}
	z.counts(t, float64(n), "zproxy_client_connections") // those of others may end late
	for _, c := range clients {
		c.Close()
	}
}

// load is a number of clients that ask for one path over and over, each on a
// connection it keeps, until stop.
type load struct {
	answered atomic.Int64
	failed   atomic.Int64
	slowest  atomic.Int64 // ns
	first    atomic.Pointer[string]
	end      chan struct{}
	running  sync.WaitGroup
}

func startLoad(addr, path, want string, clients int) *load {
	l := &load{end: make(chan struct{})}
	for range clients {
		l.running.Add(1)
		go func() {
			defer l.running.Done()
			l.client(addr, path, want)
		}()
	}
	return l
}

func (l *load) client(addr, path, want string) {
	var c net.Conn
	br := bufio.NewReader(nil)
	for {
		select {
		case <-l.end:
			if c != nil {
				c.Close()
			}
			return
		default:
		}
		if c == nil {
			var err error
			if c, err = net.Dial("tcp", addr); err != nil {
				l.fail(fmt.Sprintf("connecting: %v", err))
				time.Sleep(10 * time.Millisecond)
				continue
			}
			br.Reset(c)
		}
		begin := time.Now()
		status, body, err := tryGet(c, br, path)
		if took := int64(time.Since(begin)); took > l.slowest.Load() {
			l.slowest.Store(took) // near enough when two are slow at once
		}
		if err == nil && status == 200 && body == want {
			l.answered.Add(1)
			continue
		}
		l.fail(fmt.Sprintf("status %d, %d bytes, %v", status, len(body), err))
		c.Close()
		c = nil
	}
}

func (l *load) fail(why string) {
	l.failed.Add(1)
	l.first.CompareAndSwap(nil, &why)
}

// reach waits until that many requests were answered.
func (l *load) reach(t *testing.T, answered int64) {
	t.Helper()
	eventually(t, patience, fmt.Sprintf("%d requests are answered", answered), func() (bool, string) {
		return l.answered.Load() >= answered, fmt.Sprintf("%d, and %d failed", l.answered.Load(), l.failed.Load())
	})
}

// stop ends the load and says what became of it.
func (l *load) stop(t *testing.T) (answered, failed int64, slowest time.Duration) {
	t.Helper()
	close(l.end)
	l.running.Wait()
	first := "none"
	if why := l.first.Load(); why != nil {
		first = *why
	}
	slowest = time.Duration(l.slowest.Load())
	t.Logf("answered %d, failed %d, slowest %v, first failure: %s", l.answered.Load(), l.failed.Load(), slowest.Round(time.Millisecond), first)
	return l.answered.Load(), l.failed.Load(), slowest
}

// loaded is the origin of a mixed load.
type loaded struct {
	*mixedload.Origin
	addr string
}

func loadedOrigin(t *testing.T) *loaded {
	t.Helper()
	o := &loaded{Origin: mixedload.NewOrigin()}
	t.Cleanup(func() { o.Close() })
	o.addr = o.another(t)
	return o
}

// another is one more address of the same origin.
func (o *loaded) another(t *testing.T) string {
	t.Helper()
	addr, err := o.Listen()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// allWell is the end of a mixed load: everybody has been answered, and nothing failed, was made
// twice, or ended before its client knew.
func (o *loaded) allWell(t *testing.T, l *mixedload.Load) {
	t.Helper()
	l.Stop()
	t.Logf("%v; made twice: %d", l, o.Repeated())
	if n := l.Total(); n.Failed+n.Early+o.Repeated() > 0 {
		t.Errorf("made twice: %d; %v", o.Repeated(), l)
	}
	for _, k := range []mixedload.Kind{mixedload.Kept, mixedload.Fresh, mixedload.Streams, mixedload.GRPC, mixedload.WebSocket} {
		if l.Of(k).Answered == 0 {
			t.Errorf("%v: nobody has been answered", k)
		}
	}
}
