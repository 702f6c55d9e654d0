// Package metrics counts. Every event loop owns one Loop of plain integers that
// only it writes; whoever wants the numbers asks the loop for a copy (CopyTo,
// run on the loop's thread) and sums or renders the copies elsewhere. Nothing
// in a Loop is atomic or locked, so counting costs one add.
//
// The package also renders such copies as Prometheus text (exposition format
// 0.0.4) and reads the numbers of the process itself. It imports nothing of the
// packages it counts for: their figures come in as LoopState, PoolState,
// EndpointState and Gauge.
package metrics

import "slices"

// ReasonCount is how many distinct refusal reasons a Loop can tell apart. Whoever
// counts proves at compile time that its codes are below it.
const ReasonCount = 160

// Loop holds the counters of one event loop. The zero value is ready for use.
//
// Fields are counters that only grow, except those marked as gauges, which go
// up and down. A Loop is written by its loop alone; other goroutines must work
// on a copy made by CopyTo on the loop's own thread.
type Loop struct {
	Accepted    uint64 // client connections accepted
	ClientConns uint64 // gauge: client connections open
	HandedOver  uint64 // accepted connections passed on to a less loaded loop
	ConnsShed   uint64 // connections closed at once because of a limit

	Requests         uint64    // request heads parsed completely and without a fault
	ResponsesByClass [6]uint64 // final responses sent, by status/100; [0] is what fits no class
	ResponsesOwn     uint64    // of those, generated here and not by an origin
	ContinuesOwn     uint64    // 100 (Continue) sent in the place of an origin that said nothing
	BytesIn          uint64    // received from clients, heads and framing included
	BytesOut         uint64    // sent to clients, heads and framing included
	HeadJoins        uint64    // heads that lay in more than one block and were joined

	// RefusedByReason counts requests and responses refused for breaking a
	// rule, indexed by the code of the fault.
	RefusedByReason [ReasonCount]uint64

	ClientAborts uint64 // clients that went away before their response was complete
	OriginAborts uint64 // origins that went away in the middle of a response
	Timeouts408  uint64 // requests that did not arrive in time
	Timeouts504  uint64 // responses that did not arrive in time

	UpstreamBytesIn       uint64 // received from origins, heads and framing included
	UpstreamBytesOut      uint64 // sent to origins, heads and framing included
	UpstreamConnects      uint64 // connections opened to origins
	UpstreamConnectErrors uint64 // attempts to connect that failed
	UpstreamReused        uint64 // requests sent on a kept-alive connection
	UpstreamRetries       uint64 // requests sent a second time
	UpstreamRetriesDenied uint64 // requests not sent again because the retry budget was spent
	UpstreamFallbacks     uint64 // requests that went to the fallback of their route
	UpstreamStale         uint64 // reused connections found closed by the origin
	UpstreamAdopted       uint64 // idle connections taken over from another loop
	UpstreamHandedOver    uint64 // idle connections given to another loop

	Queued        uint64 // requests that had to wait for a connection
	QueueTimeouts uint64 // of those, given up for waiting too long
	QueueFull     uint64 // requests refused because the queue was full

	Tunnels      uint64 // gauge: upgraded connections open
	TunnelsTotal uint64 // upgraded connections ever

	TLS        TLS    // handshakes
	TLSRefused uint64 // client connections closed at once because too many handshakes were under way

	Sessions         uint64 // client connections that spoke HTTP/2
	Streams          uint64 // gauge: streams open to clients
	StreamsTotal     uint64 // streams ever opened by clients
	UpstreamSessions uint64 // gauge: HTTP/2 connections to origins
	UpstreamStreams  uint64 // gauge: streams open to origins

	WebSockets      uint64 // gauge: of those open, WebSockets
	WebSocketsTotal uint64 // WebSockets ever
	WebSocket       WebSocket

	RouteCacheHits   uint64 // lookups the route cache answered
	RouteCacheMisses uint64 // lookups that went to the trie

	LackFiles  uint64 // accepts and dials that failed for want of a descriptor
	LackPorts  uint64 // dials that failed for want of a local port
	LackMemory uint64 // accepts and dials that failed for want of the kernel's memory

	AccessLogDropped uint64 // access log records lost because the writer was behind

	Routes    []Series // by the number of the route's series, see the names in Snapshot
	Upstreams []Series // likewise
	Filters   []Filter // likewise

	Total    Histogram // ns from a request's first byte to its response's last
	Connect  Histogram // ns to establish a connection to an origin
	Response Histogram // ns from the request sent to the head of the origin's response
}

// CopyTo makes dst an independent copy of l. It must run on the thread that
// writes l; afterwards dst belongs to the caller's choice of goroutine. It
// allocates the histograms' counts (24 KiB each, if ever recorded to).
func (l *Loop) CopyTo(dst *Loop) {
	*dst = *l
	dst.Routes, dst.Upstreams = slices.Clone(l.Routes), slices.Clone(l.Upstreams)
	dst.Filters = slices.Clone(l.Filters)
	l.TLS.copyTo(&dst.TLS)
	l.Total.copyTo(&dst.Total)
	l.Connect.copyTo(&dst.Connect)
	l.Response.copyTo(&dst.Response)
}

// Sum adds up copies of several loops. Gauges add up like counters: the open
// connections of a process are those of its loops.
func Sum(loops []*Loop) *Loop {
	sum := new(Loop)
	for _, l := range loops {
		for i := range counterTable {
			*counterTable[i].field(sum) += *counterTable[i].field(l)
		}
		for i := range l.ResponsesByClass {
			sum.ResponsesByClass[i] += l.ResponsesByClass[i]
		}
		for i := range l.RefusedByReason {
			sum.RefusedByReason[i] += l.RefusedByReason[i]
		}
		sum.WebSocket.add(&l.WebSocket)
		sum.Routes, sum.Upstreams = addSeries(sum.Routes, l.Routes), addSeries(sum.Upstreams, l.Upstreams)
		sum.Filters = addFilters(sum.Filters, l.Filters)
		sum.TLS.add(&l.TLS)
		sum.Total.Merge(&l.Total)
		sum.Connect.Merge(&l.Connect)
		sum.Response.Merge(&l.Response)
	}
	return sum
}

// ReuseRatio is the share of upstream requests sent on a connection that was
// already there, 0 to 1; 0 when there were none.
func (l *Loop) ReuseRatio() float64 {
	return ratio(l.UpstreamReused, l.UpstreamConnects)
}

// RouteCacheRatio is the share of route lookups the cache answered, 0 to 1; 0
// when there were none.
func (l *Loop) RouteCacheRatio() float64 {
	return ratio(l.RouteCacheHits, l.RouteCacheMisses)
}

func ratio(yes, no uint64) float64 {
	if yes+no == 0 {
		return 0
	}
	return float64(yes) / float64(yes+no)
}
