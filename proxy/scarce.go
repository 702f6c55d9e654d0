package proxy

import (
	"time"

	"zproxy/internal/plant"
	"zproxy/loop"
	"zproxy/proto"
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

var (
	typeGRPC    = []byte("application/grpc")
	typeGRPCWeb = []byte("application/grpc-web")
	typeConnect = []byte("application/connect+")
)

// talks says that the origin may speak before any content of h has come: in calls
// that stream both ways either side may begin. (So it may where the client asked
// for a 100, which xExpect says, and in tunnels, which have no content.)
func talks(h *proto.Head) bool {
	kind, _ := h.Get(proto.TokenContentType)
	return startsWith(kind, typeGRPC) && !startsWith(kind, typeGRPCWeb) || startsWith(kind, typeConnect)
}

// startsWith compares as media types are compared (RFC 9110 8.3.1); what is in
// lower case.
func startsWith(b, what []byte) bool {
	return len(b) >= len(what) && proto.EqualFoldBytes(b[:len(what)], what)
}

// lacksContent lets x, whose request has not ended, wait for content of it instead
// of a connection, and says so, if connections are short. Who was seen to hold one
// without moving is to send the request whole, whatever it is.
func (w *Worker) lacksContent(c *client, x *exchange) bool {
	p := w.pools[x.cluster]
	if !p.Short() {
		return false
	}
	if w.bringsNothing(c, x) {
		p.RemoveWaiter(c.x)
		w.awaitContent(c, x)
		return true
	}
	return w.waitsMute(c, x)
}

// bringsNothing says that x would have to wait for its client if it had a
// connection.
func (w *Worker) bringsNothing(c *client, x *exchange) bool {
	switch {
	case x.flags&(xRequestDone|xUpgrade) != 0:
		return false
	case w.pools[x.cluster].IsSlow(w.l.Now(), w.asker(c, x).Addr):
		if c.stream != 0 {
			return x.backlog.Bytes() < min(wholeStreamBytes, w.high/2)
		}
		return x.backlog.Bytes() < min(wholeBytes, w.high/2)
	}
	return x.flags&xExpect == 0 && !x.from.talks() && x.reqBytes == 0 && (c.stream == 0 || c.in.Empty())
}

func (w *Worker) awaitContent(c *client, x *exchange) {
	x.state = xRouting
	x.flags |= xContentWaits
	if x.flags&xContinue != 0 {
		w.sendContinue(c, x, nil) // or either would wait for the other
		return
	}
	w.clientDeadline(c, x)
}

// mute says that nothing of x's content has come although its origin may be the one
// to speak first.
func (w *Worker) mute(c *client, x *exchange) bool {
	return x.flags&(xRequestDone|xUpgrade) == 0 && (x.flags&xExpect != 0 || x.from.talks()) && x.reqBytes == 0 && (c.stream == 0 || c.in.Empty())
}

// waitsMute lets x, where it is mute, wait until connections are not short, and says so:
// the last of them are for requests that bring something. It may be in earnest: it
// need not wait for longer than muteNs, nor for more than half the queue's time.
func (w *Worker) waitsMute(c *client, x *exchange) bool {
	if !w.mute(c, x) || w.l.Now() >= w.muteUntil(x) {
		return false
	}
	w.pools[x.cluster].RemoveWaiter(c.x)
	w.snap.clusters[x.cluster].shared.Mute(1)
	w.mutes[x.cluster].Push(w.l.Now(), c.x, w.asker(c, x))
	x.flags |= xContentWaits
	w.await(c, x, xWaiting)
	w.wakeBy(w.l.Now() + lookEveryNs)
	w.press(int(x.cluster))
	return true
}

func (w *Worker) muteUntil(x *exchange) int64 {
	return x.sought() + min(muteNs, w.snap.clusters[x.cluster].queueNs/2)
}

// muteNoMore takes x out of those that wait mute, if it is one.
func (w *Worker) muteNoMore(c *client, x *exchange) {
	if w.mutes[x.cluster].Remove(c.x) {
		w.snap.clusters[x.cluster].shared.Mute(-1)
		x.flags &^= xContentWaits
	}
}

// serveMutes lets those that wait mute look for a connection, in turn, while
// connections are not short, and those that have waited long enough.
func (w *Worker) serveMutes(cluster int) {
	if w.servesMutes {
		return
	}
	w.servesMutes = true
	q := &w.mutes[cluster]
	for n := q.Len(); n > 0; n-- {
		xi, ok := q.Next()
		if !ok {
			break
		}
		x := w.xs.At(xi)
		if w.short(cluster) && w.l.Now() < w.muteUntil(x) {
			break
		}
		q.Pop(w.l.Now())
		w.snap.clusters[cluster].shared.Mute(-1)
		x.flags &^= xContentWaits
		w.dispatch(w.clients.At(x.client), x)
	}
	if q.Len() > 0 {
		w.wakeBy(w.l.Now() + lookEveryNs)
	}
	w.servesMutes = false
}

// short is Pool.Short, and so where few streams are left at every endpoint.
func (w *Worker) short(cluster int) bool {
	if w.pools[cluster].Short() || !w.snap.clusters[cluster].h2 {
		return w.pools[cluster].Short()
	}
	for ep := range w.groups[cluster] {
		if !w.fewLeft(&w.groups[cluster][ep]) {
			return false
		}
	}
	return true
}

// contentCame looks for a connection for an exchange that waited for content.
func (w *Worker) contentCame(c *client, x *exchange) {
	w.muteNoMore(c, x)
	x.flags &^= xContentWaits
	x.soughtMs = x.sinceMs(w.l.Now())
	w.seek(c, x)
}

// press has every loop look for stalled requests, since x has begun to wait.
func (w *Worker) press(cluster int) {
	now := w.l.Now()
	if !w.snap.clusters[cluster].shared.Look(now, lookEveryNs) {
		w.wakeBy(now + lookEveryNs) // that was before it began to wait
		return
	}
	w.wakeBy(now + 1)
	for i := range w.peers {
		if i != w.index {
			w.deliver(i, loop.Mail{Kind: mailLook, From: int32(w.index), A: uint64(cluster)})
		}
	}
}

// look takes connections from exchanges that hold them without moving, as many as
// others wait for.
func (w *Worker) look(cluster int, now int64) {
	waiting := w.snap.clusters[cluster].shared.Waiting() + w.snap.clusters[cluster].shared.Mutes()
	for ep := range w.groups[cluster] {
		if g := &w.groups[cluster][ep]; w.full(g) {
			waiting += g.pending.Len()
		}
	}
	if waiting == 0 || plant.Is(plant.Stall) {
		return
	}
	w.wakeBy(now + lookEveryNs)
	w.press(cluster)
	for i := uint32(1); i <= uint32(w.xs.Cap()) && waiting > 0; i++ {
		if w.xs.Live(i) {
			if x := w.xs.At(i); int(x.cluster) == cluster && x.state == xForwarding && w.stalls(i, x, now) {
				waiting--
				w.evict(w.clients.At(x.client), x, now)
			}
		}
	}
}

// stalls says that x has held its connection for too long without moving: less
// than limits.min_rate, and at least one byte.
func (w *Worker) stalls(i uint32, x *exchange, now int64) bool {
	for int(i) >= len(w.watching) {
		w.watching = append(w.watching, watch{})
	}
	c, o, h := w.clients.At(x.client), w.origins.At(x.origin), &w.watching[i]
	down := o.flags&originPaused != 0
	patience, moved, got := talkNs, uint64(0), x.start+int64(x.askedUs)*1000
	switch {
	case down:
		moved = w.taken(c)
	case x.flags&(xRequestDone|xOriginDeaf|xResponseBegun) != 0 || c.flags&clientPaused != 0 ||
		w.originQueued(o) > 0 || w.clientStarves(c):
		h.start = 0 // it does not wait for its client
		return false
	default:
		moved = x.reqBytes
		part, _ := w.l.Partial(c.conn) // of a stream's none: it has no connection of its own
		moved += uint64(part)
		// (Who was let in for its patience alone has been patient; but a 100 takes as
		// long as its origin, or timeouts.continue.)
		if x.flags&xExpect == 0 && (!x.from.talks() || got >= w.muteUntil(x)) {
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
	if n := moved - h.seen; n > 0 && n >= leastBytes(w.snap.limits.minRate, now-h.at) {
		h.at, h.seen = now, moved
		return false
	}
	// While the loop did not run it took nothing, and gave no credit.
	idle := now - max(h.at, w.l.Leap().At)
	if patience == stallNs && idle >= stallNs && w.sharesItsTurn(c) {
		patience = talkNs
	}
	return idle >= patience
}

// sharesItsTurn says that something comes on the connection of a client that is a stream:
// frames of others, or a TLS record that is not whole, and what it may be waiting for
// lies behind them, or in it.
func (w *Worker) sharesItsTurn(c *client) bool {
	if c.stream == 0 || w.streams.At(c.stream).id == 0 {
		return false
	}
	se := w.sessionOf(w.streams.At(c.stream))
	return int64(uint32(w.l.Now()/1e6)-se.cameMs)*1e6 < stallNs || w.brings(se.conn, stallNs)
}

// brings says that within ns part of a TLS record has come on conn that is not whole.
func (w *Worker) brings(conn loop.ConnID, ns int64) bool {
	part, idleMs := w.l.Partial(conn)
	return part > 0 && int64(idleMs)*1e6 < ns
}

// evict ends an exchange that stalls. Of its client no more is taken on trust.
func (w *Worker) evict(c *client, x *exchange, now int64) {
	if x.flags&xResponseBegun != 0 {
		w.m.ClientAborts++
		w.failExchange(c, x, &faultNotTaken)
		return
	}
	w.pools[x.cluster].Slow(now, w.asker(c, x).Addr)
	w.m.Timeouts408++
	w.failExchange(c, x, &faultStalled)
}
