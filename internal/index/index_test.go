package index

import (
	"math/rand/v2"
	"testing"
)

func TestMapAgainstMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var x Map[uint64]
	want := map[uint64]uint32{}
	for range 200000 {
		// Keys that collide: few different ones, and multiples of a power of two.
		key := rng.Uint64N(200) << (rng.Uint64N(2) * 32)
		switch rng.IntN(3) {
		case 0:
			node := rng.Uint32N(1000) + 1
			x.Put(key, node)
			want[key] = node
		case 1:
			if got := x.Delete(key); got != want[key] {
				t.Fatalf("del %d: %d, expected %d", key, got, want[key])
			}
			delete(want, key)
		default:
			if got := x.Get(key); got != want[key] {
				t.Fatalf("get %d: %d, expected %d", key, got, want[key])
			}
		}
		if x.Len() != len(want) {
			t.Fatalf("%d keys, expected %d", x.Len(), len(want))
		}
	}
}
