package metrics

import "time"

// ReloadOutcome is what became of an attempt to change the configuration of a running process.
type ReloadOutcome int

const (
	ReloadDone    ReloadOutcome = iota
	ReloadInvalid               // the configuration is wrong
	ReloadRestart               // it changes what a running process keeps
	ReloadFailed                // the machine would not have it: an address is taken, say
	reloadOutcomes
)

var reloadOutcomeNames = [reloadOutcomes]string{"done", "invalid", "needs_restart", "failed"}

// Reloads is what became of all of them.
type Reloads struct {
	Outcomes [reloadOutcomes]uint64
	Failing  bool          // the last one was not done
	Done     time.Time     // when the last one was that was done, zero: there was none
	Took     time.Duration // how long that took
}

// Count counts one that was begun at began.
func (r *Reloads) Count(outcome ReloadOutcome, began time.Time) {
	r.Outcomes[outcome]++
	if r.Failing = outcome != ReloadDone; !r.Failing {
		r.Done = time.Now()
		r.Took = r.Done.Sub(began)
	}
}

// Gauges are its metrics.
func (r *Reloads) Gauges() (all []Gauge) {
	for i, n := range r.Outcomes {
		all = append(all, Gauge{
			Name: "zproxy_reloads_total", Labels: Labels("outcome", reloadOutcomeNames[i]), Value: float64(n),
			Help: "Times that another configuration was to come into force, by what became of it; the log says why it did not.",
		})
	}
	failing, done := 0.0, 0.0
	if r.Failing {
		failing = 1
	}
	if !r.Done.IsZero() {
		done = float64(r.Done.Unix())
	}
	return append(all,
		Gauge{Name: "zproxy_reload_failing", Help: "1 while the last reload was not done: what the file says is not in force.", Value: failing},
		Gauge{Name: "zproxy_reload_last_seconds", Help: "Unix time of the last reload that was done, 0 if there was none.", Value: done},
		Gauge{Name: "zproxy_reload_duration_seconds", Help: "How long the last reload took that was done, from reading the file until all loops served by it.", Value: r.Took.Seconds()},
	)
}
