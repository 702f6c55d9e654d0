package upstream

import (
	"testing"
	"time"
)

// dialled makes n connections of ep on p, numbered from first, busy.
func dialled(t testing.TB, p *Pool, n int) {
	t.Helper()
	for range n {
		if d := p.Acquire(1, 1, 0, 0); d.Kind != Dial {
			t.Fatalf("got %v, expected dial", d)
		}
	}
}

func TestNewestIsReusedOldestExpires(t *testing.T) {
	c := mustCluster(t, Config{Endpoints: endpoints(1), MaxIdle: 9, IdleTimeout: 10 * time.Nanosecond}, 1)
	p := c.Pool(0)
	dialled(t, p, 4)
	for id := range uint64(4) {
		p.Put(int64(id), id+1, 0) // at 0, 1, 2, 3
	}
	if p.NextDue(3) != 10 {
		t.Errorf("next due at %d, expected 10", p.NextDue(3))
	}
	if out := p.Expire(9, nil); len(out) != 0 {
		t.Errorf("%v expired early", out)
	}
	if out := p.Expire(11, []uint64{99}); len(out) != 3 || out[0] != 99 || out[1] != 1 || out[2] != 2 {
		t.Errorf("%v, expected 1 and 2 appended, oldest first", out)
	}
	if d := p.Acquire(12, 1, 0, 0); d.Conn != 4 {
		t.Errorf("connection %d reused, expected 4, the newest", d.Conn)
	}
	p.Put(12, 4, 0)
	if out := p.Expire(13, nil); len(out) != 1 || out[0] != 3 {
		t.Errorf("%v, expected 3", out)
	}
	if s := p.Stats(); s.Expired != 3 || s.Idle != 1 || s.Reused != 1 || s.Dialed != 4 {
		t.Errorf("stats %+v", s)
	}
}

func TestTheNewestIsGivenAway(t *testing.T) {
	c := mustCluster(t, Config{Endpoints: endpoints(1), MaxIdle: 9}, 1)
	p := c.Pool(0)
	dialled(t, p, 2)
	p.PutAddr(1, 1, 0, 1)
	p.PutAddr(2, 2, 0, 1)
	if conn, addr, ok := p.TakeIdleAddr(0); !ok || conn != 2 || addr != 1 {
		t.Errorf("connection %d at address %d given away, expected 2 at 1", conn, addr)
	}
}

// To be named is good for one Acquire.
func TestATurnIsUsedUp(t *testing.T) {
	c := mustCluster(t, Config{Endpoints: endpoints(1), MaxConnections: 1, MaxIdle: 1, Queue: 9}, 1)
	p := c.Pool(0)
	dialled(t, p, 1)
	p.Acquire(1, 1, 0, 0)
	p.Put(1, 7, 0)
	w, _ := p.NextWaiter(1)
	if d := p.Acquire(1, w, 0, 0); d.Kind != Reuse {
		t.Fatal(d)
	}
	p.Acquire(1, 2, 0, 0)
	p.Acquire(1, w, 0, 0) // another request with the same number
	if first, _ := p.queue.Next(); first != 2 {
		t.Errorf("waiter %d is first, expected 2", first)
	}
}

func TestIdleWithoutTimeoutStays(t *testing.T) {
	c := mustCluster(t, Config{Endpoints: endpoints(1), MaxIdle: 9}, 1)
	p := c.Pool(0)
	dialled(t, p, 1)
	p.Put(1, 1, 0)
	if out := p.Expire(1<<62, nil); len(out) != 0 || p.NextDue(5) != 0 {
		t.Errorf("%v expired without a timeout, next due %d", out, p.NextDue(5))
	}
}

func TestMaxIdleHoldsOverAllLoops(t *testing.T) {
	c := mustCluster(t, Config{Endpoints: endpoints(1), MaxIdle: 20}, 2)
	p, q := c.Pool(0), c.Pool(1)
	dialled(t, p, 30)
	dialled(t, q, 30)
	kept := 0
	for id := range uint64(30) {
		if p.Put(1, id+1, 0) {
			kept++
		}
	}
	if kept != 20 || q.Put(1, 100, 0) {
		t.Fatalf("loop 0 kept %d of 20 and loop 1 one more", kept)
	}
	// What a loop does not use it returns with Expire.
	for range 15 {
		p.Acquire(2, 1, 0, 0)
	}
	p.Expire(2, nil)
	kept = 0
	for id := range uint64(29) {
		if q.Put(3, 101+id, 0) {
			kept++
		}
	}
	if kept < 13 || kept > 15 || c.Idle(0) > 20 {
		t.Errorf("loop 1 kept %d, expected what loop 0 gave back (15 without a step)", kept)
	}
}

