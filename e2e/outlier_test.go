package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// moodyOrigin answers with the status that it is told to.
type moodyOrigin struct {
	*httptest.Server
	status atomic.Int32
	served atomic.Int32
}

func startMoody(t *testing.T, status int32) *moodyOrigin {
	t.Helper()
	o := new(moodyOrigin)
	o.status.Store(status)
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.served.Add(1)
		w.WriteHeader(int(o.status.Load()))
	}))
	t.Cleanup(o.Close)
	return o
}

func (o *moodyOrigin) addr() string { return o.Listener.Addr().String() }

// startOutliers runs a proxy in front of them.
func startOutliers(t *testing.T, backend, settings string, origins ...*moodyOrigin) *zproxy {
	t.Helper()
	var ends []string
	for _, o := range origins {
		ends = append(ends, fmt.Sprintf("{address: %q}", o.addr()))
	}
	return start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN}]
loops: 2
upstreams: {app: {outlier_detection: {%s}, endpoints: [%s]}}
routes: [{path: "/*", upstream: app}]
`, settings, strings.Join(ends, ", ")))
}

// errors sends requests one after the other, each on a connection of its own, and so on any
// loop, and counts the responses that are errors.
func (z *zproxy) errors(t *testing.T, n int) (bad int) {
	t.Helper()
	for range n {
		resp, err := once.Get(z.url("/"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode >= 500 {
			bad++
		}
	}
	return bad
}

// Of an endpoint that answers with errors clients see as many as it takes, on all loops
// together, until its time is over.
func TestOutlierIsEjected(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		good, other, bad := startMoody(t, 200), startMoody(t, 404), startMoody(t, 503)
		z := startOutliers(t, backend, "base_ejection_time: 1h", good, other, bad)
		if n := z.errors(t, 60); n != 5 || bad.served.Load() != 5 {
			t.Errorf("%d errors, and %d requests at the endpoint that gives them, expected 5", n, bad.served.Load())
		}
		z.counts(t, 0, "zproxy_endpoint_up", bad.addr())
		z.counts(t, 1, "zproxy_endpoint_ejections_total")
		eventually(t, patience, "the log has the ejection", func() (bool, string) {
			return z.says("endpoint is down", "endpoint="+bad.addr(), "ejected for errors in a row"), z.out.String()
		})
		eventually(t, patience, "/status says so, too", func() (bool, string) {
			page := string(z.page(t, "/status"))
			return strings.Contains(page, "ejected for errors in a row"), page
		})
		// No more than one of three may be out.
		good.status.Store(500)
		if n := z.errors(t, 60); n < 25 || good.served.Load() < 25 {
			t.Errorf("%d errors, of an endpoint that may not be ejected", n)
		}
	})
}

// It comes back by itself.
func TestOutlierIsBack(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		good, bad := startMoody(t, 200), startMoody(t, 500)
		z := startOutliers(t, backend, "base_ejection_time: 100ms, consecutive_5xx: 2", good, bad)
		eventually(t, patience, "it is ejected several times", func() (bool, string) {
			z.errors(t, 4)
			n := z.metrics(t).sum("zproxy_endpoint_ejections_total", bad.addr())
			return n >= 3, fmt.Sprintf("%v ejections", n)
		})
		bad.status.Store(200)
		eventually(t, patience, "it serves, and the log says so", func() (bool, string) {
			before := bad.served.Load()
			n := z.errors(t, 4)
			return n == 0 && bad.served.Load() > before && z.says("endpoint is back", "endpoint="+bad.addr()), z.out.String()
		})
	})
}

// With too few endpoints left all of them serve.
func TestOutliersInPanic(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		for _, tt := range []struct {
			panic  string
			errors bool
		}{{"panic_threshold: 0", false}, {"panic_threshold: 50", true}} {
			origins := []*moodyOrigin{startMoody(t, 200), startMoody(t, 500), startMoody(t, 500)}
			z := startOutliers(t, backend, "base_ejection_time: 1h, max_ejection_percent: 100, "+tt.panic, origins...)
			eventually(t, patience, "two are ejected", func() (bool, string) {
				z.errors(t, 6)
				n := z.metrics(t).sum("zproxy_endpoint_ejections_total")
				return n == 2, fmt.Sprintf("%v ejections", n)
			})
			if n := z.errors(t, 90); (n > 0) != tt.errors {
				t.Errorf("%s: %d errors of 90", tt.panic, n)
			}
		}
	})
}
