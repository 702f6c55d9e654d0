package snapshot

import (
	"strings"
	"testing"

	"zproxy/config"
	"zproxy/upstream"
)

// with compiles upstream app of three endpoints, and routes.
func with(t *testing.T, r *Registry, endpoints, routes string) *Snapshot {
	t.Helper()
	cfg, err := config.Parse("z.yaml", []byte("listeners: [{address: \"127.0.0.1:80\"}]\nupstreams: {app: {endpoints: ["+endpoints+"]}}\nroutes: ["+routes+"]\n"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := r.Compile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const threeLabelled = `{address: "127.0.0.1:1", labels: {v: a}}, {address: "127.0.0.1:2", labels: {v: b}}, {address: "127.0.0.1:3", labels: {v: b, canary: "yes"}}`

func addresses(cl *Cluster) string {
	var list []string
	for _, e := range cl.Shared.Endpoints() {
		list = append(list, strings.TrimPrefix(e.Address, "127.0.0.1:"))
	}
	return strings.Join(list, "")
}

// Each subset is there once, with its endpoints alone, whatever number of routes lead there; it stays what it is while
// its own endpoints do, whatever becomes of others, and weights that were set hold for it as well.
func TestSubsetsAreUpstreams(t *testing.T) {
	r := NewRegistry(1, nil)
	const routes = `{path: /a, upstream: app, subset: {v: b}, subset_fallback: any}, {path: /b, upstream: app, subset: {v: b}},
  {path: /c, split: [{upstream: app, weight: 1, subset: {v: a}}, {upstream: app, weight: 1, subset: {v: b, canary: "yes"}, subset_fallback: any}]}`
	s := with(t, r, threeLabelled, routes)
	if n := len(s.Upstreams()); n != 4 {
		t.Fatalf("%d upstreams and subsets, want 4", n)
	}
	ra, rb, rc := &s.Routes[0], &s.Routes[1], &s.Routes[2]
	b := s.Clusters[ra.Cluster]
	if rb.Cluster != ra.Cluster || addresses(b) != "23" || b.Name != "app" || upstream.Title(b.Shared) != "app[v=b]" || b.Shared.Name() != "app" {
		t.Errorf("routes lead to %s with %s, and to number %d", upstream.Title(b.Shared), addresses(b), rb.Cluster)
	}
	if got := addresses(s.Clusters[ra.Any-1]); got != "123" || rb.Any != 0 {
		t.Errorf("they fall back to %s, and to %d", got, rb.Any)
	}
	if got := addresses(s.Clusters[rc.Split[0].Cluster]) + " " + addresses(s.Clusters[rc.Split[1].Cluster]); got != "1 3" || rc.Split[0].Any != 0 || rc.Split[1].Any == 0 {
		t.Errorf("shares lead to %s", got)
	}
	if c := s.ConfigOf(b.Shared); len(c.Endpoints) != 2 || c.Subset.String() != "v=b" {
		t.Errorf("its configuration is %+v", c)
	}
	for _, c := range []struct {
		of         *Route
		from, want int
	}{
		{ra, ra.Cluster, ra.Any}, {ra, ra.Any - 1, 0}, {rb, rb.Cluster, 0}, {rc, rc.Split[0].Cluster, 0}, {rc, rc.Split[1].Cluster, rc.Split[1].Any},
	} {
		if got := c.of.Next(c.from); got != c.want {
			t.Errorf("%s: behind %d comes %d, want %d", c.of.Path, c.from, got, c.want)
		}
	}
	if err := s.Clusters[ra.Any-1].Shared.SetWeight("127.0.0.1:3", 7); err != nil {
		t.Fatal(err)
	}
	next := with(t, r, strings.Replace(threeLabelled, "127.0.0.1:1", "127.0.0.1:9", 1), routes+`, {path: /d, upstream: app, subset: {canary: "yes"}}`)
	if got := next.Clusters[next.Routes[0].Cluster]; got != b {
		t.Errorf("a subset whose endpoints are the same became another one: %s", upstream.Title(got.Shared))
	}
	if got := next.Clusters[next.Routes[0].Any-1]; addresses(got) != "923" {
		t.Errorf("all of it are %s", addresses(got))
	}
	fresh := next.Clusters[next.Routes[3].Cluster].Shared
	if w, _, set := fresh.WeightOf(0); w != 7 || !set {
		t.Errorf("in a subset that is new the endpoint has the weight %d, set: %v", w, set)
	}
}

// A request on a subset still leads where its route leads to the same endpoint.
func TestSubsetLeads(t *testing.T) {
	for _, c := range []struct {
		before, after string
		endpoint      int
		leads         bool
	}{
		{"subset: {v: b}", "subset: {v: b}", 1, true},
		{"subset: {v: b}", `subset: {canary: "yes"}`, 1, true},
		{"subset: {v: b}", `subset: {canary: "yes"}`, 0, false},
		{"subset: {v: b}", "subset: {v: a}", 0, false},
		{"subset: {v: b}", "methods: [GET, HEAD, POST]", 0, false}, // another route
		{"interim: pass", "subset: {v: a}", 0, true},
		{"interim: pass", "subset: {v: a}", 1, false},
		{"interim: pass", "subset: {v: a}, subset_fallback: any", 1, true},
		{"subset: {v: b}", "interim: pass", 1, true},
	} {
		r := NewRegistry(1, nil)
		before := with(t, r, threeLabelled, "{path: /a, upstream: app, "+c.before+"}")
		after := with(t, r, strings.Replace(threeLabelled, "}}", "}, weight: 2}", 1), "{path: /a, upstream: app, "+c.after+"}")
		route := &before.Routes[0]
		if got := after.Leads(route, before.Clusters[route.Cluster], c.endpoint); got != c.leads {
			t.Errorf("from %s to %s, endpoint %d: leads %v", c.before, c.after, c.endpoint, got)
		}
	}
}
