package router

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"zproxy/proto"
)

// naiveRoute is a route as the rules speak of it; naive matching tries all of them and compares what is left.
type naiveRoute struct {
	host     string // lower case, without "*."
	wildcard bool
	segments []string
	methods  []string
	value    int32

	condition int // 0: none
}

func (n *naiveRoute) hostMatches(host string) bool {
	if n.wildcard {
		return n.host == "" || len(host) > len(n.host)+1 && strings.HasSuffix(host, "."+n.host)
	}
	return host == n.host
}

// params matches the path, and gives the parameters as "name=value".
func (n *naiveRoute) params(path string) (params []string, ok bool) {
	segments := strings.Split(path[1:], "/")
	for i, s := range n.segments {
		switch {
		case strings.HasPrefix(s, "*"):
			if i >= len(segments) {
				return nil, false
			}
			name := s[1:]
			if name == "" {
				name = "*"
			}
			return append(params, name+"="+strings.Join(segments[i:], "/")), true
		case i >= len(segments):
			return nil, false
		case strings.HasPrefix(s, ":"):
			if segments[i] == "" {
				return nil, false
			}
			params = append(params, s[1:]+"="+segments[i])
		case s != segments[i]:
			return nil, false
		}
	}
	return params, len(segments) == len(n.segments)
}

func kindOf(segment string) int {
	return 1 + strings.IndexByte(":*", (segment + "x")[0]) // 0 literal, 1 parameter, 2 tail
}

// compare orders routes that match the same request: the preferred one first.
func (n *naiveRoute) compare(other *naiveRoute, method string) int {
	if n.wildcard != other.wildcard {
		if other.wildcard {
			return -1
		}
		return 1
	}
	if d := len(other.host) - len(n.host); d != 0 {
		return d
	}
	for i := range min(len(n.segments), len(other.segments)) {
		if d := kindOf(n.segments[i]) - kindOf(other.segments[i]); d != 0 {
			return d
		}
	}
	switch {
	case n.condition != 0 && other.condition != 0:
		return int(n.value - other.value)
	case n.condition != other.condition:
		return other.condition - n.condition
	}
	return n.methodRank(method) - other.methodRank(method)
}

// methodRank is 0 when the route names the method, 1 for HEAD by way of GET, 2 when it takes all, 3 when it does not.
func (n *naiveRoute) methodRank(method string) int {
	switch {
	case slices.Contains(n.methods, method):
		return 0
	case method == "HEAD" && slices.Contains(n.methods, "GET"):
		return 1
	case len(n.methods) == 0:
		return 2
	}
	return 3
}

// naiveAnswer is what ask must say.
func naiveAnswer(routes []naiveRoute, holds uint64, method, host, path string) string {
	var best *naiveRoute
	var bestParams []string
	allow := map[string]bool{}
	for i := range routes {
		n := &routes[i]
		params, ok := n.params(path)
		if !ok || !n.hostMatches(host) || (holds|1)>>n.condition&1 == 0 {
			continue
		}
		for _, m := range n.methods {
			allow[m] = true
			if m == "GET" {
				allow["HEAD"] = true
			}
		}
		if n.methodRank(method) < 3 && (best == nil || n.compare(best, method) < 0) {
			best, bestParams = n, params
		}
	}
	if best != nil {
		return strings.Join(append([]string{fmt.Sprint(best.value)}, bestParams...), " ")
	}
	if len(allow) == 0 {
		return "404"
	}
	var names []string
	for _, m := range []string{"GET", "HEAD", "POST", "PUT"} {
		if allow[m] {
			names = append(names, m)
		}
	}
	for m := range allow {
		if proto.ParseMethod([]byte(m)) == proto.MethodOther {
			names = append(names, m) // at most one in these tests
		}
	}
	return "405 " + strings.Join(names, ", ")
}

var (
	fewHosts    = []string{"", "a.b", "*.b", "*.a.b", "c.a.b", "b"}
	fewSegments = []string{"", "a", "b", "ab", ":x", ":y", ":z", "*", "*t"}
	fewMethods  = [][]string{nil, {"GET"}, {"POST"}, {"HEAD"}, {"PUT", "GET"}, {"PURGE"}}
	askHosts    = []string{"", "a.b", "b", "x.b", "c.a.b", "x.y.a.b", "z"}
	askSegments = []string{"", "a", "b", "ab", "x", "abc"}
	askMethods  = []string{"GET", "POST", "HEAD", "PUT", "PURGE", "BREW"}
)

// differential builds a table from choices and asks it requests from choices; pick(n) gives the next one below n.
func differential(t *testing.T, pick func(n int) int) {
	b := NewBuilder()
	var routes []naiveRoute
	for i := range 1 + pick(24) {
		host, methods := fewHosts[pick(len(fewHosts))], fewMethods[pick(len(fewMethods))]
		segments := make([]string, 1+pick(4))
		for j := range segments {
			segments[j] = fewSegments[pick(len(fewSegments))]
		}
		condition := max(0, pick(5)-2)
		if b.AddIf(condition, host, "/"+strings.Join(segments, "/"), methods, int32(i)) != nil {
			continue // a clash, or not a pattern: TestAddErrors has those
		}
		n := naiveRoute{host: host, wildcard: host == "", segments: segments, methods: methods, value: int32(i), condition: condition}
		if rest, ok := strings.CutPrefix(host, "*."); ok {
			n.host, n.wildcard = rest, true
		}
		routes = append(routes, n)
	}
	r, c := b.Build(), NewCache(2)
	for range 16 {
		segments := make([]string, 1+pick(5))
		for j := range segments {
			segments[j] = askSegments[pick(len(askSegments))]
		}
		method, host := askMethods[pick(len(askMethods))], askHosts[pick(len(askHosts))]
		path := "/" + strings.Join(segments, "/")
		holds := uint64(pick(4)) << 1
		want := naiveAnswer(routes, holds, method, host, path)
		if got := askIf(r, holds, method, host, path); got != want {
			t.Fatalf("%s %s%s: %s, want %s\nroutes: %+v", method, host, path, got, want, routes)
		}
		for i := range 3 { // a miss, a miss that is kept, a hit
			if got := askCacheIf(c, r, holds, method, host, path); got != want {
				t.Fatalf("%s %s%s, cache, time %d: %s, want %s\nroutes: %+v", method, host, path, i, got, want, routes)
			}
		}
	}
}

func TestAgainstNaiveMatcher(t *testing.T) {
	for seed := range uint64(20000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		differential(t, rng.IntN)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func FuzzLookup(f *testing.F) {
	f.Add([]byte{3, 0, 0, 1, 1, 4, 0, 0, 2, 4, 1, 7})
	f.Add([]byte("some more or less arbitrary choices of routes and requests"))
	f.Fuzz(func(t *testing.T, choices []byte) {
		differential(t, func(n int) int {
			if len(choices) == 0 {
				return 0
			}
			c := int(choices[0])
			choices = choices[1:]
			return c % n
		})
	})
}
