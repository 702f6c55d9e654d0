package kubernetes

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"

	"zproxy/config"
	"zproxy/internal/longtest"
	"zproxy/upstream/discover"
	source "zproxy/upstream/discover/kubernetes"
)

// told is a Sink that keeps what it is told.
type told struct {
	mu   sync.Mutex
	list []discover.Endpoint
	any  bool
	errs []string
}

func (s *told) Found(list []discover.Endpoint) {
	s.mu.Lock()
	s.list, s.any = list, true
	s.mu.Unlock()
}
func (s *told) Failed(err error) { s.mu.Lock(); s.errs = append(s.errs, err.Error()); s.mu.Unlock() }
func (s *told) Same()            {}

// has waits until the last list has these addresses, with "-" behind those that drain.
func (s *told) has(t *testing.T, want ...string) {
	t.Helper()
	await(t, fmt.Sprint("the endpoints are ", want), func() (bool, string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		got := []string{}
		for _, e := range s.list {
			if e.Draining {
				e.Address += "-"
			}
			got = append(got, e.Address)
		}
		slices.Sort(got)
		return s.any && slices.Equal(got, want), fmt.Sprint(got, s.errs)
	})
}

func run(t *testing.T, c *config.DiscoverKubernetes) *told {
	t.Helper()
	to := new(told)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { source.New(c).Run(ctx, to) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return to
}

// What the API server lists and streams is what the source finds: pages, changes,
// conditions, and no slices of another service.
func TestLengthySource(t *testing.T) {
	longtest.Need(t)
	c := startCluster(t)
	var want []string
	for i := range 250 { // three pages
		c.put(t, slice(fmt.Sprintf("many-%03d", i), 80, fmt.Sprintf("10.1.0.%d", i)))
		want = append(want, fmt.Sprintf("10.1.0.%d:80", i))
	}
	slices.Sort(want)
	other := slice("other", 80, "10.9.9.9")
	other.Labels[discoveryv1.LabelServiceName] = "other"
	c.put(t, other)
	to := run(t, &config.DiscoverKubernetes{Service: "app", Addresses: "any", Kubeconfig: c.kubeconfig(t)})
	to.has(t, want...)
	for i := range 250 {
		c.remove(t, fmt.Sprintf("many-%03d", i))
	}
	to.has(t)
	yes, no := true, false
	s := slice("one", 8080, "10.0.0.1", "10.0.0.2", "10.0.0.3")
	s.Endpoints[1].Conditions = discoveryv1.EndpointConditions{Ready: &no, Serving: &yes, Terminating: &yes}
	s.Endpoints[2].Conditions = discoveryv1.EndpointConditions{Ready: &no, Serving: &no, Terminating: &no}
	c.put(t, s)
	to.has(t, "10.0.0.1:8080", "10.0.0.2:8080-")
	c.put(t, slice("one", 8081, "10.0.0.1"))
	c.put(t, slice("two", 8081, "10.0.0.4"))
	to.has(t, "10.0.0.1:8081", "10.0.0.4:8081")
	six := slice("six", 8081, "2001:db8::1")
	six.AddressType = discoveryv1.AddressTypeIPv6
	c.put(t, six)
	to.has(t, "10.0.0.1:8081", "10.0.0.4:8081", "[2001:db8::1]:8081")
	if len(to.errs) > 0 {
		t.Errorf("it fails: %v", to.errs)
	}
	// Another source asks as nobody may.
	c.config.BearerToken = "wrong"
	wrong := run(t, &config.DiscoverKubernetes{Service: "app", Addresses: "any", Kubeconfig: c.kubeconfig(t)})
	await(t, "it is refused", func() (bool, string) {
		wrong.mu.Lock()
		defer wrong.mu.Unlock()
		return len(wrong.errs) > 0 && strings.Contains(wrong.errs[0], "status 401: Unauthorized"), fmt.Sprint(wrong.errs)
	})
}

// numbered is an origin that answers with its number.
func numbered(t *testing.T, n int) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.%d:0", n+1))
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, n) })}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return l.Addr().String()
}

