package config

import (
	"bytes"
	stdtls "crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"path/filepath"
	"strconv"
	"time"
)

// What the files hold that TLS needs: certificates with their keys, authorities, and lists of revoked certificates.

// ClientAuth says which clients a listener, or the names of a certificate, are for.
type ClientAuth struct {
	Pos
	Mode          string // "none", "request" or "require"
	CA, CRL       string // files, as written; CRL may be ""
	CAPEM, CRLPEM []byte // filled in by Load
}

// Path is where a file is that the configuration names.
func (c *Config) Path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(c.File), name)
}

// Pair is the certificate with its key, ready for crypto/tls. The error says what does not fit.
func (c *Certificate) Pair() (stdtls.Certificate, error) {
	pair, err := stdtls.X509KeyPair(c.CertPEM, c.KeyPEM)
	if err == nil {
		return pair, nil
	}
	chain, parsed := ParseCertificates(c.CertPEM)
	if parsed != nil || len(chain) < 2 {
		return pair, errors.New(reasonText(err))
	}
	// Is it the key of another one in the file?
	for i := range chain[1:] {
		block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: chain[1+i].Raw})
		if _, other := stdtls.X509KeyPair(block, c.KeyPEM); other == nil {
			return pair, errors.New("the key is that of certificate " + strconv.Itoa(2+i) + " in the file, which has to be the first")
		}
	}
	return pair, errors.New(reasonText(err))
}

// ParseCertificates reads the certificates of a PEM file.
func ParseCertificates(data []byte) (list []*x509.Certificate, err error) {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errors.New("certificate " + strconv.Itoa(len(list)+1) + ": " + reasonText(err))
		}
		list = append(list, c)
	}
	if len(list) == 0 {
		return nil, errors.New("no certificate in it")
	}
	return list, nil
}

// ParseRevocationLists reads the lists of a file: PEM, or one in DER. Lists that hold only a part of what is revoked
// are refused: nothing would say that the rest is missing (RFC 5280 5.2.4, 5.2.5).
func ParseRevocationLists(data []byte) (lists []*x509.RevocationList, err error) {
	if block, _ := pem.Decode(data); block == nil {
		data = pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: data})
	}
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "X509 CRL" {
			continue
		}
		l, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, errors.New(reasonText(err))
		}
		for _, e := range l.Extensions {
			if e.Critical {
				return nil, errors.New("a delta or partial list (critical extension " + e.Id.String() + ")")
			}
		}
		lists = append(lists, l)
	}
	if len(lists) == 0 {
		return nil, errors.New("no revocation list in it")
	}
	return lists, nil
}

// LeafNames are the names and addresses that a certificate is for: of its subjectAltName, or, where there is none, the
// common name.
func LeafNames(leaf *x509.Certificate) (names []string) {
	names = append(names, leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 && leaf.Subject.CommonName != "" {
		names = append(names, leaf.Subject.CommonName)
	}
	return names
}

// ChainFault says what is wrong with the order of a chain, "" if nothing is: each certificate vouches for the one
// before it (RFC 9846 4.5.2 lets the order be, but there are clients that do not).
func ChainFault(chain []*x509.Certificate) string {
	for i := 0; i+1 < len(chain); i++ {
		if c, next := chain[i], chain[i+1]; !bytes.Equal(c.RawIssuer, next.RawSubject) || c.CheckSignatureFrom(next) != nil {
			return "certificate " + strconv.Itoa(i+2) + " (" + next.Subject.String() + ") is not the issuer of certificate " +
				strconv.Itoa(i+1) + " (issuer " + c.Issuer.String() + ")"
		}
	}
	return ""
}

// ValidityFault says why a certificate is not valid at a time, "" if it is.
func ValidityFault(leaf *x509.Certificate, now time.Time) string {
	switch {
	case now.After(leaf.NotAfter):
		return "expired at " + leaf.NotAfter.UTC().Format(time.RFC3339)
	case now.Before(leaf.NotBefore):
		return "not valid before " + leaf.NotBefore.UTC().Format(time.RFC3339)
	}
	return ""
}
