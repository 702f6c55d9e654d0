package forward

import (
	"zproxy/proto"
	"zproxy/proto/http2"
)

// A gRPC client reads the outcome of a call in the fields grpc-status and
// grpc-message, which an answer of the proxy's own has in its only head
// ("trailers-only"); a status other than 200 and a text for people would be an
// error of the transport to it.

// GRPCStatus is a code of gRPC's.
type GRPCStatus uint8

// The codes that the proxy gives.
const (
	GRPCUnknown           GRPCStatus = 2
	GRPCDeadlineExceeded  GRPCStatus = 4
	GRPCPermissionDenied  GRPCStatus = 7
	GRPCResourceExhausted GRPCStatus = 8
	GRPCUnimplemented     GRPCStatus = 12
	GRPCInternal          GRPCStatus = 13
	GRPCUnavailable       GRPCStatus = 14
	GRPCUnauthenticated   GRPCStatus = 16
)

// AsksByGRPC: the content of h is gRPC's: application/grpc, with a suffix or
// parameters perhaps. (application/grpc-web is another protocol.)
func AsksByGRPC(h *proto.Head) bool {
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

// eitherBegins says that the origin may speak before any content of h has come: in calls
// that stream both ways either side may begin. (So it may where the client asked
// for a 100, and in tunnels, which have no content.)
func eitherBegins(h *proto.Head) bool {
	kind, _ := h.Get(proto.TokenContentType)
	return beginsWith(kind, "application/grpc") && !beginsWith(kind, "application/grpc-web") || beginsWith(kind, "application/connect+")
}

// beginsWith compares as media types are compared (RFC 9110 8.3.1); what is in
// lower case.
func beginsWith(b []byte, what string) bool {
	return len(b) >= len(what) && proto.EqualFold(b[:len(what)], what)
}

// GRPCStatusOf is what an HTTP status says to a gRPC client. It follows gRPC's own
// mapping for clients that get such a status, but tells apart what that one has
// to call UNAVAILABLE or UNKNOWN: a call that was given up for its time may have
// been carried out, and a message or head that is too large stays so.
func GRPCStatusOf(status uint16) GRPCStatus {
	switch status {
	case 400:
		return GRPCInternal
	case 401:
		return GRPCUnauthenticated
	case 403:
		return GRPCPermissionDenied
	case 404, 405, 501:
		return GRPCUnimplemented
	case 408, 504:
		return GRPCDeadlineExceeded
	case 413, 414, 429, 431:
		return GRPCResourceExhausted
	case 421, 502, 503, 508:
		return GRPCUnavailable
	}
	return GRPCUnknown
}

// AppendGRPC appends the field block of an answer to a gRPC client that is one head. ms is
// the wall clock.
func (fs *Fields) AppendGRPC(dst []byte, status GRPCStatus, message string, ms int64) []byte {
	dst = http2.AppendStatus(dst, 200)
	dst = http2.AppendField(dst, &grpcType)
	date := fs.Date(ms)
	dst = http2.AppendField(dst, &date)
	more := fs.Own(proto.Extra{})
	for i := range more {
		dst = http2.AppendField(dst, &more[i])
	}
	fs.reset()
	if status > 9 {
		fs.text = append(fs.text, '1')
	}
	fs.text = append(fs.text, '0'+byte(status)%10)
	dst = http2.AppendField(dst, &proto.Extra{Name: "grpc-status", Value: fs.text})
	fs.text = appendGRPCMessage(fs.text[:0], message)
	return http2.AppendField(dst, &proto.Extra{Name: "grpc-message", Value: fs.text})
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
