package proxy

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"zproxy/buf"
	"zproxy/config"
	"zproxy/internal/simnet"
	"zproxy/loop"
	"zproxy/loop/sim"
	"zproxy/metrics"
	"zproxy/proxy/memory"
	"zproxy/proxy/scarce"
	"zproxy/proxy/snapshot"
)

// rivalsRun is workers between clients of simnet.Rivals.
type rivalsRun struct {
	*simnet.Rivals
	workers []*Worker
	limit   int
	h2      bool // the origin speaks it
	what    string
	error   error
}

const rivalsConfig = `
listeners: [{address: "%v", protocols: [http1, h2c]}]
upstreams:
  app: {protocol: %s, endpoints: [{address: "%s"}], pool: {prewarm: 0, max_connections: %d, queue: 10000, queue_timeout: 600s}}
routes: [{path: "/*", upstream: app}]
limits: {request_body_timeout: 600s}
`

// simRivals are so many turns that are counted in a run.
const (
	simRivalTurns = 1500
	// settleNs is what greedy clients have until they must have lost what they hold.
	settleNs = scarce.MuteNs + scarce.TalkNs + 3*scarce.LookEveryNs + int64(5e8)
)

func newRivalsRun(t *testing.T, seed uint64) *rivalsRun {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 0x21fa1))
	world := sim.NewWorld(seed, sim.Faults{ShortIO: 10, Late: 20})
	r := &rivalsRun{limit: 2 + rng.IntN(11), h2: rng.IntN(2) == 0}
	r.Rivals = &simnet.Rivals{World: world, Proxy: simListen, AnswerNs: 2e6 + rng.Int64N(20e6)}
	r.Origins()
	loops, protocol, origin := 1+rng.IntN(3), "http1", simnet.RivalOrigin
	if r.h2 {
		protocol, origin = "h2c", simnet.RivalH2Origin
	}
	r.what = fmt.Sprintf("%d loops, %d connections, %s, %d ms; ", loops, r.limit, protocol, r.AnswerNs/1e6)
	cfg, err := config.Parse("rivals.yaml", fmt.Appendf(nil, rivalsConfig, simListen, protocol, origin, r.limit))
	if err != nil {
		t.Fatal(err)
	}
	snap, err := snapshot.NewRegistry(loops, nil).Compile(cfg)
	if err != nil {
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
		r.workers = append(r.workers, NewWorker(Config{Loop: l, Pool: pool, Snapshot: snap, Metrics: new(metrics.Loop), MaxBlocks: simBlocks}, peers))
		r.workers[i].Listen(world.Listen(simListen), 0)
	}
	for _, w := range r.workers {
		w.begin()
	}
	r.people(rng)
	return r
}

// people lets greedy clients begin, and rivals each of which could use all there is.
func (r *rivalsRun) people(rng *rand.Rand) {
	for n := range 1 + rng.IntN(3) {
		g := &simnet.Greeds[rng.IntN(len(simnet.Greeds))]
		conns, streams := 2*r.limit, 1
		if g.H2 {
			conns, streams = 1+rng.IntN(4), 1+r.limit
		}
		r.what += fmt.Sprintf("%d connections of %s, %d each; ", conns, g.Name, streams)
		r.Take(n, g, conns, streams)
	}
	for range 2 + rng.IntN(4) {
		h2 := rng.IntN(2) == 0
		conns, streams := r.limit+rng.IntN(3*r.limit), 1
		if h2 {
			conns, streams = 1+rng.IntN(4), r.limit+rng.IntN(30)
		}
		r.what += fmt.Sprintf("a rival with %d connections, %d each; ", conns, streams)
		r.Add(h2, conns, streams)
	}
}

// pass lets ns go by.
func (r *rivalsRun) pass(ns int64) {
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

// judge holds that there is work for all connections, that no rival gets less than half
// of its share, nor a connection of one, and that nobody waits for far longer than its
// share says. For ns they have been counted.
func (r *rivalsRun) judge(t *testing.T, ns int64) {
	t.Helper()
	total := 0
	for _, v := range r.All {
		for _, c := range v.Conns {
			total += c.Served
		}
	}
	if most := ns / r.AnswerNs * int64(r.limit); int64(total) < most/2 {
		t.Errorf("%d requests were served, there was time for %d", total, most)
	}
	for i, v := range r.All {
		got, share := 0, total/len(r.All)
		// Its requests one after the other, with as many turns of others between, and the
		// lead that loops have.
		fair := int64(v.Demand*len(r.All)+20*len(r.workers)) * r.AnswerNs / int64(r.limit)
		for n, c := range v.Conns {
			got += c.Served
			if each := share / len(v.Conns); 2*(c.Served+2) < each {
				t.Errorf("connection %d of rival %d was served %d times, its share is %d", n, i, c.Served, each)
			}
			if waits := max(c.Longest, c.Waits()); waits > 3*fair+50e6 {
				t.Errorf("connection %d of rival %d has waited %d ms, by its share it would %d", n, i, waits/1e6, fair/1e6)
			}
		}
		if 2*got < share {
			t.Errorf("rival %d was served %d times, its share is %d", i, got, share)
		}
	}
}

// Where an upstream takes few requests at once, clients that take what they can do not
// hold it, and nobody gets less than half of his share, on however many loops his
// connections lie.
func TestSimRivals(t *testing.T) {
	served := 0
	for seed := uint64(1); seed <= 24; seed++ {
		r := newRivalsRun(t, seed)
		r.pass(settleNs)
		r.Count()
		ns := simRivalTurns * r.AnswerNs / int64(r.limit)
		r.pass(ns)
		if r.error != nil {
			t.Error(r.error)
		}
		if len(r.Violations) > 0 {
			t.Errorf("%s", strings.Join(r.Violations, "\n  "))
		} else {
			r.judge(t, ns)
		}
		for _, v := range r.All {
			for _, c := range v.Conns {
				served += c.Served
			}
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
	t.Logf("%d requests were served", served)
}
