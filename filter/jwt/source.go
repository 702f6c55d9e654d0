package jwt

import (
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"zproxy/filter/verify"
)

// source asks for keys now and then, and when a token names one that is not known.
type source struct {
	filter *Filter

	mu       sync.Mutex
	fetching bool
	parked   []*verify.Flight // until the keys have come
	asked    time.Time        // when they were asked for last
	next     time.Time        // when they are to be asked for again
	failed   int              // in a row
	changed  bool             // since the last look
	trouble  error            // that no look has told of
	told     string
}

// retry is the first pause after a failure; each further one doubles it, up to Refresh.
const retry = time.Second

// look is called every second or so.
func (s *source) look() (changed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.filter.cfg.Now(); !s.fetching && !now.Before(s.next) {
		s.begin(now)
	}
	changed, err = s.changed, s.trouble
	s.changed, s.trouble = false, nil
	return changed, err
}

// begin asks. The lock is held.
func (s *source) begin(now time.Time) {
	s.fetching, s.asked = true, now
	go s.fetch()
}

// wait parks a flight until an answer has come. False: keys were asked for a moment ago, and whoever sends tokens
// with names he invents has no more asked.
func (s *source) wait(flight *verify.Flight) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.filter.cfg.Now()
	if !s.fetching {
		if !s.asked.IsZero() && now.Sub(s.asked) < s.filter.cfg.Misses {
			return false
		}
		s.begin(now)
	}
	s.parked = append(s.parked, flight)
	return true
}

func (s *source) fetch() {
	f := s.filter
	data, err := f.cfg.Fetch()
	var set *keySet
	if err == nil {
		if old := f.keys.Load(); old == nil || old.sum != sha256.Sum256(data) {
			set, err = parseKeys(data, f.cfg.Algorithms)
		}
	}
	s.mu.Lock()
	now := f.cfg.Now()
	s.fetching = false
	if err != nil {
		s.next = now.Add(min(f.cfg.Refresh, retry<<min(s.failed, 16)))
		s.failed++
		if err.Error() != s.told {
			s.told = err.Error()
			s.trouble = fmt.Errorf("keys of tokens: %w", err)
		}
	} else {
		s.next, s.failed, s.told = now.Add(f.cfg.Refresh), 0, ""
		if set != nil {
			f.keys.Store(set)
			s.changed = true
		}
	}
	parked := s.parked
	s.parked = nil
	s.mu.Unlock()
	for _, flight := range parked {
		flight.Resume()
	}
}
