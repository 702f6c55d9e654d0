package e2e

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Sessions are resumed by instances that share secrets, for the name and under the
// policy they were begun with, and not once the client's certificate is revoked.
func TestTLSTickets(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		ca, other := newAuthority(t, "ca", nil), newAuthority(t, "other", nil)
		server := ca.issue(t, "ecdsa", nil, "a.example", "b.example")
		who := ca.issue(t, "ecdsa", nil, "somebody")
		dir := t.TempDir()
		keys, authorities, crl := filepath.Join(dir, "tickets"), filepath.Join(dir, "ca.pem"), filepath.Join(dir, "crl.pem")
		secret := make([]byte, 48)
		rand.Read(secret)
		writeFile(t, keys, base64.StdEncoding.EncodeToString(secret)+"\n")
		authority, err := os.ReadFile(ca.file)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, authorities, string(authority))
		ca.revoke(t, crl)
		section := fmt.Sprintf(`{certificates: [{cert: %q, key: %q}], ticket_keys: %q, client_auth: {ca: %q, crl: %q}}`, server.cert, server.key, keys, authorities, crl)
		first, second := startListening(t, backend, section), startListening(t, backend, section)
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			cache := fixedSession{tls.NewLRUClientSessionCache(4)}
			ask := func(z *zproxy, name string) (resumed bool, fields http.Header, err error) {
				config := &tls.Config{RootCAs: ca.pool(), ServerName: name, MaxVersion: version, Certificates: []tls.Certificate{who.pair}, ClientSessionCache: cache}
				_, fields, state, err := told(z.secureClient(t, false, config), name, nil)
				return err == nil && state.DidResume, fields, err
			}
			want := func(what string, z *zproxy, name string, resumed bool) {
				t.Helper()
				got, fields, err := ask(z, name)
				if err != nil || got != resumed || len(fields["Client-Cert"]) != 1 {
					t.Errorf("%04x %s: resumed %v, want %v: %v, %v", version, what, got, resumed, fields, err)
				}
			}
			want("first", first, "a.example", false)
			want("again", first, "a.example", true)
			want("elsewhere", second, "a.example", true)
			want("another name", second, "b.example", false)
			want("and back", second, "a.example", false)
			want("again", first, "a.example", true)

			otherCA, err := os.ReadFile(other.file)
			if err != nil {
				t.Fatal(err)
			}
			writeFile(t, authorities, string(authority)+string(otherCA))
			second.reread(t)
			want("other authorities", second, "a.example", false)
			want("again", second, "a.example", true)
			ca.revoke(t, crl, who)
			second.reread(t)
			if resumed, _, err := ask(second, "a.example"); err == nil {
				t.Errorf("%04x: revoked, resumed %v", version, resumed)
			}
			ca.revoke(t, crl)
			writeFile(t, authorities, string(authority))
			second.reread(t)
			first.reread(t)
		}
		first.logs(t, `"tls_resumed":true`)
	})
}

// fixedSession has one session, whatever name it is for: a client that tries.
type fixedSession struct{ tls.ClientSessionCache }

func (f fixedSession) Get(string) (*tls.ClientSessionState, bool) {
	return f.ClientSessionCache.Get("")
}
func (f fixedSession) Put(_ string, s *tls.ClientSessionState) { f.ClientSessionCache.Put("", s) }

// reread has the proxy read its certificates again, by SIGHUP. It does so before it reads its
// configuration; to count certificates would not do, which it may have read already by itself.
func (z *zproxy) reread(t *testing.T) {
	t.Helper()
	before := z.metrics(t).sum("zproxy_reloads_total")
	z.signal(t, syscall.SIGHUP)
	eventually(t, patience, "certificates are read again", func() (bool, string) {
		return z.metrics(t).sum("zproxy_reloads_total") > before, tail(z.out.String())
	})
}

