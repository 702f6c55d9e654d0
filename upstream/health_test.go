package upstream

import (
	"strings"
	"testing"
	"time"
)

const ms = int64(time.Millisecond)

// outage is a one-loop cluster of n endpoints, at the time t0.
func outage(t *testing.T, cfg Config, n int) (*Cluster, *Pool, int64) {
	weights := make([]int, n)
	cfg.Endpoints = endpoints(weights...)
	cfg.FailBackoff, cfg.FailBackoffMax = 100*time.Millisecond, time.Second
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 2 * time.Second
	}
	c := mustCluster(t, cfg, 1)
	return c, c.Pool(0), int64(time.Hour)
}

func TestBackoffDoublesAndEnds(t *testing.T) {
	c, p, now := outage(t, Config{Queue: 4, QueueTimeout: time.Hour}, 1)
	e := c.eps[0]
	for i, base := range []int64{100, 200, 400, 800, 1000, 1000, 1000} {
		d := p.Acquire(now, 1, 0, 0)
		if d.Kind != Dial {
			t.Fatalf("failure %d: got %v, expected a probe", i, d)
		}
		p.DialFailed(now, 0)
		if e.Open() != 0 {
			t.Fatalf("%d open after a failed dial", e.Open())
		}
		wait := untilNs(e.health.word.Load()) - now
		if wait < base*ms || wait > base*ms*5/4+1000 {
			t.Fatalf("failure %d: back-off %v, expected %d ms and up to a quarter more", i+1, time.Duration(wait), base)
		}
		if !e.Down(now+wait-1000) || e.Down(now+wait) {
			t.Fatalf("down %v before the end, %v at the end", e.Down(now+wait-1000), e.Down(now+wait))
		}
		if up, why := e.State(now); up || !strings.Contains(why, "connecting failed") || !strings.Contains(why, "next try in") {
			t.Fatalf("state %v %q", up, why)
		}
		now += wait
	}
	p.Acquire(now, 1, 0, 0)
	p.DialOK(now, 0)
	if up, why := e.State(now); !up || why != "" {
		t.Errorf("state %v %q after a successful dial", up, why)
	}
	p.DialFailed(now, 0)
	if wait := untilNs(e.health.word.Load()) - now; wait > 126*ms {
		t.Errorf("back-off %v after a recovery, expected the first one", time.Duration(wait))
	}
}

func TestABurstOfFailuresIsOne(t *testing.T) {
	c, p, now := outage(t, Config{}, 2)
	for range 20 {
		p.Acquire(now, 1, 1<<1, 0)
	}
	for range 20 {
		p.DialFailed(now, 0)
	}
	if fails := c.eps[0].health.word.Load() & healthFails; fails != 1 {
		t.Errorf("%d failures counted, expected 1", fails)
	}
}

func TestOneProberAtATime(t *testing.T) {
	c, p, now := outage(t, Config{Queue: 9, QueueTimeout: time.Hour}, 1)
	p.Acquire(now, 1, 0, 0)
	p.DialFailed(now, 0)
	if d := p.Acquire(now+50*ms, 1, 0, 0); d.Kind != Wait {
		t.Fatalf("got %v during the back-off, expected wait", d)
	}
	if _, ok := p.NextWaiter(now + 50*ms); ok {
		t.Fatal("a waiter is named during the back-off")
	}
	due := p.NextDue(now + 50*ms)
	if due < now+100*ms || due > now+126*ms {
		t.Fatalf("next due after %v, expected the end of the back-off", time.Duration(due-now))
	}
	if w, ok := p.NextWaiter(due); !ok || w != 1 {
		t.Fatal("no waiter is named at the end of the back-off")
	}
	if d := p.Acquire(due, 1, 0, 0); d.Kind != Dial {
		t.Fatalf("got %v, expected the probe", d)
	}
	for w := range uint32(3) {
		if d := p.Acquire(due, w+2, 0, 0); d.Kind != Wait {
			t.Fatalf("got %v beside the probe, expected wait", d)
		}
	}
	// A prober that never tells is replaced when a dial would have timed out.
	if _, ok := p.NextWaiter(due + int64(time.Second)); ok {
		t.Fatal("a second prober while the first may still succeed")
	}
	p.DialOK(due, 0)
	for w := range uint32(3) {
		if got, ok := p.NextWaiter(due); !ok || got != w+2 {
			t.Fatalf("waiter %d named %v, expected %d after the recovery", got, ok, w+2)
		}
		if d := p.Acquire(due, w+2, 0, 0); d.Kind != Dial {
			t.Fatalf("got %v after the recovery", d)
		}
	}
	c.Pool(0).DialFailed(due, 0)
	due = untilNs(c.eps[0].health.word.Load())
	p.Acquire(due, 9, 0, 0) // claims, and is never heard of again
	if d := p.Acquire(due+int64(2*time.Second), 10, 0, 0); d.Kind != Dial {
		t.Errorf("got %v when the lost prober's time is over, expected dial", d)
	}
}

