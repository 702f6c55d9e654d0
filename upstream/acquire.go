package upstream

import (
	"math/bits"
	"time"
)

// Acquire finds a connection for a request, or a place in the queue.
//
// waiter names the request should it have to wait: a small number such as its
// slab index, unique on this loop. tried has a bit for every endpoint that
// failed this request already; those are taken only where no other will do,
// and then on a fresh connection if there is a slot for one. hash is mixed
// into random choices; 0 is fine.
//
// A request that finds others waiting on its loop queues behind them, unless
// NextWaiter has just named it.
func (p *Pool) Acquire(now int64, waiter uint32, tried, hash uint64) (d Decision) {
	if p.changes != p.c.changes.Load() {
		p.notice()
	}
	if tried == 0 && p.queue.n == 0 && p.woken == 0 && p.c.ill.Load() == 0 {
		// The usual case: nobody waits, all is well, and the endpoint whose
		// turn it is has an idle connection.
		if ready := p.ready(p.c.all); ready != 0 {
			ep := p.choose(ready, hash)
			if idle := p.idle.lists[ep].newest; idle != 0 {
				p.advance(ready, ep)
				d.Kind, d.Endpoint = Reuse, ep
				d.Conn, d.Addr = p.takeIdle(ep, idle)
				p.stats.Reused++
				return d
			}
		}
	}
	return p.acquire(now, waiter, tried, hash)
}

func (p *Pool) acquire(now int64, waiter uint32, tried, hash uint64) Decision {
	named := p.woken == uint64(waiter)+1
	if named {
		p.woken = 0
	}
	if p.queue.n != 0 && !named && !p.mayProbe(now) {
		if !p.enqueue(waiter, false) {
			return p.refuse(QueueFull)
		}
		p.stats.Queued++
		return Decision{Kind: Wait}
	}
	d := p.try(now, tried, hash)
	if d.Kind != Wait {
		return d
	}
	if !p.enqueue(waiter, named) {
		return p.refuse(QueueFull)
	}
	// A slot that came free on another loop before that loop could see this
	// waiter has woken nobody: look once more, now that it can be seen. The
	// other loop frees first and looks for waiters second, so one of the two
	// sees the other (sync/atomic is sequentially consistent).
	if d = p.try(now, tried, hash); d.Kind != Wait {
		p.dequeue(waiter)
		return d
	}
	p.stats.Queued++
	return d
}

func (p *Pool) refuse(r Reason) Decision {
	if r == QueueFull {
		p.stats.QueueFull++
	}
	p.stats.Refused++
	return Decision{Kind: Refuse, Reason: r}
}

// survey sorts the endpoints: up, and those whose back-off is over.
func (p *Pool) survey(now int64) (up, probe uint64) {
	if p.c.ill.Load() == 0 {
		return p.c.all, 0
	}
	for i, e := range p.c.eps {
		if w := e.health.word.Load(); w == 0 {
			up |= 1 << i
		} else if usable(w, now) {
			probe |= 1 << i
		}
	}
	return up, probe
}

// ready keeps the endpoints of set that have an idle connection here or a free slot.
func (p *Pool) ready(set uint64) uint64 {
	ready := set & p.idleMap
	for m := set &^ ready; m != 0; m &= m - 1 {
		i := bits.TrailingZeros64(m)
		if p.c.eps[i].open.Load() < p.c.limit {
			ready |= 1 << i
		}
	}
	return ready
}

// try is Acquire without the queue. Wait means that there is nothing now.
func (p *Pool) try(now int64, tried, hash uint64) Decision {
	up, probe := p.survey(now)
	live := up | probe
	if live == 0 {
		return p.tryDown(now, tried)
	}
	if d, ok := p.get(now, live&^tried, hash, false); ok {
		return d
	}
	if again := live & tried; again != 0 {
		if d, ok := p.get(now, again, hash, true); ok {
			return d
		}
	}
	if loop, ep, ok := p.neighbourWith(now, up); ok {
		p.asking++
		p.askedAt = now
		return Decision{Kind: Steal, Loop: loop, Endpoint: ep}
	}
	return Decision{Kind: Wait}
}

// get takes a connection or a slot of one endpoint of set.
func (p *Pool) get(now int64, set, hash uint64, fresh bool) (Decision, bool) {
	for ready := p.ready(set); ready != 0; {
		ep := p.choose(ready, hash)
		if d, ok := p.obtain(now, ep, fresh); ok {
			p.advance(ready, ep)
			return d, true
		}
		ready &^= 1 << ep
	}
	return Decision{}, false
}

