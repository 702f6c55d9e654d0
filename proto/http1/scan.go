package http1

import "math/bits"

// Eight bytes at a time: a byte is flagged in its high bit. A borrow can only
// come out of a byte that is flagged itself, so the lowest flag is exact.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// nameStops flags bytes up to and including space, and ':'.
func nameStops(x uint64) uint64 {
	colon := x ^ ones*':'
	return ((x-ones*(' '+1))&^x | (colon-ones)&^colon) & highs
}

// valueStops flags control characters, HTAB and DEL included.
func valueStops(x uint64) uint64 {
	del := x ^ ones*0x7f
	return ((x-ones*' ')&^x | (del-ones)&^del) & highs
}

// nameEnd is the index of the first byte from i on that is ':', space or a
// control character below it; len(b) when there is none.
func nameEnd(b []byte, i int) int {
	for ; len(b)-i >= 8; i += 8 {
		if m := nameStops(load64(b[i:])); m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
	}
	for i < len(b) && b[i] > ' ' && b[i] != ':' {
		i++
	}
	return i
}

// valueEnd is the index of the first control character other than HTAB from i
// on; len(b) when there is none.
func valueEnd(b []byte, i int) int {
	for {
		for ; len(b)-i >= 8; i += 8 {
			if m := valueStops(load64(b[i:])); m != 0 {
				i += bits.TrailingZeros64(m) >> 3
				break
			}
		}
		for i < len(b) && b[i] >= ' ' && b[i] != 0x7f {
			i++
		}
		if i >= len(b) || b[i] != '\t' {
			return i
		}
		i++
	}
}

// load64 reads eight bytes, the first one lowest; the compiler makes one load of it.
func load64(b []byte) uint64 {
	_ = b[7]
	return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
		uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
}

// equalFold compares b with a lower-case ASCII string, in any letter case.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if c-'A' <= 'Z'-'A' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// equalFoldBytes compares two field names in any letter case.
func equalFoldBytes(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i, c := range a {
		d := b[i]
		if c-'A' <= 'Z'-'A' {
			c |= 0x20
		}
		if d-'A' <= 'Z'-'A' {
			d |= 0x20
		}
		if c != d {
			return false
		}
	}
	return true
}

// nextElement takes the first element off a comma-separated list (RFC 9110
// section 5.6.1), without the whitespace around it. Elements may be empty;
// more is false when it was the last one.
func nextElement(list []byte) (element, rest []byte, more bool) {
	i := 0
	for i < len(list) && list[i] != ',' {
		i++
	}
	element = trimSpace(list[:i])
	if i == len(list) {
		return element, nil, false
	}
	return element, list[i+1:], true
}

// trimSpace removes optional whitespace (RFC 9110 section 5.6.3) at both ends.
func trimSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}
