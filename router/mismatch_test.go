package router

import (
	"math/rand/v2"
	"strings"
	"testing"

	"zproxy/proto"
)

func TestMismatch(t *testing.T) {
	for _, tc := range []struct {
		host, path string
		methods    []string
		method     string
		askedHost  string
		askedPath  string
		want       string
	}{
		{"", "/*", nil, "GET", "", "/", ""},
		{"*", "/a/:id/*rest", nil, "PURGE", "x", "/a/1/", ""},
		{"A.example", "/a", nil, "GET", "a.Example.:80", "/a", ""},
		{"a.example", "/a", nil, "GET", "b.example", "/a", "its host is a.example"},
		{"*.example", "/a", nil, "GET", "example", "/a", "its host is *.example"},
		{"*.example", "/a", nil, "GET", "x.y.example", "/a", ""},
		{"", "/a/b", nil, "GET", "", "/a/c", `segment 2 is "b", in the request "c"`},
		{"", "/a/:b/c", nil, "GET", "", "/a//c", "segment 2, :b, is empty in the request"},
		{"", "/a/*", nil, "GET", "", "/a", "the path ends before segment 2, *"},
		{"", "/a", nil, "GET", "", "/a/b/c", `the path goes on with "/b/c"`},
		{"", "/caf%c3%a9", nil, "GET", "", "/caf%C3%A9", ""},
		{"", "/a", []string{"GET", "PUT"}, "HEAD", "", "/a", ""},
		{"", "/a", []string{"GET", "PUT"}, "POST", "", "/a", "it is for GET, PUT"},
	} {
		if got := Mismatch(tc.host, tc.path, tc.methods, []byte(tc.askedHost), []byte(tc.askedPath), tc.method); got != tc.want {
			t.Errorf("%v %s%s for %s %s%s: %q, want %q", tc.methods, tc.host, tc.path, tc.method, tc.askedHost, tc.askedPath, got, tc.want)
		}
	}
}

// What fits no route by Mismatch has none by Lookup, and the route that Lookup finds fits.
func TestMismatchAgainstLookup(t *testing.T) {
	for seed := range uint64(3000) {
		rng := rand.New(rand.NewPCG(seed, 2))
		b := NewBuilder()
		var routes []source
		var methods [][]string
		for range 1 + rng.IntN(12) {
			segments := make([]string, 1+rng.IntN(3))
			for j := range segments {
				segments[j] = fewSegments[rng.IntN(len(fewSegments))]
			}
			r, names := source{host: fewHosts[rng.IntN(len(fewHosts))], path: "/" + strings.Join(segments, "/")}, fewMethods[rng.IntN(len(fewMethods))]
			if b.Add(r.host, r.path, names, int32(len(routes))) == nil {
				routes, methods = append(routes, r), append(methods, names)
			}
		}
		table := b.Build()
		for range 16 {
			segments := make([]string, 1+rng.IntN(4))
			for j := range segments {
				segments[j] = askSegments[rng.IntN(len(askSegments))]
			}
			method, host, path := askMethods[rng.IntN(len(askMethods))], askHosts[rng.IntN(len(askHosts))], "/"+strings.Join(segments, "/")
			fits := map[int32]bool{}
			for i, r := range routes {
				if Mismatch(r.host, r.path, methods[i], []byte(host), []byte(path), method) == "" {
					fits[int32(i)] = true
				}
			}
			var m Match
			switch found := table.Lookup([]byte(host), []byte(path), proto.ParseMethod([]byte(method)), []byte(method), &m) == Found; {
			case found && !fits[m.Value]:
				t.Fatalf("seed %d: %s %s%s: %v is found, and is said not to fit", seed, method, host, path, routes[m.Value])
			case !found && len(fits) > 0:
				t.Fatalf("seed %d: %s %s%s: none is found, %v are said to fit", seed, method, host, path, fits)
			}
		}
	}
}
