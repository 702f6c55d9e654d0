package upstream

import (
	"strings"
	"testing"
	"time"
)

// outliers is outage with the usual settings, and n endpoints.
func outliers(t *testing.T, n int) (*Cluster, *Pool, int64) {
	return outage(t, Config{
		Queue: 9, QueueTimeout: time.Second, MaxIdle: 9,
		Outlier: Outlier{Errors: 5, Ejection: 30 * time.Second, Longest: 300 * time.Second, MaxPercent: 10, Panic: 50},
	}, n)
}

// Five errors in a row eject, on whatever loop each was; a good response in between begins
// anew, and requests without a response are errors as well.
func TestErrorsInARowEject(t *testing.T) {
	cfg := Config{Endpoints: endpoints(1, 1, 1), Outlier: Outlier{Errors: 5, Ejection: time.Second, Longest: time.Minute, MaxPercent: 10}}
	c := mustCluster(t, cfg, 64)
	for loop := range 4 {
		c.ServerError(1, 0)
		c.Pool(loop).ResponseOK(1, 1)
	}
	c.Pool(9).ResponseOK(1, 0)
	for range 2 {
		c.ServerError(1, 0)
	}
	for loop := range 2 {
		c.Pool(20+loop).ResponseFailed(1, 0)
	}
	if c.eps[0].Ejected() || c.ill.Load() != 0 {
		t.Fatal("ejected after four in a row")
	}
	c.ServerError(1, 0)
	if up, why := c.eps[0].State(1); up || why != "ejected for errors in a row, 1s left" || !c.eps[0].Failing() || c.Ejected() != 1 {
		t.Errorf("state %v %q, %d ejected", up, why, c.Ejected())
	}
	for range 9 {
		if d := c.Pool(3).Acquire(1, 1, 0, 0); d.Kind != Dial || d.Endpoint == 0 {
			t.Fatalf("got %+v", d)
		}
	}
}

// Without the settings statuses mean nothing.
func TestServerErrorsAlone(t *testing.T) {
	c, p, now := outage(t, Config{FailResponses: 3}, 1)
	for range 2 {
		p.ResponseFailed(now, 0)
	}
	c.ServerError(now, 0)
	p.ResponseFailed(now, 0)
	if c.ill.Load() != 0 || c.panics() {
		t.Error("down after failures that were not in a row")
	}
}

// Each ejection in a row is longer, none too long, and time without one makes up for it.
func TestEjectionsGrow(t *testing.T) {
	c, _, now := outliers(t, 3)
	e := c.eps[0]
	eject := func(want time.Duration) {
		t.Helper()
		for range 5 {
			c.ServerError(now, 0)
		}
		if got := time.Duration(e.ejection.until.Load() - now); got != want {
			t.Fatalf("ejection %d lasts %v, expected %v", e.Ejections(), got, want)
		}
		c.Readmit(now + int64(want) - 1)
		if !e.Ejected() {
			t.Fatal("back early")
		}
		now += int64(want)
		c.Readmit(now)
		if up, why := e.State(now); !up || e.Ejected() || c.Ejected() != 0 || c.ill.Load() != 0 {
			t.Fatalf("not back: %s", why)
		}
	}
	for n := range time.Duration(12) {
		eject(min((n+1)*30, 300) * time.Second)
	}
	now += int64(9 * 30 * time.Second)
	eject(120 * time.Second)
	now += int64(time.Hour)
	eject(30 * time.Second)
}

// One in ten may be out, and one of a few.
func TestEjectionsAreBounded(t *testing.T) {
	for _, tt := range []struct{ endpoints, most int }{{2, 1}, {19, 1}, {20, 2}, {1000, 100}} {
		c, p, now := outliers(t, tt.endpoints)
		for ep := range tt.endpoints {
			for range 8 {
				c.ServerError(now, ep)
			}
		}
		if c.Ejected() != tt.most || int(c.ill.Load()) != tt.most {
			t.Errorf("%d of %d are ejected, expected %d", c.Ejected(), tt.endpoints, tt.most)
		}
		// Who gives no response and may not be ejected is down as ever.
		for range 5 {
			p.ResponseFailed(now, tt.endpoints-1)
		}
		if up, why := c.eps[tt.endpoints-1].State(now); up || !strings.Contains(why, "responses failed") {
			t.Errorf("state %v %q", up, why)
		}
		c.Readmit(now + int64(time.Hour))
		if c.Ejected() != 0 {
			t.Errorf("%d are still out", c.Ejected())
		}
	}
}

