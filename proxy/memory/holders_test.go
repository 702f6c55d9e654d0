package memory

import (
	"slices"
	"testing"
)

const block = 1000

// look looks at all of them, by index from 1 on, and says who ends where so many blocks are
// to come back.
func look(h *Holders, ms, patience uint32, wanted int, all ...Holding) (ended []uint32) {
	h.BeginLook(ms, patience)
	for i := range all {
		h.Look(uint32(i+1), &all[i])
	}
	h.Judge(wanted)
	for i := uint32(1); i < h.Seen(); i++ {
		if _, ends := h.Ends(i, &all[i-1], block); ends {
			ended = append(ended, i)
		}
	}
	return ended
}

// stuck holds bytes for an upstream, of which none leave.
func stuck(upstream, bytes int) Holding {
	return Holding{Of: 1, Upstream: upstream, Bytes: [2]int{ToOrigin: bytes}, Left: [2]uint32{ToOrigin: 7}}
}

func TestHolders(t *testing.T) {
	moving := func(ms uint32, each uint32) Holding {
		h := stuck(1, 16_000)
		h.Left[ToOrigin] = ms / 100 * each
		return h
	}
	for _, tc := range []struct {
		name   string
		at     func(ms uint32) []Holding
		wanted int
		ended  []uint32 // at 600 ms, of those seen every 100 ms; patience is 500
	}{
		{"nobody holds anything", func(uint32) []Holding { return []Holding{stuck(1, 0), {}} }, 10, nil},
		{"one stands still", func(uint32) []Holding { return []Holding{stuck(1, 1), stuck(1, 0)} }, 10, []uint32{1}},
		{"to its client", func(uint32) []Holding { return []Holding{{}, {Upstream: 2, Bytes: [2]int{ToClient: 5}}} }, 10, []uint32{2}},
		{"one moves fast enough", func(ms uint32) []Holding { return []Holding{moving(ms, 1000)} }, 10, nil},
		{"one moves, but as good as not", func(ms uint32) []Holding { return []Holding{moving(ms, 100)} }, 10, []uint32{1}},
		{"one has begun another exchange", func(ms uint32) []Holding {
			h := stuck(1, 100)
			h.Of = int64(ms/300) + 1
			return []Holding{h}
		}, 10, nil},
		{"one held nothing meanwhile", func(ms uint32) []Holding {
			if ms == 300 {
				return []Holding{stuck(1, 0)}
			}
			return []Holding{stuck(1, 5)}
		}, 10, nil},
		{"the upstream that holds the most comes first", func(uint32) []Holding {
			return []Holding{stuck(1, 5000), stuck(2, 3000), stuck(1, 10), stuck(2, 3000)}
		}, 100, []uint32{2, 4}},
		{"in order, until enough has come back", func(uint32) []Holding {
			return []Holding{stuck(1, 2500), stuck(1, 2500), stuck(1, 2500), stuck(1, 2500)}
		}, 6, []uint32{1, 2}},
		{"nothing is to come back", func(uint32) []Holding { return []Holding{stuck(1, 2500)} }, 0, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var h Holders
			h.SetUpstreams(3)
			for ms := uint32(10_000); ms < 10_600; ms += 100 {
				if ended := look(&h, ms, WaitedMs, tc.wanted, tc.at(ms-10_000)...); ms < 10_500 && len(ended) > 0 {
					t.Fatalf("after %d ms these end: %d", ms-10_000, ended)
				}
			}
			if ended := look(&h, 10_600, WaitedMs, tc.wanted, tc.at(600)...); !slices.Equal(ended, tc.ended) {
				t.Errorf("these end: %d, want %d", ended, tc.ended)
			}
		})
	}
}

// How long one may stand still, and how often that is looked at.
func TestPatience(t *testing.T) {
	for _, row := range []struct {
		waits, full bool
		ms          uint32
	}{{false, false, 0}, {true, false, 500}, {true, true, 500}, {false, true, 2000}} {
		if ms, ok := Patience(row.waits, row.full); ms != row.ms || ok != (row.ms > 0) {
			t.Errorf("%+v: %d, %v", row, ms, ok)
		}
	}
	var h Holders
	for _, row := range []struct {
		now int64
		due bool
	}{{0, true}, {1, false}, {LookNs - 1, false}, {LookNs, true}, {LookNs + 1, false}, {9 * LookNs, true}} {
		if h.Due(row.now) != row.due {
			t.Errorf("at %d: due %v", row.now, !row.due)
		}
	}
	if h.NextLook() != 10*LookNs {
		t.Errorf("next at %d", h.NextLook())
	}
}

// What was seen long ago, when nobody waited for memory, says nothing about now.
func TestLooksOfAnotherTime(t *testing.T) {
	var h Holders
	h.SetUpstreams(2)
	look(&h, 10_000, WaitedMs, 10, stuck(1, 5))
	if ended := look(&h, 12_000, WaitedMs, 10, stuck(1, 5)); ended != nil {
		t.Errorf("it is ended for what was seen two seconds before")
	}
	if ended := look(&h, 12_500, WaitedMs, 10, stuck(1, 5)); ended == nil {
		t.Error("it is not ended for what was seen since")
	}
}

// The time in which the loop did not run is not counted, once for each leap; the time
// between is.
func TestForgiven(t *testing.T) {
	var h Holders
	h.SetUpstreams(2)
	look(&h, 10_000, WaitedMs, 10, stuck(1, 5))
	look(&h, 10_400, WaitedMs, 10, stuck(1, 5))
	if !h.Forgives(1, 3000, 13_400) || h.Forgives(1, 3000, 13_400) {
		t.Error("a leap is to be taken into account once")
	}
	if ended := look(&h, 13_499, WaitedMs, 10, stuck(1, 5)); ended != nil {
		t.Error("it is ended for time in which nothing could move")
	}
	if ended := look(&h, 13_500, WaitedMs, 10, stuck(1, 5)); ended == nil {
		t.Error("500 ms in which it could have moved are not counted")
	}
}

// The milliseconds, and the bytes, go around.
func TestCountersGoAround(t *testing.T) {
	var h Holders
	h.SetUpstreams(2)
	const end = ^uint32(0)
	look(&h, end-99, WaitedMs, 10, stuck(1, 5))
	if ended := look(&h, 399, WaitedMs, 10, stuck(1, 5)); ended != nil {
		t.Error("it is ended after 499 ms")
	}
	if ended := look(&h, 400, WaitedMs, 10, stuck(1, 5)); ended == nil {
		t.Error("it is not ended after 500 ms")
	}
	for bytes, ends := range map[int]bool{16: false, 32: true} { // of which a byte is enough, or not
		var h Holders
		h.SetUpstreams(2)
		x := stuck(1, bytes)
		x.Left[ToOrigin] = end
		look(&h, 1000, WaitedMs, 10, x)
		x.Left[ToOrigin] = 0 // a byte has left
		look(&h, 1400, WaitedMs, 10, x)
		if ended := look(&h, 1600, WaitedMs, 10, x); (ended != nil) != ends {
			t.Errorf("a byte of %d left when the counter went around: ended %v", bytes, !ends)
		}
	}
}
