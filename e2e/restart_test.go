package e2e

import (
	"fmt"
	"testing"
	"time"
)

const (
	loadClients = 32
	// slowestRestart is what a request may wait for an origin that is restarted: less than
	// queue_timeout, after which it would fail.
	slowestRestart = 5 * time.Second
)

// One of two origins is shut down, hard and under load, and comes back: what
// fails is at most what it was answering, and then it is used again.
func TestRestartOfOneOfTwoOrigins(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		root := t.TempDir()
		first, second := startNginx(t, root), startNginx(t, root)
		z := start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN}]
upstreams: {app: {endpoints: [{address: %q}, {address: %q}], pool: {queue_timeout: 25s}}}
routes: [{path: "/*", upstream: app}]
access_log: {path: LOGFILE, flush: 50ms}
`, first.addr, second.addr))
		clients := startLoad(z.addr, "/hello", "hello\n", loadClients)
		time.Sleep(500 * time.Millisecond)
		const restarts = 3
		for i := range restarts {
			[2]*nginx{first, second}[i%2].restart(300 * time.Millisecond)
			time.Sleep(300 * time.Millisecond)
		}
		eventually(t, patience, "both origins are used again", func() (bool, string) {
			m := z.metrics(t)
			up, one, two := m.sum("zproxy_endpoint_up"), m.sum("zproxy_endpoint_connections", first.addr), m.sum("zproxy_endpoint_connections", second.addr)
			return up == 2 && one > 0 && two > 0, fmt.Sprintf("%v endpoints up, %v and %v connections", up, one, two)
		})
		clients.reach(t, 1000)
		_, failed, slowest := clients.stop(t)
		// Of what an origin was answering when it went, a GET is asked again.
		if failed > restarts*loadClients {
			t.Errorf("%d requests failed in %d restarts with %d in flight", failed, restarts, loadClients)
		}
		if slowest > slowestRestart {
			t.Errorf("the slowest request took %v", slowest)
		}
	})
}

// The only origin is restarted under load: requests wait for it and none
// fails but those it was answering.
func TestRestartOfTheOnlyOrigin(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		origin := startNginx(t, t.TempDir())
		z := start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN}]
upstreams: {app: {endpoints: [{address: %q}], pool: {queue_timeout: 25s}}}
routes: [{path: "/*", upstream: app}]
access_log: {path: LOGFILE, flush: 50ms}
`, origin.addr))
		clients := startLoad(z.addr, "/hello", "hello\n", loadClients)
		time.Sleep(300 * time.Millisecond)
		origin.restart(300 * time.Millisecond)
		time.Sleep(time.Second)
		clients.reach(t, 500)
		_, failed, slowest := clients.stop(t)
		if failed > loadClients {
			t.Errorf("%d requests failed with %d in flight", failed, loadClients)
		}
		if slowest > slowestRestart {
			t.Errorf("the slowest request took %v", slowest)
		}
	})
}

// nginx -s reload closes its idle connections while requests are on their way
// to them: no GET fails.
func TestReloadOfOrigin(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		origin := startNginx(t, t.TempDir())
		z := start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN}]
upstreams: {app: {endpoints: [{address: %q}]}}
routes: [{path: "/*", upstream: app}]
access_log: {path: LOGFILE, flush: 50ms}
`, origin.addr))
		clients := startLoad(z.addr, "/hello", "hello\n", loadClients)
		wrkDone := make(chan wrkResult)
		need(t, "wrk")
		go func() { wrkDone <- wrk(t, 64, 4*time.Second, z.url("/hello")) }()
		for range 6 {
			time.Sleep(500 * time.Millisecond)
			run(t, "nginx", "-c", origin.config, "-p", origin.dir, "-s", "reload")
		}
		r := <-wrkDone
		clients.reach(t, 1000)
		if answered, failed, _ := clients.stop(t); failed > 0 {
			t.Errorf("%d requests were answered, %d failed", answered, failed)
		}
		if r.bad != 0 || r.errors != 0 || r.requests < 1000 {
			t.Errorf("wrk: requests %d, bad %d, errors %d:\n%s", r.requests, r.bad, r.errors, r.text)
		}
	})
}
