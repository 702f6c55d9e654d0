package verify

import (
	"sync/atomic"

	"zproxy/filter"
)

// Outcome is what becomes of a request.
type Outcome uint8

const (
	Allowed Outcome = iota
	Refused         // by who verified: 401, or what Status says
	Failed          // nobody could verify: 502, 503 or 504
)

// Field is a header field that a verdict has set, on the request or on a response that refuses.
type Field struct {
	Name  *filter.Name
	Value []byte
}

// Verdict is what was found of credentials. It is shared by all loops, and does not change.
type Verdict struct {
	Outcome Outcome
	Status  uint16 // of a response that refuses
	Reason  string // why, one of few with rows in docs/reasons.md; "" when allowed
	Name    []byte // whom the credentials are of
	Fields  []Field
	UntilMs int64 // Unix time up to which it may be used again; 0: for who waits alone

	digest Digest
	used   atomic.Bool // since a place in a Cache was last looked for
}

// Refuse is the verdict that lets nobody in.
func Refuse(status uint16, reason string) *Verdict {
	v := &Verdict{Outcome: Refused, Status: status, Reason: reason}
	if status >= 500 {
		v.Outcome = Failed
	}
	return v
}

// With is v with fields of the response.
func (v *Verdict) With(fields []Field) *Verdict {
	v.Fields = fields
	return v
}

// Until is v with another time up to which it may be used.
func (v *Verdict) Until(ms int64) *Verdict {
	return &Verdict{Outcome: v.Outcome, Status: v.Status, Reason: v.Reason, Name: v.Name, Fields: v.Fields, UntilMs: ms}
}

var wwwAuthenticate = filter.NewName("WWW-Authenticate")

// Challenge is the field of a response that asks for credentials (RFC 9110 11.6.1).
func Challenge(value string) []Field {
	return []Field{{Name: &wwwAuthenticate, Value: []byte(value)}}
}
