package health

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"zproxy/config"
	"zproxy/upstream"
)

// world is a clock and endpoints that are what a test says.
type world struct {
	c *Checker

	mu      sync.Mutex
	bad     map[string]bool
	void    bool
	takes   time.Duration
	began   []time.Duration // of checks, since the start
	asked   map[string]int
	start   time.Time
	changes []string
}

func newWorld(t *testing.T) *world {
	w := &world{bad: map[string]bool{}, asked: map[string]int{}, start: time.Now()}
	w.c = New(Config{Report: func(c Change) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.changes = append(w.changes, fmt.Sprintf("%s %d %s %v %s", c.Cluster.Name(), c.Endpoint, c.Address, c.Up, c.Why))
	}})
	w.c.run = func(ctx context.Context, p *probe) result {
		w.mu.Lock()
		w.began = append(w.began, time.Since(w.start))
		w.asked[p.address]++
		takes, bad, void := w.takes, w.bad[p.address], w.void
		w.mu.Unlock()
		time.Sleep(takes)
		if bad {
			return result{words: "bad", took: takes, void: void}
		}
		return result{passed: true, words: "good", took: takes}
	}
	t.Cleanup(w.c.Stop)
	return w
}

func (w *world) set(address string, bad bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bad[address] = bad
}

// pass lets time pass and gives when checks began meanwhile.
func (w *world) pass(d time.Duration) (began []time.Duration) {
	w.mu.Lock()
	w.began = nil
	w.mu.Unlock()
	time.Sleep(d)
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.began)
}

func parse(t *testing.T, check, endpoints string) *config.Upstream {
	t.Helper()
	c, err := config.Parse("test", []byte("listeners: [{address: '127.0.0.1:1'}]\nroutes: [{path: '/', upstream: app}]\n"+
		"upstreams: {app: {health_check: "+check+", endpoints: ["+endpoints+"]}}"))
	if err != nil {
		t.Fatal(err)
	}
	return &c.Upstreams[0]
}

// use is an upstream with these endpoints.
func use(t *testing.T, check string, addresses ...string) Use {
	t.Helper()
	var list []string
	cfg := upstream.Config{Name: "app"}
	for _, a := range addresses {
		list = append(list, "{address: '"+a+"'}")
		cfg.Endpoints = append(cfg.Endpoints, upstream.EndpointConfig{Address: a})
	}
	u := parse(t, check, strings.Join(list, ", "))
	cfg.CheckFirst = u.HealthCheck.Initial != "up"
	c, err := upstream.NewCluster(cfg, 1)
	if err != nil {
		t.Fatal(err)
	}
	return Use{Cluster: c, Upstream: u}
}

func isUp(u Use, endpoint int) bool {
	up, _ := u.Cluster.Endpoints()[endpoint].State(1)
	return up
}

const one = "10.0.0.1:80"

func TestFallAndRise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		u := use(t, "{interval: 10s, fast_interval: 1s, jitter: 0, fall: 3, rise: 2}", one, "10.0.0.2:80")
		w.c.Set([]Use{u})
		w.pass(10 * time.Second) // the first ones are spread out over it
		if began := w.pass(30 * time.Second); len(began) != 6 || began[2]-began[0] != 10*time.Second {
			t.Fatalf("checks at %v, expected three of both, 10 s apart", began)
		}
		w.set(one, true)
		first := func() { // against the state: from here on it is looked at more often
			for w.c.States(u.Cluster, 0)[0].Against == 0 {
				w.pass(100 * time.Millisecond)
			}
		}
		first()
		w.pass(time.Second)
		if !isUp(u, 0) || !isUp(u, 1) {
			t.Fatal("down after 2 failures")
		}
		w.pass(time.Second)
		if isUp(u, 0) || !isUp(u, 1) {
			t.Fatal("not down after 3 failures, or another one is")
		}
		s := w.c.States(u.Cluster, 0)
		if len(s) != 1 || s[0].State != "down" || s[0].Last != "bad" || s[0].Failed < 3 || len(s[0].History) != 1 || s[0].Since != s[0].History[0].At {
			t.Errorf("states %+v", s)
		}
		if _, why := u.Cluster.Endpoints()[0].State(1); why != "health check: bad" {
			t.Errorf("reason %q", why)
		}
		w.set(one, false)
		first()
		if isUp(u, 0) {
			t.Fatal("up after one check")
		}
		w.pass(time.Second)
		if !isUp(u, 0) {
			t.Error("not up after 2 checks")
		}
		want := []string{"app 0 " + one + " false bad", "app 0 " + one + " true good"}
		if !slices.Equal(w.changes, want) {
			t.Errorf("changes %q", w.changes)
		}
	})
}

