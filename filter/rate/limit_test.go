package rate

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const second = int64(time.Second)

func newLimit(t testing.TB, p Policy, keys, loops int) *Limit {
	t.Helper()
	l, err := NewLimit(p, keys, loops, NewSecret())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func number(n int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

func TestPolicies(t *testing.T) {
	for _, c := range []struct {
		p    Policy
		want string // part of the error
	}{
		{Policy{Requests: 1, Per: time.Second}, ""},
		{Policy{Requests: 1_000_000, Per: time.Second}, ""},
		{Policy{Requests: 1, Per: 24 * time.Hour, Burst: 300}, ""},
		{Policy{Requests: 1_000_001, Per: time.Second}, "at most 1000000 a second"},
		{Policy{Requests: 0, Per: time.Second}, "0 requests"},
		{Policy{Requests: 1, Per: time.Microsecond}, "1ms to"},
		{Policy{Requests: 1, Per: time.Second, Burst: -1}, "a burst to"},
		{Policy{Requests: 1, Per: 24 * time.Hour, Burst: 3000}, "more than a year"},
	} {
		err := c.p.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v, want %q", c.p, err, c.want)
		}
	}
	for _, keys := range []int{0, MaxKeys + 1} {
		if _, err := NewLimit(Policy{Requests: 1, Per: time.Second}, keys, 1, NewSecret()); err == nil {
			t.Errorf("%d keys were accepted", keys)
		}
	}
}

func TestOneKey(t *testing.T) {
	lc := newLimit(t, Policy{Requests: 10, Per: time.Second, Burst: 3}, 16, 1).Local(0)
	tenth := second / 10
	for i, c := range []struct {
		at   int64
		want Verdict
	}{
		{1, Verdict{Pass: true, Remaining: 2, Next: tenth}},
		{1, Verdict{Pass: true, Remaining: 1, Next: tenth}},
		{1, Verdict{Pass: true, Remaining: 0, Next: tenth}},
		{1, Verdict{Next: tenth}},
		{tenth, Verdict{Next: 1}},
		{tenth + 1, Verdict{Pass: true, Next: tenth}},
		{tenth + 1, Verdict{Next: tenth}},
		{3*tenth + 1, Verdict{Pass: true, Remaining: 1, Next: tenth}},
		{9 * second, Verdict{Pass: true, Remaining: 2, Next: tenth}},
	} {
		if got := lc.Take([]byte("k"), c.at); got != c.want {
			t.Fatalf("request %d: %+v, want %+v", i, got, c.want)
		}
	}
}

// reference is GCRA as it is written down, for one key.
type reference struct{ tat int64 }

func (r *reference) take(p Policy, now int64) bool {
	burst := int64(p.Burst)
	if burst == 0 {
		burst = int64(p.Requests)
	}
	if from := max(r.tat, now); from+p.interval()-now <= burst*p.interval() {
		r.tat = from + p.interval()
		return true
	}
	return false
}

// One loop decides as the reference does, whatever the keys and times, as long as the table has room.
func TestOneLoopIsExact(t *testing.T) {
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		p := Policy{Requests: 1 + rnd.IntN(100), Per: time.Duration(1+rnd.IntN(10)) * time.Second, Burst: rnd.IntN(20)}
		keys := 1 + rnd.IntN(200)
		lc, want := newLimit(t, p, 256, 4).Local(0), make([]reference, keys)
		now := int64(1)
		for i := range 20_000 {
			now += rnd.Int64N(p.interval())
			k := rnd.IntN(keys)
			if got, want := lc.Take(number(k), now).Pass, want[k].take(p, now); got != want {
				t.Fatalf("seed %d, request %d of key %d at %d: %v, want %v", seed, i, k, now, got, want)
			}
		}
	}
}

// passed is what several loops let through.
type passed struct {
	key int
	at  int64 // when the request was there, by the clock that all loops read
}

// side runs loops at once for a while of their common clock. Each takes a time
// once a turn and has several requests in it, as loops do.
func side(l *Limit, loops, keys int, until, step int64) []passed {
	var clock atomic.Int64
	clock.Store(1)
	var mu sync.Mutex
	var all []passed
	var wg sync.WaitGroup
	for n := range loops {
		wg.Go(func() {
			lc, rnd := l.Local(n), rand.New(rand.NewPCG(uint64(n), 2))
			var mine []passed
			for now := clock.Load(); now < until; now = clock.Add(rnd.Int64N(step)) {
				for range rnd.IntN(16) {
					k := rnd.IntN(keys)
					if lc.Take(number(k), now).Pass {
						mine = append(mine, passed{k, now})
					}
				}
			}
			mu.Lock()
			all = append(all, mine...)
			mu.Unlock()
		})
	}
	wg.Wait()
	return all
}

