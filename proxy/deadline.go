package proxy

import (
	"zproxy/proto"
	"zproxy/proxy/snapshot"
)

// Each side of an exchange has one deadline, and only a side that is waited for
// has one that runs: clientDeadline and originDeadline decide that from the
// state of the exchange alone, and are called whenever it has changed or
// something has moved. Between them one is always running.

// clientDeadline sets the deadline of a client whose exchange is under way.
func (w *Worker) clientDeadline(c *client, x *exchange) {
	at := int64(0)
	switch {
	case x.state == xWaiting || x.state == xAsking:
		at = x.sought() + w.clusters[x.cluster].QueueNs
	case x.state == xFiltering:
		at = w.filters.passages[c.x].dueNs
	case x.origin != 0 && w.origins.At(x.origin).flags&originPaused != 0:
		at = w.writeDeadline(c)
	case x.flags&(xRequestDone|xExpect|xResponseBegun) == 0 && c.flags&clientPaused == 0:
		at = w.readDeadline(x)
	default:
		x.bodyFromMs = 0
	}
	w.busyDue(c, x, at)
}

// busyDue sets the deadline of a client whose exchange is under way, which is no
// later than the longest that the exchange may take.
func (w *Worker) busyDue(c *client, x *exchange, at int64) {
	for _, end := range [...]int64{w.streamEnd(x), w.snaps.end(c.x)} {
		if end > 0 && (at == 0 || end < at) {
			at = end
		}
	}
	w.legs.due(&c.leg, at)
}

// streamEnd is when x has taken as long as its route allows, 0: never.
func (w *Worker) streamEnd(x *exchange) int64 {
	if x.route < 0 || w.snapOf(x).Routes[x.route].MaxStreamNs == 0 {
		return 0
	}
	return x.start + w.snapOf(x).Routes[x.route].MaxStreamNs
}

// limitStream has x end when it has taken as long as it may.
func (w *Worker) limitStream(c *client, x *exchange) {
	if w.streamEnd(x) > 0 || w.snaps.end(c.x) > 0 {
		w.clientDeadline(c, x)
	}
}

// tooLong is why x may not go on, nil: it may.
func (w *Worker) tooLong(c *client, x *exchange) *proto.Fault {
	now := w.l.Now()
	if end := w.streamEnd(x); end > 0 && now >= end {
		return &faultStreamDuration
	}
	if end := w.snaps.end(c.x); end > 0 && now >= end {
		return &faultRemoved
	}
	return nil
}

// overdue ends an exchange that has taken as long as it may.
func (w *Worker) overdue(c *client, x *exchange) bool {
	f := w.tooLong(c, x)
	if f != nil {
		w.giveUp(c, x, f)
	}
	return f != nil
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
	cl := w.clusters[x.cluster]
	at := int64(0)
	switch {
	case o.flags&originPaused != 0: // its client is to take what there is
	case x.flags&xResponseBegun != 0:
		at = w.l.Now() + cl.IdleNs
	case x.continues(cl):
		at = w.l.Now() + cl.ContinueNs
	case x.flags&(xRequestGiven|xOriginDeaf|xExpect) != 0:
		at = w.l.Now() + w.retries.patienceNs(x, o)
	case w.legs.queued(&o.leg) > 0:
		at = w.l.Now() + cl.IdleNs
	}
	w.legs.due(&o.leg, at)
}

// continues says that x waits for its origin to ask for the body, and not for
// as long as that may take to answer.
func (x *exchange) continues(cl *snapshot.Cluster) bool {
	return x.flags&(xExpect|xOriginDeaf) == xExpect && cl.ContinueNs > 0 && cl.ContinueNs < cl.ResponseNs
}

