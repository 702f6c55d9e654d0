package server

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zproxy/config"
	"zproxy/internal/tlstest"
)

// signed makes a certificate for name, by an issuer or by itself.
func signed(t *testing.T, name string, from, until time.Duration, issuer *x509.Certificate, by crypto.Signer) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	return tlstest.Issue(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(until), IsCA: issuer == nil, BasicConstraintsValid: true,
	}, issuer, by)
}

// What is wrong with certificates and their keys is found, and what is right is not.
func TestCheckCertificates(t *testing.T) {
	const day = 24 * time.Hour
	ca, caKey := signed(t, "ca", -day, day, nil, nil)
	good, key := signed(t, "a.example", -day, day, ca, caKey)
	wild, wildKey := signed(t, "*.example", -day, day, ca, caKey)
	late, lateKey := signed(t, "a.example", -2*day, -day, ca, caKey)
	early, earlyKey := signed(t, "a.example", day, 2*day, ca, caKey)
	stranger, _ := signed(t, "stranger", -day, day, nil, nil)
	for name, c := range map[string]struct {
		chain         []*x509.Certificate
		key           *ecdsa.PrivateKey
		mode          os.FileMode
		host          string
		wrong, doubts string // in error and warnings; "": none
	}{
		"right":              {[]*x509.Certificate{good, ca}, key, 0o640, "a.example", "", ""},
		"a wildcard":         {[]*x509.Certificate{wild}, wildKey, 0o600, "b.example", "", ""},
		"for a wildcard":     {[]*x509.Certificate{wild}, wildKey, 0o600, `"*.example"`, "", ""},
		"no such host":       {[]*x509.Certificate{wild}, wildKey, 0o600, "a.b.example", "", `routes[0].host: found "a.b.example", expected a name that a certificate of listener 127.0.0.1:8080 is for`},
		"another's key":      {[]*x509.Certificate{good}, wildKey, 0o600, "a.example", "private key does not match public key", ""},
		"the issuer first":   {[]*x509.Certificate{ca, good}, key, 0o600, "a.example", "the key is that of certificate 2 in the file", ""},
		"a stranger between": {[]*x509.Certificate{good, stranger, ca}, key, 0o600, "a.example", "", "certificate 2 (CN=stranger) is not the issuer of certificate 1 (issuer CN=ca)"},
		"expired":            {[]*x509.Certificate{late}, lateKey, 0o600, "a.example", "", "expired at "},
		"not yet valid":      {[]*x509.Certificate{early}, earlyKey, 0o600, "a.example", "", "not valid before "},
		"open to all":        {[]*x509.Certificate{good}, key, 0o644, "a.example", "", `listeners[0].tls.certificates[0].key: found "key.pem" with mode -rw-r--r--, expected a key that others may not read`},
	} {
		dir := t.TempDir()
		var chain []byte
		for _, cert := range c.chain {
			chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
		}
		der, err := x509.MarshalPKCS8PrivateKey(c.key)
		if err != nil {
			t.Fatal(err)
		}
		for file, data := range map[string][]byte{
			"cert.pem": chain, "key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
			"c.yaml": []byte("listeners: [{address: \"127.0.0.1:8080\", tls: {certificates: [{cert: cert.pem, key: key.pem}]}}]\nroutes: [{host: " + c.host + ", path: /, respond: {body: x}}]\n"),
		} {
			if err := os.WriteFile(filepath.Join(dir, file), data, c.mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(filepath.Join(dir, file), c.mode); err != nil {
				t.Fatal(err)
			}
		}
		wrong, doubts := "", ""
		cfg, err := config.Load(filepath.Join(dir, "c.yaml"))
		if err == nil {
			err = Check(cfg)
		}
		if err != nil {
			wrong = err.Error()
		} else {
			for _, w := range cfg.Warnings {
				doubts += w.Error() + "\n"
			}
		}
		if c.wrong == "" && wrong != "" || !strings.Contains(wrong, c.wrong) {
			t.Errorf("%s: wrong is %q, want %q", name, wrong, c.wrong)
		}
		if c.doubts == "" && doubts != "" || !strings.Contains(doubts, c.doubts) {
			t.Errorf("%s: warnings are %q, want %q", name, doubts, c.doubts)
		}
	}
}
