package upstream

import "zproxy/proto"

// Repeat says when a request may be sent again of which an origin may have seen something,
// and has not answered it.
type Repeat uint8

const (
	RepeatNever  Repeat = iota
	RepeatUnseen        // when most likely no origin has seen it: its connection had served before, and was closed
	RepeatAlways
)

// RepeatOf is what a method allows; name is its name, for those without a number.
func RepeatOf(method proto.Method, name []byte) Repeat {
	switch method {
	// RFC 9110 9.2.1: safe methods. Asking again changes nothing.
	case proto.GET, proto.HEAD, proto.OPTIONS, proto.TRACE:
		return RepeatAlways
	// RFC 9110 9.2.2: idempotent methods may be repeated. A fresh connection
	// that breaks has probably reached the handler, though; writing twice is
	// then left to the client's judgement.
	case proto.PUT, proto.DELETE:
		return RepeatUnseen
	case proto.MethodOther:
		if string(name) == "QUERY" { // RFC 10008 2: safe
			return RepeatAlways
		}
	}
	// RFC 9110 9.2.2: a proxy MUST NOT automatically retry non-idempotent
	// requests. Of methods it does not know it cannot tell.
	return RepeatNever
}
