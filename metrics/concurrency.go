package metrics

import "strconv"

// ConcurrencyState is what is known of the limit that is found out for an upstream.
type ConcurrencyState struct {
	Upstream     string   `json:"upstream"`
	Limit        int      `json:"limit"`
	UnderWay     int      `json:"under_way"`
	LeastUs      uint64   `json:"least_latency_us"` // 0: none was measured yet
	LastUs       uint64   `json:"latency_us"`
	Samples      uint64   `json:"samples"`
	Measurements uint64   `json:"measurements"`
	Shed         []uint64 `json:"shed"` // by priority, 0 to 7
}

// concurrency writes what there is of upstreams with such a limit.
func (e *exposition) concurrency(s *Snapshot) {
	if len(s.Concurrency) == 0 {
		return
	}
	column := func(name string, k kind, help string, value func(*ConcurrencyState) float64) {
		e.family(name, k, help)
		for i := range s.Concurrency {
			e.sampleFloat(name, value(&s.Concurrency[i]), Label{"upstream", s.Concurrency[i].Upstream})
		}
	}
	column("zproxy_concurrency_limit", gauge, "Requests that the upstream is found to take at a time.",
		func(c *ConcurrencyState) float64 { return float64(c.Limit) })
	column("zproxy_concurrency_requests", gauge, "Requests under way that are not answered yet, all loops.",
		func(c *ConcurrencyState) float64 { return float64(c.UnderWay) })
	column("zproxy_concurrency_least_latency_seconds", gauge, "Median time to the head of a response as it was last measured with few requests under way; 0 before that.",
		func(c *ConcurrencyState) float64 { return float64(c.LeastUs) / 1e6 })
	column("zproxy_concurrency_latency_seconds", gauge, "Median time to the head of a response in the last window.",
		func(c *ConcurrencyState) float64 { return float64(c.LastUs) / 1e6 })
	column("zproxy_concurrency_samples_total", counter, "Responses that the limit went by.",
		func(c *ConcurrencyState) float64 { return float64(c.Samples) })
	column("zproxy_concurrency_measurements_total", counter, "Times that the least latency was measured.",
		func(c *ConcurrencyState) float64 { return float64(c.Measurements) })
	const shed = "zproxy_concurrency_shed_total"
	e.family(shed, counter, "Requests shed because of the limit, by priority of the route; 0 is the most important.")
	for i := range s.Concurrency {
		for priority, n := range s.Concurrency[i].Shed {
			e.sample(shed, n, Label{"upstream", s.Concurrency[i].Upstream}, Label{"priority", strconv.Itoa(priority)})
		}
	}
}
