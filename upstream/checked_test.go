package upstream

import (
	"strings"
	"sync"
	"testing"
	"time"
)

// checked tells c that those addresses of ep are down that are listed.
func checked(c *Cluster, ep int, down ...string) {
	why := "connection refused"
	c.Checked(ep, func(addr string) bool {
		for _, d := range down {
			if d == addr {
				return true
			}
		}
		return false
	}, &why)
}

// Requests leave alone what checks have found down, whatever becomes of other requests
// to it, and have it again as soon as checks say so.
func TestChecksHoldAnEndpoint(t *testing.T) {
	c, p, now := outage(t, Config{Queue: 9, QueueTimeout: time.Second, MaxIdle: 9}, 2)
	bad := c.eps[0].Address
	if d := p.Acquire(now, 1, 1<<1, 0); d.Kind != Dial || d.Endpoint != 0 {
		t.Fatalf("got %+v, expected to dial the first", d)
	}
	checked(c, 0, bad)
	if up, why := c.eps[0].State(now); up || why != "health check: connection refused" || c.eps[0].Failing() || !c.eps[0].Down(now) {
		t.Errorf("state %v %q, failing %v", up, why, c.eps[0].Failing())
	}
	p.DialOK(now, 0)
	p.ResponseOK(now, 0)
	p.ResponseFailed(now, 0)
	p.DialFailed(now, 0)
	c.CheckPassed(0, bad) // of before
	for later := range int64(3) {
		for w := range uint32(4) {
			if d := p.Acquire(now+later*int64(time.Hour), w+1, 0, 0); d.Kind != Dial || d.Endpoint != 1 {
				t.Fatalf("got %+v, expected to dial the second", d)
			}
		}
	}
	checked(c, 0)
	if up, why := c.eps[0].State(now); !up || why != "" || c.ill.Load() != 0 {
		t.Errorf("state %v %q, %d ill", up, why, c.ill.Load())
	}
}

// No endpoint but those that checks have found down: nothing is tried, and nobody waits.
func TestChecksHoldAll(t *testing.T) {
	c, p, now := outage(t, Config{Queue: 9, QueueTimeout: time.Second, MaxIdle: 9}, 2)
	if d := p.Acquire(now, 1, 1<<1, 0); d.Kind != Dial || !p.PutAddr(now, 7, 0, c.eps[0].Set().Keys[0]) {
		t.Fatal("no idle connection")
	}
	for ep, e := range c.eps {
		checked(c, ep, e.Address)
	}
	if d := p.Acquire(now, 2, 0, 0); d.Kind != Refuse || d.Reason != NoEndpoint {
		t.Errorf("got %+v, expected no endpoint", d)
	}
	if out := p.Expire(now, nil); len(out) != 1 || out[0] != 7 {
		t.Errorf("%v expire, expected the idle connection to what is down", out)
	}
	p.Closed(0)
	// One fails for requests as well: these two wait for its back-off, not for checks.
	checked(c, 1)
	p.Acquire(now, 3, 0, 0)
	p.DialFailed(now, 1)
	if d := p.Acquire(now, 4, 0, 0); d.Kind != Wait {
		t.Fatalf("got %+v, expected wait", d)
	}
	checked(c, 1, c.eps[1].Address)
	if _, ok := p.NextWaiter(now + int64(time.Minute)); ok {
		t.Error("a waiter is named for what checks have found down")
	}
	if due := p.NextDue(now); due == 0 || due > now+100*ms {
		t.Errorf("next due after %v, expected soon", time.Duration(due-now))
	}
	checked(c, 0)
	if w, ok := p.NextWaiter(now + 50*ms); !ok || w != 4 {
		t.Errorf("waiter %d named %v when an endpoint is up again", w, ok)
	}
}

