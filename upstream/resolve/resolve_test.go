package resolve

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"zproxy/upstream"
)

// fakeNames is a name service under the test's control.
type fakeNames struct {
	mu    sync.Mutex
	addrs map[string][]string
	hang  map[string]bool // ignores even its context
	asked map[string]int
}

func newFake() *fakeNames {
	return &fakeNames{addrs: map[string][]string{}, hang: map[string]bool{}, asked: map[string]int{}}
}

func (f *fakeNames) set(host string, addrs ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.addrs[host] = addrs
}

func (f *fakeNames) count(host string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked[host]
}

func (f *fakeNames) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	f.mu.Lock()
	f.asked[host]++
	addrs, ok := f.addrs[host]
	hang := f.hang[host]
	f.mu.Unlock()
	if hang {
		<-time.After(time.Hour)
	}
	if !ok {
		return nil, errors.New("no such host")
	}
	if len(addrs) == 1 && addrs[0] == "slow" {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	var out []netip.Addr
	for _, a := range addrs {
		out = append(out, netip.MustParseAddr(a))
	}
	return out, nil
}

// reports collects what Report is told.
type reports struct {
	mu    sync.Mutex
	lines []string
}

func (r *reports) add(host string, addrs []netip.Addr, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	line := host
	for _, a := range addrs {
		line += " " + a.String()
	}
	if err != nil {
		line += " " + err.Error()
	}
	r.lines = append(r.lines, line)
}

func (r *reports) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() { r.lines = nil }()
	return r.lines
}

func cluster(t *testing.T, addresses ...string) *upstream.Cluster {
	t.Helper()
	cfg := upstream.Config{Name: "app"}
	for _, a := range addresses {
		cfg.Endpoints = append(cfg.Endpoints, upstream.EndpointConfig{Address: a})
	}
	c, err := upstream.NewCluster(cfg, 1)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func expect(t *testing.T, e *upstream.Endpoint, want ...string) {
	t.Helper()
	if got := e.Addrs(); !slices.Equal(got, want) {
		t.Errorf("%s: addresses %v, expected %v", e.Address, got, want)
	}
}

func expectReports(t *testing.T, r *reports, want ...string) {
	t.Helper()
	if got := r.take(); !slices.Equal(got, want) {
		t.Errorf("reports %q, expected %q", got, want)
	}
}

func TestNamesAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names, rep := newFake(), &reports{}
		names.set("db.test", "10.0.0.2", "::ffff:10.0.0.1", "fd00::1")
		c := cluster(t, "db.test:5432", "127.0.0.1:80", "unix:/run/x", "db.test:81")
		r := Start([]*upstream.Cluster{c}, Config{Interval: 10 * time.Second, Lookup: names.lookup, Report: rep.add})
		defer r.Stop()
		es := c.Endpoints()
		expect(t, es[0], "10.0.0.1:5432", "10.0.0.2:5432", "[fd00::1]:5432")
		expect(t, es[1], "127.0.0.1:80")
		expect(t, es[2], "unix:/run/x")
		expect(t, es[3], "10.0.0.1:81", "10.0.0.2:81", "[fd00::1]:81")
		if len(names.asked) != 1 || names.count("db.test") != 1 {
			t.Errorf("asked %v, expected db.test once: addresses are not names, a name is asked for once", names.asked)
		}
		expectReports(t, rep, "db.test 10.0.0.2 10.0.0.1 fd00::1")

		names.set("db.test", "10.0.0.9")
		time.Sleep(9 * time.Second)
		expect(t, es[3], "10.0.0.1:81", "10.0.0.2:81", "[fd00::1]:81") // not yet
		time.Sleep(3 * time.Second)
		expect(t, es[3], "10.0.0.9:81")
		if es[3].Generation() != 2 {
			t.Errorf("generation %d, expected 2", es[3].Generation())
		}
		expectReports(t, rep, "db.test 10.0.0.9")
		time.Sleep(time.Minute)
		if n := names.count("db.test"); n < 6 || n > 8 || es[3].Generation() != 2 {
			t.Errorf("asked %d times in 72 s at an interval of 10 to 11 s, generation %d", n, es[3].Generation())
		}
		expectReports(t, rep)
	})
}

func TestLastGoodAddressesStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names, rep := newFake(), &reports{}
		names.set("db.test", "10.0.0.1")
		c := cluster(t, "db.test:80")
		r := Start([]*upstream.Cluster{c}, Config{Interval: 10 * time.Second, Lookup: names.lookup, Report: rep.add})
		defer r.Stop()
		e := c.Endpoints()[0]
		rep.take()
		for _, bad := range [][]string{{"slow"}, {}} {
			names.set("db.test", bad...)
			time.Sleep(30 * time.Second)
			expect(t, e, "10.0.0.1:80")
		}
		// Reported once, however long it lasts, and when it is over.
		expectReports(t, rep, "db.test no answer from the name service in time")
		if up, why := e.State(1); !up || !strings.Contains(why, "has no address") {
			t.Errorf("state %v %q", up, why)
		}
		names.set("db.test", "10.0.0.1")
		time.Sleep(12 * time.Second)
		expectReports(t, rep, "db.test 10.0.0.1")
		if up, why := e.State(1); !up || why != "" {
			t.Errorf("state %v %q after the recovery", up, why)
		}
	})
}

func TestStartDoesNotHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names, rep := newFake(), &reports{}
		names.hang["stuck.test"] = true
		names.set("good.test", "10.0.0.1")
		c := cluster(t, "stuck.test:80", "missing.test:80", "good.test:80")
		begin := time.Now()
		r := Start([]*upstream.Cluster{c}, Config{Interval: time.Minute, Timeout: 2 * time.Second, Lookup: names.lookup, Report: rep.add})
		if d := time.Since(begin); d != 2*time.Second {
			t.Errorf("the start took %v, expected the timeout of 2 s", d)
		}
		es := c.Endpoints()
		expect(t, es[0])
		expect(t, es[1])
		expect(t, es[2], "10.0.0.1:80")
		if up, why := es[1].State(1); up || !strings.Contains(why, "no such host") {
			t.Errorf("state %v %q", up, why)
		}
		// What has never resolved is asked for more often; what hangs is not
		// asked for again.
		names.set("missing.test", "10.0.0.3")
		time.Sleep(1200 * time.Millisecond)
		expect(t, es[1], "10.0.0.3:80")
		if n := names.count("stuck.test"); n != 1 {
			t.Errorf("%d lookups of a name that hangs, expected 1", n)
		}
		begin = time.Now()
		r.Stop()
		if d := time.Since(begin); d != 0 {
			t.Errorf("Stop took %v", d)
		}
		// What comes after Stop is dropped: a next Resolver serves the cluster.
		names.set("stuck.test", "10.0.0.7")
		asked := names.count("good.test")
		time.Sleep(2 * time.Hour)
		expect(t, es[0])
		if names.count("good.test") != asked {
			t.Error("lookups go on after Stop")
		}
		for _, line := range rep.take() {
			if strings.HasPrefix(line, "stuck.test") {
				t.Errorf("reported after Stop: %q", line)
			}
		}
	})
}

func TestTimeoutOfOneLookup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names, rep := newFake(), &reports{}
		names.set("slow.test", "slow")
		c := cluster(t, "slow.test:80")
		begin := time.Now()
		r := Start([]*upstream.Cluster{c}, Config{Timeout: 3 * time.Second, Lookup: names.lookup, Report: rep.add})
		defer r.Stop()
		if d := time.Since(begin); d > 3*time.Second {
			t.Errorf("the start took %v", d)
		}
		synctest.Wait()
		expectReports(t, rep, "slow.test no answer from the name service in time")
	})
}

func TestNothingToResolve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names := newFake()
		r := Start([]*upstream.Cluster{cluster(t, "127.0.0.1:80", "unix:/x")}, Config{Interval: time.Second, Lookup: names.lookup})
		time.Sleep(time.Minute)
		r.Stop()
		if len(names.asked) != 0 {
			t.Errorf("asked for %v", names.asked)
		}
	})
}

// The system's resolver, as far as it works without a network.
func TestLocalhost(t *testing.T) {
	c := cluster(t, "localhost:80")
	r := Start([]*upstream.Cluster{c}, Config{})
	defer r.Stop()
	got := c.Endpoints()[0].Addrs()
	if !slices.Contains(got, "127.0.0.1:80") && !slices.Contains(got, "[::1]:80") {
		_, why := c.Endpoints()[0].State(1)
		t.Errorf("localhost is %v: %s", got, why)
	}
}
