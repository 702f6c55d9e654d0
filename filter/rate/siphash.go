package rate

import (
	"encoding/binary"
	"math/bits"
)

// A Secret is the key of a keyed hash. Whoever does not know it cannot find
// two keys that meet in a table.
type Secret struct{ k0, k1 uint64 }

// sum is SipHash-2-4 with a result of 128 bits (Aumasson and Bernstein 2012).
func (s Secret) sum(p []byte) (lo, hi uint64) {
	v := sipState{s.k0 ^ 0x736f6d6570736575, s.k1 ^ 0x646f72616e646f6d ^ 0xee, s.k0 ^ 0x6c7967656e657261, s.k1 ^ 0x7465646279746573}
	last := uint64(len(p)) << 56
	for ; len(p) >= 8; p = p[8:] {
		v.absorb(binary.LittleEndian.Uint64(p))
	}
	for i, b := range p {
		last |= uint64(b) << (8 * i)
	}
	v.absorb(last)
	v.v2 ^= 0xee
	v.rounds(4)
	lo = v.v0 ^ v.v1 ^ v.v2 ^ v.v3
	v.v1 ^= 0xdd
	v.rounds(4)
	return lo, v.v0 ^ v.v1 ^ v.v2 ^ v.v3
}

type sipState struct{ v0, v1, v2, v3 uint64 }

func (v *sipState) absorb(m uint64) {
	v.v3 ^= m
	v.rounds(2)
	v.v0 ^= m
}

func (v *sipState) rounds(n int) {
	v0, v1, v2, v3 := v.v0, v.v1, v.v2, v.v3
	for range n {
		v0 += v1
		v2 += v3
		v1 = bits.RotateLeft64(v1, 13) ^ v0
		v3 = bits.RotateLeft64(v3, 16) ^ v2
		v0 = bits.RotateLeft64(v0, 32)
		v2 += v1
		v0 += v3
		v1 = bits.RotateLeft64(v1, 17) ^ v2
		v3 = bits.RotateLeft64(v3, 21) ^ v0
		v2 = bits.RotateLeft64(v2, 32)
	}
	*v = sipState{v0, v1, v2, v3}
}
