package upstream

import (
	"math"
	"math/bits"
	"runtime"
	"sync/atomic"
	"time"
)

// Adaptive concurrency: how many requests an upstream takes at a time is found out by how long it
// takes to answer. Every window compares the median with the least one that was measured: as long as
// both are alike the limit grows by a part of its root, beyond that it shrinks as the latency grows.
// The least latency is measured anew from time to time, with a quarter of the limit, since
// nothing waits at the upstream then.

// AdaptiveConcurrency describes it. The zero value: the limit is not found out.
type AdaptiveConcurrency struct {
	Min, Max  int           // of the limit
	Window    time.Duration // between changes of the limit
	Interval  time.Duration // between measurements of the least latency
	Jitter    int           // by how many percent Interval varies upwards
	Tolerance int           // percent by which latency may exceed the least one
}

// Urgencies are how many there are, as in RFC 9218: 0 is the most important one. Requests of the
// urgency in the middle, DefaultUrgency, have the limit; each step away from it is an eighth of that more
// or less.
const (
	Urgencies      = 8
	DefaultUrgency = 3
)

const (
	// firstLimit is where the limit begins, within its bounds.
	firstLimit = 20
	// windowSamples and probeSamples are how many responses a window, and a measurement, has at least.
	windowSamples, probeSamples = 10, 25
	// lowWindows is how many windows in a row the limit may be the least one before the least
	// latency is taken to be another one now.
	lowWindows = 5
	// firstInterval is between the first measurements, until Interval is reached by doubling it.
	firstInterval = int64(time.Second)
	// latencyParts is how many buckets there are for each power of two.
	latencyParts   = 8
	latencyBuckets = 28 * latencyParts // up to a minute
)

// Concurrency is the limit of one cluster, shared by all loops. Any thread.
type Concurrency struct {
	cfg     AdaptiveConcurrency
	_       linePad
	limit   atomic.Int32
	from    atomic.Int64 // what began before is no sample
	until   atomic.Int64 // the end of the window
	_       linePad
	under   atomic.Int32 // requests that have entered and not left
	most    atomic.Int32 // of under in this window
	_       linePad
	count   atomic.Int32 // samples in this window
	closing atomic.Bool  // somebody holds what follows
	buckets [latencyBuckets]atomic.Uint32
	_       linePad

	exact     float64 // limit, where it is not being lowered for a measurement
	growing   bool    // latency has not exceeded the least one yet
	measuring bool
	low       int   // windows in a row with the least limit
	measureAt int64 // when the least latency is due
	interval  int64 // until the one after it
	random    uint64

	leastUs, lastUs       atomic.Uint32
	samples, measurements atomic.Uint64
	shed                  [Urgencies]atomic.Uint64
}

func newConcurrency(cfg AdaptiveConcurrency) *Concurrency {
	if cfg.Max == 0 {
		return nil
	}
	a := &Concurrency{cfg: cfg, growing: true, interval: min(firstInterval, int64(cfg.Interval)), measureAt: math.MaxInt64}
	a.exact = float64(min(max(firstLimit, cfg.Min), cfg.Max))
	a.limit.Store(int32(a.exact))
	return a
}

// ConcurrencyOf is the limit of c that is found out; nil: there is none.
func ConcurrencyOf(c *Cluster) *Concurrency { return c.concurrency }

// succeed has a, which is not in use yet, begin with what old has found out.
func (a *Concurrency) succeed(old *Concurrency) {
	if a == nil || old == nil || old.leastUs.Load() == 0 {
		return
	}
	for !old.closing.CompareAndSwap(false, true) {
		runtime.Gosched()
	}
	a.exact, a.growing = min(max(old.exact, float64(a.cfg.Min)), float64(a.cfg.Max)), old.growing
	a.measureAt = old.measureAt
	old.closing.Store(false)
	a.leastUs.Store(old.leastUs.Load())
	a.limit.Store(int32(a.exact))
}

// Enter counts a request until Leave; false: it is to be shed.
func (a *Concurrency) Enter(urgency uint8) bool {
	most := a.mostFor(urgency)
	for {
		n := a.under.Load()
		if n >= most {
			a.shed[urgency].Add(1)
			return false
		}
		if a.under.CompareAndSwap(n, n+1) {
			if n+1 > a.most.Load() {
				a.most.Store(n + 1)
			}
			return true
		}
	}
}

// mostFor is the limit for requests of one urgency. It is never 0: were nothing admitted, nothing would be learnt.
func (a *Concurrency) mostFor(urgency uint8) int32 {
	const whole = 8
	return max(1, int32((int64(a.limit.Load())*(whole+DefaultUrgency-int64(urgency))+whole/2)/whole))
}

