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
	t         *testing.T
	c         *Cluster
	rng       *rand.Rand
	now       int64
	conns     map[uint64]*modelConn
	next      uint64
	waiter    uint32
	queues    []plainTurns
	clients   map[uint32]Client
	mails     []modelMail
	again     map[uint32]bool // waiters that were named and had to wait again
	steals    map[uint32]bool // waiters that wait for a neighbour's answer
	served    int
	stolen    int
	waited    int
	refused   int
	round     int64
	pushed    int
	displaced int
	faulty    bool
	log       []string
}

func newModel(t *testing.T, cfg Config, loops int, wide bool, seed uint64) *model {
	c, err := newCluster(cfg, loops, wide)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range c.Endpoints() {
		if e.Target.Host != "" {
			c.Resolved(e.ID, []string{"10.0.0.1:80", "10.0.0.2:80"})
		}
	}
	m := &model{
		t: t, c: c, rng: rand.New(rand.NewPCG(seed, 1)), now: int64(time.Hour),
		conns: map[uint64]*modelConn{}, queues: make([]plainTurns, loops),
		clients: map[uint32]Client{},
		steals:  map[uint32]bool{}, again: map[uint32]bool{},
	}
	for l := range m.queues {
		m.queues[l].lines = m.lines
	}
	return m
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

// asker is the client of a request.
func (m *model) asker(waiter uint32) Client {
	c, known := m.clients[waiter]
	if !known {
		c = Client{Addr: uint32(m.rng.IntN(4)), Conn: uint64(m.rng.IntN(3))}
		if c.Conn != 0 {
			c.Conn += uint64(c.Addr) << 32
		}
		m.clients[waiter] = c
	}
	return c
}

// catchUp has a loop know of all turns.
func (m *model) catchUp(loop int) {
	for l := range m.queues {
		m.round = max(m.round, m.queues[l].round)
	}
	m.queues[loop].round = m.round
}

// lines is how many lines an address has in all queues.
func (m *model) lines(addr uint32) (n int) {
	for l := range m.queues {
		for _, a := range m.queues[l].addrs {
			if a.addr == addr {
				n += len(a.flows)
			}
		}
	}
	return n
}

func (m *model) request(loop int, waiter uint32, tried uint64, named bool) {
	m.catchUp(loop)
	c, p := m.asker(waiter), m.c.Pool(loop)
	mine := m.queues[loop].newcomer(m.now, c.Addr)
	if named {
		if mine = p.wokenTurn; mine.since == 0 {
			mine = p.queue.again(c.Addr)
		}
	}
	d := p.AcquireFor(m.now, &Request{Waiter: waiter, Client: c, Tried: Tried(tried), Hash: m.rng.Uint64()})
	m.note("loop %d acquire %d: %v", loop, waiter, d)
	if !named && d.Kind != Wait && d.Kind != Refuse && !m.faulty {
		if n := m.queues[loop].len(); n > 0 {
			m.failf("request %d passed %d waiting ones", waiter, n)
		}
		if l := m.older(loop, mine); l >= 0 {
			m.failf("request %d of loop %d passed older ones of loop %d", waiter, loop, l)
		}
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
	case Ask:
		if m.c.Endpoints()[d.Endpoint].Open() < m.c.cfg.MaxConnections-int(m.c.called.Load()) && !m.faulty {
			m.failf("steal below the cap")
		}
		if d.Loop == loop || m.idleAt(d.Loop, d.Endpoint) == 0 {
			m.failf("steal from loop %d, which has none", d.Loop)
		}
		m.steals[waiter] = true
		m.mails = append(m.mails, modelMail{to: d.Loop, from: loop, kind: "steal", ep: d.Endpoint, waiter: waiter})
	case Wait:
		if d.Displaced != 0 {
			m.displace(loop, d.Displaced-1, c)
		}
		if named {
			m.again[waiter] = true
			m.queues[loop].pushFront(mine, waiter, c)
		} else {
			m.queues[loop].push(m.now, waiter, c)
		}
		m.waited++
	case Refuse:
		if d.Reason == QueueFull && m.c.Waiting() < m.c.cfg.Queue {
			m.failf("queue said to be full with %d", m.c.Waiting())
		}
		m.refused++
	}
}

// displace: a waiter made room for one of another client.
func (m *model) displace(loop int, waiter uint32, by Client) {
	a, _ := m.queues[loop].find(m.clients[waiter])
	if mine, _ := m.queues[loop].find(by); a == nil || mine != nil && mine != a && mine.waits() >= a.waits() {
		m.failf("waiter %d is displaced by one of a client with as many", waiter)
	}
	m.queues[loop].remove(waiter)
	m.displaced++
	m.refused++
}

// older finds a loop whose next waiter comes clearly before mine.
func (m *model) older(loop int, mine turn) int {
	for l := range m.queues {
		if q := &m.queues[l]; l != loop && q.len() > 0 && q.addrs[0].before(mine) && !m.c.pools[l].pub.called.Load() {
			return l
		}
	}
	return -1
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
		if m.queues[loop].len() == 0 {
			m.failf("loop %d: waiter %d named, nobody waits", loop, w)
		}
		if l := m.older(loop, m.queues[loop].addrs[0].turn); l >= 0 {
			m.failf("loop %d: waiter %d named, loop %d has an older one", loop, w, l)
		}
		m.catchUp(loop)
		if want := m.queues[loop].pop(m.now); want != w {
			m.failf("loop %d: waiter %d named, %d is next", loop, w, want)
		}
		if n > 10000 {
			m.failf("loop %d turns in circles", loop)
		}
		m.request(loop, w, 0, true)
	}
	if h, ok := p.Pass(m.now); ok {
		m.note("loop %d passes %+v", loop, h)
		if h.Loop == loop || m.queues[h.Loop].len() == 0 {
			m.failf("loop %d told to wake loop %d, where %v wait", loop, h.Loop, m.queues[h.Loop].ids())
		}
		mail := modelMail{to: h.Loop, from: loop, kind: "wake"}
		if h.Kept {
			c := m.conns[h.Conn]
			if c == nil || c.state != mIdle || c.loop != loop || c.ep != h.Endpoint || c.addr != h.Addr {
				m.failf("connection %d passed on: %+v", h.Conn, c)
			}
			c.state = mMoving
			mail.kind, mail.conn, mail.ep = "pushed", h.Conn, h.Endpoint
			m.pushed++
		}
		m.mails = append(m.mails, mail)
		m.serve(loop)
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
	case "pushed":
		p.Woken()
		c := m.conns[mail.conn]
		c.loop = mail.to
		m.adopt(mail.conn, c)
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
			m.adopt(mail.conn, c)
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
			p.Again(mail.waiter)
			m.request(mail.to, mail.waiter, 0, true)
		}
		m.serve(mail.to)
	}
}

