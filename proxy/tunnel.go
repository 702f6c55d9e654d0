package proxy

import (
	"golang.org/x/sys/unix"

	"zproxy/buf"
	"zproxy/proto"
	"zproxy/proxy/tunnel"
)

// tunnels joins the tunnels of a worker to the legs of their exchanges: what becomes of
// bytes is decided in package tunnel, and done here.
type tunnels struct {
	part
	tunnel.Tunnels
}

func (tu *tunnels) begin() {
	tunnel.Begin(&tu.Tunnels, tunnel.Config{
		Pool: tu.pool, Metrics: tu.m,
		TooMany: &faultSockets, NoMemory: &faultMemory, NotAgreed: &faultSwitch,
	})
}

func (tu *tunnels) rulesOf(x *exchange) *tunnel.Rules {
	return tu.w.snapOf(x).Routes[x.route].WebSocket
}

// env is what the tunnel of x has from outside.
func (tu *tunnels) env(c *client, x *exchange, o *origin) tunnel.Env {
	return tunnel.Env{
		Rules: tu.rulesOf(x), IdleNs: tu.w.clusters[x.cluster].IdleNs, Now: tu.l.Now(),
		Held: [2]*buf.Chain{&c.in, &o.in}, Draining: tu.w.drain.on,
	}
}

// request judges a request that is to become a tunnel.
func (tu *tunnels) request(x *exchange, h *proto.Head) (f *proto.Fault) {
	x.tunnel, f = tu.Offer(h, tu.rulesOf(x), tu.l.Now())
	return f
}

// drop forgets the tunnel of x, open or not.
func (tu *tunnels) drop(x *exchange) {
	if x.tunnel != 0 {
		tu.Free(x.tunnel, tu.rulesOf(x))
		x.tunnel = 0
	}
}

