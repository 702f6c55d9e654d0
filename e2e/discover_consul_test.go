package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

// consulAgent stands in for one of Consul's: it answers blocking queries for the health of one service.
type consulAgent struct {
	addr string

	mu        sync.Mutex
	server    *http.Server // nil: it does not run
	index     uint64
	changed   chan struct{}
	instances []consulInstance
	tokens    map[string]int // how often each was sent
}

type consulInstance struct {
	addr, status string
	weight       int
}

func startConsulAgent(t *testing.T) *consulAgent {
	t.Helper()
	a := &consulAgent{addr: freeAddr(t), index: 1, changed: make(chan struct{}), tokens: map[string]int{}}
	a.run(t)
	t.Cleanup(a.end)
	return a
}

// run has it be there, as before with what a test says of the instances.
func (a *consulAgent) run(t *testing.T) {
	t.Helper()
	var l net.Listener
	eventually(t, patience, "the agent's port is free", func() (ok bool, why string) {
		var err error
		if l, err = net.Listen("tcp", a.addr); err != nil {
			return false, err.Error()
		}
		return true, ""
	})
	s := &http.Server{Handler: a}
	a.mu.Lock()
	a.server, a.index = s, 1 // lower than before
	a.mu.Unlock()
	go s.Serve(l)
}

func (a *consulAgent) end() {
	a.mu.Lock()
	s := a.server
	a.server = nil
	a.mu.Unlock()
	if s != nil {
		s.Close()
	}
}

func (a *consulAgent) has(list ...consulInstance) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.instances = list
	a.index++
	close(a.changed)
	a.changed = make(chan struct{})
}

func passing(addrs ...string) (list []consulInstance) {
	for _, addr := range addrs {
		list = append(list, consulInstance{addr, "passing", 1})
	}
	return list
}

func (a *consulAgent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	index, _ := strconv.ParseUint(q.Get("index"), 10, 64)
	wait, _ := time.ParseDuration(q.Get("wait"))
	a.mu.Lock()
	a.tokens[r.Header.Get("X-Consul-Token")]++
	changed, holds := a.changed, index != 0 && index >= a.index
	a.mu.Unlock()
	if r.URL.Path != "/v1/health/service/app" {
		http.NotFound(w, r)
		return
	}
	if holds {
		select {
		case <-changed:
		case <-time.After(wait):
		case <-r.Context().Done():
			return
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	type object map[string]any
	list := []object{}
	for _, i := range a.instances {
		if q.Has("passing") && i.status != "passing" {
			continue
		}
		host, text, _ := net.SplitHostPort(i.addr)
		port, _ := strconv.Atoi(text)
		list = append(list, object{
			"Node":    object{"Node": "n1", "Address": host, "Datacenter": "dc1", "Meta": object{"rack": "r1"}},
			"Service": object{"ID": i.addr, "Service": "app", "Tags": []string{"v2"}, "Port": port, "Weights": object{"Passing": i.weight, "Warning": 1}},
			"Checks":  []object{{"CheckID": "c", "Status": i.status}},
		})
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Consul-Index", strconv.FormatUint(a.index, 10))
	w.Header().Set("X-Consul-KnownLeader", "true")
	w.Header().Set("X-Consul-LastContact", "0")
	json.NewEncoder(w).Encode(list)
}

// Instances come, go and fall ill in Consul, under load: no request fails, and no other instance is asked. While there
// is no agent, or no instance, the last ones stay.
func TestDiscoverConsul(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		addrs := []string{startNumbered(t, 0), startNumbered(t, 1), startNumbered(t, 2)}
		a := startConsulAgent(t)
		a.has(passing(addrs[:2]...)...)
		token := writeFile(t, filepath.Join(t.TempDir(), "token"), "secret\n")
		d := &discovering{zproxy: start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN}]
upstreams: {app: {discover: {consul: {service: app, url: "http://%s", token_file: %q}}}}
routes: [{path: "/*", upstream: app}]
`, a.addr, token))}
		if got := d.each(t, 20); got["0"]+got["1"] != 20 || got["0"] == 0 || got["1"] == 0 {
			t.Fatalf("at the start %v have answered", got)
		}
		l := startLoad(d.addr, "/", "ok", 4)
		for i := range 6 {
			one, other := addrs[i%3], addrs[(i+1)%3]
			a.has(passing(one, other)...)
			d.has(t, one, other)
			if got := d.each(t, 10); got[fmt.Sprint((i+2)%3)] != 0 {
				t.Errorf("round %d: %v have answered", i, got)
			}
		}
		a.has(consulInstance{addrs[0], "passing", 3}, consulInstance{addrs[1], "passing", 1}, consulInstance{addrs[2], "critical", 1})
		d.has(t, addrs[:2]...)
		if got := d.each(t, 40); got["0"] < 20 || got["1"] == 0 || got["2"] != 0 {
			t.Errorf("with weights 3 and 1 %v have answered", got)
		}
		a.end()
		d.metric(t, "zproxy_discovery_failures_total", func(v float64) bool { return v > 1 })
		d.has(t, addrs[:2]...)
		a.run(t)
		a.has(passing(addrs[2])...)
		d.has(t, addrs[2])
		a.has()
		d.metric(t, "zproxy_discovery_kept", func(v float64) bool { return v == 1 })
		d.has(t, addrs[2])
		a.has(passing(addrs...)...)
		d.has(t, addrs...)
		if answered, failed, _ := l.stop(t); failed != 0 || answered == 0 {
			t.Errorf("of %d requests %d failed", answered+failed, failed)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.tokens["secret"] == 0 || len(a.tokens) > 1 {
			t.Errorf("the tokens sent were %v", a.tokens)
		}
	})
}
