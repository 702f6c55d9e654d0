package upstream

import (
	"time"

	"zproxy/internal/index"
)

// Client is on whose behalf a request waits. Addr groups what one party sends:
// its address, or whatever else stands for it; Conn tells its connections apart
// and is 0 where they are not to be.
type Client struct {
	Addr uint32
	Conn uint64
}

// flow is the key of one connection's line. Where connections are not told apart
// the address has one line of its own; no connection has the top bit.
func (c Client) flow() uint64 {
	if c.Conn != 0 {
		return c.Conn
	}
	return 1<<63 | uint64(c.Addr)
}

// Turns is a queue that is fair to clients: addresses take turns, below each
// address its connections do, and what waits on one connection is served first
// in, first out. The zero value is empty.
//
// Each turn puts an address back by turnNs, and the one that was put back least is
// next. An address that begins to wait begins where the others are. If it has
// waited before it begins where it was, or pastNs before the others if that is
// later: what one does not ask for is not saved up.
//
// With lines the queue is one of several, one for each loop. An address that waits
// in more than one is put back by its turn in each as much as makes them one turn
// together, in proportion to the lines that it has in each.
type Turns struct {
	lines *lines
	round int64      // what the address served most often has been put back by
	nodes []turnNode // 0 is the root of the addresses
	free  uint32     // linked through next
	ids   index.Map[uint32]
	addrs index.Map[uint32]
	flows index.Map[uint64]
	past  []pastTurn // of addresses that have waited: in one of two places, by their hash
}

// turnNode is an address, one of its connections, or what waits on one.
type turnNode struct {
	key         uint64
	turn        // of an address
	up          uint32
	prev, next  uint32 // neighbours below the same node
	first, last uint32 // what is below it
	n           uint32 // how many wait below it
	flows       uint32 // of an address: its lines here
	place       uint32 // ... and where all of them are counted
}

// turn is an address's claim to the next turn.
type turn struct {
	since int64 // when it began to wait for it
	back  int64 // what it has been put back by
}

// pastTurn is what an address had been put back by when it was served last.
type pastTurn struct {
	addr uint32
	back int64
}

const (
	turnNs = int64(250 * time.Microsecond)
	// turnSlackNs is the lead that a loop keeps: to hand over a connection takes
	// mail both ways, not for less.
	turnSlackNs = 20 * turnNs
	pastNs      = 2 * turnSlackNs
	pastTurns   = 256
)

// before says that t comes clearly before o, which waits on another loop: it has
// been put back less or, where that is much the same, has waited longer. This has
// no circles: among those whose back is in the same step the clock alone counts.
func (t turn) before(o turn) bool {
	if a, b := t.back/turnSlackNs, o.back/turnSlackNs; a != b {
		return a < b
	}
	return t.since < o.since-turnSlackNs
}

// Len is how many wait.
func (q *Turns) Len() int { return q.ids.Len() }

// Has says whether id waits.
func (q *Turns) Has(id uint32) bool { return q.ids.Get(id) != 0 }

// turn is that of the one that is next; since is 0 when nobody waits.
func (q *Turns) turn() turn {
	if q.Len() == 0 {
		return turn{}
	}
	return q.nodes[q.nodes[0].first].turn
}

// newcomer is the turn of an address that begins to wait.
func (q *Turns) newcomer(now int64, addr uint32) turn {
	if p := q.pastOf(addr); p != nil {
		return turn{now, max(p.back, q.round-pastNs)}
	}
	return turn{now, q.round}
}

func (q *Turns) pastOf(addr uint32) *pastTurn {
	if len(q.past) == 0 {
		return nil
	}
	i := addr * 0x9E3779B1 >> 24
	for _, i := range [2]uint32{i, i ^ 1} {
		if p := &q.past[i]; p.addr == addr && p.back != 0 {
			return p
		}
	}
	return nil
}

