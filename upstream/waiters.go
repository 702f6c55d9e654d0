package upstream

import "zproxy/internal/index"

// waiterQueue is the FIFO of one loop's waiting requests: a doubly linked list
// in a pointer-free slab with an index by waiter, so that a request whose
// client left goes in O(1).
type waiterQueue struct {
	nodes       []waiterNode // node 0 is never used
	free        uint32       // linked through next
	first, last uint32
	n           int
	index       index.Map[uint64]
}

type waiterNode struct {
	id         uint32
	prev, next uint32
}

func (q *waiterQueue) alloc(id uint32) uint32 {
	if len(q.nodes) == 0 {
		q.nodes = append(q.nodes, waiterNode{})
	}
	i := q.free
	if i != 0 {
		q.free = q.nodes[i].next
	} else {
		i = uint32(len(q.nodes))
		q.nodes = append(q.nodes, waiterNode{})
	}
	q.nodes[i] = waiterNode{id: id}
	q.index.Put(uint64(id), i)
	q.n++
	return i
}

func (q *waiterQueue) has(id uint32) bool { return q.index.Get(uint64(id)) != 0 }

func (q *waiterQueue) pushBack(id uint32) {
	i := q.alloc(id)
	q.nodes[i].prev = q.last
	if q.last != 0 {
		q.nodes[q.last].next = i
	} else {
		q.first = i
	}
	q.last = i
}

func (q *waiterQueue) pushFront(id uint32) {
	i := q.alloc(id)
	q.nodes[i].next = q.first
	if q.first != 0 {
		q.nodes[q.first].prev = i
	} else {
		q.last = i
	}
	q.first = i
}

func (q *waiterQueue) remove(id uint32) bool {
	i := q.index.Delete(uint64(id))
	if i == 0 {
		return false
	}
	n := q.nodes[i]
	if n.prev != 0 {
		q.nodes[n.prev].next = n.next
	} else {
		q.first = n.next
	}
	if n.next != 0 {
		q.nodes[n.next].prev = n.prev
	} else {
		q.last = n.prev
	}
	q.nodes[i] = waiterNode{next: q.free}
	q.free = i
	q.n--
	return true
}
