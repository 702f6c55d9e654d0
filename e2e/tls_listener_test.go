package e2e

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority vouches for certificates.
type authority struct {
	dir  string
	file string // its certificate
	cert *x509.Certificate
	key  crypto.Signer
}

var serials = time.Now().UnixNano()

func nextSerial() *big.Int {
	serials++
	return big.NewInt(serials)
}

func newKey(t *testing.T, kind string) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	if kind == "rsa" {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newAuthority makes one; below, if not nil, vouches for it.
func newAuthority(t *testing.T, name string, below *authority) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir(), key: newKey(t, "ecdsa")}
	from := &x509.Certificate{
		SerialNumber: nextSerial(), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	parent, signer := from, a.key
	if below != nil {
		parent, signer = below.cert, below.key
	}
	der, err := x509.CreateCertificate(rand.Reader, from, parent, a.key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.file = writeFile(t, filepath.Join(a.dir, "ca.pem"), pemOf("CERTIFICATE", der))
	return a
}

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// issued is a certificate in files.
type issued struct {
	cert, key string // files
	pair      tls.Certificate
}

// issue makes a certificate for names, with an ECDSA key or an RSA one.
func (a *authority) issue(t *testing.T, kind string, change func(*x509.Certificate), names ...string) issued {
	t.Helper()
	key := newKey(t, kind)
	from := &x509.Certificate{
		SerialNumber: nextSerial(), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(from)
	}
	der, err := x509.CreateCertificate(rand.Reader, from, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	i := issued{pair: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}}
	i.cert = writeFile(t, filepath.Join(dir, "cert.pem"), pemOf("CERTIFICATE", der))
	i.key = writeFile(t, filepath.Join(dir, "key.pem"), pemOf("PRIVATE KEY", secret))
	return i
}

// revoke writes a list of those that are revoked.
func (a *authority) revoke(t *testing.T, file string, revoked ...issued) {
	t.Helper()
	list := &x509.RevocationList{Number: nextSerial(), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}
	for _, r := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: r.pair.Leaf.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, file, pemOf("X509 CRL", der))
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// secureClient speaks HTTP/1.1 or HTTP/2 to z, whatever host it asks for.
func (z *zproxy) secureClient(t *testing.T, h2 bool, c *tls.Config) *http.Client {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: h2, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, z.addr)
	}}
	if !h2 {
		tr.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

// told asks for host and gives the status, what the echoing origin has been told, and what
// became of the handshake.
func told(c *http.Client, host string, change func(*http.Request)) (status int, fields http.Header, state *tls.ConnectionState, err error) {
	req, err := http.NewRequest("GET", "https://"+host+"/", nil)
	if err != nil {
		return 0, nil, nil, err
	}
	if change != nil {
		change(req)
	}
	res, err := c.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if res.StatusCode == 200 && err == nil {
		err = json.Unmarshal(body, &fields)
	}
	return res.StatusCode, fields, res.TLS, err
}

// startTelling runs an origin that answers with the fields it got.
func startTelling(t *testing.T) *origin {
	return startOrigin(t, answering(func(c *originConn, r *http.Request) {
		b, _ := json.Marshal(r.Header)
		c.write(ok(string(b)))
	}))
}

// startListening runs a proxy whose listener has the tls section text; more is of the file
// as a whole.
func startListening(t *testing.T, backend, text string, more ...string) *zproxy {
	t.Helper()
	return start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN, tls: %s}]
