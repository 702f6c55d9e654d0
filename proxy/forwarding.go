package proxy

import (
	"net/netip"

	"zproxy/proto"
	"zproxy/proto/http1"
)

// forwarding is what an origin is told about the client.
type forwarding struct {
	xForwarded bool
	forwarded  bool
	via        string // "1.1 name", "" when off
	trusted    []netip.Prefix
}

func (f *forwarding) trusts(peer netip.Addr) bool {
	if !peer.IsValid() {
		return true // a unix socket: its file's permissions decide who speaks
	}
	for _, p := range f.trusted {
		if p.Contains(peer) {
			return true
		}
	}
	return false
}

// extraSpan is a field value in w.scratch. Scratch may move while it grows, so
// values are cut out only by finishExtras.
type extraSpan struct {
	name     string
	from, to int
}

// requestExtras lists in w.extras the fields that the proxy adds to a request
// whose fields of this hop have been dropped. Values live in w.scratch until the
// next call.
func (w *Worker) requestExtras(c *client, x *exchange, h *proto.Head) {
	w.scratch = w.scratch[:0]
	w.spans = w.spans[:0]
	f := &w.snap.forwarding
	peer := w.clientPeer(c).Addr().Unmap()
	trusted := f.trusts(peer)
	if !trusted {
		// An origin that believes these fields must not be told by just anybody.
		dropForwarding(h)
	}
	if f.xForwarded {
		w.xForwarded(h, peer)
	}
	if f.forwarded {
		w.forwardedField(h, peer)
	}
	if f.via != "" {
		w.addField("Via", f.via)
	}
	h2 := w.snap.clusters[x.cluster].h2
	if x.flags&xUpgrade != 0 {
		w.requestUpgrade(h, h2)
	} else if h.HasTETrailers {
		w.addField("TE", "trailers")
		if !h2 { // RFC 9113 8.2.2: TE is there without Connection
			w.addField("Connection", "TE")
		}
	}
	w.finishExtras()
}

func (w *Worker) addField(name, value string) {
	from := len(w.scratch)
	w.scratch = append(w.scratch, value...)
	w.spans = append(w.spans, extraSpan{name, from, len(w.scratch)})
}

func (w *Worker) closeField(name string, from int) {
	w.spans = append(w.spans, extraSpan{name, from, len(w.scratch)})
}

func (w *Worker) finishExtras() {
	w.extras = w.extras[:0]
	for _, s := range w.spans {
		w.extras = append(w.extras, proto.Extra{Name: s.name, Value: w.scratch[s.from:s.to]})
	}
}

// dropForwarding drops what a client says about itself or about clients of
// its own.
func dropForwarding(h *proto.Head) {
	for i := range h.Fields {
		switch h.Fields[i].Token {
		case proto.TokenForwarded, proto.TokenXForwardedFor, proto.TokenXForwardedHost, proto.TokenXForwardedProto:
			h.Fields[i].Flags |= proto.FlagDrop
		}
	}
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

func (w *Worker) xForwarded(h *proto.Head, peer netip.Addr) {
	from := len(w.scratch)
	w.gather(h, proto.TokenXForwardedFor)
	if peer.IsValid() {
		if len(w.scratch) > from {
			w.scratch = append(w.scratch, ", "...)
		}
		w.scratch = peer.AppendTo(w.scratch)
	}
	if len(w.scratch) > from {
		w.closeField("X-Forwarded-For", from)
	}
	from = len(w.scratch)
	w.gather(h, proto.TokenXForwardedProto)
	if len(w.scratch) == from {
		w.scratch = append(w.scratch, "http"...)
	}
	w.closeField("X-Forwarded-Proto", from)
	from = len(w.scratch)
	w.gather(h, proto.TokenXForwardedHost)
	if len(w.scratch) == from {
		w.scratch = append(w.scratch, h.Bytes(h.Host)...)
	}
	if len(w.scratch) > from {
		w.closeField("X-Forwarded-Host", from)
	}
}

// forwardedField adds this hop to Forwarded (RFC 7239 4).
func (w *Worker) forwardedField(h *proto.Head, peer netip.Addr) {
	from := len(w.scratch)
	w.gather(h, proto.TokenForwarded)
	if len(w.scratch) > from {
		w.scratch = append(w.scratch, ", "...)
	}
	w.scratch = append(w.scratch, "for="...)
	switch {
	case !peer.IsValid():
		w.scratch = append(w.scratch, "unknown"...)
	case peer.Is4():
		w.scratch = peer.AppendTo(w.scratch)
	default: // RFC 7239 6.1: an IPv6 address is quoted and in brackets
		w.scratch = append(w.scratch, `"[`...)
		w.scratch = peer.AppendTo(w.scratch)
		w.scratch = append(w.scratch, `]"`...)
	}
	if h.Host.Len > 0 {
		w.scratch = append(w.scratch, `;host="`...)
		w.scratch = append(w.scratch, h.Bytes(h.Host)...)
		w.scratch = append(w.scratch, '"')
	}
	w.scratch = append(w.scratch, ";proto=http"...)
	w.closeField("Forwarded", from)
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
		w.addField("Sec-WebSocket-Key", string(w.socketKey))
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
		w.closeField("Upgrade", from)
		w.addField("Connection", "upgrade")
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
// to a response.
func (w *Worker) responseExtras(h *proto.Head) {
	http1.MarkHopByHop(h)
	w.scratch = w.scratch[:0]
	w.spans = w.spans[:0]
	// RFC 9110 6.6.1: a response forwarded without a Date gets one.
	if _, ok := h.Get(proto.TokenDate); !ok {
		from := len(w.scratch)
		w.scratch = append(w.scratch, w.dateField()...)
		w.closeField("Date", from)
	}
	if via := w.snap.forwarding.via; via != "" {
		w.addField("Via", via)
	}
	// RFC 9110 7.8, 15.5.22: what it is switched to, or what a 426 asks for.
	if h.Status == 101 || h.Status == 426 && !h.H2 {
		w.upgradeFields(h)
		if h.H2 { // the origin had no key to answer
			w.addField("Sec-WebSocket-Accept", string(w.socketAccept))
		}
	}
	w.finishExtras()
}
