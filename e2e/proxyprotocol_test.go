package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// nginxStream is nginx's proxy of TCP.
const nginxStream = "/usr/lib/nginx/modules/ngx_stream_module.so"

// startNginxStream runs it in front of an address, which it greets by a header of version 1.
func startNginxStream(t *testing.T, to string) (addr string) {
	t.Helper()
	need(t, "nginx")
	if _, err := os.Stat(nginxStream); err != nil {
		lacks(t, nginxStream)
	}
	addr = freeAddr(t)
	dir := t.TempDir()
	config := writeFile(t, filepath.Join(dir, "nginx.conf"), fmt.Sprintf(`load_module %s;
daemon off; error_log stderr; pid %s/pid;
events {}
stream { server { listen %s; proxy_pass %s; proxy_bind 127.0.0.9; proxy_protocol on; } }
`, nginxStream, dir, addr, to))
	spawn(t, "nginx", "-c", config, "-p", dir).awaitListener(t, addr)
	return addr
}

// startHAProxy runs one of TCP in front of an address, which it greets as send says; bind is what
// else there is to its own address.
func startHAProxy(t *testing.T, to, send, bind string) (addr string) {
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
  bind %s %s
  source 127.0.0.9
  server z %s %s
`, addr, bind, to, send))
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
			scheme := "http://"
			if secure != "" {
				scheme = "https://"
			}
			ask := func(url string, args ...string) string {
				return curl(t, append(args, "-k", "--interface", "127.0.0.5", "-o", os.DevNull, "-w", "%{http_code}", url+"/from")...)
			}
			if got := ask(scheme+z.addr, "--haproxy-protocol"); got != "200" {
				t.Errorf("curl: %s", got)
			}
			fronts := map[string]string{"nginx": scheme + startNginxStream(t, z.addr)}
			for _, send := range []string{"send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority", "send-proxy-v2 check inter 50ms"} {
				fronts["haproxy "+send] = scheme + startHAProxy(t, z.addr, send, "")
			}
			if secure == "" { // HAProxy ends TLS, and says so
				for _, send := range []string{"send-proxy-v2-ssl-cn", "send-proxy-v2 proxy-v2-options ssl,cert-cn,cert-key,cert-sig,ssl-cipher,authority,crc32c"} {
					fronts["haproxy "+send] = "https://" + startHAProxy(t, z.addr, send, "ssl crt "+joined(t, cert, key))
				}
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

// joined has a certificate and its key in one file, as HAProxy wants them.
func joined(t *testing.T, files ...string) string {
	t.Helper()
	text := ""
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text += string(b)
	}
	return writeFile(t, filepath.Join(t.TempDir(), "joined.pem"), text)
}

// startNaming runs nginx and HAProxy, each in clear and within TLS, as origins that say whom a PROXY header names.
func startNaming(t *testing.T, cert, key string) (nginx, haproxy [2]string) {
	t.Helper()
	need(t, "nginx", "haproxy")
	dir := t.TempDir()
	for i := range 2 {
		nginx[i], haproxy[i] = freeAddr(t), freeAddr(t)
	}
	n := writeFile(t, filepath.Join(dir, "nginx.conf"), fmt.Sprintf(`daemon off; error_log stderr; pid %[1]s/pid;
events {}
http {
  access_log off; client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
  server {
    listen %[2]s proxy_protocol; listen %[3]s ssl proxy_protocol; ssl_certificate %[4]s; ssl_certificate_key %[5]s;
    location / { return 200 "$proxy_protocol_addr to $proxy_protocol_server_addr:$proxy_protocol_server_port $connection_requests"; }
  }
}
`, dir, nginx[0], nginx[1], cert, key))
	process := spawn(t, "nginx", "-c", n, "-p", dir)
	h := writeFile(t, filepath.Join(dir, "haproxy.cfg"), fmt.Sprintf(`
defaults
  mode http
  timeout connect 20s
  timeout client 20s
  timeout server 20s
frontend f
  bind %s accept-proxy
  bind %s accept-proxy ssl crt %s
  http-request return status 200 content-type text/plain lf-string "%%[src] to %%[dst]:%%[dst_port] %%[fc_pp_authority] %%[fc_pp_unique_id] %%[req.hdr(x-request-id)]"
`, haproxy[0], haproxy[1], joined(t, cert, key)))
	other := spawn(t, "haproxy", "-db", "-f", h)
	for i := range 2 {
		process.awaitListener(t, nginx[i])
		other.awaitListener(t, haproxy[i])
	}
	return nginx, haproxy
}

// nginx and HAProxy as origins know the client by the header, in both versions, in clear and in front of
// TLS, whom HAProxy and nginx in front have named, and HAProxy what it is said besides.
func TestSendProxyPeers(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		cert, key := selfSigned(t, p256...)
		nginx, haproxy := startNaming(t, cert, key)
		upstreams, routes := "", ""
		for i, section := range []string{"", fmt.Sprintf("tls: {ca: %q, server_name: localhost}, ", cert)} {
			for name, addr := range map[string]string{"nginx": nginx[i], "haproxy": haproxy[i]} {
				for _, v := range []string{"v1", "v2"} {
					tlvs := "" // nginx 1.22 has no room for them in front of TLS
					if v == "v2" && (name == "haproxy" || i == 0) {
						tlvs = ", send_proxy_tlvs: [alpn, authority, ssl, unique_id]"
					}
					upstreams += fmt.Sprintf("  %s%s%d: {%ssend_proxy: %s%s, health_check: {initial: down, interval: 1s}, endpoints: [{address: %q}]}\n", name, v, i, section, v, tlvs, addr)
					routes += fmt.Sprintf("  - {path: /%s/%s/%d, upstream: %s%s%d}\n", name, v, i, name, v, i)
				}
			}
		}
		front := freeAddr(t)
		z := start(t, backend, fmt.Sprintf("listeners: [{address: LISTEN, tls: {certificates: [{cert: %[1]q, key: %[2]q}]}},\n"+
			"  {address: %[3]q, proxy_protocol: {from: [127.0.0.9]}, tls: {certificates: [{cert: %[1]q, key: %[2]q}]}}]\n"+
			"forwarding: {request_id: true}\nupstreams:\n%[4]sroutes:\n%[5]s", cert, key, front, upstreams, routes))
		eventually(t, 30*time.Second, "checks find all of them up", func() (bool, string) {
			up := z.metrics(t).sum("zproxy_endpoint_up")
			return up == 8, fmt.Sprint(up)
		})
		for _, by := range []string{z.addr, startNginxStream(t, front), startHAProxy(t, front, "send-proxy-v2", "")} {
			to := "127.0.0.6 to " + by
			for path, want := range map[string]string{"nginx/v1": to + " 1", "nginx/v2": to + " 1", "haproxy/v1": to + "   ", "haproxy/v2": to + " localhost "} {
				for within, protocol := range []string{"--http1.1", "--http2"} {
					_, port, _ := strings.Cut(by, ":")
					url := fmt.Sprintf("https://localhost:%s/%s/%d", port, path, within)
					got := curl(t, "--interface", "127.0.0.6", "--resolve", "localhost:"+port+":127.0.0.1", "--cacert", cert, protocol, url)
					if text, id, _ := strings.Cut(got, want); text != "" || strings.HasPrefix(path, "haproxy") && !sameIdentifier(id, path == "haproxy/v2") {
						t.Errorf("%s %s: %q, want %q", protocol, url, got, want)
					}
				}
			}
		}
	})
}

// sameIdentifier says that text is what a request is called by a header, if it is told, and by a field.
func sameIdentifier(text string, told bool) bool {
	id, again, _ := strings.Cut(text, " ")
	return len(again) == 32 && id == again || !told && len(id) == 32 && again == ""
}
