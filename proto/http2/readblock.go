package http2

import "zproxy/proto"

// ReadBlock reads back a block that was written by this package, into h: Method,
// MethodName, Target, Path, Query, Scheme, Host, Protocol, Status, Fields. h
// borrows text, which is what was appended to dst. It is false for a block
// that was not.
func ReadBlock(dst []byte, b []byte, h *proto.Head) (text []byte, ok bool) {
	h.Reset(nil)
	h.H2, h.KeepAlive = true, true
	for len(b) > 0 {
		var name, value proto.Span
		c := b[0]
		b = b[1:]
		switch {
		case c == tableUpdate:
			continue
		case c >= indexed:
			i := int(c &^ indexed)
			if i == 0 || i >= len(staticTable) {
				return dst, false
			}
			dst, name = appendText(dst, staticTable[i].name)
			dst, value = appendText(dst, staticTable[i].value)
		case c < tableUpdate:
			if dst, name, b, ok = readName(dst, b, c&nameIndexIn); !ok {
				return dst, false
			}
			if dst, value, b, ok = readString(dst, b); !ok {
				return dst, false
			}
		default:
			return dst, false
		}
		h.Buf = dst
		addField(h, name, value)
	}
	h.Buf = dst
	return dst, true
}

func appendText(dst []byte, s string) ([]byte, proto.Span) {
	return append(dst, s...), proto.Span{Off: uint32(len(dst)), Len: uint32(len(s))}
}

// readName reads the name of a literal: an index, or a string for 0.
func readName(dst, b []byte, i byte) (_ []byte, name proto.Span, rest []byte, ok bool) {
	if i == 0 {
		return readString(dst, b)
	}
	n := int(i)
	if i == nameIndexIn {
		if len(b) == 0 {
			return dst, name, b, false
		}
		n += int(b[0])
		b = b[1:]
	}
	if n >= len(staticTable) {
		return dst, name, b, false
	}
	dst, name = appendText(dst, staticTable[n].name)
	return dst, name, b, true
}

func readString(dst, b []byte) (_ []byte, s proto.Span, rest []byte, ok bool) {
	if len(b) == 0 || b[0] > 0x7f {
		return dst, s, b, false
	}
	n := int(b[0])
	b = b[1:]
	if n == 0x7f {
		for shift := 0; ; shift += 7 {
			if len(b) == 0 || shift > 21 {
				return dst, s, b, false
			}
			c := b[0]
			b = b[1:]
			n += int(c&0x7f) << shift
			if c < 0x80 {
				break
			}
		}
	}
	if n > len(b) {
		return dst, s, b, false
	}
	s = proto.Span{Off: uint32(len(dst)), Len: uint32(n)}
	return append(dst, b[:n]...), s, b[n:], true
}

// addField puts a field where it belongs in h.
func addField(h *proto.Head, name, value proto.Span) {
	n, v := h.Bytes(name), h.Bytes(value)
	if len(n) == 0 || n[0] != ':' {
		f := proto.Field{Name: name, Value: value, Token: proto.LookupToken(n)}
		if f.Token == proto.TokenContentLength {
			if length, code := proto.ParseContentLength(v); code == proto.FaultNone {
				h.ContentLength = length
			}
		}
		h.Fields = append(h.Fields, f)
		return
	}
	switch string(n) {
	case ":method":
		h.MethodName, h.Method = value, proto.ParseMethod(v)
	case ":scheme":
		h.Scheme = value
	case ":authority":
		h.Host = value
		if h.Method == proto.CONNECT {
			h.Target, h.Form = value, proto.AuthorityForm
		}
	case protocolName:
		h.Protocol = value
	case ":status":
		for _, c := range v {
			h.Status = h.Status*10 + uint16(c-'0')
		}
	case ":path":
		_, query := proto.ScanTarget(h.Buf, int(value.Off))
		h.Target, h.Form, h.Path = value, proto.OriginForm, value
		if len(v) == 1 && v[0] == '*' {
			h.Form = proto.AsteriskForm
		}
		if query >= 0 {
			h.Path.Len = uint32(query) - value.Off
			h.Query = proto.Span{Off: uint32(query) + 1, Len: value.End() - uint32(query) - 1}
		}
	}
}

// staticTable is RFC 7541 appendix A.
var staticTable = [...]struct{ name, value string }{
	1: {":authority", ""}, 2: {":method", "GET"}, 3: {":method", "POST"}, 4: {":path", "/"}, 5: {":path", "/index.html"},
	6: {":scheme", "http"}, 7: {":scheme", "https"}, 8: {":status", "200"}, 9: {":status", "204"}, 10: {":status", "206"},
	11: {":status", "304"}, 12: {":status", "400"}, 13: {":status", "404"}, 14: {":status", "500"}, 15: {"accept-charset", ""},
	16: {"accept-encoding", gzipDeflate}, 17: {"accept-language", ""}, 18: {"accept-ranges", ""}, 19: {"accept", ""},
	20: {"access-control-allow-origin", ""}, 21: {"age", ""}, 22: {"allow", ""}, 23: {"authorization", ""},
	24: {"cache-control", ""}, 25: {"content-disposition", ""}, 26: {"content-encoding", ""}, 27: {"content-language", ""},
	28: {"content-length", ""}, 29: {"content-location", ""}, 30: {"content-range", ""}, 31: {"content-type", ""},
	32: {"cookie", ""}, 33: {"date", ""}, 34: {"etag", ""}, 35: {"expect", ""}, 36: {"expires", ""}, 37: {"from", ""},
	38: {"host", ""}, 39: {"if-match", ""}, 40: {"if-modified-since", ""}, 41: {"if-none-match", ""}, 42: {"if-range", ""},
	43: {"if-unmodified-since", ""}, 44: {"last-modified", ""}, 45: {"link", ""}, 46: {"location", ""}, 47: {"max-forwards", ""},
	48: {"proxy-authenticate", ""}, 49: {"proxy-authorization", ""}, 50: {"range", ""}, 51: {"referer", ""}, 52: {"refresh", ""},
	53: {"retry-after", ""}, 54: {"server", ""}, 55: {"set-cookie", ""}, 56: {"strict-transport-security", ""},
	57: {"transfer-encoding", ""}, 58: {"user-agent", ""}, 59: {"vary", ""}, 60: {"via", ""}, 61: {"www-authenticate", ""},
}
