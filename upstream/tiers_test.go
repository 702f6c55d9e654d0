package upstream

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"
)

// kindOf is one kind of endpoints, in tests of tiers: so many, of which so many are down.
type kindOf struct {
	n, down, priority int
	backup            bool
	zone              string
}

// tiered is a cluster with these, those that are down held.
func tiered(t testing.TB, cfg Config, kinds ...kindOf) *Cluster {
	t.Helper()
	var down []int
	for _, k := range kinds {
		for i := range k.n {
			at := len(cfg.Endpoints)
			if i < k.down {
				down = append(down, at)
			}
			cfg.Endpoints = append(cfg.Endpoints, EndpointConfig{Address: fmt.Sprintf("127.0.0.1:%d", 9000+at), Weight: 1, Priority: k.priority, Backup: k.backup, Zone: k.zone})
		}
	}
	c := mustCluster(t, cfg, 1)
	for _, i := range down {
		c.eps[i].health.hold(holdChecks)
	}
	return c
}

// perKind adds up what the endpoints of each kind got, in percent.
func perKind(got []int, kinds []kindOf) (list []float64) {
	sum := 0
	for _, n := range got {
		sum += n
	}
	for _, k := range kinds {
		of := 0
		for _, n := range got[:k.n] {
			of += n
		}
		got = got[k.n:]
		list = append(list, 100*float64(of)/float64(sum))
	}
	return list
}

// Of each kind the requests, in percent, that it gets.
func TestTiersAndZones(t *testing.T) {
	for _, tt := range []struct {
		name  string
		kinds []kindOf
		want  []float64
	}{
		{"all well", []kindOf{{n: 7}, {n: 7, priority: 1}}, []float64{100, 0}},
		{"enough is", []kindOf{{n: 7, down: 2}, {n: 7, priority: 1}}, []float64{100, 0}},
		{"half is", []kindOf{{n: 10, down: 5}, {n: 10, priority: 1}}, []float64{70, 30}},
		{"a tenth is", []kindOf{{n: 10, down: 9}, {n: 10, priority: 3}}, []float64{14, 86}},
		{"none is", []kindOf{{n: 10, down: 10}, {n: 10, priority: 3}}, []float64{0, 100}},
		{"three tiers", []kindOf{{n: 10, down: 8}, {n: 10, down: 8, priority: 1}, {n: 10, priority: 2}}, []float64{28, 28, 44}},
		{"too few in all", []kindOf{{n: 10, down: 8}, {n: 10, down: 9, priority: 1}}, []float64{66.7, 33.3}},
		{"the last tier alone", []kindOf{{n: 2, down: 2}, {n: 2, down: 2, priority: 1}, {n: 2, down: 1, priority: 2}}, []float64{0, 0, 100}},
		{"backup while one is up", []kindOf{{n: 10, down: 9}, {n: 1, backup: true}}, []float64{100, 0}},
		{"backup", []kindOf{{n: 10, down: 10}, {n: 2, backup: true}}, []float64{0, 100}},
		{"backup behind two tiers", []kindOf{{n: 4, down: 4}, {n: 4, down: 3, priority: 1}, {n: 1, backup: true}}, []float64{0, 100, 0}},
		{"backups behind two tiers", []kindOf{{n: 4, down: 4}, {n: 4, down: 4, priority: 1}, {n: 2, down: 1, backup: true}}, []float64{0, 0, 100}},
		{"zones alike", []kindOf{{n: 4, zone: "a"}, {n: 4, zone: "b"}, {n: 4, zone: "c"}}, []float64{100, 0, 0}},
		{"own zone larger", []kindOf{{n: 8, zone: "a"}, {n: 4, zone: "b"}}, []float64{100, 0}},
		{"own zone smaller", []kindOf{{n: 2, zone: "a"}, {n: 6, zone: "b"}}, []float64{50, 50}},
		{"half of own zone down", []kindOf{{n: 4, down: 2, zone: "a"}, {n: 4, zone: "b"}}, []float64{66.7, 33.3}},
		{"own zone down", []kindOf{{n: 4, down: 4, zone: "a"}, {n: 8, zone: "b"}}, []float64{0, 100}},
		{"other zones down", []kindOf{{n: 2, zone: "a"}, {n: 4, down: 4, zone: "b"}}, []float64{100, 0}},
		{"without a zone", []kindOf{{n: 4, zone: "a"}, {n: 4}}, []float64{100, 0}},
		{"none in own zone", []kindOf{{n: 4, zone: "b"}, {n: 4, zone: "c"}}, []float64{50, 50}},
		{"zones in tiers", []kindOf{{n: 10, down: 5, zone: "a"}, {n: 10, down: 5, zone: "b"}, {n: 5, zone: "b", priority: 1}, {n: 5, zone: "a", priority: 1}}, []float64{70, 0, 0, 30}},
	} {
		for _, balance := range []Balance{RoundRobin, LeastConn, P2C, LeastTime, Random, RingHash, Maglev} {
			for _, wide := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%v/wide=%v", tt.name, balance, wide), func(t *testing.T) {
					kinds := slices.Clone(tt.kinds)
					if wide {
						if balance == Maglev || balance == RingHash {
							t.Skip("building the tables takes long; over few endpoints the same is shown")
						}
						for i := range kinds {
							kinds[i].n, kinds[i].down = 20*kinds[i].n, 20*kinds[i].down
						}
					}
					c := tiered(t, Config{Balance: balance, Zone: "a"}, kinds...)
					if c.wide != wide && wide {
						t.Skip("they are few") // 40 endpoints
					}
					got := perKind(sharesAt(t, c.Pool(0), 3000), kinds)
					for i, want := range tt.want {
						if math.Abs(got[i]-want) > 4 || want == 0 && got[i] != 0 {
							t.Fatalf("the kinds got %.1f per cent, expected %v", got, tt.want)
						}
					}
				})
			}
		}
	}
}

