package proxy

import (
	"golang.org/x/sys/unix"

	"zproxy/buf"
	"zproxy/internal/plant"
	"zproxy/proto"
)

// xBothDone: a tunnel has come to its orderly end.
const xBothDone = xClientDone | xOriginDone

// startTunnel passes a 101, or what stands for it, on and makes a two-way pipe
// of both sides (RFC 9110 7.8). h is the head, whose n bytes start v (or were
// joined, or came as a frame); end: the origin has ended its direction with it.
func (w *Worker) startTunnel(c *client, x *exchange, o *origin, h *proto.Head, v buf.View, n int, end bool) {
	if x.flags&xUpgrade == 0 || o.stream == 0 && !h.Upgrade {
		w.release(&v)
		w.failExchange(c, x, &faultUpgrade)
		return
	}
	if x.socket != 0 && !w.socketAccepted(c, x, o, h) {
		w.release(&v)
		return
	}
	w.acceptUpgrade(c, x, o, h)
	if !w.legsHold(c, x) {
		w.release(&v)
		return
	}
	x.flags |= xResponseBegun
	x.state, c.state, o.state = xTunnel, clientTunnel, originTunnel
	w.shortenHead(x)
	w.m.Tunnels++
	w.m.TunnelsTotal++
	w.originBulk(o, true)
	w.resumeClient(c)
	w.originDue(o, 0)
	w.touchTunnel(c, x)
	w.socketPingLater(x, o)
	// What is there already goes through first. The chains are for what the
	// tunnel itself holds back.
	down, up := o.in, c.in
	o.in, c.in = buf.Chain{}, buf.Chain{}
	if v.ID != 0 && v.Len > uint32(n) {
		w.pool.PushFront(&down, v.Slice(uint32(n), v.Len-uint32(n)))
	} else {
		w.release(&v)
	}
	for !down.Empty() && c.state == clientTunnel {
		w.tunnelFromOrigin(o, w.pool.Pop(&down))
	}
	for !up.Empty() && c.state == clientTunnel {
		w.tunnelFromClient(c, w.pool.Pop(&up))
	}
	w.pool.Drop(&down)
	w.pool.Drop(&up)
	if c.state == clientTunnel && c.flags&clientEOF != 0 {
		w.tunnelClientEnd(c, 0)
	}
	if end && o.state == originTunnel {
		w.tunnelOriginEnd(o, 0)
	}
}

// touchTunnel restarts the idle clock, which runs for both directions at once.
func (w *Worker) touchTunnel(c *client, x *exchange) {
	w.busyDue(c, x, w.tunnelDue(x))
}

func (w *Worker) tunnelFromClient(c *client, v buf.View) {
	x := w.xs.At(c.x)
	o := w.origins.At(x.origin)
	x.reqBytes += uint64(v.Len)
	if k := w.framed(x); k == nil {
		w.originPush(o, v)
		w.touchTunnel(c, x)
	} else if !w.socketData(c, x, o, k, fromClient, v) {
		return
	}
	if w.originQueued(o) > w.high {
		w.pauseClient(c)
	}
}

func (w *Worker) tunnelFromOrigin(o *origin, v buf.View) {
	x := w.xs.At(o.x)
	c := w.clients.At(x.client)
	x.respBytes += uint64(v.Len)
	if k := w.framed(x); k == nil {
		w.clientPush(c, v)
		w.touchTunnel(c, x)
	} else if !w.socketData(c, x, o, k, fromOrigin, v) {
		return
	}
	if w.clientQueued(c) > w.highFor(c) {
		w.pauseOrigin(o)
	}
}

// tunnelSent: bytes have left for the origin.
func (w *Worker) tunnelSent(c *client, x *exchange, o *origin, errno unix.Errno) {
	if errno != 0 {
		w.endTunnel(c, x, whyOriginBroke)
		return
	}
	w.tunnelDrained(c, x, o)
}

// tunnelDrained reads on where a queue has gone down, and ends the tunnel when
// both sides have closed and everything has left.
func (w *Worker) tunnelDrained(c *client, x *exchange, o *origin) {
	toOrigin, toClient := w.originQueued(o), w.clientQueued(c)
	if x.socket == 0 || toOrigin > pingBytes || toClient > pingBytes {
		w.touchTunnel(c, x) // but not for pings of the proxy's own
	}
	if toOrigin <= w.low {
		w.resumeClient(c)
	}
	if toClient <= w.lowFor(c) {
		w.resumeOrigin(o)
	}
	if x.flags&xBothDone == xBothDone && w.originLeft(o) && w.clientLeft(c) {
		w.endTunnel(c, x, "")
	}
}

// tunnelClientEnd passes the client's half-close on to the origin.
func (w *Worker) tunnelClientEnd(c *client, errno unix.Errno) {
	x := w.xs.At(c.x)
	o := w.origins.At(x.origin)
	if errno != 0 {
		w.endTunnel(c, x, whyClientBroke)
		return
	}
	x.flags |= xClientDone
	if !w.socketHalf(c, x, o, fromClient) {
		return
	}
	if o.stream == 0 || !plant.Is(plant.Half) {
		w.originFinish(o)
	}
	w.tunnelDrained(c, x, o)
}

func (w *Worker) tunnelOriginEnd(o *origin, errno unix.Errno) {
	x := w.xs.At(o.x)
	c := w.clients.At(x.client)
	if errno != 0 {
		w.endTunnel(c, x, whyOriginBroke)
		return
	}
	x.flags |= xOriginDone
	if !w.socketHalf(c, x, o, fromOrigin) {
		return
	}
	w.clientFinish(c)
	w.tunnelDrained(c, x, o)
}

func (w *Worker) tunnelTimeout(c *client) {
	x := w.xs.At(c.x)
	k := w.framed(x)
	if k != nil && k.flags&socketClosing != 0 {
		k = nil
	}
	overdue := false
	if end := w.streamEnd(x); end > 0 && w.l.Now() >= end {
		w.countFault(&faultStreamDuration)
		overdue = true
	}
	switch {
	case overdue && k != nil:
		w.failSocket(c, x, w.origins.At(x.origin), k, faultStreamDuration.Reason)
	case overdue:
		w.endTunnel(c, x, faultStreamDuration.Reason)
	case k != nil:
		w.failSocket(c, x, w.origins.At(x.origin), k, "websocket idle for too long")
	default:
		w.endTunnel(c, x, "tunnel idle for too long")
	}
}

// endTunnel closes both connections. why is empty for a tunnel that both
// sides have closed; otherwise both are reset (the origin's by detachOrigin),
// because there is no other sign that their bytes are not all there.
func (w *Worker) endTunnel(c *client, x *exchange, why string) {
	if k := w.framed(x); k != nil && k.flags&socketClosing != 0 {
		w.socketLate(c, x, k)
		return
	}
	w.endExchange(c, x, why)
	if why == "" || c.stream != 0 { // RFC 8441 5: CANCEL is what a reset is there
		w.closeClient(c)
	} else {
		w.abortClient(c)
	}
}
