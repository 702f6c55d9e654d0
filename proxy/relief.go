package proxy

import (
	"time"

	"golang.org/x/sys/unix"

	"zproxy/buf"
	"zproxy/internal/plant"
	"zproxy/loop"
	"zproxy/proto/http2"
)

// Who holds memory without moving loses it while others wait for it.
//
// An origin that does not read, or a client, makes the proxy hold what it was
// sent: a little for each exchange, but there may be thousands of them. Marks and
// windows bound each, the reserve bounds all; what then is left to do is to end
// those that hold blocks and do not move, so that those that would move get
// them. That is looked at while the pool is nearly full, reliefNs apart and no
// more often, since it means to look at every client.

const (
	reliefNs = int64(50 * time.Millisecond)
	brokenNs = int64(500 * time.Millisecond)
	// waitedMs is how long one may stand still while others wait for blocks,
	// stillMs how long while the pool is nearly full or windows stay closed for
	// what is held.
	waitedMs = 500
	stillMs  = 2000
	// moves is what part of what it holds must leave in that time.
	moves = 16
)

// The directions of an exchange.
const (
	toOrigin = iota
	toClient
)

// hold is what was seen of what an exchange holds, in each direction.
type hold struct {
	of    int64     // start of the exchange, 0: it is over and its answer leaves
	left  [2]uint32 // bytes that had left, the low bits
	since [2]uint32 // ms: since when no more than a part of what is held has
}

// needy says why it is looked at who holds memory: how long one may stand still,
// false when there is no need to look.
func (w *Worker) needy() (patience uint32, ok bool) {
	switch {
	case w.l.Waiting() > 0 || w.refused || !w.l.Room(loop.Requests):
		return waitedMs, true
	case w.pressure == pressures-1 || w.h2scratch.Credit[http2.Client].Waiters() > 0:
		return stillMs, true
	}
	return 0, false
}

// relieve looks at who holds memory, when it is time to.
func (w *Worker) relieve() {
	now := w.l.Now()
	patience, ok := w.needy()
	if !ok || now < w.reliefAt || plant.Is(plant.Held) {
		return
	}
	w.reliefAt = now + reliefNs
	w.refused = false
	leap := w.l.Leap()
	if leap.At != w.forgivenAt {
		w.forgivenAt = leap.At
		w.forgive(uint32(leap.Ns/1e6), uint32(now/1e6))
	}
	w.l.Relieve(patience)
	w.endHolders(uint32(now/1e6), patience)
}

// forgive does not count lost ms, in which nothing could move, for the loop did not
// run. All other time counts: on a machine that never gives the loop enough CPU,
// memory must come back all the same.
func (w *Worker) forgive(lost, ms uint32) {
	w.l.Forgive(lost)
	w.lookedMs += min(lost, ms-w.lookedMs)
	for i := range w.holds {
		for dir, since := range w.holds[i].since {
			if since != 0 {
				w.holds[i].since[dir] = since + min(lost, ms-since)
			}
		}
	}
	for _, se := range w.sessions {
		if se != nil {
			se.heldSince += min(lost, ms-se.heldSince)
		}
	}
}

// reliefWait bounds how long the loop may wait by when it is time to, to look
// for clients that are gone, and to read those on that linger.
func (w *Worker) reliefWait(maxWait time.Duration) time.Duration {
	at := int64(0)
	if _, ok := w.needy(); ok {
		at = w.reliefAt
	}
	if w.paused > 0 && (at == 0 || w.brokenAt < at) {
		at = w.brokenAt
	}
	if on := w.discarding.since + discardNs; len(w.discarding.unread) > 0 && (at == 0 || on < at) {
		at = on
	}
	if at == 0 {
		return maxWait
	}
	wait := time.Duration(max(0, at-w.l.Now()))
	if maxWait < 0 {
		return wait
	}
	return min(wait, maxWait)
}

// endBroken ends the exchanges of clients that have reset their connection while
// it was not read: nothing else tells of that, and what they sent is held.
func (w *Worker) endBroken() {
	now := w.l.Now()
	if w.paused == 0 || now < w.brokenAt {
		return
	}
	w.brokenAt = now + brokenNs
	for i := uint32(1); i <= uint32(w.clients.Cap()); i++ {
		if !w.clients.Live(i) {
			continue
		}
		c := w.clients.At(i)
		if c.stream == 0 && c.flags&(clientPaused|clientEOF) == clientPaused && c.state != clientClosing && w.l.Broken(c.conn) {
			w.clientRecvEnd(i, c, unix.ECONNRESET)
		}
	}
}

