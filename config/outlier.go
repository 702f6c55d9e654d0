package config

import "time"

// OutlierDetection says when an endpoint that answers badly is left alone for a while.
type OutlierDetection struct {
	Consecutive5xx     int
	BaseEjectionTime   time.Duration
	MaxEjectionTime    time.Duration // at least BaseEjectionTime
	MaxEjectionPercent int
	PanicThreshold     int // percent
}

func outlierFields() []field {
	return []field{
		{key: "consecutive_5xx", kind: kindCount, def: "5", min: 1, max: 1000, at: at(func(o *OutlierDetection) *int { return &o.Consecutive5xx }),
			doc: "So many errors in a row eject an endpoint: statuses from 500 on, and requests that got no response. They are counted over all loops together."},
		{key: "base_ejection_time", kind: kindDuration, def: "30s", min: int64(10 * time.Millisecond), max: int64(24 * time.Hour), at: at(func(o *OutlierDetection) *time.Duration { return &o.BaseEjectionTime }),
			doc: "How long the first ejection lasts. The second one in a row lasts twice as long, the third one three times, and so on. As much time without an ejection makes up for one."},
		{key: "max_ejection_time", kind: kindDuration, def: "300s", min: int64(10 * time.Millisecond), max: int64(24 * time.Hour), at: at(func(o *OutlierDetection) *time.Duration { return &o.MaxEjectionTime }),
			doc: "The longest that an ejection lasts; `base_ejection_time` if that is longer."},
		{key: "max_ejection_percent", kind: kindCount, def: "10", max: 100, at: at(func(o *OutlierDetection) *int { return &o.MaxEjectionPercent }),
			zero: "one endpoint", doc: "How many of the endpoints may be ejected at a time, in percent; one always may."},
		{key: "panic_threshold", kind: kindCount, def: "50", max: 100, at: at(func(o *OutlierDetection) *int { return &o.PanicThreshold }),
			zero: "never", doc: "When fewer endpoints than so many percent are up, requests go to all of them, at random, that can be connected to, whatever is known of them by their responses and by checks."},
	}
}