// obtain takes an idle connection of ep, or reserves a slot; fresh prefers the
// slot.
func (p *Pool) obtain(now int64, ep int, fresh bool) (Decision, bool) {
	e := p.c.eps[ep]
	w := e.health.word.Load()
	idle := p.idle.lists[ep].newest
	if w == 0 && idle != 0 && !fresh {
		return p.reuse(ep, idle), true
	}
	claimed := w
	// Of an outage that connecting caused, an idle connection is no test.
	if w != 0 && (idle == 0 || w&healthCause != 0) {
		if !usable(w, now) {
			return Decision{}, false
		}
		var ok bool
		if claimed, ok = e.health.claim(w, now, p.c.leaseNs(w)); !ok {
			return Decision{}, false
		}
	}
	if (fresh || idle == 0) && e.reserve(p.c.limit) {
		p.counted(ep)
		p.stats.Dialed++
		return Decision{Kind: Dial, Endpoint: ep}, true
	}
	if idle != 0 {
		return p.reuse(ep, idle), true
	}
	if claimed != w {
		e.health.unclaim(claimed, w)
	}
	return Decision{}, false
}

func (p *Pool) reuse(ep int, node uint32) Decision {
	conn, addr := p.takeIdle(ep, node)
	p.stats.Reused++
	return Decision{Kind: Reuse, Conn: conn, Addr: addr, Endpoint: ep}
}

// tryDown decides when every endpoint is down (or has no address):
//   - an idle connection that survived is used;
//   - while the outage is younger than the queue timeout, requests wait for
//     the next probe: a restart of the origin costs nobody an error;
//   - after that each request tries an endpoint that it has not tried yet (panic
//     routing): it fails fast if the origin is gone, and finds it as soon as
//     it is back;
//   - one that has tried them all is refused.
func (p *Pool) tryDown(now int64, tried uint64) Decision {
	down := p.resolvedSet()
	if down == 0 {
		return p.refuse(NotResolved)
	}
	for _, set := range [2]uint64{down &^ tried, down & tried} {
		if m := set & p.idleMap; m != 0 {
			ep := bits.TrailingZeros64(m)
			return p.reuse(ep, p.idle.lists[ep].newest)
		}
	}
	if p.young(now, down) {
		return Decision{Kind: Wait}
	}
	if down&^tried == 0 {
		return p.refuse(NoEndpoint)
	}
	for _, set := range [2]uint64{down &^ tried, down & tried} {
		for ready := p.ready(set); ready != 0; {
			ep := p.soonest(ready)
			if p.c.eps[ep].reserve(p.c.limit) {
				p.counted(ep)
				p.stats.Dialed++
				return Decision{Kind: Dial, Endpoint: ep}
			}
			ready &^= 1 << ep
		}
	}
	return Decision{Kind: Wait}
}

func (p *Pool) resolvedSet() (set uint64) {
	for i, e := range p.c.eps {
		if e.set.Load() != nil {
			set |= 1 << i
		}
	}
	return set
}

// young: the last endpoint of set that went down did so less than the queue
// timeout ago, and there is a queue to wait in.
func (p *Pool) young(now int64, set uint64) bool {
	return p.c.cfg.Queue > 0 && now < p.outageEnd(set)
}

func (p *Pool) outageEnd(set uint64) int64 {
	var since int64
	for m := set; m != 0; m &= m - 1 {
		since = max(since, p.c.eps[bits.TrailingZeros64(m)].health.since.Load())
	}
	return since + int64(p.c.cfg.QueueTimeout)
}

// soonest is the endpoint of set whose back-off ends first.
func (p *Pool) soonest(set uint64) int {
	ep, least := 0, ^uint64(0)
	for m := set; m != 0; m &= m - 1 {
		i := bits.TrailingZeros64(m)
		if w := p.c.eps[i].health.word.Load(); w < least {
			ep, least = i, w
		}
	}
	return ep
}

// askPatienceNs is after how long an ask without an answer no longer counts.
const askPatienceNs = int64(time.Second)

// neighbourWith finds the nearest loop that publishes an idle connection of an
// endpoint in set. Only asked when nothing else is left. The asks under way
// are taken off what a loop publishes: many requests would run after one
// connection otherwise, and all but one in vain.
func (p *Pool) neighbourWith(now int64, set uint64) (loop, ep int, ok bool) {
	if p.asking != 0 && now-p.askedAt > askPatienceNs {
		p.asking = 0
	}
	for _, n := range p.neighbour {
		pub := &p.c.pools[n].pub
		for m := set; m != 0; m &= m - 1 {
			i := bits.TrailingZeros64(m)
			if pub.idle[i].Load() > p.asking {
				return n, i, true
			}
		}
	}
	return 0, 0, false
}

