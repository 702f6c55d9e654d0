package forward

import (
	"zproxy/proto"
	"zproxy/proto/http1"
	"zproxy/proto/http2"
	"zproxy/proxy/snapshot"
)

// AppendTarget appends the request-target for the origin (RFC 9112 3.2.1): with path, the
// routed one, in the place of the received one; nil: it is the same.
func AppendTarget(dst []byte, h *proto.Head, path []byte) []byte {
	if path == nil {
		return h.AppendOriginTarget(dst)
	}
	dst = append(dst, path...)
	if h.Query.Off != 0 {
		dst = append(dst, '?')
		dst = append(dst, h.Bytes(h.Query)...)
	}
	return dst
}

// RequestBound is how many bytes AppendRequest appends at the most.
func RequestBound(h *proto.Head, toH2 bool, line *http2.RequestLine, extras []proto.Extra) int {
	if toH2 {
		return http2.RequestBlockBound(h, line, extras)
	}
	return http1.RequestHeadBound(h, line.Path, line.Authority, extras)
}

// AppendRequest appends the head of a request as an origin takes it. upgrade:
// no content follows, but a tunnel may.
func AppendRequest(dst []byte, h *proto.Head, toH2 bool, line *http2.RequestLine, upgrade bool, extras []proto.Extra) []byte {
	if toH2 {
		return http2.AppendRequestBlock(dst, h, line, h.ContentLength, extras)
	}
	body, length := h.Body, h.Length
	if body == proto.BodyNone && !upgrade && (h.ContentLength == 0 || h.Method.ExpectsContent(line.Method)) {
		body, length = proto.BodyLength, 0
	}
	return http1.AppendRequestHead(dst, h, line.Path, line.Authority, body, length, extras)
}

// AppendTrailers appends trailers as an origin takes them.
func AppendTrailers(dst []byte, t *proto.Head, toH2 bool) []byte {
	if toH2 {
		return http2.AppendTrailerBlock(dst, t)
	}
	return http1.AppendTrailers(dst, t)
}

// AppendTrace appends h as TRACE answers it: as it was received, but for what identifies
// the user (RFC 9110 9.3.8).
func AppendTrace(dst []byte, h *proto.Head) []byte {
	h.Drop(proto.TokenCookie)
	h.Drop(proto.TokenAuthorization)
	h.Drop(proto.TokenProxyAuthorization)
	return http1.AppendRequestHead(dst, h, h.Bytes(h.Target), h.Bytes(h.Host), proto.BodyNone, -1, nil)
}

// AppendLines appends a response of the proxy's own in lines, with more fields. keep: the client may
// send another request; head: only the head was asked for.
func AppendLines(dst []byte, a *snapshot.Response, date proto.Extra, more []proto.Extra, minor uint8, keep, head bool) []byte {
	dst = append(dst, a.Head...)
	dst = snapshot.AppendLine(dst, date)
	for _, f := range more {
		dst = snapshot.AppendLine(dst, f)
	}
	switch {
	case !keep:
		dst = append(dst, "Connection: close\r\n"...)
	case minor == 0:
		dst = append(dst, "Connection: keep-alive\r\n"...)
	}
	dst = append(dst, "\r\n"...)
	if !head {
		dst = append(dst, a.Body...)
	}
	return dst
}

// AppendBlock appends the head of a response of the proxy's own as a field block.
func AppendBlock(dst []byte, a *snapshot.Response, date proto.Extra, more []proto.Extra) []byte {
	dst = append(dst, a.Block...)
	dst = http2.AppendField(dst, &date)
	for i := range more {
		dst = http2.AppendField(dst, &more[i])
	}
	return dst
}