func TestPanicRouting(t *testing.T) {
	_, p, now := outage(t, Config{Queue: 9, QueueTimeout: time.Second, MaxIdle: 9}, 2)
	for ep := range 2 {
		p.Acquire(now, 1, 1<<(1-ep), 0)
		p.DialFailed(now, ep)
	}
	if d := p.Acquire(now+1, 1, 0, 0); d.Kind != Wait {
		t.Fatalf("got %v in a young outage, expected wait", d)
	}
	p.RemoveWaiter(1)
	// The outage goes on: probe until it is older than the queue timeout.
	old := now + int64(time.Second) + 1
	for ep := range 2 {
		p.c.eps[ep].health.fail(old, 0, 100*ms, 1000*ms, 0)
	}
	d := p.Acquire(old, 1, 0, 0)
	if d.Kind != Dial {
		t.Fatalf("got %v in an old outage, expected that one endpoint is tried anyway", d)
	}
	other := p.Acquire(old, 1, 1<<d.Endpoint, 0)
	if other.Kind != Dial || other.Endpoint == d.Endpoint {
		t.Fatalf("got %+v, expected the endpoint not tried yet", other)
	}
	if d := p.Acquire(old, 1, 3, 0); d.Kind != Refuse || d.Reason != NoEndpoint {
		t.Fatalf("got %+v when all have been tried, expected a refusal", d)
	}
	// An idle connection that survived is better than any of this.
	p.Put(old, 42, d.Endpoint)
	if d := p.Acquire(old, 1, 3, 0); d.Kind != Reuse || d.Conn != 42 {
		t.Errorf("got %+v, expected the surviving connection", d)
	}
}

// Where everybody waits for the next probe, the first to come is the probe:
// nothing may depend on a tick.
func TestANewcomerMayProbe(t *testing.T) {
	c, p, now := outage(t, Config{Queue: 9, QueueTimeout: time.Hour}, 1)
	p.Acquire(now, 1, 0, 0)
	p.DialFailed(now, 0)
	p.Acquire(now, 1, 0, 0)
	if d := p.Acquire(now+1, 2, 0, 0); d.Kind != Wait {
		t.Fatalf("got %v during the back-off", d)
	}
	now = untilNs(c.eps[0].health.word.Load())
	if d := p.Acquire(now, 3, 0, 0); d.Kind != Dial {
		t.Fatalf("got %v, expected the newcomer to probe", d)
	}
	if d := p.Acquire(now, 4, 0, 0); d.Kind != Wait {
		t.Fatalf("got %v beside the probe", d)
	}
	p.DialOK(now, 0)
	if w, _ := p.NextWaiter(now); w != 1 {
		t.Errorf("waiter %d named, expected 1", w)
	}
}

func TestAnUndoneClaimLeavesNoTrace(t *testing.T) {
	c, p, now := outage(t, Config{}, 1)
	p.Acquire(now, 1, 0, 0)
	p.DialFailed(now, 0)
	h := &c.eps[0].health
	w := h.word.Load()
	now = untilNs(w)
	claimed, ok := h.claim(w, now, int64(time.Second))
	if _, second := h.claim(w, now, int64(time.Second)); !ok || second || usable(claimed, now) || usable(claimed, now+999*ms) {
		t.Fatal("a claim does not exclude others")
	}
	h.unclaim(claimed, w)
	if h.word.Load() != w || !usable(w, now) {
		t.Error("the endpoint is not open to the next prober")
	}
}

