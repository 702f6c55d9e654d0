package upstream

import "sync/atomic"

// DecisionKind says what the caller of Acquire does next.
type DecisionKind uint8

const (
	Refuse DecisionKind = iota // answer 503, see Reason
	Reuse                      // send the request on Conn
	Dial                       // a slot is reserved: dial Endpoint
	Ask                        // ask loop Loop for an idle connection of Endpoint
	Wait                       // queued; NextWaiter will name it
)

func (k DecisionKind) String() string {
	return [...]string{"refuse", "reuse", "dial", "ask", "wait"}[k]
}

// Reason says why a request was refused.
type Reason uint8

const (
	ReasonNone  Reason = iota
	QueueFull          // all connections are busy and so is the queue
	NoEndpoint         // every endpoint is down and has been tried
	NotResolved        // no endpoint has an address
	ReasonLast
)

func (r Reason) String() string {
	return [...]string{"", "upstream queue full", "no upstream endpoint available", "upstream name not resolved", ""}[r]
}

// Decision is the answer of Acquire.
type Decision struct {
	Conn      uint64 // Reuse
	Addr      uint32 // Reuse: the key it was put back with
	Displaced uint32 // Wait: the waiter that lost its place for it, +1; 0: none
	Endpoint  int    // Reuse, Dial, Ask
	Loop      int    // Ask
	Kind      DecisionKind
	Reason    Reason // Refuse
}

// Stats are the counts of one loop's share, and two gauges.
type Stats struct {
	Reused, Dialed, Adopted, HandedOver uint64
	DialErrors, ResponseErrors          uint64
	Queued, QueueFull, Refused          uint64
	Expired, Dropped, Prewarmed         uint64
	Miscounted                          uint64 // a connection given back twice: always 0
	Idle, Waiting                       int
	Doomed                              int // set aside for Expire to give out
}

// Pool is one loop's share of a cluster. It belongs to one thread.
type Pool struct {
	c         *Cluster
	loop      int
	neighbour []int
	busy      bool  // the balancing needs Endpoint.busy
	retired   bool  // the cluster is, as far as this loop has noticed
	step      int32 // by which permits to keep idle connections are taken, see room

	idle    idleSet
	idleMap uint64 // endpoints with idle connections here, where sets are one word
	wide    *wide  // nil: they are
	eps     []poolEndpoint
	roster  *roster // of Cluster.roster, what was seen
	split   split   // of requests between its levels, if there are several

	queue     Turns
	woken     uint64 // waiter that NextWaiter named last, +1; 0: none
	wokenTurn turn   // ... and what it was; none: it comes before all others

	resting   uint64 // endpoints that take no new connection before restUntil
	restUntil int64

	changes    uint32 // of Cluster.changes, what was seen
	doomed     []idleNode
	nextExpiry int64 // nothing expires before
	random     uint64
	usual      float64 // microseconds that responses take, as this loop has seen them: see Took
	stats      Stats

	pub   published
	asked struct { // what other loops write
		_      linePad
		claims []atomic.Int32 // by endpoint: idle connections that they have asked for
		_      linePad
	}
}

// poolEndpoint is what one loop knows of one endpoint.
type poolEndpoint struct {
	weight  int64
	current int64  // smooth weighted round robin
	addr    uint32 // turns through the address set

	keep      int32 // idle connections this loop may keep
	changed   bool  // the addresses have, at least once, or one is down
	warmed    int32 // dialled by Prewarm before warmReset
	warmReset int64
}

func newPool(c *Cluster, loop, loops int, neighbours []int) *Pool {
	p := &Pool{
		c: c, loop: loop, neighbour: neighbours,
		busy:   c.cfg.Balance.comparesBusy() || c.cfg.bounded(),
		step:   int32(max(1, c.cfg.MaxIdle/(8*loops))),
		eps:    make([]poolEndpoint, len(c.eps)),
		random: uint64(loop+1) * 0x9E3779B97F4A7C15,
		queue:  Turns{lines: &c.lines},
	}
	p.roster = c.roster.Load()
	p.idle.init(len(c.eps), !c.cfg.Anonymous)
	p.pub.idle, p.asked.claims = paddedCounts(len(c.eps)), paddedCounts(len(c.eps))
	var total int64
	for i, weight := range p.roster.weights {
		p.eps[i].weight = weight
		total += weight
	}
	p.split.reset(len(p.roster.levels))
	// Loops start at different points of the same sequence: were they to start
	// together, the first endpoint would get the first request of each.
	if c.wide {
		p.wide = &wide{loops: loops, rests: make([]bool, len(c.eps))}
		enlist(p, p.roster)
		return p
	}
	if all := p.roster.all; all != 0 {
		for range int64(loop) % total {
			p.advance(all, p.best(all))
		}
	}
	return p
}