// An address that is down is left alone, and the others of its name are not.
func TestChecksAvoidAnAddress(t *testing.T) {
	c := mustCluster(t, Config{Endpoints: []EndpointConfig{{Address: "name.test:80"}}, MaxIdle: 9, FailBackoffMax: time.Second}, 1)
	p, now := c.Pool(0), int64(time.Hour)
	checked(c, 0, "10.0.0.1:80") // which it has not yet
	c.Resolved(0, []string{"10.0.0.1:80", "10.0.0.2:80"})
	set := c.eps[0].Set()
	p.Acquire(now, 1, 0, 0)
	checked(c, 0, "10.0.0.1:80")
	if p.PutAddr(now, 1, 0, set.Keys[0]) {
		t.Error("a connection to what is down is kept")
	}
	p.Closed(0)
	p.Acquire(now, 1, 0, 0)
	p.DialFailedAt(now, 0, set.Keys[0]) // a dial that was under way: no news
	for range 4 {
		if _, i := p.Address(now+int64(time.Hour), 0); i != 1 {
			t.Fatal("the address that is down is dialled")
		}
	}
	c.Resolved(0, []string{"10.0.0.1:80", "10.0.0.3:80"})
	set = c.eps[0].Set()
	if set.Serves(set.Keys[0]) || !set.Has(set.Keys[0]) || !set.Serves(set.Keys[1]) {
		t.Error("another answer of the name server makes it up")
	}
	checked(c, 0, "10.0.0.1:80", "10.0.0.3:80")
	if up, _ := c.eps[0].State(now); up {
		t.Error("up with no address that is")
	}
	c.Resolved(0, []string{"10.0.0.4:80"})
	checked(c, 0)
	if up, why := c.eps[0].State(now); !up {
		t.Errorf("down with a new address: %s", why)
	}
}

// A good check ends what requests have found.
func TestACheckEndsAnOutage(t *testing.T) {
	c, p, now := outage(t, Config{FailResponses: 2}, 1)
	addr := c.eps[0].Address
	for range 2 {
		p.Acquire(now, 1, 0, 0)
		p.ResponseFailed(now, 0)
		p.Closed(0)
	}
	if up, why := c.eps[0].State(now); up || !strings.Contains(why, "responses failed") {
		t.Fatalf("state %v %q", up, why)
	}
	c.CheckPassed(0, addr)
	if up, _ := c.eps[0].State(now); !up || c.ill.Load() != 0 {
		t.Errorf("still down, %d ill", c.ill.Load())
	}
	p.Acquire(now, 1, 0, 0)
	if p.ResponseFailed(now, 0); c.ill.Load() != 0 {
		t.Error("failures before the check count on")
	}
}

// Whoever comes last decides, and what is counted is right, when checks, names and
// requests change an endpoint at once.
func TestHoldsFromAllSides(t *testing.T) {
	c, _, now := outage(t, Config{}, 1)
	h := &c.eps[0].health
	var all sync.WaitGroup
	for _, side := range []func(){
		func() { h.hold(holdChecks); h.unhold(holdChecks) },
		func() { h.hold(holdNoAddress); h.unhold(holdNoAddress) },
		func() { h.fail(now, 0, 1, 1, 0); h.connected() },
		func() { h.recovered() },
	} {
		all.Go(func() {
			for range 20_000 {
				side()
			}
		})
	}
	all.Wait()
	h.recovered()
	if h.word.Load() != 0 || h.holds.Load() != 0 || c.ill.Load() != 0 {
		t.Errorf("word %x, holds %x, %d ill", h.word.Load(), h.holds.Load(), c.ill.Load())
	}
}

// Where it is asked for, no address gets a request before it has passed a check.
func TestChecksComeFirst(t *testing.T) {
	c := mustCluster(t, Config{Endpoints: []EndpointConfig{{Address: "10.0.0.9:80"}, {Address: "name.test:80"}}, CheckFirst: true}, 1)
	p, now := c.Pool(0), int64(time.Hour)
	c.Resolved(1, []string{"10.0.0.1:80"})
	if d := p.Acquire(now, 1, 0, 0); d.Kind != Refuse || d.Reason != NoEndpoint {
		t.Errorf("got %+v before any check", d)
	}
	if up, why := c.eps[0].State(now); up || why != "health check: none has been made yet" {
		t.Errorf("state %v %q", up, why)
	}
	checked(c, 1)
	for range 3 {
		if d := p.Acquire(now, 1, 0, 0); d.Kind != Dial || d.Endpoint != 1 {
			t.Fatalf("got %+v, expected the one that was checked", d)
		}
	}
	c.Resolved(1, []string{"10.0.0.1:80", "10.0.0.2:80"})
	for range 3 {
		if set, i := p.Address(now, 1); set.Addrs[i] != "10.0.0.1:80" {
			t.Fatal("an address is dialled before its check")
		}
	}
	c.Resolved(1, []string{"10.0.0.2:80"})
	if up, _ := c.eps[1].State(now); up {
		t.Error("up with an address that was not checked")
	}
	checked(c, 1)
	if up, why := c.eps[1].State(now); !up {
		t.Errorf("down after the check: %s", why)
	}
}
