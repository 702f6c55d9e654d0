package metrics

// Snapshot is everything that is known at one moment: what /metrics shows.
type Snapshot struct {
	Loops     []*Loop         // copies, in loop order
	States    []LoopState     // what loops, buffers and arenas report; may be empty
	Pools     []PoolState     // per loop and upstream; may be empty
	Endpoints []EndpointState // per upstream and endpoint; may be empty
	Gauges    []Gauge         // anything else
	Reasons   []string        // names of the codes in RefusedByReason; "" or missing: code_N
	// Violations are names of the codes in WebSocket.Violations; "" or missing: kind_N.
	Violations []string
}

// LoopState is what one event loop, its buffer pool and its arena report of
// themselves. Counters and gauges as their names say.
type LoopState struct {
	Index, CPU, Node int
	IO               string // "epoll" or "uring"

	Polls, Waits, Events      uint64 // turns of the loop; turns that blocked; events delivered
	BatchWaits                uint64 // turns that waited for more
	AcceptErrors              uint64
	RecvCalls, SendCalls      uint64
	ShortSends                uint64 // sends the kernel took only a part of
	Gathers                   uint64 // long bodies received in large pieces
	Spliced                   uint64 // bytes that went from socket to socket inside the kernel
	NoBuffers                 uint64 // receives that found no buffer
	MailsIn, MailsFull        uint64 // messages from other threads; messages refused for want of room
	Conns, ConnsHigh, Timers  uint64 // gauges
	Parked                    uint64 // gauge: receivers waiting for a buffer
	BlockBytes                uint64 // gauge: size of one buffer block
	Blocks, InUse, InUseHigh  uint64 // gauges, in blocks
	Posted                    uint64 // gauge: blocks in use that lie with the kernel for receives to come
	Exhausted, Grown, Shrunk  uint64 // times the pool was empty, grew, gave memory back
	HugeBytes, THPBytes, Size uint64 // gauges: arena memory on 2 MiB pages, on advised pages, in all
	Bound                     bool   // the arena is bound to Node
}

// PoolState is one loop's share of one upstream's connections.
type PoolState struct {
	Loop          int
	Upstream      string
	Idle, Waiting uint64 // gauges: connections kept for reuse; requests queued
}

// EndpointState is what all loops together know of one endpoint.
type EndpointState struct {
	Upstream, Endpoint string
	Open               uint64 // gauge: connections
	Active             uint64 // gauge: requests in progress
	Failures           uint64 // attempts to connect that failed
	Down               bool
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
