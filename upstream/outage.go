package upstream

// What becomes of requests when every endpoint is down. It looks at each of them: that
// is rare, and no request is served quickly then.

// tryDown decides when every endpoint is down (or has no address):
//   - an idle connection that survived is used;
//   - while the outage is younger than the queue timeout, requests wait for
//     the next probe: a restart of the origin costs nobody an error;
//   - after that each request tries an endpoint that it has not tried yet (panic
//     routing): it fails fast if the origin is gone, and finds it as soon as
//     it is back;
//   - one that has tried them all is refused, and so is every one when there are
//     none but those that active checks have found down.
func (p *Pool) tryDown(now int64, tried Tried) Decision {
	some, others := false, false
	for ep, e := range p.c.eps {
		if !e.held() {
			some, others = true, others || !p.c.hasTried(tried, ep)
		}
	}
	if !some {
		return p.refuse(p.c.whyHeld())
	}
	for _, again := range [2]bool{false, true} {
		for ep, e := range p.c.eps {
			if idle := p.spare(ep); idle != 0 && !e.held() && p.c.hasTried(tried, ep) == again {
				return p.reuse(ep, idle)
			}
		}
	}
	if p.c.young(now) {
		return Decision{Kind: Wait}
	}
	if !others || p.c.triedAll(tried) {
		return p.refuse(NoEndpoint)
	}
	for _, again := range [2]bool{false, true} {
		for ep := p.soonest(tried, again); ep >= 0; ep = p.soonest(tried, again) {
			if p.c.eps[ep].reserve(p.limit()) {
				p.counted(ep)
				p.stats.Dialed++
				return Decision{Kind: Dial, Endpoint: ep}
			}
		}
	}
	return Decision{Kind: Wait}
}

// held says that an endpoint may not be tried, though it be the only one.
func (e *Endpoint) held() bool { return e.health.word.Load() == healthHeld }

// hasSlot says that one more connection to ep may be made.
func (p *Pool) hasSlot(ep int) bool { return !p.rests(ep) && p.c.eps[ep].open.Load() < p.limit() }

// young: the last endpoint that went down did so less than the queue timeout ago,
// and there is a queue to wait in.
func (c *Cluster) young(now int64) bool {
	return c.cfg.Queue > 0 && now < c.outageEnd()
}

func (c *Cluster) outageEnd() int64 {
	var since int64
	for _, e := range c.eps {
		if !e.held() {
			since = max(since, e.health.since.Load())
		}
	}
	return since + int64(c.cfg.QueueTimeout)
}

// soonest is the endpoint whose back-off ends first, of those that have been tried, or
// of those that have not; -1: none has a slot.
func (p *Pool) soonest(tried Tried, again bool) int {
	ep, least := -1, ^uint64(0)
	for i, e := range p.c.eps {
		if w := e.health.word.Load(); w < least && w != healthHeld && p.c.hasTried(tried, i) == again && p.hasSlot(i) {
			ep, least = i, w
		}
	}
	return ep
}

// mayProbe: all endpoints are down and one may be tried. A request that finds
// this does not queue behind those that wait for just such a try.
func (p *Pool) mayProbe(now int64) bool {
	return int(p.c.ill.Load()) >= len(p.c.eps) && p.c.anyUsable(now)
}

// Available says that an endpoint is up, or may be tried. Any thread.
func (c *Cluster) Available(now int64) bool {
	return int(c.ill.Load()) < len(c.eps) || c.anyUsable(now)
}

// anyUsable: an endpoint is up, or its back-off is over.
func (c *Cluster) anyUsable(now int64) bool {
	for _, e := range c.eps {
		if usable(e.health.word.Load(), now) {
			return true
		}
	}
	return false
}

// servableDown is servable when every endpoint is down, see tryDown.
func (p *Pool) servableDown(now int64) bool {
	old := !p.c.young(now)
	for ep, e := range p.c.eps {
		if !e.held() && (p.spare(ep) != 0 || old && p.hasSlot(ep)) {
			return true
		}
	}
	return false
}
