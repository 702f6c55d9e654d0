package http1

import (
	"bytes"

	"zproxy/proto"
)

// statusLineMin is the length of "HTTP/1.1 200" with its CRLF: the space before
// an empty reason phrase is often left out, which harms nobody.
const statusLineMin = versionBytes + 4 + 2

// ParseResponse reads the response head b begins with; req is the method of
// the request it answers, which decides about content (RFC 9112 section 6.3).
// Results are those of ParseRequest, faults carry 502.
func ParseResponse(b []byte, scanned Cursor, req proto.Method, lim *Limits, h *proto.Head) (n int, scannedNow Cursor, f *proto.Fault) {
	b, full := clip(b, lim)
	if scanned != (Cursor{}) {
		again, next := resume(b, scanned, lim, h)
		if !again && !full && statusLineStart(b) == proto.FaultNone {
			return 0, next, nil
		}
	}
	h.Reset(b)
	line, code := statusLine(b, h)
	if code != proto.FaultNone {
		return 0, Cursor{}, proto.ResponseFault(code)
	}
	if line == 0 {
		return goesOn(cursor(0, len(b), 0), full, proto.ResponseFault(proto.FaultHeadTooLarge))
	}
	h.Lines = true
	var s noted
	end, line, count, code := fieldSection(b, line, 0, lim, h, &s)
	if code != proto.FaultNone {
		return 0, Cursor{}, proto.ResponseFault(code)
	}
	if end == 0 {
		return goesOn(cursor(line, len(b), count), full, proto.ResponseFault(proto.FaultHeadTooLarge))
	}
	if code := responseFraming(h, &s, req); code != proto.FaultNone {
		return 0, Cursor{}, proto.ResponseFault(code)
	}
	return end, Cursor{}, nil
}

// statusLine reads HTTP-version SP status-code SP [ reason-phrase ] CRLF (RFC
// 9112 section 4). next is the offset behind it, 0 with FaultNone while it is
// not complete.
func statusLine(b []byte, h *proto.Head) (next int, code proto.FaultCode) {
	if len(b) < statusLineMin {
		return 0, statusLineFault(b)
	}
	minor, ok := versionMinor(b)
	if !ok || b[8] != ' ' {
		return 0, statusLineFault(b)
	}
	d0, d1, d2 := b[9]-'0', b[10]-'0', b[11]-'0'
	if d0 > 9 || d1 > 9 || d2 > 9 || d0 == 0 {
		return 0, statusLineFault(b)
	}
	reason := 12
	if b[reason] == ' ' {
		reason++
	} else if b[reason] != '\r' {
		return 0, statusLineFault(b)
	}
	end := proto.ValueEnd(b, reason)
	if end+1 >= len(b) || b[end] != '\r' || b[end+1] != '\n' {
		return 0, statusLineFault(b)
	}
	h.Minor = minor
	h.Status = uint16(d0)*100 + uint16(d1)*10 + uint16(d2)
	h.Reason = proto.Span{Off: uint32(reason), Len: uint32(end - reason)}
	return end + 2, proto.FaultNone
}

// statusLineStart judges the first bytes of a response, complete or not: what
// does not begin as a status line is HTTP/0.9 or no HTTP at all, and is refused
// rather than passed on as content.
func statusLineStart(b []byte) proto.FaultCode {
	const name = "HTTP/"
	n := min(len(b), len(name))
	if string(b[:n]) != name[:n] {
		return proto.FaultNotHTTP
	}
	return proto.FaultNone
}

// statusLineFault says what is wrong with the line b begins with, which is no
// status line; FaultNone while its LF has not arrived.
func statusLineFault(b []byte) proto.FaultCode {
	if code := statusLineStart(b); code != proto.FaultNone {
		return code
	}
	n := lineEnd(b)
	if n == 0 {
		return proto.FaultNone
	}
	if b[n-2] != '\r' {
		return proto.FaultBareLF
	}
	b = b[:n-2]
	if bytes.IndexByte(b, '\r') >= 0 {
		return proto.FaultBareCR
	}
	if len(b) < versionBytes || !isVersion(b[:versionBytes]) {
		return proto.FaultBadVersion
	}
	if b[5] != '1' {
		return proto.FaultVersionUnsupported
	}
	b = b[versionBytes:]
	if len(b) < 4 || b[0] != ' ' || b[1]-'1' > 8 || b[2]-'0' > 9 || b[3]-'0' > 9 || len(b) > 4 && b[4] != ' ' {
		return proto.FaultBadStatus // RFC 9110 section 15: three digits, from 100
	}
	return proto.FaultBadReason
}