// A single good or bad check in between starts the count anew.
func TestFlapping(t *testing.T) {
	h := parse(t, "{fall: 3, rise: 2}", "{address: '"+one+"'}").HealthCheck
	r := record{state: Up}
	for i, c := range []struct {
		passed bool
		want   State
	}{{false, Up}, {false, Up}, {true, Up}, {false, Up}, {false, Up}, {false, Down}, {true, Down}, {false, Down}, {true, Down}, {true, Up}} {
		if r.take(h, c.passed); r.state != c.want {
			t.Fatalf("step %d: %v, expected %v", i, r.state, c.want)
		}
	}
}

func TestJitterShortens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.c.Set([]Use{use(t, "{interval: 10s, jitter: 20}", one)})
		began := w.pass(1000 * time.Second)
		least, most := time.Hour, time.Duration(0)
		for i := range began[1:] {
			d := began[i+1] - began[i]
			least, most = min(least, d), max(most, d)
		}
		if least < 8*time.Second || most > 10*time.Second || most-least < time.Second {
			t.Errorf("intervals from %v to %v", least, most)
		}
	})
}

// A check that takes longer than the interval delays the next one, and no other.
func TestSlowChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.takes = 500 * time.Millisecond
		w.c.Set([]Use{use(t, "{interval: 1s, jitter: 0, initial: down}", one)})
		synctest.Wait() // the first has begun
		if began := w.pass(10*time.Second - 1); len(began) != 9 {
			t.Errorf("%d more checks in 10 s that take half a second", len(began))
		}
		w.takes = 1500 * time.Millisecond
		w.pass(2 * time.Second)
		if began := w.pass(15 * time.Second); len(began) != 10 {
			t.Errorf("%d checks in 15 s that take one and a half", len(began))
		}
	})
}

func TestInitialStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		const bad = "10.0.0.2:80"
		w.set(bad, true)
		w.takes = time.Second
		up, down, unknown := use(t, "{jitter: 0}", one, bad), use(t, "{jitter: 0, initial: down}", one, bad), use(t, "{jitter: 0, initial: unknown}", one, bad)
		w.c.Set([]Use{up, down, unknown})
		if took := time.Since(w.start); took != time.Second {
			t.Errorf("waited %v for the first check", took)
		}
		synctest.Wait()
		for i, want := range [][2]bool{{true, true}, {false, false}, {true, false}} {
			u := []Use{up, down, unknown}[i]
			if got := [2]bool{isUp(u, 0), isUp(u, 1)}; got != want {
				t.Errorf("%s: up %v after the first check, expected %v", u.Upstream.HealthCheck.Initial, got, want)
			}
		}
		w.pass(2 * time.Second)
		if !isUp(down, 0) || isUp(down, 1) {
			t.Error("two passed checks do not bring up what began as down")
		}
		w.mu.Lock()
		w.takes = time.Hour
		w.mu.Unlock()
		began := time.Now()
		w.c.Set([]Use{use(t, "{interval: 3s, timeout: 2s, initial: unknown}", one)})
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("waited %v for a check that hangs", took)
		}
		w.c.cancel() // without waiting for the one that hangs
		time.Sleep(2 * time.Hour)
	})
}

// What is the same after a reload goes on as it was, whatever else of the upstream changes.
func TestReloadKeepsStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.set(one, true)
		const check = "{interval: 1s, jitter: 0, initial: unknown}"
		before := use(t, check, one, "10.0.0.2:80")
		w.c.Set([]Use{before})
		w.pass(time.Minute + time.Millisecond)
		history := w.c.States(before.Cluster, 0)
		w.mu.Lock()
		n := w.asked[one]
		w.mu.Unlock()

		after := use(t, check, one, "10.0.0.3:80")
		w.c.Set([]Use{after})
		if isUp(after, 0) || w.c.States(before.Cluster, 0) != nil {
			t.Error("what was down is up for the new cluster, or the old one is known")
		}
		if got := w.c.States(after.Cluster, 0); len(got) != 1 || got[0].Since != history[0].Since || got[0].Failed != history[0].Failed {
			t.Errorf("%+v became %+v", history, got)
		}
		if !isUp(after, 1) {
			t.Error("what is new was not checked at once")
		}
		w.pass(10*time.Second - 2*time.Millisecond)
		w.mu.Lock()
		if got := w.asked[one] - n; got != 9 && got != 10 {
			t.Errorf("%d checks in 10 s after it", got)
		}
		if w.asked["10.0.0.2:80"] > 62 {
			t.Errorf("what is gone is checked on: %d", w.asked["10.0.0.2:80"])
		}
		w.mu.Unlock()

		other := use(t, "{interval: 1s, jitter: 0, path: /other}", one)
		w.c.Set([]Use{other})
		if !isUp(other, 0) {
			t.Error("another check begins as the last one ended")
		}
	})
}

