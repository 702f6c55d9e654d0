package upstream

import (
	"errors"
	"maps"
	"strconv"
)

// Weights that change while a cluster is in use: those that are set at run time, and those that
// grow in slow start. A change makes another roster; requests see a table, and nothing else.

const (
	// leastGrown is the share of its weight, in percent, that an endpoint has at the beginning of
	// slow start, and growthStep by how much it grows at a time at the least.
	leastGrown, growthStep = 10, 5
	// wholeWeight is the share of an endpoint that is not in slow start.
	wholeWeight = 100
)

// standing is what the share of an endpoint follows from. Guarded by Cluster.changing.
type standing struct {
	there bool
	rank
	listed int   // its weight in the configuration, or as it was found
	set    int   // its weight as set by SetWeight; -1: it was not
	grown  int   // percent of its weight that it has; below wholeWeight: slow start
	since  int64 // when slow start began; 0: it is not up yet
}

// rank says before which others an endpoint is preferred.
type rank struct {
	tier int // its priority, or backupTier
	zone string
}

func rankOf(e *EndpointConfig) rank {
	if e.Backup {
		return rank{backupTier, e.Zone}
	}
	return rank{e.Priority, e.Zone}
}

// weight is that of an endpoint in the long run.
func (s *standing) weight() int {
	if s.set >= 0 {
		return s.set
	}
	return s.listed
}

// place makes e the endpoint that is wanted. It has the standing it had in the cluster before, if it
// had one; else, with slow, its share begins to grow. With changing locked.
func (c *Cluster) place(e *Endpoint, want *EndpointConfig, slow bool) {
	s := &c.standings[e.ID]
	if !s.there {
		was, known := c.awaited[e.Address]
		switch {
		case known:
			*s = was
			delete(c.awaited, e.Address)
		case slow:
			s.grown, s.since = leastGrown, 0
		default:
			s.grown, s.since = wholeWeight, 0
		}
		s.there = true
	}
	if s.listed != want.Weight {
		s.listed, s.set = want.Weight, -1
	}
	s.rank = rankOf(want)
	e.Weight = s.weight()
}

// SetWeight gives the endpoint with this address another weight than the configuration does, or its
// source; 0: no new requests, and its keys belong to others, until another weight is set. -1 gives back
// what it had. It holds as long as the endpoint's own weight stays, from now or, see Defer, the next Renew on. Any thread.
func (c *Cluster) SetWeight(address string, weight int) error {
	if weight < -1 || weight > maxWeight {
		return errors.New("weight " + strconv.Itoa(weight) + ", expected 0 to " + strconv.Itoa(maxWeight) + ", or -1 for the endpoint's own")
	}
	c.changing.Lock()
	found := false
	for i, e := range c.eps {
		if s := &c.standings[i]; s.there && e.Address == address {
			found = true
			s.set = weight
			e.Weight = s.weight()
		}
	}
	if found {
		change(c)
	}
	c.changing.Unlock()
	if !found {
		return errors.New("upstream " + strconv.Quote(c.cfg.Name) + " has no endpoint " + strconv.Quote(address))
	}
	return nil
}

// WeightOf is the weight of endpoint ep in the long run, and the percentage of it that it has now:
// below 100 while it grows.
func (c *Cluster) WeightOf(ep int) (weight, grown int, set bool) {
	c.changing.Lock()
	s := c.standings[ep]
	c.changing.Unlock()
	return s.weight(), s.grown, s.set >= 0
}

// ListedWeight is the weight of endpoint ep in the configuration, or as it was found.
func ListedWeight(c *Cluster, ep int) int {
	c.changing.Lock()
	listed := c.standings[ep].listed
	c.changing.Unlock()
	return listed
}

// RankOf says before which others endpoint ep is preferred.
func (c *Cluster) RankOf(ep int) (priority int, backup bool, zone string) {
	c.changing.Lock()
	r := c.standings[ep].rank
	c.changing.Unlock()
	if r.tier == backupTier {
		return 0, true, r.zone
	}
	return r.tier, false, r.zone
}

// WeightSet is a weight that was set for an endpoint whose own is another one, or was when it was set.
type WeightSet struct {
	Address string `json:"address"`
	Own     int    `json:"own"`
	Set     int    `json:"set"`
}

// WeightsSet lists the weights of c that were set, of endpoints that are there, and of those it awaits.
func WeightsSet(c *Cluster) (list []WeightSet) {
	c.changing.Lock()
	for i, e := range c.eps {
		if s := &c.standings[i]; s.there && s.set >= 0 {
			list = append(list, WeightSet{e.Address, s.listed, s.set})
		}
	}
	for address, s := range c.awaited {
		if s.set >= 0 {
			list = append(list, WeightSet{address, s.listed, s.set})
		}
	}
	c.changing.Unlock()
	return list
}

