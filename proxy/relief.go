package proxy

import (
	"time"

	"golang.org/x/sys/unix"

	"zproxy/buf"
	"zproxy/loop"
	"zproxy/numa"
	"zproxy/proto/http2"
	"zproxy/proxy/h2conn"
	"zproxy/proxy/memory"
)

// Who holds memory without moving loses it while others wait for it: package memory says who.

const brokenNs = int64(500 * time.Millisecond)

// relief does what the marks and the holders of a worker's pool say.
type relief struct {
	part
	memory.Marks
	memory.Holders
	arena     *numa.Arena
	spliceMin int64 // of what is left of a body, for the kernel to pass it on
	refused   bool  // data that came in frames found no place since it was looked at
	paused    int   // clients with a connection of their own that is not read
	brokenAt  int64 // when it is looked at next which of them are gone
}

// setMarks comes before the events of a turn, when the pool holds all that the turn has
// brought. Blocks that only wait for bytes to come are nobody's.
func (mm *relief) setMarks() { mm.Marks.Set(mm.pool.InUse() - mm.l.Posted()) }

// needy says why it is looked at who holds memory: how long one may stand still,
// false when there is no need to look.
func (mm *relief) needy() (patience uint32, ok bool) {
	waits := mm.l.Waiting() > 0 || mm.refused || !mm.l.Room(loop.Requests)
	return memory.Patience(waits, mm.NearlyFull() || mm.w.h2.Starves())
}

// relieve looks at who holds memory, when it is time to.
func (mm *relief) relieve() {
	now := mm.l.Now()
	patience, ok := mm.needy()
	if !ok || !mm.Due(now) {
		return
	}
	mm.refused = false
	leap, ms := mm.l.Leaps().Last, uint32(now/1e6)
	if lost := uint32(leap.Ns / 1e6); mm.Forgives(leap.At, lost, ms) {
		mm.l.Forgive(lost)
		mm.w.h2.Forgive(lost, ms)
	}
	mm.l.Relieve(patience)
	mm.endHolders(ms, patience)
}

// reliefWait bounds how long the loop may wait by when it is time to, to look
// for clients that are gone, and to read those on that linger.
func (mm *relief) reliefWait(maxWait time.Duration) time.Duration {
	at := int64(0)
	if _, ok := mm.needy(); ok {
		at = mm.NextLook()
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
func (mm *relief) endBroken() {
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
func (mm *relief) endHolders(ms, patience uint32) {
	mm.BeginLook(ms, patience)
	for i := uint32(1); i <= uint32(mm.w.clients.Cap()); i++ {
		if mm.w.clients.Live(i) {
			mm.lookAt(i, mm.w.clients.At(i))
		}
	}
	mm.w.h2.FindHolders(ms, patience)
	mm.w.told.pull()
	mm.Judge(mm.MaxBlocks / 8)
	for i := uint32(1); i < mm.Seen(); i++ {
		if !mm.w.clients.Live(i) {
			continue
		}
		c := mm.w.clients.At(i)
		holding := mm.holding(c)
		if dir, ends := mm.Ends(i, &holding, mm.pool.BlockBytes()); ends {
			mm.endHolder(c, dir)
		}
	}
}

// lookAt looks at what a client's exchange holds. The beginning of a request that is kept
// for another origin is given up.
func (mm *relief) lookAt(i uint32, c *client) {
	holding := mm.holding(c)
	if c.x != 0 {
		x := mm.w.xs.At(c.x)
		if x.state == xForwarding && x.flags&xBodyGiven != 0 && !x.backlog.Empty() {
			x.flags |= xBodyLost
			mm.pool.Drop(&x.backlog)
		}
	}
	mm.Look(i, &holding)
}

// holding is what a client's exchange holds, or what is left of its last response.
func (mm *relief) holding(c *client) memory.Holding {
	h := memory.Holding{Left: [2]uint32{memory.ToClient: uint32(c.sent)}}
	h.Bytes[memory.ToClient] = mm.w.legs.queued(&c.leg)
	if c.x == 0 {
		return h
	}
	x := mm.w.xs.At(c.x)
	h.Of, h.Upstream = x.start, int(x.cluster)+1
	h.Bytes[memory.ToOrigin] = c.in.Bytes()
	if x.origin != 0 {
		h.Bytes[memory.ToClient] += mm.w.origins.At(x.origin).in.Bytes()
	}
	if x.origin != 0 && (x.state == xForwarding || x.state == xTunnel) {
		h.Bytes[memory.ToOrigin] += mm.w.legs.queued(&mm.w.origins.At(x.origin).leg)
	} else {
		h.Bytes[memory.ToOrigin] += x.backlog.Bytes()
	}
	h.Left[memory.ToOrigin] = uint32(x.reqBytes) - uint32(h.Bytes[memory.ToOrigin])
	return h
}

// endHolder ends the exchange of a client for what it holds.
func (mm *relief) endHolder(c *client, dir memory.Direction) {
	f := &faultRequestHeld
	if dir == memory.ToClient {
		f = &faultResponseHeld
	}
	switch {
	case c.state == clientTunnel:
		mm.w.countFault(f)
		mm.w.tunnels.endTunnel(c, mm.w.xs.At(c.x), f.Reason)
	case c.x == 0:
		mm.w.countFault(f)
		mm.w.legs.abort(c)
	case dir == memory.ToOrigin:
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
func (mm *relief) keepsRequest(x *exchange) bool {
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
func (mm *relief) keepsResponse(c *client, had uint64) bool {
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
func (mm *relief) keepsBehind(in *buf.Chain) bool {
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
func (mm *relief) copied(v buf.View) buf.View {
	b := mm.pool.Reserve(int(v.Len))
	if b == nil {
		return v
	}
	n := copy(b, mm.pool.Bytes(v))
	mm.pool.Release(v)
	return mm.pool.Commit(n)
}

// little is how many bytes are copied where there is a block for a head alone.
func (mm *relief) little() int { return min(h2conn.CopyBytes, mm.pool.BlockBytes()/16) }

// leavesUnread says that a client's connection holds more than its part of the
// pool in responses that it does not take, while memory is short.
func (mm *relief) leavesUnread(c *client) bool {
	return mm.IsUnfair(mm.w.legs.unread(c), mm.pool.BlockBytes())
}

// credits are what peers may be promised: for requests, and for responses.
func credits(maxBlocks, blockBytes int) [2]*http2.Credit {
	n, first := memory.Credit(maxBlocks, blockBytes)
	return [2]*http2.Credit{http2.NewCredit(n, first), http2.NewCredit(n, first)}
}
