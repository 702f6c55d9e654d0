package proxy

// What happens where memory or descriptors run out. The pool's last blocks, the
// reserve (see loop.Config), are for heads and answers: bodies wait in the loop,
// and where heads have used up most of it, new requests are turned away with a
// 503 (admit, shedClient).

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
func (w *Worker) setMarks() {
	used, limit := w.pool.InUse()-w.l.Posted(), w.maxBlocks
	for w.pressure < pressures-1 && used*pressures >= limit*(w.pressure+1) {
		w.pressure++
	}
	for w.pressure > 0 && used*pressures < limit*w.pressure-limit/4 {
		w.pressure--
	}
	w.high, w.low = 0, 0
	if w.pressure < pressures-1 {
		w.high, w.low = highMark>>(2*w.pressure), lowMark>>(2*w.pressure)
	}
}

// shedClient answers a client that there is no memory for to receive its head,
// or the rest of it.
func (w *Worker) shedClient(i uint32, c *client) {
	w.head.Reset(nil) // it may be somebody else's
	w.replyBare(i, c, &faultMemory)
}