// Below 1000 requests a second of a key all loops together are exact: never more than the burst
// and the rate, and no less than that where more are asked for.
func TestLoopsTogetherAreExact(t *testing.T) {
	p := Policy{Requests: 500, Per: time.Second, Burst: 20}
	const keys, until = 8, 2 * second
	counts := [keys]int{}
	for _, r := range side(newLimit(t, p, 64, 4), 4, keys, until, 20_000) {
		counts[r.key]++
	}
	for k, n := range counts {
		// A loop's time may be behind by a turn, in which a request or two come in.
		if want := 1000 + 20; n > want+1 || n < want-3 {
			t.Errorf("key %d: %d passed, want %d", k, n, want)
		}
	}
}

// From 1000 requests a second on it is 1 %, and the loops' common memory is asked for few of them.
func TestHotKeysAreWithinOnePercent(t *testing.T) {
	for _, c := range []struct {
		rate, burst, loops int
		asked              float64 // requests that go to the table, of all at most
	}{
		{1000, 1000, 2, 0.3}, {1000, 100, 4, 0.5}, {20_000, 20_000, 4, 0.1}, {100_000, 1000, 4, 0.1},
	} {
		t.Run(fmt.Sprintf("%d_%d_%d", c.rate, c.burst, c.loops), func(t *testing.T) {
			l := newLimit(t, Policy{Requests: c.rate, Per: time.Second, Burst: c.burst}, 64, c.loops)
			var clock, count atomic.Int64
			var wg sync.WaitGroup
			var all atomic.Int64
			step := second / int64(c.rate*c.loops)
			const until = 4 * second
			for n := range c.loops {
				wg.Go(func() {
					lc := l.Local(n)
					// Each loop has twice its share of the rate.
					for now := clock.Add(step / 2); now < until; now = clock.Add(step / 2) {
						all.Add(1)
						if lc.Take([]byte("hot"), now).Pass {
							count.Add(1)
						}
					}
				})
			}
			wg.Wait()
			most := float64(4*c.rate + c.burst)
			if n := float64(count.Load()); n > most+1 || n < most-4*float64(c.rate)/100 {
				t.Errorf("%.0f passed, want %.0f less at most 1 %%", n, most)
			}
			if share := float64(l.Asked()) / float64(all.Load()); share > c.asked {
				t.Errorf("%.2f of the requests asked the table, want at most %.2f", share, c.asked)
			}
		})
	}
}

// Requests of a key that has no entry yet find one entry, not two, however many loops have one at once.
func TestNewKeysHaveOneEntry(t *testing.T) {
	const loops, keys = 8, 20_000
	l := newLimit(t, Policy{Requests: 1, Per: time.Hour, Burst: 1}, keys, loops)
	counts := make([]atomic.Int32, keys)
	var wg sync.WaitGroup
	for n := range loops {
		wg.Go(func() {
			lc := l.Local(n)
			for k := range keys {
				if lc.Take(number(k), second).Pass {
					counts[k].Add(1)
				}
			}
		})
	}
	wg.Wait()
	for k := range counts {
		if n := counts[k].Load(); n != 1 {
			t.Fatalf("key %d: %d passed, want 1", k, n)
		}
	}
}

// A flood of keys, many times more than there is room for, gives nobody a new burst, and is limited itself.
func TestFloodResetsNothing(t *testing.T) {
	p := Policy{Requests: 1, Per: time.Minute, Burst: 5}
	l := newLimit(t, p, 1000, 1)
	lc, now := l.Local(0), second
	for k := range 500 {
		for range 5 {
			if !lc.Take(number(k), now).Pass {
				t.Fatal("a key's own burst was refused")
			}
		}
	}
	const flood = 200_000
	through := 0
	for k := range flood {
		if lc.Take(number(1_000_000+k), now).Pass {
			through++
		}
	}
	if l.Overflow() == 0 {
		t.Error("nothing overflowed")
	}
	// One request for each entry, and a burst for each stripe, at most.
	if most := len(l.table.words)/2 + stripeCount*p.Burst; through > most {
		t.Errorf("%d of the flood passed, want at most %d", through, most)
	}
	for k := range 500 {
		if lc.Take(number(k), now+second).Pass {
			t.Fatalf("key %d was reset", k)
		}
	}
	for k := range 500 {
		if !lc.Take(number(k), now+60*second).Pass {
			t.Fatalf("key %d has nothing after its time", k)
		}
	}
}

