package http1

import (
	"strconv"

	"zproxy/proto"
)

const (
	// ChunkEnd follows the data of every chunk.
	ChunkEnd = "\r\n"
	// LastChunk ends the data; a trailer section or an empty line follows.
	LastChunk = "0\r\n"

	// phraseMax bounds the phrases of proto.
	phraseMax = 32

	lengthField  = "Content-Length: "
	chunkedField = "Transfer-Encoding: chunked\r\n"
	closeField   = "Connection: close\r\n"
	aliveField   = "Connection: keep-alive\r\n"

	// framingMax bounds the framing and connection fields and the last CRLF.
	framingMax = len(lengthField) + 19 + 2 + len(aliveField) + 2
)

// RequestHeadBound is a length AppendRequestHead does not exceed.
func RequestHeadBound(h *proto.Head, target, host []byte, extras []proto.Extra) int {
	return int(h.MethodName.Len) + len(" ") + len(target) + len(" HTTP/1.1\r\nHost: \r\n") + len(host) +
		fieldsBound(h, extras) + framingMax
}

// ResponseHeadBound is a length AppendResponseHead does not exceed.
func ResponseHeadBound(h *proto.Head, extras []proto.Extra) int {
	return len("HTTP/1.1 200 \r\n") + max(int(h.Reason.Len), phraseMax) + fieldsBound(h, extras) + framingMax
}

// TrailersBound is a length AppendTrailers does not exceed.
func TrailersBound(h *proto.Head) int { return fieldsBound(h, nil) + 2 }

func fieldsBound(h *proto.Head, extras []proto.Extra) (n int) {
	if k := len(h.Fields); k > 0 && h.Lines {
		n = int(h.Fields[k-1].End - h.Fields[0].Name.Off)
	} else {
		for i := range h.Fields {
			n += int(h.Fields[i].Name.Len+h.Fields[i].Value.Len) + len(": \r\n")
		}
	}
	for i := range extras {
		n += len(extras[i].Name) + len(extras[i].Value) + len(": \r\n")
	}
	return n
}

// AppendRequestHead appends the head of the request to send to the origin: a
// request line with target, Host (RFC 9110 section 7.2: first), the fields of h
// without FlagDrop as they came, the framing fields for body and length, and
// extras. Host, Content-Length and Transfer-Encoding of h are never copied.
func AppendRequestHead(dst []byte, h *proto.Head, target []byte, host []byte, body proto.BodyKind, length int64, extras []proto.Extra) []byte {
	dst = append(dst, h.Bytes(h.MethodName)...)
	dst = append(dst, ' ')
	dst = appendValue(dst, target)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = appendValue(dst, host)
	dst = append(dst, "\r\n"...)
	dst = appendFields(dst, h, proto.TokenHost)
	switch body {
	case proto.BodyLength:
		dst = appendLength(dst, length)
	case proto.BodyChunked:
		dst = append(dst, chunkedField...)
	}
	dst = appendExtras(dst, extras)
	return append(dst, "\r\n"...)
}

// AppendResponseHead appends the head of the response to send to a client that
// speaks HTTP/1.minor. The status line says HTTP/1.1 to either, as it names
// what the sender speaks (RFC 9110 section 2.5), so a closing connection is
// announced to both, a persistent one to HTTP/1.0 clients (RFC 9112 sections
// 9.3, 9.6). BodyNone with length >= 0 writes the Content-Length of a response
// to HEAD or of a 304.
func AppendResponseHead(dst []byte, h *proto.Head, minor uint8, body proto.BodyKind, length int64, keepAlive bool, extras []proto.Extra) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = append(dst, byte('0'+h.Status/100%10), byte('0'+h.Status/10%10), byte('0'+h.Status%10), ' ')
	if h.H2 { // HTTP/2 has none, and some parsers want one
		dst = append(dst, proto.ReasonPhrase(int(h.Status))...)
	} else {
		dst = append(dst, h.Bytes(h.Reason)...)
	}
	dst = append(dst, "\r\n"...)
	dst = appendFields(dst, h, proto.TokenContentLength)
	switch {
	case body == proto.BodyChunked:
		dst = append(dst, chunkedField...)
	case body == proto.BodyLength, body == proto.BodyNone && length >= 0:
		dst = appendLength(dst, length)
	}
	if !keepAlive {
		dst = append(dst, closeField...)
	} else if minor == 0 {
		dst = append(dst, aliveField...)
	}
	dst = appendExtras(dst, extras)
	return append(dst, "\r\n"...)
}

// AppendTrailers appends a trailer section of the fields of h without FlagDrop,
// and its empty line.
func AppendTrailers(dst []byte, h *proto.Head) []byte {
	dst = appendFields(dst, h, proto.TokenHost)
	return append(dst, "\r\n"...)
}

// AppendChunkHeader appends the chunk-size line of a chunk of n bytes (RFC 9112
// section 7.1).
func AppendChunkHeader(dst []byte, n int) []byte {
	dst = strconv.AppendUint(dst, uint64(n), 16)
	return append(dst, "\r\n"...)
}

// appendFields copies the fields that are forwarded; own is one more token the
// caller writes itself.
func appendFields(dst []byte, h *proto.Head, own proto.Token) []byte {
	if !h.Lines {
		return composeFields(dst, h, own)
	}
	var begin, end uint32 // the run not copied yet
	for i := range h.Fields {
		f := &h.Fields[i]
		if !forwarded(f, own) {
			continue
		}
		if f.Name.Off != end {
			dst = append(dst, h.Buf[begin:end]...)
			begin = f.Name.Off
		}
		end = f.End
	}
	return append(dst, h.Buf[begin:end]...)
}

// composeFields writes lines for fields that did not come as lines.
func composeFields(dst []byte, h *proto.Head, own proto.Token) []byte {
	for i := range h.Fields {
		f := &h.Fields[i]
		if !forwarded(f, own) {
			continue
		}
		dst = append(dst, h.Bytes(f.Name)...)
		dst = append(dst, ": "...)
		dst = appendValue(dst, h.Bytes(f.Value))
		dst = append(dst, "\r\n"...)
	}
	return dst
}

func forwarded(f *proto.Field, own proto.Token) bool {
	return f.Flags&proto.FlagDrop == 0 && f.Token != proto.TokenContentLength &&
		f.Token != proto.TokenTransferEncoding && f.Token != own
}

func appendLength(dst []byte, n int64) []byte {
	dst = append(dst, lengthField...)
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, "\r\n"...)
}

func appendExtras(dst []byte, extras []proto.Extra) []byte {
	for i := range extras {
		dst = append(dst, extras[i].Name...)
		dst = append(dst, ": "...)
		dst = appendValue(dst, extras[i].Value)
		dst = append(dst, "\r\n"...)
	}
	return dst
}

// appendValue appends bytes that did not come out of a checked line. A control
// character would begin a line of somebody else's: it becomes a space.
func appendValue(dst, v []byte) []byte {
	begin := len(dst)
	dst = append(dst, v...)
	for i := proto.ValueEnd(dst, begin); i < len(dst); i = proto.ValueEnd(dst, i) {
		dst[i] = ' '
	}
	return dst
}
