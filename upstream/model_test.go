package upstream

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// The model plays several loops in one goroutine: random operations, mail that
// takes its time, and a second bookkeeping, simple enough to be right, against
// which every step is checked.

type modelState uint8

const (
	mDialing modelState = iota + 1
	mBusy
	mIdle
	mExpired // given out by Expire, to be closed
	mMoving  // taken for a neighbour
)

type modelConn struct {
	loop, ep int
	state    modelState
	addr     uint32
	since    int64
}

type modelMail struct {
	to, from int
	kind     string // wake, steal, gift, none
	ep       int
	waiter   uint32
	conn     uint64
}

type model struct {
	t       *testing.T
	c       *Cluster
	rng     *rand.Rand
	now     int64
	conns   map[uint64]*modelConn
	next    uint64
	waiter  uint32
	queues  [][]uint32
	mails   []modelMail
	again   map[uint32]bool // waiters that were named and had to wait again
	steals  map[uint32]bool // waiters that wait for a neighbour's answer
	served  int
	stolen  int
	waited  int
	refused int
	faulty  bool
	log     []string
}

func newModel(t *testing.T, cfg Config, loops int, seed uint64) *model {
	c, err := NewCluster(cfg, loops)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range c.Endpoints() {
		if e.Target.Host != "" {
			c.Resolved(e.ID, []string{"10.0.0.1:80", "10.0.0.2:80"})
		}
	}
	return &model{
		t: t, c: c, rng: rand.New(rand.NewPCG(seed, 1)), now: int64(time.Hour),
		conns: map[uint64]*modelConn{}, queues: make([][]uint32, loops),
		steals: map[uint32]bool{}, again: map[uint32]bool{},
	}
}

func (m *model) failf(format string, args ...any) {
	m.t.Helper()
	tail := m.log[max(0, len(m.log)-12):]
	m.t.Fatalf("%s\nlast operations: %q", fmt.Sprintf(format, args...), tail)
}

func (m *model) note(format string, args ...any) {
	m.log = append(m.log, fmt.Sprintf(format, args...))
}

// some picks a connection in one of the states, the same one for the same seed.
func (m *model) some(states ...modelState) (uint64, *modelConn) {
	var ids []uint64
	for id, c := range m.conns {
		if slices.Contains(states, c.state) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return 0, nil
	}
	slices.Sort(ids)
	id := ids[m.rng.IntN(len(ids))]
	return id, m.conns[id]
}

func (m *model) request(loop int, waiter uint32, tried uint64, named bool) {
	d := m.c.Pool(loop).Acquire(m.now, waiter, tried, m.rng.Uint64())
	m.note("loop %d acquire %d: %v", loop, waiter, d)
	if len(m.queues[loop]) > 0 && !named && d.Kind != Wait && d.Kind != Refuse && !m.faulty {
		m.failf("request %d passed %d waiting ones", waiter, len(m.queues[loop]))
	}
	switch d.Kind {
	case Reuse:
		c := m.conns[d.Conn]
		if c == nil || c.state != mIdle || c.loop != loop || c.ep != d.Endpoint || c.addr != d.Addr {
			m.failf("connection %d handed out: %+v", d.Conn, c)
		}
		for id, o := range m.conns {
			if o.state == mIdle && o.loop == loop && o.ep == c.ep && o.since > c.since && !m.vanished(o) {
				m.failf("connection %d reused, %d is newer", d.Conn, id)
			}
		}
		if m.vanished(c) {
			m.failf("connection %d to a vanished address reused", d.Conn)
		}
		c.state = mBusy
		m.served++
	case Dial:
		m.dial(loop, d.Endpoint)
		m.served++
	case Steal:
		if m.c.Endpoints()[d.Endpoint].Open() < m.c.cfg.MaxConnections && !m.faulty {
			m.failf("steal below the cap")
		}
		if d.Loop == loop || m.idleAt(d.Loop, d.Endpoint) == 0 {
			m.failf("steal from loop %d, which has none", d.Loop)
		}
		m.steals[waiter] = true
		m.mails = append(m.mails, modelMail{to: d.Loop, from: loop, kind: "steal", ep: d.Endpoint, waiter: waiter})
	case Wait:
		if named {
			m.again[waiter] = true
			m.queues[loop] = slices.Insert(m.queues[loop], 0, waiter)
		} else {
			m.queues[loop] = append(m.queues[loop], waiter)
		}
		m.waited++
	case Refuse:
		if d.Reason == QueueFull && m.c.Waiting() < m.c.cfg.Queue {
			m.failf("queue said to be full with %d", m.c.Waiting())
		}
		m.refused++
	}
}