func TestPanicWithoutQueue(t *testing.T) {
	_, p, now := outage(t, Config{}, 1)
	p.Acquire(now, 1, 0, 0)
	p.DialFailed(now, 0)
	if d := p.Acquire(now, 1, 0, 0); d.Kind != Dial {
		t.Errorf("got %v, expected a try at once where nobody may wait", d)
	}
}

func TestTriedEndpointsComeLast(t *testing.T) {
	_, p, now := outage(t, Config{MaxConnections: 2, MaxIdle: 8}, 2)
	for range 4 {
		if d := p.Acquire(now, 1, 1<<0, 0); d.Kind != Dial || d.Endpoint != 1 && p.c.eps[1].Open() < 2 {
			t.Fatalf("got %+v, expected endpoint 1 while it has room", d)
		}
	}
	p.Put(now, 5, 0)
	p.Closed(0)
	if d := p.Acquire(now, 1, 3, 0); d.Kind != Dial || d.Endpoint != 0 {
		t.Errorf("got %+v, expected a fresh connection for a second try", d)
	}
	if d := p.Acquire(now, 1, 3, 0); d.Kind != Reuse {
		t.Errorf("got %+v, expected the idle one when there is no other slot", d)
	}
}

func TestFailedResponses(t *testing.T) {
	c, p, now := outage(t, Config{FailResponses: 3, ResponseTimeout: time.Second, Queue: 1, QueueTimeout: time.Hour}, 1)
	e := c.eps[0]
	fail := func(n int) {
		for range n {
			p.ResponseFailed(now, 0)
		}
	}
	fail(2)
	p.ResponseOK(now, 0)
	fail(2)
	if up, _ := e.State(now); !up {
		t.Fatal("down although a response came between")
	}
	fail(1)
	if up, why := e.State(now); up || !strings.Contains(why, "responses failed") {
		t.Fatalf("state %v %q after three failed responses", up, why)
	}
	now = untilNs(e.health.word.Load())
	p.Acquire(now, 1, 0, 0)
	p.DialOK(now, 0)
	if !e.Down(now) {
		t.Error("accepting a connection made it up; only a response may")
	}
	p.ResponseFailed(now, 0)
	if n := e.health.word.Load() & healthFails; n != 2 {
		t.Errorf("%d failures, expected 2: the probe failed too", n)
	}
	now = untilNs(e.health.word.Load())
	p.Acquire(now, 1, 0, 0)
	p.ResponseOK(now, 0)
	if up, _ := e.State(now); !up || c.ill.Load() != 0 {
		t.Error("still down after a response")
	}
}

func TestUnresolvedEndpoint(t *testing.T) {
	c := mustCluster(t, Config{Queue: 4, Endpoints: []EndpointConfig{{Address: "db.test:80", Weight: 1}}}, 1)
	p, e := c.Pool(0), c.eps[0]
	if d := p.Acquire(1, 1, 0, 0); d.Kind != Refuse || d.Reason != NotResolved || d.Reason.String() == "" {
		t.Fatalf("got %+v", d)
	}
	if set, _ := p.Address(1, 0); set != nil || e.Addrs() != nil || e.Generation() != 0 || !e.Down(1) {
		t.Error("an address without a resolver")
	}
	if _, why := e.State(1); why != "name not resolved yet" {
		t.Errorf("state %q", why)
	}
	c.ResolveFailed(0, "no such host")
	if up, why := e.State(1); up || why != "name not resolved: no such host" {
		t.Errorf("state %v %q", up, why)
	}
	if c.Resolved(0, nil) || !c.Resolved(0, []string{"10.0.0.2:80", "10.0.0.1:80", "10.0.0.2:80"}) {
		t.Fatal("an empty set counts, or a good one does not")
	}
	if d := p.Acquire(1, 1, 0, 0); d.Kind != Dial {
		t.Fatalf("got %+v once resolved", d)
	}
	c.ResolveFailed(0, "timeout")
	if up, why := e.State(1); !up || !strings.Contains(why, "keeping") {
		t.Errorf("state %v %q", up, why)
	}
	if len(e.Addrs()) != 2 || c.Resolved(0, []string{"10.0.0.1:80", "10.0.0.2:80"}) || e.Generation() != 1 {
		t.Error("the same addresses in another order are a change")
	}
}

