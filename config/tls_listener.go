package config

import (
	"encoding/base64"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// TLS is how a listener's clients are put into TLS. What files hold is filled in by Load, and empty after Parse.
type TLS struct {
	Certificates     []Certificate
	ACME             *ACME // nil: none are got from an authority
	StrictSNI        bool
	ClientAuth       *ClientAuth // nil: nobody is asked
	MinVersion       string      // "1.2" or "1.3"
	HandshakeTimeout time.Duration
	Handshakes       int // under way at once in one loop
	Tickets          bool
	TicketKeys       string // file, "": keys of the process's own
	TicketKeysData   []byte
	ECHKeys          []string // files
	ECHPEM           [][]byte
}

var clientAuthModes = []string{"none", "request", "require"}

func tlsFields() []field {
	const ms, hour = int64(time.Millisecond), int64(time.Hour)
	return []field{
		{key: "certificates", kind: kindSections, min: 1, max: 1024, fields: listenerCertificateFields(),
			at:   at(func(t *TLS) *[]Certificate { return &t.Certificates }),
			grow: grow(func(c *Certificate, _ string, pos Pos) { c.Pos = pos }),
			zero: "none, which only `acme` allows",
			doc: "Certificates with their keys. A client gets the one for the name it asks for (SNI): an exact name goes before a wildcard, and where neither is there the first certificate serves. " +
				"Of several for one name ECDSA goes before Ed25519 and RSA, as far as the client can check it. The files are read again when they change, and on SIGHUP."},
		{key: "acme", kind: kindSection, optional: true, fields: acmeFields(),
			at:  at(func(t *TLS) *ACME { t.ACME = new(ACME); return t.ACME }),
			doc: "Certificates that the proxy gets, and renews, by itself from an authority such as Let's Encrypt (ACME, RFC 8555). They are chosen from with those in `certificates`, and behind them: see [tls.md](tls.md#certificates-from-an-authority)."},
		{key: "strict_sni", kind: kindBool, def: "false", at: at(func(t *TLS) *bool { return &t.StrictSNI }),
			doc: "Refuse handshakes (alert unrecognized_name) of clients that ask for a name no certificate is for, or for none, instead of showing them the first certificate."},
		{key: "client_auth", kind: kindSection, optional: true, fields: clientAuthFields(),
			at:  at(func(t *TLS) *ClientAuth { t.ClientAuth = new(ClientAuth); return t.ClientAuth }),
			doc: "Certificates of clients (mTLS). Without this section nobody is asked for one."},
		{key: "min_version", kind: kindEnum, def: "1.2", enum: tlsVersions, at: at(func(t *TLS) *string { return &t.MinVersion }),
			doc: "The oldest version that is spoken. Of TLS 1.2 only suites with an AEAD and an ephemeral key exchange are offered."},
		{key: "handshake_timeout", kind: kindDuration, def: "10s", min: 10 * ms, max: hour, at: at(func(t *TLS) *time.Duration { return &t.HandshakeTimeout }),
			doc: "From the connection's first moment to the end of its handshake."},
		{key: "handshakes", kind: kindCount, def: "1024", min: 1, max: 1 << 20, at: at(func(t *TLS) *int { return &t.Handshakes }),
			doc: "Handshakes that one loop has under way at once, over all its listeners (the largest value of any listener counts). Connections beyond are reset, and counted as `zproxy_tls_refused_total`."},
		{key: "tickets", kind: kindBool, def: "true", at: at(func(t *TLS) *bool { return &t.Tickets }),
			doc: "Session tickets, with which a client resumes a session without a full handshake. A session is resumed for the name, the `client_auth` and the `ca` it was begun with, and for no other."},
		{key: "ticket_keys", kind: kindText, at: at(func(t *TLS) *string { return &t.TicketKeys }),
			zero: "made at start, changed every day, and known to this process alone",
			doc: "A file, relative to the configuration file, that several instances share so that each resumes what another began: secrets in Base64, one a line, 32 bytes or more each (`openssl rand -base64 48`). " +
				"Keys are derived from them and change every day. The first secret seals tickets, all of them open some: to exchange it, add the new one as the last line everywhere, then move it to the top. The file is read again when it changes."},
		{key: "ech_keys", kind: kindTexts, max: 16, elem: &field{kind: kindText}, at: at(func(t *TLS) *[]string { return &t.ECHKeys }),
			zero: "no ECH",
			doc: "Files for Encrypted ClientHello (RFC 9849), relative to the configuration file: a private key and its ECHConfigList in PEM (RFC 9934), as `openssl ech` writes them. " +
				"Those of the first file are sent to clients whose configuration is out of date; the others are old ones that are still taken."},
	}
}

func listenerCertificateFields() []field {
	return append(certificateFields(), field{key: "client_auth", kind: kindSection, optional: true, fields: clientAuthFields(),
		at:  at(func(c *Certificate) *ClientAuth { c.ClientAuth = new(ClientAuth); return c.ClientAuth }),
		doc: "For clients that ask for a name of this certificate, instead of the listener's `client_auth`. Certificates for the same name have the same."})
}

func clientAuthFields() []field {
	return []field{
		{key: "mode", kind: kindEnum, def: "require", enum: clientAuthModes, at: at(func(a *ClientAuth) *string { return &a.Mode }),
			doc: "`none`: clients are not asked; `request`: they are, and one that shows none is served all the same; `require`: only with a certificate. One that is shown is always checked, and a handshake with a wrong one fails."},
		{key: "ca", kind: kindText, at: at(func(a *ClientAuth) *string { return &a.CA }),
			zero: "none, which only `mode: none` allows", doc: "A PEM file, relative to the configuration file, with the certificates of the authorities that vouch for clients. It is read again when it changes."},
		{key: "crl", kind: kindText, at: at(func(a *ClientAuth) *string { return &a.CRL }),
			zero: "nothing is revoked", doc: "A file with revocation lists, PEM or one in DER. There has to be a current one of every authority in a client's chain but the last. It is read again when it changes, and holds for resumed sessions too."},
	}
}

// verifyTLS checks what a listener speaks against how, and reads its files.
func (d *decoder) verifyTLS(c *Config, l *Listener, n *yaml.Node, here *path) {
	if l.TLS == nil {
		if len(l.Protocols) == 0 {
			l.Protocols = []string{"http1"}
		}
		d.refuseProtocol(l, n, here, "h2", "h2c where there is no tls", "HTTP/2 over TLS needs a tls section")
		return
	}
	if len(l.Protocols) == 0 {
		l.Protocols = []string{"http1", "h2"}
	}
	d.refuseProtocol(l, n, here, "h2c", "h2 where there is tls", "h2c is HTTP/2 without TLS")
	at, key := resolve(child(n, "tls")), &path{up: here, key: "tls"}
	if c.Buffers.Block < 16*kib {
		d.fail(at, key, "tls with blocks of "+c.Buffers.Block.String(), "buffers.block of 16KiB or more", "a record of TLS has up to 16 KiB")
	}
	list := resolve(child(at, "certificates"))
	for i := range l.TLS.Certificates {
		item, node := &path{up: &path{up: key, key: "certificates"}, index: i}, resolve(list.Content[i])
		d.certificate(c, &l.TLS.Certificates[i], node, item)
		d.clientAuth(c, l.TLS.Certificates[i].ClientAuth, child(node, "client_auth"), item)
	}
	d.clientAuth(c, l.TLS.ClientAuth, child(at, "client_auth"), key)
	d.verifyACME(l.TLS.ACME, child(at, "acme"), key)
	if len(l.TLS.Certificates) == 0 && l.TLS.ACME == nil && written(at, "certificates") == nil {
		d.fail(at, &path{up: key, key: "certificates"}, "nothing", "certificates, or acme, which gets them", "one of the two is required")
	}
	if name := l.TLS.TicketKeys; name != "" {
		file := &path{up: key, key: "ticket_keys"}
		var ok bool
		if l.TLS.TicketKeysData, ok = d.contentsOf(child(at, "ticket_keys"), file, name); ok {
			if _, wrong := TicketSecrets(l.TLS.TicketKeysData); wrong != "" {
				d.fail(child(at, "ticket_keys"), file, quote(name)+", "+wrong, "lines of Base64 for 32 bytes or more each", "openssl rand -base64 48")
			}
		}
	}
	l.TLS.ECHPEM = make([][]byte, len(l.TLS.ECHKeys))
	files := resolve(child(at, "ech_keys"))
	for i, name := range l.TLS.ECHKeys {
		l.TLS.ECHPEM[i], _ = d.contentsOf(files.Content[i], &path{up: &path{up: key, key: "ech_keys"}, index: i}, name)
	}
}

func (d *decoder) refuseProtocol(l *Listener, n *yaml.Node, here *path, name, want, hint string) {
	for i, p := range l.Protocols {
		if p == name {
			at := resolve(child(n, "protocols"))
			d.fail(at.Content[i], &path{up: &path{up: here, key: "protocols"}, index: i}, quote(p), want, hint)
		}
	}
}

// clientAuth reads the files of a client_auth section.
func (d *decoder) clientAuth(c *Config, a *ClientAuth, at *yaml.Node, up *path) {
	if a == nil {
		return
	}
	n, here := resolve(at), &path{up: up, key: "client_auth"}
	a.Pos = posOf(n)
	switch {
	case a.Mode == "none" && a.CA+a.CRL != "":
		d.fail(n, here, "mode: none with ca or crl", "request or require where there is a ca", "")
		return
	case a.Mode != "none" && a.CA == "":
		d.fail(n, here, "mode: "+a.Mode+" without ca", "a ca, with the authorities that vouch for clients", "")
		return
	}
	now := time.Now()
	file := func(key, name string) (*yaml.Node, *path, []byte) {
		at, in := child(n, key), &path{up: here, key: key}
		data, _ := d.contentsOf(at, in, name)
		return at, in, data
	}
	node, in, data := file("ca", a.CA)
	if a.CAPEM = data; data != nil {
		list, err := ParseCertificates(data)
		if err != nil {
			d.fail(node, in, quote(a.CA), "certificates in PEM", err.Error())
		}
		for _, ca := range list {
			if why := ValidityFault(ca, now); why != "" {
				d.warn(c, posOf(node), in.String(), quote(a.CA), "authorities that are valid now: "+ca.Subject.String()+" is "+why)
			}
		}
	}
	node, in, data = file("crl", a.CRL)
	if a.CRLPEM = data; data != nil {
		lists, err := ParseRevocationLists(data)
		if err != nil {
			d.fail(node, in, quote(a.CRL), "revocation lists, PEM or one in DER", err.Error())
		}
		for _, l := range lists {
			if !l.NextUpdate.IsZero() && now.After(l.NextUpdate) {
				d.warn(c, posOf(node), in.String(), quote(a.CRL), "lists that are current: that of "+l.Issuer.String()+" was to be replaced by "+l.NextUpdate.UTC().Format(time.RFC3339)+", and clients with its certificates are turned away")
			}
		}
	}
}

// TicketSecrets are the secrets of a ticket_keys file. wrong says what is wrong with it, "" if nothing is; it never
// quotes any of it.
func TicketSecrets(data []byte) (secrets [][]byte, wrong string) {
	for _, line := range strings.Split(string(data), "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		secret, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(secret) < 32 {
			return nil, "a line that is no Base64 or too short"
		}
		secrets = append(secrets, secret)
	}
	if len(secrets) == 0 {
		return nil, "no secret in it"
	}
	return secrets, ""
}

