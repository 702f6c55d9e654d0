package proxy

import "zproxy/proto"

// Each side of an exchange has one deadline, and only a side that is waited for
// has one that runs: clientDeadline and originDeadline decide that from the
// state of the exchange alone, and are called whenever it has changed or
// something has moved. Between them one is always running.

// clientDeadline sets the deadline of a client whose exchange is under way.
func (w *Worker) clientDeadline(c *client, x *exchange) {
	at := int64(0)
	switch {
	case x.state == xWaiting || x.state == xStealing:
		at = x.sought() + w.snap.clusters[x.cluster].queueNs
	case x.origin != 0 && w.origins.At(x.origin).flags&originPaused != 0:
		at = w.takeBy(c)
	case x.flags&(xRequestDone|xExpect|xResponseBegun) == 0 && c.flags&clientPaused == 0:
		at = w.giveBy(x)
	default:
		x.bodyFromMs = 0
	}
	w.busyDue(c, x, at)
}

// busyDue sets the deadline of a client whose exchange is under way, which is no
// later than the longest that the exchange may take.
func (w *Worker) busyDue(c *client, x *exchange, at int64) {
	if end := w.streamEnd(x); end > 0 && (at == 0 || end < at) {
		at = end
	}
	w.clientDue(c, at)
}

// streamEnd is when x has taken as long as its route allows, 0: never.
func (w *Worker) streamEnd(x *exchange) int64 {
	if x.route < 0 || w.snap.routes[x.route].maxStreamNs == 0 {
		return 0
	}
	return x.start + w.snap.routes[x.route].maxStreamNs
}

// limitStream has x end when it has taken as long as its route allows.
func (w *Worker) limitStream(c *client, x *exchange) {
	if w.streamEnd(x) > 0 {
		w.clientDeadline(c, x)
	}
}

// overdue ends an exchange that has taken as long as its route allows.
func (w *Worker) overdue(c *client, x *exchange) bool {
	end := w.streamEnd(x)
	if end == 0 || w.l.Now() < end {
		return false
	}
	w.giveUp(c, x, &faultStreamDuration)
	return true
}

// giveUp ends an exchange that neither side has failed.
func (w *Worker) giveUp(c *client, x *exchange, f *proto.Fault) {
	if x.flags&xResponseBegun == 0 {
		w.failExchange(c, x, f)
		return
	}
	w.countFault(f)
	w.breakClient(c, x, f.Reason)
}

// originDeadline sets the deadline of an origin that carries x: it must take
// what it was given, say whether it wants the body, answer, go on answering. Once
// its answer has begun, bytes of either direction are progress: a stream that
// only one side has something to say on is not idle, and how fast it says it is
// its own affair.
func (w *Worker) originDeadline(x *exchange, o *origin) {
	cl := w.snap.clusters[x.cluster]
	at := int64(0)
	switch {
	case o.flags&originPaused != 0: // its client is to take what there is
	case x.flags&xResponseBegun != 0:
		at = w.l.Now() + cl.idleNs
	case cl.continues(x):
		at = w.l.Now() + cl.continueNs
	case x.flags&(xRequestGiven|xOriginDeaf|xExpect) != 0:
		at = w.l.Now() + cl.responseNs
	case w.originQueued(o) > 0:
		at = w.l.Now() + cl.idleNs
	}
	w.originDue(o, at)
}

// continues says that x waits for its origin to ask for the body, and not for
// as long as that may take to answer.
func (cl *cluster) continues(x *exchange) bool {
	return x.flags&(xExpect|xOriginDeaf) == xExpect && cl.continueNs > 0 && cl.continueNs < cl.responseNs
}

// busyTimeout: what was waited for is told apart as in clientDeadline.
func (w *Worker) busyTimeout(c *client, x *exchange) {
	switch {
	case w.overdue(c, x):
	case x.state == xWaiting || x.state == xStealing:
		w.m.QueueTimeouts++
		w.failExchange(c, x, w.noConnection(x, &faultQueueTimeout))
	case w.clientQueued(c) > 0:
		if w.stillTakes(c) {
			return
		}
		w.m.ClientAborts++
		w.endExchange(c, x, "client did not take the response in time")
		w.abortClient(c)
	case x.flags&(xRequestDone|xResponseBegun) == 0:
		if w.stillGives(c, x) {
			return
		}
		if w.clientStarves(c) {
			w.requestFault(c, x, &faultMemory)
			return
		}
		w.m.Timeouts408++
		w.requestFault(c, x, &faultBodyTimeout)
	}
}

// originTimeout: what it means depends on what the origin was to do.
func (w *Worker) originTimeout(o *origin) {
	switch o.state {
	case originConnecting:
		if o.stream != 0 { // no connection has had room for it
			x := w.xs.At(o.x)
			w.m.QueueTimeouts++
			w.failExchange(w.clients.At(x.client), x, w.noConnection(x, &faultQueueTimeout))
			return
		}
		w.dialFailed(o, &faultConnectTimeout)
	case originBusy:
		x := w.xs.At(o.x)
		if w.snap.clusters[o.cluster].continues(x) && x.flags&xResponseBegun == 0 {
			w.sendContinue(w.clients.At(x.client), x, o)
			return
		}
		if w.originStarves(o) { // its answer may be there, unread
			w.failExchange(w.clients.At(x.client), x, &faultMemory)
			return
		}
		if x.flags&xResponseBegun != 0 && w.brings(o.conn, w.snap.clusters[o.cluster].idleNs) {
			w.originDeadline(x, o) // it goes on answering
			return
		}
		w.responseTimeout(w.clients.At(x.client), x, o)
	case originTunnel:
		w.socketPing(o)
	case originLinger:
		w.closeOrigin(o)
	}
}

// responseTimeout: the origin has not answered, or not gone on, in time. Where
// the client has closed its write side, and may have left, nobody knows whether
// the origin would have: that is not held against it.
func (w *Worker) responseTimeout(c *client, x *exchange, o *origin) {
	if c.stream == 0 && c.flags&clientEOF != 0 {
		w.failExchange(c, x, &faultHalfClosed)
		return
	}
	if x.flags&(xRequestDone|xResponseBegun) == xResponseBegun && w.originQueued(o) == 0 { // neither side has said anything
		f := &faultStreamIdle
		if w.clientStarves(c) { // what it said may be there, unread
			f = &faultMemory
		}
		w.giveUp(c, x, f)
		return
	}
	w.m.Timeouts504++
	w.pools[o.cluster].ResponseFailed(w.l.Now(), int(o.endpoint))
	w.failExchange(c, x, &faultResponseTimeout)
}
