package router

import (
	"math/bits"

	"zproxy/proto"
)

// Result is how a lookup went.
type Result uint8

const (
	NotFound         Result = iota // no route for this host and path: 404
	MethodNotAllowed               // there are, for the methods in Match.Allow: 405
	Found
)

// Param is one parameter of the route that was found: where in the path its value is, still escaped.
type Param struct {
	Name     string // without ":" or "*"; "*" for a tail without a name
	Off, Len uint32 // bytes
}

// Match is the answer to a lookup. It holds no memory of the request's and can be used again; it is best kept, since
// it is also the lookup's scratch space and clearing that costs more than using it.
type Match struct {
	// Holds says, before a lookup, which conditions of AddIf hold for the request: bit n for condition n.
	Holds   uint64
	Value   int32     // what Add was given; valid when Found
	NParams int       // parameters of the route, valid when Found
	Allow   MethodSet // valid when MethodNotAllowed
	Params  [MaxParams]Param

	ends    [MaxSegments]uint32 // of the segments looked at so far, offsets into the path
	numbers [MaxSegments]uint32 // of their text, unnumbered until needed
	scanned int
	pending [2 * MaxSegments]alternative
	entered int // nodes, for the test of the bound
}

// alternative is a branch to go back to.
type alternative struct {
	node  uint32 // to enter or, with tail, to end at
	depth uint16
	tail  bool
}

const unnumbered = ^uint32(0)

// Lookup finds the route for a request. host is the Host field's value or an authority; path is what Normalize gave.
// methodName matters when method is MethodOther. Nothing is kept and nothing is allocated.
//
// It takes O(len(host) + len(path)) steps, where the second part counts for each entry that matches the host: its
// own name, each wildcard for it, and any host.
func (r *Router) Lookup(host, path []byte, method proto.Method, methodName []byte, m *Match) Result {
	result, _ := r.lookup(host, path, method, methodName, m)
	return result
}

// lookup also gives the index in targets of the route that was found.
func (r *Router) lookup(host, path []byte, method proto.Method, methodName []byte, m *Match) (Result, uint32) {
	m.NParams, m.scanned, m.entered = 0, 0, 0
	if len(path) == 0 || path[0] != '/' {
		return NotFound, 0
	}
	first := r.hosts.find(host)
	want := methodBit(method, methodName, r.extensions)
	for h := first; h != 0; h = r.hosts.list[h].next {
		if t := r.walk(r.hosts.list[h].root, path, want, m); t != 0 {
			r.fill(&r.targets[t], path, m)
			return Found, t
		}
	}
	allow := uint32(0)
	for h := first; h != 0; h = r.hosts.list[h].next {
		allow |= r.methods(r.hosts.list[h].root, path, m)
	}
	if allow == 0 {
		return NotFound, 0
	}
	m.Allow = MethodSet{allow, &r.extensions}
	return MethodNotAllowed, 0
}

// walk is the search in one host's trie for the first route in order of precedence: at each segment the literal, then
// the parameter, then the tail, the leftmost segment deciding. It returns an index in targets, 0 for none.
//
// What was left aside waits in m.pending: at most a parameter and a tail per depth, since whatever was deeper has
// been tried by the time one of them is taken up. A trie's nodes are never entered twice.
func (r *Router) walk(at uint32, path []byte, want uint32, m *Match) uint32 {
	pending, depth := 0, 0
	if r.nodes[at].mask&want == 0 {
		return 0
	}
	for {
		n := &r.nodes[at]
		m.entered++
		next := uint32(0)
		if depth > 0 && int(m.ends[depth-1]) == len(path) {
			if t := r.allowed(n.leaf, want, m.Holds); t != 0 {
				return t
			}
		} else {
			if n.tail != 0 {
				if t := r.allowed(n.tail, want, m.Holds); t != 0 {
					m.pending[pending] = alternative{t, uint16(depth), true}
					pending++
				}
			}
			if n.param != 0 && r.nodes[n.param].mask&want != 0 && m.scan(path, depth) {
				next = n.param
			}
			if n.words != 0 {
				if c := r.literal(at, n, path, depth, m); c != 0 && r.nodes[c].mask&want != 0 {
					if next != 0 {
						m.pending[pending] = alternative{next, uint16(depth + 1), false}
						pending++
					}
					next = c
				}
			}
		}
		if next != 0 {
			at = next
			depth++
			continue
		}
		if pending == 0 {
			return 0
		}
		pending--
		back := m.pending[pending]
		if back.tail {
			return back.node
		}
		at, depth = back.node, int(back.depth)
	}
}

