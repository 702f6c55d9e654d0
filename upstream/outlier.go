package upstream

import (
	"math/bits"
	"time"
)

// Outlier says when an endpoint that answers badly, or not at all, gets no requests for a
// while, though it can be connected to. Without Errors it never happens.
type Outlier struct {
	Errors     int           // in a row, over all loops: statuses of 500 and above, and requests without a response
	Ejection   time.Duration // for the first time; as often as that for each further one
	Longest    time.Duration
	MaxPercent int // of the endpoints, that may be out at a time; one always may
	Panic      int // percent of the endpoints; with fewer up, requests go to those that are not as well
}

// ServerError tells that ep answered a request with a status of 500 or above. Any thread.
func (c *Cluster) ServerError(now int64, ep int) {
	h := &c.eps[ep].health
	if c.cfg.Outlier.Errors == 0 {
		h.answered()
		return
	}
	if w := h.word.Load(); w&healthCause != 0 {
		h.clear(w) // it does answer
	}
	if h.bad.Add(1) >= int32(c.cfg.Outlier.Errors) {
		c.eject(now, c.eps[ep])
	}
}

// eject takes e out of service until its time is over. False when so many are out that no
// more may be.
func (c *Cluster) eject(now int64, e *Endpoint) bool {
	o := &c.cfg.Outlier
	if o.Errors == 0 {
		return false
	}
	most := max(1, c.present()*o.MaxPercent/100)
	for {
		n := c.ejected.Load()
		if int(n) >= most {
			return e.health.holds.Load()&holdEjected != 0
		}
		if c.ejected.CompareAndSwap(n, n+1) {
			break
		}
	}
	if e.health.holds.Or(holdEjected)&holdEjected != 0 { // another loop has been first
		c.ejected.Add(-1)
		return true
	}
	x := &e.ejection
	times := x.times.Load()
	if ended := x.ended.Load(); ended != 0 && now > ended { // each ejection's time without one makes up for one
		times -= int32(min((now-ended)/int64(o.Ejection), int64(times)))
	}
	times++
	x.times.Store(times)
	x.count.Add(1)
	x.until.Store(now + int64(min(o.Ejection*time.Duration(times), o.Longest)))
	e.health.settle()
	return true
}

// Ejected is how many endpoints are out for what they answered.
func (c *Cluster) Ejected() int { return int(c.ejected.Load()) }

// Readmit gives requests to those again whose time is over; to be called every now and
// then, by one goroutine at a time.
func (c *Cluster) Readmit(now int64) {
	for _, e := range c.eps {
		if until := e.ejection.until.Load(); until != 0 && now >= until {
			c.readmit(e)
		}
	}
}

func (c *Cluster) readmit(e *Endpoint) {
	until := e.ejection.until.Swap(0)
	if until == 0 {
		return // it is not out, or is about to be
	}
	e.ejection.ended.Store(until)
	e.health.bad.Store(0)
	if e.health.holds.And(^holdEjected)&holdEjected != 0 {
		c.ejected.Add(-1)
		e.health.settle()
	}
}

// panics says that fewer endpoints are up than it takes to leave the others alone: that so
// many are bad is less likely than that what is found of them is wrong, or that those that
// are left would go down as well.
func (c *Cluster) panics() bool {
	o := &c.cfg.Outlier
	if o.Errors == 0 {
		return false
	}
	vacant := int(c.roster.Load().vacant)
	return (int(c.ill.Load())-vacant)*100 > (100-o.Panic)*(len(c.eps)-vacant)
}

// serves says that e gets requests in panic: all do but those that have no address, or
// cannot be connected to.
func (e *Endpoint) serves() bool {
	w := e.health.word.Load()
	set := e.set.Load()
	return set != nil && len(set.Addrs) > 0 && e.health.holds.Load()&holdDrained == 0 && (w == 0 || w == healthHeld || w&healthCause != 0)
}

// tryPanic is Pool.try in panic: any endpoint is as good as another, from a random one on.
// False when there is none.
func tryPanic(p *Pool, tried Tried) (d Decision, ok bool) {
	n := len(p.c.eps)
	from, _ := bits.Mul64(p.rand(), uint64(n))
	some, others := false, false
	for i := range n {
		ep := (int(from) + i) % n
		e := p.c.eps[ep]
		if !e.serves() {
			continue
		}
		some = true
		if p.c.hasTried(tried, ep) || p.c.triedAll(tried) {
			continue
		}
		others = true
		if idle := p.spare(ep); idle != 0 {
			return p.reuse(ep, idle), true
		}
		if p.hasSlot(ep) && e.reserve(p.limit()) {
			p.counted(ep)
			p.stats.Dialed++
			return Decision{Kind: Dial, Endpoint: ep}, true
		}
	}
	switch {
	case !some:
		return d, false
	case !others:
		return p.refuse(NoEndpoint), true
	}
	return Decision{Kind: Wait}, true
}

// panicReady says that tryPanic finds something for a request that has tried nothing.
func panicReady(p *Pool) bool {
	for ep, e := range p.c.eps {
		if e.serves() && (p.spare(ep) != 0 || p.hasSlot(ep)) {
			return true
		}
	}
	return false
}