// endHolders ends exchanges that stand still, of the upstream first for which the
// most is held, until an eighth of the pool has come back.
func (w *Worker) endHolders(ms, patience uint32) {
	clear(w.held)
	if ms-w.lookedMs > 2*waitedMs {
		clear(w.holds) // they are of another time
	}
	w.lookedMs = ms
	for i := uint32(1); i <= uint32(w.clients.Cap()); i++ {
		if w.clients.Live(i) {
			w.lookAt(i, ms, patience)
		}
	}
	w.breakHolders(ms, patience)
	most := 0
	for cluster, n := range w.held {
		if n > w.held[most] {
			most = cluster
		}
	}
	for i, blocks := uint32(1), w.maxBlocks/8; i < uint32(len(w.holds)) && w.held[most] > 0 && blocks > 0; i++ {
		if !w.clients.Live(i) {
			continue
		}
		c := w.clients.At(i)
		if dir := w.standsStill(i, c, ms, patience); dir >= 0 && w.heldBy(c) == most {
			blocks -= w.holding(c, dir)/w.pool.BlockBytes() + 1
			w.endHolder(i, c, dir)
		}
	}
}

// heldBy is the place in held of what a client's exchange holds.
func (w *Worker) heldBy(c *client) int {
	if c.x != 0 {
		return int(w.xs.At(c.x).cluster) + 1
	}
	return 0
}

// holding is how many bytes wait in a direction.
func (w *Worker) holding(c *client, dir int) int {
	if dir == toClient {
		n := w.clientQueued(c)
		if c.x != 0 {
			if o := w.xs.At(c.x).origin; o != 0 {
				n += w.origins.At(o).in.Bytes()
			}
		}
		return n
	}
	if c.x == 0 {
		return 0
	}
	x := w.xs.At(c.x)
	n := c.in.Bytes()
	if x.origin != 0 && (x.state == xForwarding || x.state == xTunnel) {
		return n + w.originQueued(w.origins.At(x.origin))
	}
	return n + x.backlog.Bytes()
}

// lookAt notes what has left of what a client's exchange holds, and since when
// nothing has. The beginning of a request that is kept for another origin is
// given up.
func (w *Worker) lookAt(i uint32, ms, patience uint32) {
	for int(i) >= len(w.holds) {
		w.holds = append(w.holds, hold{})
	}
	h, c := &w.holds[i], w.clients.At(i)
	of, got := int64(0), [2]uint32{toClient: uint32(c.sent)}
	if c.x != 0 {
		x := w.xs.At(c.x)
		of = x.start
		got[toOrigin] = uint32(x.reqBytes) - uint32(w.holding(c, toOrigin))
		if x.state == xForwarding && x.flags&xBodyGiven != 0 && !x.backlog.Empty() {
			x.flags |= xBodyLost
			w.pool.Drop(&x.backlog)
		}
	}
	for dir := range got {
		n := w.holding(c, dir)
		if moved := int32(got[dir] - h.left[dir]); n == 0 || h.since[dir] == 0 || h.of != of || moved < 0 || int(moved) >= max(1, n/moves) {
			h.left[dir], h.since[dir] = got[dir], ms
		} else if ms-h.since[dir] >= patience {
			w.held[w.heldBy(c)] += n
		}
	}
	h.of = of
}

// standsStill is the direction in which a client's exchange holds bytes of which
// none leave, below 0 for none.
func (w *Worker) standsStill(i uint32, c *client, ms, patience uint32) int {
	for dir, since := range w.holds[i].since {
		if ms-since >= patience && w.holding(c, dir) > 0 {
			return dir
		}
	}
	return -1
}

// endHolder ends the exchange of a client for what it holds.
func (w *Worker) endHolder(i uint32, c *client, dir int) {
	f := &faultRequestHeld
	if dir == toClient {
		f = &faultResponseHeld
	}
	switch {
	case c.state == clientTunnel:
		w.countFault(f)
		w.endTunnel(c, w.xs.At(c.x), f.Reason)
	case c.x == 0:
		w.countFault(f)
		w.abortClient(c)
	case dir == toOrigin:
		w.failExchange(c, w.xs.At(c.x), f)
	default:
		w.countFault(f)
		w.m.ClientAborts++
		w.endExchange(c, w.xs.At(c.x), f.Reason)
		w.abortClient(c)
	}
}

// breakHolders ends sessions whose connection takes nothing of what is queued.
func (w *Worker) breakHolders(ms, patience uint32) {
	for _, se := range w.sessions {
		if se == nil || se.state >= sessionFlush || se.state < sessionGreeting {
			continue
		}
		if w.l.Queued(se.conn) == 0 || se.sent != se.heldMark {
			se.heldMark, se.heldSince = se.sent, ms
		} else if ms-se.heldSince >= patience {
			if se.role == http2.Client {
				w.breakOrigin(se, &faultSessionHeld)
				continue
			}
			w.countFault(&faultSessionHeld)
			w.breakSession(se, faultSessionHeld.Reason)
		}
	}
}

// clientFlows says that bytes pushed to a client leave at once, as far as is known.
func (w *Worker) clientFlows(c *client) bool {
	if c.stream == 0 {
		return w.l.Queued(c.conn) == 0
	}
	return w.streamFlows(w.streams.At(c.stream))
}

