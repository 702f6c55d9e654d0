package main

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
)

// serveTLS answers, and counts connections with a full and a resumed handshake.
func serveTLS(t *testing.T, configure func(*tls.Config)) (addr netip.AddrPort, full, resumed *atomic.Int64) {
	t.Helper()
	full, resumed = new(atomic.Int64), new(atomic.Int64)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS.DidResume {
			resumed.Add(1)
		} else {
			full.Add(1)
		}
		if r.TLS.Version != tls.VersionTLS13 {
			w.WriteHeader(400)
		}
		io.WriteString(w, "ok")
	}))
	s.TLS = new(tls.Config)
	configure(s.TLS)
	s.StartTLS()
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Listener.Addr().String()), full, resumed
}

func TestHandshakes(t *testing.T) {
	for _, resume := range []bool{false, true} {
		addr, full, resumed := serveTLS(t, func(*tls.Config) {})
		h := handshakes{plan: plan{addr: addr, path: "/", connections: 4, closing: true, duration: 200 * time.Millisecond, patience: 5 * time.Second}, resume: resume}
		r, err := h.run()
		if err != nil {
			t.Fatal(err)
		}
		wantFull, wantResumed := r.Requests, int64(0)
		if resume {
			wantFull, wantResumed = 1, r.Requests
		}
		if r.Errors > 0 || r.Requests < 4 || full.Load() != wantFull || resumed.Load() != wantResumed {
			t.Errorf("resume %v: %+v; the server has seen %d full handshakes and %d resumed, want %d and %d", resume, r, full.Load(), resumed.Load(), wantFull, wantResumed)
		}
		if r.P50Micros <= 0 || r.P99Micros < r.P50Micros || r.Seconds < 0.2 {
			t.Errorf("resume %v: times of %+v", resume, r)
		}
	}
}

// A server that does not resume sessions is no good for measuring what that costs.
func TestHandshakesThatAreNotResumed(t *testing.T) {
	addr, _, _ := serveTLS(t, func(c *tls.Config) { c.SessionTicketsDisabled = true })
	h := handshakes{plan: plan{addr: addr, path: "/", connections: 2, closing: true, duration: 50 * time.Millisecond, patience: 5 * time.Second}, resume: true}
	if r, err := h.run(); err != nil || r.Requests != 0 || r.Errors == 0 {
		t.Errorf("%+v, %v; want errors and nothing that counts", r, err)
	}
}
