package config

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// HealthCheck is how the endpoints of an upstream are checked without requests of clients.
type HealthCheck struct {
	Type    string // "http", "tcp" or "grpc"
	Method  string
	Path    string
	Host    string   // "": the upstream's, else the endpoint's
	Status  []string // numbers and ranges, see InRanges
	Body    string   // a regular expression, "": any
	Service string   // of gRPC, "": the server as a whole
	Address string   // instead of the endpoint's, "": none
	Port    int      // instead of the endpoint's, 0: none
	TLS     string   // "upstream" or "never"

	Interval, FastInterval, Timeout time.Duration // FastInterval and Timeout are never 0
	Jitter                          int           // percent
	Fall, Rise                      int
	Initial                         string // "up", "down" or "unknown"
	OnDown                          string `json:"-"` // "keep" or "end"; no part of what a check does
}

const (
	wantStatus  = `a status such as 200, or a range such as "200-399"`
	maxChecking = int64(time.Hour)
)

func healthCheckFields() []field {
	const ms = int64(time.Millisecond)
	return []field{
		{key: "type", kind: kindEnum, def: "http", enum: []string{"http", "tcp", "grpc"}, at: at(func(h *HealthCheck) *string { return &h.Type }),
			doc: "`http` sends a request in the protocol of the upstream and looks at its response; `tcp` connects, and with `tls` makes a handshake; `grpc` calls grpc.health.v1.Health/Check and expects SERVING."},
		{key: "interval", kind: kindDuration, def: "2s", min: 10 * ms, max: maxChecking, at: at(func(h *HealthCheck) *time.Duration { return &h.Interval }),
			doc: "Time from the start of one check to the start of the next. A check that takes longer delays the next one."},
		{key: "fast_interval", kind: kindDuration, min: 10 * ms, max: maxChecking, at: at(func(h *HealthCheck) *time.Duration { return &h.FastInterval }),
			zero: "`interval`", doc: "The same while the state is about to change: from the first check whose result differs from it until `fall` or `rise` of them have decided, and before the first has."},
		{key: "timeout", kind: kindDuration, min: ms, max: maxChecking, at: at(func(h *HealthCheck) *time.Duration { return &h.Timeout }),
			zero: "`interval`", doc: "How long a check may take as a whole. One that takes longer has failed."},
		{key: "fall", kind: kindCount, def: "3", min: 1, max: 100, at: at(func(h *HealthCheck) *int { return &h.Fall }),
			doc: "So many failed checks in a row take an endpoint out."},
		{key: "rise", kind: kindCount, def: "2", min: 1, max: 100, at: at(func(h *HealthCheck) *int { return &h.Rise }),
			doc: "So many passed checks in a row bring it back."},
		{key: "jitter", kind: kindCount, def: "10", max: 50, at: at(func(h *HealthCheck) *int { return &h.Jitter }),
			zero: "exact intervals", doc: "Each interval is shorter by up to so many percent, at random, so that checks of many endpoints, and of many proxies, spread out."},
		{key: "initial", kind: kindEnum, def: "up", enum: []string{"up", "down", "unknown"}, at: at(func(h *HealthCheck) *string { return &h.Initial }),
			doc: "What an endpoint is before checks have decided. `up`: it gets requests, and `fall` checks are needed to take it out. `down`: it gets none until `rise` checks have passed. `unknown`: it gets none, and the first check decides; " +
				"the start, and a reload, wait for that, as long as one check may take and at most 5s. An endpoint whose check is the same before and after a reload keeps its state."},
		{key: "on_down", kind: kindEnum, def: "keep", enum: []string{"keep", "end"}, at: at(func(h *HealthCheck) *string { return &h.OnDown }),
			doc: "What becomes of connections with requests under way when their endpoint is taken out. `keep`: the requests, and tunnels, go on; `end`: they are ended within a second, and a request whose response has not begun is tried elsewhere if `retry` and its method allow it. Idle connections are closed, and HTTP/2 connections take no more requests, in either case."},
		{key: "method", kind: kindText, def: "GET", check: checkMethod, want: wantMethod, pattern: "^[A-Z][A-Z0-9_-]*$", at: at(func(h *HealthCheck) *string { return &h.Method }),
			doc: "`http`: the method of the request."},
		{key: "path", kind: kindText, def: "/", check: checkTarget, want: wantTarget, pattern: "^/", at: at(func(h *HealthCheck) *string { return &h.Path }),
			doc: "`http`: the path of the request, with its query if there is one."},
		{key: "host", kind: kindText, check: checkAuthority, want: "a host, with or without a port, e.g. app.internal", at: at(func(h *HealthCheck) *string { return &h.Host }),
			zero: "`host` of the upstream, else the endpoint's address", doc: "`http`, `grpc`: the Host field (`:authority`) of the request."},
		{key: "status", kind: kindTexts, def: "200-399", min: 1, max: 32, at: at(func(h *HealthCheck) *[]string { return &h.Status }),
			elem: &field{kind: kindText, figures: [2]int64{100, 599}, check: checkStatusRange, want: wantStatus, pattern: "^[1-5][0-9][0-9](-[1-5][0-9][0-9])?$"},
			doc:  "`http`: the statuses that pass. Redirects are not followed."},
		{key: "body", kind: kindText, check: checkRegexp, want: wantRegexp, at: at(func(h *HealthCheck) *string { return &h.Body }),
			zero: "whatever it is, and it is not waited for", doc: "`http`: a regular expression (RE2) that the first 64 KiB of the response's body have to match somewhere."},
		{key: "service", kind: kindText, at: at(func(h *HealthCheck) *string { return &h.Service }),
			zero: "the server as a whole", doc: "`grpc`: the name of the service that is asked about."},
		{key: "port", kind: kindCount, def: "0", max: 65535, at: at(func(h *HealthCheck) *int { return &h.Port }),
			zero: "the endpoint's", doc: "Checks connect to this port of the endpoint."},
		{key: "address", kind: kindText, check: checkCheckAddress, want: wantCheckAddress, at: at(func(h *HealthCheck) *string { return &h.Address }),
			zero: "the endpoint's", doc: "Checks of all endpoints of the upstream connect here: `ip:port`, `\"[ip6]:port\"` or `unix:/path`."},
		{key: "tls", kind: kindEnum, def: "upstream", enum: []string{"upstream", "never"}, at: at(func(h *HealthCheck) *string { return &h.TLS }),
			doc: "`upstream`: checks speak TLS where the upstream does, with its server_name, authorities, pins and certificate. `never`: in clear, for a `port` of its own that does not speak TLS."},
	}
}

