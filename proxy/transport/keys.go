package transport

import (
	"zproxy/loop"
	"zproxy/proto/tls"
)

// keySlots is how many connections' keys are kept ready in each direction; a
// connection's keys are made ready again when another has taken its slot.
const keySlots = 256

// keys are those that are ready, by the low bits of a connection's entry.
type keys [keySlots]*ciphers

// ciphers are the keys of one connection made ready.
type ciphers struct {
	in, out     tls.Cipher
	inOf, outOf loop.ConnID
}

func (k *keys) slot(i uint32) *ciphers {
	s := &k[i%keySlots]
	if *s == nil {
		*s = new(ciphers)
	}
	return *s
}

// in opens what comes on the connection with entry i.
func (k *keys) in(i uint32, c *conn) *tls.Cipher {
	s := k.slot(i)
	if s.inOf != c.id {
		s.inOf = c.id
		c.tls.UseIn(&s.in)
	}
	return &s.in
}

// out seals what is sent on it.
func (k *keys) out(i uint32, c *conn) *tls.Cipher {
	s := k.slot(i)
	if s.outOf != c.id {
		s.outOf = c.id
		c.tls.UseOut(&s.out)
	}
	return &s.out
}
