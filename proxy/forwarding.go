package proxy

import (
	"net/netip"
	"strconv"

	"zproxy/proto"
	"zproxy/proto/http1"
	"zproxy/proxy/snapshot"
)

// peerName is how origins are told of a client.
type peerName struct {
	addr    netip.Addr
	text    []byte // empty for a unix socket
	scheme  []byte // of its requests
	known   bool   // the address was looked up
	trusted bool   // what it says about others is passed on
}

// set takes the address of a client down. unix: it came by a listener of unix
// sockets, where the permissions of the socket's file decide who speaks. A missing
// address says nothing of the kind.
func (p *peerName) set(f *snapshot.Forwarding, addr netip.Addr, unix bool, scheme []byte) {
	p.addr, p.known, p.scheme = addr.Unmap(), true, scheme
	p.trusted = unix || f.Trusts(p.addr)
	p.text = p.text[:0]
	if p.addr.IsValid() {
		p.text = p.addr.AppendTo(p.text)
	}
}

// requestExtras lists in extras the fields that the proxy adds to a request
// whose fields of this hop have been dropped. Their values live until the next
// call: in scratch, or where they came from.
func (hd *heads) requestExtras(c *client, x *exchange, h *proto.Head, v vetted) {
	hd.scratch, hd.extras = hd.scratch[:0], hd.extras[:0]
	f := &hd.w.snap.Forwarding
	p := hd.who.peer
	if f.XForwarded {
		hd.xForwarded(h, p, v.tells)
	}
	if f.RequestID {
		hd.lendField(proto.TokenXRequestID, hd.requestID(h))
	}
	if f.XRealIP && hd.who.addr.IsValid() {
		from := len(hd.scratch)
		hd.scratch = hd.who.addr.AppendTo(hd.scratch)
		hd.closeField(proto.TokenXRealIP, from)
	}
	if f.Forwarded {
		hd.forwardedField(h, p)
	}
	hd.certFields(c)
	if via := f.RequestVia[versionOf(h)]; via != "" {
		hd.addField(proto.TokenVia, via)
	}
	if v.forwards >= 0 {
		from := len(hd.scratch)
		hd.scratch = strconv.AppendInt(hd.scratch, v.forwards, 10)
		hd.closeField(proto.TokenMaxForwards, from)
	}
	h2 := hd.w.clusters[x.cluster].H2
	if x.flags&xUpgrade != 0 {
		hd.requestUpgrade(h, h2)
	} else if h.HasTETrailers {
		hd.addField(proto.TokenTE, "trailers")
		if !h2 { // RFC 9113 8.2.2: TE is there without Connection
			hd.addField(proto.TokenConnection, "TE")
		}
	}
}

func (hd *heads) addField(t proto.Token, value string) {
	from := len(hd.scratch)
	hd.scratch = append(hd.scratch, value...)
	hd.closeField(t, from)
}

// addNamed is addField for a name that has no token.
func (hd *heads) addNamed(name, value string) {
	from := len(hd.scratch)
	hd.scratch = append(hd.scratch, value...)
	hd.extras = append(hd.extras, proto.Extra{Name: name, Value: hd.scratch[from:]})
}

// closeField adds a field with what stands in scratch behind from. When scratch
// grows it stays where it is.
func (hd *heads) closeField(t proto.Token, from int) { hd.lendField(t, hd.scratch[from:]) }

func (hd *heads) lendField(t proto.Token, value []byte) {
	hd.extras = append(hd.extras, proto.NewExtra(t, value))
}

// gather moves the values of all fields t that are still to be forwarded into
// scratch, separated by commas.
func (hd *heads) gather(h *proto.Head, t proto.Token) {
	from := len(hd.scratch)
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.Token != t || f.Flags&proto.FlagDrop != 0 {
			continue
		}
		f.Flags |= proto.FlagDrop
		if f.Value.Len > 0 {
			if len(hd.scratch) > from {
				hd.scratch = append(hd.scratch, ", "...)
			}
			hd.scratch = append(hd.scratch, h.Bytes(f.Value)...)
		}
	}
}

// xForwarded adds the fields that have no standard. tells: the client may have
// sent such fields itself, and is believed.
func (hd *heads) xForwarded(h *proto.Head, p *peerName, tells bool) {
	if !tells {
		if len(p.text) > 0 {
			hd.lendField(proto.TokenXForwardedFor, p.text)
		}
		hd.lendField(proto.TokenXForwardedProto, p.scheme)
		if h.Host.Len > 0 {
			hd.lendField(proto.TokenXForwardedHost, h.Bytes(h.Host))
		}
		return
	}
	from := len(hd.scratch)
	hd.gather(h, proto.TokenXForwardedFor)
	if len(p.text) > 0 {
		if len(hd.scratch) > from {
			hd.scratch = append(hd.scratch, ", "...)
		}
		hd.scratch = append(hd.scratch, p.text...)
	}
	if len(hd.scratch) > from {
		hd.closeField(proto.TokenXForwardedFor, from)
	}
	from = len(hd.scratch)
	hd.gather(h, proto.TokenXForwardedProto)
	if len(hd.scratch) == from {
		hd.scratch = append(hd.scratch, p.scheme...)
	}
	hd.closeField(proto.TokenXForwardedProto, from)
	from = len(hd.scratch)
	hd.gather(h, proto.TokenXForwardedHost)
	if len(hd.scratch) == from {
		hd.scratch = append(hd.scratch, h.Bytes(h.Host)...)
	}
	if len(hd.scratch) > from {
		hd.closeField(proto.TokenXForwardedHost, from)
	}
}

