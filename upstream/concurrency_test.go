package upstream

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// servedRequest is one at the origin of simulateCapacity, by when it ends.
type servedRequest struct {
	ends, began int64
	urgency     uint8
}

type servedRequests []servedRequest

func (q servedRequests) Len() int           { return len(q) }
func (q servedRequests) Less(i, j int) bool { return q[i].ends < q[j].ends }
func (q servedRequests) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *servedRequests) Push(x any)        { *q = append(*q, x.(servedRequest)) }
func (q *servedRequests) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// capacity is an origin that serves so many requests at a time, each for about takes, and has
// the others wait, first in, first out.
type capacity struct {
	servers int
	takes   time.Duration
	free    []int64 // when each server is
}

func (o *capacity) serve(now int64, rng *rand.Rand) (ends int64) {
	for len(o.free) < o.servers {
		o.free = append(o.free, 0)
	}
	o.free = o.free[:o.servers]
	first := 0
	for i := range o.free {
		if o.free[i] < o.free[first] {
			first = i
		}
	}
	ends = max(now, o.free[first]) + int64(float64(o.takes)*(0.9+0.2*rng.Float64()))
	o.free[first] = ends
	return ends
}

// outcome is what became of the requests of one urgency.
type outcome struct {
	came, served int
	took         []int64
}

func (o *outcome) share() float64 { return float64(o.served) / float64(max(1, o.came)) }

func (o *outcome) median() time.Duration {
	slices.Sort(o.took)
	return time.Duration(o.took[len(o.took)/2])
}

// simulateCapacity sends requests at random times, so many a second of each urgency, from one time
// to another. It ends with none under way.
func simulateCapacity(a *Concurrency, o *capacity, rng *rand.Rand, from, to time.Duration, rates [Urgencies]float64) (all [Urgencies]outcome) {
	var under servedRequests
	finish := func(until int64) {
		for len(under) > 0 && under[0].ends <= until {
			q := heap.Pop(&under).(servedRequest)
			a.Sample(q.ends, q.ends-q.began)
			a.Leave()
			all[q.urgency].took = append(all[q.urgency].took, q.ends-q.began)
		}
	}
	sum := 0.0
	for _, rate := range rates {
		sum += rate
	}
	for now := int64(from); now < int64(to); now += int64(rng.ExpFloat64() / sum * 1e9) {
		finish(now)
		urgency, at := uint8(0), rng.Float64()*sum
		for at >= rates[urgency] {
			at -= rates[urgency]
			urgency++
		}
		all[urgency].came++
		if a.Enter(urgency) {
			all[urgency].served++
			heap.Push(&under, servedRequest{o.serve(now, rng), now, urgency})
		}
	}
	finish(1 << 62)
	return all
}

func adaptive() AdaptiveConcurrency {
	return AdaptiveConcurrency{Min: 3, Max: 5000, Window: 100 * time.Millisecond, Interval: 30 * time.Second, Jitter: 15, Tolerance: 25}
}

// At twice what an origin can do the limit comes to be what it can do, within a factor of two, so
// that requests take hardly longer than they would alone, and nearly all that can be served are.
func TestConcurrencyFindsTheCapacity(t *testing.T) {
	for _, servers := range []int{4, 10, 50, 400} {
		for _, takes := range []time.Duration{2 * time.Millisecond, 20 * time.Millisecond, 200 * time.Millisecond} {
			rng := rand.New(rand.NewPCG(uint64(servers), uint64(takes)))
			a, o := newConcurrency(adaptive()), &capacity{servers: servers, takes: takes}
			can := float64(servers) / takes.Seconds()
			end := max(10*time.Second, 300*takes)
			simulateCapacity(a, o, rng, 0, end, [Urgencies]float64{DefaultUrgency: 2 * can})
			out := simulateCapacity(a, o, rng, end, end+max(5*time.Second, 200*takes), [Urgencies]float64{DefaultUrgency: 2 * can})[DefaultUrgency]
			if limit := a.State().Limit; limit < servers*3/4 || limit > 2*servers {
				t.Errorf("%d at a time, %v each: the limit is %d", servers, takes, limit)
			}
			if m := out.median(); m > 2*takes {
				t.Errorf("%d at a time, %v each: half of the requests took %v", servers, takes, m)
			}
			if s := out.share(); s < 0.42 {
				t.Errorf("%d at a time, %v each: %.2f of the requests were served, half of them could be", servers, takes, s)
			}
		}
	}
}

// A load that the origin bears is not shed, whatever its latency.
func TestConcurrencyLeavesABearableLoadAlone(t *testing.T) {
	for _, takes := range []time.Duration{time.Millisecond, 30 * time.Millisecond, 300 * time.Millisecond} {
		rng := rand.New(rand.NewPCG(1, uint64(takes)))
		a, o := newConcurrency(adaptive()), &capacity{servers: 100, takes: takes}
		rate := [Urgencies]float64{DefaultUrgency: 50 / takes.Seconds()}
		start := max(5*time.Second, 100*takes)
		simulateCapacity(a, o, rng, 0, start, rate)
		out := simulateCapacity(a, o, rng, start, start+max(20*time.Second, 200*takes), rate)[DefaultUrgency]
		if s := out.share(); s < 0.97 {
			t.Errorf("%v each: %.3f of the requests were served, half of what the origin can do", takes, s)
		}
	}
}

