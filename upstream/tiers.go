package upstream

import "slices"

// Tiers and zones. Endpoints of one priority are a tier: the first one serves as long as enough of
// it is up, and what it lacks spills over to the next. A tier with endpoints in the proxy's own zone
// and in others is two levels. Which part of the requests each level gets follows from what is up;
// a loop works it out when that has changed, so that a request costs a draw. Where a level has nothing
// to give a request goes to the others, in their order.

const (
	// MaxPriority is the last of the tiers, of which 0 is the first.
	MaxPriority = 15
	// backupTier is that of endpoints which serve only when no other is up.
	backupTier = MaxPriority + 1
	// enoughPercent is how much more than its share of a tier's requests an endpoint is taken to bear:
	// of a tier as much as 1/1.4 may be down before anything spills over.
	enoughPercent = 140
	// probeLookNs is how often a loop looks for endpoints whose back-off is over, once there is one.
	probeLookNs = int64(10e6)
	// whole is a draw's range.
	whole = 1 << 32
)

// level is some of the endpoints, and what it takes to choose from them. Immutable.
type level struct {
	n      int        // its number
	all    uint64     // one bit per endpoint, if that is one word
	turns  []uint16   // else the turns of a wide cluster
	places *placement // of keys; nil: there are none to balance by
	bounds []float64  // by number of endpoint, see over; nil: there are none

	// Of levels that are not alone.
	members []uint16
	tier    int
	own     bool    // in the zone of the proxy
	zones   int     // of its tier
	weight  float64 // of its members in the long run
}

// fill has l choose from present.
func (l *level) fill(c *Cluster, r *roster, present []*Endpoint) {
	for _, e := range present {
		if !c.wide {
			l.all |= 1 << e.ID
		}
	}
	if len(present) > 0 {
		if c.wide {
			l.turns = turnsOf(present, r.weights)
		}
		l.places, l.bounds = newPlacement(c.cfg.Balance, present), c.boundsOf(present)
	}
}

// levelsOf divides present into levels; nil: they are one.
func levelsOf(c *Cluster, r *roster, present []*Endpoint) []level {
	isOwn := func(e *Endpoint) bool { return c.cfg.Zone != "" && c.standings[e.ID].zone == c.cfg.Zone }
	rankOf := func(e *Endpoint) int {
		rank := 2*c.standings[e.ID].tier + 1
		if isOwn(e) {
			rank--
		}
		return rank
	}
	byRank := map[int][]*Endpoint{}
	zones := map[int]map[string]bool{}
	var ranks []int
	for _, e := range present {
		rank, s := rankOf(e), &c.standings[e.ID]
		if byRank[rank] == nil {
			ranks = append(ranks, rank)
		}
		byRank[rank] = append(byRank[rank], e)
		if zones[s.tier] == nil {
			zones[s.tier] = map[string]bool{}
		}
		zones[s.tier][s.zone] = true
	}
	if len(ranks) < 2 {
		return nil
	}
	slices.Sort(ranks)
	levels := make([]level, len(ranks))
	r.base, r.levelOf = make([]float64, len(c.eps)), make([]uint8, len(c.eps))
	for i, rank := range ranks {
		l := &levels[i]
		*l = level{n: i, tier: rank / 2, own: rank%2 == 0, zones: len(zones[rank/2])}
		for _, e := range byRank[rank] {
			r.base[e.ID], r.levelOf[e.ID] = float64(e.Weight), uint8(i)
			l.members = append(l.members, uint16(e.ID))
			l.weight += float64(e.Weight)
		}
		l.fill(c, r, byRank[rank])
	}
	return levels
}

// split is which part of its requests a loop sends to each level.
type split struct {
	turned  uint32 // of Cluster.turned, what was seen
	known   bool   // what follows is
	lookAt  int64  // when the back-off of an endpoint ends that is to be probed
	probe   int    // such an endpoint, +1; 0: none
	sole    int    // the level that has all; -1: there are several, or none is up
	last    int    // the last one that has a part; when nothing is up, of all
	panics  bool
	drawn   int // level that quick has drawn and that had nothing, +1: the request goes on with it
	below   []uint64
	part    []float64
	up      []float64 // weight of what is up
	upCount []int
}

func (s *split) reset(levels int) {
	*s = split{
		below: make([]uint64, levels), part: make([]float64, levels),
		up: make([]float64, levels), upCount: make([]int, levels),
	}
}

// renew works the parts out where something has changed.
func (s *split) renew(p *Pool, now int64) {
	if s.known && s.turned == p.c.turned.Load() && now < s.lookAt {
		return
	}
	s.known, s.turned = true, p.c.turned.Load() // before the endpoints are looked at
	levels := p.roster.levels
	for i := range levels {
		s.up[i], s.upCount[i], s.part[i] = 0, 0, 0
		for _, ep := range levels[i].members {
			if p.c.eps[ep].health.word.Load() == 0 {
				s.up[i] += p.roster.base[ep]
				s.upCount[i]++
			}
		}
	}
	s.share(levels)
	if o := &p.c.cfg.Outlier; o.Errors != 0 {
		s.panics = s.tooFew(levels, o.Panic)
	}
	s.sole, s.last = -1, len(levels)-1
	upTo, some := 0.0, false
	for i, part := range s.part {
		upTo += part
		s.below[i] = uint64(upTo * whole)
		if part > 0 {
			s.sole = i
			if some {
				s.sole = -1
			}
			s.last, some = i, true
		}
	}
	s.seekProbe(p, now)
}

