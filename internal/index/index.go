// Package index finds the entries of slabs by other keys than their number.
package index

// Map maps keys to node numbers by open addressing; 0 is no node. It holds no
// pointers besides its one array, keeps at least a quarter of it empty, and
// allocates only when it grows past its high mark. The zero value is empty.
type Map[K uint32 | uint64] struct {
	slots []slot[K]
	shift uint8
	n     int
}

// slot is empty when node is 0.
type slot[K uint32 | uint64] struct {
	key  K
	node uint32
}

const slotsMin = 16

// Len is the number of keys.
func (x *Map[K]) Len() int { return x.n }

func (x *Map[K]) home(key K) int {
	// Fibonacci hashing: consecutive slots of a connection table spread out.
	return int(uint64(key) * 0x9E3779B97F4A7C15 >> x.shift)
}

// find returns the position of key, or of the empty slot that ends its run.
func (x *Map[K]) find(key K) int {
	mask := len(x.slots) - 1
	i := x.home(key)
	for x.slots[i].node != 0 && x.slots[i].key != key {
		i = (i + 1) & mask
	}
	return i
}

// Get gives the node of key, 0 when there is none.
func (x *Map[K]) Get(key K) uint32 {
	if x.n == 0 {
		return 0
	}
	return x.slots[x.find(key)].node
}

// Put adds key, or points it to another node.
func (x *Map[K]) Put(key K, node uint32) {
	if 4*(x.n+1) > 3*len(x.slots) {
		x.grow()
	}
	i := x.find(key)
	if x.slots[i].node == 0 {
		x.n++
	}
	x.slots[i] = slot[K]{key, node}
}

func (x *Map[K]) grow() {
	old := x.slots
	x.slots = make([]slot[K], max(slotsMin, 2*len(old)))
	x.shift = 64
	for n := len(x.slots); n > 1; n >>= 1 {
		x.shift--
	}
	for _, s := range old {
		if s.node != 0 {
			x.slots[x.find(s.key)] = s
		}
	}
}

// Delete removes key and returns its node, 0 when there is none.
func (x *Map[K]) Delete(key K) uint32 {
	if x.n == 0 {
		return 0
	}
	hole := x.find(key)
	node := x.slots[hole].node
	if node == 0 {
		return 0
	}
	x.n--
	// Close the gap: an entry moves up unless its home lies behind the hole.
	mask := len(x.slots) - 1
	for i := (hole + 1) & mask; x.slots[i].node != 0; i = (i + 1) & mask {
		if h := x.home(x.slots[i].key); (i-h)&mask >= (i-hole)&mask {
			x.slots[hole] = x.slots[i]
			hole = i
		}
	}
	x.slots[hole] = slot[K]{}
	return node
}