// Upstreams whose endpoints and checks are the same share the checks.
func TestSharedChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := use(t, "{interval: 1s, jitter: 0}", one), use(t, "{interval: 1s, jitter: 0}", one)
		w.c.Set([]Use{a, b})
		w.pass(time.Second)
		if began := w.pass(10 * time.Second); len(began) != 10 {
			t.Errorf("%d checks for two upstreams in 10 s, expected 10", len(began))
		}
		w.set(one, true)
		w.pass(4 * time.Second)
		if isUp(a, 0) || isUp(b, 0) {
			t.Error("not down for both")
		}
	})
}

// Addresses of names are checked as they come and go.
func TestNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		u := use(t, "{interval: 1s, jitter: 0, initial: unknown}", "name.test:80")
		w.c.Set([]Use{u})
		w.set("10.0.0.2:80", true)
		u.Cluster.Resolved(0, []string{one, "10.0.0.2:80"})
		if isUp(u, 0) {
			t.Fatal("up before a check")
		}
		w.pass(time.Second)
		set := u.Cluster.Endpoints()[0].Set()
		if !isUp(u, 0) || !set.Serves(set.Keys[0]) || set.Serves(set.Keys[1]) {
			t.Error("the first address is not up alone")
		}
		u.Cluster.Resolved(0, []string{"10.0.0.2:80"})
		w.pass(time.Second)
		if isUp(u, 0) {
			t.Error("up with an address that is down")
		}
		w.mu.Lock()
		n := w.asked[one]
		w.mu.Unlock()
		w.pass(10 * time.Second)
		if w.asked[one] != n || len(w.c.States(u.Cluster, 0)) != 1 {
			t.Error("an address that is gone is checked on")
		}
		u.Cluster.Resolved(0, []string{one})
		w.pass(time.Second)
		if !isUp(u, 0) {
			t.Error("down with an address that is up")
		}
	})
}

// What this machine lacks says nothing of an endpoint.
func TestLocalShortage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		u := use(t, "{interval: 1s}", one)
		w.set(one, true)
		w.void = true
		w.c.Set([]Use{u})
		w.pass(time.Minute)
		if s := w.c.States(u.Cluster, 0); !isUp(u, 0) || s[0].Failed != 0 || s[0].Last != "bad" {
			t.Errorf("up %v, %+v", isUp(u, 0), s)
		}
	})
}

// A passed check ends what requests have found; one that only connects not all of it.
func TestPassedChecksEndOutages(t *testing.T) {
	for kind, ends := range map[string]bool{"http": true, "tcp": false, "http, port: 81": false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			u := use(t, "{interval: 1s, type: "+kind+"}", one)
			p := u.Cluster.Pool(0)
			for range upstream.DefaultFailResponses {
				p.ResponseFailed(1, 0)
			}
			w.c.Set([]Use{u})
			w.pass(2 * time.Second)
			if isUp(u, 0) != ends {
				t.Errorf("%s: up %v after missing responses and a passed check", kind, isUp(u, 0))
			}
			p.ResponseOK(1, 0)
			p.Acquire(1, 1, 0, 0)
			p.DialFailed(1, 0)
			w.pass(2 * time.Second)
			if want := !strings.Contains(kind, "port"); isUp(u, 0) != want {
				t.Errorf("%s: up %v after a failed dial and a passed check", kind, isUp(u, 0))
			}
		})
	}
}

func TestHistoryIsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		u := use(t, "{interval: 1s, jitter: 0, fall: 1, rise: 1}", one)
		w.c.Set([]Use{u})
		for i := range 40 {
			w.set(one, i%2 == 0)
			w.pass(2 * time.Second)
		}
		s := w.c.States(u.Cluster, 0)[0]
		if len(s.History) != maxHistory || s.History[maxHistory-1].At != s.Since || s.History[0].State == s.History[1].State {
			t.Errorf("history %+v", s.History)
		}
	})
}
