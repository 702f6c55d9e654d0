package upstream

import "zproxy/proto"

// Retryable says whether a request that was sent on a connection which then
// broke without a complete response may be sent again.
//
// reused: the connection had served before, so most likely the origin closed
// it before it saw the request. bytesSentBack: something of the response came.
// bodyStarted: bytes of the request's body were taken from the client;
// bodyReplayable: all of them are still at hand.
func Retryable(method proto.Method, reused, bytesSentBack, bodyStarted, bodyReplayable bool) bool {
	if bytesSentBack || bodyStarted && !bodyReplayable {
		return false
	}
	switch method {
	// RFC 9110 9.2.1: safe methods. Asking again changes nothing.
	case proto.GET, proto.HEAD, proto.OPTIONS, proto.TRACE:
		return true
	// RFC 9110 9.2.2: idempotent methods may be repeated. A fresh connection
	// that breaks has probably reached the handler, though; writing twice is
	// then left to the client's judgement.
	case proto.PUT, proto.DELETE:
		return reused
	}
	// RFC 9110 9.2.2: a proxy MUST NOT automatically retry non-idempotent
	// requests. Of methods it does not know it cannot tell.
	return false
}
