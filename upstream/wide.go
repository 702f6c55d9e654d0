package upstream

import (
	"math"
	"math/bits"
	"slices"
	"sync/atomic"
)

// A set of endpoints is one word on the path of a request, as long as there are no more
// than it has bits. A cluster of more is wide: a request looks at a few endpoints, in turn
// or drawn at random, and takes the first that it can have. Only where none of them will
// do it looks at all.

// wordEndpoints is how many endpoints a cluster has at most that is not wide.
const wordEndpoints = 64

const (
	// wideAttempts is how many picks a request makes before it looks at all endpoints.
	wideAttempts = 8
	// leastDraws is how many endpoints least_conn and least_time compare: each costs a look at two lines of
	// memory that other loops write, and more of them move few requests.
	leastDraws = 3
	// maxTurns bounds turnsOf.
	maxTurns = 1 << 16
)

// wide is what a loop's share of a wide cluster has instead of sets.
type wide struct {
	at    []int // by level, in its turns: whose turn is next
	loops int
	drawn int    // what quick has drawn and could not have, +1: try goes on with it, 0: nothing
	rests []bool // by endpoint, see Pool.resting
}

// paddedCounts keeps the counts of one loop off the cache lines of others.
func paddedCounts(n int) []atomic.Int32 {
	const pad = len(linePad{}) / 4
	return make([]atomic.Int32, pad+n+pad)[pad : pad+n : pad+n]
}

