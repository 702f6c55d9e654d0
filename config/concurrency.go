package config

import (
	"strconv"
	"time"
)

// AdaptiveConcurrency says how many requests an upstream is found to take at a time.
type AdaptiveConcurrency struct {
	MinLimit, MaxLimit int
	Window             time.Duration
	ProbeInterval      time.Duration
	Jitter             int // percent
	Tolerance          int // percent
}

func concurrencyFields() []field {
	return []field{
		{key: "min_limit", kind: kindCount, def: "3", min: 1, max: 1 << 20, at: at(func(a *AdaptiveConcurrency) *int { return &a.MinLimit }),
			doc: "The least that the limit may be, however long responses take."},
		{key: "max_limit", kind: kindCount, def: "1000", min: 1, max: 1 << 24, at: at(func(a *AdaptiveConcurrency) *int { return &a.MaxLimit }),
			doc: "The most, for requests of `priority: normal`; it is at least `min_limit`."},
		{key: "window", kind: kindDuration, def: "100ms", min: int64(10 * time.Millisecond), max: int64(time.Minute), at: at(func(a *AdaptiveConcurrency) *time.Duration { return &a.Window }),
			doc: "How often the limit changes, once ten responses or more have come since."},
		{key: "probe_interval", kind: kindDuration, def: "60s", min: int64(time.Second), max: int64(24 * time.Hour), at: at(func(a *AdaptiveConcurrency) *time.Duration { return &a.ProbeInterval }),
			doc: "How often the least latency is measured, for 25 responses with a quarter of the limit. The first times are after 1 s, 2 s, 4 s and so on."},
		{key: "jitter", kind: kindCount, def: "15", max: 100, at: at(func(a *AdaptiveConcurrency) *int { return &a.Jitter }),
			zero: "always the same", doc: "By how many percent at most `probe_interval` is longer at random, so that many instances do not measure at the same time."},
		{key: "tolerance", kind: kindCount, def: "25", min: 1, max: 1000, at: at(func(a *AdaptiveConcurrency) *int { return &a.Tolerance }),
			doc: "By how many percent responses may take longer than the least latency before the limit shrinks."},
	}
}

// Urgencies are the names of priorities, and the numbers that they stand for, those of RFC 9218.
var urgencies = map[string]uint8{"high": 1, "normal": 3, "low": 5}

const (
	leastUrgency    = 7
	wantPriority    = "high, normal, low, or a number from 0 to 7, of which 0 is the most important"
	patternPriority = "^(high|normal|low|[0-7])$"
)

// Urgency is that of the route's requests: from 0, the most important, to 7.
func (r *Route) Urgency() uint8 {
	if u, ok := urgencies[r.Priority]; ok {
		return u
	}
	n, _ := strconv.Atoi(r.Priority)
	return uint8(n)
}

func checkPriority(text string, _ int64) (want, hint string) {
	if _, ok := urgencies[text]; ok || len(text) == 1 && text[0] >= '0' && text[0] <= '0'+leastUrgency {
		return "", ""
	}
	return wantPriority, ""
}
