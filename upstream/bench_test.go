package upstream

import (
	"fmt"
	"testing"
	"time"
)

// warmPool is loop 0's share of a cluster with n endpoints and idle connections
// to all of them.
func warmPool(tb testing.TB, balance Balance, n int) *Pool {
	cfg := Config{Name: "bench", Balance: balance, MaxConnections: 100, MaxIdle: 100, Queue: 16, IdleTimeout: 1e9}
	for i := range n {
		cfg.Endpoints = append(cfg.Endpoints, EndpointConfig{Address: fmt.Sprintf("127.0.0.1:%d", 9000+i)})
	}
	c, err := NewCluster(cfg, 4)
	if err != nil {
		tb.Fatal(err)
	}
	p := c.Pool(0)
	for k := range 16 * n {
		d := p.Acquire(1, 1, 0, 0)
		if d.Kind != Dial {
			tb.Fatalf("got %v, expected dial", d.Kind)
		}
		p.DialOK(1, d.Endpoint)
		defer p.PutAddr(1, uint64(k+1), d.Endpoint, 1)
	}
	return p
}

// One request's work in the pool: a connection out and back in.
func BenchmarkAcquirePut(b *testing.B) {
	for _, balance := range []Balance{RoundRobin, LeastConn, P2C, LeastTime, Random, RingHash, Maglev} {
		for _, n := range []int{1, 2, 4, 16, 64, 1000, 4096} {
			b.Run(fmt.Sprintf("%v/%d", balance, n), func(b *testing.B) {
				p, key := warmPool(b, balance, n), uint64(0)
				b.ReportAllocs()
				for b.Loop() {
					key += weyl
					d := p.Acquire(2, 1, 0, key)
					if d.Kind != Reuse {
						b.Fatalf("got %v, expected reuse", d.Kind)
					}
					p.ResponseOK(2, d.Endpoint)
					p.PutAddr(2, d.Conn, d.Endpoint, d.Addr)
				}
			})
		}
	}
}

// benchNow is when endpoints are picked.
const benchNow = int64(4 * time.Second)

// The choice alone, in a wide cluster with an endpoint that is down.
func BenchmarkPick(b *testing.B) {
	for _, balance := range []Balance{RoundRobin, LeastConn, P2C, LeastTime, Random, RingHash, Maglev} {
		b.Run(balance.String(), func(b *testing.B) {
			p, key := warmPool(b, balance, 1000), uint64(0)
			p.c.eps[5].health.fail(1, 0, 1<<60, 1<<60, 0)
			haveAnswered(p)
			b.ReportAllocs()
			for b.Loop() {
				key += weyl
				l := levelFor(p, benchNow, key)
				p.wide.pick(p, benchNow, l, 0, key)
				p.wide.picked(l, 0)
			}
		})
	}
}

// haveAnswered has each endpoint have a response time of its own, half a millisecond to four, some seconds ago.
func haveAnswered(p *Pool) {
	for ep := range p.c.eps {
		Took(p, int64(1+ep%3)*int64(time.Second), ep, int64(1+ep%8)*int64(500*time.Microsecond))
	}
}

// The same where three tiers and two zones share the requests, of which some are down.
func BenchmarkPickOfTiers(b *testing.B) {
	for _, balance := range []Balance{RoundRobin, LeastConn, P2C, LeastTime, Random, RingHash, Maglev} {
		b.Run(balance.String(), func(b *testing.B) {
			c := tiered(b, Config{Balance: balance, Zone: "a"}, kindOf{n: 250, down: 150, zone: "a"}, kindOf{n: 350, down: 150, zone: "b"}, kindOf{n: 300, priority: 1}, kindOf{n: 100, backup: true})
			p, key := c.Pool(0), uint64(0)
			haveAnswered(p)
			b.ReportAllocs()
			for b.Loop() {
				key += weyl
				l := levelFor(p, benchNow, key)
				p.wide.pick(p, benchNow, l, 0, key)
				p.wide.picked(l, 0)
			}
		})
	}
}

// What a change of one of 1000 endpoints costs: the tables, and a loop's look at them.
func BenchmarkSetWeight(b *testing.B) {
	for _, balance := range []Balance{RoundRobin, Maglev} {
		b.Run(balance.String(), func(b *testing.B) {
			p := warmPool(b, balance, 1000)
			for k := 0; b.Loop(); k++ {
				if err := p.c.SetWeight(p.c.eps[k%1000].Address, 1+k%2); err != nil {
					b.Fatal(err)
				}
				p.notice()
			}
		})
	}
}

// What a tick costs when nothing is due.
func BenchmarkExpireNothing(b *testing.B) {
	p := warmPool(b, RoundRobin, 4)
	var out [8]uint64
	for b.Loop() {
		if len(p.Expire(2, out[:0])) != 0 {
			b.Fatal("something expired")
		}
	}
}
