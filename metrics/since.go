package metrics

import hdr "github.com/HdrHistogram/hdrhistogram-go"

// What was counted between two copies of the same counters.

// Since is what h has recorded since it was before; all of it where it began anew.
func (h *Histogram) Since(before *Histogram) *Histogram {
	d := new(Histogram)
	h.copyTo(d)
	if d.counts == nil || before.counts == nil || before.counts.TotalCount() > d.counts.TotalCount() {
		return d
	}
	d.sumNs -= min(d.sumNs, before.sumNs)
	all, had := d.counts.Export(), before.counts.Export()
	for i := range all.Counts {
		all.Counts[i] = max(0, all.Counts[i]-had.Counts[i])
	}
	d.counts = hdr.Import(all)
	return d
}

// Since is likewise for a series.
func (s *Series) Since(before *Series) (d Series) {
	if d = *s; before.requests() > s.requests() {
		return d
	}
	less := func(now *uint64, was uint64) {
		*now -= min(*now, was)
	}
	for i := range d.Classes {
		less(&d.Classes[i], before.Classes[i])
	}
	for i := range d.Buckets {
		less(&d.Buckets[i], before.Buckets[i])
	}
	less(&d.BytesIn, before.BytesIn)
	less(&d.BytesOut, before.BytesOut)
	less(&d.SumNs, before.SumNs)
	return d
}

func (s *Series) requests() (n uint64) {
	for _, b := range s.Buckets {
		n += b
	}
	return n
}

// Quantile is an upper bound, in nanoseconds, of what the share q (0 to 1) of the requests took; 0 when there
// were none. Of what took longer than all bounds it is the last one.
func (s *Series) Quantile(q float64) int64 {
	var sum uint64
	all := s.requests()
	if all == 0 {
		return 0
	}
	want := uint64(q * float64(all))
	for i, n := range s.Buckets[:len(seriesBoundsUs)] {
		if sum += n; sum > want || sum == all {
			return seriesBoundsUs[i] * 1000
		}
	}
	return seriesBoundsUs[len(seriesBoundsUs)-1] * 1000
}
