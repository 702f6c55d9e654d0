package slab

import "testing"

func TestBesideKeepsItsEntriesInPlace(t *testing.T) {
	var b Beside[item]
	first := b.Begin(1)
	first.a = 7
	far := b.Begin(10*chunkLen + 3)
	if far.a = 8; b.At(1) != first || b.At(1).a != 7 || b.At(10*chunkLen+3) != far {
		t.Errorf("%+v, %+v", *b.At(1), *b.At(10*chunkLen + 3))
	}
	if again := b.Begin(1); again != first || *again != (item{}) || far.a != 8 {
		t.Errorf("begun anew: %+v at %p, before at %p", *again, again, first)
	}
}
