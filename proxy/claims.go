package proxy

import (
	"net/netip"

	"zproxy/proto"
)

// identity is who asks.
type identity struct {
	peer *peerName  // the connection's other end
	addr netip.Addr // the client: the peer, or whom a trusted peer names; not valid where nobody is named
}

// identify finds out who sent the request h.
func (hd *heads) identify(c *client, h *proto.Head) {
	p := hd.peerOf(c)
	hd.who = identity{peer: p, addr: p.addr}
	hd.ids.known = false
	if p.trusted {
		hd.who.addr = hd.w.snap.Forwarding.OnBehalfOf(h, p.addr)
	}
}
