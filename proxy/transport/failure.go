package transport

import (
	stdtls "crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
)

// Why handshakes fail, as metrics say it: a set of texts that peers cannot add to.
const (
	reasonLeft      = "peer left"
	reasonTimeout   = "timeout"
	reasonNotTLS    = "not TLS"
	reasonPlainHTTP = "plain HTTP"
	reasonNoBuffers = "no buffers"
	reasonShutdown  = "shutdown"
	reasonOther     = "other"
)

// reasons go by what is in crypto/tls's errors, and in those of package credentials, in lower case.
var reasons = [...]struct{ text, reason string }{
	{"unsupported versions", "protocol version"},
	{"protocol fallback", "protocol version"},
	{"no cipher suite supported", "no shared cipher suite"},
	{"no key exchanges", "no shared group"},
	{"elliptic curves", "no shared group"},
	{"application protocol", "no shared ALPN protocol"},
	{"strict_sni", "unknown name"},
	{"didn't provide a certificate", "no client certificate"},
	{"pinned keys", "key not pinned"},
	{"is revoked", "certificate revoked"},
	{"revocation list", "no current revocation list"},
	{"too long to be passed on", "client certificate too long"},
	{"encrypted client hello", "encrypted client hello"},
	{"encrypted_client_hello", "encrypted client hello"},
	{"bad record mac", "bad record MAC"},
	{"unexpected message", "unexpected message"},
	{"unexpected handshake message", "unexpected message"},
	{"invalid signature", "invalid signature"},
	{"malformed", "malformed message"},
	{"error decoding", "malformed message"},
	{"exceeds maximum", "malformed message"},
	{"key share", "malformed message"},
	{"signature algorithm", "no shared signature algorithm"},
}

// reasonOf is the error of a handshake in the words of metrics.
func reasonOf(err error) string {
	var remote *net.OpError
	var record stdtls.RecordHeaderError
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var name x509.HostnameError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return reasonLeft
	case errors.As(err, &remote) && remote.Op == "remote error":
		return alertReason(strings.TrimPrefix(remote.Err.Error(), "tls: "))
	case errors.As(err, &record):
		return reasonNotTLS
	case errors.As(err, &authority):
		return "unknown authority"
	case errors.As(err, &name):
		return "certificate for another name"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "certificate expired"
	case errors.As(err, &invalid):
		return "certificate not valid"
	}
	text := strings.ToLower(err.Error())
	for i := range reasons {
		if strings.Contains(text, reasons[i].text) {
			return reasons[i].reason
		}
	}
	return reasonOther
}

// alertReason is the text of an alert that the peer has sent. crypto/tls has a text
// for each that it knows; of others there may be as many as there are numbers.
func alertReason(text string) string {
	if strings.HasPrefix(text, "alert(") {
		return "alert: unknown"
	}
	return "alert: " + text
}

// groupName is what a key exchange is called, "none" where there was none.
func groupName(id stdtls.CurveID) string {
	switch id {
	case 0:
		return "none"
	case stdtls.X25519:
		return "X25519"
	case stdtls.CurveP256:
		return "P-256"
	case stdtls.CurveP384:
		return "P-384"
	case stdtls.CurveP521:
		return "P-521"
	case stdtls.X25519MLKEM768:
		return "X25519MLKEM768"
	case stdtls.SecP256r1MLKEM768:
		return "SecP256r1MLKEM768"
	case stdtls.SecP384r1MLKEM1024:
		return "SecP384r1MLKEM1024"
	}
	return reasonOther
}
