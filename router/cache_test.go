package router

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unsafe"

	"zproxy/proto"
)

func TestCacheHitsOnTheThirdRequest(t *testing.T) {
	r := table(t, "GET h.example/users/:id/*rest", "POST /users/7/x", "/long/*")
	c := NewCache(64)
	for i, want := range []struct{ hits, misses uint64 }{{0, 1}, {0, 2}, {1, 2}, {2, 2}} {
		if got := askCache(c, r, "GET", "h.example", "/users/7/x"); got != "0 id=7 rest=x" {
			t.Fatalf("request %d: %s", i, got)
		}
		if c.Hits != want.hits || c.Misses != want.misses {
			t.Fatalf("request %d: %d hits, %d misses", i, c.Hits, c.Misses)
		}
	}
	// The same path for another host or method is another request.
	for range 4 {
		if got := askCache(c, r, "POST", "h.example", "/users/7/x"); got != "1" {
			t.Fatal(got)
		}
		if got := askCache(c, r, "GET", "other", "/users/7/x"); got != "405 POST" {
			t.Fatal(got)
		}
		long := "/long/" + strings.Repeat("x", cacheKeyBytes)
		if got := askCache(c, r, "GET", "", long); got != "2 *="+long[6:] {
			t.Fatal(got)
		}
	}
	// Another table has other answers.
	if got := askCache(c, table(t, "h.example/*"), "GET", "h.example", "/users/7/x"); got != "0 *=users/7/x" {
		t.Fatal(got)
	}
}

// An entry answers only the request it was made from, whatever the hashes are.
func TestCacheComparesTheWholeRequest(t *testing.T) {
	var e cacheEntry
	e.set([]byte("host"), []byte("/path"), proto.GET, 1, &Match{})
	for _, q := range []struct {
		host, path string
		method     proto.Method
		want       bool
	}{
		{"host", "/path", proto.GET, true},
		{"host", "/path", proto.HEAD, false},
		{"hosT", "/path", proto.GET, false},
		{"host", "/pat", proto.GET, false},
		{"hos", "/path", proto.GET, false},
		{"host/", "path", proto.GET, false},
		{"", "host/path", proto.GET, false},
	} {
		if e.is([]byte(q.host), []byte(q.path), q.method) != q.want {
			t.Errorf("%+v", q)
		}
	}
}

// Requests that come once do not push out one that repeats.
func TestCacheKeepsWhatRepeats(t *testing.T) {
	r, c := table(t, "/hot", "/cold/:id"), NewCache(4)
	for range 3 {
		askCache(c, r, "GET", "", "/hot")
	}
	for i := range 1000 {
		askCache(c, r, "GET", "", fmt.Sprint("/cold/", i))
	}
	hits := c.Hits
	if askCache(c, r, "GET", "", "/hot"); c.Hits != hits+1 {
		t.Error("pushed out")
	}
}

func TestCacheAllocatesNothing(t *testing.T) {
	r, c := table(t, "/hot/:id", "/cold/:id"), NewCache(CacheEntries)
	path, cold := []byte("/hot/7"), []byte("/cold/00000000")
	var m Match
	i := 0
	if n := testing.AllocsPerRun(100, func() {
		i++
		cold[len(cold)-1-i%8]++
		c.Lookup(r, nil, path, proto.GET, nil, &m)
		c.Lookup(r, nil, cold, proto.GET, nil, &m)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if c.Hits == 0 || unsafe.Sizeof(cacheEntry{}) != 192 {
		t.Errorf("%d hits, entries of %d bytes", c.Hits, unsafe.Sizeof(cacheEntry{}))
	}
}

// BenchmarkCache compares with and without on requests that repeat to a different degree.
func BenchmarkCache(b *testing.B) {
	for _, n := range sizes {
		routes := apiRoutes(n)
		host := []byte("api.example.com:8443")
		r := build(b, routes, func(int) string { return "api.example.com" })
		paths, _ := requests(routes, 1<<16)
		for _, load := range []string{"64 paths", "zipf", "all different"} {
			order := make([]uint16, 1<<16)
			zipf := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.1, 1, 1<<16-1)
			for i := range order {
				switch load {
				case "64 paths":
					order[i] = uint16(i & 63)
				case "zipf":
					order[i] = uint16(zipf.Uint64())
				default:
					order[i] = uint16(i)
				}
			}
			for _, entries := range []int{0, 256, CacheEntries, 2048} {
				b.Run(fmt.Sprintf("routes=%d/%s/entries=%d", n, load, entries), func(b *testing.B) {
					c, m := NewCache(entries), &Match{}
					for i := range b.N {
						path := paths[order[i&(1<<16-1)]]
						if entries == 0 {
							r.Lookup(host, path, proto.GET, nil, m)
						} else {
							c.Lookup(r, host, path, proto.GET, nil, m)
						}
						if !strings.HasPrefix(routes[m.Value], "/") {
							b.Fatal("not found")
						}
					}
					b.ReportMetric(float64(c.Hits)/float64(max(1, c.Hits+c.Misses)), "hits/op")
				})
			}
		}
	}
}
