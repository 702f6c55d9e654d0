package upstream

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"
)

var byKey = []Balance{RingHash, Maglev}

// keyAt is the hash of one of many keys.
func keyAt(i int) uint64 { return HashKey(fmt.Appendf(nil, "/key/%d", i)) }

// owners says which address each of n keys belongs to.
func owners(c *Cluster, n int) (list []string) {
	for i := range n {
		list = append(list, c.eps[c.roster.Load().places.at(keyAt(i), 0)].Address)
	}
	return list
}

func TestMaglevSizesArePrime(t *testing.T) {
	for _, n := range []int{maglevSmall, maglevLarge} {
		for d := 2; d*d <= n; d++ {
			if n%d == 0 {
				t.Errorf("%d is %d times %d", n, d, n/d)
			}
		}
	}
	if MaxEndpoints*maglevShare > maglevLarge {
		t.Errorf("%d slots are too few for %d endpoints", maglevLarge, MaxEndpoints)
	}
}

// Instances that list the same endpoints in another order agree on every key.
func TestPlacementDoesNotDependOnOrder(t *testing.T) {
	for _, balance := range byKey {
		for _, n := range []int{7, 700} {
			weights := make([]int, n)
			for i := range weights {
				weights[i] = 1 + i%3
			}
			es := endpoints(weights...)
			es = append(es, es[0]) // one address twice
			a := mustCluster(t, Config{Balance: balance, Endpoints: es}, 1)
			slices.Reverse(es)
			b := mustCluster(t, Config{Balance: balance, Endpoints: es}, 1)
			if !slices.Equal(owners(a, 10000), owners(b, 10000)) {
				t.Errorf("%v of %d: two orders give two placements", balance, n)
			}
		}
	}
}

func TestPlacementSharesByWeight(t *testing.T) {
	for _, balance := range byKey {
		c := mustCluster(t, Config{Balance: balance, Endpoints: endpoints(1, 2, 3, 4)}, 1)
		got := make([]int, 4)
		for i := range 100000 {
			got[c.roster.Load().places.at(keyAt(i), 0)]++
		}
		// 64 to 256 points of a ring lie less evenly than slots.
		slack := map[Balance]float64{RingHash: 0.4, Maglev: 0.05}[balance]
		for ep, n := range got {
			if want := 10000 * float64(ep+1); math.Abs(float64(n)-want) > slack*want {
				t.Errorf("%v: weight %d got %d of 100000 keys, expected about %v", balance, ep+1, n, want)
			}
		}
	}
}

// When one of n endpoints goes its keys move. Of the others none does on a ring; by maglev
// fewer do than its own are.
func TestPlacementMovesFewKeys(t *testing.T) {
	const keys = 50000
	for _, balance := range byKey {
		for _, n := range []int{5, 10, 50} {
			es := endpoints(make([]int, n)...)
			before := owners(mustCluster(t, Config{Balance: balance, Endpoints: es}, 1), keys)
			gone := es[n/2].Address
			after := owners(mustCluster(t, Config{Balance: balance, Endpoints: slices.Delete(es, n/2, n/2+1)}, 1), keys)
			own, others := 0, 0
			for i := range before {
				switch {
				case before[i] == gone:
					own++
				case before[i] != after[i]:
					others++
				}
			}
			t.Logf("%v of %d: %d keys of its own and %d others move", balance, n, own, others)
			if own < keys/n/2 || own > keys/n*3/2 {
				t.Errorf("%v: one of %d had %d of %d keys", balance, n, own, keys)
			}
			if balance == RingHash && others != 0 || others > keys/n {
				t.Errorf("%v of %d: %d keys of endpoints that stay have moved", balance, n, others)
			}
		}
	}
}

