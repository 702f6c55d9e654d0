package upstream

import (
	"fmt"
	"testing"
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
	for _, balance := range []Balance{RoundRobin, LeastConn, P2C} {
		for _, n := range []int{1, 2, 4, 16} {
			b.Run(fmt.Sprintf("%v/%d", balance, n), func(b *testing.B) {
				p := warmPool(b, balance, n)
				b.ReportAllocs()
				for b.Loop() {
					d := p.Acquire(2, 1, 0, 0)
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
