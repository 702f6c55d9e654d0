package proxy

import (
	"time"

	"golang.org/x/sys/unix"

	"zproxy/buf"
	"zproxy/loop"
	"zproxy/numa"
	"zproxy/proto/http2"
	"zproxy/proxy/h2conn"
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

// memory decides who may hold how much of a worker's pool.
type memory struct {
	part
	maxBlocks  int
	arena      *numa.Arena
	pressure   int    // 0 to pressures-1
	high, low  int    // see highMark
	spliceMin  int64  // of what is left of a body, for the kernel to pass it on
	reliefAt   int64  // when it is looked at next who holds it
	lookedMs   uint32 // when it was
	forgivenAt int64  // the last leap of the loop that was taken into account then
	refused    bool   // data that came in frames found no place since it was looked at
	holds      []hold // of each client
	held       []int  // bytes that stand still, for no upstream and for each
	paused     int    // clients with a connection of their own that is not read
	brokenAt   int64  // when it is looked at next which of them are gone
}

// needy says why it is looked at who holds memory: how long one may stand still,
// false when there is no need to look.
func (mm *memory) needy() (patience uint32, ok bool) {
	switch {
	case mm.l.Waiting() > 0 || mm.refused || !mm.l.Room(loop.Requests):
		return waitedMs, true
	case mm.pressure == pressures-1 || mm.w.h2.Starves():
		return stillMs, true
	}
	return 0, false
}

// relieve looks at who holds memory, when it is time to.
func (mm *memory) relieve() {
	now := mm.l.Now()
	patience, ok := mm.needy()
	if !ok || now < mm.reliefAt {
		return
	}
	mm.reliefAt = now + reliefNs
	mm.refused = false
	leap := mm.l.Leap()
	if leap.At != mm.forgivenAt {
		mm.forgivenAt = leap.At
		mm.forgive(uint32(leap.Ns/1e6), uint32(now/1e6))
	}
	mm.l.Relieve(patience)
	mm.endHolders(uint32(now/1e6), patience)
}

// forgive does not count lost ms, in which nothing could move, for the loop did not
// run. All other time counts: on a machine that never gives the loop enough CPU,
// memory must come back all the same.
func (mm *memory) forgive(lost, ms uint32) {
	mm.l.Forgive(lost)
	mm.lookedMs += min(lost, ms-mm.lookedMs)
	for i := range mm.holds {
		for dir, since := range mm.holds[i].since {
			if since != 0 {
				mm.holds[i].since[dir] = since + min(lost, ms-since)
			}
		}
	}
	mm.w.h2.Forgive(lost, ms)
}

// reliefWait bounds how long the loop may wait by when it is time to, to look
// for clients that are gone, and to read those on that linger.
func (mm *memory) reliefWait(maxWait time.Duration) time.Duration {
	at := int64(0)
	if _, ok := mm.needy(); ok {
		at = mm.reliefAt
	}
	if mm.paused > 0 && (at == 0 || mm.brokenAt < at) {
		at = mm.brokenAt
	}
	if on := mm.w.clients.discarding.since + discardNs; len(mm.w.clients.discarding.unread) > 0 && (at == 0 || on < at) {
		at = on
	}
	if at == 0 {
		return maxWait
	}
	wait := time.Duration(max(0, at-mm.l.Now()))
	if maxWait < 0 {
		return wait
	}
	return min(wait, maxWait)
}

// endBroken ends the exchanges of clients that have reset their connection while
// it was not read: nothing else tells of that, and what they sent is held.
func (mm *memory) endBroken() {
	now := mm.l.Now()
	if mm.paused == 0 || now < mm.brokenAt {
		return
	}
	mm.brokenAt = now + brokenNs
	for i := uint32(1); i <= uint32(mm.w.clients.Cap()); i++ {
		if !mm.w.clients.Live(i) {
			continue
		}
		c := mm.w.clients.At(i)
		if c.flags&(clientPaused|clientEOF) == clientPaused && c.state != clientClosing && mm.l.Broken(c.conn) {
			mm.w.clients.recvEnd(i, c, unix.ECONNRESET)
		}
	}
}

// endHolders ends exchanges that stand still, of the upstream first for which the
// most is held, until an eighth of the pool has come back.
func (mm *memory) endHolders(ms, patience uint32) {
	clear(mm.held)
	if ms-mm.lookedMs > 2*waitedMs {
		clear(mm.holds) // they are of another time
	}
	mm.lookedMs = ms
	for i := uint32(1); i <= uint32(mm.w.clients.Cap()); i++ {
		if mm.w.clients.Live(i) {
			mm.lookAt(i, ms, patience)
		}
	}
	mm.w.h2.FindHolders(ms, patience)
	mm.w.told.pull()
	most := 0
	for cluster, n := range mm.held {
		if n > mm.held[most] {
			most = cluster
		}
	}
	for i, blocks := uint32(1), mm.maxBlocks/8; i < uint32(len(mm.holds)) && mm.held[most] > 0 && blocks > 0; i++ {
		if !mm.w.clients.Live(i) {
			continue
		}
		c := mm.w.clients.At(i)
		if dir := mm.standsStill(i, c, ms, patience); dir >= 0 && mm.heldBy(c) == most {
			blocks -= mm.holding(c, dir)/mm.pool.BlockBytes() + 1
			mm.endHolder(i, c, dir)
		}
	}
}

// heldBy is the place in held of what a client's exchange holds.
func (mm *memory) heldBy(c *client) int {
	if c.x != 0 {
		return int(mm.w.xs.At(c.x).cluster) + 1
	}
	return 0
}

// holding is how many bytes wait in a direction.
func (mm *memory) holding(c *client, dir int) int {
	if dir == toClient {
		n := mm.w.legs.queued(&c.leg)
		if c.x != 0 {
			if o := mm.w.xs.At(c.x).origin; o != 0 {
				n += mm.w.origins.At(o).in.Bytes()
			}
		}
		return n
	}
	if c.x == 0 {
		return 0
	}
	x := mm.w.xs.At(c.x)
	n := c.in.Bytes()
	if x.origin != 0 && (x.state == xForwarding || x.state == xTunnel) {
		return n + mm.w.legs.queued(&mm.w.origins.At(x.origin).leg)
	}
	return n + x.backlog.Bytes()
}

// lookAt notes what has left of what a client's exchange holds, and since when
// nothing has. The beginning of a request that is kept for another origin is
// given up.
func (mm *memory) lookAt(i uint32, ms, patience uint32) {
	for int(i) >= len(mm.holds) {
		mm.holds = append(mm.holds, hold{})
	}
	h, c := &mm.holds[i], mm.w.clients.At(i)
	of, got := int64(0), [2]uint32{toClient: uint32(c.sent)}
	if c.x != 0 {
		x := mm.w.xs.At(c.x)
		of = x.start
		got[toOrigin] = uint32(x.reqBytes) - uint32(mm.holding(c, toOrigin))
		if x.state == xForwarding && x.flags&xBodyGiven != 0 && !x.backlog.Empty() {
			x.flags |= xBodyLost
			mm.pool.Drop(&x.backlog)
		}
	}
	for dir := range got {
		n := mm.holding(c, dir)
		if moved := int32(got[dir] - h.left[dir]); n == 0 || h.since[dir] == 0 || h.of != of || moved < 0 || int(moved) >= max(1, n/moves) {
			h.left[dir], h.since[dir] = got[dir], ms
		} else if ms-h.since[dir] >= patience {
			mm.held[mm.heldBy(c)] += n
		}
	}
	h.of = of
}

// standsStill is the direction in which a client's exchange holds bytes of which
// none leave, below 0 for none.
func (mm *memory) standsStill(i uint32, c *client, ms, patience uint32) int {
	for dir, since := range mm.holds[i].since {
		if ms-since >= patience && mm.holding(c, dir) > 0 {
			return dir
		}
	}
	return -1
}

// endHolder ends the exchange of a client for what it holds.
func (mm *memory) endHolder(i uint32, c *client, dir int) {
	f := &faultRequestHeld
	if dir == toClient {
		f = &faultResponseHeld
	}
	switch {
	case c.state == clientTunnel:
		mm.w.countFault(f)
		mm.w.tunnels.endTunnel(c, mm.w.xs.At(c.x), f.Reason)
	case c.x == 0:
		mm.w.countFault(f)
		mm.w.legs.abort(c)
	case dir == toOrigin:
		mm.w.failExchange(c, mm.w.xs.At(c.x), f)
	default:
		mm.w.countFault(f)
		mm.m.ClientAborts++
		mm.w.endExchange(c, mm.w.xs.At(c.x), f.Reason)
		mm.w.legs.abort(c)
	}
}

// keepsRequest says whether there is a place for more of a request that came in
// frames. What has to be read with all that is on its connection is not stopped by
// having no block: where there is none it is not kept, unless it leaves at once.
func (mm *memory) keepsRequest(x *exchange) bool {
	if mm.l.Room(loop.Requests) {
		return true
	}
	mm.refused = true
	flows := x.origin != 0 && (x.state == xForwarding || x.state == xTunnel) && mm.w.legs.flows(&mm.w.origins.At(x.origin).leg)
	return (flows || x.flags&xOriginDeaf != 0) && mm.l.Room(loop.Passing)
}

// keepsResponse says it of a response of which had bytes came before. What it begins
// with finds a place, if its client takes what it is sent, also where those have used up
// theirs of which nothing waited here, and then did.
func (mm *memory) keepsResponse(c *client, had uint64) bool {
	if mm.l.Room(loop.Responses) {
		return true
	}
	mm.refused = true
	if mm.w.legs.flows(&c.leg) && mm.l.Room(loop.Passing) {
		return true
	}
	return had < uint64(mm.pool.BlockBytes()) && mm.l.Room(loop.Answers) && mm.w.legs.takes(&c.leg)
}

// keepsBehind says whether there is a place for what was received behind a head,
// in a block that only a head might have. A little of it is copied.
func (mm *memory) keepsBehind(in *buf.Chain) bool {
	if in.Empty() || mm.l.Room(loop.Requests) {
		return true
	}
	mm.refused = true
	if in.Len() > 1 || in.Bytes() > mm.little() || !mm.l.Room(loop.Passing) {
		return false
	}
	v := mm.pool.Pop(in)
	mm.pool.Pack(in, v, false)
	return true
}

// copied gives a copy of v that lies with other small messages, in its place.
func (mm *memory) copied(v buf.View) buf.View {
	b := mm.pool.Reserve(int(v.Len))
	if b == nil {
		return v
	}
	n := copy(b, mm.pool.Bytes(v))
	mm.pool.Release(v)
	return mm.pool.Commit(n)
}

// little is how many bytes are copied where there is a block for a head alone.
func (mm *memory) little() int { return min(h2conn.CopyBytes, mm.pool.BlockBytes()/16) }

// leavesUnread says that a client's connection holds more than its part of the
// pool in responses that it does not take, while memory is short.
func (mm *memory) leavesUnread(c *client) bool {
	return mm.pressure >= 2 && mm.w.legs.unread(c) > mm.maxBlocks*mm.pool.BlockBytes()/sessionShare
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
