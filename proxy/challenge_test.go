package proxy

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"zproxy/internal/tlstest"
	"zproxy/loop"
)

// An authority's request is answered before any route, for as long as there is something to answer; all others go
// where their route says.
func TestChallengeByHTTP(t *testing.T) {
	besides(t, func(t *testing.T, by loop.IO) {
		r := start(t, by, 1, "listeners: [{address: \"127.0.0.1:8080\"}]\nroutes: [{path: \"/*\", respond: {body: routed}}]\n", nil)
		ask := func(method, path, want string) {
			t.Helper()
			c := r.dial()
			defer c.Close()
			fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n", method, path)
			got, _ := hear(c, func(string) bool { return false })
			if !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") || !strings.HasSuffix(got, "\r\n\r\n"+want) {
				t.Errorf("%s %s: %q, want %q", method, path, got, want)
			}
			if typed := strings.Contains(got, "Content-Type: application/octet-stream\r\n"); typed != (want == "tok.thumb") {
				t.Errorf("%s %s: %q", method, path, got)
			}
		}
		const path = "/.well-known/acme-challenge/"
		ask("GET", path+"tok", "routed")
		r.snap.AnswerHTTP(map[string]string{"tok": "tok.thumb", "other": "other.thumb"})
		ask("GET", path+"tok", "tok.thumb")
		ask("GET", path+"toc", "routed")
		ask("GET", path, "routed")
		ask("GET", path+"tok/", "routed")
		ask("GET", "/tok", "routed")
		ask("POST", path+"tok", "routed")
		r.snap.AnswerHTTP(map[string]string{"other": "other.thumb"})
		ask("GET", path+"tok", "routed")
		r.snap.AnswerHTTP(nil)
		ask("GET", path+"other", "routed")
	})
}

// A handshake that only checks a name is shown the certificate made for that, and its connection ends; it fails where
// there is none. Other handshakes are not concerned, nor is one that asks for something else as well.
func TestChallengeByTLS(t *testing.T) {
	besides(t, func(t *testing.T, by loop.IO) {
		r := start(t, by, 1, strings.Replace(secureText, "tls: {", "tls: {strict_sni: true, ", 1), nil)
		cert := tlstest.Certificate(t, "ecdsa")
		var open []net.Conn
		hello := func(name string, version uint16, protocols ...string) (*tls.Conn, error) {
			raw, err := net.Dial("tcp", r.addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { raw.Close() })
			open = append(open, raw)
			_ = raw.SetDeadline(time.Now().Add(30 * time.Second))
			c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, ServerName: name, NextProtos: protocols, MaxVersion: version})
			return c, c.Handshake()
		}
		r.snap.AnswerTLS(map[string]*tls.Certificate{"a.example": &cert})
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			c, err := hello("A.example", version, "acme-tls/1")
			if err != nil {
				t.Fatal(err)
			}
			s := c.ConnectionState()
			if s.NegotiatedProtocol != "acme-tls/1" || !bytes.Equal(s.PeerCertificates[0].Raw, cert.Certificate[0]) {
				t.Errorf("%q, %v", s.NegotiatedProtocol, s.PeerCertificates[0].Subject)
			}
			if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("the connection goes on: %d, %v", n, err)
			}
			if _, err := hello("b.example", version, "acme-tls/1"); err == nil {
				t.Error("a name without a challenge is confirmed")
			}
			if c, err := hello("a.example", version, "acme-tls/1", "http/1.1"); err == nil && c.ConnectionState().NegotiatedProtocol == "acme-tls/1" {
				t.Error("confirmed beside another protocol")
			}
		}
		r.snap.AnswerTLS(nil)
		if _, err := hello("a.example", 0, "acme-tls/1"); err == nil {
			t.Error("a challenge that is over is confirmed")
		}
		for _, c := range open {
			c.Close()
		}
		deadline := time.Now().Add(patience)
		for r.reports()[0].Metrics.ClientConns != 0 {
			if time.Now().After(deadline) {
				t.Fatal("connections are left")
			}
			time.Sleep(time.Millisecond)
		}
	})
}
