package proxy

import (
	"zproxy/buf"
	"zproxy/internal/plant"
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
func (w *Worker) upgrades(x *exchange, h *proto.Head) bool {
	switch {
	case h.Protocol.Len > 0:
		return true
	case !h.Upgrade || x.flags&xRequestDone == 0 || w.offersH2C(h):
		return false
	case w.snap.clusters[x.cluster].h2:
		websocket, _ := ws.Offered(h)
		return websocket
	}
	return true
}

// switches tells whether h, a final head of o's, agrees to the upgrade that x
// asks for.
func (x *exchange) switches(o *origin, h *proto.Head) bool {
	if o.stream != 0 {
		return x.flags&xUpgrade != 0 && h.Status/100 == 2
	}
	return h.Status == 101
}

// acceptUpgrade tells the client that its tunnel is open. h is what the origin
// has said.
func (w *Worker) acceptUpgrade(c *client, x *exchange, o *origin, h *proto.Head) {
	h.Status = 101
	if o.stream != 0 || c.stream != 0 {
		h.Drop(proto.TokenSecWebSocketAccept)
	}
	if c.stream != 0 {
		h.Status = 200
	}
	x.status = h.Status
	w.responseExtras(c, h)
	w.clientBareHead(c, x, h, w.extras)
}

// awaitTunnel keeps what the client of a stream sends before it has been told
// that its tunnel is open. data is lent. How much that can be, the window of the
// stream says, which is not opened meanwhile.
func (w *Worker) awaitTunnel(c *client, x *exchange, data buf.View, end bool) {
	if end {
		c.flags |= clientEOF
	}
	if data.Len > 0 && !plant.Is(plant.Early) {
		w.retain(data)
		w.queue(&c.in, data)
	}
	w.pauseClient(c)
}