func (m *model) dial(loop, ep int) {
	set, i := m.c.Pool(loop).Address(m.now, ep)
	m.next++
	m.conns[m.next] = &modelConn{loop: loop, ep: ep, state: mDialing, addr: set.Keys[i]}
}

func (m *model) vanished(c *modelConn) bool { return !m.c.Endpoints()[c.ep].Set().Has(c.addr) }

func (m *model) idleAt(loop, ep int) (n int) {
	for _, c := range m.conns {
		if c.state == mIdle && c.loop == loop && c.ep == ep {
			n++
		}
	}
	return n
}

// serve is what every loop does after an event that may help a waiter.
func (m *model) serve(loop int) {
	p := m.c.Pool(loop)
	for n := 0; ; n++ {
		w, ok := p.NextWaiter(m.now)
		if !ok {
			break
		}
		if len(m.queues[loop]) == 0 || m.queues[loop][0] != w {
			m.failf("loop %d: waiter %d named, queue %v", loop, w, m.queues[loop])
		}
		if n > 10000 {
			m.failf("loop %d turns in circles", loop)
		}
		m.queues[loop] = m.queues[loop][1:]
		m.request(loop, w, 0, true)
	}
	if p.Waiting() == 0 {
		if to, ok := m.c.WakeLoop(loop); ok {
			if to == loop || len(m.queues[to]) == 0 {
				m.failf("loop %d told to wake loop %d, where %v wait", loop, to, m.queues[to])
			}
			m.mails = append(m.mails, modelMail{to: to, from: loop, kind: "wake"})
		}
	}
}

func (m *model) put(id uint64, c *modelConn) {
	if m.c.Pool(c.loop).PutAddr(m.now, id, c.ep, c.addr) {
		if m.vanished(c) {
			m.failf("connection %d to a vanished address kept", id)
		}
		m.now++ // so that "newest" is unambiguous
		c.state, c.since = mIdle, m.now-1
	} else {
		m.closed(id, c)
	}
	m.serve(c.loop)
}

func (m *model) closed(id uint64, c *modelConn) {
	delete(m.conns, id)
	m.c.Pool(c.loop).Closed(c.ep)
}

func (m *model) deliver() {
	i := m.rng.IntN(len(m.mails))
	mail := m.mails[i]
	m.mails = slices.Delete(m.mails, i, i+1)
	p := m.c.Pool(mail.to)
	m.note("mail %+v", mail)
	switch mail.kind {
	case "wake":
		p.Woken()
		m.serve(mail.to)
	case "steal":
		back := modelMail{to: mail.from, from: mail.to, kind: "none", ep: mail.ep, waiter: mail.waiter}
		if id, addr, ok := p.TakeIdleAddr(mail.ep); ok {
			c := m.conns[id]
			if c == nil || c.state != mIdle || c.loop != mail.to || c.addr != addr {
				m.failf("connection %d given away: %+v", id, c)
			}
			c.state = mMoving
			back.kind, back.conn = "gift", id
		}
		m.mails = append(m.mails, back)
	case "gift":
		c := m.conns[mail.conn]
		c.loop, c.state = mail.to, mBusy
		m.stolen++
		if !m.steals[mail.waiter] { // its client left
			if !p.AdoptIdle(m.now, mail.conn, c.ep, c.addr) {
				m.closed(mail.conn, c)
			} else {
				m.now++
				c.state, c.since = mIdle, m.now-1
			}
			m.serve(mail.to)
			return
		}
		delete(m.steals, mail.waiter)
		p.Adopted(c.ep)
		m.served++
		m.serve(mail.to)
	case "none":
		if m.steals[mail.waiter] {
			delete(m.steals, mail.waiter)
			p.StealFailed(mail.waiter)
			m.request(mail.to, mail.waiter, 0, true)
		} else {
			p.StealDropped()
		}
		m.serve(mail.to)
	}
}

