package main

import (
	"math"
	"slices"
	"testing"
)

func TestSummarise(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want Summary
	}{
		{nil, Summary{}},
		{[]float64{3}, Summary{1, 3, 3, 3}},
		{[]float64{4, 1}, Summary{2, 2.5, 1, 4}},
		{[]float64{9, 1, 5}, Summary{3, 5, 1, 9}},
		{[]float64{8, 2, 6, 4}, Summary{4, 5, 2, 8}},
	} {
		in := slices.Clone(c.in)
		if got := summarise(in); got != c.want {
			t.Errorf("summarise(%v) = %v, want %v", c.in, got, c.want)
		}
		if !slices.Equal(in, c.in) {
			t.Errorf("summarise changed its argument %v to %v", c.in, in)
		}
	}
}

func TestRatiosPairRounds(t *testing.T) {
	nan := math.NaN()
	// The machine became slower by half from round to round; the ratio did not.
	if got, want := ratios([]float64{8, 12, 18}, []float64{10, 15, 22.5}), (Summary{3, 0.8, 0.8, 0.8}); got != want {
		t.Errorf("drifting rounds: %v, want %v", got, want)
	}
	if got, want := ratios([]float64{1, nan, 3, 4}, []float64{2, 2, nan, 2}), (Summary{2, 1.25, 0.5, 2}); got != want {
		t.Errorf("void rounds: %v, want %v", got, want)
	}
	if got := ratios([]float64{1, 2}, []float64{0, nan}); got.N != 0 {
		t.Errorf("nothing to divide by: %v, want none", got)
	}
}

// everyOrder counts by listing: the slow truth for orders.
func everyOrder(n, m int) []float64 {
	c := make([]float64, n*m+1)
	var walk func(n, m, u int)
	walk = func(n, m, u int) {
		if n == 0 || m == 0 {
			c[u]++
			return
		}
		walk(n-1, m, u+m) // the largest is one of the n: above all m
		walk(n, m-1, u)
	}
	walk(n, m, 0)
	return c
}

func TestOrders(t *testing.T) {
	for n := 1; n <= 6; n++ {
		for m := 1; m <= 6; m++ {
			if got, want := orders(n, m), everyOrder(n, m); !slices.Equal(got, want) {
				t.Errorf("orders(%d, %d) = %v, want %v", n, m, got, want)
			}
		}
	}
}

func TestMannWhitney(t *testing.T) {
	for _, c := range []struct {
		name string
		a, b []float64
		want float64
	}{
		{"apart", []float64{1, 2, 3, 4, 5}, []float64{6, 7, 8, 9, 10}, 2.0 / 252},
		{"apart, the other way", []float64{6, 7, 8, 9, 10}, []float64{1, 2, 3, 4, 5}, 2.0 / 252},
		{"same", []float64{1, 2, 3}, []float64{1, 2, 3}, 1},
		{"one swapped", []float64{1, 2, 4}, []float64{3, 5, 6}, 4.0 / 20},
	} {
		if got := mannWhitney(c.a, c.b); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%s: p = %v, want %v", c.name, got, c.want)
		}
	}
	if got := mannWhitney(nil, []float64{1}); !math.IsNaN(got) {
		t.Errorf("no values: p = %v, want NaN", got)
	}
}

func TestKeptIsOfTheBusiestThread(t *testing.T) {
	before := map[string]scheduled{"loop": {100, 10}, "helper": {50, 1000}}
	after := map[string]scheduled{"loop": {900, 17}, "helper": {60, 5000}, "new": {5, 3}}
	if got := kept(before, after); got != 7 {
		t.Errorf("kept %d ns, want the 7 of the loop", got)
	}
	delete(before, "loop")
	if got := kept(before, after); got != 17 {
		t.Errorf("kept %d ns, want all 17 of a loop that is new", got)
	}
}

func TestThreadsBesideTheLoops(t *testing.T) {
	before := map[string]scheduled{"loop 0": {ran: 1000}, "loop 1": {ran: 100}, "helper": {ran: 5000}}
	after := map[string]scheduled{"loop 0": {ran: 1900}, "loop 1": {ran: 900}, "helper": {ran: 5020}, "new": {ran: 3}}
	for n, want := range map[int]uint64{0: 1723, 1: 823, 2: 23, 4: 0, 5: 0} {
		if got := besides(n, before, after); got != want {
			t.Errorf("%d ns beside %d loops, want %d", got, n, want)
		}
	}
}
