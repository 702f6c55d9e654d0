package e2e

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// selfSigned makes a certificate for localhost with its key, by openssl.
func selfSigned(t *testing.T, newkey ...string) (cert, key string) {
	t.Helper()
	need(t, "openssl")
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	args := append([]string{"req", "-x509", "-nodes", "-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
		"-keyout", key, "-out", cert, "-newkey"}, newkey...)
	run(t, "openssl", args...)
	return cert, key
}

var p256 = []string{"ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"}

// startSecure runs a proxy with a TLS listener before origin.
func startSecure(t *testing.T, backend, cert, key, upstream string) *zproxy {
	t.Helper()
	return start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN, tls: {certificates: [{cert: %q, key: %q}]}}]
upstreams: {app: %s}
routes: [{path: "/*", upstream: app}]
access_log: {path: LOGFILE, flush: 10ms}
`, cert, key, upstream))
}

// logs waits until the access log has all of what.
func (z *zproxy) logs(t *testing.T, what ...string) {
	t.Helper()
	eventually(t, patience, "the access log says why", func() (bool, string) {
		b, err := os.ReadFile(z.log)
		for _, w := range what {
			if err != nil || !strings.Contains(string(b), w) {
				return false, fmt.Sprintf("no %q in %s", w, b)
			}
		}
		return true, ""
	})
}

func (z *zproxy) secureURL(path string) string {
	_, port, _ := net.SplitHostPort(z.addr)
	return "https://localhost:" + port + path
}

// curl, wrk and h2load over TLS, every version, kind of certificate and protocol;
// bodies of many records both ways.
func TestTLSPeers(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		root := t.TempDir()
		big := strings.Repeat("0123456789abcdef", 3<<16)
		writeFile(t, filepath.Join(root, "big"), big)
		origin := startNginx(t, root)
		for _, newkey := range [][]string{p256, {"rsa:2048"}, {"ed25519"}} {
			cert, key := selfSigned(t, newkey...)
			z := startSecure(t, backend, cert, key, fmt.Sprintf("{endpoints: [{address: %q}]}", origin.addr))
			for _, args := range [][]string{{"--http1.1"}, {"--http2"}, {"--http1.1", "--tls-max", "1.2"}, {"--http2", "--tls-max", "1.2"}, {"--http2", "--tlsv1.3"}} {
				args := append([]string{"--cacert", cert}, args...)
				if got := curl(t, append(args, z.secureURL("/hello"))...); got != "hello\n" {
					t.Errorf("%v: %q", args, got)
				}
				if got := curl(t, append(args, z.secureURL("/big"))...); got != big {
					t.Errorf("%v: %d of %d bytes", args, len(got), len(big))
				}
				upload := writeFile(t, filepath.Join(t.TempDir(), "up"), big)
				name := fmt.Sprintf("/dav/%d", time.Now().UnixNano())
				curl(t, append(args, "--upload-file", upload, z.secureURL(name))...)
				if b, err := os.ReadFile(filepath.Join(root, name)); err != nil || string(b) != big {
					t.Errorf("%v: %d of %d bytes arrived: %v", args, len(b), len(big), err)
				}
			}
			if m := z.metrics(t); m.sum("zproxy_tls_handshakes_total") != 15 || m.sum("zproxy_tls_failed_total") != 0 {
				t.Errorf("%v handshakes, %v failed", m.sum("zproxy_tls_handshakes_total"), m.sum("zproxy_tls_failed_total"))
			}
			if newkey[0] != "ec" {
				continue
			}
			if r := wrk(t, 50, 2*time.Second, z.secureURL("/hello")); r.bad != 0 || r.errors != 0 || r.requests < 50 {
				t.Errorf("wrk: %s", r.text)
			}
			r := h2load(t, "-n", "5000", "-c", "10", "-m", "20", z.secureURL("/hello"))
			if r.succeeded != 5000 {
				t.Errorf("h2load: %+v", r)
			}
		}
	})
}

// To an nginx within TLS, by HTTP/1.1 and by HTTP/2; and to one whose certificate
// is from nobody that is trusted.
func TestTLSOrigin(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		cert, key := selfSigned(t, p256...)
		root := t.TempDir()
		big := strings.Repeat("fedcba9876543210", 3<<16)
		writeFile(t, filepath.Join(root, "big"), big)
		origin := startNginxFor(t, "tls", root, cert, key)
		for _, protocol := range []string{"http1", "h2"} {
			z := startSecure(t, backend, cert, key, fmt.Sprintf("{protocol: %s, tls: {ca: %q, server_name: localhost}, endpoints: [{address: %q}]}", protocol, cert, origin.addr))
			for range 3 {
				if got := curl(t, "--cacert", cert, z.secureURL("/big")); got != big {
					t.Errorf("%s: %d of %d bytes", protocol, len(got), len(big))
				}
			}
			upload := writeFile(t, filepath.Join(t.TempDir(), "up"), big)
			curl(t, "--cacert", cert, "--upload-file", upload, z.secureURL("/dav/"+protocol))
			if b, err := os.ReadFile(filepath.Join(root, "dav", protocol)); err != nil || string(b) != big {
				t.Errorf("%s: %d of %d bytes arrived: %v", protocol, len(b), len(big), err)
			}
		}
		other, _ := selfSigned(t, p256...)
		z := startSecure(t, backend, cert, key, fmt.Sprintf("{tls: {ca: %q, server_name: localhost}, endpoints: [{address: %q}]}", other, origin.addr))
		if got := curl(t, "--cacert", cert, "-o", "/dev/null", "-w", "%{http_code}", z.secureURL("/hello")); got != "502" {
			t.Errorf("an origin that nobody vouches for: %s", got)
		}
		z.logs(t, `"reason":"origin's certificate is refused: certificate is self-signed, and not among the trusted ones"`)
	})
}

// A WebSocket within TLS, and what is no TLS.
func TestTLSWebSocketAndFailures(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		cert, key := selfSigned(t, p256...)
		z := startSecure(t, backend, cert, key, fmt.Sprintf("{endpoints: [{address: %q}]}", startEcho(t)))
		pem, err := os.ReadFile(cert)
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		d := websocket.Dialer{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "localhost"}}
		c, _, err := d.Dial("wss://"+z.addr+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{1, 1000, 100_000} {
			want := strings.Repeat("w", n)
			if err := c.WriteMessage(websocket.TextMessage, []byte(want)); err != nil {
				t.Fatal(err)
			}
			if _, got, err := c.ReadMessage(); err != nil || string(got) != want {
				t.Errorf("%d of %d bytes: %v", len(got), n, err)
			}
		}
		c.Close()

		res, err := http.Get("http://" + z.addr + "/")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != 400 || !strings.Contains(string(body), "https://") {
			t.Errorf("plain HTTP: %s, %q", res.Status, body)
		}
		if c, err := tls.Dial("tcp", z.addr, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
			c.Close()
			t.Error("TLS 1.1 is spoken")
		}
		z.logs(t, "plain HTTP on a TLS listener", "TLS handshake: client offered only unsupported versions")
		z.counts(t, 2, "zproxy_refused_total", `reason="tls_handshake"`)
		z.counts(t, 0, "zproxy_client_connections")
	})
}

// Origins are told that the client came by TLS, whatever it spoke within.
func TestTLSForwarded(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		cert, key := selfSigned(t, p256...)
		origin := startOrigin(t, answering(func(c *originConn, r *http.Request) {
			c.write(ok(r.Header.Get("X-Forwarded-Proto") + " " + r.Header.Get("Forwarded")))
		}))
		z := start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN, tls: {certificates: [{cert: %q, key: %q}]}}, {address: LISTEN2}]
upstreams: {app: {endpoints: [{address: %q}]}}
routes: [{path: "/*", upstream: app}]
forwarding: {forwarded: true}
`, cert, key, origin.addr))
		for _, version := range []string{"--http1.1", "--http2"} {
			got := curl(t, "--cacert", cert, version, z.secureURL("/"))
			if !strings.HasPrefix(got, "https ") || !strings.HasSuffix(got, ";proto=https") {
				t.Errorf("%s: %q", version, got)
			}
		}
	})
}

