package proxy

import (
	"math/rand/v2"

	"zproxy/internal/simnet"
)

// Some runs have load balancers in front of the proxy, some have origins that want to know whose
// connection it is, by headers of the PROXY protocol. What other runs draw does not depend on it.

// proxyHeaders draws which there are.
func (s *simulation) proxyHeaders(t *simnet.Traits) {
	rng := rand.New(rand.NewPCG(s.seed, 0x9a0))
	if t.Greets = rng.IntN(5) == 0; t.Greets {
		t.OthersPlain, t.Impostors = rng.IntN(2) == 0, rng.IntN(50)
	}
	if rng.IntN(4) == 0 && !s.h2c {
		t.SendProxy = 1 + rng.IntN(2)
		t.TLVs = t.SendProxy == 2 && rng.IntN(4) != 0
	}
}

// proxyProtocol is that section of the listener.
func (s *simulation) proxyProtocol() string {
	if !s.run.Traits.Greets {
		return ""
	}
	return `, proxy_protocol: {from: ["10.1.0.0/16"], others: ` + []string{"refuse", "plain"}[bit(s.run.Traits.OthersPlain)] + "}"
}

// checkGreetings: nobody was refused but those who are to be, and of them everybody.
func (s *simulation) checkGreetings() {
	refused, taken := 0, 0
	for _, w := range s.workers {
		refused += int(w.metrics.RefusedByReason[codeGreeting] + w.metrics.RefusedByReason[codeStranger])
		taken += int(w.l.Greetings().Taken)
	}
	if s.calm && (refused != s.run.Impostors || taken != s.run.Greeted) {
		s.fail("%d PROXY headers were taken and %d refused, want %d and %d", taken, refused, s.run.Greeted, s.run.Impostors)
	}
}
