package transport

import (
	stdtls "crypto/tls"
	"crypto/x509"
	"errors"
	"strconv"
	"strings"
	"time"

	"zproxy/proxy/transport/credentials"
)

// Why a peer's certificate was refused, in words that say what to look at.

// refused says which check the certificate of a peer did not pass; false: it was not
// that a handshake failed for.
func refused(err error, now time.Time) (why string, ok bool) {
	var pin credentials.PinError
	var v *stdtls.CertificateVerificationError
	switch {
	case errors.As(err, &pin):
		return pin.Error(), true
	case !errors.As(err, &v) || len(v.UnverifiedCertificates) == 0:
		return "", false
	}
	leaf := v.UnverifiedCertificates[0]
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(v.Err, &host):
		return "certificate is for " + namesOf(leaf) + ", not " + host.Host, true
	case errors.As(v.Err, &invalid):
		return invalidity(&invalid, leaf, now), true
	case errors.As(v.Err, &unknown):
		if string(leaf.RawIssuer) == string(leaf.RawSubject) {
			return "certificate is self-signed, and not among the trusted ones", true
		}
		return "certificate is from an unknown authority: " + leaf.Issuer.String(), true
	}
	return "certificate: " + strings.TrimPrefix(v.Err.Error(), "x509: "), true
}

// mostNames bounds the names of a certificate that a log line lists.
const mostNames = 4

// namesOf lists what a certificate is for.
func namesOf(c *x509.Certificate) string {
	names := append([]string(nil), c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	switch n := len(names); {
	case n == 0:
		return "no name at all"
	case n > mostNames:
		return strings.Join(names[:mostNames], ", ") + " and " + strconv.Itoa(n-mostNames) + " others"
	}
	return strings.Join(names, ", ")
}

func invalidity(e *x509.CertificateInvalidError, leaf *x509.Certificate, now time.Time) string {
	whose := "certificate"
	if e.Cert != nil && !e.Cert.Equal(leaf) {
		whose = "authority's certificate (" + e.Cert.Subject.String() + ")"
	}
	switch {
	case e.Reason == x509.Expired && e.Cert != nil && now.Before(e.Cert.NotBefore):
		return whose + " is not valid before " + e.Cert.NotBefore.UTC().Format(time.RFC3339)
	case e.Reason == x509.Expired && e.Cert != nil:
		return whose + " has expired on " + e.Cert.NotAfter.UTC().Format(time.RFC3339)
	case e.Reason == x509.IncompatibleUsage:
		return whose + " is not for servers (extended key usage)"
	}
	return whose + ": " + strings.TrimPrefix(e.Error(), "x509: ")
}
