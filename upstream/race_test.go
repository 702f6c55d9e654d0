package upstream

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Real loops on real threads: every request must end although no loop ever
// ticks, so one lost wake-up is a test that hangs.

type raceMail struct {
	kind   byte // 'w'ake 's'teal 'g'ift 'n'one
	from   int
	ep     int
	waiter uint32
	conn   uint64
}

type raceWorld struct {
	c              *Cluster
	boxes          []chan raceMail
	dialed         []atomic.Int32 // per endpoint, counted by the test
	owned          []atomic.Int32 // per connection
	nextID         atomic.Uint64
	left           atomic.Int64 // requests to go
	done           chan struct{}
	bad            atomic.Pointer[string]
	stolen         atomic.Int64
	waited         atomic.Int64
	pushed, called atomic.Int64
}

type raceLoop struct {
	w      *raceWorld
	id     int
	p      *Pool
	rng    uint64
	conns  map[uint64]int // connection -> endpoint: those in use here
	now    int64
	issued int
}

func (w *raceWorld) fail(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	w.bad.CompareAndSwap(nil, &s)
}

func (l *raceLoop) own(conn uint64, ep int) {
	if n := l.w.owned[conn].Add(1); n != 1 {
		l.w.fail("connection %d has %d users", conn, n)
	}
	l.conns[conn] = ep
}

func (l *raceLoop) post(to int, m raceMail) {
	m.from = l.id
	l.w.boxes[to] <- m
}

func (l *raceLoop) request(waiter uint32) {
	d := l.p.Acquire(l.now, waiter, 0, 0)
	switch d.Kind {
	case Reuse:
		l.own(d.Conn, d.Endpoint)
	case Dial:
		if n := l.w.dialed[d.Endpoint].Add(1); int(n) > l.w.c.cfg.MaxConnections {
			l.w.fail("%d connections to endpoint %d", n, d.Endpoint)
		}
		l.p.DialOK(l.now, d.Endpoint)
		l.own(l.w.nextID.Add(1), d.Endpoint)
	case Ask:
		l.post(d.Loop, raceMail{kind: 's', ep: d.Endpoint, waiter: waiter})
	case Wait:
		l.w.waited.Add(1)
	case Refuse:
		l.w.fail("refused: %v", d.Reason)
	}
}

func (l *raceLoop) serve() {
	for {
		w, ok := l.p.NextWaiter(l.now)
		if !ok {
			break
		}
		l.request(w)
	}
	if h, ok := l.p.Pass(l.now); ok {
		m := raceMail{kind: 'w'}
		l.w.called.Add(1)
		if h.Kept {
			l.w.pushed.Add(1)
			m = raceMail{kind: 'p', ep: h.Endpoint, conn: h.Conn}
		}
		l.post(h.Loop, m)
		l.serve()
	}
}

func (l *raceLoop) close(ep int) {
	l.w.dialed[ep].Add(-1)
	l.p.Closed(ep)
}

// end finishes the request on one connection in use.
func (l *raceLoop) end() bool {
	for conn, ep := range l.conns {
		delete(l.conns, conn)
		l.w.owned[conn].Add(-1)
		l.rng = l.rng*6364136223846793005 + 1442695040888963407
		if l.rng>>60 == 0 || !l.p.PutAddr(l.now, conn, ep, 1) {
			l.close(ep)
		}
		l.serve()
		if l.w.left.Add(-1) == 0 {
			close(l.w.done)
		}
		return true
	}
	return false
}

func (l *raceLoop) mail(m raceMail) {
	switch m.kind {
	case 'w':
		l.p.Woken()
	case 'p':
		l.p.Woken()
		l.w.stolen.Add(1)
		if !l.p.AdoptIdle(l.now, m.conn, m.ep, 1) {
			l.close(m.ep)
		}
	case 's':
		if conn, ok := l.p.TakeIdle(m.ep); ok {
			l.post(m.from, raceMail{kind: 'g', ep: m.ep, waiter: m.waiter, conn: conn})
		} else {
			l.post(m.from, raceMail{kind: 'n', waiter: m.waiter})
		}
		return
	case 'g':
		l.p.Adopted(m.ep)
		l.own(m.conn, m.ep)
		l.w.stolen.Add(1)
	case 'n':
		l.p.Again(m.waiter)
		l.request(m.waiter)
	}
	l.serve()
}

