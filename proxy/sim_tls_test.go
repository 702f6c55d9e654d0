package proxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"sync"
	"time"

	"zproxy/config"
	"zproxy/internal/simnet"
	"zproxy/loop/sim"
	"zproxy/proxy/snapshot"
)

// What a simulation needs for TLS. Handshakes are stood in for
// (simnet.Handshakes): crypto/tls would compute on other goroutines, with keys that
// no seed knows. All that comes behind them is the real thing.

// Sides of a worker.
const (
	fromClient = iota
	fromOrigin
)

// simCertificate is never shown to anybody.
var simCertificate = sync.OnceValue(func() config.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	from := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, from, from, key.Public(), key)
	if err != nil {
		panic(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return config.Certificate{Cert: "cert.pem", Key: "key.pem",
		CertPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		KeyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})}
})

// standIn has the handshakes of snap's connections stood in for.
func standIn(world *sim.World, cfg *config.Config, snap *snapshot.Snapshot) {
	h := &simnet.Handshakes{World: world, Protocols: snapshot.ALPN(cfg.Listeners[0].Protocols)}
	for _, c := range snap.Credentials() {
		h.Terms, _ = c.Store.Choose("sim.example")
	}
	snap.Workers = h
}

func (s *simulation) secured() bool { return s.tls[fromClient] || s.tls[fromOrigin] }

func (s *simulation) listenerTLS() string {
	if !s.tls[fromClient] {
		return ""
	}
	return ", tls: {certificates: [{cert: cert.pem, key: key.pem}], handshake_timeout: 5s}"
}

// h2 is HTTP/2 as a listener names it.
func (s *simulation) h2() string { return []string{"h2c", "h2"}[bit(s.tls[fromClient])] }

// protocol is what the origins speak, and within what.
func (s *simulation) protocol() string {
	p := []string{"http1", "h2c"}[bit(s.h2c)]
	if s.tls[fromOrigin] {
		p = []string{"http1\n    tls: {}", "h2\n    tls: {}"}[bit(s.h2c)]
	}
	if v := s.run.Traits.SendProxy; v > 0 {
		p += fmt.Sprintf("\n    send_proxy: v%d", v)
		if s.run.Traits.TLVs {
			p += "\n    send_proxy_tlvs: [unique_id, ssl, alpn, authority]"
		}
	}
	return p
}
