package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"zproxy/internal/longtest"
)

// A request on a connection whose client has shown a certificate allocates nothing, as any
// other does: its fields and its line in the log are written from what the handshake left.
func TestTLSRequestsAllocateNothing(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		ca := newAuthority(t, "ca", nil)
		server, who := ca.issue(t, "ecdsa", nil, "a.example", "also.example"), ca.issue(t, "ecdsa", nil, "somebody")
		z := startListening(t, backend, fmt.Sprintf(`{certificates: [{cert: %q, key: %q}], client_auth: {ca: %q}}`, server.cert, server.key, ca.file))
		for _, h2 := range []bool{false, true} {
			c := z.secureClient(t, h2, &tls.Config{RootCAs: ca.pool(), Certificates: []tls.Certificate{who.pair}})
			ask := func(n int) {
				for i := range n {
					status, fields, _, err := told(c, "a.example", func(r *http.Request) {
						if i%2 == 0 {
							r.Host = "also.example"
						}
					})
					if status != 200 || len(fields["Client-Cert"]) != 1 {
						t.Fatalf("%d, %v", status, err)
					}
				}
			}
			// The runtime counts with delay, and each look at the count allocates about a
			// thousand objects: a few tries tell that from one in every second request.
			const requests, tries = 4000, 4
			ask(200)
			least := math.Inf(1)
			for try := 0; try < tries && least > requests/2; try++ {
				before := z.metrics(t).sum("go_heap_allocs_total")
				ask(requests)
				least = min(least, z.metrics(t).sum("go_heap_allocs_total")-before)
			}
			if least > requests/2 {
				t.Errorf("h2 %v: %v allocations in %d requests", h2, least, requests)
			}
		}
	})
}

// Certificates change a thousand times under load, and no request fails.
func TestLengthyCertificateChanges(t *testing.T) {
	longtest.Need(t)
	eachBackend(t, func(t *testing.T, backend string) {
		ca := newAuthority(t, "ca", nil)
		cert, key, turn := mountSecrets(t, []issued{ca.issue(t, "ecdsa", nil, "a.example"), ca.issue(t, "ecdsa", nil, "a.example")})
		z := startListening(t, backend, fmt.Sprintf(`{certificates: [{cert: %q, key: %q}]}`, cert, key))
		var stop atomic.Bool
		var asked, handshakes atomic.Int64
		var all sync.WaitGroup
		for i := range 6 {
			all.Go(func() {
				config := &tls.Config{RootCAs: ca.pool()}
				if i%2 == 0 {
					config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
				}
				c := z.secureClient(t, i%3 == 0, config)
				for !stop.Load() {
					res, err := c.Get("https://a.example/")
					if err != nil {
						t.Error(err)
						return
					}
					_, err = io.Copy(io.Discard, res.Body)
					res.Body.Close()
					if err != nil || res.StatusCode != 200 {
						t.Errorf("%s, %v", res.Status, err)
						return
					}
					asked.Add(1)
					if i > 1 { // two keep their connections
						c.CloseIdleConnections()
						handshakes.Add(1)
					}
				}
			})
		}
		const changes = 1000
		for i := range changes {
			turn((i + 1) % 2)
			z.signal(t, syscall.SIGHUP)
			// The reload reads them once more at its end, and is over by then: what changes while it is read does not fit together.
			eventually(t, patience, "the change is seen", func() (bool, string) {
				m := z.metrics(t)
				seen, reloads := m.sum("zproxy_tls_reloads_total"), m.sum("zproxy_reloads_total")
				return seen == float64(i+1) && reloads == float64(i+1), fmt.Sprint(seen, reloads)
			})
		}
		stop.Store(true)
		all.Wait()
		if m := z.metrics(t); m.sum("zproxy_tls_reload_failures_total") != 0 || m.sum("zproxy_tls_failed_total") != 0 {
			t.Errorf("%v reloads failed, %v handshakes", m.sum("zproxy_tls_reload_failures_total"), m.sum("zproxy_tls_failed_total"))
		}
		t.Logf("%d requests, %d handshakes, %d changes", asked.Load(), handshakes.Load(), changes)
	})
}
