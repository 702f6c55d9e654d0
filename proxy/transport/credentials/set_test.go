package credentials

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	stdtls "crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"zproxy/config"
	"zproxy/internal/tlstest"
)

// signed makes a certificate for names and addresses, by an issuer or by itself.
func signed(t *testing.T, issuer *x509.Certificate, by crypto.Signer, names ...string) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	c := &x509.Certificate{
		Subject: pkix.Name{CommonName: names[0]},
		IsCA:    issuer == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else if name != "no name" {
			c.DNSNames = append(c.DNSNames, name)
		}
	}
	return tlstest.Issue(t, c, issuer, by)
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// pair is a certificate of a configuration.
func pair(t *testing.T, auth *config.ClientAuth, names ...string) config.Certificate {
	t.Helper()
	cert, key := signed(t, nil, nil, names...)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return config.Certificate{Cert: names[0] + ".pem", CertPEM: pemOf("CERTIFICATE", cert.Raw), KeyPEM: pemOf("PRIVATE KEY", der), ClientAuth: auth}
}

func auth(t *testing.T, mode string) *config.ClientAuth {
	t.Helper()
	ca, _ := signed(t, nil, nil, "ca")
	return &config.ClientAuth{Mode: mode, CA: "ca.pem", CAPEM: pemOf("CERTIFICATE", ca.Raw)}
}

