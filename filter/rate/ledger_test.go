package rate

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// shared is what machines with the same limits have in common, as a server of theirs would have it.
type shared struct {
	mu   sync.Mutex
	tats map[ID]int64
}

func (s *shared) settle(l *Limit, now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range l.Collect(nil) {
		tat := max(s.tats[d.ID], now) + d.Requests*l.Interval()
		s.tats[d.ID] = tat
		l.Raise(d, now, tat-now)
	}
}

// Machines that settle let through together what the limit says, but for what they do between two settlements.
func TestMachinesTogether(t *testing.T) {
	const machines, rate, burst, until = 3, 100, 50, 20 * second
	fleet, limits, passes := &shared{tats: map[ID]int64{}}, []*Limit{}, 0
	for range machines {
		l := newLimit(t, Policy{Requests: rate, Per: time.Second, Burst: burst}, 64, 2)
		l.Share("limit")
		limits = append(limits, l)
	}
	const every = second / 10
	for now := second; now < until; now += second / 1000 {
		for i, l := range limits {
			if l.Local(int(now)%2).Take([]byte("k"), now).Pass {
				passes++
			}
			if now%every == 0 {
				fleet.settle(limits[i], now)
			}
		}
	}
	exact := 19*rate + burst
	if most := exact + (machines-1)*(burst+rate/10) + 1; passes > most || passes < exact-rate/10 {
		t.Errorf("%d passed, want %d and at most %d", passes, exact, most)
	}
}

// A key is the same to all machines, whatever their secrets, and another one under another name.
func TestIdentities(t *testing.T) {
	if identify("a", []byte("k")) != identify("a", []byte("k")) {
		t.Error("a key is not the same twice")
	}
	if identify("a", []byte("k")) == identify("b", []byte("k")) || identify("a", []byte("bk")) == identify("ab", []byte("k")) {
		t.Error("keys of other limits are the same")
	}
}

// What loops note while others collect is collected once.
func TestNothingIsCollectedTwiceOrLost(t *testing.T) {
	const loops, keys, each = 4, 300, 40_000
	l := newLimit(t, Policy{Requests: 1_000_000, Per: time.Second, Burst: 10_000_000}, 1024, loops)
	l.Share("limit")
	var done atomic.Bool
	var wg, collecting sync.WaitGroup
	var collected int64
	sums := map[ID]int64{}
	collect := func() {
		for _, d := range l.Collect(nil) {
			collected += d.Requests
			sums[d.ID] += d.Requests
		}
	}
	collecting.Go(func() {
		for !done.Load() {
			collect()
		}
	})
	for n := range loops {
		wg.Go(func() {
			g := l.Local(n).notes
			for i := range each {
				key := number(i % keys)
				g.note(l.secret.Hash(key), "limit", key, 1)
			}
		})
	}
	wg.Wait()
	done.Store(true)
	collecting.Wait()
	collect()
	if all := collected + l.Missed(); all != loops*each || l.Missed() > 0 {
		t.Errorf("%d collected and %d missed of %d", collected, l.Missed(), loops*each)
	}
	if len(sums) != keys {
		t.Errorf("%d keys, want %d", len(sums), keys)
	}
}

// Too many keys at once are counted, and there is room again when they are gone.
func TestLedgerThatIsFull(t *testing.T) {
	l := newLimit(t, Policy{Requests: 10, Per: time.Second}, 100_000, 1)
	l.Share("limit")
	lc := l.Local(0)
	for k := range 10 * ledgerEntries {
		lc.Take(number(k), second)
	}
	if n := len(l.Collect(nil)); int64(n)+l.Missed() != 10*ledgerEntries || l.Missed() == 0 {
		t.Errorf("%d collected and %d missed of %d", n, l.Missed(), 10*ledgerEntries)
	}
	for range ledgerRounds + 1 {
		if due := l.Collect(nil); len(due) != 0 {
			t.Fatalf("%d are due", len(due))
		}
	}
	missed := l.Missed()
	lc.Take([]byte("late"), second)
	if due := l.Collect(nil); len(due) != 1 || l.Missed() != missed {
		t.Errorf("%d are due, %d were missed", len(due), l.Missed()-missed)
	}
}

// A key that no request of this machine's has an entry for gets one.
func TestRaiseOfAKeyWithoutEntry(t *testing.T) {
	l := newLimit(t, Policy{Requests: 10, Per: time.Second}, 64, 1)
	l.Share("limit")
	lc, key := l.Local(0), []byte("k")
	l.Raise(Due{hash: l.secret.Hash(key)}, second, second)
	if v := lc.Take(key, second); v.Pass {
		t.Errorf("%+v", v)
	}
	if v := lc.Take(key, second+second/10); !v.Pass {
		t.Errorf("%+v", v)
	}
	l.Raise(Due{hash: l.secret.Hash(key)}, second, 1)
	if v := lc.Take(key, second+second/10); v.Pass {
		t.Error("what others say has lowered a TAT")
	}
}