// busyTimeout: what was waited for is told apart as in clientDeadline.
func (w *Worker) busyTimeout(c *client, x *exchange) {
	switch {
	case w.overdue(c, x):
	case x.state == xWaiting || x.state == xAsking:
		w.m.QueueTimeouts++
		w.failExchange(c, x, w.noConnection(x, &faultQueueTimeout))
	case x.state == xFiltering:
		w.failExchange(c, x, &faultFilterTimeout)
	case w.legs.queued(&c.leg) > 0:
		if w.stillTakes(c) {
			return
		}
		w.m.ClientAborts++
		w.endExchange(c, x, "client did not take the response in time")
		w.legs.abort(c)
	case x.flags&(xRequestDone|xResponseBegun) == 0:
		if w.stillGives(c, x) {
			return
		}
		if w.legs.starves(&c.leg) {
			w.requests.fault(c, x, &faultMemory)
			return
		}
		w.m.Timeouts408++
		w.requests.fault(c, x, &faultBodyTimeout)
	}
}

// originTimeout: what it means depends on what the origin was to do.
func (w *Worker) originTimeout(o *origin) {
	switch o.state {
	case originConnecting: // no connection has had room for it
		x := w.xs.At(o.x)
		w.m.QueueTimeouts++
		w.failExchange(w.clients.At(x.client), x, w.noConnection(x, &faultQueueTimeout))
	case originBusy:
		x := w.xs.At(o.x)
		if x.continues(w.clusters[x.cluster]) && x.flags&xResponseBegun == 0 {
			w.responses.sendContinue(w.clients.At(x.client), x, o)
			return
		}
		if w.legs.starves(&o.leg) { // its answer may be there, unread
			w.failExchange(w.clients.At(x.client), x, &faultMemory)
			return
		}
		if x.flags&xResponseBegun != 0 && w.scarce.brings(o.conn, w.clusters[x.cluster].IdleNs) {
			w.originDeadline(x, o) // it goes on answering
			return
		}
		w.responseTimeout(w.clients.At(x.client), x, o)
	case originTunnel:
		w.tunnels.ping(o)
	case originLinger:
		w.legs.closeOrigin(o)
	}
}

// responseTimeout: the origin has not answered, or not gone on, in time. Where
// the client has closed its write side, and may have left, nobody knows whether
// the origin would have: that is not held against it.
func (w *Worker) responseTimeout(c *client, x *exchange, o *origin) {
	if c.halfClosed() {
		w.failExchange(c, x, &faultHalfClosed)
		return
	}
	if x.flags&(xRequestDone|xResponseBegun) == xResponseBegun && w.legs.queued(&o.leg) == 0 { // neither side has said anything
		f := &faultStreamIdle
		if w.legs.starves(&c.leg) { // what it said may be there, unread
			f = &faultMemory
		}
		w.giveUp(c, x, f)
		return
	}
	if o.in.Empty() && w.retries.tries(x, snapshot.OnTimeout) {
		w.m.Timeouts504++
		w.leases.Pool(int(x.cluster)).ResponseFailed(w.l.Now(), int(x.endpoint))
		w.retries.tryAgain(c, x, o, false)
		return
	}
	if o.flags&originHasty != 0 { // no other try may begin: this one has the rest of the time
		cl := w.clusters[x.cluster]
		o.flags = o.flags&^originHasty | originPatient
		w.legs.due(&o.leg, w.l.Now()+cl.ResponseNs-cl.Retry.PerTryNs)
		return
	}
	w.m.Timeouts504++
	w.responses.answered(x, true)
	w.leases.Pool(int(x.cluster)).ResponseFailed(w.l.Now(), int(x.endpoint))
	w.failExchange(c, x, &faultResponseTimeout)
}

// idleDue begins the time that a client may stay between requests.
func (cs *clients) idleDue(c *client) {
	wait := cs.w.snap.Limits.KeepaliveNs
	switch {
	case cs.w.drain.on:
		wait = min(wait, cs.w.drain.idleNs)
	case cs.w.snap.Listeners[c.listener].Gone:
		wait = min(wait, cs.w.snap.EndIdleNs)
	}
	cs.w.legs.due(&c.leg, cs.l.Now()+wait)
}
