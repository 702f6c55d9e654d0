package handshake

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	stdtls "crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"zproxy/config"
	"zproxy/internal/tlstest"
	"zproxy/proto/tls"
	"zproxy/proxy/transport/credentials"
)

func TestTicketRecords(t *testing.T) {
	for n, want := range map[int]int{0: 1, 200: 1, tls.MaxPlaintext - 17: 1, tls.MaxPlaintext - 16: 2, 2*tls.MaxPlaintext - 17: 2, 2*tls.MaxPlaintext - 16: 3} {
		if got := ticketRecords(n); got != want {
			t.Errorf("a ticket of %d bytes is in %d records, want %d", n, got, want)
		}
	}
}

// A ticket in which a client's long certificates are takes two records.
func TestLongTicket(t *testing.T) {
	root, rootKey := issue(t, "root", true, 0, nil, nil)
	between, betweenKey := issue(t, "between", true, 7500, root, rootKey)
	leaf, leafKey := issue(t, "leaf", false, 0, between, betweenKey)
	cert, key := tlstest.PEM(t, tlstest.Certificate(t, "ecdsa"))
	set, err := credentials.Compile(&config.TLS{
		Certificates: []config.Certificate{{CertPEM: cert, KeyPEM: key}},
		ClientAuth:   &config.ClientAuth{Mode: "require", CAPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw})},
	}, &stdtls.Config{MinVersion: tls.Version13})
	if err != nil {
		t.Fatal(err)
	}
	server, workers := ServerConfig(credentials.NewStore(set)), NewWorkers(1)
	client := &stdtls.Config{InsecureSkipVerify: true, ClientSessionCache: stdtls.NewLRUClientSessionCache(1), ServerName: "zproxy.test",
		Certificates: []stdtls.Certificate{{Certificate: [][]byte{leaf.Raw, between.Raw}, PrivateKey: leafKey}}}
	for round := range 2 {
		a, b := tlstest.Pipe(t)
		peer := stdtls.Client(a, client)
		failed := make(chan error, 1)
		go func() { failed <- peer.Handshake() }()
		r := drive(t, workers, server, true, b, 4096)
		if err := <-failed; err != nil || r.Err != nil {
			t.Fatal(err, r.Err)
		}
		if r.Secrets.ServerSent != 2 || r.State.DidResume != (round > 0) {
			t.Errorf("round %d: %d records under the traffic secret, resumed %v", round, r.Secrets.ServerSent, r.State.DidResume)
		}
		firstRecord(t, r, true, b, peer)
	}
}

// issue makes a certificate that is more bytes longer than it has to be.
func issue(t *testing.T, name string, authority bool, more int, by *x509.Certificate, byKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: authority, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if more > 0 {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1}, Value: make([]byte, more)}}
	}
	if by == nil {
		by, byKey = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by, key.Public(), byKey)
	if err == nil {
		c, err = x509.ParseCertificate(der)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c, key
}
