package server

import (
	"crypto/sha256"
	"crypto/tls"

	"zproxy/admin"
	"zproxy/config"
)

// gateOf says who gets in at the admin address of c; nil: it asks nobody.
func gateOf(c *config.Config) (*admin.Gate, error) {
	a := &c.Admin
	if len(a.Tokens) == 0 && a.TLS == nil {
		return nil, nil
	}
	g := new(admin.Gate)
	for i := range a.Tokens {
		t := &a.Tokens[i]
		if len(t.Sum) == sha256.Size {
			g.Tokens = append(g.Tokens, admin.Token{Name: t.Name, Sum: [sha256.Size]byte(t.Sum), Write: t.Access == "write"})
		}
	}
	if a.TLS != nil {
		pair, err := a.TLS.Pair()
		if err != nil {
			return nil, err
		}
		g.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}}
	}
	return g, nil
}

// Gate is of what is in force.
func (src source) Gate() *admin.Gate { return src.s.serves.Load().gate }

// compileFirst compiles what the process begins with.
func compileFirst(s *Server, first *serving) (err error) {
	if first.gate, err = gateOf(first.cfg); err == nil {
		first.snap, err = s.registry.Compile(first.cfg)
	}
	return err
}