// A key that was counted with others has no burst of its own on top when there is room for it.
func TestOverflowIsNotForgotten(t *testing.T) {
	p := Policy{Requests: 1, Per: time.Minute, Burst: 3}
	l := newLimit(t, p, 1, 1)
	lc, now := l.Local(0), second
	for k := range 100 {
		lc.Take(number(k), now)
	}
	late, passes := []byte("late"), 0
	for range 10 {
		if v := lc.Take(late, now); v.Pass {
			passes++
			if !v.Overflow {
				t.Fatal("there is room")
			}
		}
	}
	for at := now; at < now+61*second; at += second / 2 {
		if lc.Take(late, at).Pass {
			passes++
		}
	}
	if passes > 3+1 {
		t.Errorf("%d passed in a minute, want at most 4", passes)
	}
}

// Four million keys fit in 256 MiB, none of them lost.
func TestMemoryOfFourMillionKeys(t *testing.T) {
	const keys = 4_000_000
	before := resident(t)
	l := newLimit(t, Policy{Requests: 1, Per: time.Hour, Burst: 1}, keys, 1)
	if l.Bytes() > 256<<20 {
		t.Errorf("%d bytes", l.Bytes())
	}
	lc, key := l.Local(0), make([]byte, 8)
	for k := range keys {
		binary.BigEndian.PutUint64(key, uint64(k))
		if v := lc.Take(key, second); !v.Pass || v.Overflow {
			t.Fatalf("key %d: %+v", k, v)
		}
	}
	if grown := resident(t) - before; grown > 256<<20 {
		t.Errorf("%d bytes more are resident", grown)
	}
	for k := range keys {
		binary.BigEndian.PutUint64(key, uint64(k))
		if lc.Take(key, 2*second).Pass {
			t.Fatalf("key %d was forgotten", k)
		}
	}
}

// resident is how much memory the process has, in bytes.
func resident(t *testing.T) int {
	t.Helper()
	runtime.GC()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, pages int
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

func TestTakeAllocatesNothing(t *testing.T) {
	for _, rate := range []int{10, 100_000} {
		lc := newLimit(t, Policy{Requests: rate, Per: time.Second}, 1024, 2).Local(0)
		now, buf := int64(1), make([]byte, 0, 64)
		if n := testing.AllocsPerRun(2000, func() {
			now += 10_000
			buf = AppendText(buf[:0], "key")
			lc.Take(binary.BigEndian.AppendUint64(buf, uint64(now)), now)
			lc.Take(buf, now)
		}); n != 0 {
			t.Errorf("%d a second: %v allocations", rate, n)
		}
	}
}

// FuzzLimit has keys come in any order and at any time to a table that has room for few. None passes more often than
// its burst and its rate allow, and one that never overflowed is exact.
func FuzzLimit(f *testing.F) {
	f.Add([]byte{1, 2, 3, 1, 1, 1, 255, 1}, uint8(2), uint8(3))
	f.Add([]byte("a flood of keys that do not fit"), uint8(0), uint8(1))
	f.Fuzz(func(t *testing.T, ops []byte, requests, burst uint8) {
		p := Policy{Requests: 1 + int(requests), Per: time.Second, Burst: 1 + int(burst)%16}
		l := newLimit(t, p, 2, 1)
		lc, now := l.Local(0), int64(1)
		var times [32][]int64
		for _, op := range ops {
			now += int64(op>>5) * p.interval() / 3
			k := int(op & 31)
			if lc.Take(number(k), now).Pass {
				times[k] = append(times[k], now)
			}
		}
		for k, at := range times {
			for i := range at {
				for j := i; j < len(at); j++ {
					if most := int64(p.Burst) + (at[j]-at[i])/p.interval() + 1; int64(j-i+1) > most {
						t.Fatalf("key %d: %d passed in %d ns, want at most %d", k, j-i+1, at[j]-at[i], most)
					}
				}
			}
		}
	})
}

func BenchmarkTake(b *testing.B) {
	for _, c := range []struct {
		name       string
		rate, keys int
	}{{"one_key", 100, 1}, {"hot_key", 1_000_000, 1}, {"million_keys", 100, 1_000_000}} {
		b.Run(c.name, func(b *testing.B) {
			l := newLimit(b, Policy{Requests: c.rate, Per: time.Second}, max(1024, c.keys), 2)
			lc, now, key := l.Local(0), int64(1), make([]byte, 16)
			b.ReportAllocs()
			i := uint64(0)
			for b.Loop() {
				now += 100
				i += 7919
				binary.BigEndian.PutUint64(key, i%uint64(c.keys))
				lc.Take(key, now)
			}
		})
	}
	b.Run("hot_key_on_all_loops", func(b *testing.B) {
		loops := runtime.GOMAXPROCS(0)
		l := newLimit(b, Policy{Requests: 1_000_000, Per: time.Second}, 1024, loops)
		var clock atomic.Int64
		b.RunParallel(func(pb *testing.PB) {
			lc, now := l.Local(0), clock.Add(1)
			for pb.Next() {
				now += 100
				lc.Take([]byte("0123456789abcdef"), now)
			}
		})
	})
}
