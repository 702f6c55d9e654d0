package metrics

// CheckState is what active health checks know of one address of an endpoint.
type CheckState struct {
	Address string        `json:"address"` // that is connected to
	Type    string        `json:"type"`
	State   string        `json:"state"`          // "up", "down" or "unknown"
	Since   string        `json:"since"`          // times as RFC 3339 has them
	Last    string        `json:"last,omitempty"` // the last result in words; "": none yet
	LastAt  string        `json:"last_at,omitempty"`
	TookMs  float64       `json:"took_ms"`
	Against int           `json:"against"` // results in a row that are not as the state is
	Passed  uint64        `json:"passed"`  // checks, ever
	Failed  uint64        `json:"failed"`
	History []CheckChange `json:"history"` // the last changes, the newest last
}

// CheckChange is when a state began, and the result that decided.
type CheckChange struct {
	At    string `json:"at"`
	State string `json:"state"`
	Why   string `json:"why"`
}

// checks writes what there is of endpoints that are checked.
func (e *exposition) checks(s *Snapshot) {
	each := func(f func(c *CheckState, labels ...Label)) {
		for i := range s.Endpoints {
			p := &s.Endpoints[i]
			for j := range p.Checks {
				c := &p.Checks[j]
				f(c, Label{"upstream", p.Upstream}, Label{"endpoint", p.Endpoint}, Label{"address", c.Address})
			}
		}
	}
	some := false
	each(func(*CheckState, ...Label) { some = true })
	if !some {
		return
	}
	const up, total, took = "zproxy_health_check_up", "zproxy_health_checks_total", "zproxy_health_check_duration_seconds"
	e.family(up, gauge, "1 when active health checks find the address up, 0 when it is down or no check has decided yet.")
	each(func(c *CheckState, labels ...Label) {
		value := uint64(0)
		if c.State == "up" {
			value = 1
		}
		e.sample(up, value, labels...)
	})
	e.family(total, counter, "Active health checks of the address, by result.")
	each(func(c *CheckState, labels ...Label) {
		e.sample(total, c.Passed, append(labels, Label{"result", "passed"})...)
		e.sample(total, c.Failed, append(labels, Label{"result", "failed"})...)
	})
	e.family(took, gauge, "How long the last active health check of the address took.")
	each(func(c *CheckState, labels ...Label) { e.sampleFloat(took, c.TookMs/1000, labels...) })
}
