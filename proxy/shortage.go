package proxy

// What happens where memory or descriptors run out. The pool's last blocks, the
// reserve (see loop.Config), are for the work that has begun: new requests are
// turned away with a 503 (admit, shedClient), bodies wait in the loop.

// ReserveBlocks is the part of a pool of maxBlocks that is not for data.
func ReserveBlocks(maxBlocks int) int { return max(2, maxBlocks/16) }

// setMarks keeps slow receivers from holding the whole pool: the more of it
// is in use, the less each leg may queue, and where it is nearly used up, no
// leg takes more before all it has is gone. It comes before the events of a
// turn, when the pool holds all that the turn has brought.
func (w *Worker) setMarks() {
	used, limit := w.pool.InUse(), w.maxBlocks
	pressure := 3
	switch {
	case used*4 < limit:
		pressure, w.high, w.low = 0, highMark, lowMark
	case used*2 < limit:
		pressure, w.high, w.low = 1, highMark/4, lowMark/4
	case used*4 < limit*3:
		pressure, w.high, w.low = 2, highMark/16, lowMark/16
	default:
		w.high, w.low = 0, 0
	}
	if pressure != w.pressure {
		w.pressSessions(pressure)
	}
}

// shedClient answers a client that there is no memory for to receive its head,
// or the rest of it.
func (w *Worker) shedClient(i uint32, c *client) {
	w.head.Reset(nil) // it may be somebody else's
	w.replyBare(i, c, &faultMemory)
}
