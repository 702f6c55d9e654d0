package upstream

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"
)

// everyBalance runs f for each balancing, over few and over many endpoints.
func everyBalance(t *testing.T, f func(t *testing.T, balance Balance, n int)) {
	for _, balance := range []Balance{RoundRobin, LeastConn, P2C, LeastTime, Random, RingHash, Maglev} {
		for _, n := range []int{4, 100} {
			t.Run(fmt.Sprintf("%v/%d", balance, n), func(t *testing.T) { f(t, balance, n) })
		}
	}
}

// sharesAt sends n requests with different keys, each of which ends at once, and counts them by endpoint.
// Where balance compares requests under way, ones that stay have the endpoints differ by their weights.
func sharesAt(t *testing.T, p *Pool, n int) []int {
	t.Helper()
	got := make([]int, len(p.c.eps))
	stay := p.c.cfg.Balance.comparesBusy()
	for k := range n {
		d := p.Acquire(1, 1, 0, keyAt(k))
		if d.Kind != Dial {
			t.Fatalf("got %v (%v)", d.Kind, d.Reason)
		}
		p.DialOK(1, d.Endpoint)
		got[d.Endpoint]++
		if !stay {
			p.Closed(d.Endpoint)
		}
	}
	if stay {
		for ep, k := range got {
			for range k {
				p.Closed(ep)
			}
		}
	}
	return got
}

// about says that got is want within a quarter.
func about(got int, want float64) bool { return math.Abs(float64(got)-want) <= want/4+1 }

func TestWeightIsSet(t *testing.T) {
	everyBalance(t, func(t *testing.T, balance Balance, n int) {
		c := mustCluster(t, Config{Balance: balance, Endpoints: endpoints(make([]int, n)...)}, 1)
		p, each := c.Pool(0), 600
		if err := c.SetWeight(c.eps[1].Address, 3); err != nil {
			t.Fatal(err)
		}
		got := sharesAt(t, p, each*(n+2))
		if !about(got[1], float64(3*each)) || !about(got[0], float64(each)) {
			t.Errorf("with weight 3 it got %d requests, another one %d, expected %d and %d", got[1], got[0], 3*each, each)
		}
		// Without weight it gets nothing, and is not taken for one that is down.
		if err := c.SetWeight(c.eps[1].Address, 0); err != nil {
			t.Fatal(err)
		}
		got = sharesAt(t, p, each*n)
		if got[1] != 0 || !about(got[0], float64(each*n/(n-1))) {
			t.Errorf("with weight 0 it got %d requests, another one %d", got[1], got[0])
		}
		if up, why := c.eps[1].State(1); up || why != "its weight is set to 0" || c.eps[1].Failing() || c.present() != n-1 {
			t.Errorf("it is up %v, %q, %d are there", up, why, c.present())
		}
		if err := c.SetWeight(c.eps[1].Address, -1); err != nil {
			t.Fatal(err)
		}
		if got = sharesAt(t, p, each*n); !about(got[1], float64(each)) || c.ill.Load() != 0 {
			t.Errorf("with its own weight again it got %d of %d, %d are ill", got[1], each*n, c.ill.Load())
		}
	})
}

func TestWeightsAreBounded(t *testing.T) {
	c := mustCluster(t, Config{Name: "app", Endpoints: endpoints(1, 1)}, 1)
	for _, weight := range []int{-2, maxWeight + 1} {
		if c.SetWeight(c.eps[0].Address, weight) == nil {
			t.Errorf("weight %d is accepted", weight)
		}
	}
	if err := c.SetWeight("127.0.0.1:1", 1); err == nil || err.Error() != `upstream "app" has no endpoint "127.0.0.1:1"` {
		t.Errorf("of another endpoint: %v", err)
	}
}

// When all have weight 0 nobody is served, and when one has another, at once.
func TestAllAreDrained(t *testing.T) {
	everyBalance(t, func(t *testing.T, balance Balance, n int) {
		c := mustCluster(t, Config{Balance: balance, Endpoints: endpoints(make([]int, n)...), Queue: 8, QueueTimeout: time.Second, Outlier: Outlier{Errors: 5, Ejection: 1, Panic: 50}}, 1)
		for _, e := range c.eps {
			if err := c.SetWeight(e.Address, 0); err != nil {
				t.Fatal(err)
			}
		}
		if d := c.Pool(0).Acquire(1, 1, 0, 7); d.Kind != Refuse || d.Reason != NoEndpoint {
			t.Errorf("got %v, %v", d.Kind, d.Reason)
		}
		if err := c.SetWeight(c.eps[2].Address, 5); err != nil {
			t.Fatal(err)
		}
		if d := c.Pool(0).Acquire(1, 1, 0, 7); d.Kind != Dial || d.Endpoint != 2 {
			t.Errorf("got %v of %d", d.Kind, d.Endpoint)
		}
	})
}

