package admin

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// Control is what the API under /api/v1 shows and changes. An error says what is wrong with what was asked for,
// unless it is one of those below.
type Control interface {
	Gate() *Gate // nil: neither tokens nor TLS
	Process() Process
	Upstreams() ([]Upstream, error)
	Connections(p Page) (ConnectionList, error)
	Streams(p Page) (StreamList, error)
	Exchanges(p Page) (ExchangeList, error)
	Failures() ([]Outcome, error)
	EndConnection(id string) error
	EndExchange(id string) error
	// SetState has an endpoint get requests, or not.
	SetState(upstream, endpoint, state string) (Endpoint, error)
	AddEndpoint(upstream string, e NewEndpoint) (Endpoint, error)
	RemoveEndpoint(upstream, endpoint string) error
	Trace(ctx context.Context, t TraceOrder) (TraceResult, error)
	LogLevel() LogLevel
	SetLogLevel(level string) error
	RotateLogs() error
	Configuration() (Configuration, error)
	Differences() (Differences, error)
	// Audit writes down a change, or the attempt.
	Audit(a Audit)
}

// Errors of Control that have a status of their own.
var (
	ErrNotFound = errors.New("there is none")
	ErrBusy     = errors.New("another one is under way")
)

// Audit is a line about a change.
type Audit struct {
	Who, From string // who asks, and by which address
	What      string // method and path
	Outcome   string // "done", or why not
}

// Page says which part of a list is wanted.
type Page struct {
	Cursor   string
	Limit    int
	Client   netip.Prefix // not valid: any
	Upstream string       // "": any
	Endpoint string
	Route    string
	OlderMs  int64 // of exchanges
	Both     bool  // connections to endpoints, too
}

// States of an endpoint that SetState knows.
const (
	StateEnabled  = "enabled"
	StateDrained  = "drained"
	StateDisabled = "disabled"
)

// What follows is the shape of the API's JSON; doc goes into its OpenAPI document.

// Process is the running process.
type Process struct {
	Version string  `json:"version" doc:"Of the program."`
	PID     int     `json:"pid" doc:"Its number."`
	State   string  `json:"state" doc:"starting, ready, leaving, standby or draining."`
	UptimeS float64 `json:"uptime_s" doc:"Seconds since it started."`
	Config  string  `json:"config" doc:"The file of its configuration."`
	Loops   int     `json:"loops" doc:"How many event loops it has."`
	ByHand  int     `json:"by_hand" doc:"How many changes made by hand are in force: /api/v1/diff lists them."`
}

// Upstream is a group of endpoints.
type Upstream struct {
	Name      string     `json:"name" doc:"Its name in the configuration."`
	Protocol  string     `json:"protocol" doc:"What is spoken with its endpoints: http1, h2c or h2."`
	Balance   string     `json:"balance" doc:"How an endpoint is chosen."`
	Found     bool       `json:"found" doc:"Its endpoints are found by discovery, and can not be added or removed by hand."`
	Idle      int        `json:"idle_connections" doc:"Kept for the next request, over all loops."`
	Waiting   int        `json:"waiting_requests" doc:"In the queue for a connection, over all loops."`
	Endpoints []Endpoint `json:"endpoints" doc:"In the order of the configuration."`
}

// Endpoint is one server of an upstream.
type Endpoint struct {
	Address     string `json:"address" doc:"As in the configuration, or as it was found."`
	Up          bool   `json:"up" doc:"It gets requests."`
	Reason      string `json:"reason,omitempty" doc:"Why it does not."`
	State       string `json:"state" doc:"What was set by hand: enabled, drained (no new requests) or disabled (none at all)."`
	Weight      int    `json:"weight" doc:"Its share of the requests in the long run."`
	WeightSet   bool   `json:"weight_set" doc:"The weight was set by hand."`
	Grown       int    `json:"slow_start_percent" doc:"How much of its weight it has by now; below 100 in slow start."`
	Priority    int    `json:"priority" doc:"Of its tier; the least serves first."`
	Backup      bool   `json:"backup" doc:"It serves when no other one does."`
	Zone        string `json:"zone,omitempty" doc:"Where it is."`
	Connections int    `json:"connections" doc:"Open, over all loops."`
	Streams     int    `json:"streams" doc:"Of HTTP/2, open on them."`
	Active      int    `json:"active_requests" doc:"Connections that carry a request."`
	Failures    uint64 `json:"failures" doc:"Attempts to connect that failed, since the start."`
	Ejections   uint64 `json:"ejections" doc:"Times that it was left alone for what it answered."`
	ResponseUs  uint64 `json:"response_time_us,omitempty" doc:"Mean time to the head of a response, where the balancing is by it."`
	Added       bool   `json:"added" doc:"It was added by hand."`
}

