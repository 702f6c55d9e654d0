package proxy

import (
	"fmt"
	"slices"
	"testing"

	"zproxy/config"
	"zproxy/loop"
	"zproxy/proxy/snapshot"
)

// Requests are counted by route and by upstream, those beyond the configured
// number together; routes of one host and path share a series.
func TestSeries(t *testing.T) {
	besides(t, func(t *testing.T, io_ loop.IO) {
		origin := answeringOrigin(t, ok2)
		text := yaml(origin, "admin: {address: \"127.0.0.1:9901\", series: 2}\nroutes:\n- {path: \"/*\", upstream: app}\n"+
			"- {path: /a, methods: [GET], respond: {status: 404, body: none}}\n- {path: /a, methods: [POST], respond: {status: 200}}\n"+
			"- {path: /b, respond: {status: 200, body: b}}\n- {path: /c, respond: {status: 200, body: c}}\n")
		r := start(t, io_, 1, text, nil)
		for _, path := range []string{"/", "/x", "/a", "/b", "/c"} {
			r.ask(fmt.Sprintf("GET %s HTTP/1.1\r\nHost: h\r\n\r\n", path))
		}
		r.ask("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
		m := &r.settled()[0].Metrics
		cfg, err := config.Parse("test.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		snap, err := snapshot.NewRegistry(1, nil).Compile(cfg)
		if err != nil {
			t.Fatal(err)
		}
		routes, upstreams, _ := snap.SeriesNames()
		if !slices.Equal(routes, []string{"/*", "/a", "other"}) || !slices.Equal(upstreams, []string{"app"}) {
			t.Fatalf("series of %q and %q", routes, upstreams)
		}
		if c := m.Routes[0].Classes; c[2] != 2 || m.Routes[0].BytesOut != 4 || m.Routes[0].SumNs == 0 {
			t.Errorf("/*: %+v", m.Routes[0])
		}
		if c := m.Routes[1].Classes; c[4] != 1 || c[2] != 1 {
			t.Errorf("/a: %+v", m.Routes[1])
		}
		if c := m.Routes[2].Classes; c[2] != 2 || m.Routes[2].BytesOut != 2 {
			t.Errorf("other: %+v", m.Routes[2])
		}
		if c := m.Upstreams[0].Classes; c[2] != 2 || m.Upstreams[0].BytesOut != 4 {
			t.Errorf("app: %+v", m.Upstreams[0])
		}
	})
}