func TestAddressesOfOneName(t *testing.T) {
	c := mustCluster(t, Config{
		FailBackoff: 100 * time.Millisecond, FailBackoffMax: time.Second, ConnectTimeout: time.Second,
		MaxIdle: 9, Endpoints: []EndpointConfig{{Address: "db.test:80", Weight: 1}},
	}, 1)
	c.Resolved(0, []string{"[::1]:80", "127.0.0.1:80"})
	p, e, now := c.Pool(0), c.eps[0], int64(time.Hour)
	set, i := p.Address(now, 0)
	if _, j := p.Address(now, 0); j == i {
		t.Error("two dials went to the same address")
	}
	p.Acquire(now, 1, 0, 0)
	p.DialFailedAt(now, 0, set.Keys[i])
	if e.Down(now) {
		t.Fatal("down although one address is left")
	}
	for range 4 {
		if _, j := p.Address(now, 0); j == i {
			t.Fatal("the failed address is tried again while another is left")
		}
	}
	p.Acquire(now, 1, 0, 0)
	p.DialFailedAt(now, 0, set.Keys[1-i])
	if !e.Down(now) {
		t.Fatal("up although both addresses failed")
	}
	// The probe may find one address dead and has the other still to try.
	now += 1100 * ms
	if d := p.Acquire(now, 1, 0, 0); d.Kind != Dial {
		t.Fatalf("got %v", d)
	}
	p.DialFailedAt(now, 0, set.Keys[i])
	if d := p.Acquire(now, 1, 1, 0); d.Kind != Dial || c.eps[0].health.word.Load()&healthProbing == 0 {
		t.Fatalf("got %v, expected the probe to go on with the other address", d)
	}
}

func TestVanishedAddress(t *testing.T) {
	c := mustCluster(t, Config{MaxIdle: 9, Endpoints: []EndpointConfig{{Address: "db.test:80", Weight: 1}}}, 1)
	c.Resolved(0, []string{"10.0.0.1:80", "10.0.0.2:80"})
	p, set := c.Pool(0), c.eps[0].Set()
	for id := range uint64(4) {
		p.Acquire(1, 1, 0, 0)
		defer p.Closed(0)
		_ = id
	}
	p.PutAddr(1, 1, 0, set.Keys[0])
	p.PutAddr(1, 2, 0, set.Keys[1])
	c.Resolved(0, []string{"10.0.0.2:80", "10.0.0.3:80"})
	if p.PutAddr(2, 3, 0, set.Keys[0]) {
		t.Error("a connection to a vanished address is kept")
	}
	if !p.PutAddr(2, 4, 0, set.Keys[1]) {
		t.Error("a connection to an address that stayed is not kept")
	}
	if p.NextDue(2) != 2 {
		t.Error("nothing due although a connection is to be closed")
	}
	if out := p.Expire(2, nil); len(out) != 1 || out[0] != 1 {
		t.Errorf("%v to be closed, expected 1", out)
	}
	// One that comes back is another address: what was dialled before it left is old.
	c.Resolved(0, []string{"10.0.0.1:80"})
	if now := c.eps[0].Set(); now.Has(set.Keys[0]) || now.Generation != 3 {
		t.Errorf("keys %v in generation %d: %d is used again", now.Keys, now.Generation, set.Keys[0])
	}
	if !p.Remove(2, 0) || p.Remove(2, 0) || len(p.Expire(3, nil)) != 1 {
		t.Error("a connection that died while it was to be closed is not found once")
	}
}
