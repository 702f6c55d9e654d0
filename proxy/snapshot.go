package proxy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"zproxy/config"
	"zproxy/loop"
	"zproxy/proto"
	"zproxy/proto/http1"
	"zproxy/proto/http2"
	"zproxy/proxy/transport"
	"zproxy/router"
	"zproxy/upstream"
	"zproxy/variables"
)

// Snapshot is a configuration compiled for the workers: immutable, shared by
// all of them.
type Snapshot struct {
	routers     []*router.Router // by listener
	routes      []route
	clusters    []*cluster
	series      seriesNames
	pages       [600]*answer // by status; nil: the plain page of ownStatuses
	limits      limits
	headLimits  http1.Limits
	forwarding  forwarding
	http2       http2Limits
	versions    []versions // by listener
	secure      secure
	unix        []bool // by listener: its clients come by a unix socket
	graceNs     int64
	dropInterim []bool // by listener
}

// versions says what a listener's clients may speak.
type versions uint8

const (
	onlyHTTP1 versions = iota
	onlyHTTP2
	eitherVersion // told apart by the client's first bytes
)

func compileVersions(protocols []string) versions {
	switch {
	case !slices.Contains(protocols, "h2c") && !slices.Contains(protocols, "h2"):
		return onlyHTTP1
	case !slices.Contains(protocols, "http1"):
		return onlyHTTP2
	}
	return eitherVersion
}

// http2Limits are the settings of HTTP/2 connections.
type http2Limits struct {
	server, client   http2.Config
	idleNs           int64
	upstreamStreams  int // at once on one connection to an origin
	upstreamSessions int // connections of a loop to an endpoint
}

func compileHTTP2(c *config.Config) http2Limits {
	h := &c.HTTP2
	common := http2.DefaultConfig()
	common.StreamWindow, common.ConnWindow = uint32(h.StreamWindow), uint32(h.ConnectionWindow)
	common.HeaderTable = uint32(h.HeaderTable)
	common.HeadBytes, common.Fields = int(c.Limits.HeaderBytes), c.Limits.Headers
	common.LineBytes = min(int(c.Limits.HeaderBytes), maxTargetBytes)
	common.ScoreLimit = uint32(h.AbuseScore)
	l := http2Limits{
		server: common, client: common, idleNs: int64(h.IdleTimeout),
		upstreamStreams: h.UpstreamStreams, upstreamSessions: h.UpstreamConnections,
	}
	l.server.MaxStreams = uint32(h.MaxStreams)
	l.server.ConnectProtocol = true
	return l
}

type route struct {
	path    string
	cluster int
	series  uint16              // of metrics
	answer  *answer             // instead of a cluster
	to      *variables.Template // Location of answer, where it differs by request
	interim interimRule
	socket  *socketRules
	methods []byte // of Allow; empty: any

	maxStreamNs int64 // from the head of the request to the end of the exchange, 0: no limit
}

type cluster struct {
	name        string
	shared      *upstream.Cluster
	host        []byte // sent instead of the client's Host, empty: keep
	defaultHost []byte
	series      uint16              // of metrics
	h2          bool                // its endpoints speak HTTP/2
	tls         []*transport.Client // by endpoint; nil: in clear
	retries     int
	socket      loop.SockOpts

	connectNs, responseNs, idleNs, queueNs int64
	continueNs                             int64 // until a 100 is sent in the origin's place, 0: never
	idleTimeoutNs                          int64 // of a connection without exchanges
}

type limits struct {
	bodyBytes             uint64
	requestHeaderNs       int64
	requestBodyNs         int64
	sendNs                int64
	minRate               uint64 // bytes/s, 0: none
	keepaliveNs           int64
	lingerTimeoutNs       int64 // between reads of a client that lingers
	lingerTimeNs          int64 // in all
	requestsPerConnection uint32
	endHalfClosed         bool // a client's FIN ends its exchange
}

