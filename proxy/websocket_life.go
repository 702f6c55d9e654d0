package proxy

import (
	"zproxy/proto/ws"
)

// socketReasons are why a WebSocket was failed: who broke which rule.
var socketReasons = func() (t [2][ws.FaultCount]string) {
	for code := range ws.FaultCount {
		reason := ws.FaultOf(ws.FaultCode(code)).Reason
		t[fromClient][code] = "websocket client: " + reason
		t[fromOrigin][code] = "websocket origin: " + reason
	}
	return t
}()

// ViolationNames lists the names of all kinds of violations a worker counts, by
// code.
func ViolationNames() []string {
	names := make([]string, ws.FaultCount)
	for code := range names {
		names[code] = ws.FaultOf(ws.FaultCode(code)).Name
	}
	return names
}

// Reasons of a side that answers no pings.
var socketSilent = [2]string{"websocket client answered no ping", "websocket origin answered no ping"}

// pingLater sets the time of the next pings, if there are to be any.
func (tu *tunnels) pingLater(x *exchange, o *origin) {
	if tu.framed(x) != nil {
		if ns := tu.rulesOf(x).PingNs; ns > 0 {
			tu.w.legs.due(&o.leg, tu.l.Now()+ns)
		}
	}
}

// ping pings both sides, and ends the WebSocket of one that has not let
// itself be heard since the last time.
func (tu *tunnels) ping(o *origin) {
	x := tu.w.xs.At(o.x)
	c := tu.w.clients.At(x.client)
	k := tu.framed(x)
	if k == nil || k.flags&(socketClosing|socketAway) != 0 {
		return
	}
	for dir := range 2 {
		if k.flags&(socketAwaits<<dir) != 0 && tu.listening(c, o, dir, tu.rulesOf(x).PingNs) {
			tu.failSocket(c, x, o, k, socketSilent[dir])
			return
		}
	}
	for dir := range 2 {
		k.flags |= socketPingDue << dir
		if _, now := k.speakable(dir); now {
			tu.inject(c, x, o, k, dir)
		}
	}
	tu.pingLater(x, o)
}

// listening tells whether a side that was sent a ping ns ago had the chance to be
// heard: the ping has left, what the side sends is read, and it is not in the middle of
// a TLS record.
func (tu *tunnels) listening(c *client, o *origin, dir int, ns int64) bool {
	if dir == fromClient {
		return tu.w.legs.queued(&c.leg) == 0 && tu.w.legs.reached(&c.leg) && c.flags&clientPaused == 0 && !tu.w.scarce.brings(c.conn, ns)
	}
	return tu.w.legs.queued(&o.leg) == 0 && tu.w.legs.reached(&o.leg) && o.flags&originPaused == 0 && !tu.w.scarce.brings(o.conn, ns)
}

// failSocket ends a WebSocket with a Close frame to the sides that can take one.
func (tu *tunnels) failSocket(c *client, x *exchange, o *origin, k *socket, why string) {
	k.note(endedByProxy, ws.CloseAbnormal)
	for dir := range 2 {
		if _, now := k.speakable(dir); now {
			tu.close(c, o, k, dir, ws.CloseGoingAway, why)
		}
	}
	tu.endSocket(c, x, o, why)
}

// over is the end of a WebSocket of which one side has broken a rule and
// the other has finished: the former gets its Close frame.
func (tu *tunnels) over(c *client, x *exchange, o *origin, k *socket) {
	side := fromClient
	if k.flags&(socketFailed<<fromClient) == 0 {
		side = fromOrigin
	}
	why := socketReasons[side][k.fault]
	if k.flags&(socketMuted<<(1-side)) == 0 && !k.scan[1-side].Inside() {
		tu.close(c, o, k, 1-side, ws.FaultOf(k.fault).Close, why)
	}
	tu.endSocket(c, x, o, why)
}

// late ends a WebSocket of which only the end of its connections was to
// come: how they end tells nobody anything.
func (tu *tunnels) late(c *client, x *exchange, k *socket) {
	o := tu.w.origins.At(x.origin)
	if k.flags&(socketFailed<<fromClient|socketFailed<<fromOrigin) != 0 {
		tu.over(c, x, o, k)
		return
	}
	tu.endSocket(c, x, o, "")
}

// endSocket ends the exchange of a WebSocket whose sides need to hear no more
// than what is queued for them.
func (tu *tunnels) endSocket(c *client, x *exchange, o *origin, why string) {
	tu.w.origins.linger(x, o)
	tu.w.endExchange(c, x, why)
	tu.w.legs.closeAfterFlush(c, true)
}

// linger separates an origin from its exchange, like detach, but
// lets it have what is queued for it: its write side is closed first and its
// input discarded.
func (og *origins) linger(x *exchange, o *origin) {
	x.origin, o.x = 0, 0
	og.pool.Drop(&o.in)
	if og.w.legs.isOver(&o.leg) || o.flags&originEOF != 0 && og.w.legs.queued(&o.leg) == 0 {
		og.w.legs.closeOrigin(o)
		return
	}
	o.state = originLinger
	og.w.legs.finish(&o.leg)
	og.w.legs.resumeOrigin(o)
	og.w.legs.due(&o.leg, og.l.Now()+lingerNs)
}

// away tells the client of a WebSocket that the proxy is going away. It
// answers with a Close frame that reaches the origin, so that both sides can
// finish in order.
func (tu *tunnels) away(c *client) {
	x := tu.w.xs.At(c.x)
	k := tu.framed(x)
	if k == nil || k.flags&socketAway != 0 {
		return
	}
	o := tu.w.origins.At(x.origin)
	k.flags |= socketAway | socketAwayDue<<fromOrigin
	if _, now := k.speakable(fromOrigin); now {
		tu.inject(c, x, o, k, fromOrigin)
	}
}

// whyAway is what Close frames say of why the proxy goes away.
func (tu *tunnels) whyAway() string {
	if tu.w.drain.on {
		return "proxy is shutting down"
	}
	return "removed from the proxy"
}

// goesAway tells the client of a WebSocket that what it leads to is removed, and gives both sides
// the time to finish in order.
func (tu *tunnels) goesAway(c *client, x *exchange) {
	tu.w.countFault(&faultRemoved)
	tu.away(c)
	tu.w.snaps.setEnd(c.x, tu.l.Now()+socketCloseNs)
	tu.restartIdle(c, x)
}

// half: one side has closed its write side, in the middle of nothing or
// of something; what is not complete has no use. An origin whose client went
// away without a word when told to hears why. False means that the exchange has
// ended.
func (tu *tunnels) half(c *client, x *exchange, o *origin, dir int) bool {
	k := tu.framed(x)
	if k == nil {
		return true
	}
	p := passage{c: c, x: x, o: o, k: k, dir: dir}
	tu.drop(&p, 0)
	k.note(uint8(endedByClient+dir), ws.CloseAbnormal)
	if _, now := k.speakable(dir); now && k.flags&socketAway != 0 {
		tu.close(c, o, k, dir, ws.CloseGoingAway, tu.whyAway())
	}
	if k.flags&(socketFailed<<(1-dir)) != 0 {
		tu.over(c, x, o, k)
		return false
	}
	return true
}