// run issues n requests, at most 6 at a time, and answers mail until all
// loops are through.
func (l *raceLoop) run(n int) {
	open := 0
	waiter := uint32(0)
	for {
		l.now++
		select {
		case m := <-l.w.boxes[l.id]:
			l.mail(m)
			continue
		case <-l.w.done:
			return
		default:
		}
		l.rng = l.rng*6364136223846793005 + 1442695040888963407
		switch {
		case l.issued < n && open < 6 && (l.rng>>62 != 0 || open == 0):
			l.issued++
			open++
			waiter++
			l.request(waiter)
			if l.rng>>58&7 == 0 {
				runtime.Gosched()
			}
		case l.end():
			open--
		case l.issued == n || open == 6:
			select { // nothing of its own to do: asleep, like a loop
			case m := <-l.w.boxes[l.id]:
				l.mail(m)
			case <-l.w.done:
				return
			}
		}
	}
}

func TestConcurrentLoops(t *testing.T) {
	const loops = 4
	requests := 20000
	if testing.Short() {
		requests = 3000
	}
	for _, balance := range []Balance{RoundRobin, LeastConn, P2C, LeastTime, Random} {
		t.Run(balance.String(), func(t *testing.T) {
			c, err := NewCluster(Config{
				Name: "race", Balance: balance, MaxConnections: 3, MaxIdle: 3, Queue: 1 << 20,
				Endpoints: []EndpointConfig{{Address: "127.0.0.1:1", Weight: 1}, {Address: "127.0.0.1:2", Weight: 2}},
			}, loops)
			if err != nil {
				t.Fatal(err)
			}
			w := &raceWorld{
				c: c, dialed: make([]atomic.Int32, 2), done: make(chan struct{}),
				owned: make([]atomic.Int32, loops*requests+1),
			}
			w.left.Store(int64(loops * requests))
			var wg sync.WaitGroup
			var ls []*raceLoop
			for i := range loops {
				w.boxes = append(w.boxes, make(chan raceMail, 1<<20))
				ls = append(ls, &raceLoop{w: w, id: i, p: c.Pool(i), rng: uint64(i + 1), conns: map[uint64]int{}})
			}
			for _, l := range ls {
				wg.Go(func() { l.run(requests) })
			}
			select {
			case <-w.done:
			case <-time.After(60 * time.Second):
				t.Fatalf("%d requests never ended: a wake-up was lost; %d are queued", w.left.Load(), c.Waiting())
			}
			wg.Wait()
			if s := w.bad.Load(); s != nil {
				t.Fatal(*s)
			}
			for i, e := range c.Endpoints() {
				if e.Open() != int(w.dialed[i].Load()) || e.Open() != c.Idle(i) {
					t.Errorf("endpoint %d: %d open, %d idle, %d by count of the test", i, e.Open(), c.Idle(i), w.dialed[i].Load())
				}
				if balance != RoundRobin && e.busy.Load() != 0 {
					t.Errorf("endpoint %d: %d busy at rest", i, e.busy.Load())
				}
			}
			if c.Waiting() != 0 {
				t.Errorf("%d waiting at rest", c.Waiting())
			}
			if w.stolen.Load() == 0 || w.waited.Load() == 0 || w.pushed.Load() == 0 || w.called.Load() == 0 {
				t.Errorf("%d stolen, %d waited, %d pushed, %d called: the loops did not compete", w.stolen.Load(), w.waited.Load(), w.pushed.Load(), w.called.Load())
			}
			t.Logf("%d stolen, %d waited, %d pushed, %d called", w.stolen.Load(), w.waited.Load(), w.pushed.Load(), w.called.Load())
		})
	}
}

// await spins until v is n: sleeping would lose the closeness in time that the
// test needs, but a thread that has lost its CPU must get it back.
func await(v *atomic.Int32, n int32, stop <-chan struct{}) bool {
	for spins := 0; v.Load() != n; spins++ {
		if spins < 20000 {
			continue
		}
		select {
		case <-stop:
			return false
		default:
			time.Sleep(time.Microsecond)
		}
	}
	return true
}

