package proxy

import (
	"zproxy/loop"
	"zproxy/proxy/scarce"
	"zproxy/upstream"
)

// shortage has those wait for a connection to an upstream, or lose theirs, that others need
// it more than, where connections are short: package scarce says who. One whose content has
// not begun waits for its first byte (lacksContent), one whose origin may speak first leaves
// the last connections to others (waitsMute), and one that holds a connection without moving
// loses it to those that wait (look).
type shortage struct {
	part
	mutes       []upstream.Turns // by cluster, see mute
	servesMutes bool
	watching    scarce.Watches
}

// came is what has come of the request of x. (In tunnels, which have no content, the origin
// may speak at any time.)
func (x *exchange) came(c *client) scarce.Request {
	return scarce.Request{
		Whole: x.flags&(xRequestDone|xUpgrade) != 0, Began: x.reqBytes > 0 || c.holdsBack(),
		Expects: x.flags&xExpect != 0, Talks: x.from.EitherBegins(),
	}
}

// lacksContent lets x, whose request has not ended, wait for content of it instead
// of a connection, and says so, if connections are short. Who was seen to hold one
// without moving is to send the request whole, whatever it is.
func (sc *shortage) lacksContent(c *client, x *exchange) bool {
	p := sc.w.leases.Pool(int(x.cluster))
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
func (sc *shortage) bringsNothing(c *client, x *exchange) bool {
	r := x.came(c)
	if !r.Whole && sc.w.leases.Pool(int(x.cluster)).IsSlow(sc.l.Now(), sc.asker(c, x).Addr) {
		return x.backlog.Bytes() < scarce.Enough(c.whole(), sc.w.memory.High)
	}
	return r.BringsNothing()
}

func (sc *shortage) awaitContent(c *client, x *exchange) {
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
func (sc *shortage) mute(c *client, x *exchange) bool {
	r := x.came(c)
	return r.IsMute()
}

// waitsMute lets x, where it is mute, wait until connections are not short, and says so:
// the last of them are for requests that bring something.
func (sc *shortage) waitsMute(c *client, x *exchange) bool {
	if !sc.mute(c, x) || sc.l.Now() >= sc.muteUntil(x) {
		return false
	}
	sc.w.leases.Pool(int(x.cluster)).RemoveWaiter(c.x)
	sc.w.clusters[x.cluster].Shared.Mute(1)
	sc.mutes[x.cluster].Push(sc.l.Now(), c.x, sc.asker(c, x))
	x.flags |= xContentWaits
	sc.w.await(c, x, xWaiting)
	sc.w.wakeBy(sc.l.Now() + scarce.LookEveryNs)
	sc.press(int(x.cluster))
	return true
}

func (sc *shortage) muteUntil(x *exchange) int64 {
	return scarce.MuteUntil(x.sought(), sc.w.clusters[x.cluster].QueueNs)
}

// muteNoMore takes x out of those that wait mute, if it is one.
func (sc *shortage) muteNoMore(c *client, x *exchange) {
	if sc.mutes[x.cluster].Remove(c.x) {
		sc.w.clusters[x.cluster].Shared.Mute(-1)
		x.flags &^= xContentWaits
	}
}

// serveMutes lets those that wait mute look for a connection, in turn, while
// connections are not short, and those that have waited long enough.
func (sc *shortage) serveMutes(cluster int) {
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
		if sc.w.leases.Short(cluster) && sc.l.Now() < sc.muteUntil(x) {
			break
		}
		q.Pop(sc.l.Now())
		sc.w.clusters[cluster].Shared.Mute(-1)
		x.flags &^= xContentWaits
		sc.w.dispatch(sc.w.clients.At(x.client), x)
	}
	if q.Len() > 0 {
		sc.w.wakeBy(sc.l.Now() + scarce.LookEveryNs)
	}
	sc.servesMutes = false
}

// contentCame looks for a connection for an exchange that waited for content.
func (sc *shortage) contentCame(c *client, x *exchange) {
	sc.muteNoMore(c, x)
	x.flags &^= xContentWaits
	x.soughtMs = x.sinceMs(sc.l.Now())
	sc.w.seek(c, x)
}

// press has every loop look for stalled requests, since x has begun to wait.
func (sc *shortage) press(cluster int) {
	now := sc.l.Now()
	if !sc.w.clusters[cluster].Shared.Look(now, scarce.LookEveryNs) {
		sc.w.wakeBy(now + scarce.LookEveryNs) // that was before it began to wait
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
func (sc *shortage) look(cluster int, now int64) {
	waiting := sc.w.clusters[cluster].Shared.Waiting() + sc.w.clusters[cluster].Shared.Mutes() + sc.w.leases.Crowd(cluster)
	if waiting == 0 {
		return
	}
	sc.w.wakeBy(now + scarce.LookEveryNs)
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
func (sc *shortage) stalls(i uint32, x *exchange, now int64) bool {
	c, o := sc.w.clients.At(x.client), sc.w.origins.At(x.origin)
	s := scarce.Sight{Start: x.start, Got: x.start + int64(x.askedUs)*1000, Down: o.flags&originPaused != 0}
	patience := scarce.TalkNs
	switch {
	case s.Down:
		s.Moved = sc.w.taken(c)
	case x.flags&(xRequestDone|xOriginDeaf|xResponseBegun) != 0 || c.flags&clientPaused != 0 ||
		sc.w.legs.queued(&o.leg) > 0 || sc.w.legs.starves(&c.leg):
		sc.watching.Forget(i)
		return false
	default:
		part, _ := sc.l.Partial(c.conn) // of a stream's none: it has no connection of its own
		s.Moved = x.reqBytes + uint64(part)
		r := x.came(c)
		patience = r.Patience(s.Got, sc.muteUntil(x))
	}
	idle := sc.watching.IdleNs(i, &s, sc.w.snap.Limits.MinRate, now, sc.l.Leaps())
	if patience == scarce.StallNs && idle >= patience && sc.w.legs.sharesItsTurn(c) {
		patience = scarce.TalkNs
	}
	return idle >= patience
}

// brings says that within ns part of a TLS record has come on conn that is not whole.
func (sc *shortage) brings(conn loop.ConnID, ns int64) bool {
	part, idleMs := sc.l.Partial(conn)
	return part > 0 && int64(idleMs)*1e6 < ns
}

// evict ends an exchange that stalls. Of its client no more is taken on trust.
func (sc *shortage) evict(c *client, x *exchange, now int64) {
	if x.flags&xResponseBegun != 0 {
		sc.m.ClientAborts++
		sc.w.failExchange(c, x, &faultNotTaken)
		return
	}
	sc.w.leases.Pool(int(x.cluster)).Slow(now, sc.asker(c, x).Addr)
	sc.m.Timeouts408++
	sc.w.failExchange(c, x, &faultStalled)
}
