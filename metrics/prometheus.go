package metrics

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// ContentType is the media type of what WritePrometheus writes.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// WritePrometheus writes copies of loops and further samples to w in the
// Prometheus text format 0.0.4. The error is w's, or names the samples of extra
// that could not be shown; everything else has been written then.
func WritePrometheus(w io.Writer, loops []*Loop, extra []Gauge) error {
	return (&Snapshot{Loops: loops, Gauges: extra}).WritePrometheus(w)
}

// WritePrometheus writes the snapshot to w in the Prometheus text format 0.0.4.
// Counters carry a loop label; histograms and ratios are over all loops. The
// error is w's, or names the samples of Gauges that could not be shown;
// everything else has been written then.
func (s *Snapshot) WritePrometheus(w io.Writer) error {
	e := exposition{buf: make([]byte, 0, 16<<10), seen: map[string]bool{}}
	e.counters(s)
	e.webSockets(s)
	e.states(s)
	e.pools(s)
	e.protocols(s)
	e.endpoints(s)
	e.discovery(s)
	e.concurrency(s)
	e.handshakes(s)
	e.certificates(s)
	e.authorities(s)
	sum := Sum(s.Loops)
	e.summed(sum)
	e.filters(s.FilterNames, sum.Filters)
	e.series("zproxy_route", "route", "of the route", s.RouteNames, sum.Routes)
	e.series("zproxy_upstream", "upstream", "sent to the upstream", s.UpstreamNames, sum.Upstreams)
	e.extra(s.Gauges)
	if _, err := w.Write(e.buf); err != nil {
		return err
	}
	return errors.Join(e.faults...)
}

// exposition is a page being written. Families (samples of one name) are
// written as a whole, as the format demands.
type exposition struct {
	buf    []byte
	seen   map[string]bool // family names, so that extra ones cannot repeat them
	faults []error
}

func (e *exposition) family(name string, k kind, help string) {
	e.seen[name] = true
	e.buf = append(e.buf, "# HELP "...)
	e.buf = append(e.buf, name...)
	e.buf = append(e.buf, ' ')
	e.buf = appendEscaped(e.buf, help, false)
	e.buf = append(e.buf, "\n# TYPE "...)
	e.buf = append(e.buf, name...)
	e.buf = append(e.buf, ' ')
	e.buf = append(e.buf, k...)
	e.buf = append(e.buf, '\n')
}

func (e *exposition) labels(name string, labels []Label) {
	e.buf = append(e.buf, name...)
	if len(labels) > 0 {
		e.buf = append(e.buf, '{')
		for i, l := range labels {
			if i > 0 {
				e.buf = append(e.buf, ',')
			}
			e.buf = append(e.buf, l.Name...)
			e.buf = append(e.buf, `="`...)
			e.buf = appendEscaped(e.buf, l.Value, true)
			e.buf = append(e.buf, '"')
		}
		e.buf = append(e.buf, '}')
	}
	e.buf = append(e.buf, ' ')
}

func (e *exposition) sample(name string, v uint64, labels ...Label) {
	e.labels(name, labels)
	e.buf = strconv.AppendUint(e.buf, v, 10)
	e.buf = append(e.buf, '\n')
}

func (e *exposition) sampleFloat(name string, v float64, labels ...Label) {
	e.labels(name, labels)
	e.buf = strconv.AppendFloat(e.buf, v, 'g', -1, 64)
	e.buf = append(e.buf, '\n')
}

func loopLabel(i int) Label { return Label{"loop", strconv.Itoa(i)} }

func (e *exposition) counters(s *Snapshot) {
	for i := range counterTable {
		c := &counterTable[i]
		e.family(c.name, c.kind, c.help)
		for n, l := range s.Loops {
			e.sample(c.name, *c.field(l), loopLabel(n))
		}
	}
	e.family("zproxy_responses_total", counter, "Final responses sent to clients, by class of status.")
	for n, l := range s.Loops {
		for class, v := range l.ResponsesByClass {
			if class > 0 || v > 0 {
				e.sample("zproxy_responses_total", v, loopLabel(n), Label{"class", className(class)})
			}
		}
	}
	e.family("zproxy_refused_total", counter, "Messages refused for breaking a rule, by reason; reasons that never occurred are left out.")
	for n, l := range s.Loops {
		for code, v := range l.RefusedByReason {
			if v > 0 {
				e.sample("zproxy_refused_total", v, loopLabel(n), Label{"reason", s.reason(code)})
			}
		}
	}
}

