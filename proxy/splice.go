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
// what is left.
func (rs *responses) gatherBody(conn loop.ConnID, body *http1.Body, in *buf.Chain) {
	if left := body.Remaining() - int64(in.Bytes()); left > 0 {
		rs.l.LowWatermark(conn, uint64(left))
	}
}

// splice lets the kernel pass on what is left of a long body, where
// nothing is to be added or taken off on the way. When the loop has no pipe to
// spare the bytes come as ever, and with the next of them it is tried again.
func (rs *responses) splice(c *client, x *exchange, o *origin) {
	left := x.respBody.Remaining()
	if left < rs.w.memory.spliceMin || left <= 0 || x.flags&xResponseFramed != 0 || !o.in.Empty() {
		return
	}
	if rs.l.Splice(o.conn, c.conn, uint64(left)) {
		rs.awaitTaking(c, x, o)
	}
}

// spliced: n bytes of the response's body are on their way to the
// client.
func (rs *responses) spliced(o *origin, n int) {
	if o.state != originBusy {
		return
	}
	x := rs.w.xs.At(o.x)
	c := rs.w.clients.At(x.client)
	x.respBytes += uint64(n)
	rs.awaitTaking(c, x, o)
	rs.piece(c, x, o, x.respBody.Skip(n))
}

// awaitTaking: the loop takes no more from an origin of which it splices until
// the client has taken all that is queued. Then the origin counts as paused,
// as it is the client that is waited for.
func (rs *responses) awaitTaking(c *client, x *exchange, o *origin) {
	x.flags |= xSpliced
	if rs.w.legs.queued(&c.leg) > 0 {
		rs.w.legs.pauseOrigin(o)
		rs.w.clientDeadline(c, x)
	}
}
