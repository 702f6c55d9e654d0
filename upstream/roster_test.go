package upstream

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// named lists endpoints 127.0.0.1:port with weight 1.
func named(ports ...int) (list []EndpointConfig) {
	for _, port := range ports {
		list = append(list, EndpointConfig{Address: fmt.Sprintf("127.0.0.1:%d", port)})
	}
	return list
}

// slotted is a cluster with slots, of which the endpoints at ports are there.
func slotted(t *testing.T, balance Balance, slots, loops int, ports ...int) *Cluster {
	t.Helper()
	c := mustCluster(t, Config{
		Balance: balance, Slots: slots, MaxConnections: 100, MaxIdle: 100, Queue: 100,
		IdleTimeout: time.Minute, QueueTimeout: time.Second,
	}, loops)
	if lacking := c.SetEndpoints(named(ports...)); lacking != 0 {
		t.Fatalf("%d endpoints found no slot", lacking)
	}
	return c
}

// spreadOf sends n requests and counts them by address.
func spreadOf(t *testing.T, p *Pool, n int) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range n {
		d := p.Acquire(1, 1, 0, 0)
		switch d.Kind {
		case Dial:
			p.DialOK(1, d.Endpoint)
			p.Closed(d.Endpoint)
		case Reuse:
			p.PutAddr(1, d.Conn, d.Endpoint, d.Addr)
		default:
			t.Fatalf("got %v (%v)", d.Kind, d.Reason)
		}
		got[p.c.eps[d.Endpoint].Address]++
	}
	return got
}

// kinds are the balancings over few and over many slots.
func eachSlotted(t *testing.T, f func(t *testing.T, balance Balance, slots int)) {
	for _, balance := range []Balance{RoundRobin, LeastConn, P2C} {
		for _, slots := range []int{64, 200} {
			t.Run(fmt.Sprintf("%v/%d", balance, slots), func(t *testing.T) { f(t, balance, slots) })
		}
	}
}

func TestEndpointsComeAndGo(t *testing.T) {
	eachSlotted(t, func(t *testing.T, balance Balance, slots int) {
		c := slotted(t, balance, slots, 2, 1, 2)
		p := c.Pool(0)
		type connection struct {
			id   uint64
			ep   int
			addr uint32
		}
		var rest []connection
		busy := map[int]connection{} // one in use at each
		for id := uint64(1); id <= 40; id++ {
			d := p.Acquire(1, 1, 0, 0)
			if d.Kind != Dial {
				t.Fatalf("got %v", d.Kind)
			}
			p.DialOK(1, d.Endpoint)
			set, i := p.Address(1, d.Endpoint)
			conn := connection{id, d.Endpoint, set.Keys[i]}
			if busy[d.Endpoint].id == 0 {
				busy[d.Endpoint] = conn
			} else {
				rest = append(rest, conn)
			}
		}
		for _, conn := range rest {
			if !p.PutAddr(1, conn.id, conn.ep, conn.addr) {
				t.Fatal("a connection is not kept")
			}
		}
		if len(busy) != 2 {
			t.Fatalf("requests went to %d endpoints", len(busy))
		}
		idle := c.Idle(0)
		if c.SetEndpoints(named(2, 3)) != 0 {
			t.Fatal("no slot")
		}
		got := spreadOf(t, p, 100)
		if got["127.0.0.1:1"] != 0 || got["127.0.0.1:3"] == 0 || balance == RoundRobin && got["127.0.0.1:2"] == 0 {
			t.Errorf("after a change requests went to %v", got)
		}
		if out := p.Expire(1, nil); len(out) != idle {
			t.Errorf("%d idle connections to what is gone are given out, expected %d", len(out), idle)
		}
		if e := c.eps[0]; !e.Vacant() || !e.Leaving() {
			t.Errorf("endpoint 0, with a request under way, is not leaving")
		}
		if c.present() != 2 || c.ill.Load() != c.roster.Load().vacant {
			t.Errorf("%d are there, %d ill, %d slots vacant", c.present(), c.ill.Load(), c.roster.Load().vacant)
		}
		// One that comes back has its number again, and no connection that it had before.
		c.SetEndpoints(named(3, 1))
		got = spreadOf(t, p, 100)
		if got["127.0.0.1:2"] != 0 || got["127.0.0.1:3"] == 0 || balance == RoundRobin && got["127.0.0.1:1"] == 0 {
			t.Errorf("after another change requests went to %v", got)
		}
		if c.eps[0].Address != "127.0.0.1:1" || len(c.slotOf) != 3 {
			t.Errorf("slots are %v", c.slotOf)
		}
		c.SetEndpoints(named(1, 2))
		for ep, conn := range busy {
			if p.PutAddr(1, conn.id, ep, conn.addr) {
				t.Errorf("a connection to endpoint %d from before it went is kept", ep)
			}
		}
	})
}

