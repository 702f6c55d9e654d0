package rate

import "testing"

// Every bit of a key has a say, wherever the key ends.
func TestHashSeesAllOfItsKey(t *testing.T) {
	s, key := NewSecret(), make([]byte, 40)
	seen := map[Hash]bool{}
	for n := range len(key) + 1 {
		for bit := -1; bit < 8*n; bit++ {
			clear(key)
			if bit >= 0 {
				key[bit/8] = 1 << (bit % 8)
			}
			h := s.Hash(key[:n])
			if seen[h] {
				t.Fatalf("%d bytes with bit %d: as another key", n, bit)
			}
			seen[h] = true
		}
	}
	if s.Hash([]byte("a")) == NewSecret().Hash([]byte("a")) {
		t.Error("a hash does not depend on the secret")
	}
}
