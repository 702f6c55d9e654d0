package upstream

// index maps keys to node numbers by open addressing. It holds no pointers
// besides its one array, keeps at least half of it empty, and allocates only
// when it grows past its high mark.
type index struct {
	slots []indexSlot
	shift uint8
	n     int
}

// indexSlot is empty when node is 0, which no list gives out.
type indexSlot struct {
	key  uint64
	node uint32
}

const indexMin = 16

func (x *index) home(key uint64) int {
	// Fibonacci hashing: consecutive slots of a connection table spread out.
	return int(key * 0x9E3779B97F4A7C15 >> x.shift)
}

// find returns the position of key, or of the empty slot that ends its run.
func (x *index) find(key uint64) int {
	mask := len(x.slots) - 1
	i := x.home(key)
	for x.slots[i].node != 0 && x.slots[i].key != key {
		i = (i + 1) & mask
	}
	return i
}

func (x *index) get(key uint64) uint32 {
	if x.n == 0 {
		return 0
	}
	return x.slots[x.find(key)].node
}

// put adds key, or points it to another node.
func (x *index) put(key uint64, node uint32) {
	if 2*(x.n+1) > len(x.slots) {
		x.grow()
	}
	i := x.find(key)
	if x.slots[i].node == 0 {
		x.n++
	}
	x.slots[i] = indexSlot{key, node}
}

func (x *index) grow() {
	old := x.slots
	x.slots = make([]indexSlot, max(indexMin, 2*len(old)))
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

// del removes key and returns its node, 0 when there is none.
func (x *index) del(key uint64) uint32 {
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
	x.slots[hole] = indexSlot{}
	return node
}
