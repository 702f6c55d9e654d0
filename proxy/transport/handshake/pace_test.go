package handshake

import (
	"runtime"
	"runtime/debug"
	"testing"
)

// While there are handshakes the heap may grow by more; how much, depends on what is in use.
func TestPace(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	for live, want := range map[uint64]int{0: 400, 2 << 20: 400, 4 << 20: 400, 8 << 20: 200, 16 << 20: 100, 1 << 40: 100} {
		if p := percent(live); p != want {
			t.Errorf("%d bytes in use may grow by %d %%, want %d", live, p, want)
		}
	}
	if runtime.GC(); live() == 0 {
		t.Error("nothing is in use")
	}
	now := func() int {
		p := debug.SetGCPercent(100)
		debug.SetGCPercent(p)
		return p
	}
	until(t, "calm", func() bool { // other tests' Workers
		pace.mu.Lock()
		defer pace.mu.Unlock()
		return pace.users == 0
	})
	usual := now()
	hasten()
	busy := now()
	hasten()
	relax(true)
	if p := now(); busy <= usual || p != busy {
		t.Errorf("%d %%, with handshakes %d, with those of others %d", usual, busy, p)
	}
	if relax(true); now() != usual {
		t.Errorf("%d %% behind them, %d before", now(), usual)
	}
	t.Setenv("GOGC", "70")
	if hasten(); now() != usual {
		t.Error("GOGC does not stay")
	}
	relax(true)
}
