package upstream

import (
	"math"
	"math/bits"
)

// Request is what Acquire is to find a connection for.
type Request struct {
	// Waiter names the request should it have to wait: a small number such as its
	// slab index, unique on this loop.
	Waiter uint32
	// Client is on whose behalf it waits then.
	Client Client
	// Tried are the endpoints that failed this request already; those are
	// taken only where no other will do, and then on a fresh connection if there is
	// a slot for one.
	Tried Tried
	// Hash is mixed into random choices. Where the balancing is by key it is HashKey of
	// the key, 0: the request has none, and goes anywhere.
	Hash uint64
	// Stick is what Sticks says of the request's token.
	Stick int
}

// Acquire finds a connection for a request, or a place in the queue, where all
// requests are of one client. See Quick and AcquireFor.
func (p *Pool) Acquire(now int64, waiter uint32, tried Tried, hash uint64) Decision {
	if d, ok := p.Quick(now, tried, hash); ok {
		return d
	}
	return p.AcquireFor(now, &Request{Waiter: waiter, Tried: tried, Hash: hash})
}

// Quick is AcquireFor in the usual case: nobody waits on any loop, all is well,
// and the endpoint whose turn it is has an idle connection here. Where it gives
// false AcquireFor decides.
func (p *Pool) Quick(now int64, tried Tried, hash uint64) (d Decision, ok bool) {
	if p.changes != p.c.changes.Load() {
		p.notice()
	}
	if tried == 0 && p.woken == 0 && p.c.pressed.Load() == 0 && p.c.ill.Load() == p.roster.vacant {
		l := levelFor(p, now, hash)
		if ready := p.ready(l.all); ready != 0 {
			ep := p.choose(now, l, ready, hash)
			if idle := p.idle.lists[ep].newest; idle != 0 {
				p.advance(ready, ep)
				d.Kind, d.Endpoint = Reuse, ep
				d.Conn, d.Addr = p.takeIdle(ep, idle)
				p.stats.Reused++
				return d, true
			}
		}
	}
	if p.wide != nil {
		return p.wide.quick(p, now, tried, hash)
	}
	return d, false
}

// AcquireFor finds a connection for r, or a place in the queue. A request that
// finds others waiting on its loop, or longer ones on another, queues behind
// them, unless NextWaiter has just named it.
func (p *Pool) AcquireFor(now int64, r *Request) Decision {
	if p.changes != p.c.changes.Load() {
		p.notice()
	}
	named := p.woken == uint64(r.Waiter)+1
	p.catchUp()
	mine := p.queue.newcomer(now, r.Client.Addr)
	if named {
		p.woken = 0
		if mine = p.wokenTurn; mine.since == 0 {
			mine = p.queue.again(r.Client.Addr)
		}
	}
	p.rested(now)
	if named || p.queue.Len() == 0 && p.oldest(mine) || p.mayProbe(now) {
		if d := r.find(p, now); d.Kind != Wait {
			return d
		}
	}
	d := Decision{Kind: Wait}
	var ok bool
	if d.Displaced, ok = p.enqueue(now, mine, r, named); !ok {
		return p.refuse(QueueFull)
	}
	// A slot that came free on another loop before that loop could see this
	// waiter has woken nobody: look once more, now that it can be seen. The
	// other loop frees first and looks for waiters second, so one of the two
	// sees the other (sync/atomic is sequentially consistent).
	if named || p.queue.Len() == 1 && p.oldest(mine) {
		if d := r.find(p, now); d.Kind != Wait {
			p.dequeue(r.Waiter)
			return d
		}
	}
	p.stats.Queued++
	return d
}

// catchUp takes notice of the turns there were on all loops.
func (p *Pool) catchUp() { p.queue.round = max(p.queue.round, p.c.round.Load()) }

// tell lets the other loops know of a turn.
func (p *Pool) tell() {
	for {
		round := p.c.round.Load()
		if p.queue.round <= round || p.c.round.CompareAndSwap(round, p.queue.round) {
			return
		}
	}
}