// NewEndpoint is one that is to be added.
type NewEndpoint struct {
	Address  string `json:"address" doc:"ip:port, [ip6]:port, name:port or unix:/path."`
	Weight   int    `json:"weight,omitempty" doc:"1 to 256; 1 where it is left out."`
	Priority int    `json:"priority,omitempty" doc:"Of its tier."`
	Backup   bool   `json:"backup,omitempty" doc:"Behind all tiers."`
	Zone     string `json:"zone,omitempty" doc:"Where it is."`
}

// NewWeight is a weight that is to be set.
type NewWeight struct {
	Weight *int `json:"weight" doc:"0 to 65536; 0: no new requests; null: what the configuration has."`
}

// NewState is a state that is to be set.
type NewState struct {
	State string `json:"state" doc:"enabled; drained: no new requests, those under way end as they would; disabled: those under way are ended as well."`
}

// Connection is one with a client, or to an endpoint.
type Connection struct {
	ID       string `json:"id" doc:"For DELETE /api/v1/connections/{id}."`
	Loop     int    `json:"loop" doc:"Which one serves it."`
	With     string `json:"with" doc:"client or endpoint."`
	Client   string `json:"client,omitempty" doc:"Its address; none by a unix socket."`
	Listener string `json:"listener,omitempty" doc:"By which it came."`
	Upstream string `json:"upstream,omitempty" doc:"Of the endpoint, or that serves the client's request."`
	Endpoint string `json:"endpoint,omitempty" doc:"Likewise."`
	Route    string `json:"route,omitempty" doc:"Of the request on it, of HTTP/1."`
	Protocol string `json:"protocol" doc:"http1 or h2."`
	TLS      bool   `json:"tls" doc:"It is within TLS."`
	State    string `json:"state" doc:"What goes on on it."`
	Requests uint32 `json:"requests" doc:"So far."`
	Active   int    `json:"active_requests" doc:"Under way on it."`
	Queued   int    `json:"queued_bytes" doc:"That have not left for the other side."`
}

// ConnectionList is a part of all connections.
type ConnectionList struct {
	Items  []Connection `json:"items" doc:"In no particular order."`
	Cursor string       `json:"cursor,omitempty" doc:"For the next part; left out: this was the last one."`
}

// Stream is one of HTTP/2.
type Stream struct {
	Connection string `json:"connection" doc:"The id of its connection."`
	Stream     uint32 `json:"stream" doc:"Its identifier."`
	Loop       int    `json:"loop" doc:"Which one serves it."`
	With       string `json:"with" doc:"client or endpoint."`
	Client     string `json:"client,omitempty" doc:"Its address."`
	Upstream   string `json:"upstream,omitempty" doc:"Of the endpoint, or that serves the client's request."`
	Endpoint   string `json:"endpoint,omitempty" doc:"Likewise."`
	Route      string `json:"route,omitempty" doc:"Of its request."`
	State      string `json:"state" doc:"What goes on on it."`
	Queued     int    `json:"queued_bytes" doc:"That have not left for the other side."`
}

// StreamList is a part of all streams.
type StreamList struct {
	Items  []Stream `json:"items" doc:"In no particular order."`
	Cursor string   `json:"cursor,omitempty" doc:"For the next part; left out: this was the last one."`
}

// Exchange is a request under way.
type Exchange struct {
	ID         string  `json:"id" doc:"For DELETE /api/v1/exchanges/{id}."`
	Loop       int     `json:"loop" doc:"Which one serves it."`
	Connection string  `json:"connection" doc:"The id of its client's connection."`
	Stream     uint32  `json:"stream,omitempty" doc:"Of HTTP/2: its identifier."`
	Client     string  `json:"client,omitempty" doc:"Its address; none by a unix socket."`
	Method     string  `json:"method" doc:"Of the request."`
	Host       string  `json:"host,omitempty" doc:"What it was asked for, as far as that is kept."`
	Target     string  `json:"target,omitempty" doc:"Likewise; the beginning of a long one."`
	Route      string  `json:"route,omitempty" doc:"The path of its route."`
	Upstream   string  `json:"upstream,omitempty" doc:"That serves it."`
	Endpoint   string  `json:"endpoint,omitempty" doc:"That serves it, or was asked last."`
	WaitsFor   string  `json:"waits_for" doc:"What has to happen next."`
	WaitsS     float64 `json:"waits_s" doc:"For how long it has waited for that."`
	AgeS       float64 `json:"age_s" doc:"Since its head had come."`
	Status     int     `json:"status,omitempty" doc:"Of the response, once there is one."`
	In         uint64  `json:"request_bytes" doc:"Of its content so far."`
	Out        uint64  `json:"response_bytes" doc:"Of the response's so far."`
	Queued     int     `json:"queued_bytes" doc:"For the client, that have not left."`
}

