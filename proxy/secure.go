package proxy

import (
	stdtls "crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"strings"
	"unique"

	"golang.org/x/sys/unix"

	"zproxy/config"
	"zproxy/loop"
	"zproxy/metrics/accesslog"
	"zproxy/proto"
	"zproxy/proto/http2"
	"zproxy/proto/tls"
	"zproxy/proxy/transport"
	"zproxy/proxy/transport/credentials"
	"zproxy/proxy/transport/handshake"
)

// What TLS needs: of the configuration, and of a worker until a connection is a
// client, or an origin, like any other.

// secure is the part of a snapshot that has to do with TLS.
type secure struct {
	servers    []*transport.Server // by listener; nil: in clear
	stores     []Credentials
	handshakes int // under way at once in a loop
	workers    handshake.Starter
}

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
func (s *Snapshot) Credentials() []Credentials { return s.secure.stores }

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

// alpn names protocols as RFC 7301 does, the better one first.
func alpn(protocols []string) (names []string) {
	for _, p := range [...][2]string{{"h2", "h2"}, {"http1", "http/1.1"}} {
		for _, q := range protocols {
			if q == p[0] {
				names = append(names, p[1])
			}
		}
	}
	return names
}

func compileSecure(c *config.Config, loops int) (secure, error) {
	s := secure{workers: handshake.NewWorkers(max(2, loops/8))}
	for i := range c.Listeners {
		l := &c.Listeners[i]
		if l.TLS == nil {
			s.servers = append(s.servers, nil)
			continue
		}
		base := &stdtls.Config{
			MinVersion: tlsVersion(l.TLS.MinVersion), CipherSuites: suites12, NextProtos: alpn(l.Protocols),
			SessionTicketsDisabled: !l.TLS.Tickets,
		}
		set, err := credentials.Compile(l.TLS, base)
		if err != nil {
			return s, fmt.Errorf("%s:%d: %w", c.File, l.Line, err)
		}
		store := credentials.NewStore(set)
		s.stores = append(s.stores, Credentials{Listener: l, Store: store, base: base})
		s.servers = append(s.servers, &transport.Server{
			Config: handshake.ServerConfig(store), TimeoutNs: int64(l.TLS.HandshakeTimeout),
		})
		s.handshakes = max(s.handshakes, l.TLS.Handshakes)
	}
	return s, nil
}

