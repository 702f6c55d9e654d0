package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
)

// socketGates runs an HAProxy that takes WebSockets of HTTP/1 at enter and opens
// them at the address next by HTTP/2 (RFC 8441), and one that takes them by
// HTTP/2 at leave and opens them at origin by HTTP/1.
func socketGates(t *testing.T, enter, next, leave, origin string) {
	t.Helper()
	config := writeFile(t, filepath.Join(t.TempDir(), "haproxy.cfg"), fmt.Sprintf(`
global
  nbthread 1
  tune.h2.max-concurrent-streams 512
defaults
  mode http
  timeout connect 20s
  timeout client 30s
  timeout server 30s
  timeout tunnel 30s
  http-reuse always
frontend enter
  bind %s
  default_backend next
frontend leave
  bind %s proto h2
  default_backend origin
backend next
  server s %s proto h2 ws h2
backend origin
  server s %s ws h1
`, enter, leave, next, origin))
	p := spawn(t, "haproxy", "-f", config)
	for _, addr := range []string{enter, leave} {
		p.awaitListener(t, addr)
	}
}

// socketChain puts the proxy before, behind or between HAProxy, with HTTP/2
// where the two meet, and gives the address for clients.
func socketChain(t *testing.T, backend, where, origin string) (z *zproxy, addr string) {
	t.Helper()
	enter, leave := freeAddr(t), freeAddr(t)
	app := fmt.Sprintf("{protocol: h2c, endpoints: [{address: %q}]}", leave)
	if where == "behind" {
		app = fmt.Sprintf("{endpoints: [{address: %q}]}", origin)
	}
	z = start(t, backend, fmt.Sprintf(`
loops: 1
listeners: [{address: LISTEN, protocols: [http1, h2c]}]
upstreams: {app: %s}
routes: [{path: "/*", upstream: app}]
`, app))
	socketGates(t, enter, z.addr, leave, origin) // ends first, and lets go of its connections
	if where == "before" {
		return z, z.addr
	}
	return z, enter
}

// socketPlaces are those of the proxy in a chain.
var socketPlaces = []string{"before", "behind", "between"}

// Clients of two libraries talk to servers of both through the proxy and HAProxy,
// which speak HTTP/2 with each other.
func TestWebSocketHTTP2WithHAProxy(t *testing.T) {
	need(t, "haproxy")
	servers := map[string]http.HandlerFunc{"gorilla": gorillaEcho, "coder": coderEcho}
	besides(t, func(t *testing.T, backend string) {
		for _, where := range socketPlaces {
			for server, echo := range servers {
				z, addr := socketChain(t, backend, where, webOrigin(t, echo))
				ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
				defer cancel()
				for _, compressed := range []bool{false, true} {
					for client, dial := range libraryClients(ctx, "ws://"+addr+"/echo", compressed) {
						name := fmt.Sprintf("%s haproxy, %s to %s, compressed %v", where, client, server, compressed)
						converse(t, name, dial, 0, 125, 126, 65536, 1<<20)
					}
				}
				m := z.metrics(t)
				if n := m.sum("zproxy_websocket_violations_total"); n != 0 {
					t.Errorf("%s haproxy, %s: %v violations", where, server, n)
				}
				if n := m.sum("zproxy_websockets_total"); n != 6 {
					t.Errorf("%s haproxy, %s: %v WebSockets, want 6", where, server, n)
				}
			}
		}
	})
}

// Many WebSockets at once share few connections, and keep apart.
func TestWebSocketHTTP2Shares(t *testing.T) {
	need(t, "haproxy")
	const sockets, rounds, connections = 50, 20, 8
	eachBackend(t, func(t *testing.T, backend string) {
		for _, where := range socketPlaces {
			z, addr := socketChain(t, backend, where, webOrigin(t, http.HandlerFunc(gorillaEcho)))
			ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
			defer cancel()
			dial := libraryClients(ctx, "ws://"+addr+"/echo", false)["gorilla"]
			talkers := make([]talker, sockets)
			for i := range talkers {
				c, _, err := dial()
				if err != nil {
					t.Fatalf("%s haproxy, WebSocket %d: %v", where, i, err)
				}
				talkers[i] = c
			}
			failed := make(chan error, sockets)
			for i, c := range talkers {
				go func() {
					for round := range rounds {
						b := bytes.Repeat(fmt.Appendf(nil, "%d of %d;", round, i), 1+round*i)
						got, err := c.talk(round%2 == 0, b)
						if err == nil && !bytes.Equal(got, b) {
							err = fmt.Errorf("got %.40q for %.40q", got, b)
						}
						if err != nil {
							failed <- fmt.Errorf("WebSocket %d, round %d: %w", i, round, err)
							return
						}
					}
					failed <- nil
				}()
			}
			for range sockets {
				if err := <-failed; err != nil {
					t.Errorf("%s haproxy: %v", where, err)
				}
			}
			m := z.metrics(t)
			if n := m.sum("zproxy_websockets_open"); n != sockets {
				t.Errorf("%s haproxy: %v WebSockets are open, want %d", where, n, sockets)
			}
			if n := m.sum("zproxy_http2_connections_total"); where != "before" && (n < 1 || n > connections) {
				t.Errorf("%s haproxy: clients' WebSockets lie on %v connections, want at most %d", where, n, connections)
			}
			if n := m.sum("zproxy_upstream_http2_connections"); where != "behind" && (n < 1 || n > connections) {
				t.Errorf("%s haproxy: origins' WebSockets lie on %v connections, want at most %d", where, n, connections)
			}
			for i, c := range talkers {
				if err := c.bye(4000 + i); err != nil {
					t.Errorf("%s haproxy, WebSocket %d: %v", where, i, err)
				}
			}
		}
	})
}