// The least important are shed first: who matters gets what the origin can do.
func TestConcurrencyShedsByUrgency(t *testing.T) {
	const servers, takes = 40, 10 * time.Millisecond
	can := servers / takes.Seconds()
	rng := rand.New(rand.NewPCG(3, 4))
	a, o := newConcurrency(adaptive()), &capacity{servers: servers, takes: takes}
	rates := [Urgencies]float64{1: 0.4 * can, 3: 0.5 * can, 5: 2 * can}
	simulateCapacity(a, o, rng, 0, 10*time.Second, rates)
	out := simulateCapacity(a, o, rng, 10*time.Second, 20*time.Second, rates)
	if s := out[1].share(); s < 0.99 {
		t.Errorf("%.3f of the important requests were served", s)
	}
	if high, normal, low := out[1].share(), out[3].share(), out[5].share(); normal < 0.85 || normal > high || low > 0.2 || low == 0 {
		t.Errorf("served: %.2f of the important, %.2f of the normal, %.2f of the other ones", high, normal, low)
	}
	if shed := a.State().Shed; shed[5] < shed[3] || shed[3] < shed[1] || shed[5] == 0 {
		t.Errorf("shed by urgency: %v", shed)
	}
}

// An origin that loses most of what it can do, gets it back, or takes longer for good, is followed.
func TestConcurrencyFollowsTheOrigin(t *testing.T) {
	const takes = 10 * time.Millisecond
	rng := rand.New(rand.NewPCG(5, 6))
	a, o := newConcurrency(adaptive()), &capacity{servers: 100, takes: takes}
	rates := [Urgencies]float64{DefaultUrgency: 20000}
	at := time.Duration(0)
	for _, step := range []capacity{{servers: 100, takes: takes}, {servers: 10, takes: takes}, {servers: 100, takes: takes}, {servers: 100, takes: 4 * takes}, {servers: 50, takes: takes}} {
		o.servers, o.takes = step.servers, step.takes
		simulateCapacity(a, o, rng, at, at+60*time.Second, rates)
		at += 60 * time.Second
		if limit := a.State().Limit; limit < step.servers/2 || limit > 2*step.servers {
			t.Errorf("%d at a time, %v each: the limit is %d", step.servers, step.takes, limit)
		}
	}
}

// The limit stays within its bounds, and a measurement varies in time.
func TestConcurrencyBounds(t *testing.T) {
	cfg := adaptive()
	cfg.Min, cfg.Max = 8, 30
	for _, servers := range []int{1, 1000} {
		rng := rand.New(rand.NewPCG(7, uint64(servers)))
		a, o := newConcurrency(cfg), &capacity{servers: servers, takes: 5 * time.Millisecond}
		seen := map[int64]bool{}
		for at := time.Duration(0); at < 200*time.Second; at += time.Second {
			simulateCapacity(a, o, rng, at, at+time.Second, [Urgencies]float64{DefaultUrgency: 2000})
			if limit := a.State().Limit; limit < 8 || limit > 30 {
				t.Fatalf("%d servers: the limit is %d", servers, limit)
			}
			seen[a.measureAt] = true
		}
		if servers == 1 {
			continue
		}
		if limit := a.State().Limit; limit != 30 {
			t.Errorf("the limit is %d where there is no end to what the origin can do", limit)
		}
		var times []int64
		for at := range seen {
			times = append(times, at)
		}
		slices.Sort(times)
		gaps := map[int64]bool{}
		for i := len(times) - 3; i < len(times); i++ {
			gap := times[i] - times[i-1]
			gaps[gap] = true
			if gap < int64(cfg.Interval) || gap > int64(cfg.Interval)*3/2 {
				t.Errorf("%v between measurements, want %v and up to 15 %% more", time.Duration(gap), cfg.Interval)
			}
		}
		if len(gaps) < 2 {
			t.Error("measurements do not vary")
		}
	}
}

// Loops enter, leave and tell at once: never more than the limit are under way, and all leave.
func TestConcurrencyOverLoops(t *testing.T) {
	cfg := adaptive()
	cfg.Window = time.Microsecond
	a := newConcurrency(cfg)
	var wg sync.WaitGroup
	for loop := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rng := rand.New(rand.NewPCG(8, uint64(loop)))
			for i := range int64(20000) {
				if a.Enter(uint8(rng.IntN(Urgencies))) {
					a.Sample(i*1000, rng.Int64N(1e7))
					a.Leave()
				}
			}
		}()
	}
	wg.Wait()
	if s := a.State(); s.Under != 0 || s.Samples == 0 {
		t.Errorf("%+v when all have left", s)
	}
}

// Buckets tell latencies apart by an eighth at the most, and take any.
func TestLatencyBuckets(t *testing.T) {
	for _, us := range []int64{8, 9, 100, 1234, 56789, 1e6, 59e6} {
		if mid := latencyOf(latencyBucket(us * 1000)); mid < float64(us)*0.93 || mid > float64(us)*1.08 {
			t.Errorf("%d us is taken for %.1f", us, mid)
		}
	}
	for _, ns := range []int64{-5, 0, 1, 1 << 62} {
		if i := latencyBucket(ns); i < 0 || i >= latencyBuckets {
			t.Errorf("%d ns: bucket %d", ns, i)
		}
	}
}
