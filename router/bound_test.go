package router

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"zproxy/proto"
)

// addAll adds what the Builder takes of the routes and counts the rest.
func addAll(t *testing.T, b *Builder, routes []string) (refused int) {
	t.Helper()
	for i, r := range routes {
		if err := b.Add("", r, nil, int32(i)); err != nil {
			if strings.Contains(err.Error(), "alternative") {
				refused++
			} else if !strings.Contains(err.Error(), "same requests") { // random routes repeat themselves
				t.Fatal(err)
			}
		}
	}
	return refused
}

// combinations gives every path of n segments that are each a literal or a parameter, with the given ending.
func combinations(n int, ending string) (routes []string) {
	for bits := range 1 << n {
		path := ""
		for i := range n {
			if bits>>i&1 == 0 {
				path += "/a"
			} else {
				path += fmt.Sprintf("/:p%d", i)
			}
		}
		routes = append(routes, path+ending)
	}
	return routes
}

// However routes overlap, a lookup enters at most MaxAlternatives nodes per segment, found or not. Without the check
// in Add the first of these tables would cost 2^12 nodes and the others more than the path has segments by far.
func TestLookupBound(t *testing.T) {
	staircase := []string{}
	for i := range 15 {
		path := ""
		for j := range 15 {
			if i == j {
				path += "/a"
			} else {
				path += fmt.Sprintf("/:p%d", j)
			}
		}
		staircase = append(staircase, path+"/end")
	}
	random := []string{}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		path := ""
		for j := range 3 + rng.IntN(12) {
			path += []string{"/a", "/b", fmt.Sprintf("/:p%d", j)}[rng.IntN(3)]
		}
		random = append(random, path+[]string{"", "/z", "/*"}[rng.IntN(3)])
	}
	for name, c := range map[string]struct {
		routes  []string
		refuses bool
	}{
		"every combination":          {combinations(12, "/end"), true},
		"five combinations deep":     {combinations(5, "/end"), false}, // 32 alternatives: just allowed
		"six combinations deep":      {combinations(6, "/end"), true},
		"combinations with tails":    {combinations(10, "/x/*"), true},
		"one literal moving through": {staircase, false},
		"random":                     {random, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := NewBuilder()
			if refused := addAll(t, b, c.routes); (refused > 0) != c.refuses {
				t.Fatalf("%d of %d routes refused", refused, len(c.routes))
			}
			checkBound(t, b.Build(), rng)
		})
	}
}

func checkBound(t *testing.T, r *Router, rng *rand.Rand) {
	t.Helper()
	var m Match
	most := 0
	for i := range 3000 {
		path := strings.Repeat("/a", 1+i%40) + []string{"", "/end", "/none", "/"}[rng.IntN(4)]
		if i > 1000 { // not all the same
			path = ""
			for range 1 + rng.IntN(20) {
				path += []string{"/a", "/a", "/b", "/c"}[rng.IntN(4)]
			}
		}
		limit := MaxAlternatives * (1 + strings.Count(path, "/"))
		result := r.Lookup(nil, []byte(path), proto.GET, nil, &m)
		if m.entered > 2*limit || result == Found && m.entered > limit {
			t.Fatalf("%s: %d nodes entered for %d segments", path, m.entered, strings.Count(path, "/"))
		}
		most = max(most, m.entered)
	}
	t.Logf("at most %d nodes entered", most)
}

// A table at the limit that Add keeps to is really there: the bound is not met by refusing everything.
func TestAlternativesAreCountedExactly(t *testing.T) {
	b := NewBuilder()
	if addAll(t, b, combinations(5, "/end")) != 0 {
		t.Fatal("refused")
	}
	for i, r := range combinations(5, "/end") {
		if err := b.Add("", r+"/more", nil, int32(i)); err != nil {
			t.Fatalf("%s does not add alternatives: %v", r, err)
		}
	}
	if err := b.Add("", "/a/a/a/a/a/:last", nil, 0); err == nil {
		t.Fatal("33 alternatives were taken")
	}
	if err := b.Add("other.example", "/a/a/a/a/a/:last", nil, 0); err != nil {
		t.Fatalf("another host's routes count: %v", err)
	}
	var m Match
	if b.Build().Lookup(nil, []byte("/a/a/a/a/a/none"), proto.GET, nil, &m) != NotFound {
		t.Fatal("found")
	}
	if want := 2 * (1<<6 - 1); m.entered != want { // every node of five levels, for the route and then for 405
		t.Errorf("%d nodes entered, want %d", m.entered, want)
	}
}

// A seed that leaves an entry too far from its slot is given up, and the table grows when several were no good.
func TestPlaceTriesUntilNothingIsFar(t *testing.T) {
	var sizes []int
	seeds := map[uint64]bool{}
	last := place(100, func(size int) { sizes = append(sizes, size) }, func(i int, seed uint64) int {
		seeds[seed] = true
		if i == 99 && len(sizes) < 6 {
			return maxProbe + 1
		}
		return 0
	})
	if len(sizes) != 6 || len(seeds) != 6 || !seeds[last] || sizes[0] < 150 || sizes[5] <= sizes[0] {
		t.Errorf("sizes %v with %d seeds", sizes, len(seeds))
	}
}

// No entry of a table is far from where its hash puts it, which bounds a look-up in a crowded one.
func TestTablesAreNotCrowded(t *testing.T) {
	b := NewBuilder()
	for i := range 20000 {
		if err := b.Add(fmt.Sprintf("h%d.example", i%2000), fmt.Sprintf("/x%d/y%d", i, i*7), nil, int32(i)); err != nil {
			t.Fatal(err)
		}
	}
	r := b.Build()
	for i := range 20000 {
		if got := ask(r, "GET", fmt.Sprintf("h%d.example", i%2000), fmt.Sprintf("/x%d/y%d", i, i*7)); got != fmt.Sprint(i) {
			t.Fatalf("route %d: %s", i, got)
		}
	}
	far := func(at, slot, size int) bool { return (at-slot+size)%size > maxProbe }
	for at, w := range r.words.slots {
		text := r.words.text[w.number : w.number+w.len]
		if n := len(r.words.slots); w.number != 0 && far(at, slotOf(hashText(r.words.seed, text), n), n) {
			t.Fatalf("segment %s is too far from its slot", text)
		}
	}
	for at, e := range r.edges.slots {
		if n := len(r.edges.slots); e.child != 0 && far(at, slotOf(hashEdge(r.edges.seed, e.node, e.number), n), n) {
			t.Fatalf("edge %v is too far from its slot", e)
		}
	}
	if most := 20000 * 2 * 2; len(r.words.slots) > 2*40000 || len(r.edges.slots) > most {
		t.Errorf("%d and %d slots for 40000 entries each", len(r.words.slots), len(r.edges.slots))
	}
}