func TestDoublePutAndDoubleClose(t *testing.T) {
	c := mustCluster(t, Config{Balance: LeastConn, Endpoints: endpoints(1), MaxIdle: 9}, 1)
	p := c.Pool(0)
	dialled(t, p, 1)
	p.Put(1, 7, 0)
	p.Put(1, 7, 0)
	if d := p.Acquire(1, 1, 0, 0); d.Kind != Reuse {
		t.Fatal(d)
	}
	if d := p.Acquire(1, 1, 0, 0); d.Kind != Dial {
		t.Fatalf("got %v: one connection for two requests", d)
	}
	for range 3 {
		p.Closed(0)
	}
	if c.eps[0].Open() != 0 || c.eps[0].busy.Load() != 0 || p.Stats().Miscounted != 2 {
		t.Errorf("%d open, %d busy, %d miscounted", c.eps[0].Open(), c.eps[0].busy.Load(), p.Stats().Miscounted)
	}
}

func TestQueueIsBoundedOverAllLoops(t *testing.T) {
	c := mustCluster(t, Config{Endpoints: endpoints(1), MaxConnections: 1, Queue: 3}, 2)
	p, q := c.Pool(0), c.Pool(1)
	dialled(t, p, 1)
	for i, pool := range []*Pool{p, q, q} {
		if d := pool.Acquire(1, uint32(i), 0, 0); d.Kind != Wait {
			t.Fatalf("request %d: %v", i, d)
		}
	}
	for _, pool := range []*Pool{p, q} {
		if d := pool.Acquire(1, 9, 0, 0); d.Kind != Refuse || d.Reason != QueueFull {
			t.Fatalf("got %+v, expected queue full", d)
		}
	}
	if !q.RemoveWaiter(1) || q.RemoveWaiter(1) || p.Acquire(1, 9, 0, 0).Kind != Wait {
		t.Error("a place in the queue does not come free")
	}
	if p.Stats().QueueFull != 1 || p.Stats().Queued != 2 || p.Stats().Waiting != 2 || c.Waiting() != 3 {
		t.Errorf("stats %+v", p.Stats())
	}
	c = mustCluster(t, Config{Endpoints: endpoints(1), MaxConnections: 1}, 1)
	dialled(t, c.Pool(0), 1)
	if d := c.Pool(0).Acquire(1, 1, 0, 0); d.Kind != Refuse || d.Reason != QueueFull {
		t.Errorf("got %+v without a queue", d)
	}
}

func TestNobodyPassesTheQueue(t *testing.T) {
	c := mustCluster(t, Config{Endpoints: endpoints(1), MaxConnections: 1, MaxIdle: 1, Queue: 9}, 1)
	p := c.Pool(0)
	dialled(t, p, 1)
	for w := range uint32(3) {
		p.Acquire(1, w, 0, 0)
	}
	p.Put(1, 7, 0)
	if d := p.Acquire(1, 5, 0, 0); d.Kind != Wait {
		t.Fatalf("got %v: passed three that wait", d)
	}
	for _, want := range []uint32{0, 1, 2, 5} {
		w, ok := p.NextWaiter(1)
		if !ok || w != want {
			t.Fatalf("waiter %d %v, expected %d", w, ok, want)
		}
		if d := p.Acquire(1, w, 0, 0); d.Kind != Reuse {
			t.Fatalf("got %v", d)
		}
		if _, ok := p.NextWaiter(1); ok {
			t.Fatal("a waiter is named although there is nothing")
		}
		p.Put(1, 7, 0)
	}
	// One that is named and finds nothing keeps its place.
	p.Acquire(1, 9, 0, 0)
	p.Acquire(1, 1, 0, 0)
	p.Acquire(1, 2, 0, 0)
	p.Put(1, 7, 0)
	w, _ := p.NextWaiter(1)
	p.TakeIdle(0)
	if d := p.Acquire(1, w, 0, 0); d.Kind != Wait {
		t.Fatal(d)
	}
	p.Put(1, 7, 0)
	if again, _ := p.NextWaiter(1); again != w {
		t.Errorf("waiter %d named, expected %d, which had its turn before", again, w)
	}
}