// startCutting is an origin within TLS whose answers end with the connection: with
// close_notify, or for /cut without.
func startCutting(t *testing.T, cert, key, body string) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				req, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n"+body)
				if req.URL.Path == "/cut" {
					c.(*tls.Conn).NetConn().Close()
				}
			}()
		}
	}()
	return ln.Addr().String()
}

// An answer that ends with its origin's connection is whole with close_notify and cut
// short without, and each client is told which, in the way of its protocol.
func TestTLSTruncation(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		cert, key := selfSigned(t, p256...)
		body := strings.Repeat("0123456789", 20_000)
		z := startSecure(t, backend, cert, key, fmt.Sprintf("{tls: {ca: %q, server_name: localhost}, endpoints: [{address: %q}]}", cert, startCutting(t, cert, key, body)))
		pem, err := os.ReadFile(cert)
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		config := &tls.Config{RootCAs: roots, ServerName: "localhost"}
		for _, path := range []string{"/whole", "/cut"} {
			for _, h2 := range []bool{false, true} {
				client := http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: config.Clone(), ForceAttemptHTTP2: h2}}
				res, err := client.Get(z.secureURL(path))
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(res.Body)
				res.Body.Close()
				client.CloseIdleConnections()
				if want := map[bool]int{false: 1, true: 2}[h2]; res.ProtoMajor != want {
					t.Errorf("%s: HTTP/%d, want %d", path, res.ProtoMajor, want)
				}
				if whole := err == nil; whole != (path == "/whole") || whole && string(got) != body {
					t.Errorf("%s, HTTP/%d: %d of %d bytes, then %v", path, res.ProtoMajor, len(got), len(body), err)
				}
			}
			// The answer to a client of HTTP/1.0 ends with the connection as well.
			c, err := tls.Dial("tcp", z.addr, config)
			if err != nil {
				t.Fatal(err)
			}
			_ = c.SetDeadline(time.Now().Add(patience))
			_, _ = io.WriteString(c, "GET "+path+" HTTP/1.0\r\nHost: localhost\r\n\r\n")
			got, err := io.ReadAll(c)
			c.Close()
			if whole := err == nil; whole != (path == "/whole") || whole && !strings.HasSuffix(string(got), "\r\n\r\n"+body) {
				t.Errorf("%s, HTTP/1.0: %d bytes, then %v", path, len(got), err)
			}
		}
	})
}

// Connections to an nginx resume its sessions, in both versions.
func TestTLSOriginSessions(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		cert, key := selfSigned(t, p256...)
		origin := startNginxFor(t, "tls", t.TempDir(), cert, key)
		z := startSecure(t, backend, cert, key, fmt.Sprintf("{tls: {ca: %q, server_name: localhost}, pool: {max_idle: 0, prewarm: 0}, endpoints: [{address: %q}]}", cert, origin.addr))
		eventually(t, patience, "a session is resumed", func() (bool, string) {
			if got := curl(t, "--cacert", cert, z.secureURL("/hello")); got != "hello\n" {
				t.Fatalf("%q", got)
			}
			n := z.metrics(t).sum("zproxy_tls_handshakes_total", `side="upstream"`, `resumed="true"`)
			return n > 0, fmt.Sprint(n, " sessions resumed")
		})
	})
}
