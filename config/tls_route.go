package config

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// RouteTLS says which requests a route is for by what their connection is. All of what is there has to fit.
type RouteTLS struct {
	Version    string      // "1.2" or "1.3", "": either
	ClientCert *ClientCert // nil: with or without one
}

// ClientCert is a client's certificate, which has been verified. Of each list that is not empty it has one entry.
type ClientCert struct {
	CN, DNS, URI []string // one of URI may end in "*"
	Fingerprint  []string // SHA-256 of the DER, in lower case hexadecimal
}

// String writes it as it may stand in a configuration.
func (t *RouteTLS) String() string {
	var parts []string
	if t.Version != "" {
		parts = append(parts, "version "+t.Version)
	}
	if c := t.ClientCert; c != nil {
		parts = append(parts, "client_cert")
		for _, l := range []struct {
			key  string
			list []string
		}{{"cn", c.CN}, {"dns", c.DNS}, {"uri", c.URI}, {"fingerprint", c.Fingerprint}} {
			if len(l.list) > 0 {
				parts = append(parts, l.key+" "+strings.Join(l.list, " or "))
			}
		}
	}
	return "tls (" + strings.Join(parts, ", ") + ")"
}

func routeTLSFields() []field {
	return []field{
		{key: "version", kind: kindEnum, enum: tlsVersions, at: at(func(t *RouteTLS) *string { return &t.Version }),
			zero: "any", doc: "The version of TLS that is spoken."},
		{key: "client_cert", kind: kindSection, optional: true, fields: clientCertFields(),
			at:  at(func(t *RouteTLS) *ClientCert { t.ClientCert = new(ClientCert); return t.ClientCert }),
			doc: "The client has shown a certificate, which has been verified as the listener's `client_auth` says; `client_cert: {}` is any such. All of what is given here has to fit, of each list one entry."},
	}
}

func clientCertFields() []field {
	const most = 1024
	return []field{
		{key: "cn", kind: kindTexts, min: 1, max: most, elem: &field{kind: kindText}, at: at(func(c *ClientCert) *[]string { return &c.CN }),
			zero: "any", doc: "Common names of the certificate's subject."},
		{key: "dns", kind: kindTexts, min: 1, max: most, elem: &field{kind: kindText}, at: at(func(c *ClientCert) *[]string { return &c.DNS }),
			zero: "any", doc: "DNS names among its alternative names, as they are written there. Letter case makes no difference."},
		{key: "uri", kind: kindTexts, min: 1, max: most, elem: &field{kind: kindText}, at: at(func(c *ClientCert) *[]string { return &c.URI }),
			zero: "any", doc: "URIs among its alternative names, such as `spiffe://example.org/billing`; with a `*` at the end, whatever begins so."},
		{key: "fingerprint", kind: kindTexts, min: 1, max: most, at: at(func(c *ClientCert) *[]string { return &c.Fingerprint }),
			elem: &field{kind: kindText, check: checkFingerprint, want: wantFingerprint, pattern: "^[0-9A-Fa-f:]{64,95}$"},
			zero: "any", doc: "SHA-256 sums of the whole certificate in hexadecimal, with colons or without: `openssl x509 -in cert.pem -noout -fingerprint -sha256`."},
	}
}

const wantFingerprint = "a SHA-256 sum in hexadecimal, 64 digits with or without colons"

func checkFingerprint(text string, _ int64) (want, hint string) {
	digits := fingerprint(text)
	ok := len(digits) == 64
	for i := range len(digits) {
		ok = ok && (digits[i] >= '0' && digits[i] <= '9' || digits[i] >= 'a' && digits[i] <= 'f')
	}
	if !ok {
		return wantFingerprint, "openssl x509 -in cert.pem -noout -fingerprint -sha256"
	}
	return "", ""
}

func fingerprint(text string) string { return strings.ToLower(strings.ReplaceAll(text, ":", "")) }

// verifyRouteTLS brings what a route asks for into the form of comparing, and warns where no client can have it.
func (d *decoder) verifyRouteTLS(c *Config, r *Route, n *yaml.Node, p *path) {
	if r.TLS == nil {
		return
	}
	at, key := resolve(child(n, "tls")), &path{up: p, key: "tls"}
	if cert := r.TLS.ClientCert; cert != nil {
		for i := range cert.Fingerprint {
			cert.Fingerprint[i] = fingerprint(cert.Fingerprint[i])
		}
		for i := range cert.DNS {
			cert.DNS[i] = strings.ToLower(cert.DNS[i])
		}
	}
	secure, asks := false, false
	for i := range c.Listeners {
		if l := &c.Listeners[i]; l.TLS != nil && (r.Listener == "" || r.Listener == l.Address) {
			secure, asks = true, asks || l.TLS.asks()
		}
	}
	switch {
	case !secure:
		d.warn(c, posOf(at), key.String(), "a route that no request can take", "a listener with tls that it holds for")
	case r.TLS.ClientCert != nil && !asks:
		d.warn(c, posOf(at), key.String()+".client_cert", "a route that no request can take", "a listener that it holds for with tls.client_auth, which asks clients for a certificate")
	}
}

// asks says that some clients are asked for a certificate.
func (t *TLS) asks() bool {
	asks := t.ClientAuth != nil && t.ClientAuth.Mode != "none"
	for i := range t.Certificates {
		a := t.Certificates[i].ClientAuth
		asks = asks || a != nil && a.Mode != "none"
	}
	return asks
}
