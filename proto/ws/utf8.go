package ws

// UTF-8 is checked by an automaton whose states are multiples of six: the row
// of a byte has, at bit s, the state that follows state s. One load and one
// shift make a step, whatever the byte.
const (
	bad      = 6 * iota
	whole    // between characters: the state to begin with
	one      // one more byte of 80..BF
	two      // two more
	three    // three more
	afterE0  // A0..BF, then one: no overlong forms
	afterED  // 80..9F, then one: no surrogates
	afterF0  // 90..BF, then two: no overlong forms
	afterF4  // 80..8F, then two: nothing above U+10FFFF
	stateMax = 63
)

var rows = func() (t [256]uint64) {
	set := func(from, to int, state, next uint64) {
		for b := from; b <= to; b++ {
			t[b] |= next << state
		}
	}
	set(0x00, 0x7f, whole, whole)
	set(0xc2, 0xdf, whole, one)
	set(0xe0, 0xe0, whole, afterE0)
	set(0xe1, 0xec, whole, two)
	set(0xed, 0xed, whole, afterED)
	set(0xee, 0xef, whole, two)
	set(0xf0, 0xf0, whole, afterF0)
	set(0xf1, 0xf3, whole, three)
	set(0xf4, 0xf4, whole, afterF4)
	set(0x80, 0xbf, one, whole)
	set(0x80, 0xbf, two, one)
	set(0x80, 0xbf, three, two)
	set(0xa0, 0xbf, afterE0, one)
	set(0x80, 0x9f, afterED, one)
	set(0x90, 0xbf, afterF0, two)
	set(0x80, 0x8f, afterF4, two)
	return t
}()

const highBits = 0x8080808080808080

// checkUTF8 takes state on over the bytes of b, each xored with a byte of mask
// in turn, the lowest first. It returns bad as soon as the bytes cannot be the
// beginning of UTF-8.
func checkUTF8(state uint8, b []byte, mask uint32) uint8 {
	s := uint64(state)
	wide := uint64(mask)<<32 | uint64(mask)
	for len(b) >= 8 {
		word := load64(b) ^ wide
		if s != whole || word&highBits != 0 {
			// A step leaves other states above its own; they are masked when
			// it is used.
			s = rows[byte(word)] >> (s & stateMax)
			s = rows[byte(word>>8)] >> (s & stateMax)
			s = rows[byte(word>>16)] >> (s & stateMax)
			s = rows[byte(word>>24)] >> (s & stateMax)
			s = rows[byte(word>>32)] >> (s & stateMax)
			s = rows[byte(word>>40)] >> (s & stateMax)
			s = rows[byte(word>>48)] >> (s & stateMax)
			s = rows[byte(word>>56)] >> (s & stateMax) & stateMax
			if s == bad {
				return bad
			}
		}
		b = b[8:]
	}
	for i, c := range b {
		s = rows[c^byte(mask>>(i&3*8))] >> (s & stateMax) & stateMax
	}
	return uint8(s)
}

// load64 reads eight bytes, the first one lowest.
func load64(b []byte) uint64 {
	_ = b[7]
	return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
		uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
}
