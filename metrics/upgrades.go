package metrics

// Upgrades is what became of all of them.
type Upgrades struct {
	Done, Failed uint64
	Failing      bool // the last one has failed
}

// Gauges are its metrics.
func (u Upgrades) Gauges() []Gauge {
	failing := 0.0
	if u.Failing {
		failing = 1
	}
	return []Gauge{
		{Name: "zproxy_upgrades_total", Help: "Times that a new process has taken over from the one before, since the first one was started.", Value: float64(u.Done)},
		{Name: "zproxy_upgrade_failures_total", Help: "Times that a new process did not come to serve, and this one went on; the log says why.", Value: float64(u.Failed)},
		{Name: "zproxy_upgrade_failing", Help: "1 while the last upgrade has failed.", Value: failing},
	}
}