// methods is the set of methods that some route has for path, in one host's trie.
func (r *Router) methods(at uint32, path []byte, m *Match) (set uint32) {
	pending, depth := 0, 0
	for {
		n := &r.nodes[at]
		m.entered++
		next := uint32(0)
		if depth > 0 && int(m.ends[depth-1]) == len(path) {
			set |= r.all(n.leaf, m.Holds)
		} else {
			set |= r.all(n.tail, m.Holds)
			if n.param != 0 && m.scan(path, depth) {
				next = n.param
			}
			if n.words != 0 {
				if c := r.literal(at, n, path, depth, m); c != 0 {
					if next != 0 {
						m.pending[pending] = alternative{next, uint16(depth + 1), false}
						pending++
					}
					next = c
				}
			}
		}
		if next != 0 {
			at = next
			depth++
			continue
		}
		if pending == 0 {
			return set
		}
		pending--
		at, depth = m.pending[pending].node, int(m.pending[pending].depth)
	}
}

// literal is the child of n, which is node at, for the segment at depth.
func (r *Router) literal(at uint32, n *node, path []byte, depth int, m *Match) uint32 {
	if n.words == 1 { // compared as it is: no number, nor its end, need be found first
		start := m.start(depth)
		end := start + int(n.textLen)
		if end > len(path) || end < len(path) && path[end] != '/' ||
			string(path[start:end]) != string(r.words.text[n.text:n.text+n.textLen]) {
			return 0
		}
		if depth == m.scanned {
			m.ends[depth], m.numbers[depth] = uint32(end), unnumbered
			m.scanned++
		}
		return n.child
	}
	m.scan(path, depth)
	number := m.numbers[depth]
	if number == unnumbered {
		number = r.words.number(path[m.start(depth):m.ends[depth]])
		m.numbers[depth] = number
	}
	if number == 0 {
		return 0
	}
	return r.edges.child(at, number)
}

// scan finds the end of the segment at depth, one more than was found before, and tells whether it is not empty.
func (m *Match) scan(path []byte, depth int) bool {
	start := m.start(depth)
	if depth == m.scanned {
		end := start
		for end < len(path) && path[end] != '/' { // segments are short: a call would cost more
			end++
		}
		m.ends[depth] = uint32(end)
		m.numbers[depth] = unnumbered
		m.scanned++
	}
	return int(m.ends[depth]) > start
}

// start is the offset of the segment at depth.
func (m *Match) start(depth int) int {
	if depth == 0 {
		return 1
	}
	return int(m.ends[depth-1]) + 1
}

// allowed is the first of a node's endpoints that takes the method, and whose condition holds, 0 for none.
func (r *Router) allowed(t, want uint32, holds uint64) uint32 {
	if t == 0 {
		return 0
	}
	for ; ; t++ {
		e := &r.targets[t]
		if e.mask&want != 0 && (holds|1)>>e.condition&1 != 0 {
			return t
		}
		if !e.more {
			return 0
		}
	}
}

// all is the methods of all of a node's endpoints whose condition holds.
func (r *Router) all(t uint32, holds uint64) (set uint32) {
	for t != 0 {
		if (holds|1)>>r.targets[t].condition&1 != 0 {
			set |= r.targets[t].mask
		}
		if !r.targets[t].more {
			break
		}
		t++
	}
	return set
}

// fill writes the route that was found into m.
func (r *Router) fill(e *endpoint, path []byte, m *Match) {
	m.Value = e.value
	names := r.params[e.params:][:e.count]
	i := 0
	for where := e.where; where != 0; where &= where - 1 {
		depth := bits.TrailingZeros32(where)
		start := m.start(depth)
		m.Params[i] = Param{names[i], uint32(start), m.ends[depth] - uint32(start)}
		i++
	}
	if e.tail != noTail {
		start := m.start(int(e.tail))
		m.Params[i] = Param{names[i], uint32(start), uint32(len(path) - start)}
		i++
	}
	m.NParams = i
}
