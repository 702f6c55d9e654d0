package http1

import (
	"bytes"

	"zproxy/proto"
)

const (
	// leadingCRLFs is how many empty lines before a request line are
	// ignored (RFC 9112 section 2.2 asks for at least one).
	leadingCRLFs = 4
	methodMax    = 32
	versionBytes = len("HTTP/1.1")
	http11       = 'H' | 'T'<<8 | 'T'<<16 | 'P'<<24 | '/'<<32 | '1'<<40 | '.'<<48 | '1'<<56
)

// ParseRequest reads the request head b begins with.
//
// n > 0: the head is complete and n bytes long, the content begins at b[n], h
// describes it and borrows b. n == 0 without a fault: the head goes on behind
// b; call again with more of the same bytes and scannedNow as scanned. scanned
// is zero for a new message: it makes a head that trickles in cost no more than
// two passes.
//
// With a fault h may hold the method and the target of b, for the log and the answer,
// however b came; the sender gets f.Status and the connection ends.
func ParseRequest(b []byte, scanned Cursor, lim *Limits, h *proto.Head) (n int, scannedNow Cursor, f *proto.Fault) {
	b, full := clip(b, lim)
	if scanned != (Cursor{}) {
		// A fault is found once more from the beginning: h is to describe b then.
		again, next := resume(b, scanned, lim, h)
		line, _, _ := next.split()
		if !again && !full && (line > 0 || requestLineStart(b, lim) == proto.FaultNone) {
			return 0, next, nil
		}
	}
	h.Reset(b)
	line, code := requestLine(b, lim, h)
	if line == 0 || code != proto.FaultNone {
		return requestLineGoesOn(b, code, full)
	}
	h.Lines = true
	var s noted
	end, line, count, code := fieldSection(b, line, 0, lim, h, &s)
	if code != proto.FaultNone {
		return 0, Cursor{}, proto.RequestFault(code)
	}
	if end == 0 {
		return goesOn(cursor(line, len(b), count), full, proto.RequestFault(proto.FaultHeadTooLarge))
	}
	if code := requestFraming(h, &s); code != proto.FaultNone {
		return 0, Cursor{}, proto.RequestFault(code)
	}
	return end, Cursor{}, nil
}

// goesOn is the result for a head that is not complete; one that already has
// all the bytes allowed gets the fault.
func goesOn(next Cursor, full bool, tooLarge *proto.Fault) (n int, scannedNow Cursor, f *proto.Fault) {
	if full {
		return 0, Cursor{}, tooLarge
	}
	return 0, next, nil
}

func requestLineGoesOn(b []byte, code proto.FaultCode, full bool) (n int, scannedNow Cursor, f *proto.Fault) {
	if code != proto.FaultNone {
		return 0, Cursor{}, proto.RequestFault(code)
	}
	return goesOn(cursor(0, len(b), 0), full, proto.RequestFault(proto.FaultTargetTooLong))
}

// requestLine reads method SP request-target SP HTTP-version CRLF (RFC 9112
// section 3), and the empty lines tolerated before. next is the offset behind
// it, 0 with FaultNone while it is not complete.
func requestLine(b []byte, lim *Limits, h *proto.Head) (next int, code proto.FaultCode) {
	start := skipEmptyLines(b)
	sp := start
	for sp < len(b) && b[sp] > ' ' {
		sp++
	}
	method := b[start:sp]
	h.Method = proto.ParseMethod(method)
	target := sp + 1
	if sp == len(b) || h.Method == proto.MethodOther {
		if _, code := methodStart(b[start:]); code != proto.FaultNone || sp == len(b) {
			if len(b) > 0 && b[0] == proto.TLSHandshake {
				code = proto.FaultTLS
			}
			return 0, code
		}
	}
	end, query := proto.ScanTarget(b, target)
	version := end + 1
	next = version + versionBytes + 2
	if next > len(b) || b[sp] != ' ' || b[end] != ' ' || b[next-2] != '\r' || b[next-1] != '\n' {
		return 0, requestLineFault(b[start:], lim)
	}
	h.MethodName = proto.Span{Off: uint32(start), Len: uint32(sp - start)}
	h.Target = proto.Span{Off: uint32(target), Len: uint32(end - target)}
	minor, ok := versionMinor(b[version:])
	if !ok {
		return 0, requestLineFault(b[start:], lim)
	}
	if end-target > lim.LineBytes {
		return 0, proto.FaultTargetTooLong
	}
	h.Minor = minor
	return next, h.SetTarget(query)
}