// pods has slices of the service for addresses whose ports differ: each has one of its own.
func (c *cluster) pods(t *testing.T, all, are []string) {
	t.Helper()
	for i, addr := range all {
		host, text, _ := net.SplitHostPort(addr)
		port, _ := strconv.Atoi(text)
		if slices.Contains(are, addr) {
			c.put(t, slice(fmt.Sprint("pod-", i), int32(port), host))
		} else {
			c.put(t, slice(fmt.Sprint("pod-", i), int32(port)))
		}
	}
}

// Pods come and go in a cluster, under load: no request fails, and no other pod is asked. While there is no API server
// the last ones stay.
func TestLengthyProxy(t *testing.T) {
	longtest.Need(t)
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			c := startCluster(t)
			addrs := []string{numbered(t, 1), numbered(t, 2), numbered(t, 3)}
			c.pods(t, addrs, addrs[:2])
			p := startProxy(t, backend, fmt.Sprintf(`
listeners: [{address: ADDR}]
upstreams: {app: {discover: {kubernetes: {service: app, port_name: http, kubeconfig: %q}}}}
routes: [{path: "/*", upstream: app}]
`, c.kubeconfig(t)))
			has := func(want ...string) {
				t.Helper()
				await(t, fmt.Sprint("the endpoints are ", want), func() (bool, string) {
					var page struct {
						Discovery []struct{ Endpoints []struct{ Address string } }
					}
					text := get(t, "http://"+p.admin+"/status")
					if err := json.Unmarshal([]byte(text), &page); err != nil || len(page.Discovery) != 1 {
						t.Fatalf("%v: %s", err, text)
					}
					var got []string
					for _, e := range page.Discovery[0].Endpoints {
						got = append(got, e.Address)
					}
					slices.Sort(got)
					slices.Sort(want)
					return slices.Equal(got, want), fmt.Sprint(got, p.out.String())
				})
			}
			each := func(n int) map[string]int {
				got := map[string]int{}
				for range n {
					got[get(t, "http://"+p.addr+"/")]++
				}
				return got
			}
			has(addrs[:2]...)
			if got := each(20); got["1"]+got["2"] != 20 || got["1"] == 0 || got["2"] == 0 {
				t.Fatalf("at the start %v have answered", got)
			}
			l := load(p.addr)
			for i := range 6 {
				one, other := addrs[i%3], addrs[(i+1)%3]
				c.pods(t, addrs, []string{one, other})
				has(one, other)
				if got := each(10); got[fmt.Sprint((i+2)%3+1)] != 0 {
					t.Errorf("round %d: %v have answered", i, got)
				}
			}
			c.stop()
			await(t, "the API server is missed", func() (bool, string) {
				text := get(t, "http://"+p.admin+"/metrics")
				return strings.Contains(text, `zproxy_discovery_failures_total{upstream="app",kind="kubernetes"}`) && !strings.Contains(text, `zproxy_discovery_failures_total{upstream="app",kind="kubernetes"} 0`), p.out.String()
			})
			if got := each(10); got["3"]+got["1"] != 10 {
				t.Errorf("without an API server %v have answered", got)
			}
			if answered, failed := l(); failed != 0 || answered == 0 {
				t.Errorf("of %d requests %d failed", answered+failed, failed)
			}
		})
	}
}

// load has clients ask until the function it returns is called.
func load(addr string) func() (answered, failed int64) {
	ctx, cancel := context.WithCancel(context.Background())
	var n, bad atomic.Int64
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for ctx.Err() == nil {
				res, err := http.Get("http://" + addr + "/")
				if err != nil {
					bad.Add(1)
					time.Sleep(time.Millisecond)
					continue
				}
				res.Body.Close()
				if res.StatusCode == 200 {
					n.Add(1)
				} else {
					bad.Add(1)
				}
			}
		})
	}
	return func() (int64, int64) {
		cancel()
		clients.Wait()
		return n.Load(), bad.Load()
	}
}
