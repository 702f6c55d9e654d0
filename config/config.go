// Package config describes a ZProxy configuration: the structs the rest of the program reads, the file they come
// from, and what is allowed in it.
//
// A file is YAML (so also JSON). Loading is strict: an unknown or repeated key, a value outside its range or a
// reference to something that is not there is an error with file, line and column, and all errors are reported at
// once. One table (table.go) says for every key where it goes, its default, its range and what it is for; parsing,
// docs/configuration.md and the JSON Schema are all made from it.
package config

import (
	_ "embed"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"
)

//go:generate go test . -count=1 -run TestGenerated -update

// Size is a number of bytes.
type Size int64

// Loops says how many event loops run and where.
type Loops struct {
	Auto bool   // one loop per CPU the process may use
	N    int    // that many loops, when > 0
	CPUs string // a CPU list such as "0-3,8", one loop per CPU, when not empty
}

// BatchWait says how long a loop under load waits for more.
type BatchWait struct {
	Auto bool          // as the program sees fit, and only where more gets done that way
	Time time.Duration // else; 0: it does not wait
}

// Pos is where in its file something was written, counted from 1; zero when it was not written.
type Pos struct {
	Line, Col int
}

// Config is one whole configuration, validated, with every default filled in. It is not modified after loading.
type Config struct {
	File       string // name the configuration was read from, for messages
	Loops      Loops
	IO         string // "auto", "uring" or "epoll"
	BatchWait  BatchWait
	CoreDumps  string // "auto", "never" or "always"
	User       string // that the process becomes, a name or number; "": it stays who it is
	Group      string // instead of User's
	Buffers    Buffers
	Listeners  []Listener
	Upstreams  []Upstream // in file order
	Routes     []Route    // in file order, which has no meaning for matching
	Hosts      []Host     // what all routes of a host have
	Filters    []Filter   // of all routes
	Limits     Limits
	HTTP2      HTTP2
	Forwarding Forwarding
	AccessLog  AccessLog
	Log        Log
	ErrorPages map[int]ErrorPage // by status
	Shutdown   Shutdown
	Reload     Reload
	Landlock   *Landlock // nil: the process is not restricted
	DNS        DNS
	Admin      Admin
	Zone       string // that the process is in, once verified; "": none is known

	// Warnings are settings that are valid but probably not what is meant; Want says what to look at.
	Warnings []Error
}

// Buffers sizes the memory of one loop.
type Buffers struct {
	Block      Size // power of two
	MaxPerLoop Size // multiple of Block
	HugePages  string
}

// Listener is one address clients connect to.
type Listener struct {
	Pos
	Address   string   // "ip:port", "[ip6]:port" or "unix:/path"
	Protocols []string // "http1", "h2c" and, within TLS, "h2", in any order
	TLS       *TLS     // nil: in clear
	Interim   string   // "pass" or "drop"
	Socket    Socket

	ProxyProtocol *ProxyProtocol // nil: clients speak for themselves
}

// ProxyProtocol says whose connections begin with a header of the PROXY protocol.
type ProxyProtocol struct {
	From    []netip.Prefix
	Others  string // "refuse" or "plain"
	Timeout time.Duration
}

// Socket holds the socket options of a listener or of the connections to an upstream. Backlog, DeferAccept,
// FastOpen, File and Name are for listeners only and zero in an upstream.
type Socket struct {
	NoDelay        bool
	KeepAlive      time.Duration // 0: off
	Backlog        int
	RcvBuf, SndBuf Size          // 0: the kernel decides
	DeferAccept    time.Duration // 0: off; whole seconds
	FastOpen       int           // queue length, 0: off
	Congestion     string        // "": the system's default
	File           SocketFile
	Name           string // of a socket that a service manager passes, "": it is known by its address
}

// SocketFile says who may open the file of a unix socket that is listened on.
type SocketFile struct {
	Mode        uint32 // 0: as the umask has it
	User, Group string // names or numbers, "": the process's own
}

// Upstream is a named set of equivalent origin servers.
type Upstream struct {
	Pos
	Name      string
	Balance   string       // "round_robin", "least_conn", "least_time", "p2c", "random", "ring_hash" or "maglev"
	HashOn    string       // "path", "source", or "header", "cookie" or "query" and a name; "": there is no key, see KeyOf
	Protocol  string       // "http1", "h2c" or, with TLS, "h2" or "auto"
	Agreed    string       // of "auto": "http1" or "h2", as the server has learnt, "": not yet
	TLS       *UpstreamTLS // nil: in clear
	SendProxy string       // "v1", "v2" or "": connections begin without a header of the PROXY protocol
	// SendProxyTLVs are what it says besides addresses: "alpn", "authority", "ssl" and "unique_id".
	SendProxyTLVs []string
	Endpoints     []Endpoint
	Subset        Labels    // of the endpoints, which alone are in Endpoints, see Part; nil: it is all of them
	Discover      *Discover // where endpoints are found; nil: they are those in Endpoints, else there are none in it
	Room          Room      // of Discover
	Pool          Pool
	Timeouts      Timeouts
	Retries       int
	Retry         *Retry // nil: as Retries says
	Host          string // Host field sent to the origin; "" keeps the client's
	Socket        Socket

	HashBalanceFactor int // percent; 0: no bound
	SlowStart         time.Duration
	Zone              string         // the proxy's own
	Sticky            *StickySession // nil: none

	HealthCheck *HealthCheck         // nil: none
	Outlier     *OutlierDetection    // nil: none
	Adaptive    *AdaptiveConcurrency // nil: none
}

