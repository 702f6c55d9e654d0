package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// discovering is a proxy whose endpoints are in a file.
type discovering struct {
	*zproxy
	endpoints string // the file
}

const foundInFile = `
listeners: [{address: LISTEN, protocols: [http1, h2c]}]
upstreams: {app: {protocol: %s, discover: {file: {path: %q}%s}%s}}
routes: [{path: "/*", upstream: app}]
`

func startDiscovering(t *testing.T, backend, protocol, more, list string) *discovering {
	t.Helper()
	d := &discovering{endpoints: filepath.Join(t.TempDir(), "endpoints.yaml")}
	d.replace(t, list)
	d.zproxy = start(t, backend, fmt.Sprintf(foundInFile, protocol, d.endpoints, more, ""))
	return d
}

// replace puts another file in the place of the one there is.
func (d *discovering) replace(t *testing.T, text string) {
	t.Helper()
	if err := os.Rename(writeFile(t, d.endpoints+".new", text), d.endpoints); err != nil {
		t.Fatal(err)
	}
}

// list is a file's text.
func list(addrs ...string) string {
	return `["` + strings.Join(addrs, `", "`) + `"]`
}

// has waits until these endpoints get requests, and no others.
func (d *discovering) has(t *testing.T, addrs ...string) {
	t.Helper()
	eventually(t, patience, "the endpoints are "+fmt.Sprint(addrs), func() (bool, string) {
		m := d.metrics(t)
		up := 0.0
		for _, addr := range addrs {
			up += m.sum("zproxy_endpoint_up", `endpoint="`+addr+`"`)
		}
		return up == float64(len(addrs)) && m.sum("zproxy_endpoint_up") == up, tail(string(d.page(t, "/status"))) + tail(d.out.String())
	})
}

// each counts the responses of n requests one after the other.
func (d *discovering) each(t *testing.T, n int) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range n {
		got[get(t, d.url("/which"))]++
	}
	return got
}

func (d *discovering) metric(t *testing.T, name string, at func(v float64) bool) {
	t.Helper()
	eventually(t, patience, "the metric "+name+" is as it should be", func() (bool, string) {
		v := d.metrics(t).sum(name)
		return at(v), fmt.Sprint(v, tail(d.out.String()))
	})
}

// Endpoints come and go in a file, under load: no request fails, each set is what is served by, and
// what is wrong with the file leaves what there was.
func TestDiscoverFile(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		addrs := []string{startNumbered(t, 0), startNumbered(t, 1), startNumbered(t, 2)}
		d := startDiscovering(t, backend, "http1", "", list(addrs[:2]...))
		if got := d.each(t, 20); got["0"]+got["1"] != 20 || got["0"] == 0 || got["1"] == 0 {
			t.Fatalf("at the start %v have answered", got)
		}
		l := startLoad(d.addr, "/", "ok", 4)
		for i := range 6 {
			one, other := addrs[i%3], addrs[(i+1)%3]
			d.replace(t, list(one, other))
			d.has(t, one, other)
			if got := d.each(t, 10); got[fmt.Sprint((i+2)%3)] != 0 {
				t.Errorf("round %d: %v have answered", i, got)
			}
		}
		// Weights, an endpoint that drains, and one that does because all do.
		d.replace(t, fmt.Sprintf("- {address: %q, weight: 3, zone: a, labels: {v: one}}\n- %s\n- {address: %q, state: draining}\n", addrs[0], addrs[1], addrs[2]))
		d.has(t, addrs[:2]...)
		if got := d.each(t, 40); got["0"] < 20 || got["1"] == 0 || got["2"] != 0 {
			t.Errorf("with weights 3 and 1 %v have answered", got)
		}
		if page := string(d.page(t, "/status")); !strings.Contains(page, `"zone":"a"`) && !strings.Contains(page, `"zone": "a"`) {
			t.Errorf("/status does not tell the zone: %s", page)
		}
		d.replace(t, fmt.Sprintf("endpoints: [{address: %q, state: draining}]\n", addrs[2]))
		d.has(t, addrs[2])
		// What is no good leaves what there was.
		for _, text := range []string{`["` + addrs[0], "nonsense: 1\n", "- {address: 127.0.0.1:80, wait: 1}\n", "- name.example:80\n", ""} {
			was := d.metrics(t).sum("zproxy_discovery_failures_total")
			writeFile(t, d.endpoints, text)
			d.metric(t, "zproxy_discovery_failures_total", func(v float64) bool { return v > was })
			d.has(t, addrs[2])
		}
		if err := os.Remove(d.endpoints); err != nil {
			t.Fatal(err)
		}
		d.logged(t, "no such file")
		if !d.reload(t, strings.TrimPrefix(strings.ReplaceAll(fmt.Sprintf(foundInFile, "http1", d.endpoints, "", ", retries: 2"), "LISTEN", fmt.Sprintf("%q", d.addr)), "\n")) {
			t.Error("it does not reload")
		}
		if got := d.each(t, 5); got["2"] != 5 {
			t.Errorf("behind a reload %v have answered", got)
		}
		d.replace(t, "[]")
		d.metric(t, "zproxy_discovery_kept", func(v float64) bool { return v == 1 })
		d.has(t, addrs[2])
		d.replace(t, list(addrs...))
		d.has(t, addrs...)
		if answered, failed, _ := l.stop(t); failed != 0 || answered == 0 {
			t.Errorf("of %d requests %d failed", answered+failed, failed)
		}
	})
}

