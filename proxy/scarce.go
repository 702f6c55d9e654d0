package proxy

import (
	"time"

	"zproxy/loop"
	"zproxy/upstream"
)

// Where connections to an upstream are short, a request that cannot go on by
// itself must not hold one while others could use it. There, and only there, one
// whose content has not begun waits for its first byte before it takes a
// connection (lacksContent), one whose origin may speak first leaves the last of them
// to others (waitsMute), and one that holds a connection without moving loses it to
// those that wait (look).

const (
	// stallNs is for how long a client may hold a connection that others wait for
	// without sending anything to speak of.
	stallNs = int64(500 * time.Millisecond)
	// talkNs is that time where the origin may be the one that is to speak, where the
	// client is to take its answer, and for a stream of a connection on which others
	// have their turn.
	talkNs = 4 * stallNs
	// muteNs is for how long a request that brings nothing leaves the last connections
	// to others: so long that those of a client that takes all it can have been lost.
	muteNs = talkNs + stallNs
	// lookEveryNs is how often stalled requests are looked for while others wait.
	lookEveryNs = int64(100 * time.Millisecond)
	// wholeBytes is how much of a request counts as all of it where its client is
	// known to stall: more may not come before an origin takes some. A stream's window
	// may be 16 KiB and is not opened meanwhile: wholeStreamBytes is half of that.
	wholeBytes       = 64 << 10
	wholeStreamBytes = 8 << 10
)

// watch is what was last seen of an exchange that holds a connection others wait for.
type watch struct {
	start int64 // of the exchange: its slot may have passed to another
	at    int64
	seen  uint64 // bytes that had moved at that time
	down  bool   // of the response
}

// scarce has those wait for a connection, or lose theirs, that others need it more
// than.
type scarce struct {
	part
	mutes       []upstream.Turns // by cluster, see mute
	servesMutes bool
	watching    []watch // by exchange: those that hold a connection while others wait for one, as last seen
}

// lacksContent lets x, whose request has not ended, wait for content of it instead
// of a connection, and says so, if connections are short. Who was seen to hold one
// without moving is to send the request whole, whatever it is.
func (sc *scarce) lacksContent(c *client, x *exchange) bool {
	p := sc.w.origins.pools[x.cluster]
	if !p.Short() {
		return false
	}
	if sc.bringsNothing(c, x) {
		p.RemoveWaiter(c.x)
		sc.awaitContent(c, x)
		return true
	}
	return sc.waitsMute(c, x)
}

// bringsNothing says that x would have to wait for its client if it had a
// connection.
func (sc *scarce) bringsNothing(c *client, x *exchange) bool {
	switch {
	case x.flags&(xRequestDone|xUpgrade) != 0:
		return false
	case sc.w.origins.pools[x.cluster].IsSlow(sc.l.Now(), sc.asker(c, x).Addr):
		return x.backlog.Bytes() < min(c.whole(), sc.w.memory.High/2)
	}
	return x.flags&xExpect == 0 && !x.from.EitherBegins() && x.reqBytes == 0 && !c.holdsBack()
}

func (sc *scarce) awaitContent(c *client, x *exchange) {
	x.state = xRouting
	x.flags |= xContentWaits
	if x.flags&xContinue != 0 {
		sc.w.responses.sendContinue(c, x, nil) // or either would wait for the other
		return
	}
	sc.w.clientDeadline(c, x)
}

// mute says that nothing of x's content has come although its origin may be the one
// to speak first.
func (sc *scarce) mute(c *client, x *exchange) bool {
	return x.flags&(xRequestDone|xUpgrade) == 0 && (x.flags&xExpect != 0 || x.from.EitherBegins()) && x.reqBytes == 0 && !c.holdsBack()
}

// waitsMute lets x, where it is mute, wait until connections are not short, and says so:
// the last of them are for requests that bring something. It may be in earnest: it
// need not wait for longer than muteNs, nor for more than half the queue's time.
func (sc *scarce) waitsMute(c *client, x *exchange) bool {
	if !sc.mute(c, x) || sc.l.Now() >= sc.muteUntil(x) {
		return false
	}
	sc.w.origins.pools[x.cluster].RemoveWaiter(c.x)
	sc.w.clusters[x.cluster].Shared.Mute(1)
	sc.mutes[x.cluster].Push(sc.l.Now(), c.x, sc.asker(c, x))
	x.flags |= xContentWaits
	sc.w.await(c, x, xWaiting)
	sc.w.wakeBy(sc.l.Now() + lookEveryNs)
	sc.press(int(x.cluster))
	return true
}

func (sc *scarce) muteUntil(x *exchange) int64 {
	return x.sought() + min(muteNs, sc.w.clusters[x.cluster].QueueNs/2)
}

// muteNoMore takes x out of those that wait mute, if it is one.
func (sc *scarce) muteNoMore(c *client, x *exchange) {
	if sc.mutes[x.cluster].Remove(c.x) {
		sc.w.clusters[x.cluster].Shared.Mute(-1)
		x.flags &^= xContentWaits
	}
}

// serveMutes lets those that wait mute look for a connection, in turn, while
// connections are not short, and those that have waited long enough.
func (sc *scarce) serveMutes(cluster int) {
	if sc.servesMutes {
		return
	}
	sc.servesMutes = true
	q := &sc.mutes[cluster]
	for n := q.Len(); n > 0; n-- {
		xi, ok := q.Next()
		if !ok {
			break
		}
		x := sc.w.xs.At(xi)
		if sc.short(cluster) && sc.l.Now() < sc.muteUntil(x) {
			break
		}
		q.Pop(sc.l.Now())
		sc.w.clusters[cluster].Shared.Mute(-1)
		x.flags &^= xContentWaits
		sc.w.dispatch(sc.w.clients.At(x.client), x)
	}
	if q.Len() > 0 {
		sc.w.wakeBy(sc.l.Now() + lookEveryNs)
	}
	sc.servesMutes = false
}

