package e2e

import (
	"testing"
	"time"
)

const (
	// startBound is the resident set of a proxy with one loop that has just
	// started.
	startBound = 12 * mib
	// idleClients keep a connection after one request each, at idleBound bytes
	// of the proxy's memory each.
	idleClients = 5000
	idleBound   = 512
)

// A proxy that does nothing is small, and so is a client that does nothing.
func TestMemory(t *testing.T) {
	enoughFiles(t, idleClients)
	eachBackend(t, func(t *testing.T, backend string) {
		origin := startNginx(t, t.TempDir())
		z := bodyProxy(t, backend, origin.addr)
		rss := z.memory(t, "smaps_rollup", "Rss")
		t.Logf("resident set at the start: %.1f MiB", float64(rss)/mib)
		if rss > startBound {
			t.Errorf("the resident set at the start is %d bytes, more than %d", rss, startBound)
		}

		// What a first request takes is not the clients' cost.
		warm := dial(t, z.addr)
		for range 100 {
			warm.get("/hello")
		}
		z.metrics(t)
		time.Sleep(1200 * time.Millisecond)
		before := z.memory(t, "smaps_rollup", "Rss")
		clients := make([]*client, idleClients)
		for i := range clients {
			clients[i] = dial(t, z.addr)
			clients[i].get("/hello")
		}
		if n := z.metrics(t).sum("zproxy_client_connections"); n != idleClients+1 {
			t.Fatalf("%v clients, want %d", n, idleClients+1)
		}
		// Housekeeping gives back once a second what idle clients do not need.
		var each float64
		for range 10 {
			time.Sleep(500 * time.Millisecond)
			if each = float64(z.memory(t, "smaps_rollup", "Rss")-before) / idleClients; each <= idleBound {
				break
			}
		}
		t.Logf("an idle client takes %.0f bytes", each)
		if each > idleBound {
			t.Errorf("an idle client takes %.0f bytes, more than %d", each, idleBound)
		}
		for _, c := range append(clients, warm) {
			c.Close()
		}
	})
}
