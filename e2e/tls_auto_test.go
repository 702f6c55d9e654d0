package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// autoOrigin is Go's server, which offers HTTP/2 as long as it is not told otherwise.
type autoOrigin struct {
	*httptest.Server
	http1 atomic.Bool
}

// startAuto runs one on l.
func startAuto(t *testing.T, l net.Listener, http1 bool) *autoOrigin {
	t.Helper()
	cert, key := selfSigned(t, p256...)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	o := new(autoOrigin)
	o.http1.Store(http1)
	o.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/ws") {
			gorillaEcho(w, r)
			return
		}
		w.Header().Set("X-Version", r.Proto)
		fmt.Fprint(w, "ok")
	}))
	if l != nil {
		o.Listener.Close()
		o.Listener = l
	}
	o.EnableHTTP2 = true
	both := &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}}
	o.TLS = both.Clone()
	o.TLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		own := both.Clone()
		if o.http1.Load() {
			own.NextProtos = own.NextProtos[1:]
		}
		return own, nil
	}
	o.StartTLS()
	t.Cleanup(o.Close)
	return o
}

func (o *autoOrigin) addr() string { return o.Listener.Addr().String() }

// speaks waits until upstream is reached by protocol, as the status page and the metrics say.
func (z *zproxy) speaks(t *testing.T, upstream, protocol string) {
	t.Helper()
	eventually(t, patience, upstream+" speaks "+protocol, func() (bool, string) {
		for _, u := range z.status(t).Upstreams {
			if u.Upstream == upstream {
				m := z.metrics(t)
				told := func(protocol string) bool {
					return m.sum("zproxy_upstream_protocol", fmt.Sprintf("upstream=%q", upstream), fmt.Sprintf("protocol=%q", protocol)) == 1
				}
				return u.Protocol == protocol && u.Auto && (told(protocol) || protocol == "http1" && told("unknown")), u.Protocol
			}
		}
		return false, "it is not there"
	})
}

// versionOf asks an origin of startAuto by which protocol it is asked.
func (z *zproxy) versionOf(t *testing.T, upstream string) string {
	t.Helper()
	resp, err := once.Get(z.url("/" + upstream + "/"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("%s: %s", upstream, resp.Status)
	}
	return resp.Header.Get("X-Version")
}

// What upstreams with protocol: auto speak is known from the start, and changes with what their
// endpoints offer: no request fails for it.
func TestTLSAuto(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		fickle, old := startAuto(t, nil, false), startAuto(t, nil, true)
		cert, key := selfSigned(t, p256...)
		root := t.TempDir()
		writeFile(t, filepath.Join(root, "nginx"), "file\n")
		nginx, later := startNginxFor(t, "tls", root, cert, key), freeAddr(t)
		upstreams, routes := "", ""
		for name, addrs := range map[string][]string{"fickle": {fickle.addr()}, "old": {old.addr()}, "mixed": {fickle.addr(), old.addr()}, "nginx": {nginx.addr}, "later": {later}} {
			ends := ""
			for _, a := range addrs {
				ends += fmt.Sprintf("{address: %q}, ", a)
			}
			upstreams += fmt.Sprintf("  %s: {protocol: auto, tls: {verify: false}, endpoints: [%s]}\n", name, strings.TrimSuffix(ends, ", "))
			routes += fmt.Sprintf("  - {path: /%s, upstream: %s}\n  - {path: \"/%s/*\", upstream: %s}\n", name, name, name, name)
		}
		text := "listeners: [{address: LISTEN}]\nupstreams:\n" + upstreams + "routes:\n" + routes
		z := start(t, backend, text)
		by := func(name, want string) {
			t.Helper()
			if got := z.versionOf(t, name); got != want {
				t.Errorf("%s: by %q", name, got)
			}
		}
		for name, protocol := range map[string]string{"fickle": "h2", "old": "http1", "mixed": "http1", "nginx": "h2", "later": "http1"} {
			z.speaks(t, name, protocol)
		}
		by("fickle", "HTTP/2.0")
		by("old", "HTTP/1.1")
		by("mixed", "HTTP/1.1")
		if got := get(t, z.url("/nginx")); got != "file\n" {
			t.Errorf("nginx: %q", got)
		}
		for client, dial := range libraryClients(context.Background(), "ws://"+z.addr+"/fickle/ws", false) {
			converse(t, client, dial, 125)
		}
		load := startLoad(z.addr, "/fickle/", "ok", 6)
		fickle.http1.Store(true)
		fickle.CloseClientConnections()
		z.speaks(t, "fickle", "http1")
		by("fickle", "HTTP/1.1")
		if answered, failed, _ := load.stop(t); failed > 0 || answered == 0 {
			t.Errorf("%d answered, %d failed: %v", answered, failed, load.first.Load())
		}
		l, err := net.Listen("tcp", later)
		if err != nil {
			t.Fatal(err)
		}
		startAuto(t, l, false)
		z.speaks(t, "later", "h2")
		// The status page has what the loops are being told.
		eventually(t, patience, "all loops know", func() (bool, string) { got := z.versionOf(t, "later"); return got == "HTTP/2.0", got })
		if !z.reload(t, strings.Replace(text, "LISTEN", fmt.Sprintf("%q", z.addr), 1)) {
			t.Fatalf("reload: %s", tail(z.out.String()))
		}
		by("later", "HTTP/2.0")
		by("fickle", "HTTP/1.1")
	})
}