const (
	wantTarget       = "a path such as /healthz or /ready?full=1"
	wantRegexp       = "a regular expression (RE2)"
	wantCheckAddress = `an address "ip:port", "[ip6]:port" or "unix:/path"`
)

func checkTarget(text string, _ int64) (want, hint string) {
	if !strings.HasPrefix(text, "/") || len(text) > 4096 {
		return wantTarget, "it begins with /"
	}
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c >= 0x7f || c == '#' {
			return wantTarget, "what is not ASCII is percent-encoded"
		}
	}
	return "", ""
}

func checkStatusRange(text string, _ int64) (want, hint string) {
	low, high, ok := statusRange(text)
	switch {
	case !ok:
		return wantStatus, ""
	case low > high:
		return wantStatus, "the smaller number comes first"
	}
	return "", ""
}

func statusRange(text string) (low, high int, ok bool) {
	from, to, isRange := strings.Cut(text, "-")
	if !isRange {
		to = from
	}
	low, err1 := strconv.Atoi(from)
	high, err2 := strconv.Atoi(to)
	return low, high, err1 == nil && err2 == nil && len(from) == 3 && len(to) == 3 && low >= 100 && high <= 599
}

// InRanges says whether a status is one of those that a list like HealthCheck.Status names.
func InRanges(list []string, status int) bool {
	for _, text := range list {
		if low, high, ok := statusRange(text); ok && status >= low && status <= high {
			return true
		}
	}
	return false
}

func checkRegexp(text string, _ int64) (want, hint string) {
	if _, err := regexp.Compile(text); err != nil {
		return wantRegexp, strings.TrimPrefix(err.Error(), "error parsing regexp: ")
	}
	return "", ""
}

func checkCheckAddress(text string, _ int64) (want, hint string) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		return checkUnix(path, wantCheckAddress)
	}
	host, _, hint, ok := splitPort(text)
	if !ok {
		return wantCheckAddress, hint
	}
	if strings.Trim(host, "0123456789.abcdefABCDEF:") != "" || !strings.ContainsAny(host, ".:") {
		return wantCheckAddress, "names are not looked up here"
	}
	return checkDial(text, 0)
}

// verifyHealthCheck checks what keys mean together, and fills in what other keys give.
func (d *decoder) verifyHealthCheck(c *Config, u *Upstream, n *yaml.Node, p *path) {
	h := u.HealthCheck
	if h == nil {
		return
	}
	if h.FastInterval == 0 {
		h.FastInterval = h.Interval
	}
	if h.Timeout == 0 {
		h.Timeout = h.Interval
	}
	if h.FastInterval > h.Interval {
		d.fail(child(n, "fast_interval"), &path{up: p, key: "fast_interval"}, h.FastInterval.String(), "at most interval, which is "+h.Interval.String(), "")
	}
	if h.Address != "" && h.Port != 0 {
		d.fail(child(n, "port"), &path{up: p, key: "port"}, strconv.Itoa(h.Port), "address or port, not both", "address has a port of its own")
	}
	only := func(key, kind string) {
		if at := written(n, key); at != nil && !strings.Contains(kind, h.Type) {
			d.fail(at, &path{up: p, key: key}, shown(resolve(at)), "type: "+kind+" with it", "type is "+h.Type)
		}
	}
	for _, key := range [...]string{"method", "path", "status", "body"} {
		only(key, "http")
	}
	only("host", "http or grpc")
	only("service", "grpc")
	if h.Type == "grpc" && h.Port == 0 && h.Address == "" && u.Protocol == "http1" {
		d.warn(c, posOf(n), p.String(), "type: grpc, and protocol: http1", "an upstream with protocol h2c or h2: gRPC is spoken over HTTP/2")
	}
}
