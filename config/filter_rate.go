package config

import (
	"fmt"
	"strings"
	"time"
)

// LimitKey says which requests a limit counts together, and what becomes of those that are too many.
type LimitKey struct {
	Name       string
	Key        []string
	IPv4Prefix int
	IPv6Prefix int
	Missing    string // "count" or "pass"
	Status     int
	Fields     bool
	DryRun     bool
	MaxKeys    int
}

// RateLimit limits the rate of requests by their key.
type RateLimit struct {
	LimitKey
	Requests int
	Per      time.Duration
	Burst    int // 0: Requests
}

// ConcurrencyLimit limits how many requests of a key are under way at a time.
type ConcurrencyLimit struct {
	LimitKey
	Requests int
}

const (
	wantLimitKey    = "address, route, user or header.NAME"
	patternLimitKey = `^(address|route|user|header\.[!#$%&'*+.^_|~0-9A-Za-z-]+)$`
)

func init() {
	registerFilter("rate_limit", "Lets no more requests of a key through than so many in a time: [rate limits](filters.md#rate_limit).",
		append(limitKeyFields(func(r *RateLimit) *LimitKey { return &r.LimitKey }), []field{
			{key: "requests", kind: kindCount, required: true, min: 1, max: 10_000_000, at: at(func(r *RateLimit) *int { return &r.Requests }), doc: "How many requests of a key pass in each `per`."},
			{key: "per", kind: kindDuration, def: "1s", min: int64(time.Millisecond), max: int64(365 * 24 * time.Hour), at: at(func(r *RateLimit) *time.Duration { return &r.Per }), doc: "In which time."},
			{key: "burst", kind: kindCount, def: "0", max: 10_000_000, zero: "as many as `requests`", at: at(func(r *RateLimit) *int { return &r.Burst }),
				doc: "How many pass at once after a pause. A burst comes back at the rate: with 1, each request has to be `per`/`requests` behind the one before. nginx's `burst=N nodelay` is N+1."},
		}...), nil,
		func(d *decoder, r *RateLimit, at *filterPlace) {
			if r.Requests > 0 && r.Per > 0 && float64(r.Requests)/r.Per.Seconds() > 1e6 {
				at.fail(d, "requests", fmt.Sprint(r.Requests)+" per "+r.Per.String(), "at most 1000000 a second", "")
			}
			if r.Requests > 0 && float64(r.Per)/float64(r.Requests)*float64(max(r.Burst, 1)) > float64(365*24*time.Hour) {
				at.fail(d, "burst", fmt.Sprint(r.Burst), "a burst that comes back within a year", "it comes back at the rate")
			}
		})
	registerFilter[ConcurrencyLimit]("concurrency_limit", "Lets no more requests of a key be under way at a time than so many: [limits of requests at a time](filters.md#concurrency_limit).",
		append(limitKeyFields(func(r *ConcurrencyLimit) *LimitKey { return &r.LimitKey }), field{
			key: "requests", kind: kindCount, required: true, min: 1, max: 1 << 30, at: at(func(r *ConcurrencyLimit) *int { return &r.Requests }), doc: "How many requests of a key may be under way, from their head to the end of their response; a WebSocket is one as long as it is open."}),
		nil, nil)
}

func limitKeyFields[S any](of func(*S) *LimitKey) []field {
	return []field{
		{key: "name", kind: kindText, required: true, check: checkToken, want: "a name of letters, digits, and -._", pattern: "^[A-Za-z0-9._-]{1,64}$",
			at: at(func(s *S) *string { return &of(s).Name }), doc: "What clients read in RateLimit, and you in `zproxy check`."},
		{key: "key", kind: kindTexts, def: "address", min: 1, max: 8, at: at(func(s *S) *[]string { return &of(s).Key }),
			elem: &field{kind: kindText, check: checkLimitKey, want: wantLimitKey, pattern: patternLimitKey},
			doc: "Requests count together of which all of these are the same: `address`: the client's network; `route`: the route; `header.NAME`: the value of a field of the request, where all requests that have it more than once count together; " +
				"`user`: whom a filter has found the client to be: with it, the limit stands behind those filters."},
		{key: "ipv4_prefix", kind: kindCount, def: "32", min: 1, max: 32, at: at(func(s *S) *int { return &of(s).IPv4Prefix }), doc: "How many bits of an IPv4 address count."},
		{key: "ipv6_prefix", kind: kindCount, def: "64", min: 1, max: 128, at: at(func(s *S) *int { return &of(s).IPv6Prefix }), doc: "How many bits of an IPv6 address count. A client usually has a /64 of its own, and more addresses in it than any table has room for."},
		{key: "missing", kind: kindEnum, def: "count", enum: []string{"count", "pass"}, at: at(func(s *S) *string { return &of(s).Missing }),
			doc: "What becomes of requests without a part of the key, e.g. without the field. `count`: they count together; `pass`: they pass, uncounted, so that clients dodge the limit by leaving it out."},
		{key: "status", kind: kindCount, def: "429", numbers: []int64{403, 429, 503}, at: at(func(s *S) *int { return &of(s).Status }), doc: "Of the response to requests that are too many."},
		{key: "fields", kind: kindBool, def: "true", at: at(func(s *S) *bool { return &of(s).Fields }),
			doc: "Whether responses have RateLimit-Policy and RateLimit, by which clients can keep to the limit. Retry-After is on all that a `rate_limit` refuses."},
		{key: "dry_run", kind: kindBool, def: "false", at: at(func(s *S) *bool { return &of(s).DryRun }), doc: "Counts what would be refused (`verdict=\"dry_run\"`), and lets it pass."},
		{key: "max_keys", kind: kindCount, def: "262144", min: 1, max: 64 << 20, at: at(func(s *S) *int { return &of(s).MaxKeys }),
			doc: "For how many keys there is room at a time. Each takes 64 bytes, once it comes. A key is forgotten only when its whole burst is there again; where there is no room for new ones, these count together in groups."},
	}
}

func checkLimitKey(text string, _ int64) (want, hint string) {
	if text == "address" || text == "route" || text == "user" {
		return "", ""
	}
	if name, ok := strings.CutPrefix(text, "header."); ok && isFieldName(name) {
		return "", ""
	}
	return wantLimitKey, ""
}

// Rules says in a few words what the limit does.
func (r *RateLimit) Rules() string {
	burst := r.Burst
	if burst == 0 {
		burst = r.Requests
	}
	return fmt.Sprintf("%s: %d per %v by %s, burst %d%s", r.Name, r.Requests, r.Per, strings.Join(r.Key, "+"), burst, r.dry())
}

// Rules says in a few words what the limit does.
func (r *ConcurrencyLimit) Rules() string {
	return fmt.Sprintf("%s: %d at a time by %s%s", r.Name, r.Requests, strings.Join(r.Key, "+"), r.dry())
}

func (k *LimitKey) dry() string {
	if k.DryRun {
		return ", dry run"
	}
	return ""
}
