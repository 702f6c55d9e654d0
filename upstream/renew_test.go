package upstream

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Changes wait for Renew, all together, and are as if each had been put in force.
func TestChangesWaitForRenew(t *testing.T) {
	c := mustCluster(t, Config{Slots: 20}, 1)
	p, signals := c.Pool(0), 0
	c.SetEndpoints(listed(1, 2, 3))
	Defer(c, func() { signals++ })
	roster, changes := c.roster.Load(), c.Changes()
	c.SetEndpoints(listed(1, 2))
	c.SetEndpoints(listed(1, 4))
	if err := c.SetWeight(addressOf(1), 0); err != nil {
		t.Fatal(err)
	}
	c.SetEndpoints(listed(1, 4, 2)) // it has not been away
	if c.roster.Load() != roster || signals == 0 {
		t.Errorf("changes are in force before Renew; it was asked for %d times", signals)
	}
	for range 20 { // what there was serves on
		if d := p.Acquire(1, 1, 0, 1); d.Kind != Dial {
			t.Fatalf("got %+v", d)
		}
	}
	Renew(c)
	if got := served(p, 200); fmt.Sprint(got) != fmt.Sprint([]string{addressOf(2), addressOf(4)}) {
		t.Errorf("%v serve", got)
	}
	if !c.eps[2].Vacant() || c.eps[1].Vacant() {
		t.Error("the third is still there, or the second is not")
	}
	roster, changes = c.roster.Load(), c.Changes()
	Renew(c)
	if c.roster.Load() != roster || c.Changes() != changes {
		t.Error("Renew changes something where nothing has changed")
	}
}

func addressOf(i int) string { return fmt.Sprintf("127.0.0.1:%d", 9000+i) }

func listed(numbers ...int) (list []EndpointConfig) {
	for _, i := range numbers {
		list = append(list, EndpointConfig{Address: addressOf(i)})
	}
	return list
}

// served are the endpoints that n requests go to.
func served(p *Pool, n int) (addresses []string) {
	for range n {
		d := p.Acquire(1, 1, 0, 1)
		if a := p.c.eps[d.Endpoint].Address; d.Kind == Dial && !slices.Contains(addresses, a) {
			addresses = append(addresses, a)
		}
	}
	slices.Sort(addresses)
	return addresses
}

// Whatever comes and goes, and whenever it is put in force, what is in force then is what a cluster has that
// was told the last of it alone.
func TestRenewedIsAsTold(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 9))
		slots := []int{30, 100}[seed%2]
		c := mustCluster(t, Config{Slots: slots, Balance: Balance(rng.IntN(7))}, 1)
		Defer(c, func() {})
		var last []EndpointConfig
		for range 40 {
			last = nil
			for i := range 20 {
				if rng.IntN(2) == 0 || i == 0 {
					last = append(last, EndpointConfig{Address: addressOf(i), Weight: 1 + rng.IntN(3)})
				}
			}
			c.SetEndpoints(last)
			if rng.IntN(4) == 0 {
				Renew(c)
				c.Pool(0).notice()
				if d := c.Pool(0).Acquire(1, 1, 0, rng.Uint64()); d.Kind != Dial {
					t.Fatalf("seed %d: got %+v", seed, d)
				}
			}
		}
		Renew(c)
		present, vacant := 0, int32(0)
		for i, e := range c.eps {
			at := slices.IndexFunc(last, func(want EndpointConfig) bool { return e.Address == want.Address })
			if e.Vacant() == (at >= 0) || at >= 0 && (e.Weight != last[at].Weight || c.roster.Load().weights[i] != int64(last[at].Weight)) {
				t.Errorf("seed %d: endpoint %q of weight %d, vacant: %v, and it is told of %d", seed, e.Address, e.Weight, e.Vacant(), at)
			}
			if at >= 0 {
				present++
			} else {
				vacant++
			}
		}
		if r := c.roster.Load(); present != len(last) || r.vacant != vacant || c.ill.Load() != vacant {
			t.Errorf("seed %d: %d endpoints of %d, %d vacant of %d, %d ill", seed, present, len(last), r.vacant, vacant, c.ill.Load())
		}
	}
}

// An endpoint that comes behind others is a new one among them, though nothing is in force yet.
func TestSlowStartOfWhatWaits(t *testing.T) {
	c := mustCluster(t, Config{Slots: 9, SlowStart: time.Hour}, 1)
	Defer(c, func() {})
	c.SetEndpoints(listed(1))
	c.SetEndpoints(listed(1, 2))
	Renew(c)
	for ep, want := range []int{wholeWeight, leastGrown} {
		if _, grown, _ := c.WeightOf(ep); grown != want {
			t.Errorf("endpoint %d has %d %% of its weight, want %d", ep, grown, want)
		}
	}
}