// Leave tells that a request which had entered is answered, or has ended.
func (a *Concurrency) Leave() { a.under.Add(-1) }

// Sample tells that a request was answered at now, ns after it had entered.
func (a *Concurrency) Sample(now, ns int64) {
	if now-ns < a.from.Load() {
		return
	}
	a.buckets[latencyBucket(ns)].Add(1)
	a.samples.Add(1)
	a.count.Add(1)
	if a.due(now) && a.closing.CompareAndSwap(false, true) {
		if a.due(now) { // nobody else has been faster
			a.close(now)
		}
		a.closing.Store(false)
	}
}

func (a *Concurrency) due(now int64) bool {
	return a.count.Load() >= windowSamples && now >= a.until.Load()
}

// latencyBucket is the one of a latency: eight for each power of two of microseconds.
func latencyBucket(ns int64) int {
	us := uint64(max(ns/1000, latencyParts))
	power := bits.Len64(us) - 1
	part := us >> (power - 3) & (latencyParts - 1)
	return min(power*latencyParts+int(part), latencyBuckets-1)
}

// latencyOf is the middle of a bucket, in microseconds.
func latencyOf(bucket int) float64 {
	return math.Ldexp(1+(float64(bucket%latencyParts)+0.5)/latencyParts, bucket/latencyParts)
}

// close ends a window. With closing held.
func (a *Concurrency) close(now int64) {
	if a.measuring && a.count.Load() < probeSamples {
		return
	}
	median := a.takeMedian()
	used := 2*a.most.Swap(a.under.Load()) >= a.limit.Load()
	a.lastUs.Store(uint32(median))
	a.until.Store(now + int64(a.cfg.Window))
	switch {
	case a.measuring, a.leastUs.Load() == 0:
		a.measured(now, median)
	case used:
		a.adapt(median)
	}
	if now >= a.measureAt || a.low >= lowWindows {
		a.measure(now)
	}
	limit := a.exact
	if a.measuring {
		limit = max(limit/4, float64(a.cfg.Min))
	}
	a.limit.Store(int32(limit))
}

// takeMedian is the median of the window's samples, which are none any more.
func (a *Concurrency) takeMedian() float64 {
	var counts [latencyBuckets]uint32
	total := uint32(0)
	for i := range counts {
		if a.buckets[i].Load() != 0 {
			counts[i] = a.buckets[i].Swap(0)
			total += counts[i]
		}
	}
	a.count.Store(0)
	below := uint32(0)
	for i, n := range counts {
		if below += n; 2*below >= total && total > 0 {
			return latencyOf(i)
		}
	}
	return 0
}

// adapt changes the limit, most of which was in use, by the median of the window.
func (a *Concurrency) adapt(median float64) {
	gradient := float64(a.leastUs.Load()) * (1 + float64(a.cfg.Tolerance)/100) / median
	if gradient < 1 {
		a.growing = false
	}
	a.exact *= min(1, max(0.5, gradient))
	if a.growing {
		a.exact *= 1.5
	} else {
		a.exact += max(1, math.Sqrt(a.exact)/2)
	}
	a.exact = min(max(a.exact, float64(a.cfg.Min)), float64(a.cfg.Max))
	if a.low++; a.exact >= float64(a.cfg.Min)+2 || a.cfg.Min == a.cfg.Max {
		a.low = 0
	}
}

// measure begins to measure the least latency.
func (a *Concurrency) measure(now int64) {
	a.measuring, a.low = true, 0
	a.from.Store(now)
}

// measured ends that.
func (a *Concurrency) measured(now int64, median float64) {
	a.measuring = false
	a.leastUs.Store(uint32(max(1, median)))
	a.measurements.Add(1)
	a.random += weyl
	vary := int64(spread(a.random^uint64(now)) % 1000)
	a.measureAt = now + a.interval + a.interval*int64(a.cfg.Jitter)/100*vary/1000
	a.interval = min(2*a.interval, int64(a.cfg.Interval))
}

// ConcurrencyState is what there is to see of a Concurrency.
type ConcurrencyState struct {
	Limit, Under          int
	LeastUs, LastUs       uint32 // 0: there was none yet
	Samples, Measurements uint64
	Shed                  [Urgencies]uint64
}

// State is a copy.
func (a *Concurrency) State() (s ConcurrencyState) {
	s = ConcurrencyState{
		Limit: int(a.limit.Load()), Under: int(a.under.Load()),
		LeastUs: a.leastUs.Load(), LastUs: a.lastUs.Load(),
		Samples: a.samples.Load(), Measurements: a.measurements.Load(),
	}
	for i := range s.Shed {
		s.Shed[i] = a.shed[i].Load()
	}
	return s
}
