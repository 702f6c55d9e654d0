package rate

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

func newConcurrency(t *testing.T, limit, keys int) *Concurrency {
	t.Helper()
	c, err := NewConcurrency(limit, keys, NewSecret())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConcurrencyOfOneKey(t *testing.T) {
	c := newConcurrency(t, 2, 16)
	a, _ := c.Enter([]byte("a"))
	b, _ := c.Enter([]byte("a"))
	if a == None || b == None {
		t.Fatalf("%d %d", a, b)
	}
	if s, full := c.Enter([]byte("a")); s != None || full {
		t.Errorf("a third one: %d %v", s, full)
	}
	if s, _ := c.Enter([]byte("b")); s == None {
		t.Error("another key is refused")
	}
	c.Leave(a)
	if s, _ := c.Enter([]byte("a")); s == None {
		t.Error("what was left is not free")
	}
	for _, limit := range []int{0, MaxConcurrent + 1} {
		if _, err := NewConcurrency(limit, 16, NewSecret()); err == nil {
			t.Errorf("%d at a time was accepted", limit)
		}
	}
	if _, err := NewConcurrency(1, 0, NewSecret()); err == nil {
		t.Error("no keys were accepted")
	}
}

// A table that has no room refuses new keys, and forgets no key that has requests.
func TestConcurrencyOfTooManyKeys(t *testing.T) {
	c := newConcurrency(t, 1, 1)
	var slots []Slot
	for k := range 1000 {
		s, full := c.Enter(number(k))
		if s == None && !full {
			t.Fatalf("key %d is refused for its own requests", k)
		}
		if s != None {
			slots = append(slots, s)
		}
	}
	if most := len(c.table.words) / 2; len(slots) > most || len(slots) == 0 {
		t.Errorf("%d keys, room for %d", len(slots), most)
	}
	for _, s := range slots {
		c.Leave(s)
	}
	if s, _ := c.Enter(number(5000)); s == None {
		t.Error("there is no room again")
	}
}

// Loops come and go with few keys, among many that come once: no key has ever more under way than it may, and in
// the end nothing is counted.
func TestConcurrencyOverLoops(t *testing.T) {
	const loops, keys, limit = 6, 5, 3
	c := newConcurrency(t, limit, 8)
	var under [keys]atomic.Int64
	var wg sync.WaitGroup
	var entered atomic.Int64
	for n := range loops {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(n), 3))
			for range 30_000 {
				k := rnd.IntN(2 * keys)
				if k >= keys {
					if s, _ := c.Enter(number(100 + rnd.IntN(10_000))); s != None {
						c.Leave(s)
					}
					continue
				}
				s, _ := c.Enter(number(k))
				if s == None {
					continue
				}
				entered.Add(1)
				if under[k].Add(1) > limit {
					t.Errorf("key %d has more than %d", k, limit)
				}
				under[k].Add(-1)
				c.Leave(s)
			}
		})
	}
	wg.Wait()
	if entered.Load() == 0 {
		t.Error("nothing came in")
	}
	for i := 1; i < len(c.table.words); i += 2 {
		if n := c.table.words[i].Load(); n != 0 {
			t.Errorf("%d are left at %d", n, i)
		}
	}
}
