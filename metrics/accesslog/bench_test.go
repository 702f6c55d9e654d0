package accesslog

import (
	"strconv"
	"testing"
)

// steady is a buffer with all blocks made and a file that takes everything.
func steady(t testing.TB, f Format) *Buffer {
	l, err := Open(Options{Path: "/dev/null", Format: f, Layout: layout(t, everyField(false))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	b := l.NewBuffer(nil)
	for b.made < blocksPerBuffer {
		b.free <- b.newBlock()
	}
	return b
}

func TestAddDoesNotAllocate(t *testing.T) {
	for _, f := range []Format{JSON, Combined, Custom} {
		b := steady(t, f)
		r := sample()
		r.Target = []byte("/\"\x00\xff€" + strconv.Itoa(1)) // the slow ways of escaping too
		r.Reason = "\u0085\xff"
		var now int64
		// Enough runs to hand over several blocks.
		if n := testing.AllocsPerRun(2000, func() {
			r.WallMs += 100
			now += 100e6
			b.Add(r)
			b.Flush(now)
		}); n != 0 {
			t.Errorf("format %d: %v allocations per record", f, n)
		}
	}
}

func BenchmarkJSON(b *testing.B)     { benchmark(b, JSON) }
func BenchmarkCombined(b *testing.B) { benchmark(b, Combined) }

func BenchmarkCustom(b *testing.B) { benchmark(b, Custom) }

func benchmark(b *testing.B, f Format) {
	buffer := steady(b, f)
	r := sample()
	b.SetBytes(int64(len(line(f, r))))
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%1000 == 0 {
			r.WallMs += 10
		}
		buffer.Add(r)
	}
}