func className(class int) string {
	if class == 0 {
		return "other"
	}
	return strconv.Itoa(class) + "xx"
}

// reason names a code. Names need not be unique: codes that share one keep it
// with their number behind, or two samples would be the same.
func (s *Snapshot) reason(code int) string {
	if code >= len(s.Reasons) || s.Reasons[code] == "" {
		return "code_" + strconv.Itoa(code)
	}
	for i, other := range s.Reasons {
		if i != code && other == s.Reasons[code] {
			return other + " (" + strconv.Itoa(code) + ")"
		}
	}
	return s.Reasons[code]
}

func (e *exposition) states(s *Snapshot) {
	if len(s.States) == 0 {
		return
	}
	for i := range stateTable {
		c := &stateTable[i]
		e.family(c.name, c.kind, c.help)
		for n := range s.States {
			e.sample(c.name, c.value(&s.States[n]), loopLabel(s.States[n].Index))
		}
	}
	e.family("zproxy_loop_info", gauge, "Always 1: where each loop runs and what it runs on.")
	for _, st := range s.States {
		e.sample("zproxy_loop_info", 1, loopLabel(st.Index), Label{"cpu", strconv.Itoa(st.CPU)},
			Label{"node", strconv.Itoa(st.Node)}, Label{"io", st.IO}, Label{"memory_bound", strconv.FormatBool(st.Bound)})
	}
}

func (e *exposition) pools(s *Snapshot) {
	if len(s.Pools) == 0 {
		return
	}
	e.family("zproxy_upstream_idle_connections", gauge, "Upstream connections kept for reuse.")
	for _, p := range s.Pools {
		e.sample("zproxy_upstream_idle_connections", p.Idle, loopLabel(p.Loop), Label{"upstream", p.Upstream})
	}
	e.family("zproxy_upstream_waiting_requests", gauge, "Requests waiting for an upstream connection.")
	for _, p := range s.Pools {
		e.sample("zproxy_upstream_waiting_requests", p.Waiting, loopLabel(p.Loop), Label{"upstream", p.Upstream})
	}
}

func (e *exposition) protocols(s *Snapshot) {
	if len(s.Protocols) == 0 {
		return
	}
	e.family("zproxy_upstream_protocol", gauge, "Always 1: what the endpoints of an upstream with protocol: auto are reached by; unknown is HTTP/1.1 until one has been asked.")
	for _, p := range s.Protocols {
		e.sample("zproxy_upstream_protocol", 1, Label{"upstream", p.Upstream}, Label{"protocol", p.Protocol})
	}
}

func (e *exposition) endpoints(s *Snapshot) {
	if len(s.Endpoints) == 0 {
		return
	}
	column := func(name string, k kind, help string, value func(*EndpointState) uint64) {
		e.family(name, k, help)
		for i := range s.Endpoints {
			p := &s.Endpoints[i]
			e.sample(name, value(p), Label{"upstream", p.Upstream}, Label{"endpoint", p.Endpoint})
		}
	}
	column("zproxy_endpoint_weight", gauge, "Weight of the endpoint as it is configured, found or set; 0: it gets no new requests.", func(p *EndpointState) uint64 { return uint64(p.Weight) })
	column("zproxy_endpoint_slow_start_percent", gauge, "How much of its weight the endpoint has: below 100 in slow start.", func(p *EndpointState) uint64 {
		if p.Grown == 0 {
			return 100
		}
		return uint64(p.Grown)
	})
	column("zproxy_endpoint_connections", gauge, "Connections open to the endpoint, all loops.", func(p *EndpointState) uint64 { return p.Open })
	column("zproxy_endpoint_streams", gauge, "HTTP/2 streams open to the endpoint, all loops.", func(p *EndpointState) uint64 { return p.Streams })
	column("zproxy_endpoint_active_requests", gauge, "Requests in progress at the endpoint, all loops.", func(p *EndpointState) uint64 { return p.Active })
	column("zproxy_endpoint_failures_total", counter, "Attempts to connect to the endpoint that failed.", func(p *EndpointState) uint64 { return p.Failures })
	column("zproxy_endpoint_ejections_total", counter, "Times that the endpoint got no requests for a while because it answered with errors.", func(p *EndpointState) uint64 { return p.Ejected })
	column("zproxy_endpoint_response_time_microseconds", gauge, "Mean time to the head of a response that balance: least_time goes by; 0 where it has none.", func(p *EndpointState) uint64 { return p.ResponseUs })
	column("zproxy_endpoint_up", gauge, "1 when the endpoint gets requests, 0 while it is marked as down.", func(p *EndpointState) uint64 {
		if p.Down {
			return 0
		}
		return 1
	})
	e.family("zproxy_endpoint_http2_broken_total", counter, "HTTP/2 connections to the endpoint that were broken off, all loops, by reason; reasons that never occurred are left out.")
	for i := range s.Endpoints {
		p := &s.Endpoints[i]
		for _, b := range p.Broken {
			e.sample("zproxy_endpoint_http2_broken_total", b.Times, Label{"upstream", p.Upstream}, Label{"endpoint", p.Endpoint}, Label{"reason", b.Reason})
		}
	}
	e.checks(s)
}