// ExchangeList is a part of all exchanges.
type ExchangeList struct {
	Items  []Exchange `json:"items" doc:"In no particular order."`
	Cursor string     `json:"cursor,omitempty" doc:"For the next part; left out: this was the last one."`
}

// Outcome is what has become of a request.
type Outcome struct {
	Time       time.Time `json:"time" doc:"When it ended."`
	Client     string    `json:"client,omitempty" doc:"Its address."`
	Protocol   string    `json:"protocol" doc:"http1 or h2."`
	Method     string    `json:"method" doc:"Of the request."`
	Host       string    `json:"host,omitempty" doc:"As far as that was kept."`
	Target     string    `json:"target,omitempty" doc:"Likewise; the beginning of a long one."`
	Route      string    `json:"route,omitempty" doc:"The path of its route."`
	Upstream   string    `json:"upstream,omitempty" doc:"That served it."`
	Endpoint   string    `json:"endpoint,omitempty" doc:"That served it, or was asked last."`
	Status     int       `json:"status" doc:"That the client got; 499: it had left."`
	Reason     string    `json:"reason,omitempty" doc:"Why the proxy responded, or broke off: docs/reasons.md."`
	Reused     bool      `json:"reused" doc:"On a connection that had served before."`
	GivenMs    float64   `json:"given_ms" doc:"From its head until the origin was given it."`
	ConnectMs  float64   `json:"connect_ms" doc:"How long connecting took; 0: that was not necessary."`
	ResponseMs float64   `json:"response_ms" doc:"From then until the head of the origin's response."`
	TotalMs    float64   `json:"total_ms" doc:"From its head until all was over."`
	In         uint64    `json:"request_bytes" doc:"Of its content."`
	Out        uint64    `json:"response_bytes" doc:"Of the response's."`
}

// OutcomeList is the last requests that failed.
type OutcomeList struct {
	Items []Outcome `json:"items" doc:"The newest first."`
}

// TraceOrder asks for what becomes of requests.
type TraceOrder struct {
	Client  string  `json:"client,omitempty" doc:"An address, or a prefix such as 192.0.2.0/24; any where it is left out."`
	Route   string  `json:"route,omitempty" doc:"The path of a route, as the configuration has it; any where it is left out."`
	Seconds float64 `json:"seconds" doc:"For how long, 60 at the most."`
	Limit   int     `json:"limit,omitempty" doc:"How many at the most; 1000 where it is left out, 10000 at the most."`
}

// TraceResult is what has become of requests that ended meanwhile.
type TraceResult struct {
	Items []Outcome `json:"items" doc:"In the order in which they ended."`
	Lost  int       `json:"lost" doc:"How many there were beyond the limit."`
}

// UpstreamList is all upstreams.
type UpstreamList struct {
	Items []Upstream `json:"items" doc:"In the order of the configuration."`
}

// LogLevel is what the process log has.
type LogLevel struct {
	Level string `json:"level" doc:"info, warn or error."`
	Own   string `json:"own,omitempty" doc:"What the configuration has, where the level was set by hand."`
}

// NewLevel is a level that is to be set.
type NewLevel struct {
	Level string `json:"level" doc:"info, warn or error; empty: what the configuration has."`
}

// Configuration is that of the process.
type Configuration struct {
	File   string `json:"file" doc:"Where it is."`
	Text   string `json:"text" doc:"What the file holds now, which a reload would read."`
	ByHand int    `json:"by_hand" doc:"How many changes by hand are in force besides."`
}

// ByHand is a change that was made by hand, and is in force.
type ByHand struct {
	What     string    `json:"what" doc:"weight, drained, disabled, added, removed or log level."`
	Upstream string    `json:"upstream,omitempty" doc:"Of an endpoint."`
	Endpoint string    `json:"endpoint,omitempty" doc:"Its address."`
	Now      string    `json:"now" doc:"What is in force."`
	File     string    `json:"file" doc:"What the configuration has."`
	Since    time.Time `json:"since" doc:"When it was made."`
}

// Differences are how what is in force differs from the configuration's file.
type Differences struct {
	ByHand []ByHand `json:"by_hand" doc:"What was changed by hand: it outlives a reload until it is undone, or the file says something else about it."`
	File   string   `json:"file" doc:"What a reload would change, as zproxy diff says it; empty: nothing."`
	Error  string   `json:"error,omitempty" doc:"Why a reload would be refused."`
}

// Done says that a change was made.
type Done struct {
	Done string `json:"done" doc:"What was."`
}
