package credentials

import (
	"crypto/sha256"
	stdtls "crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"slices"
)

// Pinned is a check for Config.VerifyConnection: one certificate of the chain that was
// verified, or, where nothing is, the peer's own, has a public key with one of these
// pins (see PinOf).
func Pinned(pins []string) func(stdtls.ConnectionState) error {
	return func(s stdtls.ConnectionState) error {
		chains := s.VerifiedChains
		if len(chains) == 0 {
			chains = [][]*x509.Certificate{s.PeerCertificates[:1]}
		}
		for _, chain := range chains {
			for _, cert := range chain {
				if slices.Contains(pins, PinOf(cert)) {
					return nil
				}
			}
		}
		return PinError(PinOf(s.PeerCertificates[0]))
	}
}

// PinOf writes the SHA-256 sum of a certificate's public key as the configuration
// and curl do.
func PinOf(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return "sha256//" + base64.StdEncoding.EncodeToString(sum[:])
}

// PinError is the pin of a key that has none.
type PinError string

func (e PinError) Error() string {
	return "certificate has none of the pinned keys, its own is " + string(e)
}
