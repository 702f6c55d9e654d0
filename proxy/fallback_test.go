package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"zproxy/config"
	"zproxy/loop"
)

// named are origins that say who they are.
func named(t *testing.T, v versionPair, names ...string) (addrs []string) {
	for _, name := range names {
		addrs = append(addrs, startServer(t, v, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			io.WriteString(w, name)
		}))
	}
	return addrs
}

// withNamed is withPair with an upstream "app", the first, that route sends to, and others.
func withNamed(t *testing.T, io loop.IO, v versionPair, addrs map[string]string, route string, f func(p *pair)) {
	protocol := map[bool]string{false: "http1", true: "h2c"}[v.origin]
	more := "upstreams:\n"
	for name, addr := range addrs {
		more += fmt.Sprintf("  %s: {protocol: %s, health_check: {}, endpoints: [{address: %q}]}\n", name, protocol, addr)
	}
	text := "listeners: [{address: \"127.0.0.1:8080\", protocols: [http1, h2c]}]\n" + more + "routes: [{path: \"/*\", " + route + "}]\n"
	r := start(t, io, 1, text, nil)
	tr := &http.Transport{Protocols: protocols(v.client)}
	t.Cleanup(tr.CloseIdleConnections)
	p := &pair{rig: r, base: "http://" + r.addr, client: &http.Client{Transport: tr, Timeout: 2 * patience}}
	f(p)
	r.settled()
}

// cluster is an upstream by its name.
func (r *rig) checkNamed(name string, down bool) {
	why := "test"
	for _, c := range r.snap.Upstreams() {
		if c.Name() == name {
			c.Checked(0, func(string) bool { return down }, &why)
		}
	}
}

// While checks have found all of an upstream down, its requests go to the fallback; one that finds
// by itself that nobody is there goes on to it, whatever its method.
func TestFallback(t *testing.T) {
	onAllVersions(t, func(t *testing.T, io loop.IO, v versionPair) {
		addrs := named(t, v, "app", "other")
		withNamed(t, io, v, map[string]string{"app": addrs[0], "other": addrs[1]}, "upstream: app, fallback: other", func(p *pair) {
			for _, down := range []bool{false, true, false} {
				p.checkNamed("app", down)
				want := map[bool]string{false: "app", true: "other"}[down]
				for _, method := range []string{"GET", "POST"} {
					if resp, body := p.do(method, "/", strings.NewReader("x"), nil); resp.StatusCode != 200 || string(body) != want {
						t.Errorf("down %v: %s gets %d %q, want %s", down, method, resp.StatusCode, body, want)
					}
				}
			}
			if n := p.settled()[0].Metrics.UpstreamFallbacks; n != 2 {
				t.Errorf("%d fell back, want 2", n)
			}
		})
		withNamed(t, io, v, map[string]string{"app": "127.0.0.1:1", "other": addrs[1]}, "upstream: app, fallback: other", func(p *pair) {
			for i := range 3 {
				if resp, body := p.do("POST", "/", strings.NewReader("x"), nil); resp.StatusCode != 200 || string(body) != "other" {
					t.Errorf("request %d gets %d %q", i, resp.StatusCode, body)
				}
			}
		})
	})
}

// Shares are what they are said to be, to a request or two; a share of nobody is none, and one that
// is down goes to the fallback.
func TestSplit(t *testing.T) {
	besides(t, func(t *testing.T, io loop.IO) {
		v := versionPair{"h1-h1", false, false}
		addrs := named(t, v, "a", "b", "c", "d")
		of := map[string]string{"a": addrs[0], "b": addrs[1], "c": addrs[2], "d": addrs[3]}
		const route = "split: [{upstream: a, weight: 70}, {upstream: c, weight: 0}, {upstream: b, weight: 30}], fallback: d"
		withNamed(t, io, v, of, route, func(p *pair) {
			count := func() map[string]int {
				got := map[string]int{}
				for range 100 {
					_, body := p.do("GET", "/", nil, nil)
					got[string(body)]++
				}
				return got
			}
			if got := count(); got["a"] < 67 || got["a"] > 73 || got["a"]+got["b"] != 100 {
				t.Errorf("of 100 requests %v", got)
			}
			p.checkNamed("b", true)
			if got := count(); got["a"] < 67 || got["a"] > 73 || got["a"]+got["d"] != 100 {
				t.Errorf("of 100 requests with b down %v", got)
			}
		})
	})
}

// What has the same cookie, or field, stays together; in sum the shares are as they should be, and
// what has none is split each for itself.
func TestStickySplit(t *testing.T) {
	onAllVersions(t, func(t *testing.T, io loop.IO, v versionPair) {
		addrs := named(t, v, "a", "b")
		for by, set := range map[string]func(r *http.Request, value string){
			"{cookie: uid}":    func(r *http.Request, value string) { r.Header.Set("Cookie", "other=1; uid="+value+"; more=2") },
			"{header: X-User}": func(r *http.Request, value string) { r.Header.Set("x-user", value) },
		} {
			withNamed(t, io, v, map[string]string{"a": addrs[0], "b": addrs[1]}, "split: [{upstream: a, weight: 50}, {upstream: b, weight: 50}], sticky: "+by, func(p *pair) {
				got := map[string]int{}
				for user := range 100 {
					first := ""
					for range 3 {
						_, body := p.do("GET", "/", nil, func(r *http.Request) { set(r, fmt.Sprint("user", user)) })
						if first != "" && string(body) != first {
							t.Fatalf("%s: user %d gets %s and %s", by, user, first, body)
						}
						first = string(body)
					}
					got[first]++
				}
				if got["a"] < 30 || got["b"] < 30 {
					t.Errorf("%s: 100 users are split %v", by, got)
				}
				got = map[string]int{}
				for range 20 {
					_, body := p.do("GET", "/", nil, nil)
					got[string(body)]++
				}
				if got["a"] < 8 || got["b"] < 8 {
					t.Errorf("%s: 20 requests without it are split %v", by, got)
				}
			})
		}
	})
}

