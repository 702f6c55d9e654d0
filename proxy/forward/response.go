package forward

import (
	"zproxy/proto"
	"zproxy/proto/http1"
	"zproxy/proxy/snapshot"
)

// Response drops the fields of this hop from the head of a response, and lists those the
// proxy adds. ms is the wall clock; stuck tells the client which endpoint it is to come back to, if it has an endpoint.
func (fs *Fields) Response(f *snapshot.Forwarding, h *proto.Head, ms int64, stuck *Stuck) []proto.Extra {
	http1.MarkHopByHop(h)
	fs.reset()
	// RFC 9110 6.6.1: a response forwarded without a Date gets one.
	if _, ok := h.Get(proto.TokenDate); !ok {
		fs.list = append(fs.list, fs.Date(ms))
	}
	if via := f.ResponseVia[versionOf(h)]; via != "" {
		fs.add(proto.TokenVia, via)
	}
	if stuck.To != nil {
		from := len(fs.text)
		fs.text = stuck.By.AppendCookie(fs.text, stuck.To, stuck.WithTLS)
		fs.close(proto.TokenSetCookie, from)
	}
	fs.list = fs.changed(fs.list)
	return fs.list
}

// Stuck is what a client is told of the endpoint that serves it.
type Stuck struct {
	By      *snapshot.Sticky
	To      []byte // the endpoint's token; nil: it is told nothing
	WithTLS bool   // the client is within TLS
}

// ResponseLines is Response for a client of HTTP/1. It is told what is switched to, or what
// a 426 asks for (RFC 9110 7.8, 15.5.22), for which HTTP/2 has no place (RFC 9113 8.2.2).
// accept is Sec-WebSocket-Accept where the origin had no key to answer.
func (fs *Fields) ResponseLines(f *snapshot.Forwarding, h *proto.Head, ms int64, stuck *Stuck, accept []byte) []proto.Extra {
	fs.Response(f, h, ms, stuck)
	if h.Status == 101 || h.Status == 426 && !h.H2 {
		fs.upgrade(h)
		if h.H2 {
			fs.lend(proto.TokenSecWebSocketAccept, accept)
		}
	}
	return fs.list
}

// Framing is how a client of HTTP/1.minor is told the end of the response with head h
// (RFC 9112 6.1, 6.3): by its length, chunks, or the end of its connection. end: the response
// ends with h, which came as HTTP/2.
func Framing(h *proto.Head, minor uint8, end bool) (framing proto.BodyKind, length int64) {
	framing, length = h.Body, h.Length
	if framing == proto.BodyLength && h.H2 && !end && (announcesTrailers(h) || length == 0) {
		// HTTP/1 has a place for trailers behind chunks alone; and with a length
		// of 0 the head would say that it is all, which END_STREAM is to say.
		framing = proto.BodyChunked
	}
	switch {
	case framing == proto.BodyNone:
		return framing, Length(h)
	case framing == proto.BodyLength:
		return framing, length
	case minor == 0:
		return proto.BodyUntilClose, length
	}
	return proto.BodyChunked, length
}

// Length is what a head says about the length of the content that it, or a HEAD or a 304,
// stands for.
func Length(h *proto.Head) int64 {
	if h.Status == 204 {
		return -1 // RFC 9110 8.6: none there, whatever the origin sent
	}
	return h.ContentLength
}

func announcesTrailers(h *proto.Head) bool {
	_, ok := h.Get(proto.TokenTrailer)
	return ok
}

// EndsWith says that a stream's response ends with its head h: nothing follows, and the head
// says so. Behind one of HTTP/2 there may be trailers, or a reset that says that it is not
// whole.
func EndsWith(h *proto.Head) bool {
	return !h.H2 && (h.Body == proto.BodyNone || h.Body == proto.BodyLength && h.Length == 0)
}
