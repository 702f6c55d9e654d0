package snapshot

import (
	"fmt"
	"strings"
	"testing"

	"zproxy/config"
)

// many is a configuration of n upstreams, in the order of their names or the other one, with a
// route to each. The one at place other is not as it else would be.
func many(t *testing.T, n, other int, backwards bool) *config.Config {
	t.Helper()
	var upstreams, routes strings.Builder
	for i := range n {
		if backwards {
			i = n - 1 - i
		}
		retries := 1
		if i == other {
			retries = 2
		}
		fmt.Fprintf(&upstreams, "  u%d: {endpoints: [{address: \"127.0.0.1:9\"}], retries: %d}\n", i, retries)
		fmt.Fprintf(&routes, "  - {path: /r%d, upstream: u%d}\n", i, i)
	}
	c, err := config.Parse("test.yaml", []byte("listeners:\n  - {address: \"127.0.0.1:8080\"}\nupstreams:\n"+upstreams.String()+"routes:\n"+routes.String()))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// An upstream that is the same keeps its number and what is known of it, wherever it stands; one
// that is not gets the least number that nothing has.
func TestUpstreamsKeepTheirNumbers(t *testing.T) {
	const n, other = 20, 7
	r := NewRegistry(1, nil)
	first, err := r.Compile(many(t, n, -1, false))
	if err != nil {
		t.Fatal(err)
	}
	second, err := r.Compile(many(t, n, other, true))
	if err != nil {
		t.Fatal(err)
	}
	for id, cl := range first.Clusters {
		if same := HasCluster(second, id) && second.Clusters[id] == cl; same != (cl.Name != fmt.Sprintf("u%d", other)) {
			t.Errorf("number %d, of %s: the same is %v", id, cl.Name, same)
		}
	}
	if !HasCluster(second, n) || second.Clusters[n].Name != fmt.Sprintf("u%d", other) || len(second.Clusters) != n+1 {
		t.Errorf("what has changed is not at %d of %d", n, len(second.Clusters))
	}
	for i := range second.Routes {
		if got := second.Clusters[second.Routes[i].Cluster].Name; "/r"+got[1:] != second.Routes[i].Path {
			t.Errorf("%s leads to %s", second.Routes[i].Path, got)
		}
	}
	first.LetGo()
	third, err := r.Compile(many(t, n, -1, false))
	if err != nil {
		t.Fatal(err)
	}
	if !HasCluster(third, other) || third.Clusters[other].Name != fmt.Sprintf("u%d", other) || third.Clusters[other] == first.Clusters[other] {
		t.Errorf("number %d, which is free again, is not given away anew", other)
	}
}

// What an upstream keeps of its configuration is no part of the list that it came in.
func TestClustersKeepNoList(t *testing.T) {
	c := many(t, 3, -1, false)
	s, err := NewRegistry(1, nil).Compile(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, cl := range s.Clusters {
		for i := range c.Upstreams {
			if cl.config == &c.Upstreams[i] {
				t.Errorf("%s keeps the whole list", cl.Name)
			}
		}
	}
}