// clientTakes says that less than a block of what a client was sent waits, here or
// in the kernel: what it is sent now leaves at once. It asks the kernel.
func (w *Worker) clientTakes(c *client) bool {
	conn, waits := c.conn, 0
	if c.stream != 0 {
		st := w.streams.At(c.stream)
		if st.id == 0 {
			return true // it is dropped
		}
		se := w.sessionOf(st)
		if conn, waits = se.conn, st.out.Bytes(); se.h2.Sendable(st.id) <= waits {
			return false
		}
	}
	return waits+w.l.Queued(conn)+w.l.Unacked(conn) < w.pool.BlockBytes()
}

func (w *Worker) streamFlows(st *stream) bool {
	if st.id == 0 {
		return true // they are dropped
	}
	return st.out.Empty() && w.sessionOf(st).h2.Sendable(st.id) > 0
}

func (w *Worker) originFlows(o *origin) bool {
	if o.stream == 0 {
		return w.l.Queued(o.conn) == 0
	}
	return w.streamFlows(w.streams.At(o.stream))
}

// keepsRequest says whether there is a place for more of a request that came in
// frames. What has to be read with all that is on its connection is not stopped by
// having no block: where there is none it is not kept, unless it leaves at once.
func (w *Worker) keepsRequest(x *exchange) bool {
	if w.l.Room(loop.Requests) || plant.Is(plant.Held) {
		return true
	}
	w.refused = true
	flows := x.origin != 0 && (x.state == xForwarding || x.state == xTunnel) && w.originFlows(w.origins.At(x.origin))
	return (flows || x.flags&xOriginDeaf != 0) && w.l.Room(loop.Passing)
}

// keepsResponse says it of a response of which had bytes came before. What it begins
// with finds a place, if its client takes what it is sent, also where those have used up
// theirs of which nothing waited here, and then did.
func (w *Worker) keepsResponse(c *client, had uint64) bool {
	if w.l.Room(loop.Responses) || plant.Is(plant.Held) {
		return true
	}
	w.refused = true
	if w.clientFlows(c) && w.l.Room(loop.Passing) {
		return true
	}
	return had < uint64(w.pool.BlockBytes()) && w.l.Room(loop.Answers) && w.clientTakes(c)
}

// keepsBehind says whether there is a place for what was received behind a head,
// in a block that only a head might have. A little of it is copied.
func (w *Worker) keepsBehind(in *buf.Chain) bool {
	if in.Empty() || w.l.Room(loop.Requests) {
		return true
	}
	w.refused = true
	if in.Len() > 1 || in.Bytes() > w.little() || !w.l.Room(loop.Passing) {
		return false
	}
	v := w.pool.Pop(in)
	w.pool.Pack(in, v, false)
	return true
}

// copied gives a copy of v that lies with other small messages, in its place.
func (w *Worker) copied(v buf.View) buf.View {
	b := w.pool.Reserve(int(v.Len))
	if b == nil {
		return v
	}
	n := copy(b, w.pool.Bytes(v))
	w.pool.Release(v)
	return w.pool.Commit(n)
}

// little is how many bytes are copied where there is a block for a head alone.
func (w *Worker) little() int { return min(copyBytes, w.pool.BlockBytes()/16) }

// queue appends v to what waits in a stream. Where memory is short, or many
// pieces wait, a small one must not hold its block, which it may share with much
// that has left.
func (w *Worker) queue(c *buf.Chain, v buf.View) {
	small := uint32(0)
	switch {
	case w.pressure > 0:
		small = uint32(w.pool.BlockBytes() / 2)
	case c.Len() >= 8:
		small = copyBytes
	}
	if v.Len <= small {
		w.pool.Pack(c, v, true)
	} else {
		w.pool.Push(c, v)
	}
}

// leavesUnread says that a client's connection holds more than its part of the
// pool in responses that it does not take, while memory is short.
func (w *Worker) leavesUnread(c *client) bool {
	if c.stream == 0 || w.pressure < 2 {
		return false
	}
	st := w.streams.At(c.stream)
	return st.id != 0 && w.sessionOf(st).waiting > w.maxBlocks*w.pool.BlockBytes()/sessionShare
}

// sessionShare is the part of the pool that responses for one connection may take
// where memory is short: one of so many.
const sessionShare = 32

// credits are what peers may send, for a pool of maxBlocks: half of what data may
// take for requests, and half for responses.
func credits(maxBlocks, blockBytes int) [2]*http2.Credit {
	n := int64(maxBlocks-ReserveBlocks(maxBlocks)) * int64(blockBytes) / 2
	first := uint32(min(max(n/128, 16<<10), 1<<20))
	return [2]*http2.Credit{http2.NewCredit(n, first), http2.NewCredit(n, first)}
}

// spreadCredit has sessions that waited for credit take what has come back.
func (w *Worker) spreadCredit() {
	for _, credit := range w.h2scratch.Credit {
		for n := credit.Waiters(); n > 0 && credit.Free() > 0; n-- {
			i, _ := credit.Waiting()
			if se := w.sessions[i]; se != nil && se.state < sessionFlush {
				se.h2.Credited()
				w.touch(se)
			}
		}
	}
}
