package upstream

// Tried are the endpoints of one cluster that failed a request: a bit of each, or, where
// the cluster is wide, the last four of them, each in 16 bits and one more than its number.
// Zero is none.
type Tried uint64

const (
	triedBits = 16
	triedMost = 64 / triedBits
)

// AddTried gives t with ep, which failed last.
func (c *Cluster) AddTried(t Tried, ep int) Tried {
	switch {
	case !c.wide:
		return t | 1<<ep
	case c.hasTried(t, ep):
		return t
	}
	return t<<triedBits | Tried(ep+1)
}

// HasOther says that an endpoint may be used that is not among those that t names.
func (c *Cluster) HasOther(now int64, t Tried) bool {
	for ep, e := range c.eps {
		if usable(e.health.word.Load(), now) && !c.hasTried(t, ep) {
			return true
		}
	}
	return false
}

func (c *Cluster) hasTried(t Tried, ep int) bool {
	if !c.wide {
		return t&(1<<ep) != 0
	}
	for ; t != 0; t >>= triedBits {
		if t&(1<<triedBits-1) == Tried(ep+1) {
			return true
		}
	}
	return false
}

// triedAll says that t has as many endpoints as it can have of a wide cluster: a request
// that finds all of them down tries no more.
func (c *Cluster) triedAll(t Tried) bool {
	return c.wide && t>>((triedMost-1)*triedBits) != 0
}