// Keys of an endpoint that is down go to others, each to one and all of them spread; no other
// key moves, and they come back. With 100 endpoints the cluster is wide.
func TestDownEndpointIsPassedOverStably(t *testing.T) {
	for _, balance := range byKey {
		for _, n := range []int{8, 100} {
			c := mustCluster(t, Config{Balance: balance, Endpoints: endpoints(make([]int, n)...)}, 2)
			where := func(loop int) (list []int) {
				p := c.Pool(loop)
				for i := range 2000 {
					d := p.Acquire(1, 1, 0, keyAt(i))
					if d.Kind != Dial {
						t.Fatalf("%v of %d: got %+v", balance, n, d)
					}
					p.Closed(d.Endpoint)
					list = append(list, d.Endpoint)
				}
				return list
			}
			healthy := where(0)
			down := healthy[0]
			c.eps[down].health.fail(1, 0, int64(time.Minute), int64(time.Minute), 0)
			sick := where(0)
			if !slices.Equal(sick, where(1)) {
				t.Errorf("%v of %d: two loops choose differently", balance, n)
			}
			stands := map[int]bool{}
			for i, ep := range sick {
				switch {
				case ep == down:
					t.Fatalf("%v of %d: a request goes to the endpoint that is down", balance, n)
				case healthy[i] == down:
					stands[ep] = true
				case healthy[i] != ep:
					t.Fatalf("%v of %d: a key of endpoint %d moves to %d", balance, n, healthy[i], ep)
				}
			}
			if len(stands) < 5 {
				t.Errorf("%v of %d: only %d others stand in", balance, n, len(stands))
			}
			c.eps[down].health.recovered()
			if !slices.Equal(where(0), healthy) {
				t.Errorf("%v of %d: keys do not come back", balance, n)
			}
		}
	}
}

// Endpoints that come and go take their keys along, and come back to them; bounds are of those that are there.
func TestKeysOfEndpointsThatComeAndGo(t *testing.T) {
	for _, balance := range byKey {
		for _, slots := range []int{20, 200} {
			c := mustCluster(t, Config{Balance: balance, LoadPercent: 150, Slots: slots}, 1)
			p, all := c.Pool(0), endpoints(make([]int, slots-5)...)
			where := func() (list []string) {
				for i := range 1000 {
					d := p.Acquire(1, 1, 0, keyAt(i))
					if d.Kind != Dial {
						t.Fatalf("%v: got %+v", balance, d)
					}
					list = append(list, c.eps[d.Endpoint].Address)
					p.Closed(d.Endpoint)
				}
				return list
			}
			if d := p.Acquire(1, 1, 0, keyAt(1)); d.Kind != Refuse {
				t.Errorf("%v: without endpoints %+v", balance, d)
			}
			c.SetEndpoints(all)
			full := where()
			c.SetEndpoints(all[1:])
			moved := 0
			for i, at := range where() {
				if at == all[0].Address {
					t.Fatalf("%v: key %d goes to an endpoint that is gone", balance, i)
				}
				if at != full[i] && full[i] != all[0].Address {
					moved++
				}
			}
			if moved > 3*1000/(slots-5) {
				t.Errorf("%v of %d: %d keys of endpoints that stay have moved", balance, slots-5, moved)
			}
			c.SetEndpoints(all)
			if !slices.Equal(where(), full) {
				t.Errorf("%v: keys do not come back", balance)
			}
			c.SetEndpoints(all[:2])
			for range 100 {
				p.Acquire(1, 1, 0, keyAt(1))
			}
			if a, b := c.eps[0].Open(), c.eps[1].Open(); a > 75 || b > 75 {
				t.Errorf("%v: two endpoints have %d and %d of 100 under way, at most 75 may", balance, a, b)
			}
		}
	}
}