// ReadAgain is t with what its files hold now.
func (t *TLS) ReadAgain(read func(name string) ([]byte, error)) (*TLS, error) {
	again := *t
	var err error
	get := func(name string) (data []byte) {
		if name != "" && err == nil {
			data, err = read(name)
		}
		return data
	}
	auth := func(a *ClientAuth) *ClientAuth {
		if a == nil {
			return nil
		}
		b := *a
		b.CAPEM, b.CRLPEM = get(a.CA), get(a.CRL)
		return &b
	}
	again.Certificates = append([]Certificate(nil), t.Certificates...)
	for i := range again.Certificates {
		c := &again.Certificates[i]
		c.CertPEM, c.KeyPEM, c.ClientAuth = get(c.Cert), get(c.Key), auth(c.ClientAuth)
	}
	again.ClientAuth = auth(t.ClientAuth)
	again.TicketKeysData = get(t.TicketKeys)
	again.ECHPEM = make([][]byte, len(t.ECHKeys))
	for i, name := range t.ECHKeys {
		again.ECHPEM[i] = get(name)
	}
	return &again, err
}

// All are the certificates of files, and behind them those from an authority.
func (t *TLS) All() []Certificate {
	if t.ACME == nil {
		return t.Certificates
	}
	return append(t.Certificates[:len(t.Certificates):len(t.Certificates)], t.ACME.Issued...)
}

// Files are the names of all files that t is made from.
func (t *TLS) Files() (names []string) {
	_, _ = t.ReadAgain(func(name string) ([]byte, error) {
		names = append(names, name)
		return nil, nil
	})
	return names
}
