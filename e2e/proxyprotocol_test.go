package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// startHAProxy runs one of TCP in front of an address, which it greets as send says.
func startHAProxy(t *testing.T, to string, send string) (addr string) {
	t.Helper()
	need(t, "haproxy")
	addr = freeAddr(t)
	config := writeFile(t, filepath.Join(t.TempDir(), "haproxy.cfg"), fmt.Sprintf(`
defaults
  mode tcp
  timeout connect 20s
  timeout client 20s
  timeout server 20s
  timeout check 20s
listen front
  bind %s
  source 127.0.0.9
  server z %s %s
`, addr, to, send))
	spawn(t, "haproxy", "-db", "-f", config).awaitListener(t, addr)
	return addr
}

// HAProxy and curl name the client in front of a listener, in clear and within TLS, in both
// versions; health checks of HAProxy's have no name, and find the proxy up.
func TestProxyProtocolPeers(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		cert, key := selfSigned(t, p256...)
		origin := startTelling(t)
		for _, secure := range []string{"", fmt.Sprintf(", tls: {certificates: [{cert: %q, key: %q}]}", cert, key)} {
			z := start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN, proxy_protocol: {from: ["127.0.0.0/8"]}%s}]
upstreams: {app: {endpoints: [{address: %q}]}}
routes: [{path: "/*", upstream: app}]
access_log: {path: LOGFILE, flush: 10ms}
`, secure, origin.addr))
			scheme := "http"
			if secure != "" {
				scheme = "https"
			}
			ask := func(addr string, args ...string) string {
				return curl(t, append(args, "-k", "--interface", "127.0.0.5", "-o", os.DevNull, "-w", "%{http_code}", scheme+"://"+addr+"/from")...)
			}
			if got := ask(z.addr, "--haproxy-protocol"); got != "200" {
				t.Errorf("curl: %s", got)
			}
			fronts := map[string]string{}
			for _, send := range []string{"send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority", "send-proxy-v2 check inter 50ms"} {
				fronts["haproxy "+send] = startHAProxy(t, z.addr, send)
			}
			for who, addr := range fronts {
				var anyway []string
				if strings.Contains(who, " check ") {
					// Who fails three checks is down. A check that a busy machine makes late fails as well,
					// and the next two that do not put that right.
					came := z.metrics(t).sum("zproxy_accepted_total")
					eventually(t, patience, "checks are made", func() (bool, string) {
						n := z.metrics(t).sum("zproxy_accepted_total") - came
						return n >= 4, fmt.Sprint(n)
					})
					anyway = []string{"--retry", "20", "--retry-delay", "1", "--retry-all-errors"}
				}
				if got := ask(addr, anyway...); !strings.HasSuffix(got, "200") {
					t.Errorf("%s: %s", who, got)
				}
			}
			eventually(t, patience, "the log has the clients", func() (bool, string) {
				b, err := os.ReadFile(z.log)
				n := strings.Count(string(b), `"client":"127.0.0.5`)
				return err == nil && n == 1+len(fronts), fmt.Sprintf("%d of %d: %s", n, 1+len(fronts), b)
			})
		}
	})
}

// nginx and HAProxy as origins know the client by the header, in both versions, and HAProxy what it
// is said of TLS.
func TestSendProxyPeers(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		need(t, "haproxy")
		cert, key := selfSigned(t, p256...)
		dir := t.TempDir()
		nginx, haproxy := freeAddr(t), freeAddr(t)
		n := writeFile(t, filepath.Join(dir, "nginx.conf"), fmt.Sprintf(`daemon off; error_log stderr; pid %[1]s/pid;
events {}
http {
  access_log off; client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
  server { listen %[2]s proxy_protocol; location / { return 200 "$proxy_protocol_addr -"; } }
}
`, dir, nginx))
		spawn(t, "nginx", "-c", n, "-p", dir).awaitListener(t, nginx)
		h := writeFile(t, filepath.Join(dir, "haproxy.cfg"), fmt.Sprintf(`
defaults
  mode http
  timeout connect 20s
  timeout client 20s
  timeout server 20s
frontend f
  bind %s accept-proxy
  http-request return status 200 content-type text/plain lf-string "%%[src] %%[fc_pp_authority]"
`, haproxy))
		spawn(t, "haproxy", "-db", "-f", h).awaitListener(t, haproxy)
		upstreams, routes := "", ""
		for name, addr := range map[string]string{"nginx": nginx, "haproxy": haproxy} {
			for _, v := range []string{"v1", "v2"} {
				upstreams += fmt.Sprintf("  %s%s: {send_proxy: %s, health_check: {initial: down, interval: 1s}, endpoints: [{address: %q}]}\n", name, v, v, addr)
				routes += fmt.Sprintf("  - {path: /%s/%s, upstream: %s%s}\n", name, v, name, v)
			}
		}
		z := start(t, backend, fmt.Sprintf("listeners: [{address: LISTEN, tls: {certificates: [{cert: %q, key: %q}]}}]\nupstreams:\n%sroutes:\n%s", cert, key, upstreams, routes))
		eventually(t, 30*time.Second, "checks find all of them up", func() (bool, string) {
			up := z.metrics(t).sum("zproxy_endpoint_up")
			return up == 4, fmt.Sprint(up)
		})
		for path, want := range map[string]string{"nginx/v1": "127.0.0.6 -", "nginx/v2": "127.0.0.6 -", "haproxy/v1": "127.0.0.6 ", "haproxy/v2": "127.0.0.6 localhost"} {
			for _, protocol := range []string{"--http1.1", "--http2"} {
				if got := curl(t, "--interface", "127.0.0.6", "--cacert", cert, protocol, z.secureURL("/"+path)); strings.TrimSpace(got) != strings.TrimSpace(want) {
					t.Errorf("%s %s: %q", protocol, path, got)
				}
			}
		}
	})
}
