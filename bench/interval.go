package main

import (
	"math"
	"slices"
)

// Interval is an estimate of a ratio and where it lies with a probability of
// 95 %, as far as N pairs of rounds tell.
type Interval struct {
	N     int     `json:"n"`
	Ratio float64 `json:"ratio"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// width of the interval, in parts of the ratio.
func (i Interval) width() float64 { return (i.High - i.Low) / i.Ratio }

// outside is the probability, on each side, that the ratio is not in the interval.
const outside = 0.025

// fewestPairs are needed for an interval at all: with fewer, all pairs may go one way by
// chance too often.
const fewestPairs = 6

// pairedRatio estimates after/before from rounds that were measured next to one
// another: the Hodges-Lehmann estimate of the logarithms, with the interval that
// Wilcoxon's signed-rank test leaves. A few rounds that something else has
// spoilt move neither far, which they would with a mean. The interval of fewer
// pairs than fewestPairs is without bounds.
func pairedRatio(before, after []float64) Interval {
	var logs []float64
	for _, q := range roundRatios(after, before) {
		if q > 0 {
			logs = append(logs, math.Log(q))
		}
	}
	n := len(logs)
	if n == 0 {
		return Interval{Ratio: math.NaN(), High: math.Inf(1)}
	}
	var means []float64 // of all pairs of logarithms, each with itself as well
	for i, x := range logs {
		for _, y := range logs[i:] {
			means = append(means, (x+y)/2)
		}
	}
	slices.Sort(means)
	i := Interval{N: n, Ratio: math.Exp(median(means)), High: math.Inf(1)}
	if k := signedRank(n); k > 0 {
		i.Low, i.High = math.Exp(means[k-1]), math.Exp(means[len(means)-k])
	}
	return i
}

// signedRank returns the largest k for which the sum of the positive ranks of n
// values is below k with a probability of at most `outside`: 0 when there is
// none.
func signedRank(n int) int {
	p := make([]float64, n*(n+1)/2+1) // probability of every sum
	p[0] = 1
	for rank := 1; rank <= n; rank++ {
		for sum := len(p) - 1; sum >= 0; sum-- {
			p[sum] /= 2
			if sum >= rank {
				p[sum] += p[sum-rank] / 2
			}
		}
	}
	below := 0.0
	for k := range p {
		if below += p[k]; below > outside {
			return k
		}
	}
	return len(p)
}
