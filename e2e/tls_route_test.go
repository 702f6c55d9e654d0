package e2e

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
)

// Routes are chosen by the client's certificate, by either protocol, on full handshakes and
// resumed ones; where one does not fit, the next route answers.
func TestTLSRoutes(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		ca := newAuthority(t, "ca", nil)
		server := ca.issue(t, "ecdsa", nil, "a.example")
		spiffe := func(text string) func(*x509.Certificate) {
			return func(c *x509.Certificate) {
				u, err := url.Parse(text)
				if err != nil {
					t.Fatal(err)
				}
				c.URIs = []*url.URL{u}
			}
		}
		alice, bob := ca.issue(t, "ecdsa", nil, "alice"), ca.issue(t, "ecdsa", nil, "Bob.example", "other.example")
		billing, pinned := ca.issue(t, "ecdsa", spiffe("spiffe://td/prod/billing"), "billing"), ca.issue(t, "rsa", nil, "pinned")
		sum := fmt.Sprintf("% X", sha256.Sum256(pinned.pair.Certificate[0]))
		text := fmt.Sprintf(`
listeners: [{address: LISTEN, tls: {certificates: [{cert: %q, key: %q}], client_auth: {mode: request, ca: %q}}}]
routes:
  - {path: /who, respond: {body: anybody}}
  - {path: /who, tls: {client_cert: {fingerprint: [%q]}}, respond: {body: pinned}}
  - {path: /who, tls: {client_cert: {cn: [mallory, alice]}}, respond: {body: alice}}
  - {path: /who, tls: {client_cert: {dns: [bob.example]}}, respond: {body: bob}}
  - {path: /who, tls: {client_cert: {uri: ["spiffe://td/prod/*"]}}, respond: {body: prod}}
  - {path: /deep/er, tls: {client_cert: {cn: [alice], dns: [bob.example]}}, respond: {body: both}}
  - {path: "/deep/*", tls: {client_cert: {}}, methods: [GET], respond: {body: known}}
  - {path: "/*", tls: {version: "1.3"}, respond: {body: new}}
`, server.cert, server.key, ca.file, strings.ReplaceAll(sum, " ", ":"))
		z := start(t, backend, text)
		for who, c := range map[string]struct {
			shown     *issued
			who, deep string
		}{"nobody": {nil, "anybody", ""}, "alice": {&alice, "alice", "known"}, "bob": {&bob, "bob", "known"}, "billing": {&billing, "prod", "known"}, "pinned": {&pinned, "pinned", "known"}} {
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				for _, h2 := range []bool{false, true} {
					config := &tls.Config{RootCAs: ca.pool(), MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
					if c.shown != nil {
						config.Certificates = []tls.Certificate{c.shown.pair}
					}
					rest := "new"
					if version == tls.VersionTLS12 {
						rest = "404"
					}
					deep := c.deep
					if deep == "" {
						deep = rest
					}
					for round := range 2 {
						for path, want := range map[string]string{"who": c.who, "deep/er": deep, "else": rest} {
							// A connection of HTTP/2 may not count as idle yet when its response is there.
							client := z.secureClient(t, h2, config)
							res, err := client.Get("https://a.example/" + path)
							if err != nil {
								t.Fatal(err)
							}
							b, err := io.ReadAll(res.Body)
							res.Body.Close()
							got := string(b)
							if res.StatusCode != 200 {
								got = fmt.Sprint(res.StatusCode)
							}
							if err != nil || got != want || round == 1 && path == "who" && !res.TLS.DidResume {
								t.Errorf("%s, %04x, h2 %v, round %d: %s: %q, %v, resumed %v", who, version, h2, round, path, got, err, res.TLS.DidResume)
							}
							client.CloseIdleConnections()
						}
					}
				}
			}
		}
		warned(t, text, fmt.Sprintf(", tls: {certificates: [{cert: %q, key: %q}]}", server.cert, server.key))
	})
}

// warned: check says which routes of text no request can take, where a listener is within TLS and
// asks nobody, and where it is in clear.
func warned(t *testing.T, text, secure string) {
	t.Helper()
	head := `listeners: [{address: "127.0.0.1:1"%s}]` + text[strings.Index(text, "\nroutes:"):]
	for listener, says := range map[string]string{
		secure: "routes[1].tls.client_cert: found a route that no request can take, expected a listener that it holds for with tls.client_auth",
		"":     "routes[7].tls: found a route that no request can take, expected a listener with tls",
	} {
		file := writeFile(t, filepath.Join(t.TempDir(), "zproxy.yaml"), fmt.Sprintf(head, listener))
		if status, out, errOut := command(t, "check", "-c", file); status != 0 || !strings.Contains(out+errOut, says) {
			t.Errorf("status %d: %s%s", status, out, errOut)
		}
	}
}
