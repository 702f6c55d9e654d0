// Package proxy is the worker of one event loop: it accepts client
// connections, joins each request to an origin connection and carries the
// answer back.
//
// A Worker owns everything it touches: its loop, its buffer pool, its slabs
// of clients, origins and exchanges, and its share of every upstream pool.
// Nothing here is locked; what other threads want of a worker reaches it as
// mail and is answered between two requests.
//
// Rooms of one Worker:
//
//	client_*.go    the side that faces the client: heads in, answers out
//	origin_*.go    the side that faces the origin: requests out, heads in
//	exchange*.go   one request and its response; the only place both sides meet
//	tunnel.go      the two-way pipe behind a 101
//	reply.go       answers the proxy gives itself
//	mail.go        what neighbours and the control plane ask for
//	snapshot.go    the compiled configuration the worker reads
//
// The sides talk to an exchange in neutral terms (a proto.Head, body bytes as
// buf.View, the end with or without trailers), never to each other, so a
// protocol version costs one side, not a pairing.
//
// Ownership: a function that takes a buf.View owns its reference unless its
// comment says it borrows. Slab pointers are stable and live until the slot is
// freed; indices outlive them and are what events carry.
package proxy
