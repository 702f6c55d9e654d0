package proxy

import (
	"zproxy/proto"
	"zproxy/proto/http2"
)

// A gRPC client reads the outcome of a call in the fields grpc-status and
// grpc-message, which an answer of the proxy's own has in its only head
// ("trailers-only"); a status other than 200 and a text for people would be an
// error of the transport to it. It also has a meaning for the codes of RST_STREAM
// (gRPC over HTTP/2, "Responses", "Errors").

// The codes of gRPC's statuses that the proxy gives.
const (
	grpcUnknown           = 2
	grpcDeadlineExceeded  = 4
	grpcPermissionDenied  = 7
	grpcResourceExhausted = 8
	grpcUnimplemented     = 12
	grpcInternal          = 13
	grpcUnavailable       = 14
	grpcUnauthenticated   = 16
)

// asksByGRPC: the content of h is gRPC's: application/grpc, with a suffix or
// parameters perhaps. (application/grpc-web is another protocol.)
func asksByGRPC(h *proto.Head) bool {
	if !h.H2 || h.Method != proto.POST {
		return false
	}
	const name = "application/grpc"
	v, _ := h.Get(proto.TokenContentType)
	if len(v) < len(name) || !proto.EqualFold(v[:len(name)], name) {
		return false
	}
	return len(v) == len(name) || v[len(name)] == '+' || v[len(name)] == ';' || v[len(name)] == ' '
}

// grpcStatus is what an HTTP status says to a gRPC client. It follows gRPC's own
// mapping for clients that get such a status, but tells apart what that one has
// to call UNAVAILABLE or UNKNOWN: a call that was given up for its time may have
// been carried out, and a message or head that is too large stays so.
func grpcStatus(status uint16) byte {
	switch status {
	case 400:
		return grpcInternal
	case 401:
		return grpcUnauthenticated
	case 403:
		return grpcPermissionDenied
	case 404, 405, 501:
		return grpcUnimplemented
	case 408, 504:
		return grpcDeadlineExceeded
	case 413, 414, 429, 431:
		return grpcResourceExhausted
	case 421, 502, 503, 508:
		return grpcUnavailable
	}
	return grpcUnknown
}

// grpcStatusOf is grpcStatus of a fault: of those with the same status some say
// that something is used up.
func grpcStatusOf(f *proto.Fault) byte {
	if f.Code == codeMemory || f.Code == codeNoSocket {
		return grpcResourceExhausted
	}
	return grpcStatus(f.Status)
}

// giveGRPCAnswer answers a gRPC client with one head that ends the stream, and
// ends the exchange. x.status is what the log says.
func (rs *responses) giveGRPCAnswer(c *client, x *exchange, code byte, message, why string) {
	rs.w.heads.block = http2.AppendStatus(rs.w.heads.block[:0], 200)
	rs.w.heads.block = http2.AppendField(rs.w.heads.block, &grpcType)
	date := rs.w.heads.dateField()
	rs.w.heads.block = http2.AppendField(rs.w.heads.block, &date)
	rs.w.heads.scratch = rs.w.heads.scratch[:0]
	if code > 9 {
		rs.w.heads.scratch = append(rs.w.heads.scratch, '1')
	}
	rs.w.heads.scratch = append(rs.w.heads.scratch, '0'+code%10)
	rs.w.heads.block = http2.AppendField(rs.w.heads.block, &proto.Extra{Name: "grpc-status", Value: rs.w.heads.scratch})
	rs.w.heads.scratch = appendGRPCMessage(rs.w.heads.scratch[:0], message)
	rs.w.heads.block = http2.AppendField(rs.w.heads.block, &proto.Extra{Name: "grpc-message", Value: rs.w.heads.scratch})
	rs.w.frames.trailersOnly(c, x, rs.w.heads.block)
	broken := x.flags&xBroken != 0
	rs.w.endExchange(c, x, why)
	if broken {
		rs.w.legs.unanswered(c)
		return
	}
	rs.w.clients.finishAnswer(c)
}

var grpcType = proto.NewExtra(proto.TokenContentType, []byte("application/grpc"))

// appendGRPCMessage writes a message as the field has it: whatever is not a
// printable ASCII character, and the percent sign, percent-encoded.
func appendGRPCMessage(dst []byte, message string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(message) {
		if c := message[i]; c < ' ' || c > '~' || c == '%' {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

// passedToClient is the code of a client's stream whose origin has reset its own
// with code: the same where it is about the request, and INTERNAL_ERROR where it
// is about that connection alone. An answer that is not whole is never said to be
// no error, nor one that has begun not to have been processed.
func passedToClient(code http2.ErrCode) http2.ErrCode {
	if code == http2.ErrCancel || code == http2.ErrEnhanceYourCalm {
		return code
	}
	return http2.ErrInternal
}

// passedToOrigin is likewise the code of an origin's stream: CANCEL, unless its
// client says what it has come to.
func passedToOrigin(code http2.ErrCode) http2.ErrCode {
	if code == http2.ErrInternal || code == http2.ErrEnhanceYourCalm {
		return code
	}
	return http2.ErrCancel
}
