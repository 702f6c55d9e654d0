package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
)

// apiServer stands in for Kubernetes': it has the EndpointSlices of one service, a slice for each endpoint.
type apiServer struct {
	addr string

	mu      sync.Mutex
	server  *http.Server // nil: it does not run
	version int
	oldest  int // what happened before is forgotten
	ready   map[string]bool
	events  []string // of versions 1, 2, ...
	changed chan struct{}
}

func startAPIServer(t *testing.T) *apiServer {
	t.Helper()
	a := &apiServer{addr: freeAddr(t), ready: map[string]bool{}, changed: make(chan struct{})}
	a.run(t)
	t.Cleanup(a.end)
	return a
}

func (a *apiServer) run(t *testing.T) {
	t.Helper()
	var l net.Listener
	eventually(t, patience, "the API server's port is free", func() (ok bool, why string) {
		var err error
		if l, err = net.Listen("tcp", a.addr); err != nil {
			return false, err.Error()
		}
		return true, ""
	})
	s := &http.Server{Handler: a}
	a.mu.Lock()
	a.server = s
	a.mu.Unlock()
	go s.Serve(l)
}

func (a *apiServer) end() {
	a.mu.Lock()
	s := a.server
	a.server = nil
	a.mu.Unlock()
	if s != nil {
		s.Close()
	}
}

func (a *apiServer) slice(addr string) string {
	host, text, _ := net.SplitHostPort(addr)
	port, _ := strconv.Atoi(text)
	type object map[string]any
	out, _ := json.Marshal(object{
		"metadata": object{"name": "of-" + text, "resourceVersion": strconv.Itoa(a.version)}, "addressType": "IPv4",
		"ports":     []object{{"name": "http", "port": port, "protocol": "TCP"}},
		"endpoints": []object{{"addresses": []string{host}, "conditions": object{"ready": a.ready[addr], "serving": a.ready[addr], "terminating": false}}},
	})
	return string(out)
}

// has makes these endpoints ready, and no others.
func (a *apiServer) has(addrs ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, addr := range addrs {
		if _, known := a.ready[addr]; !known {
			a.ready[addr] = false
		}
	}
	for addr, was := range a.ready {
		if is := slices.Contains(addrs, addr); is != was {
			a.version++
			a.ready[addr] = is
			a.events = append(a.events, `{"type": "MODIFIED", "object": `+a.slice(addr)+`}`)
		}
	}
	close(a.changed)
	a.changed = make(chan struct{})
}

// forgets has it know no version before now.
func (a *apiServer) forgets() { a.mu.Lock(); a.oldest = a.version; a.mu.Unlock() }

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	w.Header().Set("Content-Type", "application/json")
	if r.Header.Get("Authorization") != "Bearer secret" || r.URL.Path != "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices" {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"kind": "Status", "code": 403, "message": "forbidden"}`)
		return
	}
	a.mu.Lock()
	if !q.Has("watch") {
		defer a.mu.Unlock()
		items := ""
		for addr := range a.ready {
			items += "," + a.slice(addr)
		}
		fmt.Fprintf(w, `{"kind": "EndpointSliceList", "metadata": {"resourceVersion": "%d"}, "items": [%s]}`, a.version, items[min(1, len(items)):])
		return
	}
	at, _ := strconv.Atoi(q.Get("resourceVersion"))
	if gone := at < a.oldest; gone {
		a.mu.Unlock()
		w.WriteHeader(http.StatusGone)
		fmt.Fprint(w, `{"kind": "Status", "code": 410, "message": "too old resource version"}`)
		return
	}
	for {
		news, changed := a.events[at:], a.changed
		at = len(a.events)
		a.mu.Unlock()
		for _, e := range news {
			fmt.Fprintln(w, e)
		}
		w.(http.Flusher).Flush()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
		a.mu.Lock()
	}
}

// Pods become ready and cease to be, under load: no request fails, and no other pod is asked. While there is no API server the
// last ones stay; what has changed meanwhile is found, whether it still knows or not.
func TestDiscoverKubernetes(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		addrs := []string{startNumbered(t, 0), startNumbered(t, 1), startNumbered(t, 2)}
		a := startAPIServer(t)
		a.has(addrs[:2]...)
		kubeconfig := writeFile(t, filepath.Join(t.TempDir(), "kubeconfig"), fmt.Sprintf(`
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "http://%s"}}]
users: [{name: u, user: {token: secret}}]
contexts: [{name: x, context: {cluster: c, user: u, namespace: shop}}]
current-context: x
`, a.addr))
		d := &discovering{zproxy: start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN}]
upstreams: {app: {discover: {kubernetes: {service: app, port_name: http, kubeconfig: %q}}}}
routes: [{path: "/*", upstream: app}]
`, kubeconfig))}
		if got := d.each(t, 20); got["0"]+got["1"] != 20 || got["0"] == 0 || got["1"] == 0 {
			t.Fatalf("at the start %v have answered", got)
		}
		l := startLoad(d.addr, "/", "ok", 4)
		for i := range 6 {
			one, other := addrs[i%3], addrs[(i+1)%3]
			a.has(one, other)
			d.has(t, one, other)
			if got := d.each(t, 10); got[fmt.Sprint((i+2)%3)] != 0 {
				t.Errorf("round %d: %v have answered", i, got)
			}
		}
		for _, forgets := range []bool{false, true} {
			was := d.metrics(t).sum("zproxy_discovery_failures_total")
			a.end()
			d.metric(t, "zproxy_discovery_failures_total", func(v float64) bool { return v > was })
			d.has(t, addrs[2], addrs[0])
			a.has(addrs[1])
			if forgets {
				a.forgets()
			}
			a.run(t)
			d.has(t, addrs[1])
			a.has(addrs[2], addrs[0])
			d.has(t, addrs[2], addrs[0])
		}
		a.has()
		d.metric(t, "zproxy_discovery_kept", func(v float64) bool { return v == 1 })
		d.has(t, addrs[2], addrs[0])
		a.has(addrs...)
		d.has(t, addrs...)
		if answered, failed, _ := l.stop(t); failed != 0 || answered == 0 {
			t.Errorf("of %d requests %d failed", answered+failed, failed)
		}
	})
}
