package proxy

import (
	"net/netip"

	"zproxy/proxy/forward"
	"zproxy/upstream"
)

// Where connections are short clients take turns (see upstream.Turns). This file
// says who is a client there.

// addrKey stands for an address among those that take turns, 0 for none. Who has
// an IPv6 address has its whole /64 at the least.
func addrKey(a netip.Addr) uint32 {
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

// asker is the client on whose behalf x asks: the one that a trusted proxy names,
// or the connection, below its address.
func (sc *scarce) asker(c *client, x *exchange) upstream.Client {
	if x.from[2]&fromNamed != 0 {
		return upstream.Client{Addr: x.from.key()}
	}
	conn := sc.w.legs.carrier(&c.leg)
	return upstream.Client{Addr: addrKey(sc.l.Peer(conn).Addr()), Conn: uint64(conn)}
}

// noteAsker keeps of the request q what its turns depend on.
func (x *exchange) noteAsker(q *forward.Request) {
	if x.flags&xRequestDone == 0 && forward.EitherBegins(q.Head) {
		x.from[2] |= fromTalks
	}
	if q.NamesAnother() {
		x.from.name(q.Client)
	}
}

// namedClient is the client that a trusted proxy names, in as few bytes as an
// exchange has for it, and in the low bits whether there is one and what the flags
// have no room for. Two in four million are taken for one.
type namedClient [3]uint8

const (
	fromNamed = 1 << iota
	fromTalks // the origin may speak before any of the request's content has come
)

func (n *namedClient) name(a netip.Addr) {
	k := addrKey(a) * 0x9E3779B1
	n[0], n[1], n[2] = uint8(k>>24), uint8(k>>16), uint8(k>>8)&^3|fromNamed|n[2]&fromTalks
}

func (n namedClient) key() uint32 {
	return uint32(n[0])<<16 | uint32(n[1])<<8 | uint32(n[2]&^fromTalks)
}

func (n namedClient) talks() bool { return n[2]&fromTalks != 0 }
