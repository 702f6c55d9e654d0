package proto

// Character classes of RFC 3986 appendix A and RFC 9110 section 5.6.2.
const (
	charToken  = 1 << iota // tchar
	charHost               // reg-name without '%': unreserved and sub-delims
	charTarget             // request-target, see ScanTarget
	charHex
)

var chars = func() (t [256]uint8) {
	for c := 0x21; c < 0x7f; c++ {
		t[c] |= charTarget
	}
	for _, c := range `"<>#%?` {
		t[c] &^= charTarget
	}
	set := func(s string, class uint8) {
		for i := 0; i < len(s); i++ {
			t[s[i]] |= class
		}
	}
	const alnum = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	set(alnum+"!#$%&'*+-.^_`|~", charToken)
	set(alnum+"-._~"+"!$&'()*+,;=", charHost)
	set("0123456789abcdefABCDEF", charHex)
	return t
}()

// IsToken reports whether b is a token: at least one tchar and nothing else
// (RFC 9110 section 5.6.2).
func IsToken(b []byte) bool {
	for _, c := range b {
		if chars[c]&charToken == 0 {
			return false
		}
	}
	return len(b) > 0
}

// TokenPrefix is the number of tchars b begins with.
func TokenPrefix(b []byte) int {
	for i, c := range b {
		if chars[c]&charToken == 0 {
			return i
		}
	}
	return len(b)
}

// ParseAuthority checks b as uri-host [":" port] (RFC 3986 section 3.2 without
// userinfo, RFC 9110 section 7.2) and gives the length of the host part,
// brackets included, and the port, -1 when there is none. An empty host is
// refused (RFC 9110 section 4.2.1), so is a port above 65535; "host:" is valid
// and means no port.
func ParseAuthority(b []byte) (hostLen, port int, ok bool) {
	if len(b) > 0 && b[0] == '[' {
		for hostLen = 1; hostLen < len(b) && b[hostLen] != ']'; hostLen++ {
		}
		if hostLen == len(b) || !validIPLiteral(b[1:hostLen]) {
			return 0, -1, false
		}
		hostLen++
	} else {
		for hostLen < len(b) {
			if chars[b[hostLen]]&charHost != 0 {
				hostLen++
			} else if pctEncoded(b[hostLen:]) {
				hostLen += 3
			} else {
				break
			}
		}
		if hostLen == 0 {
			return 0, -1, false
		}
	}
	if hostLen == len(b) {
		return hostLen, -1, true
	}
	port, ok = parsePort(b[hostLen:])
	return hostLen, port, ok
}

// SameAuthority compares two authorities as RFC 9110 section 4.2.3 wants it:
// hosts in any letter case, and a port that is empty or the default of scheme like
// one that is not there. One that is invalid is the same as none.
func SameAuthority(a, b, scheme []byte) bool {
	m, p, ok := ParseAuthority(a)
	n, q, also := ParseAuthority(b)
	return ok && also && EqualFoldBytes(a[:m], b[:n]) && effectivePort(p, scheme) == effectivePort(q, scheme)
}

// effectivePort is port, or the default of scheme when it is -1; -1 for a scheme
// nobody knows here.
func effectivePort(port int, scheme []byte) int {
	switch {
	case port >= 0:
		return port
	case EqualFold(scheme, "http"):
		return 80
	case EqualFold(scheme, "https"):
		return 443
	}
	return -1
}

// parsePort reads ":" or ":port".
func parsePort(b []byte) (port int, ok bool) {
	if b[0] != ':' || len(b) > 6 {
		return -1, false
	}
	if len(b) == 1 {
		return -1, true
	}
	for _, c := range b[1:] {
		if c-'0' > 9 {
			return -1, false
		}
		port = port*10 + int(c-'0')
	}
	return port, port <= 65535
}

// pctEncoded reports whether b begins with "%" HEXDIG HEXDIG.
func pctEncoded(b []byte) bool {
	return len(b) >= 3 && b[0] == '%' && chars[b[1]]&chars[b[2]]&charHex != 0
}

// validIPLiteral checks what stands between the brackets of an IP-literal
// (RFC 3986 section 3.2.2). Zone identifiers are meaningless to another host
// and refused.
func validIPLiteral(b []byte) bool {
	if len(b) > 0 && b[0]|0x20 == 'v' {
		return validIPvFuture(b[1:])
	}
	groups, elided := 0, false
	if len(b) >= 2 && b[0] == ':' && b[1] == ':' {
		elided = true
		b = b[2:]
	}
	for len(b) > 0 {
		n := 0
		for n < len(b) && chars[b[n]]&charHex != 0 {
			n++
		}
		if n < len(b) && b[n] == '.' {
			return validIPv4(b) && enoughGroups(groups+2, elided)
		}
		if n == 0 || n > 4 {
			return false
		}
		groups++
		b = b[n:]
		if len(b) == 0 {
			break
		}
		if b[0] != ':' || len(b) == 1 {
			return false
		}
		b = b[1:]
		if b[0] == ':' {
			if elided {
				return false
			}
			elided = true
			b = b[1:]
		}
	}
	return enoughGroups(groups, elided)
}

// enoughGroups: eight, or fewer when "::" stands for at least one.
func enoughGroups(groups int, elided bool) bool {
	return !elided && groups == 8 || elided && groups < 8
}

// validIPvFuture checks what follows the "v": 1*HEXDIG "." 1*( unreserved /
// sub-delims / ":" ).
func validIPvFuture(b []byte) bool {
	n := 0
	for n < len(b) && chars[b[n]]&charHex != 0 {
		n++
	}
	if n == 0 || n+1 >= len(b) || b[n] != '.' {
		return false
	}
	for _, c := range b[n+1:] {
		if chars[c]&charHost == 0 && c != ':' {
			return false
		}
	}
	return true
}

// validIPv4 checks dotted decimal without leading zeros (RFC 3986 section 3.2.2).
func validIPv4(b []byte) bool {
	for octet := 0; ; octet++ {
		n, v := 0, 0
		for n < len(b) && n < 3 && b[n]-'0' <= 9 {
			v = v*10 + int(b[n]-'0')
			n++
		}
		if n == 0 || v > 255 || n > 1 && b[0] == '0' {
			return false
		}
		if octet == 3 {
			return n == len(b)
		}
		if n == len(b) || b[n] != '.' {
			return false
		}
		b = b[n+1:]
	}
}
