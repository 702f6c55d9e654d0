package snapshot

import (
	"net/netip"
	"strings"

	"zproxy/proto"
)

// names is a set of field names, some by their beginning alone. Letter case makes
// no difference, and '_' is '-': CGI and what is modelled on it make the same
// variable of both (RFC 3875 section 4.1.18).
type names struct {
	tokens   [proto.TokenCount]bool // names that have one, as they are written with '-'
	firsts   uint32                 // the letters that the others begin with
	byLength [maxNameBytes + 1][]string
	prefixes []string
}

const maxNameBytes = 64

// add puts a name into the set; "X-Envoy-*" stands for all names that begin so.
func (n *names) add(name string) {
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	n.firsts |= letterBit(name[0])
	prefix, ok := strings.CutSuffix(name, "*")
	if !ok {
		n.byLength[len(name)] = append(n.byLength[len(name)], name)
	} else {
		n.prefixes = append(n.prefixes, prefix)
	}
	for t := proto.Token(1); int(t) < proto.TokenCount; t++ {
		if n.matches([]byte(t.String())) {
			n.tokens[t] = true
		}
	}
}

// has looks a name up that has the token t.
func (n *names) has(t proto.Token, name []byte) bool {
	if t != proto.TokenOther {
		return n.tokens[t]
	}
	return n.firsts&letterBit(name[0]) != 0 && n.matches(name)
}

func (n *names) matches(name []byte) bool {
	if len(name) <= maxNameBytes {
		for _, s := range n.byLength[len(name)] {
			if proto.SameName(name, s) {
				return true
			}
		}
	}
	for _, s := range n.prefixes {
		if len(name) >= len(s) && proto.SameName(name[:len(s)], s) {
			return true
		}
	}
	return false
}

// letterBit is a bit for the first byte of a name: one for each letter in either
// case, and shared ones for other bytes.
func letterBit(c byte) uint32 { return 1 << (c & 31) }

// told are the fields in which a client that is trusted says on whose behalf it
// asks. From others they are dropped, whatever is configured: an origin that
// believes them must not be told by just anybody.
func told(t proto.Token) bool {
	switch t {
	case proto.TokenForwarded, proto.TokenXForwardedFor, proto.TokenXForwardedHost, proto.TokenXForwardedProto:
		return true
	}
	return false
}

// compileNames prepares what judge looks for. drop lists what only trusted clients
// may send.
func (f *Forwarding) compileNames(drop []string) {
	for _, name := range drop {
		f.dropped.add(name)
	}
	// RFC 9440 4: whoever is told of a certificate must not be told by just anybody.
	for _, name := range [...]string{NameClientCert, NameClientCertChain} {
		f.dropped.add(name)
		f.certs.add(name)
	}
	for t := proto.Token(1); int(t) < proto.TokenCount; t++ {
		if told(t) || t == proto.TokenXRealIP && f.XRealIP || t == proto.TokenXRequestID && f.RequestID {
			f.dropped.add(t.String())
			f.respelled.add(t.String())
			f.certs.add(t.String())
			f.own[t] = !told(t)
		}
	}
}

// Judge marks the fields of a request's head, or of its trailers, in which the
// client claims what it may not: to be another, or to be a proxy that has looked
// at the request. What the proxy says itself must not have another spelling beside
// it, which a trusted client passes on for somebody else. tells: a client that is
// trusted says on whose behalf it asks. noted: there are notes for and of proxies
// (see hops.go). asked: the proxy asks the client for a certificate itself.
func (f *Forwarding) Judge(h *proto.Head, trusted, asked bool) (tells, noted bool) {
	unwanted := &f.dropped
	if trusted {
		unwanted = &f.respelled
		if asked {
			unwanted = &f.certs
		}
	}
	for i := range h.Fields {
		field := &h.Fields[i]
		t := field.Token
		if t == proto.TokenVia || t == proto.TokenCDNLoop || t == proto.TokenMaxForwards {
			noted = true
		}
		switch {
		case t == proto.TokenOther || !trusted:
			if unwanted.has(t, h.Bytes(field.Name)) {
				field.Flags |= proto.FlagDrop
			}
		case told(t):
			tells = true
		case f.own[t]:
			field.Flags |= proto.FlagDrop
		}
	}
	return tells, noted
}

// OnBehalfOf finds the client that a trusted peer asks for: of the addresses that
// the proxies in between have noted, the last one that is not trusted itself, or
// the first of them if all are. It is looked for in X-Forwarded-For, without that
// in Forwarded. Behind an entry that is no address nothing is known.
func (f *Forwarding) OnBehalfOf(h *proto.Head, peer netip.Addr) netip.Addr {
	token := proto.TokenXForwardedFor
	if _, ok := h.Get(token); !ok {
		token = proto.TokenForwarded
	}
	var first, last netip.Addr
	for i := range h.Fields {
		if h.Fields[i].Token != token {
			continue
		}
		list := h.Bytes(h.Fields[i].Value)
		for more := true; more; {
			var node []byte
			if token == proto.TokenForwarded {
				node, list, more = proto.NextForwarded(list)
			} else {
				node, list, more = proto.NextElement(list)
			}
			switch addr, ok := proto.ParseNode(node); {
			case !ok:
				first, last = netip.Addr{}, netip.Addr{}
			case !f.Trusts(addr):
				last = addr
			case !first.IsValid():
				first = addr
			}
		}
	}
	switch {
	case last.IsValid():
		return last
	case first.IsValid():
		return first
	}
	return peer
}