// short is Pool.Short, and so where few streams are left at every endpoint.
func (sc *scarce) short(cluster int) bool {
	if sc.w.origins.pools[cluster].Short() || !sc.w.clusters[cluster].H2 {
		return sc.w.origins.pools[cluster].Short()
	}
	for ep := range sc.w.groups.all[cluster] {
		if !sc.w.groups.fewLeft(&sc.w.groups.all[cluster][ep]) {
			return false
		}
	}
	return true
}

// contentCame looks for a connection for an exchange that waited for content.
func (sc *scarce) contentCame(c *client, x *exchange) {
	sc.muteNoMore(c, x)
	x.flags &^= xContentWaits
	x.soughtMs = x.sinceMs(sc.l.Now())
	sc.w.seek(c, x)
}

// press has every loop look for stalled requests, since x has begun to wait.
func (sc *scarce) press(cluster int) {
	now := sc.l.Now()
	if !sc.w.clusters[cluster].Shared.Look(now, lookEveryNs) {
		sc.w.wakeBy(now + lookEveryNs) // that was before it began to wait
		return
	}
	sc.w.wakeBy(now + 1)
	for i := range sc.w.peers {
		if i != sc.w.index {
			sc.w.handoff.deliver(i, loop.Mail{Kind: mailLook, From: int32(sc.w.index), A: uint64(cluster)})
		}
	}
}

// look takes connections from exchanges that hold them without moving, as many as
// others wait for.
func (sc *scarce) look(cluster int, now int64) {
	waiting := sc.w.clusters[cluster].Shared.Waiting() + sc.w.clusters[cluster].Shared.Mutes()
	for ep := range sc.w.groups.all[cluster] {
		if g := &sc.w.groups.all[cluster][ep]; sc.w.groups.full(g) {
			waiting += g.pending.Len()
		}
	}
	if waiting == 0 {
		return
	}
	sc.w.wakeBy(now + lookEveryNs)
	sc.press(cluster)
	for i := uint32(1); i <= uint32(sc.w.xs.Cap()) && waiting > 0; i++ {
		if sc.w.xs.Live(i) {
			if x := sc.w.xs.At(i); int(x.cluster) == cluster && x.state == xForwarding && sc.stalls(i, x, now) {
				waiting--
				sc.evict(sc.w.clients.At(x.client), x, now)
			}
		}
	}
}

// stalls says that x has held its connection for too long without moving: less
// than limits.min_rate, and at least one byte.
func (sc *scarce) stalls(i uint32, x *exchange, now int64) bool {
	for int(i) >= len(sc.watching) {
		sc.watching = append(sc.watching, watch{})
	}
	c, o, h := sc.w.clients.At(x.client), sc.w.origins.At(x.origin), &sc.watching[i]
	down := o.flags&originPaused != 0
	patience, moved, got := talkNs, uint64(0), x.start+int64(x.askedUs)*1000
	switch {
	case down:
		moved = sc.w.taken(c)
	case x.flags&(xRequestDone|xOriginDeaf|xResponseBegun) != 0 || c.flags&clientPaused != 0 ||
		sc.w.legs.queued(&o.leg) > 0 || sc.w.legs.starves(&c.leg):
		h.start = 0 // it does not wait for its client
		return false
	default:
		moved = x.reqBytes
		part, _ := sc.l.Partial(c.conn) // of a stream's none: it has no connection of its own
		moved += uint64(part)
		// (Who was let in for its patience alone has been patient; but a 100 takes as
		// long as its origin, or timeouts.continue.)
		if x.flags&xExpect == 0 && (!x.from.EitherBegins() || got >= sc.muteUntil(x)) {
			patience = stallNs
		}
	}
	if h.start != x.start || h.down != down {
		*h = watch{start: x.start, at: now, seen: moved, down: down}
		if !down { // since it has its connection nothing need have come
			h.at, h.seen = got, 0
		}
	}
	if moved < h.seen { // part of a record was more than the content of the whole
		h.seen = moved
	}
	if n := moved - h.seen; n > 0 && n >= sc.w.snap.Limits.MinRate.Bytes(now-h.at) {
		h.at, h.seen = now, moved
		return false
	}
	// While the loop did not run it took nothing, and gave no credit.
	idle := now - max(h.at, sc.l.Leap().At)
	if patience == stallNs && idle >= stallNs && sc.w.legs.sharesItsTurn(c) {
		patience = talkNs
	}
	return idle >= patience
}

// brings says that within ns part of a TLS record has come on conn that is not whole.
func (sc *scarce) brings(conn loop.ConnID, ns int64) bool {
	part, idleMs := sc.l.Partial(conn)
	return part > 0 && int64(idleMs)*1e6 < ns
}

// evict ends an exchange that stalls. Of its client no more is taken on trust.
func (sc *scarce) evict(c *client, x *exchange, now int64) {
	if x.flags&xResponseBegun != 0 {
		sc.m.ClientAborts++
		sc.w.failExchange(c, x, &faultNotTaken)
		return
	}
	sc.w.origins.pools[x.cluster].Slow(now, sc.asker(c, x).Addr)
	sc.m.Timeouts408++
	sc.w.failExchange(c, x, &faultStalled)
}
