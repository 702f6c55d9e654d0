package main

import "slices"

// scenario is one kind of load that all contenders get in turn.
type scenario struct {
	name        string
	title       string
	connections int
	body        int  // bytes of the origin's answer
	upload      int  // bytes of the request's body
	pipeline    int  // requests in one write; 0 is one at a time
	long        bool // rounds twice as long: what is half done at the end of a round is a larger part
	closing     bool // a new connection for every request
	unixOrigin  bool
	fileOrigin  bool // nginx with sendfile instead of bench/origin
	streams     int  // of each connection at once, and clients speak HTTP/2 then
	http2Origin bool // the proxy speaks HTTP/2 with the origin, without TLS
	tls         keyKind
	resumed     bool // with closing: each connection resumes a session, where it is a full handshake otherwise
	message     int  // clients talk on WebSockets: bytes of a message
	memory      memoryKind
	own         bool   // bench/load, where it is wrk otherwise: for parts of a second
	openLoop    bool   // at fixed rates, to see how long answers take
	patience    string // with clients that take nothing; "": what is usual
	contenders  []string
	goals       []goal
}

// memoryKind says what is left idle to see how much memory it takes; nothing is
// loaded then.
type memoryKind int

const (
	noMemory memoryKind = iota
	keepAlive
	http2Idle    // connections after one request each
	http2Waiting // streams whose answer has not come, each with its request at the origin
	webSockets
)

// what is counted of each kind.
func (k memoryKind) what() string {
	return [...]string{"", "connection", "connection", "stream", "socket"}[k]
}

// http2Clients says whether clients speak HTTP/2.
func (s *scenario) http2Clients() bool {
	return s.streams > 0 || s.memory == http2Idle || s.memory == http2Waiting
}

// upgrades says whether clients ask for WebSockets.
func (s *scenario) upgrades() bool { return s.message > 0 || s.memory == webSockets }

func scenarioNamed(name string) *scenario {
	for i := range scenarios {
		if scenarios[i].name == name {
			return &scenarios[i]
		}
	}
	return nil
}

// goal is what zproxy wants to reach: at most `max` times what `versus` costs.
type goal struct {
	subject string // bestZproxy, otherZproxy or a contender
	versus  string // a contender or bestZproxy
	max     float64
}

const (
	bestZproxy  = "better zproxy"
	otherZproxy = "other zproxy"
)

var (
	everyone = []string{"zproxy-epoll", "zproxy-uring", "zproxy-epoll" + atOnce, "zproxy-uring" + atOnce, "nginx", "haproxy", "floor"}
	bodies   = []string{"zproxy-epoll", "zproxy-uring", "nginx", "nginx-tuned", "haproxy", "haproxy-splice", "floor", "floor-256k"}
	parsers  = []string{"zproxy-epoll", "zproxy-uring", "nginx", "haproxy"}
	// nginx speaks HTTP/1 with origins: what it needs for that is what others have to stay below.
	toHTTP2 = []string{"zproxy-epoll", "zproxy-uring", "zproxy-epoll" + atOnce, "zproxy-uring" + atOnce, "haproxy", "nginx-h1"}
)

const (
	smallBody = 128
	loadConns = 64
	bodyConns = 16
	h2Conns   = 8
	h2Streams = 32
	sockets   = 100
	message   = 64
)