// oldest says that no other loop has a waiter that comes clearly before mine, and has
// not been called.
func (p *Pool) oldest(mine turn) bool {
	if int(p.c.waiting.Load()) == p.queue.Len() {
		return true
	}
	for _, o := range p.c.pools {
		if t, waits := o.pub.turn(); o != p && waits && t.before(mine) && !o.pub.called.Load() {
			return false
		}
	}
	return true
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
	if !someIll(p) {
		return p.roster.all, 0
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
	ready := set & p.spareIdle()
	for m := set &^ ready &^ p.resting; m != 0; m &= m - 1 {
		i := bits.TrailingZeros64(m)
		if p.c.eps[i].open.Load() < p.limit() {
			ready |= 1 << i
		}
	}
	return ready
}

// limit is how many connections to an endpoint this loop may add to: it leaves one
// for each loop that was called and is on its way.
func (p *Pool) limit() int32 {
	n := p.c.called.Load()
	if n != 0 && p.pub.called.Load() {
		n--
	}
	return p.c.limit - n
}

// spareIdle are the endpoints with an idle connection here that no other loop has
// asked for.
func (p *Pool) spareIdle() uint64 {
	spare := p.idleMap
	if p.c.pressed.Load() == 0 {
		return spare
	}
	for m := spare; m != 0; m &= m - 1 {
		if i := bits.TrailingZeros64(m); p.idle.lists[i].n <= p.asked.claims[i].Load() {
			spare &^= 1 << i
		}
	}
	return spare
}

// spare is the newest idle connection of ep if there is one for this loop itself,
// else 0.
func (p *Pool) spare(ep int) uint32 {
	l := &p.idle.lists[ep]
	if l.n <= p.asked.claims[ep].Load() {
		return 0
	}
	return l.newest
}

// try is Acquire without the queue. Wait means that there is nothing now.
func (p *Pool) try(now int64, tried Tried, hash uint64) Decision {
	if panics(p, now) {
		if d, ok := tryPanic(p, tried); ok {
			return d
		}
	}
	switch {
	case p.roster.levels != nil:
		return tryLevels(p, now, tried, hash)
	case p.wide != nil:
		return p.wide.try(p, now, tried, hash)
	}
	up, probe := p.survey(now)
	live := up | probe
	if live == 0 {
		return p.tryDown(now, tried)
	}
	if d, ok := p.get(now, &p.roster.level, live&^uint64(tried), hash, false); ok {
		return d
	}
	if again := live & uint64(tried); again != 0 {
		if d, ok := p.get(now, &p.roster.level, again, hash, true); ok {
			return d
		}
	}
	return p.neighbourWith(true, 0)
}

// get takes a connection or a slot of one endpoint of set, which are of l.
func (p *Pool) get(now int64, l *level, set, hash uint64, fresh bool) (Decision, bool) {
	for ready := p.ready(set); ready != 0; {
		ep := p.choose(now, l, ready, hash)
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
	idle := p.spare(ep)
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
	if (fresh || idle == 0) && !p.rests(ep) && e.reserve(p.limit()) {
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

// neighbourWith finds the nearest loop that publishes an idle connection of an
// endpoint that is up which nobody has asked for yet, and with claim asks for it: what
// is claimed the loop itself leaves alone, until TakeIdle has given it away. Only
// asked when nothing else is left. most is the last level whose endpoints count. Wait: there is none.
func (p *Pool) neighbourWith(claim bool, most int) Decision {
	for _, n := range p.neighbour {
		o := p.c.pools[n]
		if p.wide != nil && !o.pub.some.Load() {
			continue
		}
		for i, e := range p.c.eps {
			if o.pub.idle[i].Load() == 0 || e.health.word.Load() != 0 || p.roster.levels != nil && int(p.roster.levelOf[i]) > most {
				continue
			}
			for claimed := o.asked.claims[i].Load(); o.pub.idle[i].Load() > claimed; claimed = o.asked.claims[i].Load() {
				if !claim {
					return Decision{Kind: Ask, Loop: n, Endpoint: i}
				}
				if o.asked.claims[i].CompareAndSwap(claimed, claimed+1) {
					p.c.pressed.Add(1)
					return Decision{Kind: Ask, Loop: n, Endpoint: i}
				}
			}
		}
	}
	return Decision{Kind: Wait}
}

// answered takes back a claim on an idle connection of ep, once its loop deals
// with it.
func (p *Pool) answered(ep int) {
	for {
		n := p.asked.claims[ep].Load()
		if n <= 0 {
			return // taken without being asked for
		}
		if p.asked.claims[ep].CompareAndSwap(n, n-1) {
			p.c.pressed.Add(-1)
			return
		}
	}
}

// servable says whether Acquire would find something for a waiter: if not,
// NextWaiter names none. It must not promise what try then denies, or the
// caller would turn in circles.
func (p *Pool) servable(now int64) bool {
	if panics(p, now) && panicReady(p) {
		return true
	}
	if !p.c.anyUsable(now) {
		return p.servableDown(now)
	}
	ready := false
	if p.wide != nil {
		ready = p.wide.anyReady(p, now)
	} else {
		up, probe := p.survey(now)
		ready = p.ready(up|probe) != 0
	}
	return ready || p.neighbourWith(false, len(p.roster.levels)).Kind == Ask
}

// enqueue makes r wait, at the front if it had been named already, and lets the
// other loops see it. False when the queue is full; one that was named keeps its
// place whatever came in between, and one whose client has few waiting takes the
// place of the newest of whoever has most: that one is displaced (+1; 0: none).
func (p *Pool) enqueue(now int64, mine turn, r *Request, front bool) (displaced uint32, ok bool) {
	if p.queue.Has(r.Waiter) {
		return 0, true
	}
	if !p.place(front) {
		id, ok := p.queue.Crowd(r.Client)
		if !ok || int(p.c.waiting.Load()) > p.c.cfg.Queue { // it must not get any longer
			return 0, false
		}
		p.queue.Remove(id)
		p.stats.QueueFull++
		p.stats.Refused++
		displaced = id + 1
	}
	if front {
		p.queue.PushFront(mine, r.Waiter, r.Client)
	} else {
		p.queue.Push(now, r.Waiter, r.Client)
	}
	p.publishTurn()
	return displaced, true
}

// place takes a place in the queue, which one that has had its turn always gets.
func (p *Pool) place(front bool) bool {
	for {
		n := p.c.waiting.Load()
		if n >= int32(p.c.cfg.Queue) && !front {
			return false
		}
		if p.c.waiting.CompareAndSwap(n, n+1) {
			p.c.pressed.Add(1)
			return true
		}
	}
}

// publishTurn lets the other loops see the turn of the next waiter here.
func (p *Pool) publishTurn() {
	t := p.queue.turn()
	if p.queue.Len() != 0 {
		t.since = max(t.since, 1)
	}
	if t.back != p.pub.back.Load() {
		p.pub.back.Store(t.back)
	}
	if t.since != p.pub.since.Load() {
		p.pub.since.Store(t.since)
	}
}

func (p *Pool) dequeue(waiter uint32) bool {
	if !p.queue.Remove(waiter) {
		return false
	}
	p.left()
	return true
}

// left: one waiter has left the queue.
func (p *Pool) left() {
	p.publishTurn()
	p.c.waiting.Add(-1)
	p.c.pressed.Add(-1)
}

// NextWaiter names the request whose turn it is, if there is something for it and
// no loop has one that has waited longer, and takes it out of the queue: call
// AcquireFor for it before the next NextWaiter. To be called after every Put,
// Closed and DialFailed, for a mail from Pass, and from time to time (see
// NextDue).
func (p *Pool) NextWaiter(now int64) (waiter uint32, ok bool) {
	if p.queue.Len() == 0 {
		return 0, false
	}
	p.rested(now)
	next := p.queue.turn()
	if !p.oldest(next) || !p.servable(now) {
		return 0, false
	}
	p.wokenTurn = next
	p.catchUp()
	waiter, _ = p.queue.Pop(now)
	p.tell()
	p.left()
	p.woken = uint64(waiter) + 1
	return waiter, true
}

// Handoff is what another loop gets: a mail that calls it, and with Kept the idle
// connection Conn of Endpoint as if it had asked for it.
type Handoff struct {
	Conn     uint64
	Addr     uint32
	Loop     int
	Endpoint int
	Kept     bool
}

// Pass says what goes to another loop, once NextWaiter names nobody here: whose next
// waiter has waited longest, and longer than the next one here, is called. Until it
// has heard of that (Woken) it is not called again, nor are others held up for it.
// Call Pass again, and NextWaiter before, until it gives nothing. Without waiters
// anywhere it costs one load.
func (p *Pool) Pass(now int64) (h Handoff, ok bool) {
	if p.c.waiting.Load() == 0 || !p.servable(now) {
		return h, false
	}
	mine := turn{math.MaxInt64, math.MaxInt64}
	if p.queue.Len() != 0 {
		mine = p.queue.turn()
	}
	if h.Loop, ok = p.c.wake(p.loop, mine); !ok {
		return h, false
	}
	if p.wide != nil {
		h.Endpoint, h.Kept = p.wide.giveable(p)
	} else {
		up, _ := p.survey(now)
		m := up & p.spareIdle()
		h.Endpoint, h.Kept = bits.TrailingZeros64(m), m != 0
	}
	if h.Kept {
		h.Conn, h.Addr = p.handOverIdle(h.Endpoint, p.idle.lists[h.Endpoint].newest)
	}
	return h, true
}

// Woken tells that what Pass gave has arrived. Call NextWaiter after it: what comes
// free from here on is worth another mail.
func (p *Pool) Woken() {
	if p.pub.called.CompareAndSwap(true, false) {
		p.c.called.Add(-1)
	}
}

// RemoveWaiter takes a request out of the queue: its time is over, or its
// client left. False when it does not wait.
func (p *Pool) RemoveWaiter(waiter uint32) bool {
	if p.woken == uint64(waiter)+1 {
		p.woken = 0
	}
	return p.dequeue(waiter)
}

// Again gives a request that had its turn the turn once more: an Ask came back
// empty, or there was no way to connect yet. If its next AcquireFor makes it
// wait, it is at the front, even of a full queue.
func (p *Pool) Again(waiter uint32) {
	p.woken, p.wokenTurn = uint64(waiter)+1, turn{}
}

// Waiting is the number of requests queued on this loop.
func (p *Pool) Waiting() int { return p.queue.Len() }

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
	if p.queue.Len() == 0 {
		return due
	}
	if p.resting != 0 {
		earlier(p.restUntil)
	}
	up := false
	for _, e := range p.c.eps {
		switch w := e.health.word.Load(); w {
		case 0:
			up = true
		case healthHeld:
			earlier(now + heldNs)
		default:
			earlier(untilNs(w))
		}
	}
	if !up {
		earlier(p.c.outageEnd())
	}
	return due
}
