package loop

import "testing"

func TestLeapsSince(t *testing.T) {
	var ls Leaps
	if n := ls.sinceNs(0); n != 0 {
		t.Errorf("without one %d", n)
	}
	for i := range int64(3) {
		ls.note(Leap{At: 100 * (i + 1), Ns: 10 + i})
	}
	for _, c := range []struct{ from, want int64 }{{0, 33}, {99, 33}, {100, 23}, {250, 12}, {299, 12}, {300, 0}, {1000, 0}} {
		if n := ls.sinceNs(c.from); n != c.want {
			t.Errorf("since %d: %d, want %d", c.from, n, c.want)
		}
	}
	if n := ls.RanNs(250, 350); n != 88 {
		t.Errorf("it ran for %d", n)
	}
	if ls.Last != (Leap{At: 300, Ns: 12}) {
		t.Errorf("the last one is %+v", ls.Last)
	}
	for i := range int64(leapsKept) {
		ls.note(Leap{At: 1000 + i, Ns: 2})
	}
	for _, c := range []struct{ from, want int64 }{{0, 2 * leapsKept}, {999, 2 * leapsKept}, {1000, 2 * (leapsKept - 1)}, {1000 + leapsKept - 1, 0}} {
		if n := ls.sinceNs(c.from); n != c.want {
			t.Errorf("behind many, since %d: %d, want %d", c.from, n, c.want)
		}
	}
}
