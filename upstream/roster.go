package upstream

// Endpoints that come and go while the cluster is in use. A cluster with Config.Slots has room
// for so many different ones. An endpoint has a slot of its own from the first time it is there;
// when it is gone its slot is left to it, should it come back, so that its number never means
// another endpoint: connections, requests and counts refer to it by that. Once all slots have
// been given away, it takes a new cluster to have others.

// roster is which endpoints there are at a time. Immutable; a loop has the one that it noticed last.
type roster struct {
	level             // all endpoints: with levels, not to be chosen from
	levels  []level   // what they are divided into; nil: nothing
	weights []int64   // by number
	base    []float64 // by number, with levels: weight in the long run
	levelOf []uint8   // by number, with levels
	tokens  []token   // sorted, see Sticks; nil: there are none
	vacant  int32     // slots without an endpoint, and drained endpoints, which count as ill: see health
}

// newRoster is the one of the endpoints that there are.
func (c *Cluster) newRoster() *roster {
	r := &roster{weights: c.sharesOf(), tokens: tokensOf(c)}
	var present []*Endpoint
	for i, e := range c.eps {
		switch {
		case !c.standings[i].there || e.Weight == 0:
			r.vacant++
		default:
			present = append(present, e)
		}
	}
	if r.levels = levelsOf(c, r, present); r.levels == nil {
		r.level.fill(c, r, present)
		return r
	}
	for i := range r.levels {
		r.all |= r.levels[i].all
	}
	return r
}

// Vacant says that nothing is to be seen of e: it is a slot that no endpoint has yet, or one
// whose endpoint is gone.
func (e *Endpoint) Vacant() bool {
	set := e.set.Load()
	return e.slot && (set == nil || len(set.Addrs) == 0)
}

// Leaving says that e is gone, and still has connections.
func (e *Endpoint) Leaving() bool { return e.set.Load() != nil && e.Vacant() && e.Open() > 0 }

// present is how many endpoints there are.
func (c *Cluster) present() int { return len(c.eps) - int(c.roster.Load().vacant) }

// Slots is how many different endpoints the cluster can have; 0: those of its Config, always.
func (c *Cluster) Slots() int { return c.cfg.Slots }

// SetEndpoints makes list the endpoints of a cluster with slots. Each has an address that can
// be dialled as it is; none is there twice. One that stays keeps its connections and what is
// known of it. One that is gone gets no more requests, and its idle connections are closed;
// requests under way with it end as they would have. It is in force at once, or, see Defer, with the
// next Renew. lacking is how many of list found no slot. Any thread.
func (c *Cluster) SetEndpoints(list []EndpointConfig) (lacking int) {
	c.changing.Lock()
	lacking = c.setEndpoints(list)
	c.changing.Unlock()
	return lacking
}

func (c *Cluster) setEndpoints(list []EndpointConfig) (lacking int) {
	there := make([]bool, len(c.eps))
	slow := c.slowStart(othersServe(c) || someServed(c.awaited))
	changed := false
	for _, want := range list {
		i, known := c.slotOf[want.Address]
		if !known {
			if i = len(c.slotOf); i == len(c.eps) {
				lacking++
				continue
			}
			c.slotOf[want.Address] = i
		}
		there[i] = true
		e := c.eps[i]
		if !known {
			e.Address, e.Target = want.Address, Address{Static: want.Address}
		}
		was, stood := e.Weight, c.standings[i]
		want.Weight = min(max(1, want.Weight), maxWeight)
		c.place(e, &want, slow)
		changed = changed || !stood.there || e.Vacant() || e.Weight != was || c.standings[i].rank != stood.rank
		if e.Vacant() {
			e.health.bad.Store(0)
			e.resolved([]string{want.Address})
		}
	}
	for i := range c.standings {
		if s := &c.standings[i]; s.there && !there[i] {
			s.there, changed = false, true
		}
	}
	if changed {
		change(c)
	}
	return lacking
}

// othersServe says that endpoints are there whose weight is not 0. With changing locked.
func othersServe(c *Cluster) bool {
	for i := range c.standings {
		if s := &c.standings[i]; s.there && s.weight() > 0 {
			return true
		}
	}
	return false
}

// someServed says that one of those that are awaited was there before: not only its weight is known.
func someServed(awaited map[string]standing) bool {
	for _, s := range awaited {
		if s.there {
			return true
		}
	}
	return false
}

// leave makes e a vacant slot. It is held before it loses its address: what has been chosen finds one,
// or is not chosen again.
func (e *Endpoint) leave(c *Cluster) {
	e.health.hold(holdNoAddress)
	c.readmit(e)
	e.set.Store(&AddrSet{Generation: e.Generation() + 1})
	e.health.unhold(holdChecks | holdDrained)
}

// enlist has the pool choose from what is there now.
func enlist(p *Pool, r *roster) {
	p.roster = r
	for i := range p.c.eps {
		p.eps[i].weight = r.weights[i]
		if r.all&(1<<i) == 0 {
			p.eps[i].current = 0
		}
	}
	p.split.reset(len(r.levels))
	if w := p.wide; w != nil {
		w.drawn = 0
		if n := max(1, len(r.levels)); len(w.at) != n {
			w.at = make([]int, n)
			for i := range w.at {
				w.at[i] = -1
			}
		}
		for i := range w.at {
			turns := len(r.turns)
			if len(r.levels) > 0 {
				turns = len(r.levels[i].turns)
			}
			if w.at[i] < 0 { // loops begin at different ones
				w.at[i] = turns * p.loop / w.loops
			}
			if w.at[i] >= turns {
				w.at[i] = 0
			}
		}
	}
}

// someIll says that not all that the roster has are up, or that there is a newer one: each
// endpoint is to be looked at.
func someIll(p *Pool) bool {
	return p.c.ill.Load() != p.roster.vacant || p.changes != p.c.changes.Load()
}