var scenarios = []scenario{
	{name: "idle", title: "Idle keep-alive connections, after one request each", body: smallBody, memory: keepAlive, contenders: parsers},
	{name: "small", title: "128 B answers, keep-alive, 64 connections", connections: loadConns, body: smallBody, contenders: everyone,
		goals: []goal{{bestZproxy, "nginx", 0.85}, {bestZproxy, "haproxy", 0.85}, {bestZproxy, "floor", 1.10}, {otherZproxy, bestZproxy, 1.10}}},
	{name: "connect", title: "128 B answers, a new connection for every request, 64 at a time", connections: loadConns, body: smallBody, closing: true,
		// The floor would open a connection to the origin for every client's, which nobody else has to.
		contenders: parsers, goals: []goal{{bestZproxy, "nginx", 0.90}}},
	{name: "64k", title: "64 KiB answers, 16 connections", connections: bodyConns, body: 64 << 10, fileOrigin: true, contenders: bodies,
		goals: []goal{{bestZproxy, "nginx", 0.45}, {bestZproxy, "floor-256k", 1.10}}},
	{name: "1m", title: "1 MiB answers, 16 connections", connections: bodyConns, body: 1 << 20, fileOrigin: true, long: true, contenders: bodies,
		goals: []goal{{bestZproxy, "nginx", 0.30}, {bestZproxy, "haproxy-splice", 1.00}}},
	{name: "upload", title: "1 MiB uploads, 16 connections", connections: bodyConns, body: smallBody, upload: 1 << 20, long: true, contenders: bodies,
		goals: []goal{{bestZproxy, "nginx", 0.50}}},
	{name: "unix", title: "128 B answers, 64 connections, origin on a unix socket", connections: loadConns, body: smallBody, unixOrigin: true, contenders: everyone,
		goals: []goal{{bestZproxy, "nginx", 0.85}}},
	{name: "h2-h1", title: "128 B answers, HTTP/2 clients: 8 connections with 32 streams each", connections: h2Conns, streams: h2Streams, body: smallBody,
		contenders: []string{"zproxy-epoll", "zproxy-uring", "zproxy-epoll" + atOnce, "zproxy-uring" + atOnce, "nginx", "haproxy"},
		goals:      []goal{{bestZproxy, "nginx", 0.45}, {bestZproxy, "haproxy", 0.80}}},
	{name: "h2-h2c", title: "128 B answers, HTTP/2 clients (8 connections, 32 streams) and an HTTP/2 origin; nginx-h1: to an HTTP/1 origin",
		connections: h2Conns, streams: h2Streams, http2Origin: true, body: smallBody, contenders: toHTTP2,
		goals: []goal{{bestZproxy, "nginx-h1", 0.20}, {bestZproxy, "haproxy", 0.35}}},
	{name: "h1-h2c", title: "128 B answers, keep-alive, 64 connections, HTTP/2 origin; -h1: to an HTTP/1 origin", connections: loadConns, http2Origin: true, body: smallBody,
		contenders: append(slices.Clone(toHTTP2), "floor-h1"), goals: []goal{{bestZproxy, "nginx-h1", 0.60}, {bestZproxy, "floor-h1", 0.75}}},
	{name: "h2-1m", title: "1 MiB answers, HTTP/2 clients: 8 connections with 2 streams each", connections: h2Conns, streams: bodyConns / h2Conns, body: 1 << 20, long: true,
		contenders: []string{"zproxy-epoll", "zproxy-uring", "nginx", "nginx-tuned", "haproxy"}, goals: []goal{{bestZproxy, "nginx", 0.40}}},
	{name: "h2-idle", title: "Idle HTTP/2 connections, after one request each", body: smallBody, memory: http2Idle, contenders: parsers},
	{name: "h2-waiting", title: "HTTP/2 streams that wait for their answers, 100 on a connection, each with its request at an HTTP/1 origin", body: smallBody,
		memory: http2Waiting, contenders: parsers},
	{name: "ws-echo", title: "64 B messages on 100 WebSockets, echoed; a request is a message", connections: sockets, message: message, body: smallBody, contenders: everyone,
		goals: []goal{{bestZproxy, "nginx", 0.95}, {bestZproxy, "floor", 1.05}}},
	{name: "ws-h2", title: "64 B messages on 100 WebSockets in one HTTP/2 connection, echoed by an HTTP/1 origin; a request is a message", connections: 1, streams: sockets,
		message: message, body: smallBody, contenders: []string{"zproxy-epoll", "zproxy-uring", "zproxy-epoll" + atOnce, "zproxy-uring" + atOnce, "haproxy"}, goals: []goal{{bestZproxy, "haproxy", 0.60}}},
	{name: "ws-idle", title: "Idle WebSockets, after one message each", body: smallBody, memory: webSockets, contenders: parsers,
		goals: []goal{{bestZproxy, "nginx", 0.25}}},
	{name: "tls-small", title: "128 B answers within TLS 1.3, keep-alive, 64 connections", connections: loadConns, body: smallBody, tls: keyP256, contenders: parsers,
		goals: []goal{{bestZproxy, "nginx", 0.75}, {bestZproxy, "haproxy", 0.75}}},
	{name: "tls-connect", title: "128 B answers, a full handshake of TLS 1.3 for every request, 64 at a time, P-256 certificate", connections: loadConns, body: smallBody, closing: true,
		tls: keyP256, contenders: parsers, goals: []goal{{bestZproxy, "nginx", 0.95}}},
	{name: "tls-resumed", title: "128 B answers, a resumed handshake of TLS 1.3 for every request, 64 at a time", connections: loadConns, body: smallBody, closing: true, resumed: true,
		tls: keyP256, contenders: parsers, goals: []goal{{bestZproxy, "nginx", 0.90}}},
	{name: "tls-rsa", title: "128 B answers, a full handshake of TLS 1.3 for every request, 64 at a time, RSA certificate of 2048 bits", connections: loadConns, body: smallBody, closing: true,
		tls: keyRSA, contenders: parsers},
	{name: "tls-64k", title: "64 KiB answers within TLS 1.3, 16 connections", connections: bodyConns, body: 64 << 10, fileOrigin: true, tls: keyP256, contenders: parsers,
		goals: []goal{{bestZproxy, "nginx", 0.60}, {bestZproxy, "haproxy", 0.60}}},
	{name: "tls-1m", title: "1 MiB answers within TLS 1.3, 16 connections", connections: bodyConns, body: 1 << 20, fileOrigin: true, long: true, tls: keyP256, contenders: parsers,
		goals: []goal{{bestZproxy, "nginx", 0.40}, {bestZproxy, "haproxy", 0.50}}},
	{name: "tls-h2", title: "128 B answers within TLS 1.3, HTTP/2 clients: 8 connections with 32 streams each", connections: h2Conns, streams: h2Streams, body: smallBody, tls: keyP256, contenders: parsers,
		goals: []goal{{bestZproxy, "nginx", 0.50}, {bestZproxy, "haproxy", 0.50}}},
	{name: "tls-idle", title: "Idle keep-alive connections within TLS 1.3, after one request each", body: smallBody, memory: keepAlive, tls: keyP256, contenders: parsers},
	{name: "latency", title: "128 B answers, keep-alive, 64 connections, at fixed rates", connections: loadConns, body: smallBody, openLoop: true, contenders: everyone},
	{name: "pipelined", title: "128 B answers, 16 requests in one write, 64 connections", connections: loadConns, body: smallBody, pipeline: 16, contenders: everyone},
	{name: "small-1", title: "128 B answers, keep-alive, 1 connection", connections: 1, body: smallBody, contenders: everyone},
	{name: "small-1000", title: "128 B answers, keep-alive, 1000 connections", connections: 1000, body: smallBody, contenders: everyone},
	{name: "16k", title: "16 KiB answers, 16 connections", connections: bodyConns, body: 16 << 10, fileOrigin: true, contenders: bodies},
}

// Limits on memory: of an idle connection by scenario, and at start.
var goalIdleBytes = map[string]float64{"idle": 512, "tls-idle": 1536}

const goalStartBytes = 12 << 20
