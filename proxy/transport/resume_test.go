package transport

import (
	stdtls "crypto/tls"
	"crypto/x509"
	"sync/atomic"
	"testing"

	"zproxy/internal/tlstest"
	"zproxy/loop"
)

// counting counts what is put into a cache of sessions.
type counting struct {
	stdtls.ClientSessionCache
	put atomic.Int64
}

func (c *counting) Put(key string, s *stdtls.ClientSessionState) {
	c.ClientSessionCache.Put(key, s)
	c.put.Add(1)
}

// Sessions with an origin go on in its next connections, also in TLS 1.3, whose tickets
// come as records behind the handshake.
func TestSessionsOfOrigins(t *testing.T) {
	backends(t, func(t *testing.T, io_ loop.IO) {
		cert := tlstest.Certificate(t, "ecdsa")
		roots := x509.NewCertPool()
		roots.AddCert(cert.Leaf)
		for _, version := range []uint16{stdtls.VersionTLS12, stdtls.VersionTLS13} {
			for _, asks := range []bool{false, true} { // a server that asks for a certificate sends its ticket behind the client's answer
				server := &stdtls.Config{Certificates: []stdtls.Certificate{cert}, MaxVersion: version}
				if asks {
					server.ClientAuth = stdtls.RequestClientCert
				}
				addr := tlstest.Echo(t, server)
				done := make(chan struct{}, 1)
				_, o, do := serve(t, io_, Config{}, func(o *owner, ev *loop.Event) {
					switch ev.Kind {
					case loop.Connected:
						copy(o.pool.Reserve(1), "x")
						o.Send(ev.Conn, o.pool.Commit(1))
					case loop.Received:
						o.Release(ev)
						o.Close(ev.Conn)
						done <- struct{}{}
					}
				})
				cache := &counting{ClientSessionCache: stdtls.NewLRUClientSessionCache(1)}
				config := &Client{Config: &stdtls.Config{RootCAs: roots, ServerName: tlstest.Name, ClientSessionCache: cache}}
				for range 3 {
					before := cache.put.Load()
					do(func() {
						r, err := loop.NewRemote(addr, loop.SockOpts{})
						if err != nil {
							t.Error(err)
							return
						}
						o.SecureDial(o.Dial(r, 5), config)
					})
					<-done
					if before == 0 {
						eventually(t, "a session is kept", func() bool { return cache.put.Load() > before })
					}
				}
				do(func() {
					if all, resumed, failed := counted(o.handshakes.counts); all != 3 || resumed != 2 || failed != 0 {
						t.Errorf("%04x, certificate asked for %v: %d handshakes, %d resumed, %d failed", version, asks, all, resumed, failed)
					}
				})
			}
		}
	})
}
