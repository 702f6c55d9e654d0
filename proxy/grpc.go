package proxy

import (
	"zproxy/proto"
	"zproxy/proto/http2"
	"zproxy/proxy/forward"
)

// grpcStatusOf is what a fault says to a gRPC client: of those with the same HTTP status
// some say that something is used up.
func grpcStatusOf(f *proto.Fault) forward.GRPCStatus {
	if f.Code == codeMemory || f.Code == codeNoSocket {
		return forward.GRPCResourceExhausted
	}
	return forward.GRPCStatusOf(f.Status)
}

// giveGRPCAnswer answers a gRPC client with one head that ends the stream, and
// ends the exchange. x.status is what the log says.
func (rs *responses) giveGRPCAnswer(c *client, x *exchange, status forward.GRPCStatus, message, why string) {
	hd := &rs.w.heads
	if x.flags&xFiltered != 0 {
		rs.w.filters.respond(c, x, nil)
	}
	hd.block = hd.fields.AppendGRPC(hd.block[:0], status, message, rs.l.WallMs())
	rs.w.frames.trailersOnly(c, x, hd.block)
	broken := x.flags&xBroken != 0
	rs.w.endExchange(c, x, why)
	if broken {
		rs.w.legs.unanswered(c)
		return
	}
	rs.w.clients.finishAnswer(c)
}

// A gRPC client has a meaning for the codes of RST_STREAM, too (gRPC over HTTP/2,
// "Responses", "Errors").

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