// turnsOf lists each endpoint as often as its weight says, evenly spread: the turns of
// round robin, and what is drawn from at random. Of weights that would make too many the
// shares are rounded. weights are by number.
func turnsOf(eps []*Endpoint, weights []int64) []uint16 {
	var sum, divisor int64
	for _, e := range eps {
		sum += weights[e.ID]
		divisor = gcd(divisor, weights[e.ID])
	}
	type turn struct {
		at float64 // in 0 to 1
		ep uint16
	}
	var list []turn
	for _, e := range eps {
		n := weights[e.ID] / divisor
		if sum/divisor > maxTurns {
			n = max(1, weights[e.ID]*maxTurns/sum)
		}
		for k := range n {
			list = append(list, turn{(float64(k) + 0.5) / float64(n), uint16(e.ID)})
		}
	}
	slices.SortStableFunc(list, func(a, b turn) int {
		switch {
		case a.at < b.at:
			return -1
		case a.at > b.at:
			return 1
		}
		return 0
	})
	turns := make([]uint16, len(list))
	for i, t := range list {
		turns[i] = t.ep
	}
	return turns
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// pick is the endpoint that the balancing prefers, at the k-th attempt of a request.
func (w *wide) pick(p *Pool, now int64, l *level, k int, hash uint64) int {
	switch p.c.cfg.Balance {
	case LeastConn:
		return w.least(p, l, leastDraws, hash)
	case P2C:
		return w.least(p, l, 2, hash)
	case LeastTime:
		return w.fastest(p, now, l, hash)
	case Random:
		return w.draw(p, l, hash)
	case RingHash, Maglev:
		if hash == 0 {
			return w.draw(p, l, hash)
		}
		return l.places.at(hash, k)
	}
	return int(l.turns[w.turn(l, k)])
}

// turn is the place in turns of the k-th attempt.
func (w *wide) turn(l *level, k int) int {
	at := w.at[l.n] + k
	for at >= len(l.turns) {
		at -= len(l.turns)
	}
	return at
}

// picked records that the k-th attempt was good.
func (w *wide) picked(l *level, k int) { w.at[l.n] = w.turn(l, k+1) }

// least draws n endpoints, with chances in proportion to their weights, and is the one
// with the fewest busy connections per weight, of those that are up if there are any.
func (w *wide) least(p *Pool, l *level, n int, hash uint64) int {
	best, least := 0, uint64(math.MaxUint64)
	for range n {
		ep := w.draw(p, l, hash)
		e := p.c.eps[ep]
		cost := costOf(e, float64(max(0, e.busy.Load()))/float64(p.eps[ep].weight))
		// No jump: which one is better can not be predicted.
		if cost < least {
			best, least = ep, cost
		}
	}
	return best
}

// costOf orders endpoints: those that are up by v, which is not negative, and behind them the others.
func costOf(e *Endpoint, v float64) uint64 {
	cost, ill := math.Float64bits(v), uint64(0)
	if e.health.word.Load() != 0 {
		ill = 1 << 63
	}
	return cost | ill
}

func (w *wide) draw(p *Pool, l *level, hash uint64) int {
	at, _ := bits.Mul64(p.rand()^hash, uint64(len(l.turns)))
	return int(l.turns[at])
}

// quick is Pool.Quick.
func (w *wide) quick(p *Pool, now int64, tried Tried, hash uint64) (d Decision, ok bool) {
	if tried != 0 || p.woken != 0 || p.c.pressed.Load() != 0 {
		return d, false
	}
	l := levelFor(p, now, hash)
	if p.split.probe != 0 || len(l.turns) == 0 {
		return d, false
	}
	ep := w.pick(p, now, l, 0, hash)
	idle := p.idle.lists[ep].newest
	if idle == 0 || p.c.eps[ep].health.word.Load() != 0 || l.over(p, ep) {
		// To draw anew would favour those that have idle connections.
		w.drawn, p.split.drawn = ep+1, l.n+1
		return d, false
	}
	w.picked(l, 0)
	d.Kind, d.Endpoint = Reuse, ep
	d.Conn, d.Addr = p.takeIdle(ep, idle)
	p.stats.Reused++
	return d, true
}

// try is Pool.try.
func (w *wide) try(p *Pool, now int64, tried Tried, hash uint64) Decision {
	l := &p.roster.level
	if d, ok := w.attempt(p, now, l, tried, hash); ok {
		return d
	}
	for _, again := range [2]bool{false, true} {
		if again && tried == 0 {
			break
		}
		if d, ok := w.scan(p, now, l, tried, again, hash); ok {
			return d
		}
	}
	if !p.c.anyUsable(now) {
		return p.tryDown(now, tried)
	}
	return p.neighbourWith(true, 0)
}

// attempt makes a few picks.
func (w *wide) attempt(p *Pool, now int64, l *level, tried Tried, hash uint64) (d Decision, ok bool) {
	drawn := w.drawn
	w.drawn = 0
	attempts := wideAttempts
	switch {
	case len(l.turns) == 0, p.roster.levels != nil && p.split.upCount[l.n] == 0:
		attempts = 0
	case l.places != nil:
		attempts = keyedAttempts
	}
	for k := range attempts {
		ep := drawn - 1
		if k > 0 || drawn == 0 {
			ep = w.pick(p, now, l, k, hash)
		}
		if w.ready(p, now, ep) && !p.c.hasTried(tried, ep) && !l.over(p, ep) {
			if d, ok := p.obtain(now, ep, false); ok {
				w.picked(l, k)
				return d, true
			}
		}
	}
	return d, false
}

// scan looks at all endpoints of l, from a random one on: first at those that are not over their bounds, if there are
// any; with again at those that have been tried.
func (w *wide) scan(p *Pool, now int64, l *level, tried Tried, again bool, hash uint64) (d Decision, ok bool) {
	n := len(p.c.eps)
	if p.roster.levels != nil {
		n = len(l.members)
	}
	start := p.rand()
	if l.places != nil && hash != 0 {
		start = spread(hash) // the same for each request with this key
	}
	from, _ := bits.Mul64(start, uint64(n))
	for _, bounded := range [2]bool{true, false} {
		if bounded && (l.bounds == nil || again) {
			continue
		}
		for i := range n {
			ep := (int(from) + i) % n
			if p.roster.levels != nil {
				ep = int(l.members[ep])
			}
			if p.c.hasTried(tried, ep) != again || !w.ready(p, now, ep) || bounded && l.over(p, ep) {
				continue
			}
			if d, ok := p.obtain(now, ep, again); ok {
				return d, true
			}
		}
	}
	return d, false
}

// ready says that ep may be used, and has an idle connection here or a free slot.
func (w *wide) ready(p *Pool, now int64, ep int) bool {
	return usable(p.c.eps[ep].health.word.Load(), now) && (p.spare(ep) != 0 || p.hasSlot(ep))
}

func (w *wide) anyReady(p *Pool, now int64) bool {
	for ep := range p.c.eps {
		if w.ready(p, now, ep) {
			return true
		}
	}
	return false
}

// giveable is Pool.giveable.
func (w *wide) giveable(p *Pool) (ep int, ok bool) {
	if p.idle.total == 0 {
		return 0, false
	}
	for ep, e := range p.c.eps {
		if p.spare(ep) != 0 && e.health.word.Load() == 0 {
			return ep, true
		}
	}
	return 0, false
}
