package proto

import "net/netip"

// ParseNode reads the address of a node as X-Forwarded-For and Forwarded name it
// (RFC 7239 section 6): an IPv4 or IPv6 address, with or without a port. An IPv6
// address with a port is in brackets; without a port it need not be, as nobody
// writes brackets in X-Forwarded-For. "unknown" and obfuscated names are no
// address. IPv4 mapped to IPv6 becomes IPv4.
func ParseNode(b []byte) (addr netip.Addr, ok bool) {
	if len(b) > 0 && b[0] == '[' {
		n := 1
		for n < len(b) && b[n] != ']' {
			n++
		}
		if n == len(b) || n+1 < len(b) && !isPort(b[n+1:]) {
			return addr, false
		}
		return parseIPv6(b[1:n])
	}
	colon := -1
	for i, c := range b {
		if c != ':' {
			continue
		}
		if colon >= 0 {
			return parseIPv6(b)
		}
		colon = i
	}
	if colon >= 0 {
		if !isPort(b[colon:]) {
			return addr, false
		}
		b = b[:colon]
	}
	if !validIPv4(b) {
		return addr, false
	}
	return netip.AddrFrom4(octets(b)), true
}

func isPort(b []byte) bool {
	_, ok := parsePort(b)
	return ok
}

// octets reads what validIPv4 accepts.
func octets(b []byte) (a [4]byte) {
	i := 0
	for _, c := range b {
		if c == '.' {
			i++
		} else {
			a[i] = a[i]*10 + c - '0'
		}
	}
	return a
}

// parseIPv6 reads an IPv6 address without brackets and zone (RFC 4291 section 2.2).
func parseIPv6(b []byte) (addr netip.Addr, ok bool) {
	if len(b) == 0 || b[0]|0x20 == 'v' || !validIPLiteral(b) {
		return addr, false
	}
	var a [16]byte
	n, elided := 0, -1 // bytes so far, and where "::" stands
	for i := 0; i < len(b); {
		if b[i] == ':' {
			if i++; i < len(b) && b[i] == ':' {
				elided = n
				i++
			}
			continue
		}
		begin, v := i, 0
		for i < len(b) && chars[b[i]]&charHex != 0 {
			v = v<<4 | hexValue(b[i])
			i++
		}
		if i < len(b) && b[i] == '.' {
			last := octets(b[begin:])
			n += copy(a[n:], last[:])
			break
		}
		a[n], a[n+1] = byte(v>>8), byte(v)
		n += 2
	}
	if elided >= 0 {
		tail := n - elided
		copy(a[16-tail:], a[elided:n])
		clear(a[elided : 16-tail])
	}
	return netip.AddrFrom16(a).Unmap(), true
}

func hexValue(c byte) int {
	if c <= '9' {
		return int(c - '0')
	}
	return int(c|0x20-'a') + 10
}

// NextForwarded takes the first element off the value of a Forwarded field (RFC
// 7239 section 4) and gives what its "for" parameter says, without quotes; nil
// where it has none. more is false when it was the last element.
func NextForwarded(list []byte) (node, rest []byte, more bool) {
	begin, quoted := 0, false
	for i := 0; i <= len(list); i++ {
		if i < len(list) {
			switch c := list[i]; {
			case c == '"':
				quoted = !quoted
				continue
			case quoted && c == '\\':
				i++
				continue
			case quoted || c != ';' && c != ',':
				continue
			}
		}
		if v := forParameter(list[begin:min(i, len(list))]); v != nil {
			node = v
		}
		begin = i + 1
		if i < len(list) && list[i] == ',' {
			return node, list[begin:], true
		}
	}
	return node, nil, false
}

// forParameter gives the value of p if that is the parameter "for".
func forParameter(p []byte) []byte {
	p = TrimSpace(p)
	if len(p) < 5 || p[3] != '=' || !EqualFold(p[:3], "for") {
		return nil
	}
	v := p[4:]
	if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
		v = v[1 : len(v)-1]
	}
	return v
}
