package rate

import "sync/atomic"

const (
	heldBits = 9 // of how many keys a loop may have requests at hand
	heldMask = 1<<heldBits - 1
)

// A Local is one loop's hand on a Limit. From a rate of 1000 requests a second
// on it takes several requests of a key at once, and lets them through without
// a look at what the loops share; once there is none left it refuses by itself
// for as long as it takes until there are so many again. What loops have at
// hand is part of what was counted, so they never let through more than the
// limit; what they have and do not use is at most 1 % of a second's.
type Local struct {
	limit    *Limit
	held     []held
	notes    *ledger      // nil: no other machine shares the limit
	asked    atomic.Int64 // how often the table was
	overflow atomic.Int64 // requests counted with those of other keys, as the table was full
	_        [64]byte     // others' are not in the same cache line
}

// Local is the hand of loop n, for that loop alone.
func (l *Limit) Local(n int) *Local { return &l.locals[n] }

// Asked is how often loops have asked the table, and Overflow how many requests were counted
// together with those of other keys, as the table had no room for theirs.
func (l *Limit) Asked() (n int64) {
	for i := range l.locals {
		n += l.locals[i].asked.Load()
	}
	return n
}

func (l *Limit) Overflow() (n int64) {
	for i := range l.locals {
		n += l.locals[i].overflow.Load()
	}
	return n
}

// held is what a loop knows of a key that it has seen lately.
type held struct {
	tag       int64
	until     int64 // when tokens are given up, or there may be some again
	tokens    int64 // 0: refuse until then
	remaining int64 // for others
}

// Take counts a request of key at time now, in nanoseconds, and says whether it may pass.
func (lc *Local) Take(key []byte, now int64) Verdict {
	h := lc.limit.secret.Hash(key)
	got, v := lc.decide(h, now)
	if got > 0 && lc.notes != nil {
		lc.notes.note(h, lc.limit.name, key, got)
	}
	if v.Overflow {
		lc.overflow.Add(1)
	}
	return v
}

// decide also says how many requests were counted.
func (lc *Local) decide(h Hash, now int64) (int64, Verdict) {
	if lc.held == nil {
		return lc.one(h, now)
	}
	e := &lc.held[h.second&heldMask]
	if e.tag != h.tag {
		// What another key has at hand stays there: a flood of keys takes nothing from it.
		if e.tokens == 0 || now >= e.until {
			*e = held{tag: h.tag}
		}
		return lc.one(h, now)
	}
	switch {
	case now >= e.until:
		return lc.several(e, h, now)
	case e.tokens == 0:
		return 0, Verdict{Next: e.until - now}
	}
	e.tokens--
	v := Verdict{Pass: true, Remaining: e.remaining + e.tokens, Next: lc.limit.interval}
	if e.tokens == 0 {
		e.until = 0
	}
	return 0, v
}

func (lc *Local) one(h Hash, now int64) (int64, Verdict) {
	lc.asked.Add(1)
	return lc.limit.take(h, now, 1)
}

// several takes a batch for the key of e.
func (lc *Local) several(e *held, h Hash, now int64) (int64, Verdict) {
	l := lc.limit
	lc.asked.Add(1)
	got, v := l.take(h, now, l.batch)
	e.tokens, e.until, e.remaining = max(got-1, 0), 0, v.Remaining
	switch {
	case got > 1:
		e.until = now + batchHold
		v.Remaining += e.tokens
	case got == 0 && !v.Overflow:
		e.until = now + v.Next + (l.batch-1)*l.interval
	}
	return got, v
}
