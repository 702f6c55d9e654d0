package credentials

import (
	stdtls "crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	"zproxy/config"
)

// Set is what the handshakes of a listener choose from. Immutable.
type Set struct {
	names  names  // what the first name of each certificate, and every other, is served on
	first  *Terms // for names that no certificate is for
	strict bool
	leaves []Leaf
	ech    []stdtls.EncryptedClientHelloKey
	shared [][]byte // secrets of ticket keys, nil: none are shared
}

// Terms are what handshakes for some names are made on. Immutable.
type Terms struct {
	Config *stdtls.Config // each handshake has a clone

	// Policy says which clients are let in: equal for equal policies, "" for all.
	// A session goes on under the policy that it was begun under, and a request
	// belongs on a connection with that of the request's name.
	Policy string

	refused string // why there is no handshake on these terms, "" if there is
	set     *Set
	certs   []stdtls.Certificate // the better ones first
	covers  names                // that all of certs are for
	clients *clientPolicy
}

// Leaf is what reports say of a certificate.
type Leaf struct {
	File  string // as the configuration has it
	Names []string
	*x509.Certificate
}

// names is a table of names and addresses, all in lower case.
type names struct {
	exact map[string]*Terms
	wild  map[string]*Terms // by what follows the asterisk
}

func (n *names) add(name string, t *Terms) {
	if n.exact == nil {
		n.exact, n.wild = map[string]*Terms{}, map[string]*Terms{}
	}
	if rest, ok := strings.CutPrefix(name, "*"); ok {
		n.wild[rest] = t
	} else {
		n.exact[name] = t
	}
}

// find looks a name in lower case up: an exact one goes before a wildcard, which
// stands for one label (RFC 9525 6.3).
func (n *names) find(name []byte) *Terms {
	if t := n.exact[string(name)]; t != nil {
		return t
	}
	for i, c := range name {
		if c == '.' {
			if i == 0 {
				return nil
			}
			return n.wild[string(name[i:])]
		}
	}
	return nil
}

// Compile makes the set of a listener. base has what all its handshakes share:
// versions, suites, protocols.
func Compile(t *config.TLS, base *stdtls.Config) (*Set, error) {
	s := &Set{strict: t.StrictSNI}
	var err error
	if s.ech, err = echKeys(t.ECHPEM); err != nil {
		return nil, err
	}
	if t.TicketKeysData != nil {
		secrets, wrong := config.TicketSecrets(t.TicketKeysData)
		if wrong != "" {
			return nil, fmt.Errorf("%s: %s", t.TicketKeys, wrong)
		}
		s.shared = secrets
	}
	general, err := compilePolicy(t.ClientAuth)
	if err != nil {
		return nil, err
	}
	var pairs []stdtls.Certificate
	var policies []*clientPolicy
	all, err := certificates(t)
	if err != nil {
		return nil, err
	}
	for i := range all {
		c := &all[i]
		pair, err := c.Pair()
		if err != nil {
			return nil, fmt.Errorf("%s and %s: %w", c.Cert, c.Key, err)
		}
		policy := general
		if c.ClientAuth != nil {
			if policy, err = compilePolicy(c.ClientAuth); err != nil {
				return nil, err
			}
		}
		pairs, policies = append(pairs, pair), append(policies, policy)
		s.leaves = append(s.leaves, Leaf{c.Cert, lowered(config.LeafNames(pair.Leaf)), pair.Leaf})
	}
	return s, s.arrange(pairs, policies, base)
}