func TestACheckEndsAnEjection(t *testing.T) {
	c, _, now := outliers(t, 3)
	for range 5 {
		c.ServerError(now, 0)
	}
	checked(c, 0, c.eps[0].Address)
	c.Readmit(now + int64(time.Minute))
	if up, why := c.eps[0].State(now); up || !strings.HasPrefix(why, "health check") {
		t.Errorf("state %v %q: the checks still hold it", up, why)
	}
	checked(c, 0)
	for range 5 {
		c.ServerError(now, 0)
	}
	c.CheckPassed(0, c.eps[0].Address)
	if c.eps[0].Ejected() || c.Ejected() != 0 || c.ill.Load() != 0 {
		t.Error("still ejected")
	}
}

// With fewer than half of the endpoints up, all but those that cannot be connected to get
// requests.
func TestPanic(t *testing.T) {
	for _, n := range []int{4, 80} {
		c, p, now := outliers(t, n)
		got := func() map[int]int {
			seen := map[int]int{}
			for range 40 * n {
				d := p.Acquire(now, 1, 0, 0)
				if d.Kind != Dial {
					t.Fatalf("got %+v", d)
				}
				seen[d.Endpoint]++
				p.Closed(d.Endpoint)
			}
			return seen
		}
		for range 5 {
			c.ServerError(now, 0)
		}
		for ep := 1; ep < n/2; ep++ {
			checked(c, ep, c.eps[ep].Address)
		}
		if seen := got(); len(seen) != n/2 || seen[0] != 0 {
			t.Errorf("%d endpoints have requests with half of %d up", len(seen), n)
		}
		p.DialFailed(now, n-1)
		c.eps[n-1].open.Store(0)
		if seen := got(); len(seen) != n-1 || seen[n-1] != 0 || seen[0] == 0 || seen[1] == 0 {
			t.Errorf("%d endpoints have requests in panic", len(seen))
		}
		// What it has tried a request does not try again.
		var tried Tried
		for range n {
			d := p.Acquire(now, 1, tried, 0)
			if d.Kind == Refuse {
				break
			}
			if c.hasTried(tried, d.Endpoint) {
				t.Fatalf("endpoint %d is tried again", d.Endpoint)
			}
			tried = c.AddTried(tried, d.Endpoint)
			p.Closed(d.Endpoint)
		}
		if d := p.Acquire(now, 1, tried, 0); d.Kind != Refuse || d.Reason != NoEndpoint {
			t.Errorf("got %+v after all were tried", d)
		}
	}
}

// In panic requests wait for a connection as ever.
func TestPanicWaits(t *testing.T) {
	c, p, now := outage(t, Config{
		Queue: 9, QueueTimeout: time.Second, MaxIdle: 9, MaxConnections: 1,
		Outlier: Outlier{Errors: 1, Ejection: time.Minute, Longest: time.Minute, Panic: 50},
	}, 1)
	if d := p.Acquire(now, 1, 0, 0); d.Kind != Dial {
		t.Fatalf("got %+v", d)
	}
	c.ServerError(now, 0)
	if d := p.Acquire(now, 2, 0, 0); d.Kind != Wait {
		t.Fatalf("got %+v, expected wait", d)
	}
	if _, ok := p.NextWaiter(now); ok {
		t.Fatal("a waiter is named, and there is nothing for it")
	}
	p.Put(now, 7, 0)
	if w, ok := p.NextWaiter(now); !ok || w != 2 {
		t.Fatal("no waiter is named")
	}
	if d := p.Acquire(now, 2, 0, 0); d.Kind != Reuse {
		t.Errorf("got %+v, expected the connection", d)
	}
}
