package upstream

import "math/bits"

// Balancing by key: requests with the same key go to the same endpoint, as long as it is up,
// has a connection to spare, and is not over its bound.

// keyedAttempts is how many places of a key a request looks at before it looks at all endpoints.
const keyedAttempts = 16

// boundsOf says for each endpoint, by number, which part of the requests under way it may have when
// all that are there are up, times how many they are. nil: there is no bound.
func (c *Cluster) boundsOf(present []*Endpoint) (bounds []float64) {
	if !c.cfg.bounded() {
		return nil
	}
	sum := 0
	for _, e := range present {
		sum += e.Weight
	}
	bounds = make([]float64, len(c.eps))
	for _, e := range present {
		bounds[e.ID] = float64(c.cfg.LoadPercent) / 100 * float64(e.Weight) * float64(len(present)) / float64(sum)
	}
	return bounds
}

// bounded says that requests under way are counted for bounds.
func (c *Config) bounded() bool { return c.LoadPercent != 0 && c.Balance.byKey() }

// over says that one more request would put ep above its bound: Config.LoadPercent of its
// share of those under way on all loops, rounded up. Endpoints that are not up leave their
// shares to the others; each counts as one of average weight. Loops that choose at
// the same moment may pass the bound by one request each.
// Of those under way a level has the part that it gets.
func (l *level) over(p *Pool, ep int) bool { return l.bounds != nil && l.overBound(p, ep) }

func (l *level) overBound(p *Pool, ep int) bool {
	c := p.c
	up, load := max(1, len(c.eps)-int(c.ill.Load())), float64(c.underWay.Load()+1)
	if p.roster.levels != nil {
		up, load = max(1, p.split.upCount[l.n]), load*p.split.part[l.n]
	}
	return float64(c.eps[ep].busy.Load())*float64(up) >= load*l.bounds[ep]
}

// keyed is the endpoint of the non-empty set that key belongs to: of its places the first
// one that is in the set and not over its bound. Where none is, the endpoints come in an
// order that follows from the key, and at last the bound does not count.
func (l *level) keyed(p *Pool, set, key uint64) int {
	if l.places != nil { // else all in the set have come since
		for k := range keyedAttempts {
			if ep := l.places.at(key, k); set&(1<<ep) != 0 && !l.over(p, ep) {
				return ep
			}
		}
	}
	turn := int(spread(key) % wordEndpoints)
	turned := bits.RotateLeft64(set, -turn)
	for m := turned; m != 0; m &= m - 1 {
		if ep := (bits.TrailingZeros64(m) + turn) % wordEndpoints; !l.over(p, ep) {
			return ep
		}
	}
	return (bits.TrailingZeros64(turned) + turn) % wordEndpoints
}
