package config

import (
	"slices"
	"strconv"
	"time"
)

// ForwardAuthFilter asks an upstream whether requests may go on.
type ForwardAuthFilter struct {
	Upstream   string
	Path       string
	Host       string
	Send, Take []string
	UserHeader string
	Timeout    time.Duration
	Keep       time.Duration
	KeepBy     []string // fields "header:NAME", and parts of the request
	Entries    int
	Workers    int
	MaxWaiting int
}

// KeepParts are what verdicts may depend on beside fields.
var KeepParts = []string{"method", "host", "path", "query", "client_ip"}

const wantKeepBy = "header:NAME, method, host, path, query or client_ip"

func checkKeepBy(text string, v int64) (want, hint string) {
	if slices.Contains(KeepParts, text) {
		return "", ""
	}
	if c, ok := ParseCredential(text); !ok || c.Header == "" || c.Bearer {
		return wantKeepBy, ""
	}
	return "", ""
}

func init() {
	name := &field{kind: kindText, check: checkIdentity, want: wantIdentity}
	registerFilter("forward_auth", "Asks an upstream whether a request may go on (nginx: `auth_request`; Traefik: `forwardAuth`), by a GET: a response of 2xx lets it go on, another one is the client's. See [authentication.md](authentication.md#asking-another-server).",
		append([]field{
			{key: "upstream", kind: kindText, required: true, at: at(func(f *ForwardAuthFilter) *string { return &f.Upstream }),
				doc: "The name of the upstream that is asked, of protocol `http1`."},
			{key: "path", kind: kindText, def: "/", check: checkTarget, want: wantTarget, pattern: "^/", at: at(func(f *ForwardAuthFilter) *string { return &f.Path }),
				doc: "The path that is asked for, with its query if there is one. The path of the request is in `X-Forwarded-Uri` and `X-Original-URI`."},
			{key: "host", kind: kindText, check: checkAuthority, want: "a host, with or without a port, e.g. auth.internal", at: at(func(f *ForwardAuthFilter) *string { return &f.Host }),
				zero: "`host` of the upstream, else that of the request", doc: "The Host field of the question."},
			{key: "send", kind: kindTexts, def: "Authorization, Cookie", min: 1, max: 64, elem: name, at: at(func(f *ForwardAuthFilter) *[]string { return &f.Send }),
				doc: "Fields of the request that go along. X-Forwarded-Method, -Proto, -Host, -Uri and -For, and X-Original-URI always do."},
			{key: "take", kind: kindTexts, max: 64, elem: name, at: at(func(f *ForwardAuthFilter) *[]string { return &f.Take }),
				zero: "none", doc: "Fields of a response of 2xx that the origin gets with the request. What a client sends under these names is dropped, in any letter case and with `_` for `-`."},
			{key: "user_header", kind: kindText, check: checkIdentity, want: wantIdentity, at: at(func(f *ForwardAuthFilter) *string { return &f.UserHeader }), zero: "none",
				doc: "The field of that response that says who asks, for the access log. The origin gets it as well."},
			{key: "timeout", kind: kindDuration, def: "5s", min: int64(time.Millisecond), max: int64(time.Minute), at: at(func(f *ForwardAuthFilter) *time.Duration { return &f.Timeout }),
				doc: "How long an answer may take: 504 beyond. Where nobody can be asked it is 502."},
			keepField(at(func(f *ForwardAuthFilter) *time.Duration { return &f.Keep }), "0s", "For how long an answer is good for requests that are equal in what `keep_by` lists. A response with `Cache-Control: no-store` is not kept."),
			{key: "keep_by", kind: kindTexts, max: 32, elem: &field{kind: kindText, check: checkKeepBy, want: wantKeepBy}, at: at(func(f *ForwardAuthFilter) *[]string { return &f.KeepBy }),
				zero: "nothing, and then `keep` is 0", doc: "What an answer depends on: `header:NAME`, `method`, `host`, `path`, `query`, `client_ip`. Leave out nothing that the server looks at."},
			{key: "entries", kind: kindCount, def: "10000", min: 1, max: 10_000_000, at: at(func(f *ForwardAuthFilter) *int { return &f.Entries }),
				doc: "How many answers are kept."},
		}, workerFields(at(func(f *ForwardAuthFilter) *int { return &f.Workers }), at(func(f *ForwardAuthFilter) *int { return &f.MaxWaiting }), "64", "questions are asked")...), nil, verifyForwardAuth)
}

func verifyForwardAuth(d *decoder, f *ForwardAuthFilter, at *filterPlace) {
	i := slices.IndexFunc(at.c.Upstreams, func(u Upstream) bool { return u.Name == f.Upstream })
	switch {
	case f.Upstream == "": // reported already
	case i < 0:
		at.fail(d, "upstream", quote(f.Upstream), "the name of an upstream", "")
	case at.c.Upstreams[i].Protocol != "http1":
		at.fail(d, "upstream", quote(f.Upstream)+" of protocol "+at.c.Upstreams[i].Protocol, "an upstream of protocol http1", "another upstream with the same endpoints may be of another protocol")
	case at.c.Upstreams[i].SendProxy != "":
		at.fail(d, "upstream", quote(f.Upstream)+" with send_proxy", "an upstream without send_proxy", "questions are no client's connections")
	}
	if (f.Keep > 0) != (len(f.KeepBy) > 0) {
		at.fail(d, "keep_by", strconv.Itoa(len(f.KeepBy))+" entries with keep: "+f.Keep.String(), "both keep and keep_by, or neither", "an answer that depends on nothing is everybody's")
	}
}

// asked are the upstreams that filters ask.
func (c *Config) asked() map[string]bool {
	names := map[string]bool{}
	c.lists(func(_ string, list []Filter) {
		for i := range list {
			if f, ok := list[i].Settings.(*ForwardAuthFilter); ok && f != nil {
				names[f.Upstream] = true
			}
		}
	})
	return names
}
