package http2

import "zproxy/proto"

// RequestLine is what the pseudo-fields of a request say (RFC 9113 section
// 8.3.1). Empty parts are left out: CONNECT has Method and Authority only.
type RequestLine struct {
	Method, Scheme, Authority, Path, Protocol []byte
}

// AppendRequestBlock appends the block of the request to send: pseudo-fields
// from r, the fields of h without FlagDrop, content-length unless length is
// negative, and extras. Names are in lower case whatever they were; fields
// that belong to a connection, Host and Content-Length of h are never copied:
// a TE: trailers that is to be passed on is one of the extras.
func AppendRequestBlock(dst []byte, h *proto.Head, r *RequestLine, length int64, extras []proto.Extra) []byte {
	return dst
}

// RequestBlockBound is a length AppendRequestBlock does not exceed.
func RequestBlockBound(h *proto.Head, r *RequestLine, extras []proto.Extra) int { return 0 }

// AppendResponseBlock is AppendRequestBlock for a response with h.Status.
func AppendResponseBlock(dst []byte, h *proto.Head, length int64, extras []proto.Extra) []byte {
	return dst
}

// ResponseBlockBound is a length AppendResponseBlock does not exceed.
func ResponseBlockBound(h *proto.Head, extras []proto.Extra) int { return 0 }

// AppendTrailerBlock appends the block of a trailer section: the fields of h
// without FlagDrop.
func AppendTrailerBlock(dst []byte, h *proto.Head) []byte { return dst }

// TrailerBlockBound is a length AppendTrailerBlock does not exceed.
func TrailerBlockBound(h *proto.Head) int { return 0 }

// AppendStatus begins the block of a response the proxy prepares itself.
func AppendStatus(dst []byte, status int) []byte { return dst }

// AppendField appends one field to such a block.
func AppendField(dst []byte, name string, value []byte) []byte { return dst }

// ReadBlock reads back a block that was written by this package, into h: Method,
// MethodName, Target, Path, Query, Scheme, Host, Protocol, Status, Fields. h
// borrows text, which is what was appended to dst. It is false for a block
// that was not.
func ReadBlock(dst []byte, b []byte, h *proto.Head) (text []byte, ok bool) { return dst, false }