// Speaks is the protocol that is spoken to the endpoints: "http1", "h2c" or "h2".
func (u *Upstream) Speaks() string {
	switch {
	case u.Protocol != "auto":
		return u.Protocol
	case u.Agreed == "h2":
		return u.Agreed
	}
	return "http1"
}

// Endpoint is one origin server.
type Endpoint struct {
	Pos
	Address  string // "ip:port", "[ip6]:port", "name:port" or "unix:/path"
	Weight   int
	Priority int    // of its tier, the least first
	Backup   bool   // behind all tiers
	Zone     string // "": none
	Labels   Labels // nil: none
}

// Pool bounds the connections to the endpoints of one upstream.
type Pool struct {
	MaxConnections, MaxIdle, Prewarm int
	MaxRequests                      int // 0: no limit
	IdleTimeout                      time.Duration
	Queue                            int
	QueueTimeout                     time.Duration
}

// Timeouts are those of the origin side.
type Timeouts struct {
	Connect, Response, Idle time.Duration
	Continue                time.Duration // for a 100 (Continue), 0: it is never sent in the origin's place
}

// Route sends matching requests to exactly one of Upstream, Respond and Redirect.
type Route struct {
	Pos
	Host     string    // "": any
	Path     string    // begins with "/"
	Methods  []string  // nil: all
	Listener string    // address of the only listener the route holds for, "": all
	TLS      *RouteTLS // nil: whether in clear or within TLS
	Interim  string    // "pass", "drop" or "": as the listener says
	// MaxStreamDuration is 0 when there is no limit.
	MaxStreamDuration time.Duration
	Upstream          string
	Subset            Labels  // of the endpoints of Upstream that get the requests; nil: all
	SubsetFallback    string  // "any", or "none" or ""
	Split             []Share // instead of Upstream
	Sticky            *Sticky // nil: each request is split for itself
	Priority          string  // "high", "normal", "low" or a number, see Urgency
	Fallback          string  // when no endpoint of those is up, "": none
	Respond           *Respond
	Redirect          *Redirect
	// WebSocket is nil when the route does not say: mode "frames" and no limits.
	WebSocket *WebSocket
	Filters   []Filter
}

// WebSocket says what becomes of connections that are upgraded to WebSocket.
type WebSocket struct {
	Mode           string        // "frames" or "tunnel"
	IdleTimeout    time.Duration // 0: the upstream's
	MaxMessage     Size          // 0: no limit
	MaxFrame       Size          // 0: no limit
	PingInterval   time.Duration // 0: none
	MaxConnections int           // over all loops, 0: no limit
}

// Respond is a fixed answer.
type Respond struct {
	Status      int
	Body        string
	ContentType string
}

// Redirect is an answer with a Location field.
type Redirect struct {
	To     string // sent as it is
	Status int
}

// Limits bound what one client may ask for.
type Limits struct {
	HeaderBytes           Size
	Headers               int
	BodyBytes             Size // 0: no limit
	RequestHeaderTimeout  time.Duration
	KeepaliveTimeout      time.Duration
	RequestBodyTimeout    time.Duration
	SendTimeout           time.Duration
	MinRate               Size   // bytes per second, 0: no limit
	HalfClose             string // "serve" or "end"
	LingeringTimeout      time.Duration
	LingeringTime         time.Duration
	Connections           int // per loop, 0: from the open-files limit
	RequestsPerConnection int // 0: no limit
}

// HTTP2 sizes HTTP/2 connections, to clients and to origins.
type HTTP2 struct {
	MaxStreams          int  // concurrent streams of one client connection
	StreamWindow        Size // receive window of a stream
	ConnectionWindow    Size // receive window of a connection, at least StreamWindow
	HeaderTable         Size // HPACK table for what is received
	UpstreamStreams     int  // concurrent streams of one connection to an endpoint
	UpstreamConnections int  // of one loop to one endpoint
	IdleTimeout         time.Duration
	AbuseScore          int
}