func TestNoEndpointIsLeft(t *testing.T) {
	eachSlotted(t, func(t *testing.T, balance Balance, slots int) {
		c := slotted(t, balance, slots, 1)
		p := c.Pool(0)
		for range 2 {
			for range 3 {
				if d := p.Acquire(1, 1, 0, 0); d.Kind != Refuse || d.Reason != NoEndpoint {
					t.Fatalf("without endpoints: got %v, %v", d.Kind, d.Reason)
				}
			}
			c.SetEndpoints(named(1))
			if got := spreadOf(t, p, 10); got["127.0.0.1:1"] != 10 {
				t.Fatalf("requests went to %v", got)
			}
			c.SetEndpoints(nil)
		}
	})
}

func TestSlotsRunOut(t *testing.T) {
	c := slotted(t, RoundRobin, 3, 1, 1, 2)
	if lacking := c.SetEndpoints(named(2, 3, 4, 5)); lacking != 2 {
		t.Errorf("of 5 endpoints %d lack a slot, expected 2: there are 3", lacking)
	}
	if got := spreadOf(t, c.Pool(0), 10); got["127.0.0.1:2"] != 5 || got["127.0.0.1:3"] != 5 {
		t.Errorf("requests went to %v", got)
	}
	if lacking := c.SetEndpoints(named(1, 3)); lacking != 0 {
		t.Errorf("%d of those that have slots lack one", lacking)
	}
}

func TestWeightsChange(t *testing.T) {
	for _, slots := range []int{64, 200} {
		c := slotted(t, RoundRobin, slots, 1, 1, 2)
		p := c.Pool(0)
		for _, weights := range [][2]int{{1, 1}, {3, 1}, {1, 4}} {
			list := named(1, 2)
			list[0].Weight, list[1].Weight = weights[0], weights[1]
			c.SetEndpoints(list)
			sum := weights[0] + weights[1]
			got := spreadOf(t, p, 10*sum)
			if got["127.0.0.1:1"] != 10*weights[0] || got["127.0.0.1:2"] != 10*weights[1] {
				t.Errorf("%d slots, weights %v: requests went to %v", slots, weights, got)
			}
		}
	}
}

// An endpoint that was out when it went is not out when it comes back, and what goes does
// not count among those that are out.
func TestOneThatIsOutGoes(t *testing.T) {
	c := slotted(t, RoundRobin, 64, 1, 1, 2, 3)
	p := c.Pool(0)
	c.cfg.Outlier = Outlier{Errors: 1, Ejection: time.Minute, Longest: time.Minute, MaxPercent: 100, Panic: 0}
	c.ServerError(1, 0)
	down := "down"
	c.Checked(1, func(string) bool { return true }, &down)
	if c.Ejected() != 1 || !c.eps[0].Ejected() || c.eps[1].health.word.Load() != healthHeld {
		t.Fatal("they are not out")
	}
	c.SetEndpoints(named(3))
	if c.Ejected() != 0 || c.ill.Load() != c.roster.Load().vacant {
		t.Errorf("%d are ejected, %d ill of %d that are vacant", c.Ejected(), c.ill.Load(), c.roster.Load().vacant)
	}
	c.Checked(1, func(string) bool { return true }, &down) // by one who does not know yet
	c.SetEndpoints(named(1, 2, 3))
	if got := spreadOf(t, p, 30); len(got) != 3 {
		t.Errorf("requests went to %v", got)
	}
}

