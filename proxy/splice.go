package proxy

import (
	"zproxy/buf"
	"zproxy/loop"
	"zproxy/proto/http1"
)

// spliceMin is how much of a body must be left for a splice to pay: it costs a
// turn more to begin, and in each filling of the pipe calls that find nothing.
const spliceMin = 96 << 10

// gatherBody lets what is left of a long body come from conn in large pieces; in has
// what was received of it and not looked at. Of a body in chunks nobody knows
// what is left, and a stream's has no connection for itself.
func (w *Worker) gatherBody(conn loop.ConnID, stream uint32, body *http1.Body, in *buf.Chain) {
	if left := body.Remaining() - int64(in.Bytes()); left > 0 && stream == 0 {
		w.l.Gather(conn, uint64(left))
	}
}

// spliceResponse lets the kernel pass on what is left of a long body, where
// nothing is to be added or taken off on the way. When the loop has no pipe to
// spare the bytes come as ever, and with the next of them it is tried again.
func (w *Worker) spliceResponse(c *client, x *exchange, o *origin) {
	left := x.respBody.Remaining()
	if left < w.spliceMin || left <= 0 || c.stream != 0 || o.stream != 0 || x.flags&xResponseChunked != 0 || !o.in.Empty() {
		return
	}
	if w.l.Splice(o.conn, c.conn, uint64(left)) {
		w.awaitTaking(c, x, o)
	}
}

// responseSpliced: n bytes of the response's body are on their way to the
// client.
func (w *Worker) responseSpliced(o *origin, n int) {
	if o.state != originBusy {
		return
	}
	x := w.xs.At(o.x)
	c := w.clients.At(x.client)
	x.respBytes += uint64(n)
	w.awaitTaking(c, x, o)
	w.responsePiece(c, x, o, x.respBody.Skip(n))
}

// awaitTaking: the loop takes no more from an origin of which it splices until
// the client has taken all that is queued. Then the origin counts as paused,
// as it is the client that is waited for.
func (w *Worker) awaitTaking(c *client, x *exchange, o *origin) {
	x.flags |= xSpliced
	if w.clientQueued(c) > 0 {
		w.pauseOrigin(o)
		w.clientDeadline(c, x)
	}
}