// Compile turns a configuration into what workers read. loops is their
// number; near, if not nil, lists for each loop the others, nearest first. The
// error names file and line.
func Compile(c *config.Config, loops int, near [][]int) (*Snapshot, error) {
	s := &Snapshot{
		limits: limits{
			bodyBytes:             uint64(c.Limits.BodyBytes),
			requestHeaderNs:       int64(c.Limits.RequestHeaderTimeout),
			requestBodyNs:         int64(c.Limits.RequestBodyTimeout),
			sendNs:                int64(c.Limits.SendTimeout),
			minRate:               uint64(c.Limits.MinRate),
			keepaliveNs:           int64(c.Limits.KeepaliveTimeout),
			lingerTimeoutNs:       int64(c.Limits.LingeringTimeout),
			lingerTimeNs:          int64(c.Limits.LingeringTime),
			requestsPerConnection: uint32(c.Limits.RequestsPerConnection),
			endHalfClosed:         c.Limits.HalfClose == "end",
		},
		headLimits: http1.Limits{
			HeadBytes: int(c.Limits.HeaderBytes),
			Fields:    c.Limits.Headers,
			LineBytes: min(int(c.Limits.HeaderBytes), maxTargetBytes),
		},
		forwarding: forwarding{
			xForwarded: c.Forwarding.XForwarded,
			forwarded:  c.Forwarding.Forwarded,
			xRealIP:    c.Forwarding.XRealIP,
			requestID:  c.Forwarding.RequestID,
			maxHops:    c.Forwarding.MaxHops,
			trusted:    c.Forwarding.TrustedProxies,
		},
		http2:   compileHTTP2(c),
		graceNs: int64(c.Shutdown.Grace),
	}
	for i := range c.Listeners {
		s.versions = append(s.versions, compileVersions(c.Listeners[i].Protocols))
		s.unix = append(s.unix, strings.HasPrefix(c.Listeners[i].Address, "unix:"))
		s.dropInterim = append(s.dropInterim, c.Listeners[i].Interim == "drop")
	}
	s.forwarding.compileNames(c.Forwarding.Drop)
	s.forwarding.compileVia(c.Forwarding.Via)
	var err error
	if s.secure, err = compileSecure(c, loops); err != nil {
		return nil, err
	}
	byName := map[string]int{}
	for i := range c.Upstreams {
		cl, err := compileCluster(&c.Upstreams[i], loops, near)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", c.File, c.Upstreams[i].Line, err)
		}
		byName[cl.name] = i
		s.clusters = append(s.clusters, cl)
	}
	for i := range c.Routes {
		s.routes = append(s.routes, compileRoute(&c.Routes[i], byName))
	}
	for _, status := range ownStatuses {
		s.pages[status] = newPage(status, "text/plain; charset=utf-8", fmt.Sprintf("%d %s\n", status, proto.ReasonPhrase(status)))
	}
	for status, page := range c.ErrorPages {
		s.pages[status] = newPage(status, page.ContentType, page.Body)
	}
	s.compileSeries(c)
	return s, s.compileRouters(c)
}

// maxTargetBytes is the longest request-target; RFC 9112 3 asks for 8000 at
// the least.
const maxTargetBytes = 8192

func compileCluster(u *config.Upstream, loops int, near [][]int) (*cluster, error) {
	balance, err := upstream.ParseBalance(u.Balance)
	if err != nil {
		return nil, err
	}
	uc := upstream.Config{
		Name: u.Name, Balance: balance, Anonymous: u.Protocol != "http1",
		MaxConnections: u.Pool.MaxConnections, MaxIdle: u.Pool.MaxIdle,
		Prewarm: u.Pool.Prewarm, Queue: u.Pool.Queue,
		IdleTimeout: u.Pool.IdleTimeout, QueueTimeout: u.Pool.QueueTimeout,
		ConnectTimeout: u.Timeouts.Connect, ResponseTimeout: u.Timeouts.Response,
		StreamTimeout: u.Timeouts.Idle,
	}
	for _, e := range u.Endpoints {
		uc.Endpoints = append(uc.Endpoints, upstream.EndpointConfig{Address: e.Address, Weight: e.Weight})
	}
	shared, err := upstream.NewCluster(uc, loops, near...)
	if err != nil {
		return nil, err
	}
	secured, err := compileOrigins(u)
	if err != nil {
		return nil, err
	}
	defaultHost := u.Endpoints[0].Address
	if strings.HasPrefix(defaultHost, "unix:") {
		defaultHost = "localhost"
	}
	return &cluster{
		name: u.Name, shared: shared, host: []byte(u.Host), defaultHost: []byte(defaultHost),
		retries:    u.Retries,
		socket:     SockOpts(&u.Socket),
		connectNs:  int64(u.Timeouts.Connect),
		responseNs: int64(u.Timeouts.Response),
		idleNs:     int64(u.Timeouts.Idle),
		continueNs: int64(u.Timeouts.Continue),
		queueNs:    int64(u.Pool.QueueTimeout),

		h2:            u.Protocol != "http1",
		tls:           secured,
		idleTimeoutNs: int64(u.Pool.IdleTimeout),
	}, nil
}