upstreams: {app: {endpoints: [{address: %q}]}}
routes: [{path: "/*", upstream: app}]
access_log: {path: LOGFILE, flush: 10ms}
%s
`, text, startTelling(t).addr, strings.Join(more, "\n")))
}

// Clients show certificates, which are checked, and passed on (RFC 9440); what
// they say of such in fields is not.
func TestTLSClientCertificates(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		root, servers, strangers := newAuthority(t, "clients", nil), newAuthority(t, "servers", nil), newAuthority(t, "strangers", nil)
		between := newAuthority(t, "clients below", root)
		server, good, bad := servers.issue(t, "ecdsa", nil, "a.example"), between.issue(t, "ecdsa", nil, "good"), between.issue(t, "rsa", nil, "bad")
		good.pair.Certificate = append(good.pair.Certificate, between.cert.Raw)
		bad.pair.Certificate = append(bad.pair.Certificate, between.cert.Raw)
		stranger := strangers.issue(t, "ecdsa", nil, "good")
		late := root.issue(t, "ecdsa", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, "late")
		crl := filepath.Join(root.dir, "crl.pem")
		between.revoke(t, crl, bad)
		first, err := os.ReadFile(crl)
		if err != nil {
			t.Fatal(err)
		}
		root.revoke(t, crl)
		second, err := os.ReadFile(crl)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, crl, string(first)+string(second))
		for _, mode := range []string{"require", "request"} {
			z := startListening(t, backend, fmt.Sprintf(`{certificates: [{cert: %q, key: %q}], client_auth: {mode: %s, ca: %q, crl: %q}}`, server.cert, server.key, mode, root.file, crl))
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				for _, h2 := range []bool{false, true} {
					client := func(shown ...tls.Certificate) *http.Client {
						return z.secureClient(t, h2, &tls.Config{RootCAs: servers.pool(), MaxVersion: version, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
							return &append(shown, tls.Certificate{})[0], nil
						}})
					}
					forge := func(r *http.Request) {
						for _, name := range []string{"Client-Cert", "client_cert", "Client-Cert-Chain", "Client_Cert_Chain"} {
							r.Header[name] = []string{"forged"}
						}
					}
					status, fields, _, err := told(client(good.pair), "a.example", forge)
					if want := ":" + base64.StdEncoding.EncodeToString(good.pair.Certificate[0]) + ":"; status != 200 || fmt.Sprint(fields["Client-Cert"]) != "["+want+"]" {
						t.Errorf("%s %04x h2 %v: %d, %v; %q", mode, version, h2, status, err, fields["Client-Cert"])
					}
					if want := ":" + base64.StdEncoding.EncodeToString(between.cert.Raw) + ":, :" + base64.StdEncoding.EncodeToString(root.cert.Raw) + ":"; fmt.Sprint(fields["Client-Cert-Chain"]) != "["+want+"]" {
						t.Errorf("%s %04x h2 %v: chain %q", mode, version, h2, fields["Client-Cert-Chain"])
					}
					if fmt.Sprint(fields) != "" && strings.Contains(fmt.Sprint(fields), "forged") {
						t.Errorf("%s %04x h2 %v: %v", mode, version, h2, fields)
					}
					for who, shown := range map[string]tls.Certificate{"revoked": bad.pair, "stranger": stranger.pair, "expired": late.pair} {
						if status, _, _, err := told(client(shown), "a.example", nil); err == nil {
							t.Errorf("%s %04x h2 %v: a client that is %s got %d", mode, version, h2, who, status)
						}
					}
					status, fields, _, err = told(client(), "a.example", forge)
					if mode == "require" && err == nil || mode == "request" && (status != 200 || strings.Contains(fmt.Sprint(fields), "forged") || fields["Client-Cert"] != nil) {
						t.Errorf("%s %04x h2 %v: without a certificate %d %v, %v", mode, version, h2, status, fields, err)
					}
				}
			}
			z.logs(t, "the client's certificate is revoked", `"client_cert_subject":"CN=good"`, `"tls_sni":"a.example"`, `"tls_version":"1.2"`, `"tls_version":"1.3"`)
		}
	})
}

// Who may say in fields that a client has shown a certificate: a trusted proxy, where this
// one does not ask itself.
func TestTLSClaimedCertificates(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		ca := newAuthority(t, "ca", nil)
		server := ca.issue(t, "ecdsa", nil, "a.example")
		for _, c := range []struct {
			auth, forwarding string
			passes           bool
		}{
			{"", "{drop: []}", false}, {"", "{drop: [], trusted_proxies: [127.0.0.1]}", true},
			{fmt.Sprintf(", client_auth: {mode: request, ca: %q}", ca.file), "{drop: [], trusted_proxies: [127.0.0.1]}", false},
		} {
			z := startListening(t, backend, fmt.Sprintf(`{certificates: [{cert: %q, key: %q}]%s}`, server.cert, server.key, c.auth), "forwarding: "+c.forwarding)
			for _, h2 := range []bool{false, true} {
				status, fields, _, err := told(z.secureClient(t, h2, &tls.Config{RootCAs: ca.pool()}), "a.example", func(r *http.Request) {
					for _, name := range []string{"Client-Cert", "Client_Cert", "Client-Cert-Chain", "client_cert_chain"} {
						r.Header[name] = []string{"said"}
					}
				})
				said := strings.Count(fmt.Sprint(fields), "said")
				if status != 200 || c.passes != (said > 0) {
					t.Errorf("%s %s, h2 %v: %d, %v: %v", c.auth, c.forwarding, h2, status, err, fields)
				}
			}
		}
	})
}

// A request whose host the connection's certificate is not for, or whose clients are let
// in by another policy, is sent back (RFC 9110 15.5.20). Unknown names get the first
// certificate, or nothing.
func TestTLSMisdirected(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		ca := newAuthority(t, "ca", nil)
		one := ca.issue(t, "ecdsa", nil, "a.example", "*.wild.example", "shared.example")
		two := ca.issue(t, "ecdsa", nil, "b.example")
		inner := ca.issue(t, "ecdsa", nil, "inner.example", "inner.wild.example")
		who := ca.issue(t, "ecdsa", nil, "somebody")
		section := fmt.Sprintf(`certificates: [{cert: %q, key: %q}, {cert: %q, key: %q}, {cert: %q, key: %q, client_auth: {ca: %q}}]`,
			one.cert, one.key, two.cert, two.key, inner.cert, inner.key, ca.file)
		z := startListening(t, backend, "{"+section+"}")
		for _, h2 := range []bool{false, true} {
			for _, c := range []struct {
				sni, host string
				want      int
			}{
				{"a.example", "a.example", 200}, {"a.example", "A.Example:443", 200}, {"a.example", "shared.example", 200},
				{"a.example", "x.wild.example", 200}, {"x.wild.example", "y.wild.example", 200}, {"a.example", "b.example", 421},
				{"a.example", "x.y.wild.example", 421}, {"b.example", "a.example", 421}, {"a.example", "elsewhere.example", 421},
				{"a.example", "inner.wild.example", 421}, {"a.example", "inner.example", 421},
				{"elsewhere.example", "elsewhere.example", 200}, {"elsewhere.example", "a.example", 200}, {"elsewhere.example", "b.example", 421},
				{"", "127.0.0.1", 200}, {"", "a.example", 200}, {"", "b.example", 421}, {"a.example", "127.0.0.1", 421},
				{"inner.example", "inner.example", 200}, {"inner.example", "inner.wild.example", 200}, {"inner.example", "a.example", 421},
			} {
				config := &tls.Config{InsecureSkipVerify: true, ServerName: c.sni, Certificates: []tls.Certificate{who.pair}}
				target := c.sni
				if target == "" {
					target = "127.0.0.1"
				}
				status, _, _, err := told(z.secureClient(t, h2, config), target, func(r *http.Request) { r.Host = c.host })
				if status != c.want {
					t.Errorf("h2 %v, SNI %q, host %q: %d, want %d: %v", h2, c.sni, c.host, status, c.want, err)
				}
			}
		}
		z.counts(t, 20, "zproxy_refused_total", `reason="misdirected"`)

		z = startListening(t, backend, "{strict_sni: true, "+section+"}")
		for _, sni := range []string{"a.example", "x.wild.example", "elsewhere.example", "127.0.0.1"} {
			status, _, _, err := told(z.secureClient(t, false, &tls.Config{InsecureSkipVerify: true}), sni, nil)
			known := sni == "a.example" || sni == "x.wild.example"
			if known != (status == 200) || !known && (err == nil || !strings.Contains(err.Error(), "unrecognized name")) {
				t.Errorf("strict, %q: %d, %v", sni, status, err)
			}
		}
		z.logs(t, "strict_sni")
	})
}

// Of several certificates for a name a client gets the ECDSA one, or what it can check.
func TestTLSBestCertificate(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		ca := newAuthority(t, "ca", nil)
		slow, fast := ca.issue(t, "rsa", nil, "a.example"), ca.issue(t, "ecdsa", nil, "a.example")
		z := startListening(t, backend, fmt.Sprintf(`{certificates: [{cert: %q, key: %q}, {cert: %q, key: %q}]}`, slow.cert, slow.key, fast.cert, fast.key))
		for suite, want := range map[uint16]x509.PublicKeyAlgorithm{0: x509.ECDSA, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: x509.RSA, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: x509.ECDSA} {
			for _, name := range []string{"a.example", "unknown.example"} {
				config := &tls.Config{InsecureSkipVerify: true}
				if suite != 0 {
					config.CipherSuites, config.MaxVersion = []uint16{suite}, tls.VersionTLS12
				}
				status, _, state, err := told(z.secureClient(t, false, config), name, nil)
				if status != 200 || state.PeerCertificates[0].PublicKeyAlgorithm != want {
					t.Errorf("%04x %s: %d, %v", suite, name, status, err)
				}
			}
		}
	})
}

// The groups that are spoken are those of docs/tls.md, the hybrid one included.
func TestTLSGroups(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		ca := newAuthority(t, "ca", nil)
		server := ca.issue(t, "ecdsa", nil, "a.example")
		z := startListening(t, backend, fmt.Sprintf(`{certificates: [{cert: %q, key: %q}]}`, server.cert, server.key))
		for group, spoken := range map[tls.CurveID]bool{
			tls.X25519MLKEM768: true, tls.X25519: true, tls.CurveP256: true, tls.CurveP384: true,
			tls.CurveP521: false, tls.SecP256r1MLKEM768: false, tls.SecP384r1MLKEM1024: false,
		} {
			config := &tls.Config{RootCAs: ca.pool(), CurvePreferences: []tls.CurveID{group}}
			status, _, state, err := told(z.secureClient(t, false, config), "a.example", nil)
			if spoken && (status != 200 || state.CurveID != group) || !spoken && (err == nil || !strings.Contains(err.Error(), "handshake failure")) {
				t.Errorf("%v: %d, %+v, %v", group, status, state, err)
			}
		}
		z.counts(t, 3, "zproxy_tls_failed_total", `reason="no shared group"`)
	})
}
