package main

import (
	"crypto/tls"
	"net"
	"testing"
)

// A server takes the ClientHello of the flood, each time anew, and goes on with a handshake; one that refuses it has
// answered nothing.
func TestFloodOfHandshakes(t *testing.T) {
	cert, key, err := newCertificate(keyP256)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	hello, err := clientHello()
	if err != nil {
		t.Fatal(err)
	}
	for most, want := range map[uint16]int64{tls.VersionTLS13: 2, tls.VersionTLS12: 0} {
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, MaxVersion: most})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					c.(*tls.Conn).Handshake()
				}()
			}
		}()
		f := new(flood)
		for range 2 {
			if err := f.once(l.Addr().(*net.TCPAddr).String(), hello); (err == nil) != (want > 0) {
				t.Errorf("version %x: %v", most, err)
			}
		}
		if got := f.answered.Load(); got != want {
			t.Errorf("version %x: %d handshakes were answered, want %d", most, got, want)
		}
		l.Close()
	}
}