// Certificates change while clients come: all are served, by the old or the new one. A bad
// pair is not taken, and reported.
func TestTLSCertificatesChange(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		ca := newAuthority(t, "ca", nil)
		pairs := []issued{ca.issue(t, "ecdsa", nil, "a.example"), ca.issue(t, "rsa", nil, "a.example"), ca.issue(t, "ecdsa", nil, "a.example")}
		cert, key, turn := mountSecrets(t, pairs)
		z := startListening(t, backend, fmt.Sprintf(`{certificates: [{cert: %q, key: %q}]}`, cert, key))
		kept := z.secureClient(t, true, &tls.Config{RootCAs: ca.pool()})
		shown := func() string {
			if status, _, _, err := told(kept, "a.example", nil); status != 200 {
				t.Errorf("a kept connection: %d, %v", status, err)
			}
			status, _, state, err := told(z.secureClient(t, false, &tls.Config{RootCAs: ca.pool()}), "a.example", nil)
			if status != 200 {
				t.Fatalf("%d, %v", status, err)
			}
			return state.PeerCertificates[0].SerialNumber.String()
		}
		shows := func(p issued) {
			t.Helper()
			eventually(t, patience, "the certificate that is shown", func() (bool, string) {
				got := shown()
				return got == p.pair.Leaf.SerialNumber.String(), got
			})
		}
		shows(pairs[0])
		turn(1)
		shows(pairs[1])
		if m := z.metrics(t); m.sum("zproxy_tls_reloads_total") != 1 || m.sum("zproxy_tls_certificate_days") > 1.0/24 || m.sum("zproxy_tls_certificate_days") <= 0 {
			t.Errorf("%v reloads, %v days", m.sum("zproxy_tls_reloads_total"), m.sum("zproxy_tls_certificate_days"))
		}
		// A certificate whose key comes a moment later.
		copyFile(t, pairs[2].cert, cert+".new")
		if err := os.Rename(cert+".new", cert); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2500 * time.Millisecond)
		if got := shown(); got != pairs[1].pair.Leaf.SerialNumber.String() {
			t.Errorf("half a pair is in use: %s", got)
		}
		copyFile(t, pairs[2].key, key+".new")
		if err := os.Rename(key+".new", key); err != nil {
			t.Fatal(err)
		}
		shows(pairs[2])
		if n := z.metrics(t).sum("zproxy_tls_reload_failures_total"); n != 0 {
			t.Errorf("%v failures", n)
		}
		late := ca.issue(t, "ecdsa", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, "a.example")
		for what, p := range map[string][2]string{"expired": {late.cert, late.key}, "private key does not match": {pairs[0].cert, pairs[2].key}, "no such file": {"", pairs[0].key}} {
			copyFile(t, p[0], cert)
			copyFile(t, p[1], key)
			z.reread(t)
			eventually(t, patience, what, func() (bool, string) {
				return strings.Contains(z.out.String(), what) && z.metrics(t).sum("zproxy_tls_reload_failing") == 1, tail(z.out.String())
			})
			shows(pairs[2])
		}
		copyFile(t, pairs[0].cert, cert)
		copyFile(t, pairs[0].key, key)
		shows(pairs[0])
		if m := z.metrics(t); m.sum("zproxy_tls_reload_failing") != 0 || m.sum("zproxy_tls_reload_failures_total") != 3 {
			t.Errorf("failing %v, %v failures", m.sum("zproxy_tls_reload_failing"), m.sum("zproxy_tls_reload_failures_total"))
		}
	})
}

// mountSecrets lays pairs out as Kubernetes mounts secrets: links into a folder that is
// itself a link, which turn exchanges. The first pair is there.
func mountSecrets(t *testing.T, pairs []issued) (cert, key string, turn func(i int)) {
	t.Helper()
	mount := t.TempDir()
	for i, p := range pairs {
		folder := filepath.Join(mount, fmt.Sprintf("..%d", i))
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		copyFile(t, p.cert, filepath.Join(folder, "tls.crt"))
		copyFile(t, p.key, filepath.Join(folder, "tls.key"))
	}
	turn = func(i int) {
		next := filepath.Join(mount, "..next")
		if err := os.Symlink(fmt.Sprintf("..%d", i), next); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, filepath.Join(mount, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	turn(0)
	cert, key = filepath.Join(mount, "tls.crt"), filepath.Join(mount, "tls.key")
	for _, link := range []string{cert, key} {
		if err := os.Symlink(filepath.Join("..data", filepath.Base(link)), link); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key, turn
}

// copyFile writes what from holds to a new file; "" removes it.
func copyFile(t *testing.T, from, to string) {
	t.Helper()
	_ = os.Remove(to)
	if from == "" {
		return
	}
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, to, string(b))
}
