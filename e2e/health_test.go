package e2e

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// patient is an origin on a unix socket whose health a test decides. It serves all
// requests but those of checks, whatever it says to these.
type patient struct {
	file     string
	l        net.Listener
	health   atomic.Pointer[string] // what checks get: see the constants, or a response
	checks   atomic.Int64
	requests atomic.Int64
}

const (
	stalls = "stalls" // takes the request, and says nothing
	closes = "closes" // ... and closes the connection
	begins = "begins" // ... and sends a part of a response
	flaps  = "flaps"  // every other check passes
	silent = "silent" // accepts, and does nothing: requests too would hang
	broken = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
)

func (p *patient) become(health string) { p.health.Store(&health) }

// live has it listen, until die.
func (p *patient) live(t *testing.T) {
	t.Helper()
	l, err := net.Listen("unix", p.file)
	if err != nil {
		t.Fatal(err)
	}
	p.l = l
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			go p.serve(c)
		}
	}()
}

func (p *patient) die() { p.l.Close() } // which removes the file

func (p *patient) serve(c net.Conn) {
	defer c.Close()
	if *p.health.Load() == silent {
		buffer := make([]byte, 1)
		for {
			if _, err := c.Read(buffer); err != nil {
				return
			}
		}
	}
	oc := &originConn{c, bufio.NewReader(c)}
	for r := oc.request(); r != nil; r = oc.request() {
		if r.URL.Path != "/health" {
			p.requests.Add(1)
			oc.write(ok("patient"))
			continue
		}
		n := p.checks.Add(1)
		switch health := *p.health.Load(); health {
		case stalls:
			oc.request() // until the check gives up
			return
		case closes:
			return
		case begins:
			oc.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhea")
			oc.request()
			return
		case flaps:
			if n%2 == 0 {
				oc.write(broken)
				continue
			}
			oc.write(ok("healthy"))
		case "":
			oc.write(ok("healthy"))
		default:
			oc.write(health)
		}
	}
}

// checkStatus is what /status says of the first address of an endpoint.
type checkStatus struct {
	Upstream, Endpoint string
	Down               bool
	Reason             string
	Checks             []struct {
		State, Last, Since string
		Failed, Against    int
		History            []struct{ State, Why string }
	} `json:"health_checks"`
}

// checked is what checks say of an endpoint, which may be about to have its first one.
func (z *zproxy) checked(t *testing.T, endpoint string) (found checkStatus) {
	t.Helper()
	eventually(t, patience, endpoint+" is checked", func() (bool, string) {
		var s struct{ Endpoints []checkStatus }
		if err := json.Unmarshal(z.page(t, "/status"), &s); err != nil {
			t.Fatal(err)
		}
		for _, e := range s.Endpoints {
			if e.Endpoint == endpoint && len(e.Checks) == 1 {
				found = e
				return true, ""
			}
		}
		return false, fmt.Sprintf("%+v", s)
	})
	return found
}

// ward is a proxy with a patient and an origin that is well.
type ward struct {
	*zproxy
	sick     *patient
	endpoint string // the patient's
	good     string
}

func (w *ward) text(listen, more string) string {
	const check = `health_check: {path: /health, body: "healthy|hello", interval: 50ms, timeout: 1s, fall: 2, rise: 2, initial: unknown}`
	return fmt.Sprintf("listeners: [{address: %s}]\nupstreams:\n  app: {endpoints: [{address: %q}, {address: %q}], %s%s}\n  sick: {endpoints: [{address: %q}], %s}\n",
		listen, w.good, w.endpoint, check, more, w.endpoint, check) + "routes:\n  - {path: \"/*\", upstream: app}\n  - {path: /sick, upstream: sick}\n"
}

func (w *ward) get(t *testing.T, path string) int {
	t.Helper()
	status, _ := timed(t, w.addr, path)
	return status
}