// counted and uncounted keep Endpoint.busy = open - idle, which is the number of
// active requests of an HTTP/1 endpoint. Only balancing by load pays for it.
func (p *Pool) counted(ep int) {
	if p.busy {
		p.c.eps[ep].busy.Add(1)
		if p.c.cfg.bounded() {
			p.c.underWay.Add(1)
		}
	}
}

func (p *Pool) uncounted(ep int) {
	if p.busy {
		p.c.eps[ep].busy.Add(-1)
		if p.c.cfg.bounded() {
			p.c.underWay.Add(-1)
		}
	}
}

// publishIdle makes the idle count of ep visible to the other loops. It must
// come before a look at their waiters (WakeLoop).
func (p *Pool) publishIdle(ep int) {
	n := p.idle.lists[ep].n
	switch {
	case p.wide != nil:
		if some := p.idle.total != 0; some != p.pub.some.Load() {
			p.pub.some.Store(some)
		}
	case n == 0:
		p.idleMap &^= 1 << ep
	default:
		p.idleMap |= 1 << ep
	}
	p.pub.idle[ep].Store(n)
}

// Put gives a connection back after a complete exchange. False: close it, then
// call Closed. Unlike with PutAddr a change of the addresses can not be noticed
// while the connection is busy.
func (p *Pool) Put(now int64, conn uint64, ep int) (keep bool) {
	return p.PutAddr(now, conn, ep, 0)
}

// PutAddr is Put for a connection whose address is known: addr is the key that
// Address gave for it, 0 if unknown.
func (p *Pool) PutAddr(now int64, conn uint64, ep int, addr uint32) (keep bool) {
	if p.changes != p.c.changes.Load() {
		p.notice()
	}
	if p.retired || !p.room(ep) || p.eps[ep].changed && addr != 0 && !p.c.eps[ep].set.Load().Serves(addr) {
		p.stats.Dropped++
		return false
	}
	if !p.idle.push(now, conn, ep, addr) {
		p.stats.Miscounted++
		return true
	}
	if p.idle.total == 1 {
		p.nextExpiry = now + int64(p.c.cfg.IdleTimeout)
	}
	p.publishIdle(ep)
	p.uncounted(ep)
	return true
}

// room reports whether one more idle connection of ep may be kept. Config.MaxIdle
// holds over all loops; so that they need not count each other's connections
// with every Put, a loop obtains permits to keep some, in steps, and Expire returns
// what it does not use.
func (p *Pool) room(ep int) bool {
	return p.idle.lists[ep].n < p.eps[ep].keep || p.moreRoom(ep)
}

func (p *Pool) moreRoom(ep int) bool {
	e := p.c.eps[ep]
	for {
		kept := e.kept.Load()
		grant := min(p.step, int32(p.c.cfg.MaxIdle)-kept)
		if grant <= 0 {
			return false
		}
		if e.kept.CompareAndSwap(kept, kept+grant) {
			p.eps[ep].keep += grant
			return true
		}
	}
}

// returnRoom gives back the permits to keep more than one step above what is idle.
func (p *Pool) returnRoom() {
	for ep := range p.eps {
		need := p.idle.lists[ep].n
		if need != 0 {
			need += p.step
		}
		if spare := p.eps[ep].keep - need; spare > 0 {
			p.eps[ep].keep = need
			p.c.eps[ep].kept.Add(-spare)
		}
	}
}

// takeIdle removes node i of ep and counts its connection as busy.
func (p *Pool) takeIdle(ep int, i uint32) (conn uint64, addr uint32) {
	conn, addr = p.idle.take(i)
	p.publishIdle(ep)
	p.counted(ep)
	return conn, addr
}

// Remove takes an idle connection out because its peer closed it; then close
// it and call Closed. False when it was not idle.
func (p *Pool) Remove(conn uint64, ep int) bool {
	if i := p.idle.lookup(conn, ep); i != 0 {
		p.takeIdle(ep, i)
		return true
	}
	for j := range p.doomed {
		if p.doomed[j].conn == conn {
			p.doomed[j] = p.doomed[len(p.doomed)-1]
			p.doomed = p.doomed[:len(p.doomed)-1]
			return true
		}
	}
	return false
}

