// Package http1 reads and writes HTTP/1.0 and HTTP/1.1 messages (RFC 9112) in
// the buffers they arrived in.
//
// It is sans-IO: bytes come as arguments, results are offsets into them,
// errors are values, time does not occur. Any splitting of the input gives the
// same heads, the same data and the same faults.
//
//   - request.go, response.go, fields.go, trailers.go: heads, in one pass; a head
//     that arrives in pieces is resumed with a cursor and costs at most two passes
//   - framing.go: where a message ends, and everything about that which is
//     refused as ambiguous; the one file to read about request smuggling
//   - body.go, chunk.go: content, as a walk over pieces of the caller's buffers
//   - connection.go: what belongs to one connection and is not forwarded
//   - write.go: heads, composed from runs of the lines received
//
// Lines end with CRLF and nothing else. RFC 9112 section 2.2 allows a lone LF
// to be taken for a line end; where two parties differ on that, one of them
// sees a message the other does not, so it is refused.
package http1