// Panic looks at tiers together: what they lack in all, not one of them.
func TestPanicOverTiers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		kinds  []kindOf
		panics bool
	}{
		{"one tier", []kindOf{{n: 10, down: 6}, {n: 0}}, true},
		{"the second bears it", []kindOf{{n: 10, down: 10}, {n: 2, priority: 1}}, false},
		{"both are bad", []kindOf{{n: 10, down: 8}, {n: 10, down: 7, priority: 1}}, true},
		{"both together bear it", []kindOf{{n: 10, down: 6}, {n: 10, down: 6, priority: 1}}, false},
		{"backup bears it", []kindOf{{n: 10, down: 10}, {n: 1, backup: true}}, false},
		{"backup does not count", []kindOf{{n: 10, down: 9}, {n: 9, backup: true}}, true},
		{"backup is bad", []kindOf{{n: 10, down: 10}, {n: 9, down: 6, backup: true}}, true},
		{"nothing is up", []kindOf{{n: 2, down: 2}, {n: 1, down: 1, backup: true}}, true},
	} {
		c := tiered(t, Config{Outlier: Outlier{Errors: 5, Ejection: 1, Panic: 50}}, tt.kinds...)
		if got := panics(c.Pool(0), 1); got != tt.panics {
			t.Errorf("%s: panic %v", tt.name, got)
		}
	}
}

// What is full leaves requests to the next tier, and waits only when all is.
func TestFullTierSpills(t *testing.T) {
	for _, n := range []int{2, 100} {
		c := tiered(t, Config{MaxConnections: 1, Queue: 4, QueueTimeout: time.Second}, kindOf{n: n}, kindOf{n: 1, priority: 1}, kindOf{n: 1, backup: true})
		p := c.Pool(0)
		for k := range n + 2 {
			d := p.Acquire(1, 1, 0, 0)
			if d.Kind != Dial || k < n && d.Endpoint >= n || k >= n && d.Endpoint != k {
				t.Fatalf("request %d: %v of %d", k, d.Kind, d.Endpoint)
			}
		}
		if d := p.Acquire(1, 1, 0, 0); d.Kind != Wait {
			t.Errorf("got %v", d.Kind)
		}
	}
}

