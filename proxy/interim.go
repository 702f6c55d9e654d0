package proxy

import (
	"zproxy/config"
	"zproxy/proto"
	"zproxy/proto/http1"
	"zproxy/proto/http2"
)

// interimLimit bounds the 1xx responses of one exchange.
const interimLimit = 32

var (
	continueHead  = []byte("HTTP/1.1 100 Continue\r\n\r\n")
	continueBlock = http2.AppendStatus(nil, 100)
)

// interim handles a 1xx response of the origin (RFC 9110 15.2). It passes on to
// a client of HTTP/1.1 or HTTP/2 unless listener or route say otherwise, and not
// without bound. False means the exchange has ended.
func (w *Worker) interim(c *client, x *exchange, o *origin, h *proto.Head) bool {
	if x.interims++; x.interims > interimLimit {
		w.failExchange(c, x, &faultInterimFlood)
		return false
	}
	switch {
	case h.Status == 100:
		return w.originContinues(c, x, o, h)
	case x.minor == 0 || w.dropsInterim(c, x):
		return true
	}
	return w.passInterim(c, x, h)
}

func (w *Worker) passInterim(c *client, x *exchange, h *proto.Head) bool {
	http1.MarkHopByHop(h)
	w.clientBareHead(c, x, h, nil)
	return w.legsHold(c, x)
}

// originContinues handles a 100 of the origin. It is for a client that asked
// for one and has not had it (RFC 9110 10.1.1): others, which may wait for
// nothing but the answer, would take it for that.
func (w *Worker) originContinues(c *client, x *exchange, o *origin, h *proto.Head) bool {
	if x.flags&xContinue == 0 {
		return true
	}
	if !w.passInterim(c, x, h) {
		return false
	}
	w.continued(c, x, o)
	return true
}

// continued: the client has been told to send its body. o is nil where there is no
// origin yet.
func (w *Worker) continued(c *client, x *exchange, o *origin) {
	x.flags &^= xExpect | xContinue
	if x.flags&xRequestDone != 0 {
		return
	}
	w.clientDeadline(c, x)
	if o != nil {
		w.originDeadline(x, o)
	}
}

// sendContinue tells the client to go on in the place of an origin that has
// said nothing for a while: a proxy may, and the client is to send its body one
// day anyway (RFC 9110 10.1.1). What the origin says later goes no further.
func (w *Worker) sendContinue(c *client, x *exchange, o *origin) {
	w.m.ContinuesOwn++
	if c.stream == 0 {
		w.sendBytes(c.conn, x, continueHead)
	} else if !w.streamHead(w.streams.At(c.stream), continueBlock, false) {
		x.flags |= xBroken
	}
	if w.legsHold(c, x) {
		w.continued(c, x, o)
	}
}

// dropsInterim says that interim responses go no further.
func (w *Worker) dropsInterim(c *client, x *exchange) bool {
	switch w.snap.routes[x.route].interim {
	case interimPass:
		return false
	case interimDrop:
		return true
	}
	return w.snap.dropInterim[c.listener]
}

// interimRule is what a route says about interim responses.
type interimRule uint8

const (
	interimListener interimRule = iota // as the listener
	interimPass
	interimDrop
)

func compileInterim(r *config.Route) interimRule {
	switch r.Interim {
	case "pass":
		return interimPass
	case "drop":
		return interimDrop
	}
	return interimListener
}
