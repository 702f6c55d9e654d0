package main

import (
	"errors"
	"time"
)

// Round is one measurement of one contender.
type Round struct {
	CPUMicros float64 `json:"cpu_us"`     // CPU time per answered request
	UserShare float64 `json:"user_share"` // part of it spent outside the kernel
	Requests  int64   `json:"requests"`
	Seconds   float64 `json:"seconds"`
	P50Micros float64 `json:"p50_us"` // closed loop: each connection waits for its answer; 0: not known
	P99Micros float64 `json:"p99_us"`
	Void      string  `json:"void,omitempty"` // why it does not count
}

// measure loads a contender once and says what each request cost it.
func (b *bench) measure(st *started, s *scenario, d time.Duration) (Round, error) {
	before, err := cpuOf(st.members)
	if err != nil {
		return Round{}, st.process.complain(err)
	}
	w, err := b.generate(s, st.url, d)
	if err != nil {
		return Round{}, err
	}
	after, err := cpuOf(st.members)
	if err != nil {
		return Round{}, st.process.complain(err)
	}
	if st.process.ended() {
		return Round{}, st.process.complain(errors.New("ended under load"))
	}
	r := Round{Requests: w.requests, Seconds: w.seconds, P50Micros: w.p50, P99Micros: w.p99, Void: w.void}
	if r.Requests > 0 {
		r.CPUMicros = float64(after.total-before.total) / 1e3 / float64(r.Requests)
	}
	if user, system := after.user-before.user, after.system-before.system; user+system > 0 {
		r.UserShare = user / (user + system)
	}
	return r, nil
}
