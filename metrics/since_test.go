package metrics

import "testing"

func TestSince(t *testing.T) {
	var h, before Histogram
	for range 100 {
		h.RecordValue(1e6)
	}
	h.copyTo(&before)
	for range 10 {
		h.RecordValue(50e6)
	}
	d := h.Since(&before)
	if d.Count() != 10 || d.SumNs() != 500e6 || d.Quantile(.5) < 49e6 || d.Quantile(.01) < 49e6 {
		t.Errorf("%d values, sum %d, median %d", d.Count(), d.SumNs(), d.Quantile(.5))
	}
	if h.Count() != 110 || before.Count() != 100 {
		t.Errorf("what was compared has changed: %d, %d", h.Count(), before.Count())
	}
	if d := h.Since(&Histogram{}); d.Count() != 110 {
		t.Errorf("since nothing: %d", d.Count())
	}
	if d := before.Since(&h); d.Count() != 100 {
		t.Errorf("of what began anew: %d", d.Count())
	}
	if d := (&Histogram{}).Since(&h); d.Count() != 0 || d.Quantile(.5) != 0 {
		t.Errorf("of nothing: %d", d.Count())
	}
}

func TestSeriesSince(t *testing.T) {
	var s Series
	s.Count(200, 1, 2, 3e6)
	before := s
	s.Count(503, 10, 20, 40e6)
	s.Count(200, 10, 20, 40e6)
	d := s.Since(&before)
	if d.Classes != [6]uint64{2: 1, 5: 1} || d.BytesIn != 20 || d.BytesOut != 40 || d.SumNs != 80e6 || d.Quantile(.5) != 50e6 {
		t.Errorf("%+v, median %d", d, d.Quantile(.5))
	}
	if d := before.Since(&s); d.Quantile(.99) != 5e6 || d.BytesIn != 1 {
		t.Errorf("of what began anew: %+v", d)
	}
	if (&Series{}).Quantile(.5) != 0 {
		t.Error("of nothing there is a median")
	}
	long := Series{}
	long.Count(200, 0, 0, 1e12)
	if long.Quantile(.5) != 30e9 {
		t.Errorf("of what takes long: %d", long.Quantile(.5))
	}
}
