package loop

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// traffic is what a loop sees of the world: the time between two wake-ups, and
// the bytes per us that come in.
type traffic func(waiting bool) (gapUs int64, bytesPerUs float64)

// steady is traffic that waiting multiplies by gain, in which each wake-up
// brings more or less of it by chance.
func steady(rnd *rand.Rand, gain, chance float64) traffic {
	return func(waiting bool) (int64, float64) {
		rate := 10 * (1 - chance + chance*rnd.ExpFloat64())
		if waiting {
			return 250, rate * gain
		}
		return 60 + rnd.Int64N(40), rate
	}
}

// bursts come every so often, as those of sound and pictures do.
func bursts(periodUs, phaseUs int64) traffic {
	return func(bool) (int64, float64) {
		rate := 1.
		if phaseUs%periodUs < periodUs/2 {
			rate = 10
		}
		phaseUs += 100
		return 100, rate
	}
}

// spend lets a batchWait see traffic for so long, and gives the share of the
// time in which it has waited.
func (m *batchWait) spend(t traffic, now *int64, d time.Duration) float64 {
	waited, bytes := int64(0), m.bytes
	for end := *now + int64(d); *now < end; {
		was := m.on
		gapUs, rate := t(was)
		*now += gapUs * 1000
		bytes += int64(rate * float64(gapUs))
		if was {
			waited += gapUs * 1000
		}
		m.awake(*now, bytes)
	}
	return float64(waited) / float64(d)
}

// TestBatchWaitPays: a loop waits where it is good for something, and hardly ever
// where it is not.
func TestBatchWaitPays(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	idle := func(bool) (int64, float64) { return 900, 1 }
	for _, c := range []struct {
		name    string
		always  bool
		traffic traffic
		// of the first second, and of the minutes after it
		early, late [2]float64
	}{
		{"no load", false, idle, [2]float64{0, 0}, [2]float64{0, 0}},
		{"half as much again", false, steady(rnd, 1.5, 0.5), [2]float64{0.8, 1}, [2]float64{0.97, 1}},
		{"a quarter more, by chance much more or less", false, steady(rnd, 1.25, 1), [2]float64{0, 1}, [2]float64{0.5, 1}},
		{"as much as without", false, steady(rnd, 1, 0.5), [2]float64{0, 0.1}, [2]float64{0, 0.004}},
		{"as much as without, to the byte", false, steady(rnd, 1, 0), [2]float64{0, 0.02}, [2]float64{0, 0.004}},
		{"as much as without, in bursts", false, bursts(20000, 0), [2]float64{0, 0.1}, [2]float64{0, 0.004}},
		{"as much as without, in bursts at other times", false, bursts(20000, 5000), [2]float64{0, 0.1}, [2]float64{0, 0.004}},
		{"as much as without, in other bursts", false, bursts(10000, 0), [2]float64{0, 0.1}, [2]float64{0, 0.004}},
		{"as much as without, in other bursts at other times", false, bursts(10000, 5000), [2]float64{0, 0.1}, [2]float64{0, 0.004}},
		{"a quarter less", false, steady(rnd, 0.75, 0.5), [2]float64{0, 0.1}, [2]float64{0, 0.002}},
		{"always, no load", true, idle, [2]float64{0, 0}, [2]float64{0, 0}},
		{"always, as much as without", true, steady(rnd, 1, 0.1), [2]float64{0.8, 1}, [2]float64{0.97, 1}},
		{"always, a quarter less", true, steady(rnd, 0.75, 0.1), [2]float64{0, 0.02}, [2]float64{0, 0.02}},
	} {
		m := batchWait{mostNs: int64(200 * time.Microsecond), always: c.always}
		now := int64(time.Hour)
		early := m.spend(c.traffic, &now, time.Second)
		late := m.spend(c.traffic, &now, 5*time.Minute)
		if early < c.early[0] || early > c.early[1] || late < c.late[0] || late > c.late[1] {
			t.Errorf("%s: waits %.4f of the first second, of the minutes after it %.4f; want %v and %v", c.name, early, late, c.early, c.late)
		}
	}
}

// TestBatchWaitFollows: what has proved itself ends when it is good for
// nothing any more, and comes back.
func TestBatchWaitFollows(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	good, bad := steady(rnd, 1.5, 0.3), steady(rnd, 0.75, 0.3)
	m := batchWait{mostNs: int64(200 * time.Microsecond)}
	now := int64(time.Hour)
	for round := range 5 {
		m.spend(good, &now, 40*time.Second) // longer than the longest rest
		if share := m.spend(good, &now, time.Second); share < 0.9 {
			t.Errorf("round %d: more gets done, and it waits %.3f of the time", round, share)
		}
		if share := m.spend(bad, &now, 10*time.Second); share > 0.1 {
			t.Errorf("round %d: less gets done now, and it waits %.3f of the time", round, share)
		}
	}
	m.spend(good, &now, 40*time.Second)
	m.spend(func(bool) (int64, float64) { return 5000, 1 }, &now, 2*time.Duration(batchWaitSpanNs))
	if m.on {
		t.Error("it waits although the load is gone")
	}
}