// summed writes what is shown for all loops together.
func (e *exposition) summed(sum *Loop) {
	e.family("zproxy_upstream_reuse_ratio", gauge, "Share of upstream requests sent on a kept-alive connection since the start.")
	e.sampleFloat("zproxy_upstream_reuse_ratio", sum.ReuseRatio())
	e.family("zproxy_route_cache_hit_ratio", gauge, "Share of route lookups the cache answered since the start.")
	e.sampleFloat("zproxy_route_cache_hit_ratio", sum.RouteCacheRatio())
	for i := range histogramTable {
		t := &histogramTable[i]
		h := t.field(sum)
		e.family(t.name, histo, t.help)
		for b, v := range h.cumulative() {
			le := strconv.FormatFloat(float64(bucketBoundsUs[b])/1e6, 'g', -1, 64)
			e.sample(t.name+"_bucket", v, Label{"le", le})
		}
		e.sample(t.name+"_bucket", h.Count(), Label{"le", "+Inf"})
		e.sampleFloat(t.name+"_sum", float64(h.SumNs())/1e9)
		e.sample(t.name+"_count", h.Count())
	}
}

// extra writes the samples that came in from outside, grouped into families in
// the order of first appearance. One that would make the page invalid is left
// out and reported.
func (e *exposition) extra(gauges []Gauge) {
	var order []string
	families := map[string][]*Gauge{}
	for i := range gauges {
		g := &gauges[i]
		if err := e.checkExtra(g); err != nil {
			e.faults = append(e.faults, err)
			continue
		}
		if families[g.Name] == nil {
			order = append(order, g.Name)
		}
		families[g.Name] = append(families[g.Name], g)
	}
	for _, name := range order {
		k := gauge
		if strings.HasSuffix(name, "_total") {
			k = counter
		}
		e.family(name, k, families[name][0].Help)
		written := map[string]bool{}
		for _, g := range families[name] {
			start := len(e.buf)
			e.labels(g.Name, g.Labels)
			key := string(e.buf[start:])
			e.buf = e.buf[:start]
			if written[key] {
				e.faults = append(e.faults, fmt.Errorf("metrics: sample %sgiven twice", key))
				continue
			}
			written[key] = true
			e.sampleFloat(g.Name, g.Value, g.Labels...)
		}
	}
}

func (e *exposition) checkExtra(g *Gauge) error {
	if !validName(g.Name) {
		return fmt.Errorf("metrics: %q is no metric name", g.Name)
	}
	if e.seen[g.Name] {
		return fmt.Errorf("metrics: %s is one of the built-in metrics", g.Name)
	}
	for i, l := range g.Labels {
		if !validName(l.Name) || strings.Contains(l.Name, ":") || strings.HasPrefix(l.Name, "__") {
			return fmt.Errorf("metrics: %s: %q is no label name", g.Name, l.Name)
		}
		for _, before := range g.Labels[:i] {
			if before.Name == l.Name {
				return fmt.Errorf("metrics: %s: label %s given twice", g.Name, l.Name)
			}
		}
	}
	return nil
}

// validName accepts what the format calls a metric name:
// [a-zA-Z_:][a-zA-Z0-9_:]*. Label names are the same without the colon.
func validName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == ':'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// appendEscaped writes help text or a label value: backslash and line feed are
// escaped in both, the quote in label values, and what is not UTF-8 becomes
// U+FFFD, because the format is UTF-8 throughout.
func appendEscaped(dst []byte, s string, quoted bool) []byte {
	for _, r := range s {
		switch {
		case r == '\\':
			dst = append(dst, `\\`...)
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '"' && quoted:
			dst = append(dst, `\"`...)
		default:
			dst = append(dst, string(r)...)
		}
	}
	return dst
}
