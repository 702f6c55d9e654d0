package upstream

import (
	"testing"
	"time"
)

// wideCluster has n endpoints, of weights 1 to 3.
func wideCluster(t *testing.T, cfg Config, n, loops int) *Cluster {
	weights := make([]int, n)
	for i := range weights {
		weights[i] = 1 + i%3
	}
	cfg.Endpoints = endpoints(weights...)
	c := mustCluster(t, cfg, loops)
	if c.roster.Load().turns == nil {
		t.Fatalf("%d endpoints are not wide", n)
	}
	return c
}

// share says how many requests of those endpoints are that have the weight.
func share(n []int, weight int) (sum int) {
	for i, k := range n {
		if 1+i%3 == weight {
			sum += k
		}
	}
	return sum
}

func TestWideSharesByWeight(t *testing.T) {
	for _, balance := range []Balance{RoundRobin, LeastConn, P2C, Random} {
		c := wideCluster(t, Config{Balance: balance}, 999, 3)
		n := make([]int, 999)
		for loop := range 3 {
			p := c.Pool(loop)
			for range 1998 * 5 {
				d := p.Acquire(1, 1, 0, 0)
				if d.Kind != Dial {
					t.Fatalf("%v: got %v", balance, d)
				}
				n[d.Endpoint]++
				p.Closed(d.Endpoint)
			}
		}
		for weight := 1; weight <= 3; weight++ {
			want := 333 * weight * 15
			slack := 0
			if balance != RoundRobin {
				slack = want / 10
			}
			if got := share(n, weight); got < want-slack || got > want+slack {
				t.Errorf("%v: weight %d got %d, expected %d", balance, weight, got, want)
			}
		}
		if balance != RoundRobin {
			continue
		}
		for ep, got := range n {
			if want := 15 * (1 + ep%3); got != want {
				t.Fatalf("endpoint %d got %d, expected %d", ep, got, want)
			}
		}
	}
}

// Turns are spread: an endpoint of weight 3 has one in each third of a round.
func TestTurnsAreSpread(t *testing.T) {
	c := wideCluster(t, Config{}, 300, 1)
	for ep := 2; ep < 300; ep += 3 {
		var in [3]int
		for i, turn := range c.roster.Load().turns {
			if int(turn) == ep {
				in[i*3/len(c.roster.Load().turns)]++
			}
		}
		if in != [3]int{1, 1, 1} {
			t.Fatalf("endpoint %d has its turns in the thirds %v", ep, in)
		}
	}
	eps := []*Endpoint{{ID: 0}, {ID: 1}, {ID: 2}}
	if n := len(turnsOf(eps, []int64{1, 1 << 16, 1 << 16})); n > maxTurns+len(eps) || n < maxTurns-len(eps) {
		t.Errorf("%d turns of large weights, expected about %d", n, maxTurns)
	}
}

func TestWideLoadEvensOut(t *testing.T) {
	for _, balance := range []Balance{LeastConn, P2C} {
		c := mustCluster(t, Config{Balance: balance, Endpoints: endpoints(make([]int, 200)...)}, 1)
		p := c.Pool(0)
		for range 4000 {
			p.Acquire(1, 1, 0, 0)
		}
		for _, e := range c.eps {
			if e.Open() < 17 || e.Open() > 23 {
				t.Errorf("%v: endpoint %d has %d of 4000, expected about 20", balance, e.ID, e.Open())
			}
		}
	}
}

// Of 200 endpoints one alone is up and has a slot: it is found.
func TestWideFindsTheLastOne(t *testing.T) {
	for _, balance := range []Balance{RoundRobin, LeastConn, P2C, LeastTime, Random} {
		c := wideCluster(t, Config{Balance: balance, MaxConnections: 1, Queue: 9, MaxIdle: 9, QueueTimeout: time.Second}, 200, 1)
		p, now := c.Pool(0), int64(time.Hour)
		for ep, e := range c.eps {
			switch {
			case ep == 77:
			case ep%3 == 0:
				checked(c, ep, e.Address)
			case ep%3 == 1:
				e.health.fail(now, 0, int64(time.Minute), int64(time.Minute), 0)
			default:
				e.open.Add(1)
			}
		}
		if d := p.Acquire(now, 1, 0, 0); d.Kind != Dial || d.Endpoint != 77 {
			t.Fatalf("%v: got %+v", balance, d)
		}
		if d := p.Acquire(now, 2, 0, 0); d.Kind != Wait {
			t.Fatalf("%v: got %+v where all that are up are full", balance, d)
		}
		if _, ok := p.NextWaiter(now); ok {
			t.Errorf("%v: a waiter is named", balance)
		}
		p.Put(now, 5, 77)
		if w, ok := p.NextWaiter(now); !ok || w != 2 {
			t.Fatalf("%v: no waiter is named for an idle connection", balance)
		}
		if d := p.Acquire(now, 2, 0, 0); d.Kind != Reuse || d.Conn != 5 {
			t.Errorf("%v: got %+v, expected the idle connection", balance, d)
		}
	}
}