// Where nearly all are down a key still goes to one endpoint only.
func TestKeyStaysWhereFewAreUp(t *testing.T) {
	for _, balance := range byKey {
		for _, n := range []int{60, 100} {
			c := mustCluster(t, Config{Balance: balance, Endpoints: endpoints(make([]int, n)...)}, 1)
			for ep := range n {
				if ep != 3 && ep != 50 {
					c.eps[ep].health.fail(1, 0, int64(time.Minute), int64(time.Minute), 0)
				}
			}
			p := c.Pool(0)
			for i := range 50 {
				first := p.Acquire(1, 1, 0, keyAt(i)).Endpoint
				for range 5 {
					if ep := p.Acquire(1, 1, 0, keyAt(i)).Endpoint; ep != first {
						t.Fatalf("%v of %d: key %d goes to %d and %d", balance, n, i, first, ep)
					}
				}
			}
		}
	}
}

func TestRequestsWithoutKeySpread(t *testing.T) {
	for _, balance := range byKey {
		for _, n := range []int{4, 100} {
			c := mustCluster(t, Config{Balance: balance, Endpoints: endpoints(make([]int, n)...)}, 1)
			for range 100 * n {
				c.Pool(0).Acquire(1, 1, 0, 0)
			}
			for _, e := range c.eps {
				if e.Open() < 50 || e.Open() > 150 {
					t.Errorf("%v of %d: endpoint %d got %d, expected about 100", balance, n, e.ID, e.Open())
				}
			}
		}
	}
}

// One key for all: no endpoint has more than the bound of what is under way.
func TestBoundedLoad(t *testing.T) {
	for _, balance := range byKey {
		for _, n := range []int{10, 100} {
			for _, down := range []int{0, n / 2} {
				c := mustCluster(t, Config{Balance: balance, LoadPercent: 125, Endpoints: endpoints(make([]int, n)...)}, 2)
				for ep := range down {
					c.eps[ep].health.fail(1, 0, int64(time.Minute), int64(time.Minute), 0)
				}
				const requests = 2000
				var got []int
				for i := range requests {
					got = append(got, c.Pool(i%2).Acquire(1, 1, 0, keyAt(1)).Endpoint)
				}
				bound := int(math.Ceil(1.25 * requests / float64(n-down)))
				for _, e := range c.eps {
					if e.Open() > bound {
						t.Errorf("%v of %d: endpoint %d has %d under way, at most %d may", balance, n, e.ID, e.Open(), bound)
					}
				}
				for i, ep := range got {
					c.Pool(i % 2).Closed(ep)
				}
				if left := c.underWay.Load(); left != 0 {
					t.Errorf("%v of %d: %d are under way at rest", balance, n, left)
				}
			}
		}
	}
	for _, bad := range []int{-1, 100, 119, 201} {
		if _, err := NewCluster(Config{LoadPercent: bad, Endpoints: endpoints(1)}, 1); err == nil {
			t.Errorf("a bound of %d per cent is accepted", bad)
		}
	}
}

// A request that an endpoint failed goes to the next place of its key.
func TestKeyedTried(t *testing.T) {
	for _, balance := range byKey {
		for _, n := range []int{8, 100} {
			c := mustCluster(t, Config{Balance: balance, Endpoints: endpoints(make([]int, n)...)}, 1)
			p := c.Pool(0)
			first := p.Acquire(1, 1, 0, keyAt(9)).Endpoint
			tried := c.AddTried(0, first)
			next := p.Acquire(1, 1, tried, keyAt(9)).Endpoint
			if next == first || p.Acquire(1, 1, tried, keyAt(9)).Endpoint != next {
				t.Errorf("%v of %d: %d, then %d", balance, n, first, next)
			}
		}
	}
}

func TestKeyedPickAllocatesNothing(t *testing.T) {
	for _, balance := range byKey {
		for _, n := range []int{16, 1000} {
			p, i := warmPool(t, balance, n), uint64(0)
			if got := testing.AllocsPerRun(3000, func() {
				i += weyl
				d := p.Acquire(2, 1, 0, i)
				if d.Kind != Reuse {
					t.Fatalf("got %+v", d)
				}
				p.PutAddr(2, d.Conn, d.Endpoint, d.Addr)
			}); got != 0 {
				t.Errorf("%v of %d: %v allocations", balance, n, got)
			}
		}
	}
}