// TestBatchWaitTime: a wait that ends anyway goes on for no longer.
func TestBatchWaitTime(t *testing.T) {
	const us = int64(time.Microsecond)
	l := &Loop{batchWait: batchWait{mostNs: 200 * us}}
	if got := l.batchWaitNs(-1); got != 0 || l.stats.BatchWaits != 0 {
		t.Errorf("without load %d ns of a wait are for more, counted %d times", got, l.stats.BatchWaits)
	}
	l.batchWait.on = true
	for wait, want := range map[int64]int64{-1: 200 * us, int64(time.Second): 200 * us, 50 * us: 50 * us} {
		if got := l.batchWaitNs(wait); got != want {
			t.Errorf("of a wait of %d ns %d are for more, want %d", wait, got, want)
		}
	}
	if l.stats.BatchWaits != 3 {
		t.Errorf("%d waits counted, want 3", l.stats.BatchWaits)
	}
}

// TestBatchWaitSees: what is compared are the bytes that came in.
func TestBatchWaitSees(t *testing.T) {
	for _, io := range usableBackends() {
		t.Run(io.String(), func(t *testing.T) {
			r := newRigWith(t, Config{IO: io, BatchWait: time.Millisecond}, 256)
			id, c := r.tcpPair(SockOpts{})
			r.l.Recv(id)
			for n := range int64(3) {
				r.write(c, "0123456789")
				r.same(r.recvAll(id, 10), "0123456789")
				time.Sleep(time.Duration(batchWaitSpanNs)) // so that the next wait ends a span
				r.quiet(time.Millisecond)
				if got, want := r.l.batchWait.bytes, 10*(n+1); got != want {
					t.Fatalf("%d bytes, want %d", got, want)
				}
			}
		})
	}
}

// batchWaiting makes every wait of a rig's loop one for more.
func batchWaiting(t *testing.T, io IO) *rig {
	r := newRigWith(t, Config{IO: io, BatchWait: time.Millisecond}, 256)
	r.l.batchWait.on, r.l.batchWait.since = true, 1<<62 // for ever
	return r
}

// TestContractBatchWait: nothing of what a backend promises depends on when it
// wakes. What a loop made anew does is not looked at.
func TestContractBatchWait(t *testing.T) {
	for _, io := range usableBackends() {
		t.Run(io.String(), func(t *testing.T) {
			for _, ct := range contractTests {
				t.Run(ct.name, func(t *testing.T) { ct.run(batchWaiting(t, io)) })
			}
		})
	}
}

// TestBatchWaitGoesOn: a wait goes on although something has happened, and on
// io_uring only until a batch is there.
func TestBatchWaitGoesOn(t *testing.T) {
	const wait = briefWaitMs * time.Millisecond / 2
	for _, io := range usableBackends() {
		t.Run(io.String(), func(t *testing.T) {
			r := newRigWith(t, Config{IO: io, BatchWait: wait}, 4*batchWaitEvents)
			var ids [batchWaitEvents + 1]ConnID
			var conns [len(ids)]tcpConn
			for i := range ids {
				ids[i], conns[i] = r.tcpPair(SockOpts{})
				r.l.Recv(ids[i])
			}
			r.quiet(time.Millisecond)
			r.l.batchWait.on, r.l.batchWait.since = true, 1<<62
			poll := func(writes int) time.Duration {
				t.Helper()
				r.quiet(time.Millisecond) // so that waits are brief
				for _, c := range conns[:writes] {
					r.write(c, "x")
				}
				if e, ok := r.l.be.(*epoll); ok {
					e.empty = emptyPolls // it does not look before it waits
				}
				began := time.Now()
				if err := r.l.Poll(10 * time.Second); err != nil {
					t.Fatal(err)
				}
				took := time.Since(began)
				for _, id := range ids[:writes] {
					r.same(r.recvAll(id, 1), "x")
				}
				return took
			}
			// A signal of the Go runtime may end one early.
			tries := 0
			for took := poll(2); took < wait; took = poll(2) {
				if tries++; tries == 20 {
					t.Fatalf("a wait with something to do took %v, want %v", took, wait)
				}
			}
			if io != Uring || !slices.Contains(Probe().Names, "min_timeout") {
				return
			}
			var took [50]time.Duration
			for i := range took {
				took[i] = poll(len(conns))
			}
			if slices.Sort(took[:]); took[len(took)/2] > wait/2 {
				t.Errorf("with a batch to do waits took %v", took)
			}
		})
	}
}