func compiled(t *testing.T, tls *config.TLS) *Set {
	t.Helper()
	s, err := Compile(tls, new(stdtls.Config))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Names find their certificate, and a connection serves what its certificate is for and
// is let in by the same policy.
func TestNames(t *testing.T) {
	inner := auth(t, "require")
	s := compiled(t, &config.TLS{Certificates: []config.Certificate{
		pair(t, nil, "first.example", "192.0.2.1", "2001:db8::1"), pair(t, nil, "*.wild.example", "Upper.Example"),
		pair(t, inner, "inner.example", "in.wild.example"), pair(t, inner, "also.example"), pair(t, nil, "twice.example"), pair(t, nil, "twice.example", "once.example"),
	}})
	at := func(name string) string {
		var files []string
		for _, c := range s.choose(name).certs {
			files = append(files, c.Leaf.Subject.CommonName)
		}
		return strings.Join(files, " ")
	}
	for name, want := range map[string]string{
		"first.example": "first.example", "": "first.example", "unknown.example": "first.example", "a.wild.example": "*.wild.example",
		"a.b.wild.example": "first.example", "wild.example": "first.example", ".wild.example": "first.example", "upper.example": "*.wild.example",
		"in.wild.example": "inner.example", "twice.example": "twice.example twice.example", "once.example": "twice.example",
	} {
		if got := at(name); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
	for _, c := range []struct {
		sni, host string
		want      bool
	}{
		{"first.example", "FIRST.example.", true}, {"", "192.0.2.1", true}, {"first.example", "[2001:DB8::1]", true}, {"first.example", "", false}, {"first.example", ".", false},
		{"first.example", "upper.example", false}, {"upper.example", "x.wild.example", true}, {"upper.example", "in.wild.example", false},
		{"inner.example", "in.wild.example", true}, {"inner.example", "also.example", false}, {"inner.example", "first.example", false},
		{"twice.example", "once.example", false}, {"once.example", "twice.example", true},
		{"first.example", strings.Repeat("a", 300), false}, {"upper.example", strings.Repeat("a", 243) + ".wild.example", true},
	} {
		if got := s.choose(c.sni).Serves([]byte(c.host)); got != c.want {
			t.Errorf("%q on a connection for %q: %v", c.host, c.sni, got)
		}
	}
	if compiled(t, &config.TLS{StrictSNI: true, Certificates: []config.Certificate{pair(t, nil, "a.example")}}).choose("").Refused() == nil {
		t.Error("strict, and no name")
	}
	if got := compiled(t, &config.TLS{Certificates: []config.Certificate{pair(t, nil, "no name")}}).choose("no name"); len(got.certs) != 1 {
		t.Error("by the common name")
	}
	_, err := Compile(&config.TLS{Certificates: []config.Certificate{pair(t, nil, "a.example"), pair(t, inner, "b.example", "a.example")}}, new(stdtls.Config))
	if err == nil || !strings.Contains(err.Error(), "a.example.pem and b.example.pem are both for a.example and have different client_auth") {
		t.Errorf("%v", err)
	}
}

// What a session is bound to holds for no other name and no other policy.
func TestBinding(t *testing.T) {
	one, two := auth(t, "require"), auth(t, "require")
	asked := *one
	asked.Mode = "request"
	var terms []*Terms
	for _, a := range []*config.ClientAuth{nil, one, two, &asked} {
		terms = append(terms, compiled(t, &config.TLS{ClientAuth: a, Certificates: []config.Certificate{pair(t, nil, "a.example")}}).first)
	}
	names := []string{"", "a.example", "b.example"}
	for i, of := range terms {
		for _, name := range names {
			var s stdtls.SessionState
			if of.Binds(&s, name) {
				t.Error("a session that was bound to nothing")
			}
			of.Bind(&s, name)
			of.Bind(&s, name)
			if len(s.Extra) != 1 {
				t.Errorf("bound %d times", len(s.Extra))
			}
			for j, other := range terms {
				for _, also := range names {
					if got := other.Binds(&s, also); got != (i == j && name == also) {
						t.Errorf("policies %d and %d, %q and %q: %v", i, j, name, also, got)
					}
				}
			}
		}
	}
	same := compiled(t, &config.TLS{ClientAuth: one, Certificates: []config.Certificate{pair(t, nil, "a.example")}}).first
	if same.Policy != terms[1].Policy {
		t.Error("another certificate makes another policy")
	}
}

// A chain holds with a current list of each issuer, and not without.
func TestRevocation(t *testing.T) {
	root, rootKey := signed(t, nil, nil, "root")
	between, betweenKey := tlstest.Issue(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "between"},
		IsCA:    true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, root, rootKey)
	leaf, _ := signed(t, between, betweenKey, "leaf")
	chains := [][]*x509.Certificate{{leaf, between, root}}
	_, strangerKey := signed(t, nil, nil, "root")
	list := func(issuer *x509.Certificate, key crypto.Signer, until time.Duration, revoked ...*x509.Certificate) []byte {
		l := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(until)}
		for _, c := range revoked {
			l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: time.Now()})
		}
		signer := *issuer
		signer.PublicKey = key.Public() // one that is not the issuer's makes a list that is forged
		der, err := x509.CreateRevocationList(rand.Reader, l, &signer, key)
		if err != nil {
			t.Fatal(err)
		}
		return pemOf("X509 CRL", der)
	}
	ofRoot, ofBetween := list(root, rootKey, time.Hour), list(between, betweenKey, time.Hour)
	for name, c := range map[string]struct {
		lists []byte
		want  string
	}{
		"none revoked":        {append(ofRoot, ofBetween...), ""},
		"another revoked":     {append(ofRoot, list(between, betweenKey, time.Hour, root)...), ""},
		"the leaf":            {append(ofRoot, list(between, betweenKey, time.Hour, leaf)...), "is revoked"},
		"the one between":     {append(ofBetween, list(root, rootKey, time.Hour, between)...), "is revoked"},
		"no list of one":      {ofRoot, "no revocation list"},
		"out of date":         {append(ofRoot, list(between, betweenKey, -time.Minute)...), "out of date"},
		"of another's key":    {append(ofBetween, list(root, strangerKey, time.Hour)...), "no revocation list"},
		"beside a forged one": {append(append(ofRoot, ofBetween...), list(root, strangerKey, time.Hour, between)...), ""},
	} {
		p, err := compilePolicy(&config.ClientAuth{Mode: "require", CAPEM: pemOf("CERTIFICATE", root.Raw), CRL: "crl.pem", CRLPEM: c.lists})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			err := p.revoked(chains, time.Now())
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// session is one that a handshake has come to.
func session(t *testing.T, set *Set) (state *stdtls.SessionState) {
	t.Helper()
	server := set.first.Config.Clone()
	server.WrapSession = func(_ stdtls.ConnectionState, s *stdtls.SessionState) ([]byte, error) {
		state = s
		return []byte("ticket"), nil
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	done := make(chan error, 1)
	go func() {
		c := stdtls.Client(a, &stdtls.Config{InsecureSkipVerify: true, ServerName: "a.example", MaxVersion: stdtls.VersionTLS12, ClientSessionCache: stdtls.NewLRUClientSessionCache(1)})
		done <- c.Handshake()
	}()
	if err := stdtls.Server(b, server).Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return state
}

// Instances with the same secrets have the same keys, and open what the other seals over
// midnight, whichever clock is ahead.
func TestTicketKeys(t *testing.T) {
	a, b := []byte(strings.Repeat("a", 32)), []byte(strings.Repeat("b", 32))
	has := func(keys [][32]byte, k [32]byte) bool {
		for _, have := range keys {
			if have == k {
				return true
			}
		}
		return false
	}
	today, tomorrow := ticketKeys([][]byte{a, b}, 100), ticketKeys([][]byte{b, a}, 101)
	if len(today) != 6 || !has(today, tomorrow[0]) || !has(tomorrow, today[0]) || today[0] == tomorrow[0] {
		t.Error("neighbours cannot open each other's")
	}
	if later := ticketKeys([][]byte{a, b}, 103); has(later, today[0]) {
		t.Error("a key lives too long")
	}

	secrets := []byte("# shared\nYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=\n")
	set := compiled(t, &config.TLS{TicketKeys: "t", TicketKeysData: secrets, Certificates: []config.Certificate{pair(t, nil, "a.example")}})
	s, other := NewStore(set), NewStore(set)
	day := time.Unix(100*24*60*60, 0)
	s.Rotate(day)
	state := session(t, set)
	opens := func(s *Store, ticket []byte) bool {
		got, err := s.Tickets().DecryptTicket(ticket, stdtls.ConnectionState{})
		return err == nil && got != nil
	}
	ticket, err := s.Tickets().EncryptTicket(stdtls.ConnectionState{}, state)
	if err != nil {
		t.Fatal(err)
	}
	for days, want := range map[int]bool{-1: true, 0: true, 1: true, 2: false, -2: false} {
		other.Rotate(day.Add(time.Duration(days) * 24 * time.Hour))
		if opens(other, ticket) != want {
			t.Errorf("%d days later: %v", days, !want)
		}
	}
}

// Keys of a store's own open tickets for a week, and another store goes on with them.
func TestOwnTicketKeys(t *testing.T) {
	set := compiled(t, &config.TLS{Certificates: []config.Certificate{pair(t, nil, "a.example")}})
	s, next, stranger := NewStore(set), NewStore(set), NewStore(set)
	ticket, err := s.Tickets().EncryptTicket(stdtls.ConnectionState{}, session(t, set))
	if err != nil {
		t.Fatal(err)
	}
	opens := func(s *Store) bool {
		got, err := s.Tickets().DecryptTicket(ticket, stdtls.ConnectionState{})
		return err == nil && got != nil
	}
	now := time.Now()
	next.InheritTicketKeys(s.TicketKeys(), now)
	stranger.InheritTicketKeys([]byte("none"), now)
	if !opens(s) || !opens(next) || opens(stranger) {
		t.Errorf("opened by its own store %v, by the next %v, by a stranger %v", opens(s), opens(next), opens(stranger))
	}
	for days, want := range []bool{true, true, true, true, true, true, true, false} {
		if next.Rotate(now.Add(time.Duration(days) * 24 * time.Hour)); opens(next) != want {
			t.Errorf("%d days later: %v", days, !want)
		}
	}
}
