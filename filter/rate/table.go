package rate

import (
	"hash/maphash"
	"math"
	"math/bits"
	"runtime"
	"sync/atomic"

	"zproxy/numa"
)

const (
	ways        = 4        // entries of a bucket, which is a cache line
	bucketWords = 2 * ways // a tag and a state each
	keyWords    = 8        // of a table for each key that it is made for: four entries
	stripeCount = 1 << 12
	lockSpins   = 1 << 8 // between looks for somebody else to run

	// busy is the state of an entry that is being given to another key.
	busy = math.MaxInt64
)

// A Hash is what tables know of a key. Two keys with the same one share
// their state; without the secret nobody can look for such a pair, and by
// chance there is one among four million keys once in a million tables.
type Hash struct {
	tag           int64 // not 0
	first, second uint32
}

// Hash returns the hash of key.
func (s Secret) Hash(key []byte) Hash {
	lo, hi := maphash.Bytes(s.low, key), maphash.Bytes(s.high, key)
	return Hash{tag: int64(max(lo, 1)), first: uint32(hi), second: uint32(hi >> 32)}
}

// A table has a word of state for each key that has any: state that is above
// what the caller calls idle. It has a fixed size, and all loops use it at
// once:
//
//   - An entry is given to another key only while its state is idle, which is
//     the state of a key that has no entry: nothing is forgotten.
//   - Its tag changes only while its state is busy. Whoever has read the
//     state, then the tag, and then exchanged the same state has changed the
//     entry of that tag, as long as a state does not come back.
//   - A key gets an entry under the lock of its stripe only, so it has one at
//     the most. Only the first request of a key needs it, for some ten
//     memory accesses, and nobody sleeps on it.
//
// A key may be in one of two buckets, and goes to the emptier one. With four
// entries for each key that a table is made for, 6 buckets of a million are full
// when four million keys are there, so that hardly ever one finds both full. (With
// three entries it was 220, and one of some fifty tables had such a key.)
type table struct {
	words   []atomic.Int64
	buckets uint64
	stripes *[stripeCount]stripe
}

// A stripe is what keys whose hash has the same last bits share.
type stripe struct {
	lock atomic.Uint32
	// overflow is the state of all keys of the stripe that find no entry.
	overflow atomic.Int64
	_        [48]byte
}

// newTable makes a table for keys. Its memory is given back when nobody
// refers to the table any more: callers do, until their call is over.
func newTable(keys int) (*table, error) {
	buckets := (keys*keyWords + bucketWords - 1) / bucketWords
	words, err := numa.MapWords(buckets * bucketWords)
	if err != nil {
		return nil, err
	}
	t := &table{words: words, buckets: uint64(buckets), stripes: new([stripeCount]stripe)}
	runtime.AddCleanup(t, unmap, words)
	return t, nil
}

// unmap cannot fail for what is mapped.
func unmap(words []atomic.Int64) { _ = numa.UnmapWords(words) }

// bytes is how much memory the table takes when it is full.
func (t *table) bytes() int { return len(t.words)*8 + stripeCount*64 }

// places returns where the two buckets of h begin.
func (t *table) places(h Hash) (a, b int) {
	i, _ := bits.Mul64(uint64(h.first)<<32, t.buckets)
	j, _ := bits.Mul64(uint64(h.second)<<32, t.buckets)
	return int(i) * bucketWords, int(j) * bucketWords
}

func (t *table) stripe(h Hash) *stripe { return &t.stripes[h.first%stripeCount] }

// find returns the index of h's state, or -1. By the time it returns the entry may be another key's.
func (t *table) find(h Hash) int {
	a, b := t.places(h)
	for i := a; i < a+bucketWords; i += 2 {
		if t.words[i].Load() == h.tag {
			return i + 1
		}
	}
	for i := b; i < b+bucketWords; i += 2 {
		if t.words[i].Load() == h.tag {
			return i + 1
		}
	}
	return -1
}

// is says whether the entry whose state is at i is h's.
func (t *table) is(i int, h Hash) bool { return t.words[i-1].Load() == h.tag }

// claim gives an idle entry to h and leaves it busy; -1: there is none. The
// caller has the lock of h's stripe, and sets the state.
func (t *table) claim(h Hash, idle int64) int {
	for {
		a, b := t.places(h)
		i, n := t.idleIn(a, idle)
		if j, m := t.idleIn(b, idle); m > n {
			i, n = j, m
		}
		if n == 0 {
			return -1
		}
		if s := t.words[i].Load(); s <= idle && t.words[i].CompareAndSwap(s, busy) {
			t.words[i-1].Store(h.tag)
			return i
		}
	}
}

// idleIn counts the idle entries of a bucket and returns the first one's state.
func (t *table) idleIn(bucket int, idle int64) (at, n int) {
	for i := bucket + bucketWords - 1; i > bucket; i -= 2 {
		if t.words[i].Load() <= idle {
			at, n = i, n+1
		}
	}
	return at, n
}

// acquire takes the stripe's lock. It is held for some memory accesses; where the kernel has put
// its holder to sleep in the middle of them, the processor is left to others until it goes on.
func (s *stripe) acquire() {
	for spins := 1; !s.lock.CompareAndSwap(0, 1); spins++ {
		for s.lock.Load() != 0 {
			if spins++; spins%lockSpins == 0 {
				runtime.Gosched()
			}
		}
	}
}

func (s *stripe) release() { s.lock.Store(0) }