// compileOrigins makes for each endpoint of u what its connections are put into
// TLS with; nil where they are in clear.
func compileOrigins(u *config.Upstream) ([]*transport.Client, error) {
	if u.TLS == nil {
		return make([]*transport.Client, len(u.Endpoints)), nil
	}
	base := &stdtls.Config{
		MinVersion: tlsVersion(u.TLS.MinVersion), CipherSuites: suites12,
		NextProtos: alpn([]string{u.Protocol}), InsecureSkipVerify: !u.TLS.Verify,
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
	for i := range u.Endpoints {
		own := base.Clone()
		own.ClientSessionCache = stdtls.NewLRUClientSessionCache(1) // of this endpoint: what names the session is the server's name
		if own.ServerName = u.TLS.ServerName; own.ServerName == "" {
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

// admitConn takes on a client whose connection stays on this loop.
func (w *Worker) admitConn(conn loop.ConnID, listener int) {
	s := w.snap.secure.servers[listener]
	if s == nil {
		w.openClient(conn, listener)
		return
	}
	if conn == 0 {
		return // see openClient
	}
	w.l.SetOwner(conn, ownerOf(ownerListener, uint32(listener)))
	w.countConns(1)
	if !w.l.Secure(conn, s) {
		w.l.Abort(conn)
	}
}

// listenerEvent: a client has connected, or what became of its handshake.
func (w *Worker) listenerEvent(ev *loop.Event, listener int) {
	switch ev.Kind {
	case loop.Accepted:
		w.accepted(ev.Conn, listener)
	case loop.Connected:
		if ev.Errno != 0 {
			w.handshakeFailed(ev.Conn, ev.Errno)
			return
		}
		w.countConns(-1) // openClient counts it
		w.openClient(ev.Conn, listener)
	case loop.Timer:
		w.l.Expire(ev.Conn)
	case loop.Closed:
		w.countConns(-1)
	}
}

// handshakeFailed: a client's connection never came into TLS.
func (w *Worker) handshakeFailed(conn loop.ConnID, errno unix.Errno) {
	f := &faultHandshake
	if errno == unix.ETIMEDOUT {
		f = &faultHandshakeTimeout
	}
	w.countFault(f)
	w.logConn(conn)
	w.l.Close(conn)
}

// recordsEnd counts and logs clients whose connection ends for what is wrong with
// their records; origins fail their exchanges by it.
func (w *Worker) recordsEnd(ev *loop.Event) {
	index := ev.Owner & ownerMask
	switch {
	case !w.l.IsSecure(ev.Conn):
		return
	case ev.Owner>>ownerShift == ownerClient:
	case ev.Owner>>ownerShift == ownerSession && w.sessions[index].role == http2.Server:
	default:
		return
	}
	switch ev.Errno {
	case unix.EPROTO:
		w.countFault(&faultRecord)
	case unix.ENOBUFS:
		w.countFault(&faultRecordHeld)
	default:
		return
	}
	w.logConn(ev.Conn)
}

// logConn logs the client of a connection that ends for what Failure says.
func (w *Worker) logConn(conn loop.ConnID) {
	if w.log != nil {
		w.record = accesslog.Record{WallMs: w.l.WallMs(), Client: w.l.Peer(conn), Reason: w.l.Failure()}
		logTLS(w.l.Session(conn), &w.record)
		w.log.Add(&w.record)
	}
}

// speaks is what a client's connection carries: as was agreed within TLS, else as
// the listener says.
func (w *Worker) speaks(conn loop.ConnID, listener int) versions {
	v := w.snap.versions[listener]
	if w.snap.secure.servers[listener] == nil {
		return v
	}
	switch w.l.ALPN(conn) {
	case transport.ProtocolHTTP2:
		return onlyHTTP2
	case transport.ProtocolHTTP1:
		return onlyHTTP1
	}
	if v == eitherVersion {
		return onlyHTTP1 // RFC 9113 3.3: HTTP/2 within TLS is chosen by ALPN
	}
	return v
}

// tlsOf is what was agreed on with a client within TLS; nil: it is in
// clear, or gone.
func (w *Worker) tlsOf(c *client) *transport.Session {
	if w.snap.secure.servers[c.listener] == nil {
		return nil
	}
	conn := c.conn
	if c.stream != 0 {
		st := w.streams.At(c.stream)
		if st.id == 0 {
			return nil // see clientPeer
		}
		conn = w.sessionOf(st).conn
	}
	return w.l.Session(conn)
}

// misdirected refuses a request that does not belong on its connection: it is for
// a host that the connection's certificate is not for, or whose clients are let in
// by another policy (RFC 9110 7.4, 15.5.20). A client that names no host to TLS
// may name an address to HTTP, which has no place in TLS (RFC 6066 3).
func (w *Worker) misdirected(c *client, h *proto.Head) *proto.Fault {
	s := w.tlsOf(c)
	if s == nil || h.Host.Len == 0 {
		return nil
	}
	host := h.Bytes(h.Host)
	n, _, _ := proto.ParseAuthority(host)
	if host = host[:n]; proto.EqualFold(host, s.Name) || s.Name == "" && isAddress(host) || s.Terms.Serves(host) {
		return nil
	}
	return &faultMisdirected
}

func isAddress(host []byte) bool {
	if len(host) > 0 && host[0] == '[' {
		return true
	}
	for _, c := range host {
		if c != '.' && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// asksClients says that c has been asked for a certificate: no other has a say.
func (w *Worker) asksClients(c *client) bool {
	s := w.tlsOf(c)
	return s != nil && s.Terms.AsksClients()
}

// certFields passes on a client's certificate (RFC 9440 2).
func (w *Worker) certFields(c *client) {
	s := w.tlsOf(c)
	if s == nil || s.Client == (unique.Handle[credentials.Client]{}) {
		return
	}
	cert := s.Client.Value()
	w.addNamed(nameClientCert, cert.Cert)
	if cert.Chain != "" {
		w.addNamed(nameClientCertChain, cert.Chain)
	}
}

const (
	nameClientCert      = "Client-Cert"
	nameClientCertChain = "Client-Cert-Chain"
)

// logTLS writes down what a client's connection is.
func logTLS(s *transport.Session, r *accesslog.Record) {
	if s == nil {
		return
	}
	r.SNI, r.Resumed = s.Name, s.Resumed
	if s.Version != 0 {
		r.TLSVersion, r.TLSSuite = tls.VersionName(s.Version), tls.SuiteName(s.Suite)
	}
	if s.Client != (unique.Handle[credentials.Client]{}) {
		c := s.Client.Value()
		r.CertSubject, r.CertSerial, r.CertFingerprint = c.Subject, c.Serial, c.Fingerprint
	}
}

// connect dials an endpoint.
func (w *Worker) connect(r *loop.Remote, cluster, endpoint int) loop.ConnID {
	conn := w.l.Dial(r, 0)
	if c := w.snap.clusters[cluster].tls[endpoint]; c != nil && conn != 0 {
		w.l.SecureDial(conn, c)
	}
	return conn
}

// agreed says whether a connection to an origin is good for HTTP/2: within TLS
// that is agreed on (RFC 9113 3.2).
func (w *Worker) agreed(se *session) bool {
	return w.snap.clusters[se.cluster].tls[se.endpoint] == nil || w.l.ALPN(se.conn) == transport.ProtocolHTTP2
}

// originScheme is that of requests to HTTP/2 origins (RFC 9113 8.3.1).
func (c *cluster) originScheme() []byte {
	if c.tls[0] != nil {
		return schemeHTTPS
	}
	return schemeHTTP
}

// scheme is that of requests by a listener.
func (s *Snapshot) scheme(listener uint16) []byte {
	if s.secure.servers[listener] != nil {
		return schemeHTTPS
	}
	return schemeHTTP
}

var (
	schemeHTTP  = []byte("http")
	schemeHTTPS = []byte("https")
)

var (
	faultHandshake         = proto.Fault{Status: 400, Code: codeHandshake, Reason: "TLS handshake failed"}
	faultHandshakeTimeout  = proto.Fault{Status: 408, Code: codeHandshakeTimeout, Reason: "TLS handshake not finished in time"}
	faultMisdirected       = proto.Fault{Status: 421, Code: codeMisdirected, Reason: "request is for a host that its TLS connection is not for"}
	faultOriginCertificate = proto.Fault{Status: 502, Code: codeOriginCertificate, Reason: "origin's certificate is refused"}
	faultOriginHandshake   = proto.Fault{Status: 502, Code: codeOriginHandshake, Reason: "TLS handshake with the origin failed"}
	faultRecord            = proto.Fault{Status: 400, Code: codeRecord, Reason: "client broke the rules of TLS records"}
	faultRecordHeld        = proto.Fault{Status: 503, Code: codeHeld, Reason: "part of a TLS record is held, and others wait for memory"}
	faultOriginRecord      = proto.Fault{Status: 502, Code: codeOriginRecord, Reason: "origin broke the rules of TLS records"}
	faultNoH2              = proto.Fault{Status: 502, Code: codeOriginHandshake, Reason: "origin does not offer HTTP/2 (ALPN h2)"}
)
