package snapshot

import (
	stdtls "crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"strings"

	"zproxy/config"
	"zproxy/proxy/transport"
	"zproxy/proxy/transport/credentials"
	"zproxy/proxy/transport/handshake"
)

// Credentials are those of a listener.
type Credentials struct {
	Listener *config.Listener
	Store    *credentials.Store
	base     *stdtls.Config
}

// Compile makes a set of what the listener's files hold now.
func (c *Credentials) Compile(t *config.TLS) (*credentials.Set, error) {
	return credentials.Compile(t, c.base)
}

// Credentials lists those of the listeners that speak TLS.
func (s *Snapshot) Credentials() (list []Credentials) {
	for _, l := range s.Listeners {
		if l != nil && l.store != nil && !l.Gone {
			list = append(list, *l.store)
		}
	}
	return list
}

func tlsVersion(text string) uint16 {
	if text == "1.3" {
		return stdtls.VersionTLS13
	}
	return stdtls.VersionTLS12
}

// suites12 are the cipher suites of TLS 1.2 that the record layer has; those of
// TLS 1.3 are not a choice.
var suites12 = []uint16{
	stdtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, stdtls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	stdtls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, stdtls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	stdtls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, stdtls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// keyExchanges are what clients may make a key with. Go would take P-521 as well, which costs a server many times what it
// costs a client to ask for it.
var keyExchanges = []stdtls.CurveID{stdtls.X25519MLKEM768, stdtls.X25519, stdtls.CurveP256, stdtls.CurveP384}

// ALPN names protocols as RFC 7301 does, the better one first.
func ALPN(protocols []string) (names []string) {
	for _, p := range [...][2]string{{"h2", "h2"}, {"http1", "http/1.1"}} {
		for _, q := range protocols {
			if q == p[0] {
				names = append(names, p[1])
			}
		}
	}
	return names
}

// compileServer makes what the handshakes of a listener need.
func compileServer(l *config.Listener) (*transport.Server, *Credentials, error) {
	base := &stdtls.Config{
		MinVersion: tlsVersion(l.TLS.MinVersion), CipherSuites: suites12, NextProtos: ALPN(l.Protocols),
		SessionTicketsDisabled: !l.TLS.Tickets, CurvePreferences: keyExchanges,
	}
	set, err := credentials.Compile(l.TLS, base)
	if err != nil {
		return nil, nil, err
	}
	store := credentials.NewStore(set)
	return &transport.Server{Config: handshake.ServerConfig(store), TimeoutNs: int64(l.TLS.HandshakeTimeout), Most: l.TLS.Handshakes},
		&Credentials{Listener: l, Store: store, base: base}, nil
}

// compileOrigins makes for each endpoint of u what its connections are put into
// TLS with; nil where they are in clear.
func compileOrigins(u *config.Upstream) ([]*transport.Client, error) {
	if u.TLS == nil {
		return make([]*transport.Client, max(len(u.Endpoints), slotsOf(u))), nil
	}
	base := &stdtls.Config{
		MinVersion: tlsVersion(u.TLS.MinVersion), CipherSuites: suites12,
		NextProtos: offered(u), InsecureSkipVerify: !u.TLS.Verify,
	}
	if len(u.TLS.Pins) > 0 {
		base.VerifyConnection = credentials.Pinned(u.TLS.Pins)
	}
	if u.TLS.CAPEM != nil {
		base.RootCAs = x509.NewCertPool()
		if !base.RootCAs.AppendCertsFromPEM(u.TLS.CAPEM) {
			return nil, fmt.Errorf("%s: no certificate in it", u.TLS.CA)
		}
	}
	if cert := u.TLS.Client; cert != nil {
		pair, err := stdtls.X509KeyPair(cert.CertPEM, cert.KeyPEM)
		if err != nil {
			return nil, err
		}
		base.Certificates = []stdtls.Certificate{pair}
	}
	var clients []*transport.Client
	for i := range max(len(u.Endpoints), slotsOf(u)) {
		own := base.Clone()
		own.ClientSessionCache = stdtls.NewLRUClientSessionCache(1) // of this endpoint: what names the session is the server's name
		if own.ServerName = u.TLS.ServerName; own.ServerName == "" && u.Discover == nil {
			own.ServerName = nameOf(u.Endpoints[i].Address)
		}
		clients = append(clients, &transport.Client{Config: own})
	}
	return clients, nil
}

// nameOf is the name, or the address, that an endpoint's certificate is for.
func nameOf(address string) string {
	if strings.HasPrefix(address, "unix:") {
		return "localhost"
	}
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}

const (
	NameClientCert      = "Client-Cert"
	NameClientCertChain = "Client-Cert-Chain"
)

// OriginScheme is that of requests to HTTP/2 origins (RFC 9113 8.3.1).
func (c *Cluster) OriginScheme() []byte {
	if c.TLS[0] != nil {
		return schemeHTTPS
	}
	return schemeHTTP
}

// Scheme is that of requests by a listener.
func (s *Snapshot) Scheme(listener uint16) []byte {
	if s.Listeners[listener].Server != nil {
		return schemeHTTPS
	}
	return schemeHTTP
}

var (
	schemeHTTP  = []byte("http")
	schemeHTTPS = []byte("https")
)
