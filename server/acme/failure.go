package acme

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"strings"

	"github.com/mholt/acmez/v3/acme"
)

// reasons are the problems that authorities have names for and that happen to a client (RFC 8555 6.7), each with what
// there is to do about it. %port% is where the authority looks.
var reasons = map[string]string{
	"accountDoesNotExist":     "",
	"alreadyReplaced":         "",
	"badCSR":                  "key_type may be one that the authority does not take",
	"badNonce":                "",
	"badPublicKey":            "key_type may be one that the authority does not take",
	"badSignatureAlgorithm":   "",
	"caa":                     "a CAA record in DNS names another authority",
	"compound":                "",
	"connection":              "the authority connects to port %port% of the name, which has to lead to a listener of this proxy",
	"dns":                     "the name needs an A or AAAA record that leads here",
	"externalAccountRequired": "external_account has to say which account of yours it is",
	"incorrectResponse":       "port %port% of the name leads to another server",
	"invalidContact":          "email is what the authority does not take",
	"malformed":               "",
	"orderNotReady":           "",
	"rateLimited":             "the authority gives so many certificates and no more; a storage that is kept asks for none twice",
	"rejectedIdentifier":      "the authority gives no certificate for this name",
	"serverInternal":          "",
	"tls":                     "port %port% of the name has to lead to a listener with tls of this proxy, with no TLS in between",
	"unauthorized":            "port %port% of the name is not reached, leads to another server, or through one that answers in its place",
	"unsupportedContact":      "email is what the authority does not take",
	"unsupportedIdentifier":   "",
	"userActionRequired":      "",
}

// Reasons of our own, where it was no authority that refused.
const (
	reasonStorage   = "storage"
	reasonUntrusted = "authority not trusted"
	reasonNetwork   = "network"
	reasonTimeout   = "timeout"
	reasonOther     = "other"
)

var ownHints = map[string]string{
	reasonUntrusted: "ca names the authorities that vouch for directory",
	reasonNetwork:   "directory has to be reachable from this machine (HTTPS_PROXY is obeyed)",
}

// reasonOf is why there is no certificate, in one of a set of words.
func reasonOf(err error) string {
	var problem acme.Problem
	var storage storageError
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var at *url.Error
	var network net.Error
	switch {
	case errors.As(err, &storage):
		return reasonStorage
	case errors.As(err, &problem):
		reason := strings.TrimPrefix(problem.Type, acme.ProblemTypeNamespace)
		if _, known := reasons[reason]; known {
			return reason
		}
		return reasonOther
	case errors.As(err, &authority), errors.As(err, &name), errors.As(err, &invalid):
		return reasonUntrusted
	case errors.As(err, &at), errors.As(err, &network) && !network.Timeout():
		return reasonNetwork
	case errors.Is(err, context.DeadlineExceeded):
		return reasonTimeout
	}
	return reasonOther
}

// hintFor is what to do about a reason, "" where the error says all there is to say.
func hintFor(reason, challenge string) string {
	port := "443"
	if challenge == acme.ChallengeTypeHTTP01 {
		port = "80"
	}
	if hint := ownHints[reason]; hint != "" {
		return hint
	}
	return strings.ReplaceAll(reasons[reason], "%port%", port)
}
