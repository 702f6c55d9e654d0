package simnet

import (
	"fmt"
	"math/rand/v2"
	"net/netip"

	"zproxy/loop/sim"
)

// Run is a world with its peers, and the book of what was asked and answered.
type Run struct {
	World  *sim.World
	Traits Traits
	// Requests lists all there were, by ID.
	Requests []*Request
	// Violations is what must not have happened.
	Violations []string

	Leaves, Cuts, Stops, Earlies, HangUps int // what peers did, in all
	Lingers                               int // streams whose client did not reset them when it had its answer early
	Greeted, Impostors                    int // clients behind a header, and those that are refused
	Secured, KeyUpdates                   int // connections within TLS, and changes of keys that their peers made

	// Trace, if set, is told what the peers do.
	Trace func(format string, args ...any)

	rng         *rand.Rand
	clients     int             // not done yet
	identifiers map[string]bool // of requests, which PROXY headers have told
}

// NewRun peoples a world.
func NewRun(w *sim.World, t Traits) *Run {
	return &Run{World: w, Traits: t, rng: w.Rand(), identifiers: map[string]bool{}}
}

// fail notes a violation.
func (r *Run) fail(format string, args ...any) {
	if len(r.Violations) < 20 {
		r.Violations = append(r.Violations, fmt.Sprintf("at %v: ", r.World.Now())+fmt.Sprintf(format, args...))
	}
}

func (r *Run) trace(who link, format string, args ...any) {
	if r.Trace != nil {
		r.Trace("%12d %v - %v: %s", r.World.Now(), who.Addr(), who.FarAddr(), fmt.Sprintf(format, args...))
	}
}

// Clients sends Traits.Clients clients to addr, one after the other.
func (r *Run) Clients(addr netip.AddrPort) {
	at := int64(0)
	for i := range r.Traits.Clients {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 40000)
		r.clients++
		start := r.startClient
		if chance(r.rng, r.Traits.H2) {
			start = r.startH2Client
		}
		if r.Traits.OthersPlain && r.rng.IntN(4) == 0 {
			from = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 4, byte(i >> 8), byte(i)}), 40000)
		}
		if r.Traits.Greets && chance(r.rng, r.Traits.Impostors) {
			start = func(i int, _, to netip.AddrPort) { r.startImpostor(i, to) }
		}
		r.World.After(at, func() { start(i, from, addr) })
		if r.rng.IntN(3) != 0 {
			at += r.rng.Int64N(20e6)
		}
	}
}

// balancers are where load balancers are, that send a header.
var balancers = netip.MustParsePrefix("10.1.0.0/16")

// behind puts the i-th client's connection behind a header, if it is to have one.
func (r *Run) behind(p *sim.Peer, i int) plainLink {
	if r.Traits.Greets && balancers.Contains(p.Addr().Addr()) {
		return r.greet(p, i)
	}
	return p
}

// Origins serves each of the addresses, with h2 by HTTP/2.
func (r *Run) Origins(addrs []string, h2 bool) {
	serve := func(p *sim.Peer) {
		if r.Traits.SendProxy > 0 {
			r.startOrigin(r.secure(&demander{plainLink: p, r: r}, true, "http/1.1"))
			return
		}
		r.startOrigin(r.secure(p, true, "http/1.1"))
	}
	if h2 {
		serve = func(p *sim.Peer) { newH2Origin(r, r.secure(p, true, "h2")) }
	}
	for _, addr := range addrs {
		r.World.Serve(addr, serve)
	}
}

// Done says that all clients have what they wanted, or have given up.
func (r *Run) Done() bool { return r.clients == 0 }

// Waiting is how many have not.
func (r *Run) Waiting() int { return r.clients }

// pace is how long a peer takes until its next piece.
func (r *Run) pace(slow bool) int64 {
	switch {
	case slow && r.rng.IntN(4) == 0:
		return r.rng.Int64N(300e6)
	case r.rng.IntN(3) != 0:
		return 0
	}
	return r.rng.Int64N(1e6)
}

// piece is how much of n bytes a peer writes or reads at once.
func (r *Run) piece(n int) int {
	if r.rng.IntN(3) == 0 {
		return n
	}
	return max(1, min(n, r.rng.IntN(1<<(1+r.rng.IntN(16)))))
}