// forwardedField adds this hop to Forwarded (RFC 7239 4).
func (hd *heads) forwardedField(h *proto.Head, p *peerName) {
	from := len(hd.scratch)
	hd.gather(h, proto.TokenForwarded)
	if len(hd.scratch) > from {
		hd.scratch = append(hd.scratch, ", "...)
	}
	hd.scratch = append(hd.scratch, "for="...)
	switch {
	case !p.addr.IsValid():
		hd.scratch = append(hd.scratch, "unknown"...)
	case p.addr.Is4():
		hd.scratch = append(hd.scratch, p.text...)
	default: // RFC 7239 6.1: an IPv6 address is quoted and in brackets
		hd.scratch = append(hd.scratch, `"[`...)
		hd.scratch = append(hd.scratch, p.text...)
		hd.scratch = append(hd.scratch, `]"`...)
	}
	if h.Host.Len > 0 {
		hd.scratch = append(hd.scratch, `;host="`...)
		hd.scratch = append(hd.scratch, h.Bytes(h.Host)...)
		hd.scratch = append(hd.scratch, '"')
	}
	hd.scratch = append(append(hd.scratch, ";proto="...), p.scheme...)
	hd.closeField(proto.TokenForwarded, from)
}

// requestUpgrade adds what asks for an upgrade on this hop (RFC 9110 7.8). HTTP/2
// needs no fields, and no key (RFC 8441 5): a client that speaks it has no key to
// pass on, so the proxy makes one.
func (hd *heads) requestUpgrade(h *proto.Head, h2 bool) {
	if h2 || h.H2 {
		h.Drop(proto.TokenSecWebSocketKey)
	}
	if h2 {
		return
	}
	if h.H2 {
		hd.addField(proto.TokenSecWebSocketKey, string(hd.w.tunnels.key))
	}
	hd.upgradeFields(h)
}

// upgradeFields sends on, anew, the protocols that the Upgrade fields of h name;
// in HTTP/2 there are none, and it can only be WebSocket.
func (hd *heads) upgradeFields(h *proto.Head) {
	from := len(hd.scratch)
	if h.H2 {
		hd.scratch = append(hd.scratch, webSocket...)
	}
	for i := range h.Fields {
		if f := &h.Fields[i]; f.Token == proto.TokenUpgrade && f.Value.Len > 0 {
			if len(hd.scratch) > from {
				hd.scratch = append(hd.scratch, ", "...)
			}
			hd.scratch = append(hd.scratch, h.Bytes(f.Value)...)
		}
	}
	if len(hd.scratch) > from {
		hd.closeField(proto.TokenUpgrade, from)
		hd.addField(proto.TokenConnection, "upgrade")
	}
}

// offersH2C: an upgrade to HTTP/2 on the origin's side would carry requests
// past everything this proxy checks (RFC 9113 3.1 has withdrawn it).
func (hd *heads) offersH2C(h *proto.Head) bool {
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.Token != proto.TokenUpgrade {
			continue
		}
		v := h.Bytes(f.Value)
		for j := 0; j+3 <= len(v); j++ {
			if v[j]|0x20 == 'h' && v[j+1] == '2' && v[j+2]|0x20 == 'c' {
				return true
			}
		}
	}
	return false
}

// responseExtras drops the fields of this hop and lists those the proxy adds
// to a response.
func (hd *heads) responseExtras(h *proto.Head) {
	http1.MarkHopByHop(h)
	hd.scratch, hd.extras = hd.scratch[:0], hd.extras[:0]
	// RFC 9110 6.6.1: a response forwarded without a Date gets one.
	if _, ok := h.Get(proto.TokenDate); !ok {
		hd.extras = append(hd.extras, hd.dateField())
	}
	if via := hd.w.snap.Forwarding.ResponseVia[versionOf(h)]; via != "" {
		hd.addField(proto.TokenVia, via)
	}
}

// switchExtras lists what is switched to, or what a 426 asks for (RFC 9110 7.8,
// 15.5.22). In HTTP/2 there is no place for either (RFC 9113 8.2.2).
func (hd *heads) switchExtras(h *proto.Head) {
	if h.Status == 101 || h.Status == 426 && !h.H2 {
		hd.upgradeFields(h)
		if h.H2 { // the origin had no key to answer
			hd.addField(proto.TokenSecWebSocketAccept, string(hd.w.tunnels.accept))
		}
	}
}
