package e2e

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
)

// echKey makes a key for Encrypted ClientHello: its file (RFC 9934), and the list that is
// published (RFC 9849 4).
func echKey(t *testing.T, id byte, publicName string) (file string, list []byte) {
	t.Helper()
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public := key.PublicKey().Bytes()
	c := []byte{id, 0, 0x20}
	c = append(binary.BigEndian.AppendUint16(c, uint16(len(public))), public...)
	c = append(c, 0, 4, 0, 1, 0, 1) // HKDF-SHA256, AES-128-GCM
	c = append(append(c, 32, byte(len(publicName))), publicName...)
	c = append(c, 0, 0)
	list = binary.BigEndian.AppendUint16(nil, uint16(len(c)+4))
	list = append(list, 0xfe, 0x0d)
	list = append(binary.BigEndian.AppendUint16(list, uint16(len(c))), c...)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, filepath.Join(t.TempDir(), "ech.pem"), pemOf("PRIVATE KEY", der)+pemOf("ECHCONFIG", list)), list
}

// A client's hello may be encrypted with the configuration of today, or an older one that
// is still taken; one that is too old is told the current one (RFC 9849 7.1).
func TestTLSEncryptedClientHello(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		ca := newAuthority(t, "ca", nil)
		public, hidden := ca.issue(t, "ecdsa", nil, "public.example"), ca.issue(t, "ecdsa", nil, "hidden.example")
		current, list := echKey(t, 1, "public.example")
		older, olderList := echKey(t, 2, "public.example")
		_, lost := echKey(t, 3, "public.example")
		z := startListening(t, backend, fmt.Sprintf(`{ech_keys: [%q, %q], certificates: [{cert: %q, key: %q}, {cert: %q, key: %q}]}`,
			current, older, public.cert, public.key, hidden.cert, hidden.key))
		ask := func(list []byte) (*tls.ConnectionState, error) {
			_, _, state, err := told(z.secureClient(t, true, &tls.Config{RootCAs: ca.pool(), EncryptedClientHelloConfigList: list}), "hidden.example", nil)
			return state, err
		}
		for what, l := range map[string][]byte{"current": list, "older": olderList} {
			if state, err := ask(l); err != nil || !state.ECHAccepted {
				t.Errorf("%s: %v", what, err)
			}
		}
		_, err := ask(lost)
		var rejected *tls.ECHRejectionError
		if !errors.As(err, &rejected) || !bytes.Equal(rejected.RetryConfigList, list) {
			t.Fatalf("too old: %v", err)
		}
		if state, err := ask(nil); err != nil || state.ECHAccepted {
			t.Errorf("in clear: %v", err)
		}
		z.logs(t, `"tls_sni":"hidden.example"`)
	})
}
