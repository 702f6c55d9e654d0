package upstream

import "zproxy/internal/index"

// idleSet holds the idle connections of one loop: per endpoint a list from
// newest to oldest, all in one pointer-free slab, and an index so that a
// connection that dies is found at once.
type idleSet struct {
	nodes []idleNode        // node 0 is never used
	free  uint32            // head of the free list, linked through older
	lists []idleList        // by endpoint
	index index.Map[uint64] // connection -> node; empty when nobody asks for one by name
	named bool              // index is kept
	total int
}

type idleNode struct {
	conn         uint64
	since        int64
	newer, older uint32
	addr         uint32
	ep           uint32
}

type idleList struct {
	newest, oldest uint32
	n              int32
}

func (s *idleSet) init(endpoints int, named bool) {
	s.named = named
	s.nodes = make([]idleNode, 1)
	s.lists = make([]idleList, endpoints)
}

// push makes conn the newest idle connection of ep. False when it is there
// already: handing one connection to two requests is the worst that a pool can do.
func (s *idleSet) push(now int64, conn uint64, ep int, addr uint32) bool {
	if s.named && s.index.Get(conn) != 0 {
		return false
	}
	i := s.free
	if i != 0 {
		s.free = s.nodes[i].older
	} else {
		i = uint32(len(s.nodes))
		s.nodes = append(s.nodes, idleNode{})
	}
	l := &s.lists[ep]
	// Field by field: a literal would be built and then copied in wider words,
	// which waits for the narrow stores to leave the store buffer.
	n := &s.nodes[i]
	n.conn, n.since, n.addr, n.ep = conn, now, addr, uint32(ep)
	n.newer, n.older = 0, l.newest
	if l.newest != 0 {
		s.nodes[l.newest].newer = i
	} else {
		l.oldest = i
	}
	l.newest = i
	l.n++
	s.total++
	if s.named {
		s.index.Put(conn, i)
	}
	return true
}

// take removes node i.
func (s *idleSet) take(i uint32) (conn uint64, addr uint32) {
	n := &s.nodes[i]
	conn, addr = n.conn, n.addr
	l := &s.lists[n.ep]
	if n.newer != 0 {
		s.nodes[n.newer].older = n.older
	} else {
		l.newest = n.older
	}
	if n.older != 0 {
		s.nodes[n.older].newer = n.newer
	} else {
		l.oldest = n.newer
	}
	l.n--
	s.total--
	if s.named {
		s.index.Delete(conn)
	}
	n.older = s.free
	s.free = i
	return conn, addr
}

// lookup returns the node of conn if it is idle at ep, else 0.
func (s *idleSet) lookup(conn uint64, ep int) uint32 {
	if i := s.index.Get(conn); i != 0 && s.nodes[i].ep == uint32(ep) {
		return i
	}
	return 0
}
