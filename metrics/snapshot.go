package metrics

// Snapshot is everything that is known at one moment: what /metrics shows.
type Snapshot struct {
	Loops     []*Loop          // copies, in loop order
	States    []LoopState      // what loops, buffers and arenas report; may be empty
	Pools     []PoolState      // per loop and upstream; may be empty
	Endpoints []EndpointState  // per upstream and endpoint; may be empty
	Protocols []ProtocolState  // of upstreams whose endpoints choose it; may be empty
	Discovery []DiscoveryState // of upstreams whose endpoints are found; may be empty
	Gauges    []Gauge          // anything else
	Active    uint64           // exchanges under way; not shown

	Concurrency []ConcurrencyState // of upstreams whose limit is found out; may be empty

	// Of the listeners that speak TLS.
	Certificates     []CertificateState
	CertificateFiles []CertificateFiles
	ACME             []ACMEState

	Reasons []string // names of the codes in RefusedByReason; "" or missing: code_N
	// Violations are names of the codes in WebSocket.Violations; "" or missing: kind_N.
	Violations []string
	// RouteNames and UpstreamNames are the labels of Loop.Routes and Loop.Upstreams.
	RouteNames, UpstreamNames []string
	FilterNames               []FilterName // of Loop.Filters
}

// LoopState is what one event loop, its buffer pool and its arena report of
// themselves. Counters and gauges as their names say.
type LoopState struct {
	Index int    `json:"index"`
	CPU   int    `json:"cpu"`
	Node  int    `json:"node"`
	IO    string `json:"io"` // "epoll" or "uring"

	Polls        uint64 `json:"polls"` // turns of the loop
	Waits        uint64 `json:"waits"` // turns that blocked
	Events       uint64 `json:"events"`
	BatchWaits   uint64 `json:"batch_waits"` // turns that waited for more
	LongTurns    uint64 `json:"long_turns"`  // turns that took longer than 2 ms
	LongestTurn  uint64 `json:"longest_turn_us"`
	AcceptErrors uint64 `json:"accept_errors"`
	RecvCalls    uint64 `json:"recv_calls"`
	SendCalls    uint64 `json:"send_calls"`
	ShortSends   uint64 `json:"short_sends"`   // sends the kernel took only a part of
	Gathers      uint64 `json:"gathers"`       // long bodies received in large pieces
	Spliced      uint64 `json:"spliced_bytes"` // bytes that went from socket to socket inside the kernel
	NoBuffers    uint64 `json:"no_buffers"`    // receives that found no buffer
	MailsIn      uint64 `json:"mails"`         // messages from other threads
	MailsFull    uint64 `json:"mails_refused"` // messages refused for want of room
	Conns        uint64 `json:"connections"`   // gauge
	ConnsHigh    uint64 `json:"connections_high"`
	ConnsLimit   uint64 `json:"connections_limit"`  // gauge: of clients; 0: none
	Timers       uint64 `json:"timers"`             // gauge
	Parked       uint64 `json:"parked"`             // gauge: receivers waiting for a buffer
	BlockBytes   uint64 `json:"block_bytes"`        // gauge: size of one buffer block
	Blocks       uint64 `json:"blocks"`             // gauge
	InUse        uint64 `json:"blocks_in_use"`      // gauge
	InUseHigh    uint64 `json:"blocks_in_use_high"` // gauge
	Posted       uint64 `json:"blocks_posted"`      // gauge: blocks in use that lie with the kernel for receives to come
	Exhausted    uint64 `json:"exhausted"`          // times the pool was empty
	Grown        uint64 `json:"grown"`
	Shrunk       uint64 `json:"shrunk"`       // times the pool gave memory back
	HugeBytes    uint64 `json:"huge_bytes"`   // gauge: arena memory on 2 MiB pages
	THPBytes     uint64 `json:"thp_bytes"`    // gauge: on pages advised to be huge
	Size         uint64 `json:"arena_bytes"`  // gauge: in all
	Bound        bool   `json:"memory_bound"` // the arena is bound to Node
}

// PoolState is one loop's share of one upstream's connections.
type PoolState struct {
	Loop          int
	Upstream      string
	Idle, Waiting uint64 // gauges: connections kept for reuse; requests queued
}

// ProtocolState is what the endpoints of an upstream have agreed to speak: "http1", "h2", or
// "unknown" as long as none has been asked.
type ProtocolState struct {
	Upstream, Protocol string
}

// EndpointState is what all loops together know of one endpoint.
type EndpointState struct {
	Upstream string `json:"upstream"`
	Endpoint string `json:"endpoint"`
	Weight   int    `json:"weight"`                       // gauge: in the long run
	Set      bool   `json:"weight_set,omitempty"`         // it is another one than in the configuration
	Grown    int    `json:"slow_start_percent,omitempty"` // gauge: how much of its weight it has, while that grows
	Priority int    `json:"priority,omitempty"`
	Backup   bool   `json:"backup,omitempty"`
	Zone     string `json:"zone,omitempty"`
	Open     uint64 `json:"connections"`     // gauge
	Streams  uint64 `json:"streams"`         // gauge: open on them, of HTTP/2
	Active   uint64 `json:"active_requests"` // gauge
	Failures uint64 `json:"failures"`        // attempts to connect that failed
	Ejected  uint64 `json:"ejections"`       // times that it was left alone for what it answered
	// ResponseUs is the mean time to the head of a response, where the balancing is by it.
	ResponseUs uint64 `json:"response_time_us,omitempty"`
	Down       bool   `json:"down"`
	Reason     string `json:"reason,omitempty"` // why it is down
	// Broken are connections of HTTP/2 that were broken off, by reason.
	Broken []ReasonTimes `json:"http2_broken,omitempty"`
	// Checks are what active health checks say, one for each address; nil: there are none.
	Checks []CheckState `json:"health_checks,omitempty"`
}

// ReasonTimes is how often something happened for a reason, which is a name.
type ReasonTimes struct {
	Reason string `json:"reason"`
	Times  uint64 `json:"times"` // counter
}

// Gauge is one sample of a metric that this package does not know. A Name that
// ends in _total is a counter, every other one a gauge; samples with the same
// Name need different Labels and share the first one's Help.
type Gauge struct {
	Name   string
	Labels []Label
	Help   string
	Value  float64
}

// Label is one name and value that tell samples of a metric apart.
type Label struct{ Name, Value string }

// Labels makes labels of alternating names and values.
func Labels(pairs ...string) []Label {
	labels := make([]Label, 0, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		labels = append(labels, Label{pairs[i], pairs[i+1]})
	}
	return labels
}