// TakeIdle takes the newest idle connection of ep out for a neighbour that
// asked. It stays counted: the neighbour puts it back or reports it Closed; if
// it can not be handed over, close it and call Closed here.
func (p *Pool) TakeIdle(ep int) (conn uint64, ok bool) {
	conn, _, ok = p.TakeIdleAddr(ep)
	return conn, ok
}

// TakeIdleAddr is TakeIdle with the address key the connection was put back with.
func (p *Pool) TakeIdleAddr(ep int) (conn uint64, addr uint32, ok bool) {
	if p.changes != p.c.changes.Load() {
		p.notice()
	}
	i := p.idle.lists[ep].newest
	if i == 0 {
		p.answered(ep)
		return 0, 0, false
	}
	conn, addr = p.handOverIdle(ep, i)
	p.answered(ep)
	return conn, addr, true
}

// handOverIdle takes node i of ep out for another loop.
func (p *Pool) handOverIdle(ep int, i uint32) (conn uint64, addr uint32) {
	conn, addr = p.takeIdle(ep, i)
	p.stats.HandedOver++
	// The permit to keep it goes along: the neighbour needs it for Put.
	p.eps[ep].keep--
	p.c.eps[ep].kept.Add(-1)
	return conn, addr
}

// Adopted counts a connection of ep that a neighbour handed over; the caller
// sends its request on it.
func (p *Pool) Adopted(ep int) {
	p.stats.Adopted++
}

// AdoptIdle keeps a connection of ep that a neighbour handed over and that
// nobody here needs any more. False: close it, then call Closed.
func (p *Pool) AdoptIdle(now int64, conn uint64, ep int, addr uint32) (keep bool) {
	p.stats.Adopted++
	return p.PutAddr(now, conn, ep, addr)
}

// Closed frees the slot of a connection that is gone: one that was dialled or
// adopted and is not idle any more.
func (p *Pool) Closed(ep int) {
	e := p.c.eps[ep]
	if e.open.Add(-1) < 0 {
		e.open.Add(1)
		p.stats.Miscounted++
		return
	}
	p.uncounted(ep)
}

// notice handles changed addresses: what is idle on an address that vanished
// or is down, or all when the cluster is retired, is set aside for Expire to give out.
func (p *Pool) notice() {
	p.changes = p.c.changes.Load()
	p.retired = p.c.retired.Load()
	if r := p.c.roster.Load(); r != p.roster {
		enlist(p, r)
	}
	for ep := range p.eps {
		set := p.c.eps[ep].set.Load()
		if set == nil {
			continue
		}
		p.eps[ep].changed = set.Generation > 1 || set.someDown()
		if !p.retired && !p.eps[ep].changed {
			continue
		}
		for i := p.idle.lists[ep].newest; i != 0; {
			n := p.idle.nodes[i]
			if p.retired || !set.Serves(n.addr) {
				p.takeIdle(ep, i)
				p.doomed = append(p.doomed, n)
			}
			i = n.older
		}
	}
}

// Expire appends to out the idle connections to close: idle for longer than
// the idle timeout, oldest first per endpoint, or on addresses that vanished or are down.
// For each: close it, then call Closed. Cheap when there are none.
func (p *Pool) Expire(now int64, out []uint64) []uint64 {
	if p.changes != p.c.changes.Load() {
		p.notice()
	}
	for _, n := range p.doomed {
		out = append(out, n.conn)
		p.stats.Dropped++
	}
	p.doomed = p.doomed[:0]
	p.returnRoom()
	timeout := int64(p.c.cfg.IdleTimeout)
	if timeout <= 0 || p.idle.total == 0 || now < p.nextExpiry {
		return out
	}
	next := now + timeout
	for ep := range p.idle.lists {
		for {
			i := p.idle.lists[ep].oldest
			if i == 0 {
				break
			}
			if due := p.idle.nodes[i].since + timeout; due > now {
				next = min(next, due)
				break
			}
			conn, _ := p.takeIdle(ep, i)
			out = append(out, conn)
			p.stats.Expired++
		}
	}
	p.nextExpiry = next
	return out
}

// Stats copies the counts.
func (p *Pool) Stats() Stats {
	s := p.stats
	s.Idle, s.Waiting, s.Doomed = p.idle.total, p.queue.Len(), len(p.doomed)
	return s
}
