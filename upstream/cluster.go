package upstream

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Cluster is one upstream: its endpoints and what the loops share about them.
// It survives a reload of the configuration that leaves its Config Equal.
type Cluster struct {
	cfg         Config
	limit       int32 // MaxConnections, or the largest int32
	reserve     int32 // so few left of them are few, see Short
	eps         []*Endpoint
	pools       []*Pool
	wide        bool         // there are, or may be, more than wordEndpoints
	concurrency *Concurrency // nil: it is not limited by what is found out
	roster      atomic.Pointer[roster]
	slotOf      map[string]int // slots that have been given away, by address: see SetEndpoints

	changing  sync.Mutex          // of endpoints and their weights; guards slotOf and what follows
	standings []standing          // by number
	awaited   map[string]standing // by address: of endpoints that the cluster before had, or the process before, and this one has not yet
	signal    func()              // see Defer
	deferred  bool                // changes wait for Renew

	_       linePad
	ill     atomic.Int32  // endpoints that are not up: 0 spares the path of a request a look at each
	turned  atomic.Uint32 // how often an endpoint has come up or gone down
	changes atomic.Uint32 // address sets changed, or what checks found of one; loops compare with what they saw
	retired atomic.Bool
	ejected atomic.Int32

	_       linePad
	retries budget

	_        linePad
	requests atomic.Int32 // under way, where Config.MaxRequests bounds them

	_        linePad
	underWay atomic.Int32 // sum of Endpoint.busy, where there are bounds

	_       linePad
	pressed atomic.Int32 // waiting, and claims on idle connections: 0 spares the path of a request all looks at others
	called  atomic.Int32 // loops that have not heard of it yet
	lookAt  atomic.Int64
	slow    slowClients
	round   atomic.Int64 // the largest of the loops' queues, see Turns
	waiting atomic.Int32 // over all loops, bounded by Config.Queue
	lines   lines        // of those that wait
	mutes   atomic.Int32
	_       linePad
}

// published is what one loop lets the others see. Written by its loop only.
type published struct {
	_      linePad
	idle   []atomic.Int32 // by endpoint
	some   atomic.Bool    // one of them is not 0; of wide clusters only
	since  atomic.Int64   // of the turn of its next waiter, 0: nobody waits
	back   atomic.Int64   // ... stored before since
	called atomic.Bool    // a wake is on its way: another would tell nothing new
	_      linePad
}

// turn is that of the loop's next waiter. What changes while it is read makes it
// neither of two turns: that misplaces one connection, and loses no call.
func (p *published) turn() (t turn, waits bool) {
	t.since = p.since.Load()
	t.back = p.back.Load()
	return t, t.since != 0
}

// NewCluster checks the configuration and builds the shares of `loops` loops.
// neighbours, if given, holds one list per loop: the loops whose idle
// connections it may take over, the preferred (same NUMA node) first. Without
// it every loop may ask every other one, in the order of their numbers.
func NewCluster(cfg Config, loops int, neighbours ...[]int) (*Cluster, error) {
	return newCluster(cfg, loops, max(len(cfg.Endpoints), cfg.Slots) > wordEndpoints, neighbours...)
}

func newCluster(cfg Config, loops int, wide bool, neighbours ...[]int) (*Cluster, error) {
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
	c := &Cluster{cfg: cfg, limit: int32(cfg.MaxConnections), wide: wide, slotOf: map[string]int{}, concurrency: newConcurrency(cfg.Adaptive)}
	if c.limit == 0 {
		c.limit = math.MaxInt32
	} else {
		c.reserve = (c.limit + 2) / 4
	}
	for i, ec := range cfg.Endpoints {
		e := &Endpoint{ID: i, Address: ec.Address, Weight: ec.Weight, checkFirst: cfg.CheckFirst}
		e.health.ill, e.health.turned = &c.ill, &c.turned
		e.health.hold(holdNoAddress)
		c.standings = append(c.standings, standing{there: true, rank: rankOf(&ec), listed: ec.Weight, set: -1, grown: wholeWeight})
		e.Target, _ = ParseAddress(ec.Address) // validated above
		if e.Target.Static != "" {
			e.resolved([]string{e.Target.Static})
		}
		c.eps = append(c.eps, e)
	}
	for i := range cfg.Slots {
		e := &Endpoint{ID: i, slot: true, Weight: 1, checkFirst: cfg.CheckFirst}
		e.health.ill, e.health.turned = &c.ill, &c.turned
		e.health.hold(holdNoAddress)
		c.standings = append(c.standings, standing{listed: 1, set: -1, grown: wholeWeight})
		c.eps = append(c.eps, e)
	}
	c.roster.Store(c.newRoster())
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

// Name is the name of the upstream, of which the cluster may be a subset.
func (c *Cluster) Name() string { return c.cfg.Name }

// Title is the name of c, and of a subset its labels: no two of a configuration have the same.
func Title(c *Cluster) string {
	if c.cfg.Labels == nil {
		return c.cfg.Name
	}
	var labels []string
	for _, name := range slices.Sorted(maps.Keys(c.cfg.Labels)) {
		labels = append(labels, name+"="+c.cfg.Labels[name])
	}
	return c.cfg.Name + "[" + strings.Join(labels, ",") + "]"
}

// IsSubset says that c has only some endpoints of its upstream.
func IsSubset(c *Cluster) bool { return c.cfg.Labels != nil }

// Endpoints in the order of the configuration. The slice is shared.
func (c *Cluster) Endpoints() []*Endpoint { return c.eps }

// Pool is the share of one loop. It belongs to that loop's thread.
func (c *Cluster) Pool(loop int) *Pool { return c.pools[loop] }

// Changes counts changes of addresses and of what active checks say of them.
func (c *Cluster) Changes() uint32 { return c.changes.Load() }

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

// wake calls the loop whose next waiter comes first, if clearly before mine and it
// was not called already: it is named once until Woken.
func (c *Cluster) wake(self int, mine turn) (loop int, ok bool) {
	for {
		first := mine
		ok = false
		for i, p := range c.pools {
			t, waits := p.pub.turn()
			if i == self || !waits || p.pub.called.Load() || !t.before(mine) {
				continue
			}
			if !ok || t.before(first) || !first.before(t) && t.since < first.since {
				loop, first, ok = i, t, true
			}
		}
		if !ok {
			return 0, false
		}
		if c.pools[loop].pub.called.CompareAndSwap(false, true) {
			c.called.Add(1)
			return loop, true
		}
	}
}

// Look says whether it is time to look for what holds connections that others wait
// for: to one caller on all loops, every now and then.
func (c *Cluster) Look(now, every int64) bool {
	at := c.lookAt.Load()
	return now >= at && c.lookAt.CompareAndSwap(at, now+every)
}

// Waiting is the number of queued requests over all loops.
func (c *Cluster) Waiting() int { return int(c.waiting.Load()) }

// Mute counts requests, over all loops, that want connections and leave the last of
// them to others: they are in no queue here.
func (c *Cluster) Mute(d int32) { c.mutes.Add(d) }

// Mutes is how many there are.
func (c *Cluster) Mutes() int { return int(c.mutes.Load()) }

// Idle is the number of idle connections of an endpoint over all loops.
func (c *Cluster) Idle(ep int) int {
	n := 0
	for _, p := range c.pools {
		n += int(p.pub.idle[ep].Load())
	}
	return n
}
