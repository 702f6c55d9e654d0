package transport

import (
	stdtls "crypto/tls"
	"crypto/x509"
	"net"
	"testing"

	"zproxy/internal/tlstest"
	"zproxy/metrics"
)

// counted is how many handshakes there were, how many of them resumed a session, and how
// many more failed.
func counted(c *metrics.TLS) (done, resumed, failed uint64) {
	for h, n := range c.Done {
		if done += n; h.Resumed {
			resumed += n
		}
	}
	for _, n := range c.Failed {
		failed += n
	}
	return done, resumed, failed
}

// What peers send makes no names of its own in metrics.
func TestAlertReason(t *testing.T) {
	for text, want := range map[string]string{"bad certificate": "alert: bad certificate", "alert(77)": "alert: unknown"} {
		if got := alertReason(text); got != want {
			t.Errorf("%s: %s", text, got)
		}
	}
}

// The texts are crypto/tls's own, which may change with it.
func TestReasonsOfHandshakes(t *testing.T) {
	pair := tlstest.Certificate(t, "ecdsa")
	for want, change := range map[string]func(server, client *stdtls.Config){
		"protocol version": func(_, c *stdtls.Config) { c.MinVersion, c.MaxVersion = stdtls.VersionTLS10, stdtls.VersionTLS11 },
		"no shared cipher suite": func(_, c *stdtls.Config) {
			c.MaxVersion, c.CipherSuites = stdtls.VersionTLS12, []uint16{stdtls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
		},
		"no shared group":         func(_, c *stdtls.Config) { c.CurvePreferences = []stdtls.CurveID{stdtls.CurveP521} },
		"no shared ALPN protocol": func(_, c *stdtls.Config) { c.NextProtos = []string{"smtp"} },
		"no client certificate":   func(s, _ *stdtls.Config) { s.ClientAuth = stdtls.RequireAnyClientCert },
		"unknown authority": func(s, c *stdtls.Config) {
			s.ClientAuth, s.ClientCAs, c.Certificates = stdtls.RequireAndVerifyClientCert, x509.NewCertPool(), []stdtls.Certificate{pair}
		},
		"alert: bad certificate": func(_, c *stdtls.Config) { c.InsecureSkipVerify = false },
	} {
		server := &stdtls.Config{Certificates: []stdtls.Certificate{pair}, NextProtos: []string{"h2"}, CurvePreferences: []stdtls.CurveID{stdtls.X25519},
			CipherSuites: []uint16{stdtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}
		client := &stdtls.Config{InsecureSkipVerify: true, ServerName: tlstest.Name}
		a, b := tlstest.Pipe(t)
		change(server, client)
		go func() {
			c := stdtls.Client(b, client)
			if c.Handshake() == nil {
				_, _ = c.Read(make([]byte, 1))
			}
		}()
		err := stdtls.Server(a, server).Handshake()
		if err == nil || reasonOf(err) != want {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// What is no handshake, in place of a ClientHello.
func TestReasonsOfMessages(t *testing.T) {
	pair := tlstest.Certificate(t, "ecdsa")
	for b, want := range map[string]string{
		"\x16\x03\x01\x00\x04\x01\x00\x00\x00": "malformed message",  // a ClientHello of nothing
		"\x16\x03\x01\x00\x04\x01\xff\xff\xff": "malformed message",  // one of 16 MB
		"\x16\x03\x01\x00\x04\x0e\x00\x00\x00": "unexpected message", // ServerHelloDone
		"\x17\x03\x01\x00\x01\x00":             reasonNotTLS,         // content
		"\x16\x03\x01\x00":                     reasonLeft,
	} {
		a, other := tlstest.Pipe(t)
		if _, err := other.Write([]byte(b)); err != nil {
			t.Fatal(err)
		}
		_ = other.(*net.TCPConn).CloseWrite()
		if err := stdtls.Server(a, &stdtls.Config{Certificates: []stdtls.Certificate{pair}}).Handshake(); err == nil || reasonOf(err) != want {
			t.Errorf("%q: %v, %s, want %s", b, err, reasonOf(err), want)
		}
	}
}
