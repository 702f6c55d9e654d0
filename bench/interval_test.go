package main

import (
	"math"
	"math/rand/v2"
	"testing"
)

// The values are those of printed tables of the signed-rank test, two-sided at
// 5 %: the largest sum that is still significant is one less.
func TestSignedRank(t *testing.T) {
	for n, want := range map[int]int{5: 0, 6: 1, 7: 3, 8: 4, 9: 6, 10: 9, 15: 26, 20: 53, 25: 90} {
		if got := signedRank(n); got != want {
			t.Errorf("%d pairs: %d, want %d", n, got, want)
		}
	}
	if signedRank(fewestPairs) == 0 || signedRank(fewestPairs-1) != 0 {
		t.Errorf("%d is not the fewest pairs that have an interval", fewestPairs)
	}
}

func TestPairedRatio(t *testing.T) {
	// A machine that gets slower by a fifth with each pair, and one pair that is spoilt.
	var before, after []float64
	for i := range 12 {
		x := 10 * math.Pow(1.2, float64(i))
		before, after = append(before, x), append(after, 0.9*x)
	}
	after[3] *= 7
	got := pairedRatio(before, after)
	if near := func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }; got.N != 12 || !near(got.Ratio, 0.9) || !near(got.Low, 0.9) || got.width() > 1 {
		t.Errorf("%+v, want 0.9", got)
	}
	if got := pairedRatio(before[:5], after[:5]); !math.IsInf(got.width(), 1) || got.N != 5 {
		t.Errorf("five pairs: %+v, want no bounds", got)
	}
	if got := pairedRatio([]float64{math.NaN()}, []float64{1}); got.N != 0 || !math.IsInf(got.High, 1) {
		t.Errorf("void rounds: %+v", got)
	}
}

// Of many intervals the ratio lies in 95 of 100, with noise that has outliers.
func TestIntervalKeepsItsPromise(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	noise := func() float64 {
		x := math.Exp(0.03 * random.NormFloat64())
		if random.IntN(10) == 0 {
			x *= 1 + random.Float64()
		}
		return x
	}
	const tries, ratio = 2000, 1.02
	in := 0
	for range tries {
		var before, after []float64
		for range 20 {
			before, after = append(before, 10*noise()), append(after, 10*ratio*noise())
		}
		if i := pairedRatio(before, after); i.Low <= ratio && ratio <= i.High {
			in++
		}
	}
	if share := float64(in) / tries; share < 0.935 || share > 0.975 {
		t.Errorf("%.3f of the intervals hold the ratio, want 0.95", share)
	}
}
