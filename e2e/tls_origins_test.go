package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

// nodeSecureOrigin is one by Node, of either protocol, that sends back what it gets.
const nodeSecureOrigin = `
const fs = require("fs"), http2 = require("http2");
const [port, cert, key, version] = process.argv.slice(2);
const options = {cert: fs.readFileSync(cert), key: fs.readFileSync(key), minVersion: version, maxVersion: version, allowHTTP1: true};
http2.createSecureServer(options, (q, r) => {
  const parts = [];
  q.on("data", d => parts.push(d)).on("end", () => { r.setHeader("X-Version", q.httpVersion + "/" + q.socket.getProtocol()); r.end(Buffer.concat(parts)); });
}).listen(Number(port), "127.0.0.1");
`

func startNodeSecure(t *testing.T, i issued, version string) string {
	t.Helper()
	need(t, "node")
	addr := freeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	spawn(t, "node", writeFile(t, filepath.Join(t.TempDir(), "origin.js"), nodeSecureOrigin), port, i.cert, i.key, "TLSv"+version).awaitListener(t, addr)
	return addr
}

// startGoSecure is Go's server, with a WebSocket at /ws.
func startGoSecure(t *testing.T, i issued, version uint16) string {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/ws") {
			gorillaEcho(w, r)
			return
		}
		if b, err := io.ReadAll(r.Body); err == nil {
			w.Header().Set("X-Version", fmt.Sprintf("%d.%d/TLSv1.%d", r.ProtoMajor, r.ProtoMinor, r.TLS.Version-tls.VersionTLS10))
			w.Write(b)
		}
	}))
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{Certificates: []tls.Certificate{i.pair}, MinVersion: version, MaxVersion: version}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// Go and Node as origins: either protocol within either version, bodies of many records both
// ways, many requests at once; and a WebSocket.
func TestTLSOriginServers(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		ca := newAuthority(t, "ca", nil)
		pair := ca.issue(t, "ecdsa", nil, "a.example")
		upstreams, routes, names := "", "", []string(nil)
		for version, id := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
			for who, addr := range map[string]string{"go": startGoSecure(t, pair, id), "node": startNodeSecure(t, pair, version)} {
				for protocol, number := range map[string]string{"http1": "1.1", "h2": "2.0"} {
					name := who + protocol + version
					upstreams += fmt.Sprintf("  %q: {protocol: %s, tls: {ca: %q, server_name: a.example}, endpoints: [{address: %q}]}\n", name, protocol, ca.file, addr)
					routes += fmt.Sprintf("  - {path: \"/%s/TLSv%s/%s/*\", upstream: %q}\n", number, version, who, name)
					names = append(names, fmt.Sprintf("%s/TLSv%s/%s", number, version, who))
				}
			}
		}
		z := start(t, backend, "listeners: [{address: LISTEN}]\nupstreams:\n"+upstreams+"routes:\n"+routes)
		body := []byte(digits(300_000))
		failed := make(chan error)
		for _, name := range names {
			for i := range 20 {
				go func() {
					failed <- func() error {
						sent := body[:i*15_000]
						res, err := http.Post("http://"+z.addr+"/"+name+"/", "text/plain", bytes.NewReader(sent))
						if err != nil {
							return err
						}
						defer res.Body.Close()
						got, err := io.ReadAll(res.Body)
						if by := res.Header.Get("X-Version"); err != nil || res.StatusCode != 200 || !bytes.Equal(got, sent) || by == "" || !strings.HasPrefix(name, by+"/") {
							return fmt.Errorf("%s: %s, by %s, %d of %d bytes, %w", name, res.Status, by, len(got), len(sent), err)
						}
						return nil
					}()
				}()
			}
		}
		for range 20 * len(names) {
			if err := <-failed; err != nil {
				t.Error(err)
			}
		}
		http.DefaultClient.CloseIdleConnections()
		if m := z.metrics(t); m.sum("zproxy_tls_handshakes_total", `side="upstream"`, `group="X25519MLKEM768"`) == 0 {
			t.Errorf("no hybrid group: %v", m.all("zproxy_tls_handshakes_total"))
		}
		for _, version := range []string{"1.2", "1.3"} {
			for client, dial := range libraryClients(context.Background(), "ws://"+z.addr+"/1.1/TLSv"+version+"/go/ws", false) {
				converse(t, version+" "+client, dial, 0, 125, 65536, 1<<20)
			}
		}
	})
}
