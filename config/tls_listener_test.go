package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pemFiles is a folder with certificates and lists, all by one key.
type pemFiles struct {
	*testing.T
	dir string
	key *ecdsa.PrivateKey
}

func (f *pemFiles) write(name string, data []byte) {
	f.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), data, 0o600); err != nil {
		f.Fatal(err)
	}
}

// certificate is one of name's own, in NAME.pem.
func (f *pemFiles) certificate(name string, until time.Duration) *x509.Certificate {
	f.Helper()
	from := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(until), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, from, from, f.key.Public(), f.key)
	if err != nil {
		f.Fatal(err)
	}
	f.write(name+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	c, err := x509.ParseCertificate(der)
	if err != nil {
		f.Fatal(err)
	}
	return c
}

// list is a revocation list of ca, in NAME and, in DER, in NAME.der.
func (f *pemFiles) list(ca *x509.Certificate, name string, until time.Duration, extra ...pkix.Extension) {
	f.Helper()
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(until), ExtraExtensions: extra}, ca, f.key)
	if err != nil {
		f.Fatal(err)
	}
	f.write(name, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
	f.write(name+".der", der)
}

// What client_auth, ticket_keys and the files they name must be.
func TestListenerTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f := &pemFiles{t, t.TempDir(), key}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	f.write("key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
	ca := f.certificate("ca", time.Hour)
	f.certificate("old", -time.Minute)
	f.list(ca, "crl", time.Hour)
	f.list(ca, "stale", -time.Minute)
	f.list(ca, "delta", time.Hour, pkix.Extension{Id: []int{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 1}})
	f.write("tickets", []byte("# now\n"+strings.Repeat("A", 44)+"\n"))
	f.write("short", []byte("AAAA\n"))
	f.write("empty", []byte("\n"))
	f.write("text", []byte("c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3JldA=\n"))
	for _, c := range []struct{ more, wrong, doubts string }{
		{"", "", ""},
		{"client_auth: {ca: ca.pem}", "", ""},
		{"client_auth: {ca: ca.pem, crl: crl, mode: request}", "", ""},
		{"client_auth: {ca: ca.pem, crl: crl.der}", "", ""},
		{"client_auth: {mode: none}", "", ""},
		{"client_auth: {}", "client_auth: found mode: require without ca", ""},
		{"client_auth: {mode: request}", "client_auth: found mode: request without ca", ""},
		{"client_auth: {mode: none, ca: ca.pem}", "client_auth: found mode: none with ca or crl", ""},
		{"client_auth: {ca: key.pem}", `client_auth.ca: found "key.pem", expected certificates in PEM (no certificate in it)`, ""},
		{"client_auth: {ca: none.pem}", `client_auth.ca: found "none.pem"`, ""},
		{"client_auth: {ca: ca.pem, crl: ca.pem}", `client_auth.crl: found "ca.pem", expected revocation lists`, ""},
		{"client_auth: {ca: ca.pem, crl: delta}", "a delta or partial list", ""},
		{"client_auth: {ca: old.pem}", "", "client_auth.ca: found \"old.pem\", expected authorities that are valid now: CN=old is expired"},
		{"client_auth: {ca: ca.pem, crl: stale}", "", "that of CN=ca was to be replaced by "},
		{"ticket_keys: tickets", "", ""},
		{"ticket_keys: short", `ticket_keys: found "short", a line that is no Base64 or too short`, ""},
		{"ticket_keys: text", "a line that is no Base64 or too short", ""},
		{"ticket_keys: empty", "no secret in it", ""},
		{"ech_keys: [none.pem]", `ech_keys[0]: found "none.pem"`, ""},
	} {
		for _, inner := range []bool{false, true} {
			of, at := "{cert: ca.pem, key: key.pem}", c.more
			if inner && strings.HasPrefix(c.more, "client_auth") {
				of, at = "{cert: ca.pem, key: key.pem, "+c.more+"}", ""
			}
			if at != "" {
				at = ", " + at
			}
			text := "listeners: [{address: \"127.0.0.1:8080\", tls: {certificates: [" + of + "]" + at + "}}]\nroutes: [{path: /, respond: {body: x}}]\n"
			f.write("c.yaml", []byte(text))
			wrong, doubts := "", ""
			if cfg, err := Load(filepath.Join(f.dir, "c.yaml")); err != nil {
				wrong = err.Error()
			} else {
				for _, w := range cfg.Warnings {
					doubts += w.Error() + "\n"
				}
			}
			if c.wrong == "" && wrong != "" || !strings.Contains(wrong, c.wrong) || strings.Contains(wrong, "c2VjcmV0") {
				t.Errorf("%s: wrong is %q, want %q", text, wrong, c.wrong)
			}
			if c.doubts == "" && doubts != "" || !strings.Contains(doubts, c.doubts) {
				t.Errorf("%s: warnings are %q, want %q", text, doubts, c.doubts)
			}
		}
	}
}