// One loop frees what the other is about to wait for. Whatever the order,
// either the request gets it or the other loop learns whom to wake.
func TestNoLostWakeUp(t *testing.T) {
	rounds := 40000
	if testing.Short() {
		rounds = 10000
	}
	c, err := NewCluster(Config{
		Name: "wake", MaxConnections: 1, MaxIdle: 1, Queue: 4,
		Endpoints: []EndpointConfig{{Address: "127.0.0.1:1", Weight: 1}},
	}, 2)
	if err != nil {
		t.Fatal(err)
	}
	a, b := c.Pool(0), c.Pool(1)
	var turn atomic.Int32 // odd: the other thread may go
	var woke atomic.Bool
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := int32(1); ; n += 2 {
			if !await(&turn, n, stop) {
				return
			}
			if n&2 == 0 {
				a.Closed(0)
			} else {
				a.PutAddr(1, 7, 0, 1)
			}
			h, ok := a.Pass(1)
			if ok {
				b.Woken()
			}
			if h.Kept {
				a.Closed(0)
			}
			woke.Store(ok)
			turn.Store(n + 1)
		}
	})
	defer wg.Wait()
	defer close(stop)
	var kinds [5]int
	for round := range int32(rounds) {
		n := 2*round + 1
		if d := a.Acquire(1, 1, 0, 0); d.Kind != Dial {
			t.Fatalf("round %d begins with %v", round, d)
		}
		turn.Store(n)
		for range round * 7 % 1021 { // every offset between the two threads
			runtime.KeepAlive(round)
		}
		d := b.Acquire(1, 2, 0, 0)
		await(&turn, n+1, nil)
		kinds[d.Kind]++
		switch {
		case d.Kind == Wait && !woke.Load():
			t.Fatalf("round %d: the request waits, and nobody was told", round)
		case d.Kind == Wait:
			b.RemoveWaiter(2)
		case d.Kind == Dial:
			b.Closed(0)
		}
		for _, p := range []*Pool{a, b} {
			if _, ok := p.TakeIdle(0); ok {
				p.Closed(0)
			}
		}
	}
	if kinds[Wait] == 0 || kinds[Dial]+kinds[Ask] == 0 {
		t.Errorf("outcomes %v: the threads never met", kinds)
	}
	t.Logf("wait %d, dial %d, steal %d", kinds[Wait], kinds[Dial], kinds[Ask])
}

// The resolver and the admin pages look in while a loop works.
func TestResolverBesideALoop(t *testing.T) {
	c, err := NewCluster(Config{
		Name: "names", MaxConnections: 8, MaxIdle: 8, IdleTimeout: time.Hour,
		Endpoints: []EndpointConfig{{Address: "db.test:80", Weight: 1}},
	}, 1)
	if err != nil {
		t.Fatal(err)
	}
	c.Resolved(0, []string{"10.0.0.1:80"})
	var wg sync.WaitGroup
	var stop atomic.Bool
	wg.Go(func() {
		for i := 0; !stop.Load(); i++ {
			c.Resolved(0, []string{fmt.Sprintf("10.0.0.%d:80", i%3)})
			c.ResolveFailed(0, "timeout")
			c.eps[0].State(1)
			c.eps[0].Down(1)
			c.Idle(0)
			runtime.Gosched()
		}
	})
	const enough = 5 // connections made because the addresses changed
	begun := time.Now()
	p := c.Pool(0)
	addrOf := map[uint64]uint32{}
	var next uint64
	var out []uint64
	// On a busy machine the other thread gets its turn late: go on until it has.
	for i := 0; i < 20000 || next < enough && time.Since(begun) < time.Minute; i++ {
		now := int64(i)
		d := p.Acquire(now, 1, 0, 0)
		switch d.Kind {
		case Reuse:
			if addrOf[d.Conn] != d.Addr {
				t.Fatalf("connection %d comes back with address %d, has %d", d.Conn, d.Addr, addrOf[d.Conn])
			}
		case Dial:
			set, k := p.Address(now, 0)
			next++
			d.Conn, d.Addr = next, set.Keys[k]
			addrOf[next] = d.Addr
			p.DialOK(now, 0)
		default:
			t.Fatalf("got %+v", d)
		}
		if !p.PutAddr(now, d.Conn, 0, d.Addr) {
			p.Closed(0)
		}
		if i%64 == 0 {
			runtime.Gosched()
		}
		out = p.Expire(now, out[:0])
		for range out {
			p.Closed(0)
		}
	}
	stop.Store(true)
	wg.Wait()
	if c.eps[0].Open() != c.Idle(0) || p.Stats().Miscounted != 0 {
		t.Errorf("%d open, %d idle, %d miscounted", c.eps[0].Open(), c.Idle(0), p.Stats().Miscounted)
	}
	if len(addrOf) < enough {
		t.Errorf("%d connections made: the addresses hardly changed", len(addrOf))
	}
}
