package proxy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"zproxy/buf"
	"zproxy/config"
	"zproxy/internal/simnet"
	"zproxy/loop"
	"zproxy/loop/sim"
	"zproxy/metrics"
	"zproxy/proxy/memory"
	"zproxy/proxy/snapshot"
	"zproxy/upstream"
)

// surgeRun is workers between clients and an origin of simnet.Surge.
type surgeRun struct {
	*simnet.Surge
	workers []*Worker
	snap    *snapshot.Snapshot
	what    string
	error   error
}

const surgeConfig = `
listeners: [{address: "%v", protocols: [http1, h2c]}]
upstreams:
  app: {protocol: %s, adaptive_concurrency: {probe_interval: 8s}, endpoints: [{address: "%s"}], pool: {prewarm: 0, max_connections: 10000, queue: 10000, queue_timeout: 600s}}
routes: [{path: "/high", upstream: app, priority: high}, {path: "/normal", upstream: app}, {path: "/low", upstream: app, priority: low}]
http2: {max_streams: 10000, upstream_streams: 1000}
`

// newSurgeRun has three classes of requests come, together more than twice what the origin can do: of the important
// ones it could serve all, as of the normal ones beside them.
func newSurgeRun(t *testing.T, seed uint64) *surgeRun {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 0x5406e))
	world := sim.NewWorld(seed, sim.Faults{ShortIO: 10, Late: 20})
	r := &surgeRun{}
	r.Surge = &simnet.Surge{World: world, Proxy: simListen, Servers: 4 + rng.IntN(37), AnswerNs: 5e6 + rng.Int64N(20e6)}
	r.Origins()
	loops, protocol, origin := 1+rng.IntN(3), "http1", simnet.SurgeOrigin
	if rng.IntN(2) == 0 {
		protocol, origin = "h2c", simnet.SurgeH2Origin
	}
	r.what = fmt.Sprintf("%d loops, %s, %d at a time for %d ms each", loops, protocol, r.Servers, r.AnswerNs/1e6)
	cfg, err := config.Parse("surge.yaml", fmt.Appendf(nil, surgeConfig, simListen, protocol, origin))
	if err != nil {
		t.Fatal(err)
	}
	if r.snap, err = snapshot.NewRegistry(loops, nil).Compile(cfg); err != nil {
		t.Fatal(err)
	}
	const block = 4096
	peers := make([]*Neighbour, loops)
	for i := range loops {
		pool := buf.NewPool(&simMemory{bytes: simBytes[i][:simBlocks*block], step: simBlocks * block}, block)
		l, err := loop.NewOn(loop.Config{Index: i, Pool: pool, Reserve: memory.Reserve(simBlocks)}, world.Open)
		if err != nil {
			t.Fatal(err)
		}
		peers[i] = &Neighbour{Loop: l}
		r.workers = append(r.workers, NewWorker(Config{Loop: l, Pool: pool, Snapshot: r.snap, Metrics: new(metrics.Loop), MaxBlocks: simBlocks}, peers))
		r.workers[i].Listen(world.Listen(simListen), 0)
	}
	for _, w := range r.workers {
		w.begin()
	}
	can := float64(r.Servers) * 1e9 / float64(r.AnswerNs)
	r.Add("/high", rng.IntN(2) == 0, 0.3*can)
	r.Add("/normal", rng.IntN(2) == 0, 0.4*can)
	r.Add("/low", rng.IntN(2) == 0, 1.5*can)
	return r
}

// pass lets ns go by.
func (r *surgeRun) pass(ns int64) {
	for end := r.World.Now() + ns; r.World.Now() < end && r.error == nil && len(r.Violations) == 0; {
		r.World.RunDue()
		first := r.World.Rand().IntN(len(r.workers))
		for i := range r.workers {
			if err := r.workers[(first+i)%len(r.workers)].turn(-1); err != nil {
				r.error = err
			}
		}
		if !r.World.Busy() && !r.World.Advance() {
			r.Violations = append(r.Violations, "nothing happens any more")
		}
	}
}

// judge holds that the limit is what the origin can do within a factor of two and a half (most requests may use three quarters of it), that requests take no longer than twice what they
// would alone, and that those that matter are served.
func (r *surgeRun) judge(t *testing.T) {
	t.Helper()
	if s := upstream.ConcurrencyOf(r.snap.Clusters[0].Shared).State(); s.Limit < r.Servers*3/5 || s.Limit > r.Servers*5/2 || s.Measurements < 3 {
		t.Errorf("the limit is %d, the origin serves %d at a time; %d measurements", s.Limit, r.Servers, s.Measurements)
	}
	share := func(c *simnet.SurgeClass) float64 { return float64(c.Served) / float64(max(1, c.Served+c.Shed)) }
	high, normal, low := r.Classes[0], r.Classes[1], r.Classes[2]
	if share(high) < 0.97 || share(normal) < 0.85 || share(low) > 0.35 || low.Served == 0 {
		t.Errorf("served: %.3f of the important, %.3f of the normal, %.3f of the other requests", share(high), share(normal), share(low))
	}
	all := slices.Concat(high.Took, normal.Took, low.Took)
	slices.Sort(all)
	if median := all[len(all)/2]; median > 2*r.AnswerNs {
		t.Errorf("half of the requests took %d ms", median/1e6)
	}
}

// An upstream that gets more than twice what it can do is found out, whatever is spoken: it stays fast, and what matters
// is served. Nothing is counted as under way when all are over.
func TestSimSurge(t *testing.T) {
	for seed := uint64(1); seed <= 8; seed++ {
		r := newSurgeRun(t, seed)
		r.pass(10e9)
		r.Count()
		r.pass(5e9)
		if r.error == nil && len(r.Violations) == 0 {
			r.judge(t)
		}
		r.Stop()
		r.pass(2e9)
		if r.error != nil || len(r.Violations) > 0 {
			t.Error(r.error, r.Violations)
		}
		if s := upstream.ConcurrencyOf(r.snap.Clusters[0].Shared).State(); s.Under != 0 {
			t.Errorf("%d requests are under way when all are over", s.Under)
		}
		for _, w := range r.workers {
			w.l.Destroy()
			for se := range w.h2.Each() {
				se.H2.Release()
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d: %s", seed, r.what)
		}
	}
}
