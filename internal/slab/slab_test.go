package slab

import (
	"testing"

	"zproxy/internal/assert"
)

type item struct{ a, b uint64 }

func TestAllocGivesZeroedEntriesFromOne(t *testing.T) {
	var s Slab[item]
	if s.Len() != 0 || s.Cap() != 0 {
		t.Fatalf("empty: len %d cap %d", s.Len(), s.Cap())
	}
	at := map[uint32]*item{}
	for n := 1; n <= 1000; n++ {
		i, p := s.Alloc()
		if i == 0 || at[i] != nil {
			t.Fatalf("index %d was given out before, or is none", i)
		}
		if *p != (item{}) {
			t.Fatalf("entry %d is %+v", i, *p)
		}
		p.a, p.b = uint64(i), 7
		at[i] = p
		if s.Len() != n || s.Cap() < n || s.Cap() > n+chunkLen {
			t.Fatalf("%d entries: len %d cap %d", n, s.Len(), s.Cap())
		}
	}
	for i, p := range at {
		if s.At(i) != p || p.a != uint64(i) {
			t.Fatalf("entry %d moved or was overwritten: %+v", i, *p)
		}
	}
}

func TestFreedEntryIsTheNextGivenOutAndZeroed(t *testing.T) {
	var s Slab[item]
	var last uint32
	for range 300 {
		i, p := s.Alloc()
		*p = item{1, 2}
		last = i
	}
	capacity := s.Cap()
	s.Free(5)
	s.Free(last)
	if s.Len() != 298 {
		t.Fatalf("len %d", s.Len())
	}
	for _, want := range []uint32{last, 5} {
		i, p := s.Alloc()
		if i != want || *p != (item{}) {
			t.Fatalf("index %d (%+v), want %d zeroed", i, *p, want)
		}
	}
	if s.Cap() != capacity || s.Len() != 300 {
		t.Fatalf("len %d cap %d", s.Len(), s.Cap())
	}
}

func TestDoubleFreePanics(t *testing.T) {
	var s Slab[item]
	i, _ := s.Alloc()
	s.Free(i)
	for _, bad := range []uint32{i, 0, i + 1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("free of %d was accepted", bad)
				}
			}()
			s.Free(bad)
		}()
	}
	if s.Len() != 0 {
		t.Errorf("len %d", s.Len())
	}
}

func TestUseAfterFreePanics(t *testing.T) {
	if !assert.Enabled {
		t.Skip("needs the expensive checks: go test -tags assert ./internal/slab")
	}
	var s Slab[item]
	i, _ := s.Alloc()
	s.At(i)
	s.Free(i)
	defer func() {
		if recover() == nil {
			t.Error("a freed entry was given")
		}
	}()
	s.At(i)
}

func TestSteadyStateDoesNotAllocate(t *testing.T) {
	var s Slab[item]
	s.Alloc()
	n := testing.AllocsPerRun(100, func() {
		i, _ := s.Alloc()
		s.Free(i)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
