package metrics

import (
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// A histogram keeps two significant digits from 1 us to 10 min. That takes
// 24 buckets of 128 counts: 24 KiB, allocated when the first value arrives, so
// that a loop nobody talks to carries none.
const (
	lowestUs          = 1
	highestUs         = int64(10 * time.Minute / time.Microsecond)
	significantDigits = 2
)

// Histogram counts durations. The zero value is empty and ready for use. It
// must not be copied by assignment once recorded to.
type Histogram struct {
	counts *hdr.Histogram // in us; nil while empty
	sumNs  uint64         // exact, unlike the counts
}

// RecordValue counts a duration given in nanoseconds, rounded to the nearest
// microsecond. What is below zero counts as zero (a clock that was read in the
// wrong order), what is above ten minutes as ten minutes. Only the first call
// allocates.
func (h *Histogram) RecordValue(ns int64) {
	if h.counts == nil {
		h.counts = hdr.New(lowestUs, highestUs, significantDigits)
	}
	if ns < 0 {
		ns = 0
	}
	h.sumNs += uint64(ns)
	us := ns / 1000
	if ns%1000 >= 500 {
		us++
	}
	// Within the bounds the histogram was made for, recording cannot fail.
	_ = h.counts.RecordValue(min(us, highestUs))
}

// Count is how many values were recorded.
func (h *Histogram) Count() uint64 {
	if h.counts == nil {
		return 0
	}
	return uint64(h.counts.TotalCount())
}

// SumNs is the exact sum of the values recorded, in nanoseconds.
func (h *Histogram) SumNs() uint64 { return h.sumNs }

// Quantile returns the value in nanoseconds that the share q (0 to 1) of the
// recorded values does not exceed, within 1 %; 0 when nothing was recorded.
func (h *Histogram) Quantile(q float64) int64 {
	if h.counts == nil {
		return 0
	}
	return h.counts.ValueAtQuantile(q*100) * 1000
}

// Merge adds what from has recorded.
func (h *Histogram) Merge(from *Histogram) {
	if from.counts == nil {
		return
	}
	if h.counts == nil {
		h.counts = from.counts.Clone()
	} else {
		h.counts.Merge(from.counts) // same bounds on both sides: nothing is dropped
	}
	h.sumNs += from.sumNs
}

func (h *Histogram) copyTo(dst *Histogram) {
	dst.sumNs = h.sumNs
	dst.counts = nil
	if h.counts != nil {
		dst.counts = h.counts.Clone()
	}
}

// bucketBoundsUs are the upper bounds shown to Prometheus: 25 us, where a
// proxied request on one machine ends, to one minute, where timeouts live.
var bucketBoundsUs = [...]int64{
	25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000,
	250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
}

// cumulative returns for each of bucketBoundsUs how many values were not above
// it. A cell of the histogram counts as a whole, by its lowest value: a value
// that equals a bound is always below it, and one less than 1 % above may be.
func (h *Histogram) cumulative() (below [len(bucketBoundsUs)]uint64) {
	if h.counts == nil {
		return below
	}
	next := 0
	var sum uint64
	for _, bar := range h.counts.Distribution() {
		for next < len(below) && bar.From > bucketBoundsUs[next] {
			below[next] = sum
			next++
		}
		sum += uint64(bar.Count)
	}
	for ; next < len(below); next++ {
		below[next] = sum
	}
	return below
}
