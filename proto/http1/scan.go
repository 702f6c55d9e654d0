package http1

import "math/bits"

// Eight bytes at a time: the high bit of a byte is its flag.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// colons flags ':'. The lowest flag is exact: a borrow can only come out of a
// byte that is flagged itself.
func colons(x uint64) uint64 {
	x ^= ones * ':'
	return (x - ones) & ^x & highs
}

// colonIndex is the index of the first ':' from i on; len(b) when there is none.
func colonIndex(b []byte, i int) int {
	for ; len(b)-i >= 8; i += 8 {
		if m := colons(load64(b[i : i+8 : i+8])); m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
	}
	for i < len(b) && b[i] != ':' {
		i++
	}
	return i
}

// load64 reads eight bytes, the first one lowest; the compiler makes one load
// of it. Callers slice with a capacity, which spares the check for an empty rest.
func load64(b []byte) uint64 {
	_ = b[7]
	return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
		uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
}
