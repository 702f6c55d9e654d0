package slab

// Beside is a table of what somebody else has for entries of a slab, by the same indices:
// U of Slab[T]. It grows with them, and never moves an entry. The zero value is empty.
type Beside[U any] struct{ chunks []*[chunkLen]U }

// Begin gives the place of entry i, zeroed.
func (b *Beside[U]) Begin(i uint32) *U {
	for int(i>>chunkShift) >= len(b.chunks) {
		b.chunks = append(b.chunks, new([chunkLen]U))
	}
	u := &b.chunks[i>>chunkShift][i&chunkMask]
	var zero U
	*u = zero
	return u
}

// At gives the place of entry i, which was begun.
func (b *Beside[U]) At(i uint32) *U { return &b.chunks[i>>chunkShift][i&chunkMask] }
