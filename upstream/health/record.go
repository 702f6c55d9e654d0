package health

import (
	"math/rand/v2"
	"time"

	"zproxy/config"
)

// State is what checks say of an address.
type State uint8

const (
	Unknown State = iota // no check has decided yet
	Up
	Down
)

func (s State) String() string { return [...]string{"unknown", "up", "down"}[s] }

// initialState is what an address is before its first check.
func initialState(h *config.HealthCheck) State {
	switch h.Initial {
	case "up":
		return Up
	case "down":
		return Down
	}
	return Unknown
}

// record is the state of one address, and how many results in a row speak against it.
type record struct {
	state   State
	against int
}

// take adds a result.
func (r *record) take(h *config.HealthCheck, passed bool) (changed bool) {
	to, need := Down, h.Fall
	if passed {
		to, need = Up, h.Rise
	}
	if r.state == to {
		r.against = 0
		return false
	}
	r.against++
	if r.state != Unknown && r.against < need {
		return false
	}
	r.state, r.against = to, 0
	return true
}

// pause is from the start of a check to the start of the next.
func (r *record) pause(h *config.HealthCheck) time.Duration {
	d := h.Interval
	if r.against > 0 || r.state == Unknown {
		d = h.FastInterval
	}
	// Shorter, not longer: interval x fall bounds how long a failure goes unnoticed.
	return d - rand.N(d*time.Duration(h.Jitter)/100+1)
}

// firstPause is until the first check: at once where requests wait for it, else spread
// out over an interval.
func (r *record) firstPause(h *config.HealthCheck) time.Duration {
	if r.state != Up {
		return 0
	}
	return rand.N(h.Interval)
}
