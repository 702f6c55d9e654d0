package slab

// Live says whether i is in use, for walks over all entries from 1 to Cap.
func (s *Slab[T]) Live(i uint32) bool {
	return int(i>>chunkShift) < len(s.chunks) && s.chunks[i>>chunkShift].next[i&chunkMask] == live
}
