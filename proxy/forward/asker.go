package forward

import (
	"net/netip"

	"zproxy/proxy/snapshot"
	"zproxy/upstream"
)

// Where connections are short clients take turns (see upstream.Turns), and where an upstream
// balances by key, the client may be the key. This file says who is a client there.

// AddrKey stands for an address among those that take turns, 0 for none. Who has
// an IPv6 address has its whole /64 at the least.
func AddrKey(a netip.Addr) uint32 {
	if !a.IsValid() {
		return 0
	}
	a = a.Unmap()
	if a.Is4() {
		four := a.As4()
		return uint32(four[0])<<24 | uint32(four[1])<<16 | uint32(four[2])<<8 | uint32(four[3])
	}
	b, prefix := a.As16(), uint64(0)
	for _, octet := range b[:8] {
		prefix = prefix<<8 | uint64(octet)
	}
	return uint32(prefix * 0x9E3779B97F4A7C15 >> 32)
}

// Asker is what the turns of a request depend on: the client that a trusted proxy names, in as few
// bytes as an exchange has for it, and in the low bits whether there is one and who may
// speak first. Two in four million are taken for one.
type Asker [3]uint8

const (
	askerNamed = 1 << iota
	askerEitherBegins
)

// Asker is that of q. whole: nothing of q is still to come.
func (q *Request) Asker(whole bool) (a Asker) {
	if q.Client != q.Peer.addr {
		k := AddrKey(q.Client) * 0x9E3779B1
		a = Asker{uint8(k >> 24), uint8(k >> 16), uint8(k>>8)&^3 | askerNamed}
	}
	if !whole && eitherBegins(q.Head) {
		a[2] |= askerEitherBegins
	}
	return a
}

// Named says that a trusted proxy names the client: Key stands for it. Else it is the
// connection's other end.
func (a Asker) Named() bool { return a[2]&askerNamed != 0 }

// Key stands for the client that is named.
func (a Asker) Key() uint32 {
	return uint32(a[0])<<16 | uint32(a[1])<<8 | uint32(a[2]&^askerEitherBegins)
}

// EitherBegins says that the origin may speak before any of the request's content has come.
func (a Asker) EitherBegins() bool { return a[2]&askerEitherBegins != 0 }

// KeyHash is the hash of the key of q, which has been routed as path, nil: as it was received. 0: it
// has none.
func (q *Request) KeyHash(k *snapshot.Key, path []byte) uint64 {
	if k.Source {
		return hashAddr(q.Client)
	}
	if path == nil {
		path = q.Head.Bytes(q.Head.Path)
	}
	return k.Hash(q.Head, path)
}

// hashAddr is the hash of a client's address, of the first 64 bits of IPv6; 0: it has none.
func hashAddr(a netip.Addr) uint64 {
	if !a.IsValid() {
		return 0
	}
	if a = a.Unmap(); a.Is4() {
		b := a.As4()
		return upstream.HashKey(b[:])
	}
	b := a.As16()
	return upstream.HashKey(b[:8])
}
