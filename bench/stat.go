package main

import (
	"math"
	"slices"
)

// Summary describes repeated measurements of one thing.
type Summary struct {
	N      int     `json:"n"`
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// summarise returns the zero Summary for no values.
func summarise(values []float64) Summary {
	if len(values) == 0 {
		return Summary{}
	}
	v := slices.Sorted(slices.Values(values))
	return Summary{N: len(v), Median: median(v), Min: v[0], Max: v[len(v)-1]}
}

// median of sorted values.
func median(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// ratios divides round by round: a and b were measured right after one
// another, so what drifts over the whole run cancels out. Rounds in which
// either is void (NaN) do not count.
func ratios(a, b []float64) Summary { return summarise(roundRatios(a, b)) }

func roundRatios(a, b []float64) (r []float64) {
	for i := range min(len(a), len(b)) {
		if q := a[i] / b[i]; !math.IsNaN(q) && !math.IsInf(q, 0) {
			r = append(r, q)
		}
	}
	return r
}

// mannWhitney returns the probability (two-sided, by counting all ways to deal
// the ranks) that samples from one distribution differ at least as much as a
// and b do. Ties count half. It is exact without ties and meant for the few
// values of a run: together at most 40.
func mannWhitney(a, b []float64) float64 {
	n, m := len(a), len(b)
	if n == 0 || m == 0 || n+m > 40 {
		return math.NaN()
	}
	u := 0.0
	for _, x := range a {
		for _, y := range b {
			switch {
			case x > y:
				u++
			case x == y:
				u += 0.5
			}
		}
	}
	counts := orders(n, m)
	total, tail := 0.0, 0.0
	extreme := math.Min(u, float64(n*m)-u)
	for k, c := range counts {
		total += c
		if float64(k) <= extreme {
			tail += c
		}
	}
	return math.Min(1, 2*tail/total)
}

// orders returns how many ways there are to line up n and m values so that k
// pairs stand the one way round, for every k up to n*m: the coefficients of a
// Gaussian binomial, built as the product of (1-q^(m+i))/(1-q^i).
func orders(n, m int) []float64 {
	c := make([]float64, n*m+1)
	c[0] = 1
	for i := 1; i <= n; i++ {
		for k := len(c) - 1; k >= m+i; k-- {
			c[k] -= c[k-m-i]
		}
		for k := i; k < len(c); k++ {
			c[k] += c[k-i]
		}
	}
	return c
}
