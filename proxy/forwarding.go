package proxy

import (
	"net/netip"
	"strconv"

	"zproxy/proto"
	"zproxy/proto/http1"
)

// forwarding is what an origin is told about the client.
type forwarding struct {
	xForwarded bool
	forwarded  bool
	xRealIP    bool
	requestID  bool // X-Request-ID is sent
	maxHops    int  // proxies that a request may have passed, 0: any number
	trusted    []netip.Prefix

	// Values of Via, by the version of what is forwarded; "" when there is none.
	requestVia, responseVia [len(versionNames)]string

	dropped   names                  // fields that only trusted clients may send
	respelled names                  // fields that the proxy sends itself
	certs     names                  // ... and those of clients' certificates, where it asks for one
	own       [proto.TokenCount]bool // ... and takes from nobody
}

func (f *forwarding) trusts(peer netip.Addr) bool {
	for _, p := range f.trusted {
		if p.Contains(peer) {
			return true
		}
	}
	return false
}

// peerName is how origins are told of a client.
type peerName struct {
	addr    netip.Addr
	text    []byte // empty for a unix socket
	scheme  []byte // of its requests
	known   bool   // the address was looked up
	trusted bool   // what it says about others is passed on
}

// name takes the address of a client down. unix: it came by a listener of unix
// sockets, where the permissions of the socket's file decide who speaks. A missing
// address says nothing of the kind.
func (f *forwarding) name(p *peerName, addr netip.Addr, unix bool, scheme []byte) {
	p.addr, p.known, p.scheme = addr.Unmap(), true, scheme
	p.trusted = unix || f.trusts(p.addr)
	p.text = p.text[:0]
	if p.addr.IsValid() {
		p.text = p.addr.AppendTo(p.text)
	}
}

// peerOf is the name of a client. A session knows that of all its streams.
func (w *Worker) peerOf(c *client) *peerName {
	if c.stream != 0 {
		se := w.sessionOf(w.streams.At(c.stream))
		if !se.peer.known {
			w.snap.forwarding.name(&se.peer, w.l.Peer(se.conn).Addr(), w.snap.unix[se.listener], w.snap.scheme(se.listener))
		}
		return &se.peer
	}
	w.snap.forwarding.name(&w.peer, w.l.Peer(c.conn).Addr(), w.snap.unix[c.listener], w.snap.scheme(c.listener))
	return &w.peer
}

// requestExtras lists in w.extras the fields that the proxy adds to a request
// whose fields of this hop have been dropped. Their values live until the next
// call: in w.scratch, or where they came from.
func (w *Worker) requestExtras(c *client, x *exchange, h *proto.Head, v vetted) {
	w.scratch, w.extras = w.scratch[:0], w.extras[:0]
	f := &w.snap.forwarding
	p := w.who.peer
	if f.xForwarded {
		w.xForwarded(h, p, v.tells)
	}
	if f.requestID {
		w.lendField(proto.TokenXRequestID, w.requestID(h))
	}
	if f.xRealIP && w.who.addr.IsValid() {
		from := len(w.scratch)
		w.scratch = w.who.addr.AppendTo(w.scratch)
		w.closeField(proto.TokenXRealIP, from)
	}
	if f.forwarded {
		w.forwardedField(h, p)
	}
	w.certFields(c)
	if via := f.requestVia[versionOf(h)]; via != "" {
		w.addField(proto.TokenVia, via)
	}
	if v.forwards >= 0 {
		from := len(w.scratch)
		w.scratch = strconv.AppendInt(w.scratch, v.forwards, 10)
		w.closeField(proto.TokenMaxForwards, from)
	}
	h2 := w.snap.clusters[x.cluster].h2
	if x.flags&xUpgrade != 0 {
		w.requestUpgrade(h, h2)
	} else if h.HasTETrailers {
		w.addField(proto.TokenTE, "trailers")
		if !h2 { // RFC 9113 8.2.2: TE is there without Connection
			w.addField(proto.TokenConnection, "TE")
		}
	}
}

func (w *Worker) addField(t proto.Token, value string) {
	from := len(w.scratch)
	w.scratch = append(w.scratch, value...)
	w.closeField(t, from)
}

// addNamed is addField for a name that has no token.
func (w *Worker) addNamed(name, value string) {
	from := len(w.scratch)
	w.scratch = append(w.scratch, value...)
	w.extras = append(w.extras, proto.Extra{Name: name, Value: w.scratch[from:]})
}

// closeField adds a field with what stands in scratch behind from. When scratch
// grows it stays where it is.
func (w *Worker) closeField(t proto.Token, from int) { w.lendField(t, w.scratch[from:]) }

func (w *Worker) lendField(t proto.Token, value []byte) {
	w.extras = append(w.extras, proto.NewExtra(t, value))
}

// gather moves the values of all fields t that are still to be forwarded into
// scratch, separated by commas.
func (w *Worker) gather(h *proto.Head, t proto.Token) {
	from := len(w.scratch)
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.Token != t || f.Flags&proto.FlagDrop != 0 {
			continue
		}
		f.Flags |= proto.FlagDrop
		if f.Value.Len > 0 {
			if len(w.scratch) > from {
				w.scratch = append(w.scratch, ", "...)
			}
			w.scratch = append(w.scratch, h.Bytes(f.Value)...)
		}
	}
}

