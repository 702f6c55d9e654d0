package e2e

import (
	"testing"
	"time"
)

const (
	// startBound is the resident set of a proxy with one loop that has just
	// started. Some 14 MiB of it are pages of the program's file, nearly all there are: the
	// kernel maps those around each that is touched, and all processes of the program share them.
	startBound = 17 * mib
	// startOwnBound is what of that is its own.
	startOwnBound = 3*mib + mib/2
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
		// How much of the program is mapped by then, and when garbage was collected, is chance
		// that only adds.
		for try := 1; rss > startBound && try < 3; try++ {
			rss = min(rss, bodyProxy(t, backend, origin.addr).memory(t, "smaps_rollup", "Rss"))
		}
		own := z.memory(t, "smaps_rollup", "Anonymous")
		t.Logf("resident set at the start: %.1f MiB, its own %.1f MiB", float64(rss)/mib, float64(own)/mib)
		if own > startOwnBound {
			t.Errorf("at the start %d bytes are its own, more than %d", own, startOwnBound)
		}
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
		z.counts(t, idleClients+1, "zproxy_client_connections")
		// Housekeeping gives back once a second what idle clients do not need.
		var each float64
		for range 40 {
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
