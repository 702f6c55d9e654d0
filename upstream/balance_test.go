package upstream

import (
	"fmt"
	"strings"
	"testing"
)

func mustCluster(t testing.TB, cfg Config, loops int, neighbours ...[]int) *Cluster {
	t.Helper()
	c, err := NewCluster(cfg, loops, neighbours...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func endpoints(weights ...int) (es []EndpointConfig) {
	for i, w := range weights {
		es = append(es, EndpointConfig{Address: fmt.Sprintf("127.0.0.1:%d", 9000+i), Weight: w})
	}
	return es
}

func letters(p *Pool, n int, finish bool) string {
	var s strings.Builder
	for range n {
		d := p.Acquire(1, 1, 0, 0)
		s.WriteByte("abcdefgh"[d.Endpoint])
		if finish {
			p.Closed(d.Endpoint)
		}
	}
	return s.String()
}

func TestRoundRobinIsSmooth(t *testing.T) {
	for _, tt := range []struct {
		weights []int
		want    string
	}{
		{[]int{5, 1, 1}, "aabacaaaabacaa"},
		{[]int{1, 1, 1}, "abcabc"},
		{[]int{1}, "aaa"},
		{[]int{0, 2}, "babbab"}, // no weight is 1
	} {
		c := mustCluster(t, Config{Endpoints: endpoints(tt.weights...)}, 1)
		if got := letters(c.Pool(0), len(tt.want), true); got != tt.want {
			t.Errorf("weights %v: %s, expected %s", tt.weights, got, tt.want)
		}
	}
}

func TestLoopsBeginAtDifferentEndpoints(t *testing.T) {
	c := mustCluster(t, Config{Endpoints: endpoints(1, 1, 1)}, 4)
	first := ""
	for i := range 4 {
		first += letters(c.Pool(i), 1, true)
	}
	if first != "abca" {
		t.Errorf("first choices %s, expected abca", first)
	}
}

func TestRoundRobinWithoutTheFullAndTheDown(t *testing.T) {
	c := mustCluster(t, Config{Endpoints: endpoints(1, 1, 1), MaxConnections: 2, Queue: 1}, 1)
	p := c.Pool(0)
	p.Acquire(1, 1, 0, 0)
	p.DialFailed(1, 0)
	if got := letters(p, 4, false); got != "bcbc" {
		t.Errorf("got %s, expected bcbc: the first endpoint is down", got)
	}
	if d := p.Acquire(1, 1, 0, 0); d.Kind != Wait {
		t.Errorf("got %v, expected wait: two endpoints are full and one is down", d)
	}
}

func TestLeastConnCountsPerWeight(t *testing.T) {
	c := mustCluster(t, Config{Balance: LeastConn, Endpoints: endpoints(2, 1), MaxIdle: 9}, 2)
	p, q := c.Pool(0), c.Pool(1)
	// The busy ones of other loops count: six requests, four to the heavier.
	letters(p, 3, false)
	letters(q, 3, false)
	if a, b := c.eps[0].busy.Load(), c.eps[1].busy.Load(); a != 4 || b != 2 {
		t.Fatalf("busy %d and %d, expected 4 and 2", a, b)
	}
	// What is idle is not busy.
	for i := range uint64(4) {
		q.Put(1, i+1, 0)
	}
	if d := p.Acquire(1, 1, 0, 0); d.Endpoint != 0 {
		t.Errorf("got endpoint %d, expected 0, which has no busy connection", d.Endpoint)
	}
}

func TestTwoChoices(t *testing.T) {
	c := mustCluster(t, Config{Balance: P2C, Endpoints: endpoints(3, 1)}, 1)
	n := strings.Count(letters(c.Pool(0), 8000, true), "a")
	if n < 5700 || n > 6300 {
		t.Errorf("weight 3 of 4 got %d of 8000 at rest, expected about 6000", n)
	}
	// Under load the number of busy ones evens out.
	c = mustCluster(t, Config{Balance: P2C, Endpoints: endpoints(1, 1, 1, 1)}, 1)
	letters(c.Pool(0), 4000, false)
	for _, e := range c.eps {
		if e.Open() < 950 || e.Open() > 1050 {
			t.Errorf("endpoint %d has %d of 4000, expected about 1000", e.ID, e.Open())
		}
	}
	// Of two that are both looked at, the one with room is taken.
	c = mustCluster(t, Config{Balance: P2C, Endpoints: endpoints(1, 1)}, 1)
	c.eps[0].busy.Store(5)
	if got := letters(c.Pool(0), 5, false); got != "bbbbb" {
		t.Errorf("got %s, expected bbbbb", got)
	}
}

func TestRandomSharesByWeight(t *testing.T) {
	c := mustCluster(t, Config{Balance: Random, Endpoints: endpoints(3, 1)}, 1)
	p := c.Pool(0)
	if n := strings.Count(letters(p, 8000, true), "a"); n < 5700 || n > 6300 {
		t.Errorf("weight 3 of 4 got %d of 8000, expected about 6000", n)
	}
	// It does not look at what is busy, and does not pay for counting it.
	letters(p, 8, false)
	if a, b := c.eps[0].busy.Load(), c.eps[1].busy.Load(); a != 0 || b != 0 {
		t.Errorf("busy %d and %d are counted", a, b)
	}
	p.DialFailed(1, 0)
	if got := letters(p, 8, false); got != "bbbbbbbb" {
		t.Errorf("got %s, expected b alone: the other one is down", got)
	}
}

func TestAskOrder(t *testing.T) {
	cfg := Config{Endpoints: endpoints(1), MaxConnections: 2, MaxIdle: 64, Queue: 4}
	c := mustCluster(t, cfg, 4, []int{2, 1, 3}, []int{0}, []int{0}, nil)
	for _, l := range []int{1, 2} {
		c.Pool(l).Acquire(1, 1, 0, 0)
		c.Pool(l).Put(1, uint64(l), 0)
	}
	p := c.Pool(0)
	if d := p.Acquire(1, 1, 0, 0); d.Kind != Ask || d.Loop != 2 || d.Endpoint != 0 {
		t.Fatalf("got %+v, expected to ask loop 2, the nearest", d)
	}
	if d := c.Pool(2).Acquire(1, 9, 0, 0); d.Kind == Reuse {
		t.Fatal("loop 2 itself takes the connection that it was asked for")
	}
	c.Pool(2).RemoveWaiter(9)
	if d := p.Acquire(1, 2, 0, 0); d.Kind != Ask || d.Loop != 1 {
		t.Fatalf("got %+v, expected to ask loop 1: loop 2's only idle connection is asked for", d)
	}
	if d := p.Acquire(1, 3, 0, 0); d.Kind != Wait {
		t.Fatalf("got %v, expected wait: both idle connections are asked for", d)
	}
	if _, ok := c.Pool(2).TakeIdle(0); !ok {
		t.Fatal("loop 2 has none")
	}
	p.Adopted(0)
	if w, ok := p.NextWaiter(1); ok {
		t.Fatalf("waiter %d: there is nothing", w)
	}
	c.Pool(1).TakeIdle(0)
	p.AdoptIdle(1, 1, 0, 1) // its request has ended meanwhile
	if w, ok := p.NextWaiter(1); !ok || w != 3 {
		t.Fatalf("waiter %d, %v: there is an idle connection now", w, ok)
	}
	if d := p.Acquire(1, 3, 0, 0); d.Kind != Reuse {
		t.Fatalf("got %+v, expected the idle connection", d)
	}
	if d := c.Pool(3).Acquire(1, 1, 0, 0); d.Kind != Wait {
		t.Errorf("got %+v, expected wait: loop 3 has no neighbours", d)
	}
	if n := c.pressed.Load(); n != 1 || c.Waiting() != 1 {
		t.Errorf("%d waiters and claims are left, %d waiters, want the one", n, c.Waiting())
	}
}

func TestBadNeighbours(t *testing.T) {
	cfg := Config{Name: "n", Endpoints: endpoints(1)}
	for _, n := range [][][]int{{{1}}, {{0}, {}}, {{2}, {0}}, {{-1}, {0}}} {
		if _, err := NewCluster(cfg, 2, n...); err == nil {
			t.Errorf("neighbours %v accepted", n)
		}
	}
	if _, err := NewCluster(cfg, 0); err == nil {
		t.Error("no loops accepted")
	}
}

// Of several loops with waiters the one that has waited longest is called, and each
// once until it has heard of it.
func TestOldestLoopIsCalledFirst(t *testing.T) {
	c := mustCluster(t, Config{Endpoints: endpoints(1), MaxConnections: 3, Queue: 9}, 4)
	p := c.Pool(0)
	dialled(t, p, 3)
	if _, ok := p.Pass(1); ok {
		t.Error("nobody waits, and yet somebody is called")
	}
	const apart = 2 * turnSlackNs
	for _, l := range []int64{2, 1, 3} {
		c.Pool(int(l)).Acquire(10*apart-l*apart, 1, 0, 0)
	}
	now := 20 * apart
	p.Acquire(now, 1, 0, 0) // the newest
	for called, want := range []int{3, 2, 1} {
		if h, ok := p.Pass(now); ok {
			t.Fatalf("%+v is called for nothing", h)
		}
		p.Closed(0)
		if w, ok := p.NextWaiter(now); ok {
			t.Fatalf("waiter %d is served before older ones", w)
		}
		if d := p.Acquire(now, 9, 0, 0); d.Kind != Wait {
			t.Fatalf("a newcomer gets %v", d.Kind)
		}
		p.RemoveWaiter(9)
		if h, ok := p.Pass(now); !ok || h.Loop != want || h.Kept || int(c.called.Load()) != called+1 {
			t.Fatalf("%+v, %v is called, want loop %d", h, ok, want)
		}
	}
	for l := 3; l >= 1; l-- {
		q := c.Pool(l)
		q.Woken()
		if w, ok := q.NextWaiter(now); !ok || w != 1 || q.Acquire(now, 1, 0, 0).Kind != Dial {
			t.Fatalf("loop %d was called, and finds nothing", l)
		}
	}
	if n := c.called.Load(); n != 0 || c.Waiting() != 1 {
		t.Errorf("%d loops are called and %d wait at the end", n, c.Waiting())
	}
}

// What is idle is handed over with the call.
func TestIdleConnectionGoesToTheOldestLoop(t *testing.T) {
	c := mustCluster(t, Config{Endpoints: endpoints(1), MaxConnections: 1, MaxIdle: 9, Queue: 9}, 2)
	p, q := c.Pool(0), c.Pool(1)
	dialled(t, p, 1)
	q.Acquire(1, 5, 0, 0)
	p.Acquire(1+2*turnSlackNs, 6, 0, 0)
	p.PutAddr(1+2*turnSlackNs, 7, 0, 1)
	if w, ok := p.NextWaiter(1 + 2*turnSlackNs); ok {
		t.Fatalf("waiter %d is served before an older one", w)
	}
	h, ok := p.Pass(1 + 2*turnSlackNs)
	if !ok || h != (Handoff{Conn: 7, Addr: 1, Loop: 1, Kept: true}) {
		t.Fatalf("%+v, %v is passed on", h, ok)
	}
	if c.Idle(0) != 0 || c.eps[0].Open() != 1 {
		t.Errorf("%d idle, %d open on the way", c.Idle(0), c.eps[0].Open())
	}
	q.Woken()
	if !q.AdoptIdle(2, 7, 0, 1) {
		t.Fatal("not kept")
	}
	if w, ok := q.NextWaiter(2); !ok || w != 5 || q.Acquire(2, 5, 0, 0).Conn != 7 {
		t.Errorf("waiter %d, %v", w, ok)
	}
}
