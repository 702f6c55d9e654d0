// Package proxy is the worker of one event loop: it accepts client
// connections, joins each request to an origin connection and forwards the
// response.
//
// A Worker owns everything it uses: its loop, its buffer pool, its slabs
// of clients, origins and exchanges, and its share of every upstream pool.
// Nothing here is locked; other threads reach a worker by mail, which it handles
// between two requests.
//
// A Worker consists of parts. Only a part itself writes its fields; other parts call
// its methods through the worker (w.memory.keepsRequest). Worker itself runs the
// loop, keeps the time and decides what becomes of an exchange.
//
//	clients    connections of HTTP/1 clients, and streams of HTTP/2 ones
//	leases     connections to endpoints, their pools, dials, waiting requests (package origins)
//	origins    what exchanges have of leases: legs towards origins
//	h2         HTTP/2 connections in either role; streams: what they carry
//	handoff    the handoff of clients between loops, and mail
//	told       what becomes of what HTTP/2 connections and leases have come to
//	legs       what differs between a side that is a connection and one that is a stream
//	requests   the path of a request; responses: that of a response, also of one the proxy generates
//	tunnels    joins tunnels (package tunnel) to the legs of their exchanges
//	heads      where heads are read to and written from; package forward has what becomes of them
//	journal    has exchanges that have ended counted and logged, by package journal
//	scarce     which requests wait for a connection or lose one, when connections are short
//	memory     how much of the pool an exchange may hold, and which one is ended
//	drain      graceful shutdown of the worker
//	retries    gives requests another try, by the rules of package retry
//	snaps      configurations: the current snapshot, and those that exchanges began with
//
// The sides talk to an exchange in neutral terms (a proto.Head, body bytes as
// buf.View, the end with or without trailers), never to each other, so a
// protocol version costs one side, not a pairing.
//
// Ownership: a function that takes a buf.View owns its reference unless its
// comment says it borrows. Slab pointers are stable and live until the slot is
// freed; indices outlive them and are what events carry.
package proxy