// A weight that was set holds in the cluster that comes next, unless the endpoint's own is another one there.
func TestWeightsAreKept(t *testing.T) {
	for _, slots := range []int{0, 64} {
		make := func(weights ...int) *Cluster {
			cfg := Config{Endpoints: endpoints(weights...)}
			if slots > 0 {
				cfg = Config{Slots: slots}
			}
			return mustCluster(t, cfg, 1)
		}
		fill := func(c *Cluster, weights ...int) {
			if slots > 0 {
				c.SetEndpoints(endpoints(weights...))
			}
		}
		weights := func(c *Cluster, n int) (list []int) {
			for i := range n {
				w, _, _ := c.WeightOf(i)
				list = append(list, w)
			}
			return list
		}
		a := make(1, 1, 1)
		fill(a, 1, 1, 1)
		for i, w := range []int{5, 0, 7} {
			if err := a.SetWeight(a.eps[i].Address, w); err != nil {
				t.Fatal(err)
			}
		}
		b := make(1, 1, 2)
		b.Succeed(a)
		fill(b, 1, 1, 2)
		if got := fmt.Sprint(weights(b, 3)); got != "[5 0 2]" {
			t.Errorf("%d slots: the weights are %v, expected [5 0 2]", slots, got)
		}
		// It holds for a cluster that was never filled as well.
		c := make(1, 1, 2)
		c.Succeed(b)
		d := make(1, 1, 2)
		d.Succeed(c)
		fill(d, 1, 1, 2)
		if got := fmt.Sprint(weights(d, 3)); got != "[5 0 2]" {
			t.Errorf("%d slots: later the weights are %v, expected [5 0 2]", slots, got)
		}
		if slots > 0 {
			d.SetEndpoints(endpoints(1))
			d.SetEndpoints(endpoints(1, 1, 2))
			if got := fmt.Sprint(weights(d, 3)); got != "[5 0 2]" {
				t.Errorf("of endpoints that come back the weights are %v, expected [5 0 2]", got)
			}
		}
	}
}

// The share of an endpoint that comes up grows from a tenth to the whole, and all are alike at the start.
func TestSlowStart(t *testing.T) {
	everyBalance(t, func(t *testing.T, balance Balance, n int) {
		if balance.byKey() {
			return
		}
		c := mustCluster(t, Config{Balance: balance, Endpoints: endpoints(make([]int, n)...), SlowStart: 100 * time.Second}, 1)
		p, each := c.Pool(0), 300
		second := int64(time.Second)
		if c.Grow(1); fmt.Sprint(grownOf(c)) != fmt.Sprint(alike(n, 100)) {
			t.Fatalf("at the start %v of their shares", grownOf(c))
		}
		c.eps[0].health.hold(holdChecks)
		c.Grow(second)
		c.eps[0].health.unhold(holdChecks)
		for _, tt := range []struct{ after, percent int }{{0, 10}, {1, 10}, {50, 55}, {99, 95}, {101, 100}} {
			c.Grow(int64(2+tt.after) * second)
			rest := float64(n-1) + float64(tt.percent)/100
			got, want := sharesAt(t, p, int(float64(each)*rest))[0], float64(each*tt.percent)/100
			if math.Abs(float64(got)-want) > want/4+10 {
				t.Errorf("after %d s it got %d requests, expected %v", tt.after, got, want)
			}
		}
		// When all were down they are alike.
		for _, e := range c.eps {
			e.health.hold(holdChecks)
		}
		c.Grow(200 * second)
		for _, e := range c.eps {
			e.health.unhold(holdChecks)
		}
		if c.Grow(201 * second); fmt.Sprint(grownOf(c)) != fmt.Sprint(alike(n, 100)) {
			t.Errorf("after all were down %v of their shares", grownOf(c))
		}
	})
}

func grownOf(c *Cluster) (list []int) {
	for i := range c.eps {
		if c.standings[i].there {
			list = append(list, c.standings[i].grown)
		}
	}
	return list
}

func alike(n, v int) (list []int) {
	for range n {
		list = append(list, v)
	}
	return list
}

