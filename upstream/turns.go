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
// in, first out. An address that begins to wait comes last, and so does one that
// has been served and still waits: the list is in the order in which its members
// began to wait for their turns. The zero value is empty.
//
// So that queues can be compared, each turn that an address has had while it
// waited on puts it back by turnNs against those that have just come, however
// quickly it gets the next one.
type Turns struct {
	round int64      // what the address served most often has been put back by
	nodes []turnNode // 0 is the root of the addresses
	free  uint32     // linked through next
	ids   index.Map[uint32]
	addrs index.Map[uint32]
	flows index.Map[uint64]
}

// turnNode is an address, one of its connections, or what waits on one.
type turnNode struct {
	key         uint64
	since       int64 // of an address: since when it waits for its turn, put back
	back        int64 // ... by so much
	up          uint32
	prev, next  uint32 // neighbours below the same node
	first, last uint32 // what is below it
	n           uint32 // how many wait below it
}

// turnNs is what a turn counts for against a time of waiting.
const turnNs = int64(250 * time.Microsecond)

// Len is how many wait.
func (q *Turns) Len() int { return q.ids.Len() }

// Has says whether id waits.
func (q *Turns) Has(id uint32) bool { return q.ids.Get(id) != 0 }

// Since is since when the one that is next has waited for its turn, put back by
// the turns there were before; 0 when nobody waits.
func (q *Turns) Since() int64 {
	if q.Len() == 0 {
		return 0
	}
	return q.nodes[q.nodes[0].first].since
}

// Push lets id wait behind all that wait for the same client.
func (q *Turns) Push(now int64, id uint32, c Client) {
	a := q.addrs.Get(c.Addr)
	if a == 0 {
		a = q.add(0, uint64(c.Addr))
		q.nodes[a].since, q.nodes[a].back = now+q.round, q.round
		q.addrs.Put(c.Addr, a)
		q.link(a, q.nodes[0].last)
	}
	f := q.flow(a, c)
	w := q.add(f, uint64(id))
	q.ids.Put(id, w)
	q.link(w, q.nodes[f].last)
	q.count(f, 1)
}

// PushFront lets id, which was next since then, be next again.
func (q *Turns) PushFront(since int64, id uint32, c Client) {
	a := q.addrs.Get(c.Addr)
	if a == 0 {
		a = q.add(0, uint64(c.Addr))
		q.nodes[a].back = q.round
		q.addrs.Put(c.Addr, a)
	} else {
		q.unlink(a)
	}
	q.nodes[a].since = since
	before := uint32(0)
	for n := q.nodes[0].first; n != 0 && q.nodes[n].since < since; n = q.nodes[n].next {
		before = n
	}
	q.link(a, before)
	f := q.flow(a, c)
	q.unlink(f)
	q.link(f, 0)
	w := q.add(f, uint64(id))
	q.ids.Put(id, w)
	q.link(w, 0)
	q.count(f, 1)
}

// flow finds or makes the line of c's connection below a.
func (q *Turns) flow(a uint32, c Client) uint32 {
	f := q.flows.Get(c.flow())
	if f == 0 {
		f = q.add(a, c.flow())
		q.flows.Put(c.flow(), f)
		q.link(f, q.nodes[a].last)
	}
	return f
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

// Pop takes out who is next. Its connection and its address, if more wait there,
// come last from now on.
func (q *Turns) Pop(now int64) (id uint32, ok bool) {
	if q.Len() == 0 {
		return 0, false
	}
	w := q.next()
	f := q.nodes[w].up
	a := q.nodes[f].up
	id = uint32(q.nodes[w].key)
	q.round = max(q.round, q.nodes[a].back)
	more, others := q.nodes[f].n > 1, q.nodes[a].n > 1
	q.Remove(id)
	if more {
		q.unlink(f)
		q.link(f, q.nodes[a].last)
	}
	if others {
		q.unlink(a)
		q.nodes[a].back += turnNs
		q.nodes[a].since = now + q.nodes[a].back
		q.link(a, q.nodes[0].last)
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