// mayProbe: all endpoints are down and one may be tried. A request that finds
// this does not queue behind those that wait for just such a try.
func (p *Pool) mayProbe(now int64) bool {
	up, probe := p.survey(now)
	return up == 0 && probe != 0
}

// servable says whether Acquire would find something for a waiter: if not,
// NextWaiter names none. It must not promise what try then denies, or the
// caller would turn in circles.
func (p *Pool) servable(now int64) bool {
	up, probe := p.survey(now)
	if live := up | probe; live != 0 {
		if p.ready(live) != 0 {
			return true
		}
		_, _, ok := p.neighbourWith(now, up)
		return ok
	}
	down := p.resolvedSet()
	return down&p.idleMap != 0 || !p.young(now, down) && p.ready(down) != 0
}

// enqueue makes waiter wait, at the front if it had been named already, and
// lets the other loops see it. False when the queue is full; one that was
// named keeps its place whatever came in between.
func (p *Pool) enqueue(waiter uint32, front bool) bool {
	if p.queue.has(waiter) {
		return true
	}
	for {
		n := p.c.waiting.Load()
		if n >= int32(p.c.cfg.Queue) && !front {
			return false
		}
		if p.c.waiting.CompareAndSwap(n, n+1) {
			break
		}
	}
	if front {
		p.queue.pushFront(waiter)
	} else {
		p.queue.pushBack(waiter)
	}
	p.pub.waiters.Store(int32(p.queue.n))
	return true
}

func (p *Pool) dequeue(waiter uint32) bool {
	if !p.queue.remove(waiter) {
		return false
	}
	p.pub.waiters.Store(int32(p.queue.n))
	p.c.waiting.Add(-1)
	return true
}

// NextWaiter names the request that waits longest, if there is something for
// it, and takes it out of the queue: call Acquire for it before the next
// NextWaiter. To be called after every Put, Closed and DialFailed, for a mail
// from WakeLoop, and from time to time (see NextDue).
func (p *Pool) NextWaiter(now int64) (waiter uint32, ok bool) {
	if p.queue.n == 0 || !p.servable(now) {
		return 0, false
	}
	waiter = p.queue.nodes[p.queue.first].id
	p.dequeue(waiter)
	p.woken = uint64(waiter) + 1
	return waiter, true
}

// Woken tells that the mail of a WakeLoop has arrived. Call NextWaiter after
// it: what comes free from here on is worth another mail.
func (p *Pool) Woken() { p.pub.called.Store(false) }

// RemoveWaiter takes a request out of the queue: its time is over, or its
// client left. False when it does not wait.
func (p *Pool) RemoveWaiter(waiter uint32) bool {
	if p.woken == uint64(waiter)+1 {
		p.woken = 0
	}
	return p.dequeue(waiter)
}

// StealFailed tells that a Steal came back empty and keeps that request's turn:
// if its next Acquire makes it wait, it is at the front, even of a full queue.
func (p *Pool) StealFailed(waiter uint32) {
	p.asked()
	p.woken = uint64(waiter) + 1
}

// StealDropped tells that a Steal came to nothing and that its request has
// ended meanwhile.
func (p *Pool) StealDropped() { p.asked() }

// asked: one ask has its answer.
func (p *Pool) asked() {
	if p.asking > 0 {
		p.asking--
	}
}

// Waiting is the number of requests queued on this loop.
func (p *Pool) Waiting() int { return p.queue.n }

// NextDue is when Expire or NextWaiter will next have something to do without
// any event: an idle timeout, or the end of a back-off that requests wait for.
// 0: never.
func (p *Pool) NextDue(now int64) int64 {
	var due int64
	earlier := func(at int64) {
		if at > now && (due == 0 || at < due) {
			due = at
		}
	}
	if len(p.doomed) != 0 {
		return now
	}
	if p.idle.total != 0 && p.c.cfg.IdleTimeout > 0 {
		due = max(p.nextExpiry, now)
	}
	if p.queue.n == 0 {
		return due
	}
	up, _ := p.survey(now)
	for m := p.c.all &^ up; m != 0; m &= m - 1 {
		e := p.c.eps[bits.TrailingZeros64(m)]
		if e.set.Load() != nil {
			earlier(untilNs(e.health.word.Load()))
		}
	}
	if up == 0 {
		earlier(p.outageEnd(p.resolvedSet()))
	}
	return due
}
