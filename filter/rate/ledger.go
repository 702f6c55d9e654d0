package rate

import (
	"crypto/sha256"
	"sync/atomic"
)

const (
	ledgerEntries = 1 << 12
	ledgerProbes  = 8
	ledgerRounds  = 16 // that an entry stays without requests
)

// ID is what machines that share a limit know a key by.
type ID [16]byte

// A ledger has what one loop has let through and other machines do not know
// yet. Its loop alone adds entries, and whoever settles the limit alone takes
// them away.
type ledger struct {
	entries []ledgerEntry
	missed  atomic.Int64 // requests that found no entry
}

type ledgerEntry struct {
	// 0: nobody's. Above, one more than the requests that are to be settled. What stands
	// below is written by the loop while it is 0, and read by others while it is not.
	count  atomic.Int64
	hash   Hash
	id     ID
	rounds int // without requests
}

// note adds n requests of the key that has the hash h.
func (g *ledger) note(h Hash, name string, key []byte, n int64) {
	free := -1
	for p := range uint32(ledgerProbes) {
		i := int((h.second + p) % ledgerEntries)
		e := &g.entries[i]
		c := e.count.Load()
		for c > 0 && e.hash == h {
			if e.count.CompareAndSwap(c, c+n) {
				return
			}
			c = e.count.Load()
		}
		if c == 0 && free < 0 {
			free = i
		}
	}
	if free < 0 {
		g.missed.Add(n)
		return
	}
	e := &g.entries[free]
	e.hash, e.id = h, identify(name, key)
	e.count.Store(1 + n)
}

// identify is the same on all machines. Nobody finds two keys with the same one.
func identify(name string, key []byte) ID {
	var text [2 * sha256.Size]byte
	a, b := sha256.Sum256([]byte(name)), sha256.Sum256(key)
	copy(text[copy(text[:], a[:]):], b[:])
	sum := sha256.Sum256(text[:])
	return ID(sum[:16])
}

// Due is what was let through of a key since it was settled last.
type Due struct {
	ID       ID
	Requests int64
	hash     Hash
}

// Share has the limit keep note of what it lets through, for machines that share it under name.
func (l *Limit) Share(name string) {
	l.name = name
	for i := range l.locals {
		l.locals[i].notes = &ledger{entries: make([]ledgerEntry, ledgerEntries)}
	}
}

// Collect adds what is to be settled to list. One goroutine at a time.
func (l *Limit) Collect(list []Due) []Due {
	for i := range l.locals {
		g := l.locals[i].notes
		for j := range g.entries {
			e := &g.entries[j]
			switch c := e.count.Load(); {
			case c > 1:
				e.rounds = 0
				list = append(list, Due{e.id, e.count.Swap(1) - 1, e.hash})
			case c == 1:
				if e.rounds++; e.rounds > ledgerRounds {
					e.rounds = 0
					e.count.CompareAndSwap(1, 0)
				}
			}
		}
	}
	return list
}

// Missed counts the requests that no machine will hear of, as too many keys came at once.
func (l *Limit) Missed() (n int64) {
	for i := range l.locals {
		n += l.locals[i].notes.missed.Load()
	}
	return n
}

// Interval is what each request adds to a TAT, in nanoseconds.
func (l *Limit) Interval() int64 { return l.interval }

// Raise notes that all machines together have a TAT of d's key that is ahead of now by so many nanoseconds.
func (l *Limit) Raise(d Due, now, ahead int64) {
	t, tat := l.table, now+ahead
	if i := t.find(d.hash); i >= 0 && l.raiseAt(i, d.hash, tat) {
		return
	}
	s := t.stripe(d.hash)
	s.acquire()
	if i := t.find(d.hash); i < 0 || !l.raiseAt(i, d.hash, tat) {
		if i = t.claim(d.hash, now); i >= 0 {
			t.words[i].Store(max(tat, s.overflow.Load(), now+1))
		}
	}
	s.release()
}

// raiseAt is Raise where h's state is at i; false: it is not any more.
func (l *Limit) raiseAt(i int, h Hash, tat int64) bool {
	for {
		had := l.table.words[i].Load()
		if had == busy || !l.table.is(i, h) {
			return false
		}
		if had >= tat || l.table.words[i].CompareAndSwap(had, tat) {
			return true
		}
	}
}