// isWell waits until requests go to the patient.
func (w *ward) isWell(t *testing.T) {
	t.Helper()
	eventually(t, patience, "requests go to both", func() (bool, string) {
		n := w.sick.requests.Load()
		status := w.get(t, "/") + w.get(t, "/") + w.get(t, "/sick")
		return status == 600 && w.sick.requests.Load() >= n+2, w.out.String()
	})
}

// isSick waits until checks have found out, and say so in these words: requests go elsewhere.
func (w *ward) isSick(t *testing.T, words string) {
	t.Helper()
	eventually(t, patience, "the endpoint is down: "+words, func() (bool, string) {
		s := w.checked(t, w.endpoint)
		return s.Down && s.Checks[0].State == "down" && strings.Contains(s.Reason, words), fmt.Sprintf("%+v", s)
	})
	n := w.sick.requests.Load()
	eventually(t, patience, "requests are served by the other one", func() (bool, string) {
		for i := range 8 {
			if status := w.get(t, "/"); status != 200 {
				return false, fmt.Sprintf("request %d: status %d", i, status)
			}
		}
		return true, ""
	})
	if status := w.get(t, "/sick"); status != 503 {
		t.Errorf("status %d where the only endpoint is down: %s", status, words)
	}
	if got := w.sick.requests.Load(); got != n {
		t.Errorf("%d requests went to what is down: %s", got-n, words)
	}
}

// Endpoints die, stall, answer what they must not, flap and are half dead: checks find it
// and say what it is, no request goes there, and it is used again as soon as it is well.
func TestHealthChecks(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		w := &ward{sick: &patient{file: filepath.Join(socketDir(t), "sick")}}
		w.endpoint = "unix:" + w.sick.file
		w.good = startOrigin(t, slowAnswer(t, atOnce)).addr
		w.sick.become("")
		w.sick.live(t)
		t.Cleanup(func() { w.sick.die() })
		w.zproxy = start(t, backend, w.text("LISTEN", ""))
		w.isWell(t)
		for health, words := range map[string]string{
			broken: "status 500, expected 200-399", stalls: "no response within 1s", begins: "no whole response within 1s", closes: "connection closed",
			ok("sick"): "the body does not match healthy|hello", silent: "no response within 1s",
		} {
			w.sick.become(health)
			w.isSick(t, words)
			w.sick.become("")
			w.isWell(t)
		}
		w.sick.die()
		w.isSick(t, "no such file")
		// Another configuration is no news of it.
		since := w.checked(t, w.endpoint).Checks[0].Since
		if !w.reload(t, w.text(w.addr, ", retries: 2")) {
			t.Fatal("the configuration was not reloaded")
		}
		if s := w.checked(t, w.endpoint); s.Checks[0].Since != since || !s.Down || len(s.Checks[0].History) < 3 {
			t.Errorf("after a reload %+v, was down since %s", s, since)
		}
		w.isSick(t, "no such file")
		w.sick.live(t)
		w.isWell(t)
		eventually(t, patience, "metrics have failed checks", func() (bool, string) {
			m := w.metrics(t)
			return m.sum("zproxy_health_checks_total", `endpoint="`+w.endpoint+`"`, `result="failed"`) > 0, fmt.Sprint(m.all("zproxy_health_checks_total"))
		})
		w.sick.become(flaps)
		failed := w.checked(t, w.endpoint).Checks[0].Failed
		eventually(t, patience, "every other check fails", func() (bool, string) {
			s := w.checked(t, w.endpoint)
			return s.Checks[0].Failed >= failed+4, fmt.Sprintf("%+v", s)
		})
		w.isWell(t) // no two failures in a row
		for _, words := range [][]string{
			{"subject=health_check", "endpoint is down", "upstream=sick", "status 500, expected 200-399"},
			{"subject=health_check", "endpoint is up", "upstream=app", "the body matches"},
		} {
			eventually(t, patience, fmt.Sprintf("the log says %q", words), func() (bool, string) { return w.says(words...), w.out.String() })
		}
	})
}

