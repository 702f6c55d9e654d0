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
	LoadShare float64 `json:"load_cpu"`       // of a CPU: what the load generator used
	Origin    float64 `json:"origin_cpu"`     // and the origin
	meanwhile
	Busy string `json:"busy,omitempty"` // why it is not to be quoted
}

// measure loads a contender once and says what each request cost it.
func (b *bench) measure(st *started, s *scenario, d time.Duration) (Round, error) {
	began := now()
	before, err := cpuOf(st.members)
	if err != nil {
		return Round{}, st.process.complain(err)
	}
	originBefore, err := cpuOf(b.origins)
	if err != nil {
		return Round{}, b.behind.complain(err)
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
	originAfter, err := cpuOf(b.origins)
	if err != nil {
		return Round{}, b.behind.complain(err)
	}
	r := Round{Requests: w.requests, Seconds: w.seconds, P50Micros: w.p50, P99Micros: w.p99, Void: w.void, meanwhile: began.until(now())}
	r.Busy = r.busy()
	if w.seconds > 0 {
		r.LoadShare, r.Origin = w.cpu/w.seconds, float64(originAfter.total-originBefore.total)/1e9/w.seconds
	}
	if b.gate != nil {
		b.gate.note(r.meanwhile)
	}
	if r.Requests > 0 {
		r.CPUMicros = float64(after.total-before.total) / 1e3 / float64(r.Requests)
	}
	if user, system := after.user-before.user, after.system-before.system; user+system > 0 {
		r.UserShare = user / (user + system)
	}
	return r, nil
}
