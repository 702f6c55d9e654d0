package upstream

import "time"

// leaseNs is how long a prober may take before another one gets a chance.
func (c *Cluster) leaseNs(w uint64) int64 {
	lease := c.cfg.ConnectTimeout
	if w&healthCause != 0 {
		lease += c.cfg.ResponseTimeout
	}
	if lease <= 0 {
		lease = c.cfg.FailBackoffMax
	}
	return int64(lease)
}

// Address chooses which address of ep to dial: set.Addrs[i], to be remembered
// by its key set.Keys[i]. Several addresses of one name take turns; those that
// failed lately come last. The set is nil while the name has not resolved, or where the
// endpoint is gone.
func (p *Pool) Address(now int64, ep int) (set *AddrSet, i int) {
	set = p.c.eps[ep].set.Load()
	if set == nil || len(set.Addrs) == 0 {
		return nil, 0
	}
	if len(set.Addrs) == 1 {
		return set, 0
	}
	e := &p.eps[ep]
	e.addr++
	n := len(set.Addrs)
	best := -1
	for k := range n {
		j := int(e.addr+uint32(k)+uint32(p.loop)) % n
		if set.avoid[j].Load() <= now {
			return set, j
		}
		if best < 0 || set.avoid[j].Load() < set.avoid[best].Load() {
			best = j
		}
	}
	return set, best
}

// DialOK tells that a connection of ep was made: an outage that failing to
// connect caused is over. Call NextWaiter then.
func (p *Pool) DialOK(now int64, ep int) { p.c.eps[ep].health.connected() }

// DialFailed tells that connecting failed or timed out. It marks the endpoint
// down for a back-off, and frees the slot.
func (p *Pool) DialFailed(now int64, ep int) { p.DialFailedAt(now, ep, 0) }

// DialFailedAt is DialFailed when the key of the dialled address is known: the
// endpoint is down only when none of its addresses is left to try.
func (p *Pool) DialFailedAt(now int64, ep int, addr uint32) {
	p.stats.DialErrors++
	e := p.c.eps[ep]
	e.failed.Add(1)
	if e.avoidAddr(addr, now, now+int64(p.c.cfg.FailBackoffMax)) {
		e.health.release(now)
	} else {
		p.fail(now, ep, 0)
	}
	// The slot last: whoever sees it free knows already what happened.
	p.Closed(ep)
}

// DialGivenUp tells that the connection could not even be tried, for want of
// something on this machine. That is no news of the endpoint; the slot is free.
func (p *Pool) DialGivenUp(now int64, ep int) {
	p.stats.DialErrors++
	p.c.eps[ep].health.release(now)
	p.Closed(ep)
}

// restNs is for how long an endpoint that has no room for more connections yet is
// left alone by a loop.
const restNs = int64(10 * time.Millisecond)

// DialLater tells that the endpoint could not take the connection yet: its queue of
// connections is full. That is no failure; the slot is free, and this loop tries
// again a little later.
func (p *Pool) DialLater(now int64, ep int) {
	p.stats.DialErrors++
	if p.resting |= 1 << (ep % wordEndpoints); p.wide != nil {
		p.wide.rests[ep] = true
	}
	p.restUntil = now + restNs
	p.c.eps[ep].health.release(now)
	p.Closed(ep)
}

// rested ends the rest of endpoints when it is over.
func (p *Pool) rested(now int64) {
	if p.resting != 0 && now >= p.restUntil {
		if p.resting = 0; p.wide != nil {
			clear(p.wide.rests)
		}
	}
}

// rests says that ep is to be left alone.
func (p *Pool) rests(ep int) bool {
	return p.resting&(1<<(ep%wordEndpoints)) != 0 && (p.wide == nil || p.wide.rests[ep])
}

// avoidAddr marks one address; true when another one is worth trying.
func (e *Endpoint) avoidAddr(addr uint32, now, until int64) bool {
	set := e.set.Load()
	if addr == 0 || set == nil || len(set.Addrs) == 1 {
		return false
	}
	left := false
	for i, k := range set.Keys {
		if k == addr {
			if at := set.avoid[i].Load(); at != never {
				set.avoid[i].CompareAndSwap(at, until)
			}
		} else if set.avoid[i].Load() <= now {
			left = true
		}
	}
	return left
}

func (p *Pool) fail(now int64, ep int, cause uint64) {
	cfg := &p.c.cfg
	p.c.eps[ep].health.fail(now, cause, int64(cfg.FailBackoff), int64(cfg.FailBackoffMax), p.rand())
}

// ResponseOK tells that ep answered a request, with a status below 500: see ServerError.
func (p *Pool) ResponseOK(now int64, ep int) { p.c.eps[ep].health.answered() }

// ResponseFailed tells that ep accepted a request and did not answer it: the
// connection broke or the response timed out. Several in a row mark the
// endpoint down. A kept-alive connection that turned out to be stale is no
// such failure. The connection itself is still counted: call Closed too.
func (p *Pool) ResponseFailed(now int64, ep int) {
	p.stats.ResponseErrors++
	h := &p.c.eps[ep].health
	most := p.c.cfg.FailResponses
	if p.c.cfg.Outlier.Errors != 0 {
		most = p.c.cfg.Outlier.Errors
	}
	if h.word.Load() == 0 && (h.bad.Add(1) < int32(most) || p.c.eject(now, p.c.eps[ep])) {
		return
	}
	h.bad.Store(0)
	p.fail(now, ep, healthCause)
}

const warmWindowNs = int64(time.Second)

// Prewarm names an endpoint to dial so that a connection is there before a
// request asks: one that has fewer than Config.Prewarm connections over all
// loops, of which this loop may make its part. A slot is reserved, as with
// Dial; report DialOK and Put, or DialFailed. Call it again until it says no,
// at the start and then every now and then. Endpoints in back-off are left alone.
func (p *Pool) Prewarm(now int64) (ep int, ok bool) {
	if p.changes != p.c.changes.Load() {
		p.notice()
	}
	want, loops := p.c.cfg.Prewarm, len(p.c.pools)
	if want == 0 || p.retired {
		return 0, false
	}
	share := int32(want / loops)
	if p.loop < want%loops {
		share++
	}
	limit := min(p.c.limit, int32(want))
	for i := range p.c.eps {
		w := &p.eps[i]
		if now >= w.warmReset {
			w.warmReset, w.warmed = now+warmWindowNs, 0
		}
		// warmed stands for dials under way, idle for those that succeeded.
		if max(w.warmed, p.idle.lists[i].n) < share && p.prewarm(now, i, limit) {
			w.warmed++
			return i, true
		}
	}
	return 0, false
}

func (p *Pool) prewarm(now int64, ep int, limit int32) bool {
	e := p.c.eps[ep]
	if e.open.Load() >= limit {
		return false
	}
	w := e.health.word.Load()
	claimed, ok := w, true
	if w != 0 {
		if !usable(w, now) {
			return false
		}
		claimed, ok = e.health.claim(w, now, p.c.leaseNs(w))
	}
	if !ok {
		return false
	}
	if !e.reserve(limit) {
		if claimed != w {
			e.health.unclaim(claimed, w)
		}
		return false
	}
	p.counted(ep)
	p.stats.Prewarmed++
	return true
}
