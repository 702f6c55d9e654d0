package upstream

import (
	"math"
	"math/bits"
)

// choose picks one endpoint of the non-empty set, which are of l. It changes nothing, so that
// a choice that can not be had (another loop took the last slot) leaves no
// trace; advance records the choice that was.
func (p *Pool) choose(now int64, l *level, set, hash uint64) int {
	if set&(set-1) == 0 {
		return bits.TrailingZeros64(set)
	}
	switch p.c.cfg.Balance {
	case LeastConn:
		return p.best(p.leastBusy(set))
	case P2C:
		return p.twoChoices(set, hash)
	case LeastTime:
		return fastest(p, now, set, hash)
	case Random:
		return p.pick(set, hash)
	case RingHash, Maglev:
		if hash == 0 {
			return p.pick(set, hash)
		}
		return l.keyed(p, set, hash)
	}
	return p.best(set)
}

// best is the step of smooth weighted round robin: the endpoint that is
// furthest behind its share. Weights 5,1,1 give a a b a c a a.
func (p *Pool) best(set uint64) int {
	ep, most := -1, int64(math.MinInt64)
	for m := set; m != 0; m &= m - 1 {
		i := bits.TrailingZeros64(m)
		if v := p.eps[i].current + p.eps[i].weight; v > most {
			ep, most = i, v
		}
	}
	return ep
}

// advance records that ep was chosen out of set.
func (p *Pool) advance(set uint64, ep int) {
	if set&(set-1) == 0 || !p.c.cfg.Balance.takesTurns() {
		return
	}
	var total int64
	for m := set; m != 0; m &= m - 1 {
		e := &p.eps[bits.TrailingZeros64(m)]
		e.current += e.weight
		total += e.weight
	}
	p.eps[ep].current -= total
}

// leastBusy keeps those endpoints of set that have the fewest busy connections
// per weight; round robin decides between them.
func (p *Pool) leastBusy(set uint64) uint64 {
	var tied uint64
	var busy, weight int64
	for m := set; m != 0; m &= m - 1 {
		i := bits.TrailingZeros64(m)
		b, w := int64(p.c.eps[i].busy.Load()), p.eps[i].weight
		// b/w against busy/weight without dividing.
		switch l, r := b*weight, busy*w; {
		case tied == 0 || l < r:
			tied, busy, weight = 1<<i, b, w
		case l == r:
			tied |= 1 << i
		}
	}
	return tied
}

// twoChoices picks two endpoints at random by weight and takes the less busy
// one: nearly as even as least_conn, without all loops running after the same
// endpoint at the same moment.
func (p *Pool) twoChoices(set uint64, hash uint64) int {
	a := p.pick(set, hash)
	b := p.pick(set&^(1<<a), hash)
	ba, bb := int64(p.c.eps[a].busy.Load()), int64(p.c.eps[b].busy.Load())
	if bb*p.eps[a].weight < ba*p.eps[b].weight {
		return b
	}
	return a
}

// pick draws an endpoint of set with a chance in proportion to its weight.
func (p *Pool) pick(set uint64, hash uint64) int {
	var total uint64
	for m := set; m != 0; m &= m - 1 {
		total += uint64(p.eps[bits.TrailingZeros64(m)].weight)
	}
	at, _ := bits.Mul64(p.rand()^hash, total)
	for m := set; ; m &= m - 1 {
		i := bits.TrailingZeros64(m)
		w := uint64(p.eps[i].weight)
		if at < w {
			return i
		}
		at -= w
	}
}

// rand is splitmix64.
func (p *Pool) rand() uint64 {
	p.random += weyl
	return spread(p.random)
}
