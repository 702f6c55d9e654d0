package upstream

import "sync/atomic"

// lines counts how many lines (connections that something waits on) addresses have
// in the queues of all loops. An address that finds no place goes uncounted there.
type lines struct {
	places [512]atomic.Uint64 // the address, and below it how many; none: the place is free
}

// lineProbes is in how many places an address may be.
const lineProbes = 8

// add counts one more line of addr. at is the place where the caller's lines of it
// are counted, 0 for its first; so is the result, 0 if there is none.
func (l *lines) add(at, addr uint32) uint32 {
	if at != 0 {
		l.places[at-1].Add(1) // which is addr's as long as one is counted
		return at
	}
	for {
		free := -1
		home := addr * 0x9E3779B1 >> 23
		for i := range uint32(lineProbes) {
			at := (home + i) % uint32(len(l.places))
			switch word := l.places[at].Load(); {
			case uint32(word) == 0:
				if free < 0 {
					free = int(at)
				}
			case uint32(word>>32) == addr:
				if l.places[at].CompareAndSwap(word, word+1) {
					return at + 1
				}
				free = len(l.places)
			}
		}
		if free < 0 {
			return 0
		}
		if free == len(l.places) {
			continue // it has changed meanwhile: look again
		}
		if word := l.places[free].Load(); uint32(word) == 0 && l.places[free].CompareAndSwap(word, uint64(addr)<<32|1) {
			return uint32(free) + 1
		}
	}
}

// remove counts one less at a place, of which the caller has so many left.
func (l *lines) remove(at, left uint32) uint32 {
	if at != 0 {
		l.places[at-1].Add(^uint64(0))
	}
	if left == 0 {
		return 0
	}
	return at
}

// of is how many there are on all loops of the address that has this place.
func (l *lines) of(at uint32) uint32 {
	if at == 0 {
		return 0
	}
	return uint32(l.places[at-1].Load())
}
