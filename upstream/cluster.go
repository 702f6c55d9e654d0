package upstream

import (
	"fmt"
	"math"
	"sync/atomic"
)

// Cluster is one upstream: its endpoints and what the loops share about them.
// It survives a reload of the configuration that leaves its Config Equal.
type Cluster struct {
	cfg   Config
	limit int32 // MaxConnections, or the largest int32
	eps   []*Endpoint
	pools []*Pool
	all   uint64 // one bit per endpoint

	_       linePad
	ill     atomic.Int32  // endpoints that are not up: 0 spares the path of a request a look at each
	changes atomic.Uint32 // address sets changed; loops compare with what they saw
	retired atomic.Bool

	_       linePad
	waiting atomic.Int32 // over all loops, bounded by Config.Queue
	wakeAt  atomic.Uint32
	_       linePad
}

// published is what one loop lets the others see. Written by its loop only.
type published struct {
	_       linePad
	idle    [MaxEndpoints]atomic.Int32
	waiters atomic.Int32
	called  atomic.Bool // a wake is on its way: another would tell nothing new
	_       linePad
}

// NewCluster checks the configuration and builds the shares of `loops` loops.
// neighbours, if given, holds one list per loop: the loops whose idle
// connections it may take over, the preferred (same NUMA node) first. Without
// it every loop may ask every other one, in the order of their numbers.
func NewCluster(cfg Config, loops int, neighbours ...[]int) (*Cluster, error) {
	cfg.setDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if loops < 1 {
		return nil, fmt.Errorf("upstream %q: %d loops, expected at least 1", cfg.Name, loops)
	}
	if len(neighbours) != 0 && len(neighbours) != loops {
		return nil, fmt.Errorf("upstream %q: neighbours of %d loops given, expected %d", cfg.Name, len(neighbours), loops)
	}
	c := &Cluster{cfg: cfg, limit: int32(cfg.MaxConnections)}
	if c.limit == 0 {
		c.limit = math.MaxInt32
	}
	for i, ec := range cfg.Endpoints {
		e := &Endpoint{ID: i, Address: ec.Address, Weight: ec.Weight}
		e.health.ill = &c.ill
		e.health.word.Store(healthNoAddress)
		c.ill.Add(1)
		e.Target, _ = ParseAddress(ec.Address) // validated above
		if e.Target.Static != "" {
			e.resolved([]string{e.Target.Static})
		}
		c.eps = append(c.eps, e)
		c.all |= 1 << i
	}
	for i := range loops {
		order := ringOrder(i, loops)
		if len(neighbours) != 0 {
			order = neighbours[i]
			for _, n := range order {
				if n < 0 || n >= loops || n == i {
					return nil, fmt.Errorf("upstream %q: loop %d has neighbour %d", cfg.Name, i, n)
				}
			}
		}
		c.pools = append(c.pools, newPool(c, i, loops, order))
	}
	return c, nil
}

func ringOrder(self, loops int) []int {
	order := make([]int, 0, loops-1)
	for i := 1; i < loops; i++ {
		order = append(order, (self+i)%loops)
	}
	return order
}

// Config is what the cluster was built from, defaults filled in.
func (c *Cluster) Config() Config { return c.cfg }

// Name is the name of the upstream.
func (c *Cluster) Name() string { return c.cfg.Name }

// Endpoints in the order of the configuration. The slice is shared.
func (c *Cluster) Endpoints() []*Endpoint { return c.eps }

// Pool is the share of one loop. It belongs to that loop's thread.
func (c *Cluster) Pool(loop int) *Pool { return c.pools[loop] }

// Retire takes the cluster out of service: connections are no longer kept, and
// Expire gives out all idle ones. Requests under way end normally.
func (c *Cluster) Retire() {
	c.retired.Store(true)
	c.changes.Add(1)
}

// Resolved gives an endpoint its current addresses (ip:port). Called by the
// resolver only, one goroutine at a time. An empty set is refused: the last
// good one stays.
func (c *Cluster) Resolved(ep int, addrs []string) (changed bool) {
	if len(addrs) == 0 || !c.eps[ep].resolved(addrs) {
		return false
	}
	c.changes.Add(1)
	return true
}

// ResolveFailed records why an endpoint's name did not resolve.
func (c *Cluster) ResolveFailed(ep int, reason string) { c.eps[ep].cause.Store(&reason) }

// WakeLoop says which other loop has waiting requests. After a connection came
// back or a slot came free on loop self and nobody there waits for it, the
// caller posts that loop a mail; see the package comment. Without waiters
// anywhere it costs one load. A loop is named once until it has called Woken,
// so the mail must not get lost.
func (c *Cluster) WakeLoop(self int) (loop int, ok bool) {
	if c.waiting.Load() == 0 {
		return 0, false
	}
	// Turn about, or the loops behind the first one would starve.
	n := len(c.pools)
	at := int(c.wakeAt.Add(1) % uint32(n))
	for range n {
		pub := &c.pools[at].pub
		if at != self && pub.waiters.Load() > 0 && pub.called.CompareAndSwap(false, true) {
			return at, true
		}
		if at++; at == n {
			at = 0
		}
	}
	return 0, false
}

// Waiting is the number of queued requests over all loops.
func (c *Cluster) Waiting() int { return int(c.waiting.Load()) }

// Idle is the number of idle connections of an endpoint over all loops.
func (c *Cluster) Idle(ep int) int {
	n := 0
	for _, p := range c.pools {
		n += int(p.pub.idle[ep].Load())
	}
	return n
}