// socketDir is a folder whose name is short enough for sockets.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "zp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// startAsked is an origin by Go, within TLS where config is not nil and HTTP/2 in clear
// where it is, that says of itself what status is, as grpc.health.v1 does.
func startAsked(t *testing.T, config *tls.Config, status byte) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/grpc.health.v1.Health/Check" {
			return
		}
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		w.Write([]byte{0, 0, 0, 0, 2, 1 << 3, status})
		w.Header().Set("Grpc-Status", "0")
	}))
	if s.TLS = config; config != nil {
		s.EnableHTTP2 = true
		s.StartTLS()
	} else {
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
	}
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// Checks within TLS are made with what the upstream says of TLS, those of gRPC over either
// form of HTTP/2; where the first check decides, no request comes before it.
func TestHealthChecksOfProtocols(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		ca := newAuthority(t, "ca", nil)
		pair := ca.issue(t, "ecdsa", nil, "a.example")
		asks := &tls.Config{Certificates: []tls.Certificate{pair.pair}, ClientAuth: tls.RequireAnyClientCert}
		upstreams, routes := "", ""
		want := map[string]string{}
		add := func(name, protocol, kind, secure, addr, reason string) {
			upstreams += fmt.Sprintf("  %s: {protocol: %s, %sendpoints: [{address: %q}], health_check: {type: %s, initial: unknown, interval: 2s, timeout: 5s}}\n", name, protocol, secure, addr, kind)
			routes += fmt.Sprintf("  - {path: /%s, upstream: %s}\n", name, name)
			want[name] = reason
		}
		secure := fmt.Sprintf("tls: {ca: %q, server_name: a.example, certificate: {cert: %q, key: %q}}, ", ca.file, pair.cert, pair.key)
		tlsOrigin := startAsked(t, asks.Clone(), 1)
		for _, protocol := range []string{"http1", "h2", "auto"} {
			add(protocol, protocol, "http", secure, tlsOrigin, "")
			add(protocol+"-tcp", protocol, "tcp", secure, tlsOrigin, "")
		}
		add("grpc", "h2", "grpc", secure, tlsOrigin, "")
		add("grpc-clear", "h2c", "grpc", "", startAsked(t, nil, 1), "")
		add("grpc-down", "h2c", "grpc", "", startAsked(t, nil, 2), "NOT_SERVING")
		add("other-name", "http1", "http", strings.Replace(secure, "a.example", "b.example", 1), tlsOrigin, "TLS handshake failed: ")
		z := start(t, backend, "listeners: [{address: LISTEN}]\nupstreams:\n"+upstreams+"routes:\n"+routes)
		var s struct{ Endpoints []checkStatus }
		// The start waits for the first checks, but not for ones that a busy machine holds up.
		eventually(t, patience, "checks have decided", func() (bool, string) {
			s.Endpoints = nil
			if err := json.Unmarshal(z.page(t, "/status"), &s); err != nil {
				t.Fatal(err)
			}
			for _, e := range s.Endpoints {
				reason := want[e.Upstream]
				if len(e.Checks) != 1 || e.Checks[0].State == "unknown" || e.Down != (reason != "") || !strings.Contains(e.Reason, reason) {
					return false, fmt.Sprintf("%s: %+v, want %q", e.Upstream, e, reason)
				}
			}
			return len(s.Endpoints) == len(want), fmt.Sprintf("%d endpoints", len(s.Endpoints))
		})
		for _, e := range s.Endpoints {
			reason := want[e.Upstream]
			status, _ := timed(t, z.addr, "/"+e.Upstream)
			if wantStatus := map[bool]int{true: 200, false: 503}[reason == ""]; status != wantStatus {
				t.Errorf("%s: status %d", e.Upstream, status)
			}
		}
	})
}
