package e2e

import (
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"
)

// twoLoops is for tests of what loops do for each other.
func twoLoops(t *testing.T) {
	t.Helper()
	if runtime.NumCPU() < 2 {
		t.Skip("two CPUs are needed for two loops; this machine, or the affinity mask, has one")
	}
}

// Clients that all come from one address are shared out over the loops.
func TestLoopsShareClients(t *testing.T) {
	twoLoops(t)
	const clients = 200
	eachBackend(t, func(t *testing.T, backend string) {
		z := start(t, backend, `
loops: 2
listeners: [{address: LISTEN}]
routes: [{path: "/*", respond: {body: "hello\n"}}]
`)
		all := make([]*client, clients)
		for i := range all {
			all[i] = dial(t, z.addr)
			all[i].get("/")
		}
		m := z.metrics(t)
		for i, n := range m.all("zproxy_client_connections") {
			if n < clients/5 {
				t.Errorf("one loop has %v of %d clients (%d)", n, clients, i)
			}
		}
		z.counts(t, clients, "zproxy_client_connections")
		for _, c := range all {
			c.Close()
		}
	})
}

// When the cap is reached by connections that lie idle on one loop, another
// that needs one takes it over: no request waits for a connection nobody uses.
func TestConnectionsAreTakenOver(t *testing.T) {
	twoLoops(t)
	const connections = 4
	eachBackend(t, func(t *testing.T, backend string) {
		o := startOrigin(t, answering(func(c *originConn, r *http.Request) {
			if r.URL.Path == "/slow" {
				time.Sleep(50 * time.Millisecond)
			}
			c.write(ok("hello\n"))
		}))
		z := start(t, backend, fmt.Sprintf(`
loops: 2
listeners: [{address: LISTEN}]
upstreams: {app: {endpoints: [{address: %q}], pool: {max_connections: %d, queue_timeout: 10s}}}
routes: [{path: "/*", upstream: app}]
`, o.addr, connections))
		byLoop := clientOnEachLoop(t, z)
		// All connections in use at once on many clients' behalf, then idle
		// wherever they ended up; then each loop asks in turn.
		together(t, z, 2*connections, "/slow")
		var slowest time.Duration
		for range 20 {
			for _, first := range []string{`{loop="0"}`, `{loop="1"}`} {
				// The first has all connections there are, one after the other
				// idle on its loop; the second has to be given one.
				together(t, z, connections, "/")
				begin := time.Now()
				byLoop[first].get("/")
				slowest = max(slowest, time.Since(begin))
			}
		}
		eventually(t, patience, "as many connections are taken over as are given, and some", func() (bool, string) {
			m := z.metrics(t)
			stolen, given := m.sum("zproxy_upstream_stolen_total"), m.sum("zproxy_upstream_given_total")
			return stolen > 0 && stolen == given, fmt.Sprintf("%v taken over, %v given", stolen, given)
		})
		if slowest > fastLimit {
			t.Errorf("a request took %v while connections were idle", slowest)
		}
		if _, total := o.open(); total > connections {
			t.Errorf("the origin saw %d connections, the cap is %d", total, connections)
		}
		for _, c := range byLoop {
			c.Close()
		}
	})
}

// clientOnEachLoop opens a client on each of two loops.
func clientOnEachLoop(t *testing.T, z *zproxy) map[string]*client {
	byLoop := map[string]*client{}
	for i := 0; len(byLoop) < 2 && i < 100; i++ {
		c := dial(t, z.addr)
		before := z.metrics(t)
		c.get("/")
		var after samples
		eventually(t, patience, "the request is counted", func() (bool, string) {
			after = z.metrics(t)
			return after.sum("zproxy_requests_total") > before.sum("zproxy_requests_total"), ""
		})
		for _, loop := range []string{`{loop="0"}`, `{loop="1"}`} {
			if after["zproxy_requests_total"+loop] > before["zproxy_requests_total"+loop] && byLoop[loop] == nil {
				byLoop[loop] = c
				c = nil
				break
			}
		}
		if c != nil {
			c.Close()
		}
	}
	if len(byLoop) != 2 {
		t.Fatal("all clients came to one loop")
	}
	return byLoop
}

