package proxy

// What happens where memory or descriptors run out. The pool's last blocks, the
// reserve (see loop.Config), are for heads and answers: bodies wait in the loop,
// and where heads have used up most of it, new requests are turned away with a
// 503 (Worker.admit, clients.shed).

// ReserveBlocks is the part of a pool of maxBlocks that is not for data.
func ReserveBlocks(maxBlocks int) int { return max(2, maxBlocks/8, min(16, maxBlocks/4)) }

// pressures is how many steps of shortage there are.
const pressures = 4

// setMarks keeps slow receivers from holding the whole pool: the more of it
// is in use, the less each leg may queue, and where it is nearly used up, no
// leg takes more before all it has is gone. It comes before the events of a
// turn, when the pool holds all that the turn has brought. Blocks that only wait
// for bytes to come are nobody's.
//
// A step is left again when clearly less is in use than where it began.
func (mm *memory) setMarks() {
	used, limit := mm.pool.InUse()-mm.l.Posted(), mm.maxBlocks
	for mm.pressure < pressures-1 && used*pressures >= limit*(mm.pressure+1) {
		mm.pressure++
	}
	for mm.pressure > 0 && used*pressures < limit*mm.pressure-limit/4 {
		mm.pressure--
	}
	mm.high, mm.low = 0, 0
	if mm.pressure < pressures-1 {
		mm.high, mm.low = highMark>>(2*mm.pressure), lowMark>>(2*mm.pressure)
	}
}
