package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// narrowOrigin serves few requests at a time, each for a while, and has the others wait.
type narrowOrigin struct {
	*httptest.Server
	slots chan struct{}
}

func startNarrow(t *testing.T, atATime int, each time.Duration) *narrowOrigin {
	t.Helper()
	o := &narrowOrigin{slots: make(chan struct{}, atATime)}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.slots <- struct{}{}
		time.Sleep(each)
		<-o.slots
	}))
	t.Cleanup(o.Close)
	return o
}

// crowd is clients that ask for one path, each again as soon as it is answered, or a little later where it was refused.
type crowd struct {
	served, shed, wrong atomic.Int64
	slowNs              atomic.Int64 // the sum of the times of those that were served
	stop                chan struct{}
	client              *http.Client
	all                 sync.WaitGroup
}

func (z *zproxy) crowd(t *testing.T, path string, clients int) *crowd {
	c := &crowd{stop: make(chan struct{}), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}, Timeout: patience}}
	for range clients {
		c.all.Add(1)
		go func() {
			defer c.all.Done()
			for {
				select {
				case <-c.stop:
					return
				default:
				}
				began := time.Now()
				resp, err := c.client.Get(z.url(path))
				if err != nil {
					c.wrong.Add(1)
					continue
				}
				resp.Body.Close()
				switch {
				case resp.StatusCode == 200:
					c.served.Add(1)
					c.slowNs.Add(int64(time.Since(began)))
				case resp.StatusCode == 503 && resp.Header.Get("Retry-After") == "1":
					c.shed.Add(1)
					time.Sleep(20 * time.Millisecond)
				default:
					c.wrong.Add(1)
				}
			}
		}()
	}
	t.Cleanup(c.end)
	return c
}

func (c *crowd) end() {
	select {
	case <-c.stop:
	default:
		close(c.stop)
	}
	c.all.Wait()
	c.client.CloseIdleConnections()
}

// reset counts anew.
func (c *crowd) reset() {
	c.served.Store(0)
	c.shed.Store(0)
	c.slowNs.Store(0)
}

func (c *crowd) mean() time.Duration {
	return time.Duration(c.slowNs.Load() / max(1, c.served.Load()))
}

// Clients of whom an origin could serve one in eight at a time: with adaptive_concurrency it answers about as fast as it
// can, those that matter are served, and the others are told to come back; without it all wait for their turn.
func TestAdaptiveConcurrency(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		const each = 50 * time.Millisecond
		var means []time.Duration
		for _, settings := range []string{"adaptive_concurrency: {window: 200ms}, ", ""} {
			o := startNarrow(t, 8, each)
			z := start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN}]
loops: 2
upstreams: {app: {%sendpoints: [{address: %q}]}}
routes: [{path: "/high", upstream: app, priority: high}, {path: "/low", upstream: app, priority: low}]
`, settings, o.Listener.Addr().String()))
			high, low := z.crowd(t, "/high", 4), z.crowd(t, "/low", 60)
			if settings != "" {
				eventually(t, patience, "the limit comes down to what the origin can do", func() (bool, string) {
					limit := z.metrics(t).sum("zproxy_concurrency_limit", "app")
					return limit >= 3 && limit <= 20 && low.shed.Load() > 0, fmt.Sprint(limit)
				})
			}
			high.reset()
			low.reset()
			eventually(t, patience, "many requests have been served", func() (bool, string) {
				few := int64(20) // without the limit they wait
				if settings != "" {
					few = 150
				}
				return high.served.Load() >= few && low.served.Load() >= 100, fmt.Sprint(high.served.Load(), low.served.Load())
			})
			high.end()
			low.end()
			if n := high.wrong.Load() + low.wrong.Load(); n > 0 {
				t.Errorf("%d requests were answered otherwise", n)
			}
			means = append(means, high.mean())
			if settings == "" {
				if n := low.shed.Load() + high.shed.Load(); n > 0 {
					t.Errorf("%d requests were shed without a limit", n)
				}
				continue
			}
			if h, l := high.shed.Load(), low.shed.Load(); h > high.served.Load()/4 || l < low.served.Load()/2 { // the least latency is measured often at first
				t.Errorf("shed %d of the important and served %d, shed %d of the others and served %d", h, high.served.Load(), l, low.served.Load())
			}
			m := z.metrics(t)
			for _, name := range [][]string{{"zproxy_concurrency_shed_total", `priority="5"`}, {"zproxy_concurrency_samples_total"}, {"zproxy_concurrency_least_latency_seconds"}} {
				if v := m.sum(name[0], name[1:]...); v <= 0 {
					t.Errorf("%s is %v", name, v)
				}
			}
			if status := string(z.page(t, "/status")); !strings.Contains(status, `"least_latency_us"`) {
				t.Errorf("/status does not have the limit: %s", status)
			}
		}
		t.Logf("an important request took %v, without the limit %v", means[0], means[1])
		if means[0]*3/2 > means[1] {
			t.Errorf("an important request took %v, without the limit %v", means[0], means[1])
		}
	})
}