// A route's fallback and shares are other ones after a reload.
func TestSplitIsAdopted(t *testing.T) {
	besides(t, func(t *testing.T, io loop.IO) {
		v := versionPair{"h1-h1", false, false}
		addrs := named(t, v, "a", "b")
		of := map[string]string{"a": addrs[0], "b": addrs[1]}
		withNamed(t, io, v, of, "split: [{upstream: a, weight: 1}, {upstream: b, weight: 0}]", func(p *pair) {
			if _, body := p.do("GET", "/", nil, nil); string(body) != "a" {
				t.Errorf("%s answers", body)
			}
			text := fmt.Sprintf("listeners: [{address: \"127.0.0.1:8080\", protocols: [http1, h2c]}]\nupstreams:\n  a: {health_check: {}, endpoints: [{address: %q}]}\n  b: {health_check: {}, endpoints: [{address: %q}]}\n"+
				"routes: [{path: \"/*\", split: [{upstream: a, weight: 0}, {upstream: b, weight: 1}]}]\n", addrs[0], addrs[1])
			cfg, err := config.Parse("test.yaml", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			snap, err := p.registry.Compile(cfg)
			if err != nil {
				t.Fatal(err)
			}
			AskAdopt(p.peers[0].Loop, snap)
			await(t, "the other one answers", func() bool {
				_, body := p.do("GET", "/", nil, nil)
				return string(body) == "b"
			})
		})
	})
}

// Requests of a route with a subset go to its endpoints alone, and to others where it says so and none of them is up: before
// they are sent anywhere, or when nobody is there after all.
func TestSubset(t *testing.T) {
	onAllVersions(t, func(t *testing.T, io loop.IO, v versionPair) {
		addrs := append(named(t, v, "a", "b", "c"), "127.0.0.1:1")
		protocol := map[bool]string{false: "http1", true: "h2c"}[v.origin]
		text := "listeners: [{address: \"127.0.0.1:8080\", protocols: [http1, h2c]}]\nupstreams: {app: {protocol: " + protocol + ", health_check: {}, endpoints: ["
		for i, addr := range addrs {
			text += fmt.Sprintf("{address: %q, labels: {v: %s}}, ", addr, []string{"one", "two", "two", "gone"}[i])
		}
		text += `]}}
routes:
- {path: /one, upstream: app, subset: {v: one}}
- {path: /two, upstream: app, subset: {v: two}, subset_fallback: any}
- {path: /gone, upstream: app, subset: {v: gone}, subset_fallback: any}
- {path: /split, split: [{upstream: app, weight: 3, subset: {v: one}}, {upstream: app, weight: 1, subset: {v: two}}]}
`
		r := start(t, io, 1, text, nil)
		tr := &http.Transport{Protocols: protocols(v.client)}
		t.Cleanup(tr.CloseIdleConnections)
		p := &pair{rig: r, base: "http://" + r.addr, client: &http.Client{Transport: tr, Timeout: 2 * patience}}
		count := func(path string, n int) map[string]int {
			got := map[string]int{}
			for range n {
				resp, body := p.do("POST", path, strings.NewReader("x"), nil)
				if resp.StatusCode != 200 {
					body = []byte(resp.Status)
				}
				got[string(body)]++
			}
			return got
		}
		if got := count("/one", 20); got["a"] != 20 {
			t.Errorf("/one: %v", got)
		}
		if got := count("/two", 20); got["b"] != 10 || got["c"] != 10 {
			t.Errorf("/two: %v", got)
		}
		if got := count("/gone", 8); got["a"]+got["b"]+got["c"] != 8 {
			t.Errorf("/gone: %v", got)
		}
		if got := count("/split", 40); got["a"] < 28 || got["a"] > 32 || got["a"]+got["b"]+got["c"] != 40 {
			t.Errorf("/split: %v", got)
		}
		why := "test"
		for _, c := range r.snap.Upstreams() {
			for i, e := range c.Endpoints() {
				c.Checked(i, func(string) bool { return e.Address == addrs[0] || e.Address == addrs[1] }, &why)
			}
		}
		if got := count("/one", 5); got["503 Service Unavailable"] != 5 {
			t.Errorf("/one without an endpoint: %v", got)
		}
		if got := count("/two", 5); got["c"] != 5 {
			t.Errorf("/two with one endpoint: %v", got)
		}
		for _, c := range r.snap.Upstreams() {
			for i, e := range c.Endpoints() {
				c.Checked(i, func(string) bool { return e.Address != addrs[0] }, &why)
			}
		}
		if got := count("/two", 5); got["a"] != 5 {
			t.Errorf("/two without an endpoint: %v", got)
		}
		r.settled()
	})
}
