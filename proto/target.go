package proto

// TargetForm is the form of a request-target (RFC 9112 section 3.2).
type TargetForm uint8

const (
	OriginForm    TargetForm = iota // "/path?query"
	AbsoluteForm                    // "http://host/path?query"
	AuthorityForm                   // "host:port", CONNECT only
	AsteriskForm                    // "*", OPTIONS only
)

// ScanTarget walks over the characters a request-target may have from b[i] on,
// and returns where it stopped (at a space, at a character that is refused, or
// at the end of b) and the index of the first '?', or -1.
//
// Accepted is every visible ASCII character except '"', '<', '>' and '#', which
// neither RFC 3986 nor any URL serializer leaves unencoded. `[ ] \ ^ { | }` and
// the backquote are not in RFC 3986 either, but browsers send them in queries;
// they are no delimiters anywhere, so they are passed on unchanged. A '%' in
// the path must begin a percent-encoded octet; in the query it may stand alone.
func ScanTarget(b []byte, i int) (end, query int) {
	for {
		for uint(i) < uint(len(b)) && chars[b[i]]&charTarget != 0 {
			i++
		}
		if uint(i) >= uint(len(b)) {
			return i, -1
		}
		if b[i] == '?' {
			break
		}
		if b[i] != '%' || !pctEncoded(b[i:]) {
			return i, -1
		}
		i += 3
	}
	query = i
	for uint(i) < uint(len(b)) && (chars[b[i]]&charTarget != 0 || b[i] == '?' || b[i] == '%') {
		i++
	}
	return i, query
}

// SetTarget decides the form of h.Target, whose characters ScanTarget has
// accepted with its first '?' at offset query of Buf (or -1), and sets Form,
// Scheme, Host, Path and Query from it. h.Method must be set. Host is set only
// by the forms that name one.
func (h *Head) SetTarget(query int) FaultCode {
	t := h.Target
	b := h.Bytes(t)
	if len(b) == 0 {
		return FaultBadTarget
	}
	if h.Method == CONNECT { // RFC 9110 section 9.3.6, RFC 9112 section 3.2.3
		if _, port, ok := ParseAuthority(b); !ok || port < 0 {
			return FaultBadAuthority
		}
		h.Form, h.Host = AuthorityForm, t
		return FaultNone
	}
	if b[0] == '/' { // RFC 9112 section 3.2.1
		h.Form = OriginForm
		h.setPath(t, query)
		return FaultNone
	}
	if len(b) == 1 && b[0] == '*' { // RFC 9112 section 3.2.4
		if h.Method != OPTIONS {
			return FaultBadTarget
		}
		h.Form, h.Path = AsteriskForm, t
		return FaultNone
	}
	return h.setAbsolute(b, query)
}

// setPath splits s, which begins with the path, at the '?' at offset query of Buf.
func (h *Head) setPath(s Span, query int) {
	h.Path = s
	if query >= 0 {
		h.Path.Len = uint32(query) - s.Off
		h.Query = Span{uint32(query) + 1, s.End() - uint32(query) - 1}
	}
}

// setAbsolute reads scheme "://" authority path-abempty [ "?" query ] (RFC 9112
// section 3.2.2). Userinfo is an error (RFC 9110 section 4.2.4).
func (h *Head) setAbsolute(b []byte, query int) FaultCode {
	n := 0
	for n < len(b) && b[n] != ':' && b[n] != '/' && b[n] != '?' {
		n++
	}
	if n+3 > len(b) || b[n] != ':' || b[n+1] != '/' || b[n+2] != '/' {
		return FaultBadTarget
	}
	if !schemeHTTP(b[:n]) {
		return FaultBadScheme
	}
	off := h.Target.Off
	h.Scheme = Span{off, uint32(n)}
	start, end := n+3, n+3
	for end < len(b) && b[end] != '/' && b[end] != '?' {
		if b[end] == '@' {
			return FaultUserinfo
		}
		end++
	}
	if _, _, ok := ParseAuthority(b[start:end]); !ok {
		return FaultBadAuthority
	}
	h.Form = AbsoluteForm
	h.Host = Span{off + uint32(start), uint32(end - start)}
	if end < len(b) && b[end] == '/' {
		h.setPath(Span{off + uint32(end), uint32(len(b) - end)}, query)
		return FaultNone
	}
	// An empty path is "/" (RFC 9110 section 4.2.3): lend the second slash of "//".
	h.Path = Span{off + uint32(n+2), 1}
	if query >= 0 {
		h.Query = Span{uint32(query) + 1, h.Target.End() - uint32(query) - 1}
	}
	return FaultNone
}

// schemeHTTP compares a scheme, in any letter case, with "http" and "https".
func schemeHTTP(b []byte) bool {
	const http = 'h' | 't'<<8 | 't'<<16 | 'p'<<24
	if len(b) < 4 || len(b) > 5 || load32(b)|0x20202020 != http {
		return false
	}
	return len(b) == 4 || b[4]|0x20 == 's'
}