func (m *model) step() {
	loop := m.rng.IntN(len(m.queues))
	switch op := m.rng.IntN(100); {
	case op < 30:
		m.waiter++
		m.request(loop, m.waiter, 0, false)
	case op < 45:
		if id, c := m.some(mDialing); c != nil {
			m.endDial(id, c)
		}
	case op < 65:
		if id, c := m.some(mBusy); c != nil {
			m.note("put %d %+v", id, *c)
			m.put(id, c)
		}
	case op < 70:
		if id, c := m.some(mBusy, mExpired); c != nil {
			m.note("close %d %+v", id, *c)
			m.closed(id, c)
			m.serve(c.loop)
		}
	case op < 73:
		if id, c := m.some(mIdle); c != nil {
			m.note("idle %d dies", id)
			if !m.c.Pool(c.loop).Remove(id, c.ep) {
				m.failf("idle connection %d not found", id)
			}
			m.closed(id, c)
			m.serve(c.loop)
		}
	case op < 76:
		m.leave(loop)
	case op < 90:
		if len(m.mails) > 0 {
			m.deliver()
		}
	case op < 93:
		m.now += m.rng.Int64N(int64(20 * time.Millisecond))
		m.tick(loop)
	case op < 95:
		if ep, ok := m.c.Pool(loop).Prewarm(m.now); ok {
			if m.c.Endpoints()[ep].Open() > m.c.cfg.Prewarm {
				m.failf("prewarm beyond %d", m.c.cfg.Prewarm)
			}
			m.note("prewarm %d", ep)
			m.dial(loop, ep)
		}
	case op < 96 && m.faulty:
		m.reresolve()
	}
}

func (m *model) endDial(id uint64, c *modelConn) {
	p := m.c.Pool(c.loop)
	if m.faulty && m.rng.IntN(3) == 0 {
		m.note("dial %d of %d fails", id, c.ep)
		delete(m.conns, id)
		p.DialFailedAt(m.now, c.ep, c.addr)
		m.serve(c.loop)
		return
	}
	p.DialOK(m.now, c.ep)
	c.state = mBusy
	m.serve(c.loop)
}

func (m *model) leave(loop int) {
	if q := m.queues[loop]; len(q) > 0 {
		i := m.rng.IntN(len(q))
		m.note("waiter %d leaves", q[i])
		if !m.c.Pool(loop).RemoveWaiter(q[i]) || m.c.Pool(loop).RemoveWaiter(q[i]) {
			m.failf("waiter %d not removed once", q[i])
		}
		m.queues[loop] = slices.Delete(q, i, i+1)
		return
	}
	for w := range m.waiter {
		if m.steals[w] {
			delete(m.steals, w)
			return
		}
	}
}

func (m *model) tick(loop int) {
	for _, id := range m.c.Pool(loop).Expire(m.now, nil) {
		c := m.conns[id]
		if c == nil || c.state != mIdle || c.loop != loop {
			m.failf("connection %d expired: %+v", id, c)
		}
		if m.now-c.since < int64(m.c.cfg.IdleTimeout) && !m.vanished(c) {
			m.failf("connection %d expired early", id)
		}
		c.state = mExpired
	}
	for id, c := range m.conns {
		if c.state == mIdle && c.loop == loop && (m.vanished(c) || m.now-c.since >= int64(m.c.cfg.IdleTimeout)) {
			m.failf("connection %d should have expired", id)
		}
	}
	m.serve(loop)
}

func (m *model) reresolve() {
	for _, e := range m.c.Endpoints() {
		if e.Target.Host != "" {
			a := m.rng.IntN(4)
			m.note("addresses of %d change", e.ID)
			m.c.Resolved(e.ID, []string{fmt.Sprintf("10.0.0.%d:80", a), fmt.Sprintf("10.0.0.%d:80", (a+1)%4)})
			for l := range m.queues { // the loops' next Put, Acquire or tick notices
				m.tick(l)
			}
		}
	}
}

// check compares the cluster with the books.
func (m *model) check() {
	for _, e := range m.c.Endpoints() {
		open, busy, idle := 0, 0, 0
		for _, c := range m.conns {
			if c.ep == e.ID {
				open++
				if c.state == mIdle {
					idle++
				} else {
					busy++
				}
			}
		}
		if e.Open() != open || open > m.c.cfg.MaxConnections {
			m.failf("endpoint %d: %d open, %d in the books, cap %d", e.ID, e.Open(), open, m.c.cfg.MaxConnections)
		}
		if m.c.cfg.Balance != RoundRobin && int(e.busy.Load()) != busy {
			m.failf("endpoint %d: %d busy, %d in the books", e.ID, e.busy.Load(), busy)
		}
		if idle > m.c.cfg.MaxIdle || int(e.kept.Load()) > m.c.cfg.MaxIdle {
			m.failf("endpoint %d: %d idle, leave for %d, limit %d", e.ID, idle, e.kept.Load(), m.c.cfg.MaxIdle)
		}
		for l := range m.queues {
			if n := m.idleAt(l, e.ID); int(m.c.pools[l].pub.idle[e.ID].Load()) != n {
				m.failf("loop %d publishes %d idle to %d, has %d", l, m.c.pools[l].pub.idle[e.ID].Load(), e.ID, n)
			}
		}
	}
	waiting, again := 0, 0
	for l, q := range m.queues {
		waiting += len(q)
		for _, w := range q {
			if m.again[w] {
				again++
			}
		}
		if m.c.Pool(l).Waiting() != len(q) || m.c.pools[l].Stats().Miscounted != 0 {
			m.failf("loop %d: %d waiting, queue %v, miscounted %d", l, m.c.Pool(l).Waiting(), q, m.c.pools[l].Stats().Miscounted)
		}
	}
	if m.c.Waiting() != waiting || waiting-again > m.c.cfg.Queue {
		m.failf("%d waiting, %d in the books, limit %d", m.c.Waiting(), waiting, m.c.cfg.Queue)
	}
}

