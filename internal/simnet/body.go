package simnet

// Directions of a body, and what else is told apart by its bytes.
const (
	upward   = 0 // to the origin
	downward = 1 // to the client
)

// byteAt is byte i of the body of a request or of its answer.
func byteAt(id, direction, i int) byte {
	x := uint64(id)<<1 | uint64(direction)
	x = x*0x9E3779B97F4A7C15 + uint64(i>>3)
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	x ^= x >> 31
	return byte(x >> (8 * (i & 7)))
}

// appendBody appends n bytes from byte `from` on.
func appendBody(dst []byte, id, direction, from, n int) []byte {
	for i := from; i < from+n; i++ {
		dst = append(dst, byteAt(id, direction, i))
	}
	return dst
}

// differsAt compares b with the body from byte `from` on: the first place
// where they differ, or -1.
func differsAt(b []byte, id, direction, from int) int {
	for i, c := range b {
		if c != byteAt(id, direction, from+i) {
			return from + i
		}
	}
	return -1
}