// InheritWeights has weights hold that were set in another process, for endpoints whose own weight is the same,
// whether they are there or are found later. Called before c is in use.
func InheritWeights(c *Cluster, list []WeightSet) {
	c.changing.Lock()
	for _, w := range list {
		w.Set = min(max(0, w.Set), maxWeight)
		found := false
		for i, e := range c.eps {
			s := &c.standings[i]
			if !s.there || e.Address != w.Address {
				continue
			}
			if found = true; s.listed == w.Own {
				s.set, e.Weight = w.Set, w.Set
			}
		}
		if found {
			continue
		}
		if c.awaited == nil {
			c.awaited = map[string]standing{}
		}
		c.awaited[w.Address] = standing{listed: w.Own, set: w.Set, grown: wholeWeight}
	}
	c.enrol()
	c.changing.Unlock()
}

// Succeed has c begin with what is known of the endpoints of the cluster before it: weights that
// were set, where the endpoint's own is the same, and how far slow start is. What old had not is new,
// and begins with slow start. A limit that is found out begins where it was. Called before c is in use.
func (c *Cluster) Succeed(old *Cluster) {
	old.changing.Lock()
	before := maps.Clone(old.awaited)
	if before == nil {
		before = map[string]standing{}
	}
	for i, e := range old.eps {
		if s := old.standings[i]; s.there {
			before[e.Address] = s
		}
	}
	old.changing.Unlock()
	c.changing.Lock()
	c.awaited = before
	c.concurrency.succeed(old.concurrency)
	slow := c.slowStart(someServed(before))
	for i, e := range c.eps {
		if s := &c.standings[i]; s.there {
			s.there = false
			c.place(e, &c.cfg.Endpoints[i], slow)
		}
	}
	c.enrol()
	c.changing.Unlock()
}

// slowStart says that endpoints that come are new ones among others.
func (c *Cluster) slowStart(others bool) bool { return others && c.cfg.SlowStart > 0 }

// Defer has changes of endpoints and weights of c wait for Renew, all that come until then: the tables of a large
// cluster take long to build, and each loop has to look at them. signal asks for Renew; it is called with c locked.
func Defer(c *Cluster, signal func()) {
	c.changing.Lock()
	c.signal = signal
	c.changing.Unlock()
}

// Renew puts the changes of c in force that wait for it. Any thread.
func Renew(c *Cluster) {
	c.changing.Lock()
	if c.deferred {
		c.enrol()
	}
	c.changing.Unlock()
}

// change puts what has changed of c in force, at once or with the next Renew. With changing locked.
func change(c *Cluster) {
	if c.signal == nil {
		c.enrol()
		return
	}
	c.deferred = true
	c.signal()
}

// enrol puts the weights and endpoints that there are in force. With changing locked.
func (c *Cluster) enrol() {
	c.deferred = false
	drained := func(i int) bool { return c.standings[i].there && c.standings[i].weight() == 0 }
	for i, e := range c.eps {
		if !drained(i) {
			e.health.unhold(holdDrained)
		}
	}
	c.roster.Store(c.newRoster())
	c.changes.Add(1)
	// What takes the place of endpoints that are drained, or gone, is chosen from before these are not: there always is one.
	for i, e := range c.eps {
		if drained(i) {
			e.health.hold(holdDrained)
		}
	}
	left := false
	for i, e := range c.eps {
		if !c.standings[i].there && !e.Vacant() {
			e.leave(c)
			left = true
		}
	}
	if left {
		c.changes.Add(1) // connections to them are kept no more
	}
}

// Grow lets the shares of endpoints grow that are in slow start; to be called every now and then. An
// endpoint that is not up begins anew, unless none is: then all are alike.
func (c *Cluster) Grow(now int64) {
	if c.cfg.SlowStart > 0 {
		c.changing.Lock()
		if c.grow(now) {
			change(c)
		}
		c.changing.Unlock()
	}
}

func (c *Cluster) grow(now int64) (changed bool) {
	slow := int64(c.cfg.SlowStart)
	serves := func(i int) bool {
		return c.standings[i].there && c.eps[i].health.word.Load() == 0
	}
	others := false // an endpoint has its whole share, and serves
	for i := range c.eps {
		others = others || serves(i) && c.standings[i].grown == wholeWeight
	}
	for i := range c.eps {
		s := &c.standings[i]
		was := s.grown
		switch {
		case !s.there:
			continue
		case !serves(i):
			s.grown, s.since = leastGrown, 0
		case !others && s.since == 0:
			s.grown = wholeWeight
		case s.grown < wholeWeight && s.since == 0:
			s.since = max(1, now)
		case s.grown < wholeWeight:
			part := min(wholeWeight, leastGrown+(wholeWeight-leastGrown)*max(0, now-s.since)/slow)
			s.grown = max(s.grown, int(part)/growthStep*growthStep)
		}
		changed = changed || s.grown != was
	}
	return changed
}

// sharesOf are the weights of the endpoints by number, as far as they have grown.
func (c *Cluster) sharesOf() []int64 {
	shares := make([]int64, len(c.eps))
	slow := c.cfg.SlowStart > 0
	for i, e := range c.eps {
		shares[i] = int64(max(1, e.Weight)) // of those that get nothing it is not asked
		if slow {
			shares[i] *= int64(c.standings[i].grown)
		}
	}
	return shares
}