// together has n clients ask for path at the same time.
func together(t *testing.T, z *zproxy, n int, path string) {
	var asking sync.WaitGroup
	for range n {
		c := dial(t, z.addr)
		asking.Go(func() {
			defer c.Close()
			if status, body, err := tryGet(c.Conn, c.br, path); status != 200 || err != nil {
				t.Errorf("status %d %q %v", status, body, err)
			}
		})
	}
	asking.Wait()
}

// The same under load: the cap holds, and everybody is answered.
func TestCapUnderLoad(t *testing.T) {
	twoLoops(t)
	eachBackend(t, func(t *testing.T, backend string) {
		origin := startNginx(t, t.TempDir())
		z := start(t, backend, fmt.Sprintf(`
loops: 2
listeners: [{address: LISTEN}]
upstreams: {app: {endpoints: [{address: %q}], pool: {max_connections: 3}}}
routes: [{path: "/*", upstream: app}]
`, origin.addr))
		clients := startLoad(z.addr, "/hello", "hello\n", 32)
		deadline := time.Now().Add(2 * time.Second)
		for time.Now().Before(deadline) {
			if open := z.metrics(t).sum("zproxy_endpoint_connections"); open > 3 {
				t.Errorf("%v connections to the endpoint, the cap is 3", open)
			}
			time.Sleep(100 * time.Millisecond)
		}
		clients.reach(t, 1000)
		if answered, failed, slowest := clients.stop(t); failed > 0 || answered < 1000 || slowest > fastLimit {
			t.Errorf("%d requests were answered, %d not, the slowest in %v", answered, failed, slowest)
		}
		if m := z.metrics(t); m.sum("zproxy_queued_total") == 0 {
			t.Error("nobody had to wait: this tested nothing")
		}
	})
}

// Requests beyond the cap wait in the queue; beyond the queue they are refused
// at once, and after the queue timeout they are refused as well.
func TestQueue(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		release := make(chan bool)
		o := startOrigin(t, answering(func(c *originConn, r *http.Request) {
			<-release
			c.write(ok("done"))
		}))
		t.Cleanup(func() { close(release) })
		z := start(t, backend, fmt.Sprintf(`
loops: 1
listeners: [{address: LISTEN}]
upstreams: {app: {endpoints: [{address: %q}], pool: {max_connections: 1, queue: 2, queue_timeout: 6s}}}
routes: [{path: "/*", upstream: app}]
`, o.addr))
		var clients [4]*client
		for i := range clients {
			clients[i] = dial(t, z.addr)
			clients[i].write("GET / HTTP/1.1\r\nHost: e2e\r\n\r\n")
			want := float64(min(i, 2))
			eventually(t, patience, "the request is where it waits", func() (bool, string) {
				m := z.metrics(t)
				waiting := m.sum("zproxy_upstream_waiting_requests")
				return m.sum("zproxy_requests_total") == float64(i+1) && waiting == want, fmt.Sprintf("%v waiting", waiting)
			})
		}
		if res, _ := clients[3].response("GET"); res.StatusCode != 503 {
			t.Errorf("with a full queue: %s, want 503", res.Status)
		}
		release <- true // the first is done: the second has its turn
		for i := range 2 {
			if i == 1 {
				release <- true
			}
			if res, body := clients[i].response("GET"); res.StatusCode != 200 || body != "done" {
				t.Errorf("request %d: %s %q", i, res.Status, body)
			}
		}
		// The third holds the only connection; one more waits in vain.
		begin := time.Now()
		clients[1].write("GET / HTTP/1.1\r\nHost: e2e\r\n\r\n")
		if res, _ := clients[1].response("GET"); res.StatusCode != 503 {
			t.Errorf("after the queue timeout: %s, want 503", res.Status)
		}
		if took := time.Since(begin); took < 5900*time.Millisecond || took > 18*time.Second {
			t.Errorf("refused after %v, the queue timeout is 6s", took)
		}
		release <- true
		if res, body := clients[2].response("GET"); res.StatusCode != 200 || body != "done" {
			t.Errorf("request 2: %s %q", res.Status, body)
		}
		z.counts(t, 1, "zproxy_queue_full_total")
		z.counts(t, 1, "zproxy_queue_timeouts_total")
		for _, c := range clients {
			c.Close()
		}
	})
}
