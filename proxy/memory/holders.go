package memory

import "time"

const (
	// LookNs is how often it is looked at who holds memory, and no more often, since it
	// means to look at everybody.
	LookNs = int64(50 * time.Millisecond)
	// WaitedMs is how long one may stand still while others wait for blocks,
	// stillMs how long while the pool is nearly full or windows stay closed for
	// what is held.
	WaitedMs = 500
	stillMs  = 2000
	// moves is what part of what it holds must leave in that time.
	moves = 16
)

// Direction is one of an exchange, by where it leads.
type Direction uint8

const (
	ToOrigin Direction = iota
	ToClient
)

// Patience is how long one may stand still, false: no matter how long. waits: somebody waits
// for a block, or was refused one. full: the pool is nearly full, or windows stay closed.
func Patience(waits, full bool) (ms uint32, ok bool) {
	switch {
	case waits:
		return WaitedMs, true
	case full:
		return stillMs, true
	}
	return 0, false
}

// Holding is what an exchange, or the response that it leaves behind, holds at the moment.
type Holding struct {
	Of       int64     // start of the exchange, 0: it is over and its response leaves
	Upstream int       // that it is for, 0: none
	Bytes    [2]int    // that wait, by direction
	Left     [2]uint32 // bytes that have left, the low bits
}

// hold is what was seen of one, in each direction.
type hold struct {
	of    int64
	left  [2]uint32
	since [2]uint32 // ms: since when no more than a part of what is held has left
}

// Holders find out who holds memory without moving. A look begins with BeginLook; then
// each is looked at, Judge says for which upstream the most stands still, and those of it end,
// in order, until enough has come back.
type Holders struct {
	holds    []hold
	held     []int  // bytes that stand still, for no upstream and for each
	at       int64  // when it is looked at next
	leapAt   int64  // the last leap of the loop that was taken into account
	lookedMs uint32 // when it was looked
	patience uint32
	most     int // the upstream for which the most is held
	wanted   int // blocks that are still to come back
}

// SetUpstreams makes room for upstreams below n.
func (h *Holders) SetUpstreams(n int) {
	for len(h.held) < n {
		h.held = append(h.held, 0)
	}
}

// NextLook is when it is time to look again.
func (h *Holders) NextLook() int64 { return h.at }

// Due says that it is time to look at who holds memory.
func (h *Holders) Due(now int64) bool {
	if now < h.at {
		return false
	}
	h.at = now + LookNs
	return true
}

// Forgives says that a leap of the loop has not been taken into account, and takes it so:
// the time in which the loop did not run, and nothing could move. All other time counts: on a
// machine that never gives the loop enough CPU, memory must come back all the same.
func (h *Holders) Forgives(leapAt int64, lost, ms uint32) bool {
	if leapAt == h.leapAt {
		return false
	}
	h.leapAt = leapAt
	h.lookedMs += min(lost, ms-h.lookedMs)
	for i := range h.holds {
		for dir, since := range h.holds[i].since {
			if since != 0 {
				h.holds[i].since[dir] = since + min(lost, ms-since)
			}
		}
	}
	return true
}

// BeginLook begins one.
func (h *Holders) BeginLook(ms, patience uint32) {
	clear(h.held)
	if ms-h.lookedMs > 2*WaitedMs {
		clear(h.holds) // they are of another time
	}
	h.lookedMs, h.patience = ms, patience
}

// Look notes what has left of what i holds, and since when nothing has.
func (h *Holders) Look(i uint32, x *Holding) {
	for int(i) >= len(h.holds) {
		h.holds = append(h.holds, hold{})
	}
	o, ms := &h.holds[i], h.lookedMs
	for dir, n := range x.Bytes {
		if moved := int32(x.Left[dir] - o.left[dir]); n == 0 || o.since[dir] == 0 || o.of != x.Of || moved < 0 || int(moved) >= max(1, n/moves) {
			o.left[dir], o.since[dir] = x.Left[dir], ms
		} else if ms-o.since[dir] >= h.patience {
			h.held[x.Upstream] += n
		}
	}
	o.of = x.Of
}

// Judge finds the upstream for which the most stands still. wanted is how many blocks are
// to come back of it.
func (h *Holders) Judge(wanted int) {
	h.most, h.wanted = 0, wanted
	for upstream, n := range h.held {
		if n > h.held[h.most] {
			h.most = upstream
		}
	}
}

// Seen is behind the last one that was looked at, 0 where no more is to come back.
func (h *Holders) Seen() uint32 {
	if h.held[h.most] == 0 || h.wanted <= 0 {
		return 0
	}
	return uint32(len(h.holds))
}

// Ends says that what i holds in a direction is to come back, and counts it as such.
func (h *Holders) Ends(i uint32, x *Holding, blockBytes int) (Direction, bool) {
	for dir, since := range h.holds[i].since {
		if h.lookedMs-since >= h.patience && x.Bytes[dir] > 0 {
			if x.Upstream != h.most {
				break
			}
			h.wanted -= x.Bytes[dir]/blockBytes + 1
			return Direction(dir), true
		}
	}
	return 0, false
}