func TestPrewarmIsShared(t *testing.T) {
	c := mustCluster(t, Config{Endpoints: endpoints(1, 1), MaxConnections: 9, MaxIdle: 9, Prewarm: 5, FailBackoff: 100 * time.Millisecond}, 2)
	now := int64(time.Hour)
	id := uint64(0)
	warm := func(l int) (n int) {
		p := c.Pool(l)
		for {
			ep, ok := p.Prewarm(now)
			if !ok {
				return n
			}
			n++
			id++
			p.DialOK(now, ep)
			p.PutAddr(now, id, ep, 1)
		}
	}
	// Loop 0 asks first and yet leaves loop 1 its part.
	if a, b := warm(0), warm(1); a != 6 || b != 4 {
		t.Fatalf("loops made %d and %d connections, expected 3 and 2 for each of two endpoints", a, b)
	}
	// After a loss there are as many again.
	now += 2 * warmWindowNs
	conn, _ := c.Pool(1).TakeIdle(0)
	c.Pool(1).Closed(0)
	if warm(0) != 0 || warm(1) != 1 || conn == 0 {
		t.Error("the lost connection is not replaced by the loop that lost it")
	}
	// A failure stops it for the back-off, and then one probe is allowed.
	now += 2 * warmWindowNs
	p := c.Pool(1)
	for range 2 {
		p.TakeIdle(0)
		p.Closed(0)
	}
	ep, ok := p.Prewarm(now)
	if !ok || ep != 0 {
		t.Fatal("no prewarm")
	}
	p.DialFailed(now, 0)
	if _, ok := p.Prewarm(now + 2*warmWindowNs/100); ok {
		t.Error("prewarm during the back-off")
	}
	now += 2 * warmWindowNs
	if _, ok := p.Prewarm(now); !ok {
		t.Error("no prewarm after the back-off")
	}
	if _, ok := p.Prewarm(now); ok {
		t.Error("two probes at a time")
	}
	now += 2 * warmWindowNs
	q := c.Pool(0)
	q.TakeIdle(1)
	q.Closed(1)
	c.Retire()
	if _, ok := q.Prewarm(now); ok {
		t.Error("prewarm for a retired cluster")
	}
}

func TestRetire(t *testing.T) {
	c := mustCluster(t, Config{Endpoints: endpoints(1), MaxIdle: 9}, 1)
	p := c.Pool(0)
	dialled(t, p, 3)
	p.Put(1, 1, 0)
	p.Put(1, 2, 0)
	c.Retire()
	if p.Put(1, 3, 0) {
		t.Error("a retired cluster keeps a connection")
	}
	if out := p.Expire(1, nil); len(out) != 2 {
		t.Errorf("%v to be closed, expected both idle ones", out)
	}
	if d := p.Acquire(1, 1, 0, 0); d.Kind != Dial {
		t.Errorf("got %v: a request that began before must end normally", d)
	}
}

// The path of a request allocates nothing: from the pool, dialled and closed,
// or queued and served.
func TestNoAllocations(t *testing.T) {
	for _, balance := range []Balance{RoundRobin, LeastConn, P2C} {
		p := warmPool(t, balance, 3)
		if n := testing.AllocsPerRun(1000, func() {
			d := p.Acquire(2, 1, 0, 0)
			p.ResponseOK(2, d.Endpoint)
			p.PutAddr(2, d.Conn, d.Endpoint, d.Addr)
		}); n != 0 {
			t.Errorf("%v: %v allocations for Acquire and Put", balance, n)
		}
	}
	c := mustCluster(t, Config{Endpoints: endpoints(1), MaxConnections: 1, MaxIdle: 1, Queue: 4}, 2)
	p := c.Pool(0)
	if n := testing.AllocsPerRun(1000, func() {
		p.Acquire(1, 1, 0, 0)
		p.DialOK(1, 0)
		p.Acquire(1, 2, 0, 0)
		p.Acquire(1, 3, 0, 0)
		p.RemoveWaiter(3)
		p.Put(1, 7, 0)
		w, ok := p.NextWaiter(1)
		if d := p.Acquire(1, w, 0, 0); !ok || d.Kind != Reuse {
			t.Fatal(d)
		}
		p.Pass(1)
		p.NextDue(1)
		p.Closed(0)
	}); n != 0 {
		t.Errorf("%v allocations for dial, wait, serve and close", n)
	}
}