// versionMinor reads HTTP/1.x from the beginning of b, which has the bytes.
// Later minor versions are processed as 1.1 (RFC 9110 section 2.5).
func versionMinor(b []byte) (minor uint8, ok bool) {
	v := load64(b)
	if v == http11 {
		return 1, true
	}
	digit := uint8(v>>56) - '0'
	return min(digit, 1), v<<8 == http11<<8&(1<<64-1) && digit <= 9
}

func skipEmptyLines(b []byte) int {
	i := 0
	for i < 2*leadingCRLFs && i+1 < len(b) && b[i] == '\r' && b[i+1] == '\n' {
		i += 2
	}
	return i
}

// requestLineStart judges what is there of a request line that is not complete
// yet, looking at a bounded number of bytes.
func requestLineStart(b []byte, lim *Limits) proto.FaultCode {
	b = b[skipEmptyLines(b):]
	n, code := methodStart(b)
	if code == proto.FaultNone && len(b) > requestLineMax(n, lim) {
		return proto.FaultTargetTooLong
	}
	return code
}

// methodStart judges the method of a request line, complete or not: what
// cannot become a request (a TLS handshake, say) need not be waited for. n is
// the length of the method as far as it is there.
func methodStart(b []byte) (n int, code proto.FaultCode) {
	if len(b) == 0 || len(b) == 1 && b[0] == '\r' {
		return 0, proto.FaultNone
	}
	if b[0] == '\n' {
		return 0, proto.FaultBareLF
	}
	n = proto.TokenPrefix(b[:min(len(b), methodMax+1)])
	if n > methodMax { // RFC 9112 section 3: longer than any method implemented
		return n, proto.FaultMethodTooLong
	}
	if n < len(b) && (n == 0 || b[n] != ' ') {
		return n, proto.FaultBadMethod
	}
	return n, proto.FaultNone
}

// requestLineMax is the length of the longest acceptable request line with a
// method of n bytes, CRLF included.
func requestLineMax(n int, lim *Limits) int {
	return n + 1 + lim.LineBytes + 1 + versionBytes + 2
}

// requestLineFault says what is wrong with the line b begins with, which has
// a method but is no request line; FaultNone while its LF has not arrived.
func requestLineFault(b []byte, lim *Limits) proto.FaultCode {
	n := lineEnd(b)
	method, code := methodStart(b)
	if code != proto.FaultNone {
		return code
	}
	if n > requestLineMax(method, lim) || n == 0 && len(b) > requestLineMax(method, lim) { // RFC 9112 section 3
		return proto.FaultTargetTooLong
	}
	if n == 0 {
		return proto.FaultNone
	}
	if b[n-2] != '\r' {
		return proto.FaultBareLF
	}
	line := b[method+1 : n-2]
	if bytes.IndexByte(line, '\r') >= 0 {
		return proto.FaultBareCR
	}
	// RFC 9112 section 3: exactly one space before the version. A line without
	// one is HTTP/0.9 or has a space in its target.
	sp := bytes.LastIndexByte(line, ' ')
	if sp < 0 {
		return proto.FaultBadRequestLine
	}
	if version := line[sp+1:]; len(version) != versionBytes || !isVersion(version) {
		return proto.FaultBadVersion
	} else if version[5] != '1' {
		return proto.FaultVersionUnsupported
	}
	if bytes.IndexByte(line[:sp], ' ') >= 0 {
		return proto.FaultBadRequestLine
	}
	return proto.FaultBadTarget
}

// isVersion checks for "HTTP/" DIGIT "." DIGIT (RFC 9112 section 2.3).
func isVersion(b []byte) bool {
	return string(b[:5]) == "HTTP/" && b[5]-'0' <= 9 && b[6] == '.' && b[7]-'0' <= 9
}
