package forward

import (
	"zproxy/proto"
	"zproxy/proto/ws"
)

// WebSocket on a stream (RFC 8441): an extended CONNECT that is answered with
// 2xx is there what an upgrade answered with 101 is in HTTP/1. Everything
// between the two sides has HTTP/1's terms; this file translates.

// Methods with which WebSocket is asked for, and its name.
var (
	Get       = []byte("GET")
	Connect   = []byte("CONNECT")
	WebSocket = []byte("websocket")
)

// AsUpgrade makes of an extended CONNECT the request of HTTP/1 that asks for
// the same (RFC 8441 5): a GET, with no content. What comes on the stream behind
// it is for the tunnel.
func AsUpgrade(h *proto.Head) {
	h.MethodName = proto.Span{Off: uint32(len(h.Buf)), Len: uint32(len(Get))}
	h.Buf = append(h.Buf, Get...)
	h.Method, h.Body = proto.GET, proto.BodyNone
	h.Length, h.ContentLength = -1, -1
	h.Expect100 = false
}

// Upgrades tells whether h is to become a tunnel. An upgrade goes no further
// when there is content behind it (RFC 9110 7.8): whole says that nothing follows h.
// toH2: its origin speaks HTTP/2, by which there is WebSocket and nothing else.
func Upgrades(h *proto.Head, whole, toH2 bool) bool {
	switch {
	case h.Protocol.Len > 0:
		return true
	case !h.Upgrade || !whole || offersH2C(h):
		return false
	case toH2:
		websocket, _ := ws.Offered(h)
		return websocket
	}
	return true
}

// offersH2C: an upgrade to HTTP/2 on the origin's side would carry requests
// past everything this proxy checks (RFC 9113 3.1 has withdrawn it).
func offersH2C(h *proto.Head) bool {
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

// requestUpgrade adds what asks for an upgrade on this hop (RFC 9110 7.8). HTTP/2
// needs no fields, and no key (RFC 8441 5): a client that speaks it has no key to
// pass on, so the proxy makes one.
func (fs *Fields) requestUpgrade(h *proto.Head, way *Way) {
	if way.H2 || h.H2 {
		h.Drop(proto.TokenSecWebSocketKey)
	}
	if way.H2 {
		return
	}
	if h.H2 {
		fs.lend(proto.TokenSecWebSocketKey, way.Key)
	}
	fs.upgrade(h)
}

// upgrade sends on, anew, the protocols that the Upgrade fields of h name;
// in HTTP/2 there are none, and it can only be WebSocket.
func (fs *Fields) upgrade(h *proto.Head) {
	from := len(fs.text)
	if h.H2 {
		fs.text = append(fs.text, WebSocket...)
	}
	for i := range h.Fields {
		if f := &h.Fields[i]; f.Token == proto.TokenUpgrade && f.Value.Len > 0 {
			fs.comma(from)
			fs.text = append(fs.text, h.Bytes(f.Value)...)
		}
	}
	if len(fs.text) > from {
		fs.close(proto.TokenUpgrade, from)
		fs.add(proto.TokenConnection, "upgrade")
	}
}
