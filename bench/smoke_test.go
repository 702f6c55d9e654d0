package main

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zproxy/internal/longtest"
)

// canMeasure skips a test where the machine or an installed program does not
// allow to measure.
func canMeasure(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts real proxies under load; left out with -short")
	}
	set := settings{proxyCPU: 0, loadCPU: 1}
	if err := set.checkMachine(); err != nil {
		t.Skip(err)
	}
	if find("wrk") == "" {
		t.Skip("wrk is not installed: apt-get install wrk")
	}
}

// hastily lets memory be measured before all of a rush is given back.
func hastily(t *testing.T) {
	t.Cleanup(func(long time.Duration) func() { return func() { settleIdle = long } }(settleIdle))
	settleIdle = settle
}

// noneLeft fails the test when a process that we started still runs, or a
// temporary directory is left.
func noneLeft(t *testing.T) {
	t.Helper()
	for _, m := range tree(os.Getpid()) {
		if m.pid != os.Getpid() && m.alive() {
			t.Errorf("process %d still runs", m.pid)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "zproxy-bench-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// hasty is a run with one round of a second, and what is in its directory.
type hasty struct {
	*Results
	dir         string
	out, errOut bytes.Buffer
}

// measured makes one, which must succeed and leave nothing behind.
func measured(t *testing.T, scenarios, contenders []string, more ...string) *hasty {
	t.Helper()
	hastily(t)
	t.Setenv("TMPDIR", t.TempDir())
	h := &hasty{dir: filepath.Join(t.TempDir(), "results")}
	args := append([]string{"-rounds", "1", "-duration", "1s", "-idle", "100", "-busy", "-install=false", "-out", h.dir,
		"-scenarios", strings.Join(scenarios, ","), "-contenders", strings.Join(contenders, ",")}, more...)
	if status := command(args, &h.out, &h.errOut); status != 0 {
		t.Fatalf("status %d:\n%s", status, h.errOut.String())
	}
	noneLeft(t)
	var err error
	if h.Results, err = readResults(h.dir); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestLengthySmoke(t *testing.T) {
	longtest.Need(t)
	canMeasure(t)
	who, loads := []string{"zproxy-epoll", "floor"}, []string{"small", "upload"}
	if find("nginx") != "" {
		who, loads = append(who, "nginx"), append(loads, "16k") // for which it is the origin, too
	}
	r := measured(t, append([]string{"idle"}, loads...), who)
	if len(r.Scenarios) != len(loads) || len(r.Memory) != len(who)-1 { // the floor keeps no idle connections of its own
		t.Fatalf("%d scenarios, memory of %d; want %d, %d", len(r.Scenarios), len(r.Memory), len(loads), len(who)-1)
	}
	for _, s := range r.Scenarios {
		for _, name := range who {
			c := s.find(name)
			if c == nil {
				t.Errorf("%s: nothing of %s", s.Name, name)
				continue
			}
			// A request goes through four socket calls: it cannot be free, and not take a second.
			if c.CPUMicros.Median < 0.5 || c.CPUMicros.Median > 1e6 || c.PerSecond.Median < 1 {
				t.Errorf("%s: %s: %v us for each of %v requests a second", s.Name, name, c.CPUMicros.Median, c.PerSecond.Median)
			}
		}
	}
	for _, m := range r.Memory {
		if m.StartRSS.Median < 1<<20 || math.Abs(m.PerConnection.Median) > 1e6 {
			t.Errorf("%s: %v bytes at start, %v per connection", m.Name, m.StartRSS.Median, m.PerConnection.Median)
		}
	}
	for _, name := range []string{"report.md", "cpu.svg", "throughput.svg", "memory.svg", "configs/*-zproxy-epoll.yaml"} {
		files, _ := filepath.Glob(filepath.Join(r.dir, name)) // a configuration is named after the first scenario that has it
		if len(files) == 0 {
			t.Errorf("there is no %s", name)
		}
		for _, file := range files {
			if b, err := os.ReadFile(file); err != nil || len(b) == 0 {
				t.Errorf("%s: %d bytes, %v", file, len(b), err)
			}
		}
	}
	if !strings.Contains(r.out.String(), "| zproxy-epoll |") {
		t.Errorf("the report on standard output has no row of zproxy-epoll:\n%s", r.out.String())
	}
}

// All loads within TLS, with one peer.
func TestLengthyTLS(t *testing.T) {
	longtest.Need(t)
	canMeasure(t)
	for _, p := range [][2]string{{"nginx", "nginx"}, {"h2load", "nghttp2-client"}} {
		if find(p[0]) == "" {
			t.Skipf("%s is not installed: apt-get install %s", p[0], p[1])
		}
	}
	var names []string
	for _, s := range scenarios {
		if s.tls != noKey {
			names = append(names, s.name)
		}
	}
	r := measured(t, names, []string{"zproxy-epoll", "nginx"})
	if len(r.Scenarios)+1 != len(names) || len(r.Memory) != 2 {
		t.Errorf("%d scenarios and memory of %d, want %d and 2", len(r.Scenarios), len(r.Memory), len(names)-1)
	}
	for _, s := range r.Scenarios {
		for _, who := range []string{"zproxy-epoll", "nginx"} {
			if c := s.find(who); c == nil || c.CPUMicros.Median < 0.5 {
				t.Errorf("%s: %s: %+v", s.Name, who, c)
			}
		}
	}
}

// The peers under HTTP/2 and WebSocket loads; zproxy as far as this one can.
func TestLengthyHTTP2AndWebSockets(t *testing.T) {
	longtest.Need(t)
	canMeasure(t)
	for _, p := range [][2]string{{"haproxy", "haproxy"}, {"h2load", "nghttp2-client"}} {
		if find(p[0]) == "" {
			t.Skipf("%s is not installed: apt-get install %s", p[0], p[1])
		}
	}
	r := measured(t, []string{"h2-h2c", "ws-echo", "ws-h2", "h2-idle", "h2-waiting", "ws-idle"}, []string{"zproxy-epoll", "haproxy"})
	for _, s := range r.Scenarios {
		if c := s.find("haproxy"); c == nil || c.CPUMicros.Median < 0.5 || c.CPUMicros.Median > 1e6 {
			t.Errorf("%s: HAProxy: %+v", s.Name, c)
		}
		if c := s.find("zproxy-epoll"); c == nil && (s.Name == "ws-echo" || !strings.Contains(r.errOut.String(), "zproxy-epoll    out: ")) {
			t.Errorf("%s: nothing of zproxy, and no word why:\n%s", s.Name, r.errOut.String())
		}
	}
	for _, m := range r.Memory {
		// A hundred connections are lost in what a process gives back meanwhile; a thousand streams are not.
		if m.Name == "haproxy" && (m.StartRSS.Median < 1<<20 || m.Scenario == "h2-waiting" && m.PerConnection.Median < 100) {
			t.Errorf("%s: HAProxy takes %v bytes at start, %v for each %s", m.Scenario, m.StartRSS.Median, m.PerConnection.Median, m.What)
		}
	}
}

func TestLengthyLatency(t *testing.T) {
	longtest.Need(t)
	canMeasure(t)
	r := measured(t, []string{"latency"}, []string{"zproxy-epoll"})
	if r.Latency == nil || len(r.Latency.Rates) != 3 {
		t.Fatalf("latency: %+v, want %d rates", r.Latency, 3)
	}
	for _, rate := range r.Latency.Rates {
		c := rate.best()
		if c == nil || c.P50.Median <= 0 || c.P99.Median < c.P50.Median {
			t.Errorf("at %.0f/s: %+v", rate.PerSecond, c)
		}
	}
}

func TestCancelledRunStopsEverything(t *testing.T) {
	canMeasure(t)
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	progress := writerFunc(func(p []byte) (int, error) {
		// The first round is over; more are to come.
		if bytes.Contains(p, []byte("us/request")) {
			cancel()
		}
		return len(p), nil
	})
	set := settings{rounds: 5, duration: time.Second, proxyCPU: 0, loadCPU: 1, scenarios: []string{"small"}, contenders: []string{"floor"}, out: t.TempDir()}
	_, err := run(ctx, set, progress)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("run ended with %v, want that it was cancelled", err)
	}
	noneLeft(t)
}

// bench/load against a generator that is not ours: below the capacity that wrk
// finds, every request is answered, in about the time that wrk sees.
func TestLengthyLoadAgreesWithWrk(t *testing.T) {
	longtest.Need(t)
	canMeasure(t)
	t.Setenv("TMPDIR", t.TempDir())
	b := testBench(t)
	b.set = settings{proxyCPU: 0, loadCPU: 1, rounds: 1, duration: time.Second, scenarios: []string{"small-1"}, contenders: []string{"floor"}}
	root, err := moduleRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.programs.gather(root); err != nil {
		t.Fatal(err)
	}
	s := scenarioNamed("small-1")
	origin, err := b.origin(s)
	if err != nil {
		t.Fatal(err)
	}
	st, err := b.prepare(contenderNamed("floor"), s, origin)
	if err != nil {
		t.Fatal(err)
	}
	var low, median, high float64
	for range 3 { // one quiet moment is enough
		closed, err := b.measure(st, s, b.set.duration)
		if err != nil || closed.Void != "" {
			t.Fatal(err, closed.Void)
		}
		rate := 0.1 * float64(closed.Requests) / closed.Seconds
		open, err := b.openLoop(st, s, "", rate)
		if err != nil {
			t.Fatal(err)
		}
		if want := int64(rate * b.set.duration.Seconds()); open.Requests < want-1 || open.Requests > want {
			t.Errorf("%d requests answered at %.1f/s in %v, want %d", open.Requests, rate, b.set.duration, want)
		}
		// The machine sleeps between requests that come slowly, and then takes longer.
		low, median, high = closed.P50Micros/3, open.P50Micros, 3*closed.P50Micros+200
		if low <= median && median <= high {
			return
		}
	}
	t.Errorf("median %.0f us; by wrk it is between %.0f and %.0f us", median, low, high)
}

func TestLengthyScale(t *testing.T) {
	longtest.Need(t)
	canMeasure(t)
	t.Setenv("TMPDIR", t.TempDir())
	var out, errOut bytes.Buffer
	if status := command([]string{"scale", "-rounds", "1", "-duration", "1s", "-loops", "2", "-connections", "8"}, &out, &errOut); status != 0 {
		t.Fatalf("status %d:\n%s", status, errOut.String())
	}
	noneLeft(t)
	for _, row := range []string{"| 1 loop | ", "| 2 loops | ", "| 2 processes | "} {
		_, rest, ok := strings.Cut(out.String(), row)
		rest, _, _ = strings.Cut(rest, "\n")
		// So few clients stay where they are, and nobody writes to anybody.
		if cells := strings.Split(rest, " | "); !ok || len(cells) != 10 || cells[7] != "0" || cells[8] != "0" || cells[9] == "0 |" {
			t.Errorf("row %q: %q, want 0 mails, 0 connections moved, and requests", row, rest)
		}
	}
	for _, args := range []string{"-loops 1", "-loops 100000", "-connections 0", "-io select", "extra"} {
		if status := command(append([]string{"scale"}, strings.Fields(args)...), &out, &errOut); status != 2 {
			t.Errorf("%s: status %d, want 2", args, status)
		}
	}
}
