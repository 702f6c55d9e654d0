package router

import "math/bits"

// The tables of a Router are open-addressed and filled once, to three fifths. A slot is chosen by multiplying the hash
// with the table's size; entries that meet follow one another. Build keeps a seed that leaves no entry further than
// maxProbe slots from where it belongs, so one look-up is a bounded number of comparisons whatever it is asked.
const maxProbe = 48

const (
	mulA = 0x9E3779B97F4A7C15
	mulB = 0xD6E8FEB86659FD93
)

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

func load32(b []byte) uint64 {
	_ = b[3]
	return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24
}

func load64(b []byte) uint64 {
	_ = b[7]
	return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
		uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
}

// hashText hashes a segment.
func hashText(seed uint64, b []byte) uint64 {
	h := seed ^ uint64(len(b))*mulA
	for len(b) > 8 {
		h = mix(h^load64(b), mulB)
		b = b[8:]
	}
	var last uint64
	switch n := len(b); {
	case n == 8:
		last = load64(b)
	case n >= 4:
		last = load32(b) | load32(b[n-4:])<<32
	case n > 0:
		last = uint64(b[0]) | uint64(b[n>>1])<<8 | uint64(b[n-1])<<16
	}
	return mix(h^last, mulA)
}

func hashEdge(seed uint64, node, number uint32) uint64 {
	return mix(seed^(uint64(node)<<32|uint64(number)), mulA)
}

// slotOf spreads a hash over size slots.
func slotOf(hash uint64, size int) int {
	hi, _ := bits.Mul64(hash, uint64(size))
	return int(hi)
}

// place finds a size and seed for n entries such that none is far from its slot. reset is given the size, put the
// entry's index and the seed; put returns how far from its slot the entry went.
func place(n int, reset func(size int), put func(i int, seed uint64) (probe int)) (seed uint64) {
	if n == 0 {
		return 0
	}
	size := n + n*2/3 + 1
	for try := uint64(1); ; try++ {
		if try%4 == 0 {
			size += size / 4
		}
		seed = mix(try, mulB)
		reset(size)
		i := 0
		for i < n && put(i, seed) <= maxProbe {
			i++
		}
		if i == n {
			return seed
		}
	}
}

// dictionary numbers the literal segments of a table. A segment's number is the offset of its text, never 0.
type dictionary struct {
	slots []word
	seed  uint64
	text  []byte // all segments, one after the other
}

type word struct{ hash, number, len uint32 } // number 0: free

func newDictionary(words []string) (d dictionary) {
	size := 2 // the empty segment's number is 1, and nothing has the number 0
	for _, w := range words {
		size += len(w)
	}
	d.text = make([]byte, 2, size)
	numbers := make([]uint32, len(words))
	for i, w := range words {
		numbers[i] = uint32(len(d.text))
		if w == "" {
			numbers[i] = 1
		}
		d.text = append(d.text, w...)
	}
	d.seed = place(len(words), func(size int) { d.slots = make([]word, size) }, func(i int, seed uint64) int {
		h := hashText(seed, []byte(words[i]))
		at, probe := slotOf(h, len(d.slots)), 0
		for ; d.slots[at].number != 0; probe++ {
			if at++; at == len(d.slots) {
				at = 0
			}
		}
		d.slots[at] = word{uint32(h), numbers[i], uint32(len(words[i]))}
		return probe
	})
	return d
}

// number gives the segment's number, 0 when no route has it.
func (d *dictionary) number(segment []byte) uint32 {
	if len(d.slots) == 0 {
		return 0
	}
	h := hashText(d.seed, segment)
	at := slotOf(h, len(d.slots))
	for range maxProbe + 1 {
		w := &d.slots[at]
		if w.number == 0 {
			return 0
		}
		if w.hash == uint32(h) && int(w.len) == len(segment) &&
			string(d.text[w.number:w.number+w.len]) == string(segment) {
			return w.number
		}
		if at++; at == len(d.slots) {
			at = 0
		}
	}
	return 0
}

// edges finds the child of a node for a literal segment.
type edges struct {
	slots []edge
	seed  uint64
}

type edge struct{ node, number, child uint32 } // child 0: free

func newEdges(list []edge) (e edges) {
	e.seed = place(len(list), func(size int) { e.slots = make([]edge, size) }, func(i int, seed uint64) int {
		at, probe := slotOf(hashEdge(seed, list[i].node, list[i].number), len(e.slots)), 0
		for ; e.slots[at].child != 0; probe++ {
			if at++; at == len(e.slots) {
				at = 0
			}
		}
		e.slots[at] = list[i]
		return probe
	})
	return e
}

// child is 0 when there is none. It is asked only where a node has several literal children,
// hence some slots.
func (e *edges) child(node, number uint32) uint32 {
	at := slotOf(hashEdge(e.seed, node, number), len(e.slots))
	for range maxProbe + 1 {
		s := &e.slots[at]
		if s.node == node && s.number == number {
			return s.child
		}
		if s.child == 0 {
			return 0
		}
		if at++; at == len(e.slots) {
			at = 0
		}
	}
	return 0
}
