package config

import (
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Retry says when a request is tried again.
type Retry struct {
	Attempts       int
	On             []string      // "connect", "reset", "timeout", and statuses as in HealthCheck.Status
	PerTryTimeout  time.Duration // 0: none but the upstream's
	Methods        string        // "safe", "idempotent" or "all"
	IdempotencyKey bool
	Budget         RetryBudget
}

// RetryBudget bounds the retries that are under way at a time.
type RetryBudget struct {
	Percent int
	Min     int
}

const wantRetryOn = `connect, reset, timeout, or a status such as 503 or a range such as "500-599"`

func retryFields() []field {
	return []field{
		{key: "attempts", kind: kindCount, def: "1", min: 1, max: 5, at: at(func(r *Retry) *int { return &r.Attempts }),
			doc: "How often a request is sent again at the most. Connections that could not be made do not count, nor do kept-alive ones that turn out to be closed."},
		{key: "on", kind: kindTexts, def: "connect, reset, timeout, 502, 503, 504", min: 1, max: 32, at: at(func(r *Retry) *[]string { return &r.On }),
			elem: &field{kind: kindText, figures: [2]int64{400, 599}, check: checkRetryOn, want: wantRetryOn, pattern: "^(connect|reset|timeout|[45][0-9][0-9](-[45][0-9][0-9])?)$"},
			doc: "What is reason for another try. `connect`: no connection could be made; nothing was sent, so any request is tried elsewhere until `pool.queue_timeout` is over. `reset`: the connection, or the stream, ended before a response. " +
				"`timeout`: none came within `per_try_timeout` or `timeouts.response`. A status from 400 to 599, or a range of them: its response is thrown away. But for `connect`, `methods` says for which requests."},
		{key: "per_try_timeout", kind: kindDuration, def: "0", max: int64(24 * time.Hour), at: at(func(r *Retry) *time.Duration { return &r.PerTryTimeout }),
			zero: "`timeouts.response`", doc: "How long one try may take from the request's last byte to the end of the response's head before the next one, with `timeout` in `on`. Where there can be no other, `timeouts.response` alone holds."},
		{key: "methods", kind: kindEnum, def: "safe", enum: []string{"safe", "idempotent", "all"}, at: at(func(r *Retry) *string { return &r.Methods }),
			doc: "Which requests may be sent again that an origin may have seen. `safe`: GET, HEAD, OPTIONS, TRACE and QUERY; `idempotent`: PUT and DELETE as well; `all`: POST and all others too, so that what they do may be done twice."},
		{key: "idempotency_key", kind: kindBool, def: "false", at: at(func(r *Retry) *bool { return &r.IdempotencyKey }),
			doc: "A request with the field Idempotency-Key may be sent again, whatever its method: the origins know such a key when they see it twice."},
		{key: "budget", kind: kindSection, at: at(func(r *Retry) *RetryBudget { return &r.Budget }), fields: []field{
			{key: "percent", kind: kindCount, def: "20", max: 100, at: at(func(b *RetryBudget) *int { return &b.Percent }),
				zero: "`min` alone holds", doc: "Of the upstream's requests under way no more than so many percent may be such that were sent again, over all loops together."},
			{key: "min", kind: kindCount, def: "3", max: 1 << 20, at: at(func(b *RetryBudget) *int { return &b.Min }),
				zero: "none but by `percent`", doc: "So many may be whatever is under way."}},
			doc: "Keeps retries from making an outage worse. A request that finds none left gets what its last try has brought. Failed connects do not count."},
	}
}

func checkRetryOn(text string, _ int64) (want, hint string) {
	switch text {
	case "connect", "reset", "timeout":
		return "", ""
	}
	low, high, ok := statusRange(text)
	switch {
	case !ok || low < 400:
		return wantRetryOn, ""
	case low > high:
		return wantRetryOn, "the smaller number comes first"
	}
	return "", ""
}

// verifyRetry checks what keys mean together.
func (d *decoder) verifyRetry(u *Upstream, n *yaml.Node, p *path) {
	r := u.Retry
	if r == nil {
		return
	}
	if at := written(n, "retries"); at != nil {
		d.fail(at, &path{up: p, key: "retries"}, shown(resolve(at)), "retries or retry, not both", "attempts of retry are the same")
	}
	if at := written(resolve(child(n, "retry")), "per_try_timeout"); at != nil && !strings.Contains(strings.Join(r.On, " "), "timeout") {
		d.fail(at, &path{up: &path{up: p, key: "retry"}, key: "per_try_timeout"}, r.PerTryTimeout.String(), "timeout in on", "without it a try has timeouts.response")
	}
}
