package scarce

import "testing"

const ms = int64(1e6)

// leaps are some, ms: when one had ended, how long it was.
type leaps [][2]int64

func (ls leaps) RanNs(from, now int64) int64 {
	ran := now - from
	for _, leap := range ls {
		if leap[0]*ms > from {
			ran -= leap[1] * ms
		}
	}
	return ran
}

// What counts as moving, and since when there has been none.
func TestWatches(t *testing.T) {
	const start, got = int64(1000) * 1e6, int64(1100) * 1e6
	up := func(moved uint64) Sight { return Sight{Start: start, Got: got, Moved: moved} }
	down := func(moved uint64) Sight { return Sight{Start: start, Got: got, Moved: moved, Down: true} }
	other := Sight{Start: start + 1, Got: 1900 * ms}
	type seen struct {
		at   int64 // ms
		s    Sight
		idle int64 // ms
	}
	for _, tc := range []struct {
		name  string
		leaps leaps // ms: when one had ended, how long it was
		seen  []seen
	}{
		{"nothing has come since it got its connection", nil, []seen{{1500, up(0), 400}, {1600, up(0), 500}}},
		{"enough has come", nil, []seen{{1500, up(1000), 0}, {1600, up(1000), 100}, {1700, up(1200), 0}}},
		{"too little comes, however long", nil, []seen{{1500, up(399), 400}, {1600, up(400), 500}, {2100, up(1000), 0}, {2200, up(1099), 100}}},
		{"part of a record was more than what was in it", nil, []seen{{1500, up(2000), 0}, {1600, up(1990), 100}, {1700, up(2200), 0}}},
		{"the response is not taken", nil, []seen{{1500, down(5000), 0}, {1600, down(5000), 100}, {1700, down(6000), 0}}},
		{"it has turned", nil, []seen{{1500, up(0), 400}, {1600, down(0), 0}, {1700, down(0), 100}}},
		{"another exchange has its place", nil, []seen{{1500, up(0), 400}, {2000, other, 100}}},
		{"the loop did not run", leaps{{1550, 300}}, []seen{{1500, up(0), 400}, {1850, up(0), 450}}},
		{"it did not before the first look", leaps{{1450, 300}}, []seen{{1500, up(0), 100}, {1600, up(0), 200}}},
		{"time between leaps", leaps{{1450, 300}, {1900, 250}, {2300, 250}}, []seen{{1500, up(0), 100}, {1900, up(0), 250}, {2300, up(0), 400}, {2400, up(0), 500}}},
		{"a leap before it moved", leaps{{1550, 200}}, []seen{{1300, up(0), 200}, {1600, up(1000), 0}, {1700, up(1000), 100}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var ws Watches
			for _, x := range tc.seen {
				var were leaps
				for _, leap := range tc.leaps {
					if leap[0] <= x.at {
						were = append(were, leap)
					}
				}
				if idle := ws.IdleNs(300, &x.s, 1000, x.at*ms, were); idle != x.idle*ms {
					t.Errorf("at %d ms: idle for %d ms, want %d", x.at, idle/ms, x.idle)
				}
			}
		})
	}
}

// Without a least rate, one byte is movement, and who was waited for by others begins anew.
func TestWatchWithoutRate(t *testing.T) {
	var ws Watches
	s := Sight{Start: 1, Got: 1000 * ms}
	for _, x := range []struct {
		at    int64
		moved uint64
		idle  int64
	}{{1100, 0, 100}, {1200, 1, 0}, {1300, 1, 100}, {1400, 2, 0}} {
		s.Moved = x.moved
		if idle := ws.IdleNs(1, &s, 0, x.at*ms, leaps(nil)); idle != x.idle*ms {
			t.Errorf("at %d ms: idle for %d ms, want %d", x.at, idle/ms, x.idle)
		}
	}
	ws.Forget(1)
	s.Got = 1450 * ms
	if idle := ws.IdleNs(1, &s, 0, 1500*ms, leaps(nil)); idle != 0 { // two bytes have come since
		t.Errorf("idle for %d ms", idle/ms)
	}
}
