// Package slab holds many small structures of one type in few large
// allocations, addressed by a 32-bit index instead of a pointer.
//
// T should contain no pointers: then the garbage collector never looks inside,
// however many there are, and structures refer to each other by index. An
// index of 0 means "none" everywhere and is never given out.
//
// A slab belongs to one goroutine; nothing here locks.
package slab

import "zproxy/internal/assert"

const (
	chunkShift = 8
	chunkLen   = 1 << chunkShift
	chunkMask  = chunkLen - 1
)

// live marks an entry that is in use, in the place where a free entry keeps
// the index of the next free one. No slab grows to 2^32-1 entries.
const live = ^uint32(0)

// chunk is two allocations: items and links together would often be a little
// more than what the allocator rounds to, pages of 8 KiB. Apart, items keep their
// natural alignment, too, and an item's stale contents are never read.
type chunk[T any] struct {
	items *[chunkLen]T
	next  *[chunkLen]uint32
}

// Slab is a growing set of T. The zero value is empty and ready for use.
// It grows a chunk of 256 at a time, never moves an entry and never gives a
// chunk back: pointers from At stay good until the entry is freed.
type Slab[T any] struct {
	chunks []chunk[T]
	free   uint32 // most recently freed entry, 0: none
	fresh  uint32 // entries below were given out at least once
	used   uint32
}

// Alloc gives out a zeroed entry, the most recently freed one first, because
// that one is still in the cache.
func (s *Slab[T]) Alloc() (uint32, *T) {
	i := s.free
	if i == 0 {
		return s.allocFresh()
	}
	c := &s.chunks[i>>chunkShift]
	s.free = c.next[i&chunkMask]
	c.next[i&chunkMask] = live
	s.used++
	p := &c.items[i&chunkMask]
	var zero T
	*p = zero
	return i, p
}

func (s *Slab[T]) allocFresh() (uint32, *T) {
	if s.fresh == 0 {
		s.fresh = 1 // index 0 is never given out
	}
	i := s.fresh
	if int(i>>chunkShift) == len(s.chunks) {
		s.chunks = append(s.chunks, chunk[T]{new([chunkLen]T), new([chunkLen]uint32)})
	}
	s.fresh++
	s.used++
	c := &s.chunks[i>>chunkShift]
	c.next[i&chunkMask] = live
	return i, &c.items[i&chunkMask]
}

// At gives the entry i, which must be in use. With `-tags assert` it panics
// when it is not.
func (s *Slab[T]) At(i uint32) *T {
	c := &s.chunks[i>>chunkShift]
	if assert.Enabled && c.next[i&chunkMask] != live {
		panic("slab: use of an entry that is not in use")
	}
	return &c.items[i&chunkMask]
}

// Free takes the entry i back. It panics when i is not in use: by then two
// owners believe that the entry is theirs, and going on would mix them up.
func (s *Slab[T]) Free(i uint32) {
	c := &s.chunks[i>>chunkShift]
	if c.next[i&chunkMask] != live {
		panic("slab: free of an entry that is not in use")
	}
	c.next[i&chunkMask] = s.free
	s.free = i
	s.used--
}

// Chunk is the allocation that entry i lies in. It stays where it is as long as the
// slab.
func (s *Slab[T]) Chunk(i uint32) *[chunkLen]T { return s.chunks[i>>chunkShift].items }

// Len is the number of entries in use.
func (s *Slab[T]) Len() int { return int(s.used) }

// Cap is the number of entries that fit without another allocation.
func (s *Slab[T]) Cap() int {
	if len(s.chunks) == 0 {
		return 0
	}
	return len(s.chunks)*chunkLen - 1 // index 0
}
