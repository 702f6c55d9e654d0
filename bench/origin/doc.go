// Command origin is a plain HTTP/1.1 server to put behind a proxy, for measurements and tests. It is built on
// github.com/cloudwego/netpoll and shares no code with the proxy.
//
//	origin -listen ADDR -size N
//
// ADDR is host:port or unix:/path. Any method is answered on any path; request bodies are read whatever their framing,
// connections are kept, pipelined requests are answered in one write. What a path answers:
//
//	/bytes/N        N bytes, of which the one at offset i is i modulo 251
//	/chunked/N      the same, chunked
//	/until-close/N  the same, ended by closing the connection
//	/echo           the request's body, as it comes, framed like the request
//	/headers        the request's head, byte for byte
//	/trailers       "trailers\n", chunked, with trailers: the bytes of the request's body, and how many trailers it had
//	/delay/MS       as any other path, after so many milliseconds
//	/status/CODE    as any other path, with this status; a 1xx is sent before a 200
//	/close          as any other path, then the connection is closed
//	/early          as any other path, but before the request's body is read
//	anything else   200 with N bytes of "x", N from -size
//
// A WebSocket handshake on any path is accepted, and every message echoed. A client may also begin with HTTP/2 (prior
// knowledge, RFC 9113 section 3.4): all its requests get the ordinary answer. That takes it 0.7 us where nghttpd takes 3.3 us
// and nginx 11 us (h2load, 8 connections of 32 streams), so it is not what a proxy in front of it waits for.
//
// A client that ends its side of the connection before it has the answer may not get it. Memory is bounded for all
// but /echo, which queues what the client sends faster than it takes the answer.
package main
