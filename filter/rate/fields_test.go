package rate

import (
	"testing"
	"time"
)

func TestFields(t *testing.T) {
	l := newLimit(t, Policy{Requests: 100, Per: time.Minute}, 16, 1)
	quota, window := l.Quota()
	f := NewFields("login", quota, window)
	if got := string(f.Policy); got != `"login";q=100;w=60` {
		t.Error(got)
	}
	for _, c := range []struct {
		v     Verdict
		want  string
		after string
	}{
		{Verdict{Pass: true, Remaining: 99, Next: 6e8}, `"login";r=99;t=1`, "1"},
		{Verdict{Pass: true, Remaining: 100}, `"login";r=100`, "1"},
		{Verdict{Next: 1_000_000_001}, `"login";r=0;t=2`, "2"},
	} {
		if got := string(f.Append(nil, c.v)); got != c.want {
			t.Errorf("%+v: %s, want %s", c.v, got, c.want)
		}
		if got := string(AppendRetryAfter(nil, c.v)); got != c.after {
			t.Errorf("%+v: Retry-After %s, want %s", c.v, got, c.after)
		}
	}
	odd := NewFields(`a"\`, 5, 0)
	if got := string(odd.Policy); got != `"a\"\\";q=5;qu="concurrent-requests"` {
		t.Error(got)
	}
}