// start passes a 101, or what stands for it, on and makes a two-way pipe
// of both sides (RFC 9110 7.8). h is the head, whose n bytes start v (or were
// joined, or came as a frame); end: the origin has ended its direction with it.
func (tu *tunnels) start(c *client, x *exchange, o *origin, h *proto.Head, v buf.View, n int, end bool) {
	f := &faultUpgrade
	if x.flags&xUpgrade != 0 && o.names(h) {
		f = tu.agree(c, x, o, h)
	}
	if f != nil {
		tu.w.release(&v)
		tu.w.failExchange(c, x, f)
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
	tu.Open(x.tunnel)
	tu.w.legs.originBulk(o, true)
	tu.w.legs.resumeClient(c)
	env := tu.env(c, x, o)
	tu.w.legs.due(&o.leg, tu.NextPing(x.tunnel, env))
	tu.restartIdle(c, x)
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

// agree judges h, by which o opens a tunnel, by the request it answers.
func (tu *tunnels) agree(c *client, x *exchange, o *origin, h *proto.Head) *proto.Fault {
	if x.tunnel == 0 {
		x.tunnel = tu.Plain()
		return nil
	}
	websocket, others := o.switchedTo(h)
	return tu.Agree(x.tunnel, h, websocket, others, tu.w.legs.peer(c), tu.env(c, x, o))
}

// pull does what the tunnel of x has come to. False: the exchange has ended.
func (tu *tunnels) pull(c *client, x *exchange, o *origin) bool {
	for ev := tu.Next(); ev != nil; ev = tu.Next() {
		switch ev.Kind {
		case tunnel.Send:
			tu.w.legs.push(side(c, o, ev.Side), ev.View)
		case tunnel.Finish:
			tu.w.legs.finish(side(c, o, ev.Side))
		case tunnel.Deadline:
			tu.w.busyDue(c, x, ev.At)
		case tunnel.Resume:
			if ev.Side == tunnel.Client {
				tu.w.legs.resumeClient(c)
			} else {
				tu.w.legs.resumeOrigin(o)
			}
		case tunnel.Over:
			tu.over(c, x, o, ev.How, ev.Why)
			return false
		}
	}
	return true
}

func side(c *client, o *origin, s tunnel.Side) *leg {
	if s == tunnel.Client {
		return &c.leg
	}
	return &o.leg
}

// over ends the exchange of a tunnel. Where nothing else would show that bytes are
// missing both connections are reset, the origin's by origins.detach.
func (tu *tunnels) over(c *client, x *exchange, o *origin, how tunnel.How, why string) {
	if how == tunnel.Flushed {
		tu.w.origins.linger(x, o)
	}
	tu.w.endExchange(c, x, why)
	switch how {
	case tunnel.Closed:
		tu.w.legs.close(c)
	case tunnel.Reset:
		tu.w.legs.abortTunnel(c)
	case tunnel.Flushed:
		tu.w.legs.closeAfterFlush(c, true)
	}
}

// linger separates an origin from its exchange, like detach, but
// lets it have what is queued for it: its write side is closed first and its
// input discarded.
func (ol *originLegs) linger(x *exchange, o *origin) {
	x.origin, o.x = 0, 0
	ol.pool.Drop(&o.in)
	if ol.w.legs.isOver(&o.leg) || o.flags&originEOF != 0 && ol.w.legs.queued(&o.leg) == 0 {
		ol.w.legs.closeOrigin(o)
		return
	}
	o.state = originLinger
	ol.w.legs.finish(&o.leg)
	ol.w.legs.resumeOrigin(o)
	ol.w.legs.due(&o.leg, ol.l.Now()+lingerNs)
}

// restartIdle restarts the idle clock, which runs for both directions at once.
func (tu *tunnels) restartIdle(c *client, x *exchange) {
	tu.w.busyDue(c, x, tu.Due(x.tunnel, tu.env(c, x, tu.w.origins.At(x.origin))))
}

func (tu *tunnels) fromClient(c *client, v buf.View) {
	x := tu.w.xs.At(c.x)
	o := tu.w.origins.At(x.origin)
	x.reqBytes += uint64(v.Len)
	tu.Received(x.tunnel, tunnel.Client, v, tu.env(c, x, o))
	if tu.pull(c, x, o) && tu.Fills(x.tunnel, tunnel.Origin, tu.w.legs.queued(&o.leg), tu.w.memory.High) {
		tu.w.legs.pauseClient(c)
	}
}

func (tu *tunnels) fromOrigin(o *origin, v buf.View) {
	x := tu.w.xs.At(o.x)
	c := tu.w.clients.At(x.client)
	x.respBytes += uint64(v.Len)
	tu.Received(x.tunnel, tunnel.Origin, v, tu.env(c, x, o))
	if tu.pull(c, x, o) && tu.Fills(x.tunnel, tunnel.Client, tu.w.legs.queued(&c.leg), tu.w.legs.highFor(c)) {
		tu.w.legs.pauseOrigin(o)
	}
}

// sent: bytes have left for the origin.
func (tu *tunnels) sent(c *client, x *exchange, o *origin, errno unix.Errno) {
	if errno != 0 {
		tu.broke(c, x, tunnel.Origin)
		return
	}
	tu.drained(c, x, o)
}

// drained: bytes have left for a side, or there is nothing more for it.
func (tu *tunnels) drained(c *client, x *exchange, o *origin) {
	tu.Drained(x.tunnel, [2]tunnel.Waiting{
		tunnel.Client: {Bytes: tu.w.legs.queued(&c.leg), Low: tu.w.legs.lowFor(c), Left: tu.w.legs.left(&c.leg)},
		tunnel.Origin: {Bytes: tu.w.legs.queued(&o.leg), Low: tu.w.memory.Low, Left: tu.w.legs.left(&o.leg)},
	}, tu.env(c, x, o))
	tu.pull(c, x, o)
}

// clientEnd passes the client's half-close on to the origin.
func (tu *tunnels) clientEnd(c *client, errno unix.Errno) {
	x := tu.w.xs.At(c.x)
	tu.ended(c, x, tu.w.origins.At(x.origin), tunnel.Client, errno)
}

func (tu *tunnels) originEnd(o *origin, errno unix.Errno) {
	x := tu.w.xs.At(o.x)
	tu.ended(tu.w.clients.At(x.client), x, o, tunnel.Origin, errno)
}

func (tu *tunnels) ended(c *client, x *exchange, o *origin, from tunnel.Side, errno unix.Errno) {
	if errno != 0 {
		tu.broke(c, x, from)
		return
	}
	tu.Ended(x.tunnel, from, tu.env(c, x, o))
	if tu.pull(c, x, o) {
		tu.drained(c, x, o)
	}
}

// lost: the origin is gone, whether or not it had said all it had to. False: the exchange
// has ended.
func (tu *tunnels) lost(c *client, x *exchange) bool {
	if !tu.Lost(x.tunnel, tunnel.Origin) {
		tu.broke(c, x, tunnel.Origin)
		return false
	}
	return true
}

// broke ends a tunnel of which the connection of one side is broken.
func (tu *tunnels) broke(c *client, x *exchange, by tunnel.Side) {
	o := tu.w.origins.At(x.origin)
	tu.Broke(x.tunnel, by, tu.env(c, x, o))
	tu.pull(c, x, o)
}

// endTunnel ends a tunnel for what is no affair of its sides.
func (tu *tunnels) endTunnel(c *client, x *exchange, why string) {
	o := tu.w.origins.At(x.origin)
	tu.CutOff(x.tunnel, why, tu.env(c, x, o))
	tu.pull(c, x, o)
}

// timeout: the tunnel is idle, or may not go on. The client of a WebSocket is told first
// that what it leads to is removed, and both sides have the time to finish in order.
func (tu *tunnels) timeout(c *client) {
	x := tu.w.xs.At(c.x)
	o, f := tu.w.origins.At(x.origin), tu.w.tooLong(c, x)
	if f == &faultRemoved && tu.Speaks(x.tunnel) {
		if tu.away(c) {
			tu.w.countFault(f)
			tu.w.snaps.setEnd(c.x, tu.l.Now()+tunnel.CloseNs)
			tu.restartIdle(c, x)
			return
		}
	} else if f != nil {
		tu.w.countFault(f)
	}
	if f != nil {
		tu.Fail(x.tunnel, f.Reason, tu.env(c, x, o))
	} else {
		tu.Expired(x.tunnel, tu.env(c, x, o))
	}
	tu.pull(c, x, o)
}

// ping pings both sides of a WebSocket. Who was sent a ping had the chance to be heard if
// that has left and what the side sends is read, and if it is not in the middle of a TLS
// record.
func (tu *tunnels) ping(o *origin) {
	x := tu.w.xs.At(o.x)
	c, env := tu.w.clients.At(x.client), tu.env(tu.w.clients.At(x.client), x, o)
	again := tu.PingDue(x.tunnel, [2]bool{
		tunnel.Client: tu.listens(&c.leg, env.Rules.PingNs),
		tunnel.Origin: tu.listens(&o.leg, env.Rules.PingNs),
	}, env)
	if tu.pull(c, x, o) && again {
		tu.w.legs.due(&o.leg, tu.NextPing(x.tunnel, env))
	}
}

func (tu *tunnels) listens(g *leg, ns int64) bool {
	return tu.w.legs.queued(g) == 0 && tu.w.legs.reached(g) && !tu.w.scarce.brings(g.conn, ns)
}

// away tells the client of a WebSocket that the proxy is going away. False: it was told
// before, or there is no telling it.
func (tu *tunnels) away(c *client) bool {
	x := tu.w.xs.At(c.x)
	o := tu.w.origins.At(x.origin)
	told := tu.Away(x.tunnel, tu.env(c, x, o))
	tu.pull(c, x, o)
	return told
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