// adopt keeps a connection that came from another loop, if it may be kept.
func (m *model) adopt(id uint64, c *modelConn) {
	if !m.c.Pool(c.loop).AdoptIdle(m.now, id, c.ep, c.addr) {
		m.closed(id, c)
		return
	}
	m.now++
	c.state, c.since = mIdle, m.now-1
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
	if q := m.queues[loop].ids(); len(q) > 0 {
		i := m.rng.IntN(len(q))
		m.note("waiter %d leaves", q[i])
		if !m.c.Pool(loop).RemoveWaiter(q[i]) || m.c.Pool(loop).RemoveWaiter(q[i]) {
			m.failf("waiter %d not removed once", q[i])
		}
		m.queues[loop].remove(q[i])
		m.serve(loop) // what was left to it is another's now
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
			m.failf("at rest permits for %d idle are not returned", e.kept.Load())
		}
	}
}

func TestModel(t *testing.T) {
	seeds, steps := uint64(40), 1500
	if testing.Short() {
		seeds = 8
	}
	stolen, waited, refused, displaced, pushed := 0, 0, 0, 0, 0
	for _, kind := range []struct{ faulty, wide bool }{{false, false}, {true, false}, {false, true}, {true, true}} {
		faulty := kind.faulty
		for seed := range seeds {
			rng := rand.New(rand.NewPCG(seed, 2))
			cfg := Config{
				Name: "model", Balance: Balance(rng.IntN(6)), LoadPercent: 125,
				MaxConnections: 1 + rng.IntN(6), MaxIdle: 1 + rng.IntN(6), Queue: 1 + rng.IntN(20),
				Prewarm: rng.IntN(3), IdleTimeout: 200 * time.Millisecond, QueueTimeout: time.Second,
				ConnectTimeout: 100 * time.Millisecond, FailBackoff: 10 * time.Millisecond, FailBackoffMax: 100 * time.Millisecond,
			}
			for i := range 1 + rng.IntN(3) {
				cfg.Endpoints = append(cfg.Endpoints, EndpointConfig{Address: fmt.Sprintf("127.0.0.1:%d", 80+i), Weight: 1 + rng.IntN(3)})
			}
			if faulty {
				cfg.Endpoints = append(cfg.Endpoints, EndpointConfig{Address: "name.test:80", Weight: 1})
			}
			if seed%2 == 1 {
				cfg.Zone = "a"
				for i := range cfg.Endpoints {
					e := &cfg.Endpoints[i]
					e.Priority, e.Backup, e.Zone = rng.IntN(2), rng.IntN(4) == 0, string(rune('a'+rng.IntN(2)))
				}
			}
			t.Run(fmt.Sprintf("faulty=%v/wide=%v/seed=%d", faulty, kind.wide, seed), func(t *testing.T) {
				m := newModel(t, cfg, 1+rng.IntN(4), kind.wide, seed)
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
				pushed += m.pushed
				stolen, waited, refused, displaced = stolen+m.stolen, waited+m.waited, refused+m.refused, displaced+m.displaced
			})
		}
	}
	// A model that never gets there proves nothing.
	if n := int(seeds) * 2; stolen < 3*n || waited < 50*n || refused < 20*n || displaced < n || pushed < 3*n {
		t.Errorf("%d stolen, %d waited, %d refused, %d displaced, %d pushed: the model does not reach the interesting states", stolen, waited, refused, displaced, pushed)
	}
}
