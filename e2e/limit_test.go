package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// No more requests pass than a limit lets, however they come: over connections, loops, versions and a reload.
func TestRateLimit(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		text := fmt.Sprintf(`
listeners: [{address: LISTEN, protocols: [http1, h2c]}]
upstreams: {app: {endpoints: [{address: %q}]}}
routes:
  - {path: "/*", upstream: app, filters: [{rate_limit: {name: a, requests: 10, per: 1h, burst: 10}}]}
  - {path: "/dry", upstream: app, filters: [{rate_limit: {name: b, requests: 1, per: 1h, burst: 1, dry_run: true, status: 503}}]}
`, startEchoingX(t))
		z := start(t, backend, text)
		var mu sync.Mutex
		statuses := map[int]int{}
		var all sync.WaitGroup
		for i := range 30 {
			all.Go(func() {
				client := &http.Client{Transport: new(http.Transport), Timeout: patience}
				if i%2 == 0 {
					client = h2Client()
				}
				defer client.CloseIdleConnections()
				res, err := client.Get(z.url(fmt.Sprint("/", i)))
				if err != nil {
					t.Error(err)
					return
				}
				res.Body.Close()
				mu.Lock()
				defer mu.Unlock()
				statuses[res.StatusCode]++
				if limit, policy := res.Header.Get("RateLimit"), res.Header.Get("RateLimit-Policy"); policy != `"a";q=10;w=3600` || !strings.HasPrefix(limit, `"a";r=`) {
					t.Errorf("%d: RateLimit-Policy %s, RateLimit %s", res.StatusCode, policy, limit)
				}
				if (res.Header.Get("Retry-After") != "") != (res.StatusCode == 429) {
					t.Errorf("%d: Retry-After %s", res.StatusCode, res.Header.Get("Retry-After"))
				}
			})
		}
		all.Wait()
		if statuses[200] != 10 || statuses[429] != 20 {
			t.Errorf("%v, want 10 with 200 and 20 with 429", statuses)
		}
		for range 3 {
			dial(t, z.addr).get("/dry")
		}
		z.counts(t, 2, "zproxy_filter_requests_total", `route="/dry"`, `verdict="dry_run"`)
		z.reload(t, text+"shutdown: {grace: 7s}\n")
		c := dial(t, z.addr)
		c.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if res := c.head("GET"); res.StatusCode != 429 {
			t.Errorf("after a reload that does not change it the limit has forgotten: %d", res.StatusCode)
		}
	})
}

// A request counts until it ends, whichever way.
func TestConcurrencyLimit(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		arrived, leave := make(chan bool, 100), make(chan bool)
		origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			arrived <- true
			if r.URL.Path == "/given-up" {
				<-r.Context().Done()
				return
			}
			<-leave
		}))
		t.Cleanup(origin.Close)
		z := start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN, protocols: [http1, h2c]}]
upstreams: {app: {endpoints: [{address: %q}]}}
routes: [{path: "/*", upstream: app, filters: [{concurrency_limit: {name: a, requests: 2}}]}]
limits: {half_close: end} # clients that close are gone
`, origin.Listener.Addr().String()))
		clients := []*http.Client{{Transport: new(http.Transport), Timeout: patience}, h2Client()}
		ask := func(ctx context.Context, i int, path string) chan int {
			done := make(chan int, 1)
			go func() {
				req, _ := http.NewRequestWithContext(ctx, "GET", z.url(path), nil)
				res, err := clients[i%2].Do(req)
				if err != nil {
					done <- 0
					return
				}
				res.Body.Close()
				done <- res.StatusCode
			}()
			return done
		}
		ctx := t.Context()
		for i, path := range []string{"/ends", "/given-up", "/ends"} {
			under, giveUp := context.WithCancel(ctx)
			waiting := []chan int{ask(under, i, path), ask(under, i+1, path)}
			<-arrived
			<-arrived
			for n := range 3 {
				if status := <-ask(ctx, n, path); status != 429 {
					t.Fatalf("a third request at a time: %d", status)
				}
			}
			if path == "/ends" {
				leave <- true
				leave <- true
			} else {
				giveUp()
			}
			if got := []int{<-waiting[0], <-waiting[1]}; got[0] != got[1] || (got[0] == 200) != (path == "/ends") {
				t.Errorf("%s: %v", path, got)
			}
			giveUp()
			eventually(t, patience, "there is room again", func() (bool, string) {
				next := ask(ctx, i, "/ends")
				select {
				case <-arrived:
					leave <- true
					return <-next == 200, ""
				case status := <-next:
					return false, fmt.Sprint(status)
				}
			})
		}
		for _, c := range clients {
			c.CloseIdleConnections()
		}
	})
}