// share sets the parts: of tiers one after the other as much as they bear, then of zones.
func (s *split) share(levels []level) {
	left := 1.0
	for i := 0; i < len(levels); {
		n := tierAt(levels, i)
		up, weight := s.sum(levels, i, n)
		part := min(left, up/weight*enoughPercent/100)
		if levels[i].tier == backupTier {
			part = 0
			if left == 1 && up > 0 {
				part = 1
			}
		}
		left -= part
		s.zones(levels, i, n, part)
		i += n
	}
	for i := range s.part {
		if left < 1 {
			s.part[i] /= 1 - left
		}
	}
}

// zones divides the part of the tier of n levels from i on: the proxy's own zone gets what it would
// bear if as many requests came from each zone, and the others the rest.
func (s *split) zones(levels []level, i, n int, part float64) {
	if n == 1 {
		s.part[i] = part
		return
	}
	own := 0.0
	if s.up[i] > 0 {
		own = min(1, s.up[i]/(s.up[i]+s.up[i+1])*float64(levels[i].zones))
	}
	s.part[i], s.part[i+1] = part*own, part*(1-own)
}

// tierAt is how many levels the tier has that begins with level i.
func tierAt(levels []level, i int) int {
	if i+1 < len(levels) && levels[i+1].tier == levels[i].tier {
		return 2
	}
	return 1
}

func (s *split) sum(levels []level, i, n int) (up, weight float64) {
	for k := i; k < i+n; k++ {
		up += s.up[k]
		weight += levels[k].weight
	}
	return up, weight
}

// tooFew says that the tiers together bear less than all requests, and fewer endpoints than so many
// percent of theirs are up. Those for backup count only where nothing else is up.
func (s *split) tooFew(levels []level, percent int) bool {
	for _, backup := range [2]bool{false, true} {
		bears, up, all := 0.0, 0, 0
		for i := 0; i < len(levels); {
			n := tierAt(levels, i)
			if (levels[i].tier == backupTier) == backup {
				some, weight := s.sum(levels, i, n)
				bears += some / weight * enoughPercent / 100
				for k := i; k < i+n; k++ {
					up += s.upCount[k]
					all += len(levels[k].members)
				}
			}
			i += n
		}
		if up > 0 {
			return bears < 1 && up*100 < percent*all
		}
	}
	return percent > 0
}

// seekProbe looks for an endpoint whose back-off is over, in the levels that requests go to and those before.
func (s *split) seekProbe(p *Pool, now int64) {
	s.probe, s.lookAt = 0, never
	for i := range p.roster.levels[:s.last+1] {
		for _, ep := range p.roster.levels[i].members {
			w := p.c.eps[ep].health.word.Load()
			switch {
			case w == 0 || w == healthHeld:
			case usable(w, now):
				if s.lookAt = min(s.lookAt, now+probeLookNs); s.probe == 0 {
					s.probe = int(ep) + 1
				}
			default:
				s.lookAt = min(s.lookAt, untilNs(w))
			}
		}
	}
}

// draw is the number of the level that a request goes to; a key stays with its one while the parts are the same.
func (s *split) draw(p *Pool, now int64, hash uint64) int {
	s.renew(p, now)
	if s.sole >= 0 {
		return s.sole
	}
	at := hash
	if hash == 0 || !p.c.cfg.Balance.byKey() {
		at ^= p.rand()
	}
	at = spread(at^weyl) >> 32
	for i, below := range s.below {
		if at < below {
			return i
		}
	}
	return s.last
}

// levelFor is the level that a request goes to first.
func levelFor(p *Pool, now int64, hash uint64) *level {
	if p.roster.levels == nil {
		return &p.roster.level
	}
	return &p.roster.levels[p.split.draw(p, now, hash)]
}

// panics says that Cluster.panics is so, or over tiers, see split.tooFew.
func panics(p *Pool, now int64) bool {
	if p.roster.levels == nil {
		return p.c.panics()
	}
	p.split.renew(p, now)
	return p.split.panics
}

// tryLevels is Pool.try of a cluster with levels: the one that is drawn, then the others that have a part, in
// their order, then idle connections of theirs on other loops, then all others. Endpoints that have failed the
// request come behind all that have not.
func tryLevels(p *Pool, now int64, tried Tried, hash uint64) Decision {
	s := &p.split
	first := s.drawn - 1
	if s.drawn = 0; first < 0 {
		first = s.draw(p, now, hash)
	} else {
		s.renew(p, now)
	}
	if ep := s.probe - 1; ep >= 0 && !p.c.hasTried(tried, ep) {
		s.probe = 0
		if d, ok := p.obtain(now, ep, false); ok {
			return d
		}
	}
	for _, again := range [2]bool{false, true} {
		if again && tried == 0 {
			break
		}
		if d, ok := ofLevel(p, now, first, tried, again, hash); ok {
			return d
		}
		for i := range p.roster.levels {
			if i == s.last+1 && !again {
				if d := p.neighbourWith(true, s.last); d.Kind == Ask {
					return d
				}
			}
			if i == first {
				continue
			}
			if d, ok := ofLevel(p, now, i, tried, again, hash); ok {
				return d
			}
		}
	}
	if !p.c.anyUsable(now) {
		return p.tryDown(now, tried)
	}
	return p.neighbourWith(true, len(p.roster.levels))
}

// ofLevel takes a connection or a slot of an endpoint of level i: with again of those that have been tried.
func ofLevel(p *Pool, now int64, i int, tried Tried, again bool, hash uint64) (Decision, bool) {
	l := &p.roster.levels[i]
	if p.wide != nil {
		if !again {
			if d, ok := p.wide.attempt(p, now, l, tried, hash); ok {
				return d, true
			}
		}
		return p.wide.scan(p, now, l, tried, again, hash)
	}
	up, probe := p.survey(now)
	set := (up | probe) & l.all
	if again {
		set &= uint64(tried)
	} else {
		set &^= uint64(tried)
	}
	return p.get(now, l, set, hash, again)
}
