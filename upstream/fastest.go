package upstream

import (
	"math"
	"math/bits"
	"sync/atomic"
)

// Balancing by response time: the endpoint with the least time times requests under way, per weight.

const (
	// halfLifeNs is how long it takes for an endpoint that is not asked to count as twice as fast,
	// so that one that was slow is tried again; one ten times as slow as the others after 4.3 of these.
	halfLifeNs = int64(1e9)
	// timesWeight is the part that one response has in the mean of those that follow closely.
	timesWeight = 1.0 / 8
)

// pace is the mean response time of an endpoint over all loops, in which what is past counts for
// less and less: microseconds in the upper half of a word, and in the lower half the millisecond of
// the last response. 0: there was none.
type pace struct{ word atomic.Uint64 }

// mean is the mean in microseconds, and how long ago, in half-lives, there was a response.
func (t *pace) mean(now int64) (us, age float64) {
	w := t.word.Load()
	ms := max(0, int32(uint32(now/1e6)-uint32(w))) // a loop's clock may be a little behind
	return float64(uint32(w >> 32)), float64(ms) * (1e6 / float64(halfLifeNs))
}

// halved is v after so many half-lives, within 6 per cent.
func halved(v, lives float64) float64 {
	if lives >= 32 {
		return 0
	}
	whole := int(lives)
	power := math.Float64frombits(uint64(1023-whole) << 52) // 2 to the -whole: a division takes longer
	return v * power * (1 - (lives-float64(whole))/2)
}

// Took tells that ep has answered a request after ns. Only responses that say how fast it is are to
// be told: an error may come fast, and a request with content waits for its client.
func Took(p *Pool, now int64, ep int, ns int64) {
	if p.c.cfg.Balance != LeastTime {
		return
	}
	us := float64(min(max(ns/1000, 1), 1<<32-1))
	if p.usual == 0 {
		p.usual = us
	}
	p.usual += (us - p.usual) * timesWeight
	t := &p.c.eps[ep].pace
	for {
		w := t.word.Load()
		mean, age := t.mean(now)
		if w == 0 {
			mean = us
		}
		mean += (us - mean) * max(timesWeight, 1-halved(1, age))
		next := max(1, uint64(mean))<<32 | uint64(uint32(now/1e6))
		if t.word.CompareAndSwap(w, next) {
			return
		}
	}
}

// ResponseTimeUs is the mean response time of e that least_time goes by, 0: it has none.
func (e *Endpoint) ResponseTimeUs() uint64 { return e.pace.word.Load() >> 32 }

// waitAt is what is compared: how long another request would take at ep. One that was not asked for long
// becomes better until it counts as twice as fast as what this loop is used to, and no more: else
// all requests of a burst would go there. One that has not answered yet begins there.
func waitAt(p *Pool, now int64, ep int) float64 {
	e := p.c.eps[ep]
	us, age := e.pace.mean(now)
	least := max(1, p.usual/2)
	if us == 0 {
		us = least
	}
	us = min(us, max(least, halved(us, age))) // one that is better than least stays
	return us * float64(max(0, e.busy.Load())+1) / float64(p.eps[ep].weight)
}

// fastest is the endpoint of the non-empty set that would take the least time; of equal ones any.
func fastest(p *Pool, now int64, set, hash uint64) int {
	from := int((p.rand() ^ hash) % wordEndpoints)
	best, least := -1, 0.0
	for m := bits.RotateLeft64(set, -from); m != 0; m &= m - 1 {
		ep := (bits.TrailingZeros64(m) + from) % wordEndpoints
		if wait := waitAt(p, now, ep); best < 0 || wait < least {
			best, least = ep, wait
		}
	}
	return best
}

// fastest draws some endpoints, with chances in proportion to their weights, and is the one that
// would take the least time, of those that are up if there are any.
func (w *wide) fastest(p *Pool, now int64, l *level, hash uint64) int {
	best, least := 0, uint64(math.MaxUint64)
	for range leastDraws {
		ep := w.draw(p, l, hash)
		cost := costOf(p.c.eps[ep], waitAt(p, now, ep))
		if cost < least {
			best, least = ep, cost
		}
	}
	return best
}
