package proxy

import (
	"golang.org/x/sys/unix"

	"zproxy/buf"
	"zproxy/internal/slab"
	"zproxy/proto"
)

// xBothDone: a tunnel has come to its orderly end.
const xBothDone = xClientDone | xOriginDone

// start passes a 101, or what stands for it, on and makes a two-way pipe
// of both sides (RFC 9110 7.8). h is the head, whose n bytes start v (or were
// joined, or came as a frame); end: the origin has ended its direction with it.
func (tu *tunnels) start(c *client, x *exchange, o *origin, h *proto.Head, v buf.View, n int, end bool) {
	if x.flags&xUpgrade == 0 || !o.names(h) {
		tu.w.release(&v)
		tu.w.failExchange(c, x, &faultUpgrade)
		return
	}
	if x.socket != 0 && !tu.agreed(c, x, o, h) {
		tu.w.release(&v)
		return
	}
	tu.w.legs.switched(c, x, o, h)
	if !tu.w.responses.legsHold(c, x) {
		tu.w.release(&v)
		return
	}
	x.flags |= xResponseBegun
	x.state, c.state, o.state = xTunnel, clientTunnel, originTunnel
	tu.w.journal.shortenHead(x)
	tu.m.Tunnels++
	tu.m.TunnelsTotal++
	tu.w.legs.originBulk(o, true)
	tu.w.legs.resumeClient(c)
	tu.w.legs.due(&o.leg, 0)
	tu.restartIdle(c, x)
	tu.pingLater(x, o)
	// What is there already goes through first. The chains are for what the
	// tunnel itself holds back.
	down, up := o.in, c.in
	o.in, c.in = buf.Chain{}, buf.Chain{}
	if v.ID != 0 && v.Len > uint32(n) {
		tu.pool.PushFront(&down, v.Slice(uint32(n), v.Len-uint32(n)))
	} else {
		tu.w.release(&v)
	}
	for !down.Empty() && c.state == clientTunnel {
		tu.fromOrigin(o, tu.pool.Pop(&down))
	}
	for !up.Empty() && c.state == clientTunnel {
		tu.fromClient(c, tu.pool.Pop(&up))
	}
	tu.pool.Drop(&down)
	tu.pool.Drop(&up)
	if c.state == clientTunnel && c.flags&clientEOF != 0 {
		tu.clientEnd(c, 0)
	}
	if end && o.state == originTunnel {
		tu.originEnd(o, 0)
	}
}

// restartIdle restarts the idle clock, which runs for both directions at once.
func (tu *tunnels) restartIdle(c *client, x *exchange) {
	tu.w.busyDue(c, x, tu.due(x))
}

func (tu *tunnels) fromClient(c *client, v buf.View) {
	x := tu.w.xs.At(c.x)
	o := tu.w.origins.At(x.origin)
	x.reqBytes += uint64(v.Len)
	if k := tu.framed(x); k == nil {
		tu.w.legs.push(&o.leg, v)
		tu.restartIdle(c, x)
	} else if !tu.data(c, x, o, k, fromClient, v) {
		return
	}
	if tu.w.legs.queued(&o.leg) > tu.w.memory.high {
		tu.w.legs.pauseClient(c)
	}
}

func (tu *tunnels) fromOrigin(o *origin, v buf.View) {
	x := tu.w.xs.At(o.x)
	c := tu.w.clients.At(x.client)
	x.respBytes += uint64(v.Len)
	if k := tu.framed(x); k == nil {
		tu.w.legs.push(&c.leg, v)
		tu.restartIdle(c, x)
	} else if !tu.data(c, x, o, k, fromOrigin, v) {
		return
	}
	if tu.w.legs.queued(&c.leg) > tu.w.legs.highFor(c) {
		tu.w.legs.pauseOrigin(o)
	}
}

// sent: bytes have left for the origin.
func (tu *tunnels) sent(c *client, x *exchange, o *origin, errno unix.Errno) {
	if errno != 0 {
		tu.endTunnel(c, x, whyOriginBroke)
		return
	}
	tu.drained(c, x, o)
}