// checkForgotten delivers all mail; then nobody may wait for what is there.
func (m *model) checkForgotten() {
	for len(m.mails) > 0 {
		m.deliver()
	}
	for l, q := range m.queues {
		if len(q) == 0 {
			continue
		}
		for _, e := range m.c.Endpoints() {
			if e.Open() < m.c.cfg.MaxConnections || m.c.Idle(e.ID) > 0 {
				m.failf("loop %d: %v forgotten, endpoint %d has %d open, %d idle", l, q, e.ID, e.Open(), m.c.Idle(e.ID))
			}
		}
	}
}

// finish ends everything and expects every count back at zero.
func (m *model) finish() {
	m.faulty = false
	for round := 0; len(m.conns) > 0 || len(m.mails) > 0 || m.c.Waiting() > 0; round++ {
		if round > 100000 {
			m.failf("does not come to rest: %d connections, %d waiting", len(m.conns), m.c.Waiting())
		}
		for len(m.mails) > 0 {
			m.deliver()
		}
		for l := range m.queues {
			m.tick(l)
		}
		m.now += int64(50 * time.Millisecond)
		if id, c := m.some(mDialing); c != nil {
			m.endDial(id, c)
		}
		if id, c := m.some(mBusy, mExpired); c != nil {
			m.closed(id, c)
			m.serve(c.loop)
		}
	}
	m.check()
	for _, e := range m.c.Endpoints() {
		if e.Open() != 0 || e.busy.Load() != 0 || m.c.Idle(e.ID) != 0 {
			m.failf("at rest endpoint %d has %d open, %d busy", e.ID, e.Open(), e.busy.Load())
		}
	}
	for l := range m.queues {
		m.tick(l)
	}
	for _, e := range m.c.Endpoints() {
		if e.kept.Load() != 0 {
			m.failf("at rest leave for %d idle is not returned", e.kept.Load())
		}
	}
}

func TestModel(t *testing.T) {
	seeds, steps := uint64(40), 1500
	if testing.Short() {
		seeds = 8
	}
	stolen, waited, refused := 0, 0, 0
	for _, faulty := range []bool{false, true} {
		for seed := range seeds {
			rng := rand.New(rand.NewPCG(seed, 2))
			cfg := Config{
				Name: "model", Balance: Balance(rng.IntN(3)),
				MaxConnections: 1 + rng.IntN(6), MaxIdle: 1 + rng.IntN(6), Queue: 1 + rng.IntN(20),
				Prewarm: rng.IntN(3), IdleTimeout: 200 * time.Millisecond, QueueTimeout: time.Second,
				ConnectTimeout: 100 * time.Millisecond, FailBackoff: 10 * time.Millisecond, FailBackoffMax: 100 * time.Millisecond,
			}
			for i := range 1 + rng.IntN(3) {
				cfg.Endpoints = append(cfg.Endpoints, EndpointConfig{fmt.Sprintf("127.0.0.1:%d", 80+i), 1 + rng.IntN(3)})
			}
			if faulty {
				cfg.Endpoints = append(cfg.Endpoints, EndpointConfig{"name.test:80", 1})
			}
			t.Run(fmt.Sprintf("faulty=%v/seed=%d", faulty, seed), func(t *testing.T) {
				m := newModel(t, cfg, 1+rng.IntN(4), seed)
				m.faulty = faulty
				for i := range steps {
					m.step()
					m.check()
					if i%50 == 0 && !faulty {
						m.checkForgotten()
					}
				}
				m.finish()
				if m.served < steps/20 {
					t.Errorf("only %d requests served", m.served)
				}
				stolen, waited, refused = stolen+m.stolen, waited+m.waited, refused+m.refused
			})
		}
	}
	// A model that never gets there proves nothing.
	if n := int(seeds); stolen < 3*n || waited < 50*n || refused < 20*n {
		t.Errorf("%d stolen, %d waited, %d refused: the model does not reach the interesting states", stolen, waited, refused)
	}
}