// Forwarding says what the origin is told about the client.
type Forwarding struct {
	XForwarded     bool
	Forwarded      bool
	XRealIP        bool
	RequestID      bool     // X-Request-ID
	Via            string   // pseudonym, "": no Via field
	MaxHops        int      // proxies that a request may have passed, 0: any number
	Drop           []string // fields that only trusted proxies may send; a final * stands for any end
	TrustedProxies []netip.Prefix
}

// AccessLog is off when Path is empty.
type AccessLog struct {
	Pos                // of Path
	Path        string // file, or "-" or "stdout"
	Format      string // "json", "combined", or a text that variables.ParseLog takes
	BufferBytes Size   // per loop
	Flush       time.Duration
}

// Log is the process log, on standard error.
type Log struct {
	Format string // "text" or "json"
	Level  string // "info", "warn" or "error"
}

// ErrorPage is the body of an answer of the proxy's own.
type ErrorPage struct {
	Pos
	File        string // as written
	ContentType string // from the file's name
	Body        string // filled by Load; empty after Parse
}

// Shutdown says how the process comes to its end.
type Shutdown struct {
	Delay       time.Duration // until listeners close
	IdleTimeout time.Duration // of connections of HTTP/1 between requests, once listeners have closed
	Grace       time.Duration // for all else, from the same moment on

	UpgradeTimeout time.Duration // for a new process, to serve
}

// Landlock is what the kernel leaves the process of the file system, beside the directories of all files that the
// configuration names.
type Landlock struct {
	Pos
	Read, Write []string // directories, as written
	Without     string   // "refuse" or "warn": what a kernel means that has it not
}

// Reload says what becomes of what another configuration has no more.
type Reload struct {
	Grace time.Duration // 0: as Shutdown; Never
}

// Never is a duration that does not end.
const Never time.Duration = -1

// RemovedGrace is how long exchanges have that began on what is removed; it may be Never.
func (c *Config) RemovedGrace() time.Duration {
	if c.Reload.Grace == 0 {
		return c.Shutdown.Grace
	}
	return c.Reload.Grace
}

// DNS is about endpoints given by name.
type DNS struct {
	Interval time.Duration
}

//go:embed schema.json
var schemaJSON []byte

//go:embed quickstart.yaml
var quickstartYAML []byte

// maxFileBytes bounds a configuration file; 100 000 routes take about 8 MB.
const maxFileBytes = 64 << 20

// Load reads the file at path, and the error pages it names, relative to its directory. The error, if any, is an
// *Errors that holds everything that is wrong.
func Load(path string) (*Config, error) {
	unreadable := func(found string) error {
		return &Errors{{File: path, Value: found, Want: "a configuration file that can be read"}}
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, unreadable(reasonOf(err))
	case info.IsDir():
		return nil, unreadable("a directory")
	case info.Size() > maxFileBytes:
		return nil, unreadable("a file of " + Size(info.Size()).String())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, unreadable(reasonOf(err))
	}
	return LoadText(path, data)
}

// LoadText is Load of a file at path that would hold data.
func LoadText(path string, data []byte) (*Config, error) {
	dir := filepath.Dir(path)
	c, err := parse(path, data, func(name string) ([]byte, error) {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return os.ReadFile(name)
	})
	if len(data) > 1<<20 {
		// The syntax tree of a large file is many times the file; the kernel gets that back now, not some day.
		debug.FreeOSMemory()
	}
	return c, err
}

// Parse reads a configuration from memory; name is used in messages. Error pages are not read. The error, if any,
// is an *Errors.
func Parse(name string, data []byte) (*Config, error) {
	return parse(name, data, nil)
}

// Quickstart is what runs without a configuration file: a listener, and an origin of the proxy's own behind it.
func Quickstart() *Config {
	c, err := Parse("quickstart.yaml", quickstartYAML)
	if err != nil {
		panic(fmt.Sprintf("the embedded configuration is wrong: %v", err))
	}
	return c
}

// QuickstartYAML is the text Quickstart reads.
func QuickstartYAML() []byte { return append([]byte(nil), quickstartYAML...) }

// Schema is the JSON Schema (draft 2020-12) of the configuration file, for editors.
func Schema() []byte { return append([]byte(nil), schemaJSON...) }

// parse reads, decodes and checks; readFile, when not nil, reads an error page.
func parse(name string, data []byte, readFile func(string) ([]byte, error)) (*Config, error) {
	d := &decoder{file: name, readFile: readFile}
	c := &Config{File: name}
	fields := table()
	setDefaults(fields, c)
	if root := d.tree(data); root != nil {
		d.section(root, fields, c, nil)
		d.verify(c, root)
	}
	if len(d.errs) > 0 {
		d.errs.sort()
		return nil, &d.errs
	}
	return c, nil
}