// drained reads on where a queue has gone down, and ends the tunnel when
// both sides have closed and everything has left.
func (tu *tunnels) drained(c *client, x *exchange, o *origin) {
	toOrigin, toClient := tu.w.legs.queued(&o.leg), tu.w.legs.queued(&c.leg)
	if x.socket == 0 || toOrigin > pingBytes || toClient > pingBytes {
		tu.restartIdle(c, x) // but not for pings of the proxy's own
	}
	if toOrigin <= tu.w.memory.low {
		tu.w.legs.resumeClient(c)
	}
	if toClient <= tu.w.legs.lowFor(c) {
		tu.w.legs.resumeOrigin(o)
	}
	if x.flags&xBothDone == xBothDone && tu.w.legs.left(&o.leg) && tu.w.legs.left(&c.leg) {
		tu.endTunnel(c, x, "")
	}
}

// clientEnd passes the client's half-close on to the origin.
func (tu *tunnels) clientEnd(c *client, errno unix.Errno) {
	x := tu.w.xs.At(c.x)
	o := tu.w.origins.At(x.origin)
	if errno != 0 {
		tu.endTunnel(c, x, whyClientBroke)
		return
	}
	x.flags |= xClientDone
	if !tu.half(c, x, o, fromClient) {
		return
	}
	tu.w.legs.finish(&o.leg)
	tu.drained(c, x, o)
}

func (tu *tunnels) originEnd(o *origin, errno unix.Errno) {
	x := tu.w.xs.At(o.x)
	c := tu.w.clients.At(x.client)
	if errno != 0 {
		tu.endTunnel(c, x, whyOriginBroke)
		return
	}
	x.flags |= xOriginDone
	if !tu.half(c, x, o, fromOrigin) {
		return
	}
	tu.w.legs.finish(&c.leg)
	tu.drained(c, x, o)
}

func (tu *tunnels) timeout(c *client) {
	x := tu.w.xs.At(c.x)
	k, f := tu.framed(x), tu.w.tooLong(c, x)
	if f == &faultRemoved && k != nil && k.flags&(socketAway|socketClosing) == 0 {
		tu.goesAway(c, x)
		return
	}
	if k != nil && k.flags&socketClosing != 0 {
		k = nil
	}
	if f != nil && !(f == &faultRemoved && k != nil) { // else it was told before, and has been counted
		tu.w.countFault(f)
	}
	switch {
	case f != nil && k != nil:
		tu.failSocket(c, x, tu.w.origins.At(x.origin), k, f.Reason)
	case f != nil:
		tu.endTunnel(c, x, f.Reason)
	case k != nil:
		tu.failSocket(c, x, tu.w.origins.At(x.origin), k, "websocket idle for too long")
	default:
		tu.endTunnel(c, x, "tunnel idle for too long")
	}
}

// endTunnel closes both connections. why is empty for a tunnel that both
// sides have closed; otherwise both are reset (the origin's by origins.detach),
// because there is no other sign that their bytes are not all there.
func (tu *tunnels) endTunnel(c *client, x *exchange, why string) {
	if k := tu.framed(x); k != nil && k.flags&socketClosing != 0 {
		tu.late(c, x, k)
		return
	}
	tu.w.endExchange(c, x, why)
	if why == "" {
		tu.w.legs.close(c)
	} else {
		tu.w.legs.abortTunnel(c)
	}
}

// tunnels are the two-way pipes of a worker, and what is special about those that
// carry WebSocket.
type tunnels struct {
	part
	sockets   slab.Slab[socket]
	scrambled uint64 // see scramble
	key       []byte // of the handshake at hand: the one that is sent to its origin
	accept    []byte // and the answer that its client is due
}

// await keeps what the client of a stream sends before it has been told
// that its tunnel is open. data is lent. How much that can be, the window of the
// stream says, which is not opened meanwhile.
func (tu *tunnels) await(c *client, x *exchange, data buf.View, end bool) {
	if end {
		c.flags |= clientEOF
	}
	if data.Len > 0 {
		tu.w.retain(data)
		tu.w.h2.Queue(&c.in, data)
	}
	tu.w.legs.pauseClient(c)
}
