package rate

import "fmt"

// MaxConcurrent is how many requests of a key may be under way at a time, at most.
const MaxConcurrent = 1 << 30

// Concurrency limits how many requests of a key are under way at a time. The
// state of a key is their number; no key is forgotten that has one.
type Concurrency struct {
	table  *table
	secret Secret
	max    int64
}

// A Slot is where a request under way is counted.
type Slot int32

// None is no slot.
const None Slot = -1

// NewConcurrency makes a limit for keys that have requests under way.
func NewConcurrency(limit, keys int, secret Secret) (*Concurrency, error) {
	if limit < 1 || limit > MaxConcurrent {
		return nil, fmt.Errorf("%d requests at a time: wants 1 to %d", limit, MaxConcurrent)
	}
	if keys < 1 || keys > MaxKeys {
		return nil, fmt.Errorf("a limit for %d keys: wants 1 to %d", keys, MaxKeys)
	}
	t, err := newTable(keys)
	if err != nil {
		return nil, err
	}
	return &Concurrency{table: t, secret: secret, max: int64(limit)}, nil
}

// Max is how many requests of a key may be under way.
func (c *Concurrency) Max() int64 { return c.max }

// Enter counts one more request of key; None: there are too many, or, where
// full, too many other keys. The slot is left when the request has ended.
func (c *Concurrency) Enter(key []byte) (s Slot, full bool) {
	t, h := c.table, c.secret.Hash(key)
	if i := t.find(h); i >= 0 {
		if s, ok := c.enterAt(i, h); ok {
			return s, false
		}
	}
	stripe := t.stripe(h)
	stripe.acquire()
	s, full = c.enterNew(h)
	stripe.release()
	return s, full
}

// enterNew is Enter for a key without an entry, under the lock of its stripe.
func (c *Concurrency) enterNew(h Hash) (s Slot, full bool) {
	if i := c.table.find(h); i >= 0 {
		if s, ok := c.enterAt(i, h); ok {
			return s, false
		}
	}
	i := c.table.claim(h, 0)
	if i < 0 {
		return None, true
	}
	c.table.words[i].Store(1)
	return Slot(i), false
}

// enterAt counts a request of h, whose state is at i; false: it is not any
// more. Unlike a TAT a number comes back, so whose entry it was is known for
// sure only once it is counted, and cannot be given away.
func (c *Concurrency) enterAt(i int, h Hash) (Slot, bool) {
	for {
		n := c.table.words[i].Load()
		if n == busy || !c.table.is(i, h) {
			return None, false
		}
		if n >= c.max {
			return None, true
		}
		if !c.table.words[i].CompareAndSwap(n, n+1) {
			continue
		}
		if !c.table.is(i, h) {
			c.table.words[i].Add(-1)
			return None, false
		}
		return Slot(i), true
	}
}

// Leave ends what Enter began.
func (c *Concurrency) Leave(s Slot) { c.table.words[s].Add(-1) }
