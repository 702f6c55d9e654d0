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

// socketPingLater sets the time of the next pings, if there are to be any.
func (w *Worker) socketPingLater(x *exchange, o *origin) {
	if w.framed(x) != nil {
		if ns := w.rulesOf(x).pingNs; ns > 0 {
			w.originDue(o, w.l.Now()+ns)
		}
	}
}

// socketPing pings both sides, and ends the WebSocket of one that has not let
// itself be heard since the last time.
func (w *Worker) socketPing(o *origin) {
	x := w.xs.At(o.x)
	c := w.clients.At(x.client)
	k := w.framed(x)
	if k == nil || k.flags&(socketClosing|socketAway) != 0 {
		return
	}
	for dir := range 2 {
		if k.flags&(socketAwaits<<dir) != 0 && w.listening(c, o, dir, w.rulesOf(x).pingNs) {
			w.failSocket(c, x, o, k, socketSilent[dir])
			return
		}
	}
	for dir := range 2 {
		k.flags |= socketPingDue << dir
		if _, now := k.speakable(dir); now {
			w.socketInject(c, x, o, k, dir)
		}
	}
	w.socketPingLater(x, o)
}

// listening tells whether a side that was sent a ping ns ago had the chance to be
// heard: the ping has left, what the side sends is read, and it is not in the middle of
// a TLS record.
func (w *Worker) listening(c *client, o *origin, dir int, ns int64) bool {
	if dir == fromClient {
		return w.clientQueued(c) == 0 && w.reached(c.stream) && c.flags&clientPaused == 0 && !w.brings(c.conn, ns)
	}
	return w.originQueued(o) == 0 && w.reached(o.stream) && o.flags&originPaused == 0 && !w.brings(o.conn, ns)
}

// reached tells whether what a stream has sent has left by its connection, where
// it may be behind much of other streams'. 0 is no stream.
func (w *Worker) reached(stream uint32) bool {
	if stream == 0 {
		return true
	}
	st := w.streams.At(stream)
	return st.id == 0 || w.l.Queued(w.sessionOf(st).conn) == 0
}

// failSocket ends a WebSocket with a Close frame to the sides that can take one.
func (w *Worker) failSocket(c *client, x *exchange, o *origin, k *socket, why string) {
	k.note(endedByProxy, ws.CloseAbnormal)
	for dir := range 2 {
		if _, now := k.speakable(dir); now {
			w.socketClose(c, o, k, dir, ws.CloseGoingAway, why)
		}
	}
	w.endSocket(c, x, o, why)
}

// socketOver is the end of a WebSocket of which one side has broken a rule and
// the other has finished: the former gets its Close frame.
func (w *Worker) socketOver(c *client, x *exchange, o *origin, k *socket) {
	side := fromClient
	if k.flags&(socketFailed<<fromClient) == 0 {
		side = fromOrigin
	}
	why := socketReasons[side][k.fault]
	if k.flags&(socketMuted<<(1-side)) == 0 && !k.scan[1-side].Inside() {
		w.socketClose(c, o, k, 1-side, ws.FaultOf(k.fault).Close, why)
	}
	w.endSocket(c, x, o, why)
}

// socketLate ends a WebSocket of which only the end of its connections was to
// come: how they end tells nobody anything.
func (w *Worker) socketLate(c *client, x *exchange, k *socket) {
	o := w.origins.At(x.origin)
	if k.flags&(socketFailed<<fromClient|socketFailed<<fromOrigin) != 0 {
		w.socketOver(c, x, o, k)
		return
	}
	w.endSocket(c, x, o, "")
}

// endSocket ends the exchange of a WebSocket whose sides need to hear no more
// than what is queued for them.
func (w *Worker) endSocket(c *client, x *exchange, o *origin, why string) {
	w.lingerOrigin(x, o)
	w.endExchange(c, x, why)
	w.closeAfterFlush(c, true)
}

// lingerOrigin separates an origin from its exchange, like detachOrigin, but
// lets it have what is queued for it: its write side is closed first and its
// input discarded.
func (w *Worker) lingerOrigin(x *exchange, o *origin) {
	x.origin, o.x = 0, 0
	w.pool.Drop(&o.in)
	over := o.stream != 0 && w.streams.At(o.stream).id == 0 // with what waited for it
	if over || o.flags&originEOF != 0 && w.originQueued(o) == 0 {
		w.closeOrigin(o)
		return
	}
	o.state = originLinger
	w.originFinish(o)
	w.resumeOrigin(o)
	w.originDue(o, w.l.Now()+lingerNs)
}

// socketAway tells the client of a WebSocket that the proxy is going away. It
// answers with a Close frame that reaches the origin, so that both sides can
// finish in order.
func (w *Worker) socketAway(c *client) {
	x := w.xs.At(c.x)
	k := w.framed(x)
	if k == nil || k.flags&socketAway != 0 {
		return
	}
	o := w.origins.At(x.origin)
	k.flags |= socketAway | socketAwayDue<<fromOrigin
	if _, now := k.speakable(fromOrigin); now {
		w.socketInject(c, x, o, k, fromOrigin)
	}
}

// socketHalf: one side has closed its write side, in the middle of nothing or
// of something; what is not complete has no use. An origin whose client went
// away without a word when told to hears why. False means that the exchange has
// ended.
func (w *Worker) socketHalf(c *client, x *exchange, o *origin, dir int) bool {
	k := w.framed(x)
	if k == nil {
		return true
	}
	p := passage{c: c, x: x, o: o, k: k, dir: dir}
	w.drop(&p, 0)
	k.note(uint8(endedByClient+dir), ws.CloseAbnormal)
	if _, now := k.speakable(dir); now && k.flags&socketAway != 0 {
		w.socketClose(c, o, k, dir, ws.CloseGoingAway, "proxy is shutting down")
	}
	if k.flags&(socketFailed<<(1-dir)) != 0 {
		w.socketOver(c, x, o, k)
		return false
	}
	return true
}
