package main

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
	memory      bool // nothing is loaded: memory per idle connection
	openLoop    bool // at fixed rates, to see how long answers take
	contenders  []string
	goals       []goal
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
	everyone = []string{"zproxy-epoll", "zproxy-uring", "nginx", "haproxy", "floor"}
	bodies   = []string{"zproxy-epoll", "zproxy-uring", "nginx", "nginx-tuned", "haproxy", "haproxy-splice", "floor", "floor-256k"}
	parsers  = []string{"zproxy-epoll", "zproxy-uring", "nginx", "haproxy"}
)

const (
	smallBody = 128
	loadConns = 64
	bodyConns = 16
)

var scenarios = []scenario{
	{name: "idle", title: "Idle keep-alive connections, after one request each", body: smallBody, memory: true, contenders: parsers},
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
	{name: "latency", title: "128 B answers, keep-alive, 64 connections, at fixed rates", connections: loadConns, body: smallBody, openLoop: true, contenders: everyone},
	{name: "pipelined", title: "128 B answers, 16 requests in one write, 64 connections", connections: loadConns, body: smallBody, pipeline: 16, contenders: everyone},
	{name: "small-1", title: "128 B answers, keep-alive, 1 connection", connections: 1, body: smallBody, contenders: everyone},
	{name: "small-1000", title: "128 B answers, keep-alive, 1000 connections", connections: 1000, body: smallBody, contenders: everyone},
	{name: "16k", title: "16 KiB answers, 16 connections", connections: bodyConns, body: 16 << 10, fileOrigin: true, contenders: bodies},
}

// Limits on memory, from the idle scenario.
const (
	goalIdleBytes  = 512
	goalStartBytes = 12 << 20
)
