package upstream

import (
	"sync/atomic"
	"time"
)

// Short says that connections are short: requests wait, or at every endpoint that
// is up no more than a quarter of what may be open is left.
func (p *Pool) Short() bool {
	c := p.c
	if c.waiting.Load() != 0 {
		return true
	}
	short := false
	for i, e := range c.eps {
		if e.health.word.Load() != 0 {
			continue
		}
		short = true
		open := e.open.Load()
		if open < c.limit-c.reserve || int(c.limit-open)+c.Idle(i) > int(c.reserve) {
			return false
		}
	}
	return short
}

// slowNs is for how long a client that was seen to hold a connection without
// moving is taken at its word no more.
const slowNs = int64(time.Minute)

// slowClients are those addresses, on all loops, by a hash of their keys; where two
// share a place the later one has it.
type slowClients struct {
	until  atomic.Int64      // of the last one
	places [64]atomic.Uint64 // the key, and the second until which it counts
}

func slowHome(client uint32) int { return int(client * 0x9E3779B1 >> 26) }

// Slow notes that client held a connection without moving while others waited.
func (p *Pool) Slow(now int64, client uint32) {
	s := &p.c.slow
	until := now + slowNs
	s.places[slowHome(client)].Store(uint64(client)<<32 | uint64(uint32(until/int64(time.Second))))
	s.until.Store(until)
}

// IsSlow says that this was so within the last minute.
func (p *Pool) IsSlow(now int64, client uint32) bool {
	s := &p.c.slow
	if now >= s.until.Load() {
		return false
	}
	at := s.places[slowHome(client)].Load()
	return uint32(at>>32) == client && uint32(now/int64(time.Second)) < uint32(at)
}