// certificates are those of files, and behind them those of an authority, or what stands for them.
func certificates(t *config.TLS) ([]config.Certificate, error) {
	if t.ACME == nil {
		return t.Certificates, nil
	}
	all := slices.Clone(t.Certificates)
	for i, names := range t.ACME.Groups() {
		if i < len(t.ACME.Issued) && t.ACME.Issued[i].CertPEM != nil {
			all = append(all, t.ACME.Issued[i])
			continue
		}
		c, err := placeholder(names)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

func lowered(list []string) []string {
	for i := range list {
		list[i] = strings.ToLower(list[i])
	}
	return list
}

// arrange makes the terms: one for each group of certificates that serve the same
// names.
func (s *Set) arrange(pairs []stdtls.Certificate, policies []*clientPolicy, base *stdtls.Config) error {
	of := map[string][]int{} // certificates by name
	var order []string
	for i, leaf := range s.leaves {
		for _, name := range leaf.Names {
			if of[name] == nil {
				order = append(order, name)
			}
			if !slices.Contains(of[name], i) {
				of[name] = append(of[name], i)
			}
		}
	}
	groups := map[string]*Terms{}
	group := func(list []int) *Terms {
		key := fmt.Sprint(list)
		if groups[key] == nil {
			groups[key] = s.terms(list, pairs, policies[list[0]], base)
		}
		return groups[key]
	}
	for _, name := range order {
		for _, i := range of[name] {
			if first := of[name][0]; policies[i].id != policies[first].id {
				return fmt.Errorf("%s and %s are both for %s and have different client_auth", s.leaves[first].File, s.leaves[i].File, name)
			}
		}
		s.names.add(name, group(of[name]))
	}
	if len(s.leaves[0].Names) > 0 {
		s.first = group(of[s.leaves[0].Names[0]])
	} else {
		s.first = group([]int{0})
	}
	return nil
}

func (s *Set) terms(list []int, pairs []stdtls.Certificate, policy *clientPolicy, base *stdtls.Config) *Terms {
	t := &Terms{set: s, Policy: policy.id, clients: policy, Config: base.Clone()}
	for _, i := range list {
		t.certs = append(t.certs, pairs[i])
	}
	slices.SortStableFunc(t.certs, func(a, b stdtls.Certificate) int { return preference(a.Leaf) - preference(b.Leaf) })
	for _, name := range s.leaves[list[0]].Names {
		if !slices.ContainsFunc(list, func(i int) bool { return !slices.Contains(s.leaves[i].Names, name) }) {
			t.covers.add(name, t)
		}
	}
	c := t.Config
	c.GetCertificate = t.certificate
	c.EncryptedClientHelloKeys = s.ech
	policy.apply(c)
	return t
}

// preference is the order in which certificates are offered: what is cheap for
// both sides first.
func preference(leaf *x509.Certificate) int {
	switch leaf.PublicKeyAlgorithm {
	case x509.ECDSA:
		return 0
	case x509.Ed25519:
		return 1
	}
	return 2
}

// certificate is the first that the client can check, else the first.
func (t *Terms) certificate(hello *stdtls.ClientHelloInfo) (*stdtls.Certificate, error) {
	if len(t.certs) > 1 {
		anyName := *hello // a name that none is for is no reason to choose another
		anyName.ServerName = ""
		for i := range t.certs {
			if anyName.SupportsCertificate(&t.certs[i]) == nil {
				return &t.certs[i], nil
			}
		}
	}
	return &t.certs[0], nil
}

// Leaves lists the certificates.
func (s *Set) Leaves() []Leaf { return s.leaves }

// refusal is what handshakes end on for whose name there are no terms. crypto/tls
// sends unrecognized_name where there is no certificate at all.
var refusal = &Terms{Config: &stdtls.Config{SessionTicketsDisabled: true}, refused: "no certificate is for the name the client asks for (strict_sni)"}

// choose finds the terms for a name in lower case, "" if the client has said none.
func (s *Set) choose(name string) *Terms {
	if t := s.names.find([]byte(name)); t != nil {
		return t
	}
	if s.strict {
		return refusal
	}
	return s.first
}

// Refused is why handshakes on these terms fail, nil if they don't.
func (t *Terms) Refused() error {
	if t.refused == "" {
		return nil
	}
	return errors.New("tls: " + t.refused)
}

// Serves says whether a connection on these terms may carry requests for host,
// which has no port and is not the name that the connection is for (RFC 9110 7.4):
// the certificate is for it, and its clients are let in by the same policy.
func (t *Terms) Serves(host []byte) bool {
	var room [256]byte
	if len(host) > 1 && host[0] == '[' {
		host = host[1 : len(host)-1]
	}
	if len(host) > 0 && host[len(host)-1] == '.' {
		host = host[:len(host)-1]
	}
	if len(host) == 0 || len(host) > len(room) {
		return false
	}
	name := room[:len(host)]
	for i, c := range host {
		if c-'A' <= 'Z'-'A' {
			c |= 0x20
		}
		name[i] = c
	}
	if t.covers.find(name) == nil {
		return false
	}
	own := t.set.names.find(name)
	return own != nil && own.Policy == t.Policy
}

// AsksClients says that clients are asked for a certificate.
func (t *Terms) AsksClients() bool { return t.Policy != "" }
