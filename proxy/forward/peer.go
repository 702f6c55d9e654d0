package forward

import (
	"net/netip"

	"zproxy/proxy/snapshot"
)

// Peer is the other end of a client's connection, as origins are told of it.
type Peer struct {
	addr    netip.Addr
	text    []byte // addr, empty for a unix socket
	scheme  []byte // of its requests
	known   bool
	trusted bool
}

// Set takes the address of a client down. unix: it came by a listener of unix
// sockets, where the permissions of the socket's file decide who speaks. A missing
// address says nothing of the kind.
func (p *Peer) Set(f *snapshot.Forwarding, addr netip.Addr, unix bool, scheme []byte) {
	p.addr, p.known, p.scheme = addr.Unmap(), true, scheme
	p.trusted = unix || f.Trusts(p.addr)
	p.text = p.text[:0]
	if p.addr.IsValid() {
		p.text = p.addr.AppendTo(p.text)
	}
}

// Addr is the address of the other end, not valid for unix sockets, and Scheme that of its requests.
func (p *Peer) Addr() netip.Addr { return p.addr }

func (p *Peer) Scheme() []byte { return p.scheme }

// Known says that it was Set, and not to Forget since.
func (p *Peer) Known() bool { return p.known }

// Forget is for a connection that is another one, or may be trusted otherwise.
func (p *Peer) Forget() { p.known = false }

// Trusted says that what it says about others is believed, and passed on.
func (p *Peer) Trusted() bool { return p.trusted }
