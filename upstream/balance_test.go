package upstream

import (
	"fmt"
	"strings"
	"testing"
	"time"
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
		es = append(es, EndpointConfig{fmt.Sprintf("127.0.0.1:%d", 9000+i), w})
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

func TestStealOrder(t *testing.T) {
	cfg := Config{Endpoints: endpoints(1), MaxConnections: 2, MaxIdle: 64, Queue: 4}
	c := mustCluster(t, cfg, 4, []int{2, 1, 3}, []int{0}, []int{0}, nil)
	for _, l := range []int{1, 2} {
		c.Pool(l).Acquire(1, 1, 0, 0)
		c.Pool(l).Put(1, uint64(l), 0)
	}
	p := c.Pool(0)
	if d := p.Acquire(1, 1, 0, 0); d.Kind != Steal || d.Loop != 2 || d.Endpoint != 0 {
		t.Fatalf("got %+v, expected to steal from loop 2, the nearest", d)
	}
	if d := p.Acquire(1, 2, 0, 0); d.Kind != Wait {
		t.Fatalf("got %v, expected wait: loop 2's only idle connection is asked for", d)
	}
	if _, ok := c.Pool(2).TakeIdle(0); !ok {
		t.Fatal("loop 2 has none")
	}
	p.Adopted(0)
	if w, ok := p.NextWaiter(1); !ok || w != 2 {
		t.Fatalf("waiter %d, %v: loop 1 has an idle connection", w, ok)
	}
	if d := p.Acquire(1, 2, 0, 0); d.Kind != Steal || d.Loop != 1 {
		t.Fatalf("got %+v, expected to steal from loop 1", d)
	}
	if d := c.Pool(3).Acquire(1, 1, 0, 0); d.Kind != Wait {
		t.Errorf("got %+v, expected wait: loop 3 has no neighbours", d)
	}
	// An ask that is never answered does not block stealing for ever.
	if d := p.Acquire(1+2*int64(time.Second), 3, 0, 0); d.Kind != Steal {
		t.Errorf("got %+v, expected steal", d)
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

func TestWakeLoopTakesTurns(t *testing.T) {
	c := mustCluster(t, Config{Endpoints: endpoints(1), MaxConnections: 1, Queue: 9}, 4)
	c.Pool(0).Acquire(1, 1, 0, 0)
	for i := 1; i < 4; i++ {
		if _, ok := c.WakeLoop(0); ok && i == 1 {
			t.Error("nobody waits, and yet somebody is to be woken")
		}
		c.Pool(i).Acquire(1, 1, 0, 0)
	}
	c.Pool(0).Acquire(1, 1, 0, 0) // its own waiters are its own affair
	heard := func() {
		for i := 1; i < 4; i++ {
			c.Pool(i).Woken()
		}
	}
	heard()
	seen := map[int]int{}
	for range 4 {
		for range 3 {
			l, ok := c.WakeLoop(0)
			if !ok {
				t.Fatal("three loops wait, none named")
			}
			seen[l]++
		}
		if l, ok := c.WakeLoop(0); ok {
			t.Fatalf("loop %d is named again, and has not heard of the first time", l)
		}
		heard()
	}
	if seen[0] != 0 || seen[1] == 0 || seen[2] == 0 || seen[3] == 0 {
		t.Errorf("woken: %v, expected loops 1, 2 and 3 in turn", seen)
	}
}