// A request whose endpoints fail goes to others, and gives up when all are down and it
// has tried some; what it has tried it takes where it is all there is.
func TestWideTried(t *testing.T) {
	c := wideCluster(t, Config{}, 100, 1)
	p, now := c.Pool(0), int64(time.Hour)
	var tried Tried
	seen := map[int]bool{}
	for range triedMost {
		d := p.Acquire(now, 1, tried, 0)
		if d.Kind != Dial || seen[d.Endpoint] || c.triedAll(tried) {
			t.Fatalf("got %+v after %v", d, seen)
		}
		seen[d.Endpoint] = true
		tried = c.AddTried(c.AddTried(tried, d.Endpoint), d.Endpoint)
		p.Closed(d.Endpoint)
	}
	for ep := range c.eps {
		if c.hasTried(tried, ep) != seen[ep] || !c.triedAll(tried) {
			t.Fatalf("tried %x, of %v", tried, seen)
		}
	}
	for ep, e := range c.eps {
		if !seen[ep] {
			e.health.fail(now, 0, int64(time.Minute), int64(time.Minute), 0)
		}
	}
	if d := p.Acquire(now, 1, tried, 0); d.Kind != Dial || !seen[d.Endpoint] {
		t.Errorf("got %+v where only the tried ones are up", d)
	}
	for ep := range seen {
		c.eps[ep].health.fail(now, 0, int64(time.Minute), int64(time.Minute), 0)
	}
	if d := p.Acquire(now, 1, tried, 0); d.Kind != Refuse || d.Reason != NoEndpoint {
		t.Errorf("got %+v where all are down", d)
	}
	if d := p.Acquire(now, 1, 0, 0); d.Kind != Dial {
		t.Errorf("got %+v for one that has tried none", d)
	}
}

// An endpoint whose queue of connections is full is left alone, and no other.
func TestWideRests(t *testing.T) {
	c := wideCluster(t, Config{}, 130, 1)
	p, now := c.Pool(0), int64(time.Hour)
	d := p.Acquire(now, 1, 0, 0)
	p.DialLater(now, d.Endpoint)
	if !p.rests(d.Endpoint) || p.rests((d.Endpoint+wordEndpoints)%130) {
		t.Error("another one rests")
	}
	if p.AcquireFor(now+restNs, &Request{}); p.rests(d.Endpoint) {
		t.Error("it rests for ever")
	}
}

// A pick costs no allocation, and not more with more endpoints.
func TestWidePickAllocatesNothing(t *testing.T) {
	for _, balance := range []Balance{RoundRobin, LeastConn, P2C, LeastTime, Random} {
		p := warmPool(t, balance, 1000)
		p.c.eps[5].health.fail(1, 0, int64(time.Minute), int64(time.Minute), 0)
		if n := testing.AllocsPerRun(3000, func() {
			d := p.Acquire(2, 1, 0, 0)
			if d.Kind != Reuse || d.Endpoint == 5 {
				t.Fatalf("got %+v", d)
			}
			p.PutAddr(2, d.Conn, d.Endpoint, d.Addr)
		}); n != 0 {
			t.Errorf("%v: %v allocations", balance, n)
		}
	}
}

// Of what is drawn one that is up is preferred, however busy it is: one that is down is picked only where all are.
func TestDrawsPreferWhatIsUp(t *testing.T) {
	for balance, draws := range map[Balance]int{LeastConn: leastDraws, LeastTime: leastDraws, P2C: 2} {
		p := mustCluster(t, Config{Balance: balance, Endpoints: endpoints(make([]int, 100)...)}, 1).Pool(0)
		for ep, e := range p.c.eps {
			if ep%2 == 0 {
				e.health.hold(holdChecks)
			} else {
				e.busy.Store(5)
			}
		}
		const picks = 8000
		down := 0
		for range picks {
			if p.wide.pick(p, 1, &p.roster.level, 0, 0)%2 == 0 {
				down++
			}
		}
		if want := picks >> draws; down < want/2 || down > want*3/2 {
			t.Errorf("%v: %d of %d picks are down, expected %d", balance, down, picks, want)
		}
	}
}
