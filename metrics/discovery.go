package metrics

// DiscoveryState is what is known of the endpoints of an upstream that are found.
type DiscoveryState struct {
	Upstream  string               `json:"upstream"`
	Kind      string               `json:"kind"`
	AgeSec    float64              `json:"age_s"` // since the source last worked; below 0: it never has
	Failing   string               `json:"failing,omitempty"`
	Kept      bool                 `json:"kept,omitempty"`    // it says that there are none, and the last ones stay
	Lacking   int                  `json:"lacking,omitempty"` // endpoints that there is no room for yet
	Updates   uint64               `json:"updates"`           // lists that were not as the one before
	Failures  uint64               `json:"failures"`
	Draining  int                  `json:"draining"` // of Endpoints
	Endpoints []DiscoveredEndpoint `json:"endpoints"`
}

// DiscoveredEndpoint is one as its source knows it.
type DiscoveredEndpoint struct {
	Address  string            `json:"address"`
	Weight   int               `json:"weight"`
	Priority int               `json:"priority,omitempty"`
	Backup   bool              `json:"backup,omitempty"`
	Zone     string            `json:"zone,omitempty"`
	Labels   []DiscoveredLabel `json:"labels,omitempty"` // by name
	Draining bool              `json:"draining,omitempty"`
}

// DiscoveredLabel is one of an endpoint's.
type DiscoveredLabel struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// discovery writes what there is of upstreams whose endpoints are found.
func (e *exposition) discovery(s *Snapshot) {
	if len(s.Discovery) == 0 {
		return
	}
	column := func(name string, k kind, help string, each func(name string, d *DiscoveryState, labels ...Label)) {
		e.family(name, k, help)
		for i := range s.Discovery {
			d := &s.Discovery[i]
			each(name, d, Label{"upstream", d.Upstream}, Label{"kind", d.Kind})
		}
	}
	column("zproxy_discovery_endpoints", gauge, "Endpoints that discovery has found, by state; draining ones get requests only where there are no others.",
		func(name string, d *DiscoveryState, labels ...Label) {
			e.sample(name, uint64(len(d.Endpoints)-d.Draining), append(labels, Label{"state", "ready"})...)
			e.sample(name, uint64(d.Draining), append(labels, Label{"state", "draining"})...)
		})
	column("zproxy_discovery_updates_total", counter, "Lists of endpoints that were not as the one before.",
		func(name string, d *DiscoveryState, labels ...Label) { e.sample(name, d.Updates, labels...) })
	column("zproxy_discovery_failures_total", counter, "Times that the source of endpoints could not be asked, or made no sense. The last endpoints stay.",
		func(name string, d *DiscoveryState, labels ...Label) { e.sample(name, d.Failures, labels...) })
	column("zproxy_discovery_age_seconds", gauge, "Time since the source of endpoints last worked; -1 when it never has.",
		func(name string, d *DiscoveryState, labels ...Label) { e.sampleFloat(name, d.AgeSec, labels...) })
	column("zproxy_discovery_kept", gauge, "1 while the source has no endpoints and the last ones stay (empty: keep).",
		func(name string, d *DiscoveryState, labels ...Label) {
			value := uint64(0)
			if d.Kept {
				value = 1
			}
			e.sample(name, value, labels...)
		})
}
