package limit

import (
	"zproxy/config"
	"zproxy/filter"
	"zproxy/filter/rate"
)

// Exceeded is the reason for requests above their rate, Busy for those of which too many are under way, and Full
// where too many others are.
const (
	Exceeded = "more requests of the same key than its rate limit allows"
	Busy     = "too many requests of the same key are under way"
	Full     = "requests of too many keys are under way"
)

var (
	policyField = filter.NewName("RateLimit-Policy")
	limitField  = filter.NewName("RateLimit")
	retryField  = filter.NewName("Retry-After")
)

// settings are what both kinds of limits have.
type settings struct {
	Key
	status      uint16 // of the response to what is refused
	fields      bool   // clients are told
	dryRun      bool   // nothing is refused, only counted
	passMissing bool   // requests without the key are not counted
	loops       []scratch
}

func newSettings(k *config.LimitKey, loops int) settings {
	s := settings{Key: NewKey(k.Key, k.IPv4Prefix, k.IPv6Prefix), status: uint16(k.Status), fields: k.Fields, dryRun: k.DryRun, passMissing: k.Missing == "pass",
		loops: make([]scratch, loops)}
	for i := range s.loops {
		s.loops[i].key, s.loops[i].value = make([]byte, 0, 512), make([]byte, 0, 128)
	}
	return s
}

// secret is what the hashes of all limits are keyed with.
var secret = rate.NewSecret()

// scratch is what a loop works in.
type scratch struct {
	key, value []byte
	_          [16]byte
}

// Rate limits the rate of requests by their key.
type Rate struct {
	settings
	limit *rate.Limit
	told  rate.Fields
}

// NewRate makes a filter for so many loops.
func NewRate(c *config.RateLimit, loops int) (*Rate, error) {
	l, err := rate.NewLimit(rate.Policy{Requests: c.Requests, Per: c.Per, Burst: c.Burst}, c.MaxKeys, loops, secret)
	if err != nil {
		return nil, err
	}
	quota, seconds := l.Quota()
	return &Rate{settings: newSettings(&c.LimitKey, loops), limit: l, told: rate.NewFields(c.Name, quota, seconds)}, nil
}

// Request counts q, and refuses it where it is one too many.
func (f *Rate) Request(q *filter.Request) filter.Verdict {
	at := &f.loops[q.Loop]
	key, whole := f.appendTo(at.key[:0], q)
	at.key = key
	if !whole && f.passMissing {
		return filter.Continue
	}
	v := f.limit.Local(q.Loop).Take(key, q.Now)
	if f.fields {
		q.Respond.Lend(&policyField, f.told.Policy)
		at.value = f.told.Append(at.value[:0], v)
		q.Respond.Add(&limitField, at.value)
	}
	if v.Pass {
		return filter.Continue
	}
	if f.dryRun {
		q.WouldRefuse = true
		return filter.Continue
	}
	at.value = rate.AppendRetryAfter(at.value[:0], v)
	q.Respond.Set(nil, &retryField, at.value)
	q.Refuse(429, Exceeded)
	q.Status = f.status
	return filter.Reply
}

// Concurrency limits how many requests of a key are under way at a time.
type Concurrency struct {
	settings
	limit *rate.Concurrency
	told  rate.Fields
}

// NewConcurrency makes a filter for so many loops.
func NewConcurrency(c *config.ConcurrencyLimit, loops int) (*Concurrency, error) {
	l, err := rate.NewConcurrency(c.Requests, c.MaxKeys, secret)
	if err != nil {
		return nil, err
	}
	return &Concurrency{settings: newSettings(&c.LimitKey, loops), limit: l, told: rate.NewFields(c.Name, l.Max(), 0)}, nil
}

// Request counts q until it ends, and refuses it where it is one too many.
func (f *Concurrency) Request(q *filter.Request) filter.Verdict {
	at := &f.loops[q.Loop]
	key, whole := f.appendTo(at.key[:0], q)
	at.key = key
	if !whole && f.passMissing {
		return filter.Continue
	}
	slot, full := f.limit.Enter(key)
	if slot != rate.None {
		q.Hold(f, int32(slot))
		return filter.Continue
	}
	if f.dryRun {
		q.WouldRefuse = true
		return filter.Continue
	}
	if f.fields {
		q.Respond.Lend(&policyField, f.told.Policy)
	}
	if full {
		q.Refuse(429, Full)
	} else {
		q.Refuse(429, Busy)
	}
	q.Status = f.status
	return filter.Reply
}

// Release is filter.Holder.
func (f *Concurrency) Release(slot int32) { f.limit.Leave(rate.Slot(slot)) }
