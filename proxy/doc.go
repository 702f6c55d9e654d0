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
//	client.go      the side that faces the client: heads in, answers out
//	origin.go      the side that faces the origin: requests out, heads in
//	exchange.go    one request and its response; the only place both sides meet
//	leg.go         what differs where a side is a stream and no connection
//	stream.go      one HTTP/2 stream: what waits for its window, and its end
//	session*.go    HTTP/2 connections, to clients and to origins
//	tunnel.go      the two-way pipe behind a 101
//	websocket*.go  what is special about one that carries WebSocket
//	connect.go     WebSocket on streams: extended CONNECT for upgrade and back
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