// Requests under way with an endpoint that goes end as they would have, over both versions.
func TestDiscoverDrains(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		for _, protocol := range []string{"http1", "h2c"} {
			arrived, release := make(chan struct{}, 10), make(chan struct{})
			handler := func(name string) http.HandlerFunc {
				return func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/slow" {
						fmt.Fprint(w, "begun ")
						w.(http.Flusher).Flush()
						arrived <- struct{}{}
						<-release
					}
					fmt.Fprint(w, name)
				}
			}
			goes, stays := startGo(t, protocol, handler("goes")), startGo(t, protocol, handler("stays"))
			d := startDiscovering(t, backend, protocol, ", empty: drain", list(goes))
			done := make(chan string, 10)
			for range 3 {
				go func() { done <- get(t, d.url("/slow")) }()
			}
			for range 3 {
				<-arrived
			}
			d.replace(t, list(stays))
			d.has(t, stays)
			if got := d.each(t, 10); got["stays"] != 10 {
				t.Errorf("%s: %v have answered", protocol, got)
			}
			close(release)
			for range 3 {
				if got := <-done; got != "begun goes" {
					t.Errorf("%s: a request to an endpoint that has gone got %q", protocol, got)
				}
			}
			d.replace(t, "[]")
			d.has(t)
			if r, err := once.Get(d.url("/")); err != nil || r.StatusCode != 503 {
				t.Errorf("%s: without endpoints: %v, %v", protocol, r, err)
			} else {
				r.Body.Close()
			}
		}
	})
}

// There are more endpoints, all in all, than there was room for at first.
func TestDiscoverMany(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		m := startMany(t, 200)
		d := startDiscovering(t, backend, "http1", "", list(m.addrs[0]))
		l := startLoad(d.addr, "/", "ok", 4)
		for _, addrs := range [][]string{m.addrs[:50], m.addrs[40:200], m.addrs[:3], m.addrs} {
			d.replace(t, list(addrs...))
			d.has(t, addrs...)
		}
		if answered, failed, _ := l.stop(t); failed != 0 || answered == 0 {
			t.Errorf("of %d requests %d failed", answered+failed, failed)
		}
		c := dial(t, d.addr)
		defer c.Close()
		if n, _, _ := m.asked(t, c, 800); n != 200 {
			t.Errorf("%d of 200 endpoints have served", n)
		}
	})
}
