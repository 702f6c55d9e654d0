package proto

import "math/bits"

// Eight bytes at a time: the high bit of a byte is its flag.
const (
	ones  = 0x0101010101010101
	lows  = 0x7f7f7f7f7f7f7f7f
	highs = 0x8080808080808080
)

// PlainASCII reports that every byte is a visible ASCII character or a space.
func PlainASCII(x uint64) bool {
	return ((x-ones*' ')|(x+ones)|x)&highs == 0
}

// Controls flags control characters, HTAB and DEL included. Sums of seven-bit
// values never carry, so every flag is exact.
func Controls(x uint64) uint64 {
	low := x & lows
	return (^(low + ones*(0x80-' ')) | (low + ones)) & ^x & highs
}

// ValueEnd is the index of the first control character other than HTAB from i
// on; len(b) when there is none.
func ValueEnd[T text](b T, i int) int {
	for {
		for len(b)-i >= 8 {
			x := load64(b[i : i+8])
			if !PlainASCII(x) {
				if m := Controls(x); m != 0 {
					i += bits.TrailingZeros64(m) >> 3
					break
				}
			}
			i += 8
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

// PlainText reports that every byte is a visible ASCII character or a space: what
// most values are made of.
func PlainText[T text](s T) bool {
	n := len(s)
	if n < 8 {
		for i := range n {
			if s[i]-' ' > '~'-' ' {
				return false
			}
		}
		return true
	}
	for i := 0; i < n-8; i += 8 {
		if !PlainASCII(load64(s[i : i+8])) {
			return false
		}
	}
	return PlainASCII(load64(s[n-8:]))
}

// EqualFold compares b with a lower-case ASCII string, in any letter case.
func EqualFold(b []byte, lower string) bool {
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

// EqualFoldBytes compares two field names in any letter case.
func EqualFoldBytes(a, b []byte) bool {
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

// NextElement takes the first element off a comma-separated list (RFC 9110
// section 5.6.1), without the whitespace around it. Elements may be empty;
// more is false when it was the last one.
func NextElement(list []byte) (element, rest []byte, more bool) {
	i := 0
	for i < len(list) && list[i] != ',' {
		i++
	}
	element = TrimSpace(list[:i])
	if i == len(list) {
		return element, nil, false
	}
	return element, list[i+1:], true
}

// TrimSpace removes optional whitespace (RFC 9110 section 5.6.3) at both ends.
func TrimSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}
