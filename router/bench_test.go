package router

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"zproxy/proto"
)

var sizes = []int{10, 1000, 100000}

// apiRoutes gives n routes like those of an API: one resource each, of which every fifth route is another view.
func apiRoutes(n int) (routes []string) {
	for i := range n {
		service, resource := i%97, i/5
		switch i % 5 {
		case 0:
			routes = append(routes, fmt.Sprintf("/v1/service-%d/resource-%d", service, resource))
		case 1:
			routes = append(routes, fmt.Sprintf("/v1/service-%d/resource-%d/:id", service, resource))
		case 2:
			routes = append(routes, fmt.Sprintf("/v1/service-%d/resource-%d/:id/details", service, resource))
		case 3:
			routes = append(routes, fmt.Sprintf("/v1/service-%d/resource-%d/:id/parts/:part", service, resource))
		case 4:
			routes = append(routes, fmt.Sprintf("/static/%d/bundle-%d/*file", service, resource))
		}
	}
	return routes
}

func build(b *testing.B, routes []string, host func(i int) string) *Router {
	b.Helper()
	builder := NewBuilder()
	for i, r := range routes {
		if err := builder.Add(host(i), r, nil, int32(i)); err != nil {
			b.Fatal(err)
		}
	}
	return builder.Build()
}

func anyHost(int) string { return "" }

// requests gives count paths that match the routes, spread evenly; the parameters' values differ from one to the next.
func requests(routes []string, count int) (paths [][]byte, chosen []int) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range count {
		i := rng.IntN(len(routes))
		path := []byte{}
		for _, c := range []byte(routes[i]) {
			path = append(path, c)
		}
		paths, chosen = append(paths, instance(path, rng.IntN(100000))), append(chosen, i)
	}
	return paths, chosen
}

// instance puts a value in the place of each parameter.
func instance(pattern []byte, value int) (path []byte) {
	skip := false
	for i, c := range pattern {
		switch {
		case i > 0 && pattern[i-1] == '/' && (c == ':' || c == '*'):
			path = fmt.Append(path, value)
			skip = true
		case c == '/':
			path, skip = append(path, c), false
		case !skip:
			path = append(path, c)
		}
	}
	return path
}

func BenchmarkLookup(b *testing.B) {
	for _, n := range sizes {
		routes := apiRoutes(n)
		r := build(b, routes, anyHost)
		for _, working := range []int{64, 16384} { // different paths asked for
			paths, chosen := requests(routes, working)
			b.Run(fmt.Sprintf("routes=%d/paths=%d", n, working), func(b *testing.B) {
				var m Match
				b.ReportAllocs()
				for i := range b.N {
					at := i & (working - 1)
					if r.Lookup(nil, paths[at], proto.GET, nil, &m) != Found || int(m.Value) != chosen[at] {
						b.Fatalf("%s: %d instead of %d", paths[at], m.Value, chosen[at])
					}
				}
			})
		}
	}
}

func BenchmarkLookupHost(b *testing.B) {
	for _, n := range sizes {
		routes := make([]string, n)
		for i := range routes {
			routes[i] = "/*"
		}
		host := func(i int) string { return fmt.Sprintf("tenant-%d.example.com", i) }
		r := build(b, routes, host)
		names := make([][]byte, 64)
		for i := range names {
			names[i] = []byte(host(i*7919%n) + ":8443")
		}
		b.Run(fmt.Sprintf("hosts=%d", n), func(b *testing.B) {
			var m Match
			for i := range b.N {
				if r.Lookup(names[i&63], []byte("/"), proto.GET, nil, &m) != Found {
					b.Fatal("not found")
				}
			}
		})
	}
}

func BenchmarkNotFound(b *testing.B) {
	for _, n := range sizes {
		r := build(b, apiRoutes(n), anyHost)
		b.Run(fmt.Sprintf("routes=%d", n), func(b *testing.B) {
			var m Match
			for range b.N {
				if r.Lookup(nil, []byte("/v1/service-1/none/7"), proto.GET, nil, &m) != NotFound {
					b.Fatal("found")
				}
			}
		})
	}
}

// The most that routes may overlap: 63 nodes entered for six segments.
func BenchmarkLookupWorst(b *testing.B) {
	r := build(b, combinations(5, "/end"), anyHost)
	var m Match
	for range b.N {
		if r.Lookup(nil, []byte("/a/a/a/a/a/none"), proto.GET, nil, &m) != NotFound {
			b.Fatal("found")
		}
	}
}

func BenchmarkNormalize(b *testing.B) {
	dst := make([]byte, 0, 256)
	for _, path := range []string{"/v1/service-12/resource-345/67890/details", "/v1/service%2D12/./resource-345/67890/x/../details"} {
		b.Run(fmt.Sprintf("len=%d", len(path)), func(b *testing.B) {
			for range b.N {
				if _, _, ok := Normalize([]byte(path), dst); !ok {
					b.Fatal("refused")
				}
			}
		})
	}
}

// BenchmarkBuild also reports what the finished table occupies.
func BenchmarkBuild(b *testing.B) {
	for _, n := range sizes {
		routes := apiRoutes(n)
		b.Run(fmt.Sprintf("routes=%d", n), func(b *testing.B) {
			var r *Router
			for range b.N {
				r = build(b, routes, anyHost)
			}
			b.StopTimer()
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			runtime.KeepAlive(r)
			r = nil
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(before.HeapAlloc-after.HeapAlloc)/float64(n), "bytes/route")
		})
	}
}
