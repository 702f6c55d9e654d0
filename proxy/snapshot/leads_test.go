package snapshot

import (
	"testing"

	"zproxy/config"
)

// A request still leads to an upstream by its name, and to an endpoint by its address, where these
// are configured and not found.
func TestLeads(t *testing.T) {
	const listed, found, other = "endpoints: [{address: \"127.0.0.1:1\"}]", "discover: {file: {path: /none}}", "endpoints: [{address: \"127.0.0.1:2\"}]"
	for _, c := range []struct {
		before, after string
		leads         bool
	}{
		{listed, listed + ", balance: p2c", true}, {listed, other, false}, {found, found + ", balance: p2c", true}, {listed, found, true}, {found, listed, true},
	} {
		r := NewRegistry(1, nil)
		compile := func(upstream string) *Snapshot {
			cfg, err := config.Parse("z.yaml", []byte("listeners: [{address: \"127.0.0.1:80\"}]\nupstreams: {app: {"+upstream+"}}\nroutes: [{path: \"/*\", upstream: app}]\n"))
			if err != nil {
				t.Fatal(err)
			}
			s, err := r.Compile(cfg)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		before := compile(c.before)
		after := compile(c.after)
		route := &before.Routes[0]
		cl := before.Clusters[route.Cluster]
		if after.Clusters[after.Routes[0].Cluster] == cl {
			t.Fatalf("%s and %s are the same upstream", c.before, c.after)
		}
		if got := after.Leads(route, cl, 0); got != c.leads {
			t.Errorf("from %s to %s: leads %v, want %v", c.before, c.after, got, c.leads)
		}
		if !after.Leads(route, cl, -1) {
			t.Errorf("from %s to %s: the upstream has gone", c.before, c.after)
		}
	}
}