// A request that has failed at one tier's endpoints goes to the next, not back to them.
func TestTriedTiers(t *testing.T) {
	c := tiered(t, Config{}, kindOf{n: 2}, kindOf{n: 1, backup: true})
	var tried Tried
	var got []int
	for range 3 {
		d := c.Pool(0).Acquire(1, 1, tried, 0)
		got = append(got, d.Endpoint)
		tried = c.AddTried(tried, d.Endpoint)
	}
	if got[2] != 2 {
		t.Errorf("it went to %v", got)
	}
}

// An endpoint of a better tier whose back-off is over is tried again, while the next one serves.
func TestBetterTierIsProbed(t *testing.T) {
	for _, n := range []int{1, 100} {
		c := tiered(t, Config{FailBackoff: 10 * time.Millisecond, FailBackoffMax: 10 * time.Millisecond, FailResponses: 1}, kindOf{n: 1}, kindOf{n: n, backup: true})
		p, now := c.Pool(0), int64(time.Hour)
		once := func(want int, ok bool) {
			t.Helper()
			d := p.Acquire(now, 1, 0, 0)
			if d.Kind != Dial || (d.Endpoint == 0) != (want == 0) {
				t.Fatalf("got %v of %d, expected %d", d.Kind, d.Endpoint, want)
			}
			if p.DialOK(now, d.Endpoint); ok {
				p.ResponseOK(now, d.Endpoint)
			} else {
				p.ResponseFailed(now, d.Endpoint)
			}
			p.Closed(d.Endpoint)
		}
		once(0, false)
		once(1, true)
		for range 3 {
			now += int64(20 * time.Millisecond)
			once(0, false)
			once(1, true)
		}
		now += int64(20 * time.Millisecond)
		once(0, true)
		once(0, true)
		// One for backup is not: it has nothing to do.
		now += int64(20 * time.Millisecond)
		c.eps[1].health.fail(now, healthCause, 1, 1, 0)
		now += int64(20 * time.Millisecond)
		once(0, true)
	}
}

// Parts follow what comes up and goes down while requests are served.
func TestPartsFollowHealth(t *testing.T) {
	for _, n := range []int{10, 100} {
		kinds := []kindOf{{n: n}, {n: n, priority: 1}}
		c := tiered(t, Config{}, kinds...)
		for _, tt := range []struct {
			down int // of the first tier, from now on
			want float64
		}{{0, 100}, {n / 2, 70}, {n - n/10, 14}, {n / 2, 70}, {0, 100}} {
			for i, e := range c.eps[:n] {
				if i < tt.down {
					e.health.hold(holdChecks)
				} else {
					e.health.unhold(holdChecks)
				}
			}
			if got := perKind(sharesAt(t, c.Pool(0), 3000), kinds); math.Abs(got[0]-tt.want) > 4 {
				t.Errorf("with %d of %d down the first tier got %.1f per cent, expected %v", tt.down, n, got[0], tt.want)
			}
		}
	}
}

// Endpoints found may move from one tier or zone to another.
func TestTiersChange(t *testing.T) {
	c := mustCluster(t, Config{Slots: 64, Zone: "a"}, 1)
	list := named(1, 2)
	for _, tt := range []struct {
		change func()
		want   [2]bool
	}{
		{func() {}, [2]bool{true, true}},
		{func() { list[0].Backup = true }, [2]bool{false, true}},
		{func() { list[0].Backup, list[1].Priority = false, 2 }, [2]bool{true, false}},
		{func() { list[1].Priority, list[1].Zone = 0, "a" }, [2]bool{false, true}},
		{func() { list[0].Zone = "a" }, [2]bool{true, true}},
	} {
		tt.change()
		c.SetEndpoints(list)
		got := spreadOf(t, c.Pool(0), 20)
		if (got["127.0.0.1:1"] > 0) != tt.want[0] || (got["127.0.0.1:2"] > 0) != tt.want[1] {
			t.Errorf("of %+v: %v", list, got)
		}
	}
}
