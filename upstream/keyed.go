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
func (r *roster) over(c *Cluster, ep int) bool { return r.bounds != nil && r.overBound(c, ep) }

func (r *roster) overBound(c *Cluster, ep int) bool {
	up := max(1, len(c.eps)-int(c.ill.Load()))
	return float64(c.eps[ep].busy.Load())*float64(up) >= float64(c.underWay.Load()+1)*r.bounds[ep]
}

// keyed is the endpoint of the non-empty set that key belongs to: of its places the first
// one that is in the set and not over its bound. Where none is, the endpoints come in an
// order that follows from the key, and at last the bound does not count.
func (r *roster) keyed(c *Cluster, set, key uint64) int {
	if r.places != nil { // else all in the set have come since
		for k := range keyedAttempts {
			if ep := r.places.at(key, k); set&(1<<ep) != 0 && !r.over(c, ep) {
				return ep
			}
		}
	}
	turn := int(spread(key) % wordEndpoints)
	turned := bits.RotateLeft64(set, -turn)
	for m := turned; m != 0; m &= m - 1 {
		if ep := (bits.TrailingZeros64(m) + turn) % wordEndpoints; !r.over(c, ep) {
			return ep
		}
	}
	return (bits.TrailingZeros64(turned) + turn) % wordEndpoints
}
