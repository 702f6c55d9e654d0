package server

import (
	"sync"
	"time"

	"zproxy/proxy/snapshot"
	"zproxy/upstream"
)

// renewals put changes of endpoints and weights in force, all that have come meanwhile together.
type renewals struct {
	wake chan struct{}   // something has changed
	over <-chan struct{} // closed when the process ends

	mu       sync.Mutex
	clusters []*upstream.Cluster
	round    chan struct{} // closed when what has changed by now is in force
}

const (
	// renewalPause is between two rounds at the least, and renewalShare how many times as long as the one before
	// took: tables are built in at most a fifth of a CPU's time.
	renewalPause = 10 * time.Millisecond
	renewalShare = 4
)

func startRenewals(s *snapshot.Snapshot, over <-chan struct{}) *renewals {
	r := &renewals{wake: make(chan struct{}, 1), over: over, round: make(chan struct{})}
	r.use(s)
	go r.run()
	return r
}

// use has the changes of the upstreams of s wait for a round.
func (r *renewals) use(s *snapshot.Snapshot) {
	clusters := s.Resolved()
	r.mu.Lock()
	r.clusters = clusters
	r.mu.Unlock()
	for _, c := range clusters {
		upstream.Defer(c, r.signal)
	}
}

func (r *renewals) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// await returns when what has changed before the call is in force, or the process ends.
func (r *renewals) await() {
	r.mu.Lock()
	round := r.round
	r.mu.Unlock()
	r.signal()
	select {
	case <-round:
	case <-r.over:
	}
}

func (r *renewals) run() {
	for {
		select {
		case <-r.wake:
		case <-r.over:
			return
		}
		began := time.Now()
		r.mu.Lock()
		clusters, done := r.clusters, r.round
		r.round = make(chan struct{})
		r.mu.Unlock()
		for _, c := range clusters {
			upstream.Renew(c)
		}
		close(done)
		select {
		case <-time.After(max(renewalPause, renewalShare*time.Since(began))):
		case <-r.over:
			return
		}
	}
}
