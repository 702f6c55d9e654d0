package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// Of two endpoints one answers with 503: clients see none of it but of what may not be sent
// twice, and another configuration is in force for what comes after it.
func TestRetries(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		good, bad := startMoody(t, 200), startMoody(t, 503)
		text := func(listen, retry string) string {
			return fmt.Sprintf("listeners: [{address: %s, protocols: [http1, h2c]}]\nloops: 2\nupstreams: {app: {%s, endpoints: [{address: %q}, {address: %q}]}}\nroutes: [{path: \"/*\", upstream: app}]\n",
				listen, retry, good.addr(), bad.addr())
		}
		z := start(t, backend, text("LISTEN", "retry: {on: [503]}"))
		if n := z.errors(t, 40); n != 0 || bad.served.Load() == 0 {
			t.Errorf("%d errors of 40, %d of them at the endpoint that gives them", n, bad.served.Load())
		}
		m := z.metrics(t)
		if n := m.sum("zproxy_upstream_retries_total"); n != float64(bad.served.Load()) {
			t.Errorf("%v retries, %d responses that were turned down", n, bad.served.Load())
		}
		served := good.served.Load() + bad.served.Load()
		for range 20 {
			resp, err := once.Post(z.url("/"), "text/plain", strings.NewReader("once"))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
		}
		if n := good.served.Load() + bad.served.Load() - served; n != 20 {
			t.Errorf("20 POSTs came to origins %d times", n)
		}
		if !z.reload(t, text(z.addr, "retry: {on: [500]}")) {
			t.Fatal("the configuration was not reloaded")
		}
		eventually(t, patience, "a status is passed on that is no reason any more", func() (bool, string) {
			resp, err := once.Get(z.url("/"))
			if err != nil {
				return false, err.Error()
			}
			resp.Body.Close()
			return resp.StatusCode == 503, resp.Status
		})
	})
}

// A route's requests are shared out, and those of an upstream that nobody listens for go to the
// fallback, the first one too.
func TestSplitAndFallback(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		most, some, rest := startMoody(t, 200), startMoody(t, 200), startMoody(t, 200)
		z := start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN}]
loops: 2
upstreams:
  most: {endpoints: [{address: %q}]}
  some: {endpoints: [{address: %q}]}
  gone: {endpoints: [{address: %q}]}
  rest: {endpoints: [{address: %q}]}
routes: [{path: "/*", split: [{upstream: most, weight: 50}, {upstream: some, weight: 25}, {upstream: gone, weight: 25}], fallback: rest}]
`, most.addr(), some.addr(), freeAddr(t), rest.addr()))
		if n := z.errors(t, 200); n != 0 {
			t.Errorf("%d of 200 requests failed", n)
		}
		for _, o := range []struct {
			*moodyOrigin
			want int32
		}{{most, 100}, {some, 50}, {rest, 50}} {
			if n := o.served.Load(); n < o.want-10 || n > o.want+10 {
				t.Errorf("an endpoint has got %d of 200 requests, want about %d", n, o.want)
			}
		}
		if n := z.metrics(t).sum("zproxy_upstream_fallbacks_total"); n != float64(rest.served.Load()) {
			t.Errorf("%v are said to have fallen back, %d have", n, rest.served.Load())
		}
	})
}
