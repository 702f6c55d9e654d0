package proxy

import (
	"zproxy/proto"
	"zproxy/proto/ws"
)

// WebSocket on a stream (RFC 8441): an extended CONNECT that is answered with
// 2xx is there what an upgrade answered with 101 is in HTTP/1. Everything
// between the two sides has HTTP/1's terms; this file translates.

var (
	methodGet     = []byte("GET")
	methodConnect = []byte("CONNECT")
	webSocket     = []byte("websocket")
)

// asUpgrade makes of an extended CONNECT the request of HTTP/1 that asks for
// the same (RFC 8441 5): a GET, with no content. What comes on the stream behind
// it is for the tunnel.
func asUpgrade(h *proto.Head) {
	h.MethodName = proto.Span{Off: uint32(len(h.Buf)), Len: uint32(len(methodGet))}
	h.Buf = append(h.Buf, methodGet...)
	h.Method, h.Body = proto.GET, proto.BodyNone
	h.Length, h.ContentLength = -1, -1
	h.Expect100 = false
}

// upgrades tells whether h is to become a tunnel. An upgrade goes no further
// when there is content behind it (RFC 9110 7.8), and by HTTP/2 to nothing but
// WebSocket.
func (hd *heads) upgrades(x *exchange, h *proto.Head) bool {
	switch {
	case h.Protocol.Len > 0:
		return true
	case !h.Upgrade || x.flags&xRequestDone == 0 || hd.offersH2C(h):
		return false
	case hd.w.clusters[x.cluster].H2:
		websocket, _ := ws.Offered(h)
		return websocket
	}
	return true
}
