package rate

import (
	"encoding/binary"
	"encoding/hex"
	"testing"
)

// The authors' own vectors: the key is 00 01 .. 0f, the input 00 01 .. n-1.
func TestSipHashVectors(t *testing.T) {
	var key, in [16]byte
	for i := range key {
		key[i], in[i] = byte(i), byte(i)
	}
	s := Secret{binary.LittleEndian.Uint64(key[:8]), binary.LittleEndian.Uint64(key[8:])}
	for n, want := range map[int]string{
		0: "a3817f04ba25a8e66df67214c7550293",
		1: "da87c1d86b99af44347659119b22fc45",
	} {
		lo, hi := s.sum(in[:n])
		got := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, lo), hi)
		if hex.EncodeToString(got) != want {
			t.Errorf("of %d bytes: %x, want %s", n, got, want)
		}
	}
}

// Every bit of an input has a say, wherever the input ends.
func TestSipHashSeesAllOfItsInput(t *testing.T) {
	s, in := NewSecret(), make([]byte, 40)
	seen := map[[2]uint64]bool{}
	for n := range len(in) + 1 {
		for bit := -1; bit < 8*n; bit++ {
			clear(in)
			if bit >= 0 {
				in[bit/8] = 1 << (bit % 8)
			}
			lo, hi := s.sum(in[:n])
			if seen[[2]uint64{lo, hi}] {
				t.Fatalf("%d bytes with bit %d: as another input", n, bit)
			}
			seen[[2]uint64{lo, hi}] = true
		}
	}
}
