package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// secureNumbered is an origin within TLS that answers with its number, and checks as it is told.
type secureNumbered struct {
	addr     string
	sick     atomic.Bool
	requests atomic.Int64 // that are no checks
}

func startSecureNumbered(t *testing.T, i issued, n int) *secureNumbered {
	o := new(secureNumbered)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" {
			if o.sick.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			return
		}
		o.requests.Add(1)
		if r.URL.Path == "/which" {
			fmt.Fprint(w, n)
		} else {
			fmt.Fprint(w, "ok")
		}
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{i.pair}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of checks that do not trust it
	s.StartTLS()
	t.Cleanup(s.Close)
	o.addr = s.Listener.Addr().String()
	return o
}

// Endpoints that are found are checked, and spoken to, within TLS: one that is ill, or has the certificate of another authority,
// gets no request, under load, and one that gets well does. What is known of those that stay stays.
func TestDiscoverCheckedWithinTLS(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		ca, other := newAuthority(t, "ca", nil), newAuthority(t, "other", nil)
		own := ca.issue(t, "ecdsa", nil, "app.test")
		var origins []*secureNumbered
		for n := range 3 {
			origins = append(origins, startSecureNumbered(t, own, n))
		}
		foreign := startSecureNumbered(t, other.issue(t, "ecdsa", nil, "app.test"), 3)
		misnamed := startSecureNumbered(t, ca.issue(t, "ecdsa", nil, "other.test"), 4)
		d := &discovering{endpoints: filepath.Join(t.TempDir(), "endpoints.yaml")}
		d.replace(t, list(origins[0].addr))
		d.zproxy = start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN}]
upstreams:
  app:
    discover: {file: {path: %q}}
    tls: {ca: %q, server_name: app.test}
    health_check: {path: /health, interval: 50ms, timeout: 1s, fall: 2, rise: 2, initial: down}
routes: [{path: "/*", upstream: app}]
`, d.endpoints, ca.file))
		eventually(t, patience, "the first endpoint is well", func() (bool, string) {
			status, _ := timed(t, d.addr, "/which")
			return status == 200, tail(d.out.String())
		})
		d.has(t, origins[0].addr)
		l := startLoad(d.addr, "/", "ok", 4)
		state := func(addr, want, words string) {
			t.Helper()
			eventually(t, patience, addr+" is "+want, func() (bool, string) {
				s := d.checked(t, addr)
				return s.Checks[0].State == want && strings.Contains(s.Checks[0].Last+s.Reason, words), fmt.Sprintf("%+v", s)
			})
		}
		origins[1].sick.Store(true)
		d.replace(t, list(origins[0].addr, origins[1].addr, foreign.addr, misnamed.addr))
		d.metric(t, "zproxy_discovery_endpoints", func(v float64) bool { return v == 4 })
		state(origins[1].addr, "down", "503")
		state(foreign.addr, "down", "unknown authority")
		state(misnamed.addr, "down", "not app.test")
		if got := d.each(t, 20); got["0"] != 20 {
			t.Errorf("beside endpoints that are down %v have answered", got)
		}
		origins[1].sick.Store(false)
		state(origins[1].addr, "up", "")
		d.has(t, origins[0].addr, origins[1].addr)
		if got := d.each(t, 20); got["0"]+got["1"] != 20 || got["1"] == 0 {
			t.Errorf("after one got well %v have answered", got)
		}
		d.replace(t, list(origins[1].addr, origins[2].addr, foreign.addr))
		d.has(t, origins[1].addr, origins[2].addr)
		if got := d.each(t, 20); got["1"]+got["2"] != 20 || got["2"] == 0 {
			t.Errorf("after one went and one came %v have answered", got)
		}
		if answered, failed, _ := l.stop(t); failed != 0 || answered == 0 {
			t.Errorf("of %d requests %d failed", answered+failed, failed)
		}
		if n := foreign.requests.Load() + misnamed.requests.Load(); n != 0 {
			t.Errorf("%d requests went where the certificate is no good", n)
		}
	})
}

// zproxy diff tells what becomes another upstream: where endpoints are found is a part of it, and those that are found are not.
func TestDiscoverDiff(t *testing.T) {
	t.Parallel()
	addr, other := startNumbered(t, 0), startNumbered(t, 1)
	const text = "listeners: [{address: \"LISTEN\"}]\nupstreams: {app: {%s}}\nroutes: [{path: \"/*\", upstream: app}]\n"
	d := &discovering{endpoints: filepath.Join(t.TempDir(), "endpoints.yaml")}
	d.replace(t, list(addr))
	found := fmt.Sprintf("discover: {file: {path: %q}", d.endpoints)
	u := startUnixAdmin(t, fmt.Sprintf(text, found+"}"))
	which := func() string { return get(t, "http://"+u.addr+"/which") }
	next := func(upstream string) string {
		return writeFile(t, filepath.Join(u.dir, "next.yaml"), u.whole(fmt.Sprintf(text, upstream)))
	}
	expect(t, 0, "nothing is different\n", "diff", "-c", u.file)
	d.replace(t, list(other))
	eventually(t, patience, "the other endpoint answers", func() (bool, string) { got := which(); return got == "1", got })
	expect(t, 0, "nothing is different\n", "diff", "-c", u.file)
	expect(t, 0, "nothing is different\n", "diff", "-c", next("timeouts: {response: 60s}, "+found+", empty: keep}"))
	for _, upstream := range []string{found + ", empty: drain}", strings.Replace(found, ".yaml", ".yml", 1) + "}", "endpoints: [{address: \"" + addr + "\"}]", "discover: {consul: {service: app}}", found + "}, retries: 3"} {
		expect(t, 0, "upstreams: changed app\n", "diff", "-c", next(upstream))
		expect(t, 0, "upstreams: changed app\n", "diff", "-c", next(upstream), "-with", u.file)
	}
	expect(t, 1, "exactly one of", "diff", "-c", next(found+", consul: {service: app}}"))
	if got := which(); got != "1" {
		t.Errorf("after all that was compared %q answers", got)
	}
	u.write(t, fmt.Sprintf(text, found+", empty: drain}"))
	expect(t, 0, "upstreams: changed app\n", "reload", "-c", u.file)
	expect(t, 0, "nothing is different\n", "diff", "-c", u.file)
	if got := which(); got != "1" {
		t.Errorf("after a reload %q answers", got)
	}
}