// While endpoints come and go, with one that stays, each request finds one at once.
func TestRosterRace(t *testing.T) {
	eachSlotted(t, func(t *testing.T, balance Balance, slots int) {
		const loops = 3
		c := slotted(t, balance, slots, loops, 0, 1, 2)
		var changes atomic.Int64
		var running sync.WaitGroup
		for loop := range loops {
			running.Go(func() {
				p, conn := c.Pool(loop), uint64(loop+1)<<32
				var out []uint64
				at := map[uint64]int{}
				for n := 0; changes.Load() < 300 && !t.Failed(); n++ {
					d := p.Acquire(int64(n), 1, 0, 0)
					switch d.Kind {
					case Dial:
						conn++
						d.Conn, d.Addr = conn, 0
						set, i := p.Address(int64(n), d.Endpoint)
						if set == nil { // it has gone since
							p.DialGivenUp(int64(n), d.Endpoint)
							continue
						}
						d.Addr = set.Keys[i]
						p.DialOK(int64(n), d.Endpoint)
						at[conn] = d.Endpoint
					case Reuse:
					default:
						t.Errorf("got %v (%v)", d.Kind, d.Reason)
						return
					}
					if c.eps[d.Endpoint].Address == "" {
						t.Errorf("endpoint %d, that never was, was chosen", d.Endpoint)
					}
					if !p.PutAddr(int64(n), d.Conn, d.Endpoint, d.Addr) {
						p.Closed(d.Endpoint)
					}
					for _, conn := range p.Expire(int64(n), out[:0]) {
						p.Closed(at[conn])
					}
				}
			})
		}
		rng := uint64(1)
		for n := 0; n < 300; n++ {
			list := named(0)
			for port := 1; port < 40; port++ {
				if rng = rng*6364136223846793005 + 1442695040888963407; rng>>63 == 0 {
					list = append(list, named(port)...)
				}
			}
			c.SetEndpoints(list)
			changes.Add(1)
		}
		running.Wait()
		for ep, e := range c.eps {
			if e.Open() != c.Idle(ep) {
				t.Errorf("endpoint %d has %d connections, of which %d are idle", ep, e.Open(), c.Idle(ep))
			}
		}
		for loop := range loops {
			if n := c.Pool(loop).Stats().Miscounted; n != 0 {
				t.Errorf("loop %d has miscounted %d times", loop, n)
			}
		}
	})
}

func BenchmarkSetEndpoints(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c, err := NewCluster(Config{Name: "bench", Slots: max(64, 2*n), Queue: 1}, 1)
			if err != nil {
				b.Fatal(err)
			}
			var lists [2][]EndpointConfig
			for i := range n {
				lists[0] = append(lists[0], named(i)...)
			}
			lists[1] = lists[0][1:]
			for i := 0; b.Loop(); i++ {
				c.SetEndpoints(lists[i%2])
			}
		})
	}
}

// What a change costs a loop.
func BenchmarkNotice(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c, err := NewCluster(Config{Name: "bench", Slots: max(64, 2*n), MaxIdle: 1, Queue: 1}, 1)
			if err != nil {
				b.Fatal(err)
			}
			var list []EndpointConfig
			for i := range n {
				list = append(list, named(i)...)
			}
			c.SetEndpoints(list)
			p := c.Pool(0)
			for b.Loop() {
				p.roster = nil
				p.notice()
			}
		})
	}
}
