package proxy

import (
	"math/rand/v2"
	"net/netip"
	"strings"

	"zproxy/filter"
	"zproxy/proxy/snapshot"
)

// simDenied are some of the clients, behind load balancers and without.
var simDenied = []string{"10.1.0.4/30", "198.18.0.4/30", "2001:db8::4/126"}

// filtered has a part of all runs filter what they serve: some clients are kept out, and all heads are marked.
func (s *simulation) filtered(text string) string {
	if s.seed%3 != 1 {
		return text
	}
	for _, p := range simDenied {
		s.run.Traits.Denied = append(s.run.Traits.Denied, netip.MustParsePrefix(p))
	}
	s.run.Traits.Marks = true
	text = strings.Replace(text, ", interim: ", `, filters: [{request_headers: {set: {X-Set: "{path}"}}}], interim: `, 1)
	return text + `filters: [{response_headers: {set: {X-Reply: "{path}"}}}, {ip: {deny: ["` + strings.Join(simDenied, `", "`) + "\"]}}]\n"
}

// delaying has a part of the runs with filters wait for one.
func (s *simulation) delaying(snap *snapshot.Snapshot) {
	if s.seed%6 != 1 {
		return
	}
	for i := range snap.Routes {
		rt := &snap.Routes[i]
		if rt.Chain == nil {
			continue
		}
		rt.Chain = filter.NewChain(append(rt.Chain.Steps, filter.Step{Kind: "delay", Class: filter.ClassAddress, Filter: &simDelay{s, rand.New(rand.NewPCG(s.seed, 0xde1))}}))
		rt.Chain.Ready()
	}
}

// simDelay says Wait, and goes on some time later. Some tickets are redeemed twice, and, where requests may fail, some
// never. A request holds something while it is there.
type simDelay struct {
	s   *simulation
	rng *rand.Rand
}

func (f *simDelay) Request(q *filter.Request) filter.Verdict {
	q.Hold(f, 1)
	f.s.holds++
	if f.rng.IntN(3) == 0 {
		return filter.Continue
	}
	if !f.s.calm && f.rng.IntN(20) == 0 {
		q.WaitNs = 1 + f.rng.Int64N(1e9)
		return filter.Wait
	}
	for range 1 + f.rng.IntN(5)/4 {
		f.redeem(q.Ticket, f.rng.Int64N(1<<f.rng.IntN(27)))
	}
	return filter.Wait
}

// redeem tries again when the mailbox is full.
func (f *simDelay) redeem(ticket filter.Ticket, ns int64) {
	f.s.world.After(ns, func() {
		if !ticket.Resumer.Resume(ticket.Slot, ticket.Serial, nil) && !f.s.drainedAny() {
			f.redeem(ticket, 1e6)
		}
	})
}

// Release is filter.Holder.
func (f *simDelay) Release(slot int32) { f.s.holds -= int(slot) }

func (f *simDelay) Resume(*filter.Request, any) filter.Verdict { return filter.Continue }
