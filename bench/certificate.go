package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// keyKind says whether clients speak TLS, and by the type of the certificate's
// key what a handshake costs.
type keyKind int

const (
	noKey keyKind = iota
	keyP256
	keyRSA // 2048 bits
)

func (s *scenario) scheme() string {
	if s.tls != noKey {
		return "https://"
	}
	return "http://"
}

// keyFiles are a certificate for 127.0.0.1, which nobody vouches for, and its
// key: each in a file, as zproxy and nginx want it, and both in one for HAProxy.
type keyFiles struct{ Cert, Key, Both string }

// keyFiles makes them, once in a run; nil where there is no TLS.
func (b *bench) keyFiles(kind keyKind) (*keyFiles, error) {
	if kind == noKey {
		return nil, nil
	}
	name := filepath.Join(b.dir, [...]string{keyP256: "p256", keyRSA: "rsa"}[kind])
	files := &keyFiles{Cert: name + ".crt", Key: name + ".key", Both: name + ".pem"}
	if _, err := os.Stat(files.Both); err == nil {
		return files, nil
	}
	cert, key, err := newCertificate(kind)
	if err != nil {
		return nil, fmt.Errorf("making a certificate: %w", err)
	}
	for name, text := range map[string][]byte{files.Cert: cert, files.Key: key, files.Both: slices.Concat(cert, key)} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// newCertificate is a certificate and its key as PEM.
func newCertificate(kind keyKind) (cert, key []byte, err error) {
	var signer crypto.Signer
	if kind == keyRSA {
		signer, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(7 * 24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	if err != nil {
		return nil, nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), nil
}