// SockOpts translates socket settings for the loop, but for the file of a unix
// socket: users and groups are the server's to look up.
func SockOpts(s *config.Socket) loop.SockOpts {
	return loop.SockOpts{
		NoDelay: s.NoDelay, KeepAliveSec: int(s.KeepAlive / time.Second),
		Backlog: s.Backlog, RcvBuf: int(s.RcvBuf), SndBuf: int(s.SndBuf),
		DeferAcceptSec: int(s.DeferAccept / time.Second), FastOpen: s.FastOpen,
		Congestion: s.Congestion,
	}
}

func compileRoute(r *config.Route, clusters map[string]int) route {
	switch {
	case r.Respond != nil:
		return route{path: r.Path, answer: newAnswer(r.Respond.Status, r.Respond.ContentType, nil, r.Respond.Body)}
	case r.Redirect != nil:
		return compileRedirect(r)
	}
	rt := route{
		path: r.Path, cluster: clusters[r.Upstream], interim: compileInterim(r), socket: plainSocket,
		methods: []byte(strings.Join(r.Methods, ", ")), maxStreamNs: int64(r.MaxStreamDuration),
	}
	if r.WebSocket != nil {
		rt.socket = compileSocket(r.WebSocket)
	}
	return rt
}

// compileRedirect prepares the answer of a route that redirects. (What is wrong
// with its variables config has found.)
func compileRedirect(r *config.Route) route {
	to, err := variables.Parse(r.Redirect.To, config.Params(r.Path))
	if err != nil || to.Constant() {
		return route{path: r.Path, answer: newAnswer(r.Redirect.Status, "", []proto.Extra{{Name: "Location", Value: []byte(r.Redirect.To)}}, "")}
	}
	return route{path: r.Path, answer: newAnswer(r.Redirect.Status, "", nil, ""), to: to}
}

// compileRouters builds one router per set of routes that a listener sees.
func (s *Snapshot) compileRouters(c *config.Config) error {
	var common *router.Router
	for i := range c.Listeners {
		address := c.Listeners[i].Address
		own := false
		for j := range c.Routes {
			own = own || c.Routes[j].Listener == address
		}
		if !own && common != nil {
			s.routers = append(s.routers, common)
			continue
		}
		b := router.NewBuilder()
		for j := range c.Routes {
			r := &c.Routes[j]
			if r.Listener != "" && r.Listener != address {
				continue
			}
			if err := b.Add(r.Host, r.Path, r.Methods, int32(j)); err != nil {
				return fmt.Errorf("%s:%d:%d: %w", c.File, r.Line, r.Col, err)
			}
		}
		built := b.Build()
		if !own {
			common = built
		}
		s.routers = append(s.routers, built)
	}
	return nil
}

// page is the answer for a status of the proxy's own.
func (s *Snapshot) page(status uint16) *answer {
	if int(status) < len(s.pages) && s.pages[status] != nil {
		return s.pages[status]
	}
	return s.pages[502]
}

// Clusters lists the upstreams, for resolving and for reports.
func (s *Snapshot) Clusters() []*upstream.Cluster {
	out := make([]*upstream.Cluster, len(s.clusters))
	for i, c := range s.clusters {
		out[i] = c.shared
	}
	return out
}