// So does that of one that is added, by discovery or by another configuration.
func TestSlowStartOfNewOnes(t *testing.T) {
	c := mustCluster(t, Config{Slots: 64, SlowStart: 10 * time.Second}, 1)
	c.SetEndpoints(named(1, 2))
	c.SetEndpoints(named(1, 2, 3))
	if got := fmt.Sprint(grownOf(c)); got != "[100 100 10]" {
		t.Errorf("when one is found they have %v of their shares", got)
	}
	c.Grow(1e9)
	c.Grow(6e9)
	if got := fmt.Sprint(grownOf(c)); got != "[100 100 55]" {
		t.Errorf("half-way they have %v of their shares", got)
	}
	next := mustCluster(t, Config{Slots: 64, SlowStart: 10 * time.Second}, 1)
	next.Succeed(c)
	next.SetEndpoints(named(4, 3, 1))
	if got := fmt.Sprint(grownOf(next)); got != "[10 55 100]" {
		t.Errorf("behind a reload they have %v of their shares", got)
	}
	listed := mustCluster(t, Config{Endpoints: named(1, 3, 5), SlowStart: 10 * time.Second}, 1)
	listed.Succeed(next)
	if got := fmt.Sprint(grownOf(listed)); got != "[100 55 10]" {
		t.Errorf("listed they have %v of their shares", got)
	}
	off := mustCluster(t, Config{Endpoints: named(1, 3, 5)}, 1)
	if off.Succeed(next); off.roster.Load().weights[1] != 1 {
		t.Errorf("without slow start the weights are %v", off.roster.Load().weights)
	}
}

// Weights and endpoints change while loops choose from them.
func TestWeightsChangeUnderLoad(t *testing.T) {
	everyBalance(t, func(t *testing.T, balance Balance, n int) {
		c := mustCluster(t, Config{Balance: balance, Slots: 2 * n, SlowStart: time.Second}, 2)
		all := named()
		for i := range n {
			all = append(all, named(1000+i)...)
		}
		c.SetEndpoints(all)
		var loops sync.WaitGroup
		stop := make(chan struct{})
		for l := range 2 {
			loops.Go(func() {
				p := c.Pool(l)
				for k := 0; ; k++ {
					select {
					case <-stop:
						return
					default:
					}
					d := p.Acquire(1, 1, 0, keyAt(k))
					if d.Kind != Dial {
						t.Errorf("got %v (%v)", d.Kind, d.Reason)
						return
					}
					p.DialOK(1, d.Endpoint)
					p.Closed(d.Endpoint)
				}
			})
		}
		rounds := 100
		if balance.byKey() {
			rounds = 20
		}
		for k := range rounds {
			address := all[k%(n-1)].Address
			for _, weight := range []int{k % 3, -1} {
				if err := c.SetWeight(address, weight); err != nil {
					t.Fatal(err)
				}
				c.SetEndpoints(all[:n-(k+weight)&1])
				c.Grow(int64(k) * 1e7)
			}
		}
		close(stop)
		loops.Wait()
		if ill, vacant := c.ill.Load(), c.roster.Load().vacant; ill != vacant {
			t.Errorf("%d are ill, %d slots vacant", ill, vacant)
		}
	})
}

// Weights that were set go to another process, for those that are there, and those that come later.
func TestWeightsAreInherited(t *testing.T) {
	old := mustCluster(t, Config{Endpoints: []EndpointConfig{{Address: addressOf(1), Weight: 2}, {Address: addressOf(2)}, {Address: addressOf(3)}}}, 1)
	for i, weight := range []int{7, 0} {
		if err := old.SetWeight(addressOf(1+i), weight); err != nil {
			t.Fatal(err)
		}
	}
	list := WeightsSet(old)
	if fmt.Sprint(list) != fmt.Sprint([]WeightSet{{addressOf(1), 2, 7}, {addressOf(2), 1, 0}}) {
		t.Fatalf("%v were set", list)
	}
	next := mustCluster(t, Config{Endpoints: []EndpointConfig{{Address: addressOf(1), Weight: 3}, {Address: addressOf(2)}, {Address: addressOf(3)}}}, 1)
	InheritWeights(next, list)
	if w, _, set := next.WeightOf(0); w != 3 || set {
		t.Errorf("weight %d, set: %v, of an endpoint whose own weight is another one", w, set)
	}
	if got := served(next.Pool(0), 50); fmt.Sprint(got) != fmt.Sprint([]string{addressOf(1), addressOf(3)}) {
		t.Errorf("%v serve", got)
	}
	found := mustCluster(t, Config{Slots: 9, SlowStart: time.Hour}, 1)
	InheritWeights(found, list)
	if more := WeightsSet(found); len(more) != 2 {
		t.Errorf("%v go on to the next process", more)
	}
	found.SetEndpoints([]EndpointConfig{{Address: addressOf(1), Weight: 2}, {Address: addressOf(2)}, {Address: addressOf(3)}})
	if w, grown, set := found.WeightOf(0); w != 7 || grown != 100 || !set {
		t.Errorf("weight %d, %d %%, set: %v", w, grown, set)
	}
	if _, grown, _ := found.WeightOf(2); grown != wholeWeight {
		t.Errorf("an upgrade has the third begin with %d %% of its weight", grown)
	}
	if got := served(found.Pool(0), 50); slices.Contains(got, addressOf(2)) || !slices.Contains(got, addressOf(1)) {
		t.Errorf("%v serve", got)
	}
}
