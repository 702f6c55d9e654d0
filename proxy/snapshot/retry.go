package snapshot

import (
	"zproxy/config"
	"zproxy/proto"
	"zproxy/upstream"
)

// Retry says when requests to an upstream are tried again. Immutable.
type Retry struct {
	On       RetryCause
	Attempts int
	PerTryNs int64 // until the head of a response, 0: no limit of its own
	Budget   bool  // there is one
	Bodies   bool  // are kept for another try, as far as there is room

	statuses [10]uint64 // a bit of each that is tried again
	methods  string     // as in the configuration
	keyed    bool       // Idempotency-Key makes a request idempotent
}

// RetryCause is what may be the reason for another try.
type RetryCause uint8

const (
	OnConnect RetryCause = 1 << iota
	OnReset
	OnTimeout
	OnStatus
)

// MaxAttempts is how often a request is sent again at the most.
const MaxAttempts = 5

func compileRetry(u *config.Upstream) (r Retry) {
	c := u.Retry
	if c == nil {
		if r.Attempts = u.Retries; u.Retries > 0 {
			r.On = OnConnect | OnReset
		}
		return r
	}
	r = Retry{Attempts: c.Attempts, PerTryNs: int64(c.PerTryTimeout), Budget: true, Bodies: true, methods: c.Methods, keyed: c.IdempotencyKey}
	for _, on := range c.On {
		switch on {
		case "connect":
			r.On |= OnConnect
		case "reset":
			r.On |= OnReset
		case "timeout":
			r.On |= OnTimeout
		default:
			r.On |= OnStatus
			for status := range len(r.statuses) * 64 {
				if config.InRanges([]string{on}, status) {
					r.statuses[status/64] |= 1 << (status % 64)
				}
			}
		}
	}
	return r
}

func compileRetryBudget(u *config.Upstream) (b upstream.RetryBudget) {
	if u.Retry != nil {
		b = upstream.RetryBudget{Percent: u.Retry.Budget.Percent, Least: u.Retry.Budget.Min}
	}
	return b
}

// Has says that a response with status is reason for another try.
func (r *Retry) Has(status uint16) bool {
	i := int(status / 64)
	return i < len(r.statuses) && r.statuses[i]&(1<<(status%64)) != 0
}

// Repeat says when the request with head h may be sent again.
func (r *Retry) Repeat(h *proto.Head) upstream.Repeat {
	may := upstream.RepeatOf(h.Method, h.Bytes(h.MethodName))
	switch {
	case may == upstream.RepeatAlways:
	case r.methods == "all", r.methods == "idempotent" && may != upstream.RepeatNever, r.keyed && hasIdempotencyKey(h):
		return upstream.RepeatAlways
	}
	return may
}

// hasIdempotencyKey looks for the field of draft-ietf-httpapi-idempotency-key-header.
func hasIdempotencyKey(h *proto.Head) bool {
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.Token == proto.TokenOther && f.Value.Len > 0 && proto.EqualFold(h.Bytes(f.Name), "idempotency-key") {
			return true
		}
	}
	return false
}
