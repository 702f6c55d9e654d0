package memory

import "testing"

// A step of shortage is not left where it began, but when clearly less is in use: the
// marks do not change with every block.
func TestPressureIsLeftLater(t *testing.T) {
	m := NewMarks(256)
	const step = 256 / Pressures
	for _, row := range []struct{ used, pressure int }{
		{0, 0}, {step - 1, 0}, {step, 1}, {step - 1, 1}, {step + 1, 1}, {step * 3 / 4, 1}, {step*3/4 - 1, 0}, {step - 1, 0},
		{3 * step, 3}, {3*step - step/4, 3}, {3*step - step/4 - 1, 2}, {3*step - 1, 2}, {0, 0},
	} {
		if m.Set(row.used); m.Pressure != row.pressure {
			t.Errorf("with %d of 256 blocks in use the pressure is %d, want %d", row.used, m.Pressure, row.pressure)
		}
		want := Marks{MaxBlocks: 256, Pressure: row.pressure, High: []int{512 << 10, 128 << 10, 32 << 10, 0}[row.pressure], Low: []int{128 << 10, 32 << 10, 8 << 10, 0}[row.pressure]}
		if m != want || m.NearlyFull() != (row.pressure == 3) {
			t.Errorf("with %d blocks in use the marks are %+v, want %+v", row.used, m, want)
		}
	}
}

// What one connection may leave unread is bounded where memory is short, and only there.
func TestUnfair(t *testing.T) {
	for _, row := range []struct {
		used, unread int
		unfair       bool
	}{
		{0, 1 << 30, false}, {64, 1 << 30, false}, {128, 8 * 1000, false}, {128, 8*1000 + 1, true}, {255, 8*1000 + 1, true},
	} {
		m := NewMarks(256)
		if m.Set(row.used); m.IsUnfair(row.unread, 1000) != row.unfair {
			t.Errorf("%d bytes with %d blocks in use: unfair %v", row.unread, row.used, !row.unfair)
		}
	}
}

// Whatever the size of a pool, the reserve leaves most of it, and what all peers may be
// promised in both directions has room beside it.
func TestReserveAndCredit(t *testing.T) {
	const block = 16 << 10
	for _, blocks := range []int{8, 16, 64, 128, 1000, 100_000} {
		n := Reserve(blocks)
		if n < 2 || n > blocks/4 {
			t.Errorf("%d of %d blocks are in reserve", n, blocks)
		}
		all, first := Credit(blocks, block)
		if 2*all > int64(blocks-n)*block || first < 16<<10 || first > 1<<20 {
			t.Errorf("of %d blocks, %d bytes may be promised in each direction, %d of them at first", blocks, all, first)
		}
	}
}
