// Package rate counts requests by key and says which are too many: rates
// (GCRA, the generic cell rate algorithm of ATM), and requests at the same
// time. It knows keys as bytes, and neither requests nor connections. All
// loops use a limit at once; none waits for another.
package rate

import (
	"errors"
	"fmt"
	"time"
)

// Bounds of a Policy.
const (
	MaxRate   = 1_000_000 // requests a second
	MaxBurst  = 10_000_000
	MaxPeriod = 365 * 24 * time.Hour // and how long a whole burst may take to come back
	MaxKeys   = 64 << 20
)

// A Policy says how many requests of one key are let through: Burst at once
// after a pause, and Requests in each Per.
type Policy struct {
	Requests int
	Per      time.Duration
	Burst    int // 0: Requests
}

// interval is the time of one request in nanoseconds, rounded up: what is let
// through is never above the rate, and below it by less than 1 per mille.
func (p Policy) interval() int64 {
	return (int64(p.Per) + int64(p.Requests) - 1) / int64(p.Requests)
}

// Check says what is wrong with p.
func (p Policy) Check() error {
	switch {
	case p.Requests < 1 || p.Per < time.Millisecond || p.Per > MaxPeriod || p.Burst < 0 || p.Burst > MaxBurst || p.Requests > MaxBurst:
		return fmt.Errorf("%d requests in %v with a burst of %d: wants 1 to %d requests in 1ms to %v, and a burst to %d", p.Requests, p.Per, p.Burst, MaxBurst, MaxPeriod, MaxBurst)
	case float64(p.Requests)/p.Per.Seconds() > MaxRate:
		return fmt.Errorf("%d requests in %v: at most %d a second", p.Requests, p.Per, MaxRate)
	case float64(p.interval())*float64(p.Burst) > float64(MaxPeriod):
		return errors.New("a burst that takes more than a year to come back")
	}
	return nil
}

// A Limit is a Policy with what is known of the keys.
type Limit struct {
	table    *table
	secret   Secret
	interval int64 // nanoseconds a request
	depth    int64 // nanoseconds a burst: how far a TAT may be ahead
	burst    int64
	batch    int64 // how many requests a loop may take at once
	locals   []Local
	name     string // that machines share it by
}

const (
	// A loop takes more than one request at once from this rate on.
	batchRate = 1000
	// What loops have taken and not used, all together, at most: 1 % of a second's requests.
	batchShare = 100
	// How long a loop keeps what it has taken, in nanoseconds.
	batchHold = int64(time.Second)
)

// NewLimit makes a limit that remembers at least so many keys, for so many loops. With the same secret
// limits have the same hash of a key.
func NewLimit(p Policy, keys, loops int, secret Secret) (*Limit, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	if keys < 1 || keys > MaxKeys {
		return nil, fmt.Errorf("a limit for %d keys: wants 1 to %d", keys, MaxKeys)
	}
	t, err := newTable(keys)
	if err != nil {
		return nil, err
	}
	l := &Limit{table: t, secret: secret, locals: make([]Local, loops), interval: p.interval(), burst: int64(p.Burst), batch: 1}
	if l.burst == 0 {
		l.burst = int64(p.Requests)
	}
	l.depth = l.burst * l.interval
	if perSecond := int64(time.Second) / l.interval; perSecond >= batchRate {
		l.batch = 1 + min(perSecond/batchShare, l.burst/4)/int64(loops)
	}
	for i := range l.locals {
		l.locals[i].limit = l
		if l.batch > 1 {
			l.locals[i].held = make([]held, heldMask+1)
		}
	}
	return l, nil
}

// Quota returns how many requests a burst has, and in how many seconds, rounded up, it is whole again.
func (l *Limit) Quota() (requests, seconds int64) { return l.burst, Seconds(l.depth) }

// Bytes is how much memory the limit takes when as many keys are there as it may have.
func (l *Limit) Bytes() int { return l.table.bytes() }

// A Verdict says what is to become of a request. Times are in nanoseconds from now.
type Verdict struct {
	Pass      bool
	Overflow  bool  // counted with others, as the table has no room for the key
	Remaining int64 // requests that would pass now
	Next      int64 // until one more would; 0: all of a burst would
}

// take has up to n requests of h's at time now, at least one, counted; it
// returns how many may pass. At 0 the verdict is a refusal.
//
// The state of a key is the theoretical arrival time (TAT) of its next
// request: a key whose TAT has passed is as one that never was there.
func (l *Limit) take(h Hash, now, n int64) (int64, Verdict) {
	if i := l.table.find(h); i >= 0 {
		if got, v, ok := l.takeAt(i, h, now, n); ok {
			return got, v
		}
	}
	return l.takeNew(h, now, n)
}

// admit says how many of n requests pass at TAT tat, and what it is then.
func (l *Limit) admit(tat, now, n int64) (got, next int64) {
	from := max(tat, now)
	if room := l.depth - (from - now); room < n*l.interval {
		n = max(room, 0) / l.interval
	}
	return n, from + n*l.interval
}

func (l *Limit) verdict(got, tat, now int64) Verdict {
	v := Verdict{Pass: got > 0}
	if ahead := tat - now; ahead > 0 {
		room := l.depth - ahead // negative where it was shared, or overflowed
		v.Remaining = max(room, 0) / l.interval
		v.Next = l.interval*(v.Remaining+1) - room
	} else {
		v.Remaining = l.burst
	}
	return v
}

// takeNew is take for a key without an entry.
func (l *Limit) takeNew(h Hash, now, n int64) (int64, Verdict) {
	t, s := l.table, l.table.stripe(h)
	s.acquire()
	if i := t.find(h); i >= 0 {
		if got, v, ok := l.takeAt(i, h, now, n); ok {
			s.release()
			return got, v
		}
	}
	i := t.claim(h, now)
	if i < 0 {
		got, v := l.takeOverflow(s, now)
		s.release()
		return got, v
	}
	// The key may be among those that were counted without an entry until now.
	got, next := l.admit(s.overflow.Load(), now, n)
	t.words[i].Store(next)
	s.release()
	return got, l.verdict(got, next, now)
}

// takeAt is take where h's state is at i; false: it is not any more.
func (l *Limit) takeAt(i int, h Hash, now, n int64) (int64, Verdict, bool) {
	t := l.table
	for {
		tat := t.words[i].Load()
		if tat == busy || !t.is(i, h) {
			return 0, Verdict{}, false
		}
		got, next := l.admit(tat, now, n)
		if got == 0 || t.words[i].CompareAndSwap(tat, next) {
			return got, l.verdict(got, next, now), true
		}
	}
}

// takeOverflow counts one request against what all keys of a stripe share that have no entry.
func (l *Limit) takeOverflow(s *stripe, now int64) (int64, Verdict) {
	for {
		tat := s.overflow.Load()
		got, next := l.admit(tat, now, 1)
		if got == 0 || s.overflow.CompareAndSwap(tat, next) {
			v := l.verdict(got, next, now)
			v.Overflow = true
			return got, v
		}
	}
}

// Seconds rounds nanoseconds up to whole seconds.
func Seconds(ns int64) int64 { return (ns + int64(time.Second) - 1) / int64(time.Second) }
