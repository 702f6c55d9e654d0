package config

import (
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Certificate is a chain and the key of its first certificate. What files hold is filled in by Load, and empty after Parse.
type Certificate struct {
	Pos
	Cert, Key       string // files, as written
	CertPEM, KeyPEM []byte
	ClientAuth      *ClientAuth // of a listener's: for its names, nil: as the listener says
}

// UpstreamTLS is how connections to the endpoints of an upstream are put into TLS.
type UpstreamTLS struct {
	ServerName string // "": the endpoint's name or address
	CA         string // file, "": the system's
	CAPEM      []byte // filled in by Load
	Verify     bool
	Pins       []string
	MinVersion string // "1.2" or "1.3"
	Client     *Certificate
}

// Files are the names of all files that t is made from.
func (t *UpstreamTLS) Files() (names []string) {
	if t.CA != "" {
		names = append(names, t.CA)
	}
	if t.Client != nil {
		names = append(names, t.Client.Cert, t.Client.Key)
	}
	return names
}

var tlsVersions = []string{"1.2", "1.3"}

func certificateFields() []field {
	return []field{
		{key: "cert", kind: kindText, required: true, at: at(func(c *Certificate) *string { return &c.Cert }),
			doc: "A PEM file, relative to the configuration file: the certificate, and behind it the intermediate ones."},
		{key: "key", kind: kindText, required: true, at: at(func(c *Certificate) *string { return &c.Key }),
			doc: "A PEM file with the private key: ECDSA, RSA or Ed25519, not encrypted."},
	}
}

func upstreamTLSFields() []field {
	return []field{
		{key: "server_name", kind: kindText, check: checkServerName, want: "a host name without a port", at: at(func(t *UpstreamTLS) *string { return &t.ServerName }),
			zero: "the endpoint's name, or its address", doc: "The name that is asked for (SNI) and that the endpoint's certificate must be for."},
		{key: "ca", kind: kindText, at: at(func(t *UpstreamTLS) *string { return &t.CA }),
			zero: "those of the system", doc: "A PEM file, relative to the configuration file, with the certificates of the authorities that are trusted to vouch for endpoints."},
		{key: "verify", kind: kindBool, def: "true", at: at(func(t *UpstreamTLS) *bool { return &t.Verify }),
			doc: "Check the endpoint's certificate. Without it anybody on the way can read and change everything."},
		{key: "pins", kind: kindTexts, max: 64, at: at(func(t *UpstreamTLS) *[]string { return &t.Pins }),
			elem: &field{kind: kindText, check: checkPin, want: wantPin, pattern: "^sha256//[A-Za-z0-9+/]{43}=$"},
			zero: "any key", doc: "Public keys, one of which a certificate of the verified chain must have (with `verify: false` the endpoint's own certificate): the SHA-256 sums of their SubjectPublicKeyInfo, written as for curl's --pinnedpubkey. List the next key before it is used."},
		{key: "min_version", kind: kindEnum, def: "1.2", enum: tlsVersions, at: at(func(t *UpstreamTLS) *string { return &t.MinVersion }),
			doc: "The oldest version that is spoken."},
		{key: "certificate", kind: kindSection, optional: true, fields: certificateFields(),
			at:  at(func(t *UpstreamTLS) *Certificate { t.Client = new(Certificate); return t.Client }),
			doc: "Shown to endpoints that ask for one."},
	}
}

const wantPin = "sha256// and 44 characters of base64"

func checkPin(text string, _ int64) (want, hint string) {
	b64, ok := strings.CutPrefix(text, "sha256//")
	if b, err := base64.StdEncoding.DecodeString(b64); !ok || err != nil || len(b) != sha256.Size {
		return wantPin, "openssl x509 -in cert.pem -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64"
	}
	return "", ""
}

func checkServerName(text string, _ int64) (want, hint string) {
	if want, hint = checkAuthority(text, 0); want == "" {
		for i := range len(text) {
			if text[i] == ':' {
				return "a host name without a port", ""
			}
		}
	}
	return want, hint
}

// certificate reads the files of a certificate and checks that they fit each other.
func (d *decoder) certificate(c *Config, cert *Certificate, n *yaml.Node, here *path) {
	var ok, found bool
	cert.CertPEM, ok = d.contentsOf(child(n, "cert"), &path{up: here, key: "cert"}, cert.Cert)
	cert.KeyPEM, found = d.contentsOf(child(n, "key"), &path{up: here, key: "key"}, cert.Key)
	if !ok || !found {
		return
	}
	pair, err := cert.Pair()
	if err != nil {
		d.fail(n, here, quote(cert.Cert)+" and "+quote(cert.Key), "a certificate and its key in PEM", err.Error())
		return
	}
	at, key := posOf(child(n, "cert")), here.String()
	if why := ValidityFault(pair.Leaf, time.Now()); why != "" {
		d.warn(c, at, key, quote(cert.Cert), "a certificate that is valid now: this one is "+why)
	}
	chain, err := ParseCertificates(cert.CertPEM)
	if err != nil {
		d.warn(c, at, key, quote(cert.Cert), "certificates that can be read: "+err.Error())
	} else if why := ChainFault(chain); why != "" {
		d.warn(c, at, key, quote(cert.Cert), "each certificate followed by its issuer: "+why)
	}
}

// contentsOf reads a file that the configuration names. False: there was none to read, or an error, which is noted.
func (d *decoder) contentsOf(at *yaml.Node, here *path, name string) (data []byte, ok bool) {
	if name == "" || d.readFile == nil {
		return nil, false
	}
	data, err := d.readFile(name)
	switch {
	case err != nil:
		d.fail(at, here, quote(name)+", "+reasonOf(err), "a file that can be read", "relative to the configuration file")
	case len(data) > mib:
		d.fail(at, here, quote(name)+" of "+strconv.Itoa(len(data))+" bytes", "at most "+Size(mib).String(), "")
	default:
		return data, true
	}
	return nil, false
}

// verifyUpstreamTLS checks what an upstream speaks against how, and reads its files.
func (d *decoder) verifyUpstreamTLS(c *Config, u *Upstream, n *yaml.Node, here *path) {
	protocol := &path{up: here, key: "protocol"}
	if u.SendProxy != "" {
		if u.Protocol != "http1" {
			d.fail(child(n, "protocol"), protocol, quote(u.Protocol), "http1 where there is send_proxy", "a connection with HTTP/2 is for many clients, and the header names one")
		}
		if u.Pool.Prewarm > 0 {
			at := &path{up: &path{up: here, key: "pool"}, key: "prewarm"}
			d.fail(child(resolve(child(n, "pool")), "prewarm"), at, strconv.Itoa(u.Pool.Prewarm), "0 where there is send_proxy", "a connection is dialled for one client")
		}
	}
	if len(u.SendProxyTLVs) > 0 && u.SendProxy != "v2" {
		d.fail(child(n, "send_proxy_tlvs"), &path{up: here, key: "send_proxy_tlvs"}, strconv.Itoa(len(u.SendProxyTLVs))+" of them", "none without send_proxy: v2", "version 1 of the PROXY protocol has addresses alone")
	}
	if u.TLS == nil {
		switch u.Protocol {
		case "auto":
			d.fail(child(n, "protocol"), protocol, quote(u.Protocol), "http1 or h2c where there is no tls", "auto is what ALPN gives, which is a part of TLS: in clear nothing says what an endpoint speaks")
		case "h2":
			d.fail(child(n, "protocol"), protocol, quote(u.Protocol), "h2c where there is no tls", "HTTP/2 over TLS needs a tls section, which may be empty: tls: {}")
		}
		return
	}
	if u.Protocol == "h2c" {
		d.fail(child(n, "protocol"), protocol, quote(u.Protocol), "h2 where there is tls", "h2c is HTTP/2 without TLS")
	}
	at, key := resolve(child(n, "tls")), &path{up: here, key: "tls"}
	if c.Buffers.Block < 16*kib {
		d.fail(at, key, "tls with blocks of "+c.Buffers.Block.String(), "buffers.block of 16KiB or more", "a record of TLS has up to 16 KiB")
	}
	u.TLS.CAPEM, _ = d.contentsOf(child(at, "ca"), &path{up: key, key: "ca"}, u.TLS.CA)
	if u.TLS.Client != nil {
		d.certificate(c, u.TLS.Client, resolve(child(at, "certificate")), &path{up: key, key: "certificate"})
	}
	if !u.TLS.Verify {
		d.warn(c, posOf(at), key.String(), "verify: false", "certificates that are checked: put the authority's into ca")
	}
}

// reasonText is an error of the standard library without its package's name.
func reasonText(err error) string {
	text := err.Error()
	if len(text) > 5 && text[:5] == "tls: " {
		text = text[5:]
	}
	return text
}
