package verify

import (
	"encoding/binary"
	"sync/atomic"
)

// ways is how many places there are for a Digest.
const ways = 8

// Cache keeps verdicts. Loops read it without a lock; what is verified is written by whoever verified.
type Cache struct {
	sets []set
	mask uint64
}

type set struct {
	of   [ways]atomic.Pointer[Verdict]
	hand atomic.Uint32 // where it looks next for a place
}

// NewCache makes room for so many verdicts, or somewhat more.
func NewCache(entries int) *Cache {
	n := 1
	for n*ways < entries {
		n *= 2
	}
	return &Cache{sets: make([]set, n), mask: uint64(n - 1)}
}

func (c *Cache) set(d *Digest) *set {
	return &c.sets[binary.LittleEndian.Uint64(d[:8])&c.mask]
}

// Find gives the verdict for a Digest, nil if there is none that still holds.
func (c *Cache) Find(d *Digest, nowMs int64) *Verdict {
	s := c.set(d)
	for i := range s.of {
		v := s.of[i].Load()
		if v == nil || v.digest != *d {
			continue
		}
		if v.UntilMs <= nowMs {
			return nil
		}
		if !v.used.Load() { // a shared write only where it says something new
			v.used.Store(true)
		}
		return v
	}
	return nil
}

// Keep keeps a verdict that holds for some time. It takes the place of one that holds no longer, else of one that
// was not used for long, as the hand of a clock finds it.
func (c *Cache) Keep(d *Digest, v *Verdict, nowMs int64) {
	if v.UntilMs <= nowMs {
		return
	}
	v.digest = *d
	s, at := c.set(d), -1
	for i := range s.of {
		old := s.of[i].Load()
		if old != nil && old.digest == *d {
			s.of[i].Store(v)
			return
		}
		if at < 0 && (old == nil || old.UntilMs <= nowMs) {
			at = i
		}
	}
	for n := 0; at < 0; n++ {
		i := int(s.hand.Add(1)) % ways
		if old := s.of[i].Load(); n >= 2*ways || old == nil || !old.used.Swap(false) {
			at = i
		}
	}
	s.of[at].Store(v)
}
