package e2e

import (
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"

	"zproxy/internal/mixedload"
)

// SIGTERM while clients ask every 3 ms: each of them is told by Connection: close on an answer,
// and no request is lost on a connection whose client could not know.
func TestStopTellsWhoAsks(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		z := start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN}]
upstreams: {app: {endpoints: [{address: %q}]}}
routes: [{path: "/*", upstream: app}]
shutdown: {grace: 19s, idle_timeout: 19s}
`, loadedOrigin(t).addr))
		l := mixedload.Start(mixedload.Clients{Clear: z.addr, Kinds: []mixedload.Kind{mixedload.Kept}, Each: 120, Pauses: []time.Duration{3 * time.Millisecond}, Once: true})
		defer l.Stop()
		eventually(t, patience, "clients are answered", func() (bool, string) { return l.Total().Met == 120, l.String() })
		z.signal(t, syscall.SIGTERM)
		if status := z.wait(t, stopLimit); status != 0 {
			t.Errorf("exit status %d, want 0", status)
		}
		l.Wait()
		t.Log(l)
		if n := l.Total(); n.Told != 120 || n.Failed+n.Early > 0 {
			t.Errorf("of 120 clients: %v", l)
		}
	})
}

// With shutdown.delay /readyz says 503 at once, and everything else goes on.
func TestStopDelay(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		text := `
listeners: [{address: LISTEN}]
routes: [{path: "/*", respond: {body: ok}}]
shutdown: {delay: %s}
`
		z := start(t, backend, fmt.Sprintf(text, "1h"))
		kept := dial(t, z.addr)
		kept.get("/")
		z.signal(t, syscall.SIGTERM)
		eventually(t, patience, "/readyz says 503", func() (bool, string) {
			res, err := adminClient.Get("http://" + z.admin + "/readyz")
			if err != nil {
				return false, err.Error()
			}
			res.Body.Close()
			return res.StatusCode == 503, res.Status
		})
		for _, c := range []*client{kept, dial(t, z.addr)} {
			c.write("GET / HTTP/1.1\r\nHost: e2e\r\n\r\n")
			if res, body := c.response("GET"); res.StatusCode != 200 || body != "ok" || res.Close {
				t.Errorf("while it waits: %s, %q, close %v", res.Status, body, res.Close)
			}
		}
		z.signal(t, syscall.SIGTERM)
		if status := z.wait(t, stopLimit); status != 1 {
			t.Errorf("exit status %d after a second signal, want 1", status)
		}

		z = start(t, backend, fmt.Sprintf(text, "300ms"))
		begin := time.Now()
		z.signal(t, syscall.SIGTERM)
		if status, took := z.wait(t, stopLimit), time.Since(begin); status != 0 || took < 300*time.Millisecond {
			t.Errorf("exit status %d after %v, want 0 after 300ms", status, took)
		}
	})
}

// A process that drains has given all its addresses back: another one takes its place at once.
func TestStartBesideOneThatDrains(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		release := make(chan bool)
		origin := startOrigin(t, answering(func(c *originConn, r *http.Request) {
			select {
			case <-release:
			case <-t.Context().Done():
			}
			c.write(ok("late"))
		}))
		z := start(t, backend, fmt.Sprintf(drainConfig, origin.addr, "1m"))
		slow := dial(t, z.addr)
		slow.write("GET / HTTP/1.1\r\nHost: e2e\r\n\r\n")
		eventually(t, patience, "the request is under way", func() (bool, string) {
			s := z.status(t)
			active := 0
			for _, l := range s.Loops {
				active += l.Active
			}
			return active == 1, fmt.Sprint(active)
		})
		z.signal(t, syscall.SIGTERM)
		refused(t, z.addr)
		refused(t, z.admin)
		next := &zproxy{addr: z.addr, admin: z.admin, log: z.log, config: z.config, file: z.file}
		next.process = spawn(t, zproxyBin, "run", "-c", z.file)
		next.logged(t, "msg=ready")
		if !z.running() {
			t.Fatal("the first has not waited for its request")
		}
		if !next.ready(t) {
			t.Fatalf("the second does not start:\n%s", tail(next.out.String()))
		}
		close(release)
		if res, body := slow.response("GET"); body != "late" || !res.Close {
			t.Errorf("the request under way: %q, close %v", body, res.Close)
		}
		if status := z.wait(t, stopLimit); status != 0 {
			t.Errorf("exit status %d, want 0", status)
		}
		slow.Close()
		next.finish(t)
	})
}
