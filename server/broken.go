package server

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"zproxy/metrics"
	"zproxy/proto/http2"
	"zproxy/proxy"
	"zproxy/upstream"
)

// brokenQuiet is how long the log does not speak again of connections to the
// same origin that are broken off for the same reason.
const brokenQuiet = 30 * time.Second

// brokenOrigins tells the log which HTTP/2 connections to origins were broken
// off, why, and what was counted: at once, then at a limited rate.
type brokenOrigins struct {
	s  *Server
	of map[brokenKey]*brokenTold
}

// brokenKey is what the log tells apart.
type brokenKey struct {
	cluster  *upstream.Cluster
	endpoint int
	reason   string
	goAway   http2.ErrCode
}

type brokenTold struct {
	at              time.Time // when it was spoken of last, and how many there had been
	times, requests uint64
}

func (h *brokenOrigins) look(now time.Time, reports []*proxy.Report) {
	sums := map[brokenKey]proxy.BrokenSessions{}
	for _, r := range reports {
		for _, b := range r.Broken {
			k := brokenKey{b.Cluster, b.Endpoint, b.Reason, b.GoAway}
			sum := sums[k]
			b.Times += sum.Times
			b.Requests += sum.Requests
			sums[k] = b
		}
	}
	for k := range h.of {
		if _, known := sums[k]; !known { // its upstream is gone
			delete(h.of, k)
		}
	}
	for k, sum := range sums {
		told := h.of[k]
		if told == nil {
			told = new(brokenTold)
			h.of[k] = told
		}
		if sum.Times == told.times || !told.at.IsZero() && now.Sub(told.at) < brokenQuiet {
			continue
		}
		h.tell(&sum, told)
		*told = brokenTold{now, sum.Times, sum.Requests}
	}
}

func (h *brokenOrigins) tell(b *proxy.BrokenSessions, told *brokenTold) {
	c := b.Cluster
	fields := []any{"upstream", c.Name(), "endpoint", c.Endpoints()[b.Endpoint].Address, "reason", b.Reason}
	if b.GoAway != http2.ErrNo {
		fields = append(fields, "code", b.GoAway.String())
	}
	if counted := acts(b); counted != "" {
		fields = append(fields, "counted", counted, "score", b.Score)
	}
	fields = append(fields, "times", b.Times-told.times, "times_since_start", b.Times, "open_requests", b.Requests-told.requests,
		"do", "docs/reasons.md says what the reason means")
	h.s.about("upstream").Warn("HTTP/2 connection to an origin broken off", fields...)
}

// acts is what the last of the connections had counted.
func acts(b *proxy.BrokenSessions) string {
	var list []string
	for a, n := range b.Acts {
		if n > 0 {
			list = append(list, fmt.Sprintf("%s %d", http2.Abuse(a).Name(), n))
		}
	}
	return strings.Join(list, ", ")
}

// brokenOf is how many connections to each endpoint were broken off over all
// loops, by the name of the reason.
func brokenOf(reports []*proxy.Report, cluster *upstream.Cluster, endpoint int) (out []metrics.ReasonTimes) {
	names := proxy.FaultNames()
	for _, r := range reports {
		for _, b := range r.Broken {
			if b.Cluster != cluster || b.Endpoint != endpoint {
				continue
			}
			i := slices.IndexFunc(out, func(c metrics.ReasonTimes) bool { return c.Reason == names[b.Code] })
			if i < 0 {
				i = len(out)
				out = append(out, metrics.ReasonTimes{Reason: names[b.Code]})
			}
			out[i].Times += b.Times
		}
	}
	return out
}
