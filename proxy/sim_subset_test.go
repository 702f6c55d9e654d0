package proxy

import "math/rand/v2"

// simSubset is a subset of the endpoints: those with odd numbers.
type simSubset struct {
	odd   bool // they alone get requests
	parts int  // subsets there are, each of which is as an upstream
	seen  int  // times that a request of theirs was seen at an endpoint
}

// of has the route choose endpoints by label, in some runs.
func (sub *simSubset) of(s *simulation, target string, endpoints int) string {
	rng := rand.New(rand.NewPCG(s.seed, 0x5b5e7))
	if target != "upstream: app" || rng.IntN(3) != 0 {
		return target
	}
	target = "upstream: app, subset: {half: odd}"
	sub.parts = 1
	switch n := rng.IntN(3); {
	case n == 0 && endpoints > 1:
		sub.parts = 2
		return "split: [{upstream: app, weight: 1, subset: {half: odd}}, {upstream: app, weight: 2, subset: {half: even}}]"
	case n == 1:
		return target + ", subset_fallback: any"
	}
	sub.odd = true
	return target
}

// check wants a request that is at an endpoint to be at one of the subset.
func (sub *simSubset) check(s *simulation, w *simWorker, o *origin) {
	if !sub.odd || o.x == 0 {
		return
	}
	sub.seen++
	lease, _ := w.leases.Look(o.lease)
	if at := w.clusters[lease.Cluster].Shared.Endpoints()[lease.Endpoint].Address; (at[len("10.2.0.")]-'0')%2 == 0 {
		s.fail("a request of the subset of odd endpoints is at %s", at)
	}
}