// remember keeps what addr has been put back by. Of three that share two places the
// one that was put back least is forgotten.
func (q *Turns) remember(addr uint32, back int64) {
	if q.past == nil {
		q.past = make([]pastTurn, pastTurns)
	}
	p := q.pastOf(addr)
	if p == nil {
		i := addr * 0x9E3779B1 >> 24
		if p = &q.past[i]; q.past[i^1].back < p.back {
			p = &q.past[i^1]
		}
	}
	*p = pastTurn{addr, back}
}

// Push lets id wait behind all that wait for the same client.
func (q *Turns) Push(now int64, id uint32, c Client) {
	a := q.addrs.Get(c.Addr)
	if a == 0 {
		a = q.address(q.newcomer(now, c.Addr), c.Addr)
		q.linkTurn(a)
	}
	f := q.flow(a, c)
	w := q.add(f, uint64(id))
	q.ids.Put(id, w)
	q.link(w, q.nodes[f].last)
	q.count(f, 1)
}

// again is the turn of a client that comes before all others here.
func (q *Turns) again(addr uint32) turn {
	t := q.newcomer(1, addr)
	if q.Len() != 0 {
		t.back = min(t.back, q.turn().back)
	}
	return t
}

// PushFront lets id, whose turn was t, be next again: it has not been had.
func (q *Turns) PushFront(t turn, id uint32, c Client) {
	a := q.addrs.Get(c.Addr)
	if a == 0 {
		a = q.address(t, c.Addr)
	} else {
		q.unlink(a)
		q.nodes[a].turn = t
	}
	q.linkTurnFirst(a)
	f := q.flow(a, c)
	q.unlink(f)
	q.link(f, 0)
	w := q.add(f, uint64(id))
	q.ids.Put(id, w)
	q.link(w, 0)
	q.count(f, 1)
}

func (q *Turns) address(t turn, addr uint32) uint32 {
	a := q.add(0, uint64(addr))
	q.nodes[a].turn = t
	q.addrs.Put(addr, a)
	return a
}

// linkTurn puts address a behind those that have been put back no more.
func (q *Turns) linkTurn(a uint32) {
	after := q.nodes[0].last
	for after != 0 && q.nodes[after].back > q.nodes[a].back {
		after = q.nodes[after].prev
	}
	q.link(a, after)
}

// linkTurnFirst puts it before those that have been put back no less.
func (q *Turns) linkTurnFirst(a uint32) {
	after := uint32(0)
	for n := q.nodes[0].first; n != 0 && q.nodes[n].back < q.nodes[a].back; n = q.nodes[n].next {
		after = n
	}
	q.link(a, after)
}

// flow finds or makes the line of c's connection below a.
func (q *Turns) flow(a uint32, c Client) uint32 {
	f := q.flows.Get(c.flow())
	if f == 0 {
		f = q.add(a, c.flow())
		q.flows.Put(c.flow(), f)
		q.link(f, q.nodes[a].last)
		q.nodes[a].flows++
		if q.lines != nil && (q.nodes[a].flows == 1 || q.nodes[a].place != 0) {
			q.nodes[a].place = q.lines.add(q.nodes[a].place, uint32(q.nodes[a].key))
		}
	}
	return f
}

// cost is what a turn here puts address a back by.
func (q *Turns) cost(a uint32) int64 {
	if n := &q.nodes[a]; q.lines != nil {
		return turnNs * int64(max(q.lines.of(n.place), n.flows)) / int64(n.flows)
	}
	return turnNs
}

// Next is who is next.
func (q *Turns) Next() (id uint32, ok bool) {
	if q.Len() == 0 {
		return 0, false
	}
	return uint32(q.nodes[q.next()].key), true
}

func (q *Turns) next() uint32 {
	a := q.nodes[0].first
	return q.nodes[q.nodes[a].first].first
}

// Pop takes out who is next: its connection, if more wait there, comes last below
// its address, and the address where the turn puts it.
func (q *Turns) Pop(now int64) (id uint32, ok bool) {
	if q.Len() == 0 {
		return 0, false
	}
	w := q.next()
	f := q.nodes[w].up
	a := q.nodes[f].up
	id = uint32(q.nodes[w].key)
	q.round = max(q.round, q.nodes[a].back)
	back := q.nodes[a].back + q.cost(a)
	q.remember(uint32(q.nodes[a].key), back)
	more, others := q.nodes[f].n > 1, q.nodes[a].n > 1
	q.Remove(id)
	if more {
		q.unlink(f)
		q.link(f, q.nodes[a].last)
	}
	if others {
		q.unlink(a)
		q.nodes[a].turn = turn{now, back}
		q.linkTurn(a)
	}
	return id, true
}

