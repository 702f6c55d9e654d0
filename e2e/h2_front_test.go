package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// standIn names a program that takes the place of zproxy in the tests of
// HTTP/2, which judges the tests: ZPROXY_STANDIN=haproxy. What only zproxy has
// is not looked at then.
var standIn = os.Getenv("ZPROXY_STANDIN")

// front is a proxy before one origin.
type front struct {
	addr string
	z    *zproxy // nil with a stand-in
	p    *process
}

func (f *front) url(path string) string { return "http://" + f.addr + path }

// site is what a front is started with.
type site struct {
	listen string // protocols of the listener: "h2c", "http1, h2c"; "" is h2c
	origin string // protocol of the origin: "http1" or "h2c"
	addr   string // of the origin
	more   string // further sections of the configuration
	pool   string // keys of the upstream beside protocol and endpoints
}

func (s *site) config() string {
	pool := ""
	if s.pool != "" {
		pool = ", " + s.pool
	}
	return fmt.Sprintf(`
listeners: [{address: LISTEN, protocols: [%s]}]
upstreams: {app: {protocol: %s, endpoints: [{address: %q}], timeouts: {connect: 20s}%s}}
routes: [{path: "/*", upstream: app}]
access_log: {path: LOGFILE, flush: 50ms}
%s
`, s.listen, s.origin, s.addr, pool, s.more)
}

// startFront runs the proxy under test before an origin.
func startFront(t *testing.T, backend string, s site) *front {
	t.Helper()
	if s.listen == "" {
		s.listen = "h2c"
	}
	if standIn != "" {
		return startStandIn(t, s)
	}
	z := start(t, backend, s.config())
	return &front{addr: z.addr, z: z, p: z.process}
}

// eachFront runs test once per usable backend, or once with the stand-in.
func eachFront(t *testing.T, test func(t *testing.T, backend string)) {
	t.Helper()
	if standIn != "" {
		t.Run(standIn, func(t *testing.T) { test(t, standIn) })
		return
	}
	eachBackend(t, test)
}

// origins runs test with an origin of either protocol.
func origins(t *testing.T, test func(t *testing.T, backend, protocol string)) {
	t.Helper()
	eachFront(t, func(t *testing.T, backend string) {
		for _, protocol := range []string{"http1", "h2c"} {
			t.Run("to "+protocol, func(t *testing.T) { test(t, backend, protocol) })
		}
	})
}

func startStandIn(t *testing.T, s site) *front {
	t.Helper()
	if standIn != "haproxy" {
		t.Fatalf("ZPROXY_STANDIN is %q: the one there is is haproxy", standIn)
	}
	need(t, "haproxy")
	f := &front{addr: freeAddr(t)}
	only := func(protocols string) string {
		if protocols == "h2c" {
			return " proto h2"
		}
		return "" // it tells them apart
	}
	config := writeFile(t, filepath.Join(t.TempDir(), "haproxy.cfg"), fmt.Sprintf(`
global
  nbthread 1
  tune.h2.max-concurrent-streams 512
defaults
  mode http
  timeout connect 2s
  timeout client 30s
  timeout server 30s
  timeout http-request 5s
  http-reuse always
  option abortonclose
frontend f
  bind %s%s
  default_backend b
backend b
  server s %s%s
`, f.addr, only(s.listen), s.addr, only(s.origin)))
	f.p = spawn(t, "haproxy", "-f", config)
	f.p.awaitListener(t, f.addr)
	return f
}

// onlyZproxy leaves out what a stand-in does not have.
func onlyZproxy(t *testing.T) {
	t.Helper()
	if standIn != "" {
		t.Skipf("this is about zproxy alone: unset ZPROXY_STANDIN, which is %s", standIn)
	}
}

// logged waits for a line of the access log that has every one of parts.
func (f *front) logged(t *testing.T, parts ...string) {
	t.Helper()
	if f.z == nil {
		return
	}
	eventually(t, patience, "the access log says "+strings.Join(parts, " "), func() (bool, string) {
		b, err := os.ReadFile(f.z.log)
		if err != nil {
			return false, err.Error()
		}
	next:
		for line := range strings.Lines(string(b)) {
			for _, p := range parts {
				if !strings.Contains(line, p) {
					continue next
				}
			}
			return true, ""
		}
		return false, tail(string(b))
	})
}
