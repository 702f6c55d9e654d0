package credentials

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"time"

	"zproxy/config"
)

// placeholderLife is for how long a certificate of our own is valid: longer than anybody would wait for a real one.
const placeholderLife = 365 * 24 * time.Hour

// placeholder makes a certificate for names that no authority has given one for yet. Clients do not trust it;
// handshakes end all the same.
func placeholder(names []string) (config.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return config.Certificate{}, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return config.Certificate{}, err
	}
	number, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return config.Certificate{}, err
	}
	now := time.Now()
	c := &x509.Certificate{
		SerialNumber: number, Subject: pkix.Name{CommonName: "ZProxy, until there is a certificate"}, DNSNames: names,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(placeholderLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return config.Certificate{}, err
	}
	what := "self-signed, for " + names[0]
	return config.Certificate{
		Cert: what, Key: what,
		CertPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		KeyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}),
	}, nil
}