// xForwarded adds the fields that have no standard. tells: the client may have
// sent such fields itself, and is believed.
func (w *Worker) xForwarded(h *proto.Head, p *peerName, tells bool) {
	if !tells {
		if len(p.text) > 0 {
			w.lendField(proto.TokenXForwardedFor, p.text)
		}
		w.lendField(proto.TokenXForwardedProto, p.scheme)
		if h.Host.Len > 0 {
			w.lendField(proto.TokenXForwardedHost, h.Bytes(h.Host))
		}
		return
	}
	from := len(w.scratch)
	w.gather(h, proto.TokenXForwardedFor)
	if len(p.text) > 0 {
		if len(w.scratch) > from {
			w.scratch = append(w.scratch, ", "...)
		}
		w.scratch = append(w.scratch, p.text...)
	}
	if len(w.scratch) > from {
		w.closeField(proto.TokenXForwardedFor, from)
	}
	from = len(w.scratch)
	w.gather(h, proto.TokenXForwardedProto)
	if len(w.scratch) == from {
		w.scratch = append(w.scratch, p.scheme...)
	}
	w.closeField(proto.TokenXForwardedProto, from)
	from = len(w.scratch)
	w.gather(h, proto.TokenXForwardedHost)
	if len(w.scratch) == from {
		w.scratch = append(w.scratch, h.Bytes(h.Host)...)
	}
	if len(w.scratch) > from {
		w.closeField(proto.TokenXForwardedHost, from)
	}
}

// forwardedField adds this hop to Forwarded (RFC 7239 4).
func (w *Worker) forwardedField(h *proto.Head, p *peerName) {
	from := len(w.scratch)
	w.gather(h, proto.TokenForwarded)
	if len(w.scratch) > from {
		w.scratch = append(w.scratch, ", "...)
	}
	w.scratch = append(w.scratch, "for="...)
	switch {
	case !p.addr.IsValid():
		w.scratch = append(w.scratch, "unknown"...)
	case p.addr.Is4():
		w.scratch = append(w.scratch, p.text...)
	default: // RFC 7239 6.1: an IPv6 address is quoted and in brackets
		w.scratch = append(w.scratch, `"[`...)
		w.scratch = append(w.scratch, p.text...)
		w.scratch = append(w.scratch, `]"`...)
	}
	if h.Host.Len > 0 {
		w.scratch = append(w.scratch, `;host="`...)
		w.scratch = append(w.scratch, h.Bytes(h.Host)...)
		w.scratch = append(w.scratch, '"')
	}
	w.scratch = append(append(w.scratch, ";proto="...), p.scheme...)
	w.closeField(proto.TokenForwarded, from)
}

// requestUpgrade adds what asks for an upgrade on this hop (RFC 9110 7.8). HTTP/2
// needs no fields, and no key (RFC 8441 5): a client that speaks it has no key to
// pass on, so the proxy makes one.
func (w *Worker) requestUpgrade(h *proto.Head, h2 bool) {
	if h2 || h.H2 {
		h.Drop(proto.TokenSecWebSocketKey)
	}
	if h2 {
		return
	}
	if h.H2 {
		w.addField(proto.TokenSecWebSocketKey, string(w.socketKey))
	}
	w.upgradeFields(h)
}

// upgradeFields sends on, anew, the protocols that the Upgrade fields of h name;
// in HTTP/2 there are none, and it can only be WebSocket.
func (w *Worker) upgradeFields(h *proto.Head) {
	from := len(w.scratch)
	if h.H2 {
		w.scratch = append(w.scratch, webSocket...)
	}
	for i := range h.Fields {
		if f := &h.Fields[i]; f.Token == proto.TokenUpgrade && f.Value.Len > 0 {
			if len(w.scratch) > from {
				w.scratch = append(w.scratch, ", "...)
			}
			w.scratch = append(w.scratch, h.Bytes(f.Value)...)
		}
	}
	if len(w.scratch) > from {
		w.closeField(proto.TokenUpgrade, from)
		w.addField(proto.TokenConnection, "upgrade")
	}
}

// offersH2C: an upgrade to HTTP/2 on the origin's side would carry requests
// past everything this proxy checks (RFC 9113 3.1 has withdrawn it).
func (w *Worker) offersH2C(h *proto.Head) bool {
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
// to a response for c.
func (w *Worker) responseExtras(c *client, h *proto.Head) {
	http1.MarkHopByHop(h)
	w.scratch, w.extras = w.scratch[:0], w.extras[:0]
	// RFC 9110 6.6.1: a response forwarded without a Date gets one.
	if _, ok := h.Get(proto.TokenDate); !ok {
		w.extras = append(w.extras, w.dateField())
	}
	if via := w.snap.forwarding.responseVia[versionOf(h)]; via != "" {
		w.addField(proto.TokenVia, via)
	}
	// RFC 9110 7.8, 15.5.22: what it is switched to, or what a 426 asks for. In
	// HTTP/2 there is no place for either (RFC 9113 8.2.2).
	if c.stream == 0 && (h.Status == 101 || h.Status == 426 && !h.H2) {
		w.upgradeFields(h)
		if h.H2 { // the origin had no key to answer
			w.addField(proto.TokenSecWebSocketAccept, string(w.socketAccept))
		}
	}
}