// Remove takes id out. False when it does not wait.
func (q *Turns) Remove(id uint32) bool {
	w := q.ids.Delete(id)
	if w == 0 {
		return false
	}
	f := q.nodes[w].up
	a := q.nodes[f].up
	q.count(f, ^uint32(0))
	q.unlink(w)
	q.release(w)
	if q.nodes[f].n == 0 {
		q.flows.Delete(q.nodes[f].key)
		q.unlink(f)
		q.release(f)
		q.nodes[a].flows--
		if q.lines != nil {
			q.nodes[a].place = q.lines.remove(q.nodes[a].place, q.nodes[a].flows)
		}
	}
	if q.nodes[a].n == 0 {
		q.addrs.Delete(uint32(q.nodes[a].key))
		q.unlink(a)
		q.release(a)
	}
	return true
}

// Crowd finds who is to leave so that one more of c may wait in a full queue:
// the newest of the connection that has most waiting, of the address that has.
// False when c would have as many itself.
func (q *Turns) Crowd(c Client) (id uint32, ok bool) {
	if q.Len() == 0 {
		return 0, false
	}
	a := q.longest(0)
	mine := q.addrs.Get(c.Addr)
	f := q.longest(a)
	if a == mine {
		own := q.flows.Get(c.flow())
		if f == own || q.nodes[f].n <= q.waits(own)+1 {
			return 0, false
		}
	} else if q.nodes[a].n <= q.waits(mine)+1 {
		return 0, false
	}
	return uint32(q.nodes[q.nodes[f].last].key), true
}

// waits is how many wait below node n, none if there is no such node.
func (q *Turns) waits(n uint32) uint32 {
	if n == 0 {
		return 0
	}
	return q.nodes[n].n
}

// longest is the node below up that most wait below, of several the one whose turn
// comes last.
func (q *Turns) longest(up uint32) (most uint32) {
	for n := q.nodes[up].first; n != 0; n = q.nodes[n].next {
		if most == 0 || q.nodes[n].n >= q.nodes[most].n {
			most = n
		}
	}
	return most
}

func (q *Turns) count(f uint32, d uint32) {
	q.nodes[f].n += d
	q.nodes[q.nodes[f].up].n += d
}

// add makes a node that is linked nowhere yet.
func (q *Turns) add(up uint32, key uint64) uint32 {
	if len(q.nodes) == 0 {
		q.nodes = append(q.nodes, turnNode{})
	}
	i := q.free
	if i != 0 {
		q.free = q.nodes[i].next
	} else {
		i = uint32(len(q.nodes))
		q.nodes = append(q.nodes, turnNode{})
	}
	q.nodes[i] = turnNode{key: key, up: up}
	return i
}

func (q *Turns) release(i uint32) {
	q.nodes[i] = turnNode{next: q.free}
	q.free = i
}

// link puts i behind node prev, first if that is 0.
func (q *Turns) link(i, prev uint32) {
	n := &q.nodes[i]
	up := &q.nodes[n.up]
	n.prev, n.next = prev, up.first
	if prev != 0 {
		n.next = q.nodes[prev].next
		q.nodes[prev].next = i
	} else {
		up.first = i
	}
	if n.next != 0 {
		q.nodes[n.next].prev = i
	} else {
		up.last = i
	}
}

func (q *Turns) unlink(i uint32) {
	n := &q.nodes[i]
	up := &q.nodes[n.up]
	if n.prev != 0 {
		q.nodes[n.prev].next = n.next
	} else {
		up.first = n.next
	}
	if n.next != 0 {
		q.nodes[n.next].prev = n.prev
	} else {
		up.last = n.prev
	}
}
