package credentials

import (
	"bytes"
	"crypto/sha256"
	stdtls "crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unique"

	"zproxy/config"
)

// clientPolicy says which clients are let in. Immutable but for what lists remember.
type clientPolicy struct {
	id    string // see Terms.Policy
	mode  stdtls.ClientAuthType
	roots *x509.CertPool
	lists map[string][]*revocations // by the issuer's raw name; nil: nothing is revoked
}

var everybody = &clientPolicy{}

func compilePolicy(a *config.ClientAuth) (*clientPolicy, error) {
	if a == nil || a.Mode == "none" {
		return everybody, nil
	}
	p := &clientPolicy{mode: stdtls.RequireAndVerifyClientCert, roots: x509.NewCertPool()}
	if a.Mode == "request" {
		p.mode = stdtls.VerifyClientCertIfGiven
	}
	authorities, err := config.ParseCertificates(a.CAPEM)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.CA, err)
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%d ", p.mode)
	for _, c := range authorities {
		p.roots.AddCert(c)
		sum.Write(c.Raw) // DER: it says where it ends
	}
	p.id = string(sum.Sum(nil))
	if a.CRL == "" {
		return p, nil
	}
	lists, err := config.ParseRevocationLists(a.CRLPEM)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.CRL, err)
	}
	p.lists = map[string][]*revocations{}
	for _, l := range lists {
		r := &revocations{RevocationList: l, serials: map[string]bool{}}
		for _, e := range l.RevokedCertificateEntries {
			r.serials[string(e.SerialNumber.Bytes())] = true
		}
		p.lists[string(l.RawIssuer)] = append(p.lists[string(l.RawIssuer)], r)
	}
	return p, nil
}

func (p *clientPolicy) apply(c *stdtls.Config) {
	c.ClientAuth, c.ClientCAs = p.mode, p.roots
	if p.lists != nil {
		// It is called for resumed sessions as well.
		c.VerifyConnection = func(cs stdtls.ConnectionState) error { return p.revoked(cs.VerifiedChains, time.Now()) }
	}
}

// revocations is a revocation list.
type revocations struct {
	*x509.RevocationList
	serials map[string]bool // big-endian
	signers sync.Map        // whether it is signed by an authority, by raw public key
}

func (r *revocations) signedBy(issuer *x509.Certificate) bool {
	key := string(issuer.RawSubjectPublicKeyInfo)
	signed, known := r.signers.Load(key)
	if !known {
		signed = r.CheckSignatureFrom(issuer) == nil
		r.signers.Store(key, signed)
	}
	return signed.(bool)
}

// revoked says why none of the chains holds, nil if one does.
func (p *clientPolicy) revoked(chains [][]*x509.Certificate, now time.Time) (err error) {
	for _, chain := range chains {
		if err = p.revokedIn(chain, now); err == nil {
			return nil
		}
	}
	return err
}

func (p *clientPolicy) revokedIn(chain []*x509.Certificate, now time.Time) error {
	for i := 0; i+1 < len(chain); i++ {
		var list *revocations
		for _, l := range p.lists[string(chain[i].RawIssuer)] {
			if l.signedBy(chain[i+1]) && (list == nil || l.ThisUpdate.After(list.ThisUpdate)) {
				list = l
			}
		}
		switch {
		case list == nil:
			return errors.New("tls: no revocation list of the issuer of the client's certificate")
		case !list.NextUpdate.IsZero() && now.After(list.NextUpdate):
			return errors.New("tls: the revocation list of the issuer of the client's certificate is out of date")
		case list.serials[string(chain[i].SerialNumber.Bytes())]:
			return errors.New("tls: the client's certificate is revoked")
		}
	}
	return nil
}

// Client is what a client's certificate says that was checked, in the forms in
// which it is passed on. Connections with the same certificate share one.
type Client struct {
	Cert, Chain                          string // values of Client-Cert and Client-Cert-Chain (RFC 9440 2); Chain may be ""
	Subject, Issuer, Serial, Fingerprint string // names as RFC 2253 writes them, numbers in hexadecimal; SHA-256
	CommonName, DNS, URI                 string // of the subject, and alternative names: each has a line feed behind it, DNS in lower case
}

// maxClientBytes bounds both fields together: they are sent with every request.
const maxClientBytes = 12 << 10

// ErrClientTooLong says that a client's certificates do not fit a request's head.
var ErrClientTooLong = errors.New("tls: the client's certificates are too long to be passed on")

// Identify gives the client of a handshake that has ended, the zero handle if it has shown no
// certificate.
func Identify(cs *stdtls.ConnectionState) (client unique.Handle[Client], err error) {
	if len(cs.PeerCertificates) == 0 || len(cs.VerifiedChains) == 0 {
		return client, nil
	}
	chain := cs.VerifiedChains[0]
	leaf := chain[0]
	sum := sha256.Sum256(leaf.Raw)
	c := Client{
		Cert: string(appendBinary(nil, leaf.Raw)), Subject: leaf.Subject.String(), Issuer: leaf.Issuer.String(),
		Serial: hex.EncodeToString(leaf.SerialNumber.Bytes()), Fingerprint: hex.EncodeToString(sum[:]),
	}
	c.CommonName = leaf.Subject.CommonName
	for _, name := range leaf.DNSNames {
		c.DNS = appendName(c.DNS, strings.ToLower(name))
	}
	for _, uri := range leaf.URIs {
		c.URI = appendName(c.URI, uri.String())
	}
	var list []byte
	for i, cert := range chain[1:] {
		if i > 0 {
			list = append(list, ", "...)
		}
		list = appendBinary(list, cert.Raw)
	}
	c.Chain = string(list)
	if len(c.Cert)+len(c.Chain) > maxClientBytes {
		return client, ErrClientTooLong
	}
	return unique.Make(c), nil
}

// appendName adds a name that could not be taken for two.
func appendName(list, name string) string {
	if strings.ContainsRune(name, '\n') {
		return list
	}
	return list + name + "\n"
}

// appendBinary writes a byte sequence (RFC 9651 4.1.8).
func appendBinary(dst, b []byte) []byte {
	dst = append(dst, ':')
	dst = base64.StdEncoding.AppendEncode(dst, b)
	return append(dst, ':')
}

// sessionMark stands in a session's Extra before the policy and the name it was
// begun for.
const sessionMark = "zproxy terms\x00"

// Bind has s go on under these terms, for the name, and for nothing else.
func (t *Terms) Bind(s *stdtls.SessionState, name string) {
	if !t.Binds(s, name) {
		s.Extra = append(s.Extra, t.binding(name))
	}
}

// Binds says that s was begun under the policy of these terms, for the name.
func (t *Terms) Binds(s *stdtls.SessionState, name string) bool {
	for _, e := range s.Extra {
		if bytes.HasPrefix(e, []byte(sessionMark)) {
			return bytes.Equal(e, t.binding(name))
		}
	}
	return false
}

// The policy has a fixed length, or none; it is told apart from a name by its own.
func (t *Terms) binding(name string) []byte {
	b := append([]byte(sessionMark), byte(len(t.Policy)))
	return append(append(b, t.Policy...), name...)
}
