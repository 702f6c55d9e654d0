package upstream

import "time"

// What active checks find. They are made elsewhere, from one place for all loops
// (upstream/health), and told here.

// heldNs is how often requests that wait look for endpoints that are held no more.
const heldNs = int64(50 * time.Millisecond)

// Checked tells what active checks say of the addresses of an endpoint. One that is
// down gets no requests, and no connection to it is kept; an endpoint all of whose
// addresses are down is held; what why points to once down was called says why, "" that
// no check has been made yet. Called again whenever something has
// changed, its addresses included. One goroutine at a time.
func (c *Cluster) Checked(ep int, down func(addr string) bool, why *string) {
	e := c.eps[ep]
	for set := e.set.Load(); set != nil && len(set.Addrs) > 0; {
		c.checkedSet(e, set, down, why)
		now := e.set.Load()
		if now == set {
			return
		}
		set = now // it has changed meanwhile
	}
}

func (c *Cluster) checkedSet(e *Endpoint, set *AddrSet, down func(addr string) bool, why *string) {
	all, changed := true, false
	for i, addr := range set.Addrs {
		if down(addr) {
			changed = set.avoid[i].Swap(never) != never || changed
		} else {
			all = false
			changed = set.avoid[i].CompareAndSwap(never, 0) || changed
		}
	}
	if changed {
		c.changes.Add(1)
	}
	if all {
		found := *why
		e.found.Store(&found)
		e.health.hold(holdChecks)
		return
	}
	e.health.unhold(holdChecks)
	e.found.Store(nil)
}

// CheckPassed tells that addr, which requests go to as well, has passed a check: an
// outage that requests found is over. Any thread.
func (c *Cluster) CheckPassed(ep int, addr string) {
	e := c.eps[ep]
	set := e.set.Load()
	if e.health.word.Load() == 0 || set == nil {
		return
	}
	c.readmit(e)
	for i, a := range set.Addrs {
		if at := set.avoid[i].Load(); a == addr && at != never {
			set.avoid[i].CompareAndSwap(at, 0)
		}
	}
	e.health.bad.Store(0)
	e.health.recovered()
}

// whyHeld is why a request is refused when all endpoints are held.
func (c *Cluster) whyHeld() Reason {
	for _, e := range c.eps {
		if e.slot || e.set.Load() != nil {
			return NoEndpoint
		}
	}
	return NotResolved
}
