package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func testBench(t *testing.T) *bench {
	t.Helper()
	b := emptyBench(t.Context(), settings{}, io.Discard)
	b.dir = t.TempDir()
	b.outside = b.launcher
	t.Cleanup(b.stopAll)
	return b
}

func TestProcessThatEndsIsReportedWithItsWords(t *testing.T) {
	b := testBench(t)
	p, err := b.startProcess("broken", -1, "sh", "-c", "echo 'no such directive' >&2; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	err = p.waitFor(t.Context(), func() error { return errors.New("not yet") })
	if err == nil || !strings.Contains(err.Error(), "broken: ended") || !strings.Contains(err.Error(), "no such directive") {
		t.Errorf("waitFor: %v", err)
	}
}

func TestStopInsists(t *testing.T) {
	b := testBench(t)
	p, err := b.startProcess("stubborn", -1, "sh", "-c", "trap '' TERM; sleep 60 & echo ready; wait; sleep 60")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.waitFor(t.Context(), func() error {
		if text, _ := os.ReadFile(p.log); len(text) == 0 {
			return errors.New("not yet")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	family := tree(p.pid())
	if len(family) < 2 {
		t.Fatalf("%d processes, want the shell and its child", len(family))
	}
	asked := time.Now()
	p.stop()
	if took := time.Since(asked); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	for _, m := range family {
		// A killed child waits for init to take note of it.
		for end := time.Now().Add(2 * time.Second); m.alive() && time.Now().Before(end); {
			time.Sleep(5 * time.Millisecond)
		}
		if m.alive() {
			t.Errorf("process %d still runs", m.pid)
		}
	}
}

// wrk's words, with what is to be in them.
func wrkSaid(requests, read, errors string) string {
	return "Running 2s test @ http://127.0.0.1:1/\n  1 threads and 64 connections\n  Thread Stats   Avg      Stdev     Max   +/- Stdev\n" +
		"    Latency     1.55ms  310.21us   6.71ms   89.61%\n    Req/Sec    40.76k     2.41k   44.77k    76.19%\n  Latency Distribution\n" +
		"     50%    1.51ms\n     75%    1.63ms\n     90%    1.80ms\n     99%  999.00us\n  " + requests + " requests in 2.10s, " + read + " read\n" + errors +
		"Requests/sec:  40614.08\nTransfer/sec:      9.06MB\n"
}

func TestParseWrk(t *testing.T) {
	s := &scenario{body: 100}
	for _, c := range []struct{ out, void string }{
		{wrkSaid("1000", "97.66KB", ""), ""}, // 100000 bytes, rounded
		{wrkSaid("1000", "96.00KB", ""), "99287 bytes for 1000 answers of 100 bytes"},
		{wrkSaid("1000", "2.00MB", "  Non-2xx or 3xx responses: 10\n"), "10 answers that are not 2xx"},
		{wrkSaid("1000", "2.00MB", "  Socket errors: connect 1, read 2, write 3, timeout 4\n"), "1 connect errors, 2 read errors, 3 write errors, 4 timeouts"},
	} {
		g, err := parseWrk(c.out, s)
		if err != nil || g.requests != 1000 || g.seconds != 2.1 || g.p50 != 1510 || g.p99 != 999 || g.void != c.void {
			t.Errorf("%+v, %v; want 1000 requests in 2.1 s, void %q", g, err, c.void)
		}
	}
	// It pads units of one letter.
	if g, err := parseWrk(strings.Replace(wrkSaid("1000", "97.66KB", ""), "999.00us", "1.09s ", 1), s); err != nil || g.p50 != 1510 || g.p99 != 1.09e6 {
		t.Errorf("%+v, %v; want times of 1.51 ms and 1.09 s", g, err)
	}
	if g, err := parseWrk(wrkSaid("0", "0.00B", ""), s); err != nil || g.void != "nothing was answered" {
		t.Errorf("%+v, %v", g, err)
	}
	for _, bad := range []string{"", "unable to connect to 127.0.0.1:1 Connection refused\n"} {
		if _, err := parseWrk(bad, s); err == nil {
			t.Errorf("%q was taken for a result", bad)
		}
	}
}

func TestParseH2load(t *testing.T) {
	output := func(requests, codes, traffic string) string {
		return "starting benchmark...\nWarm-up started\n\nfinished in 2.50s, 90197.00 req/s, 16.86MB/s\nrequests: " + requests + "\nstatus codes: " + codes +
			"\ntraffic: " + traffic + "\n                     min         max         mean\ntime for request:      145us     17.05ms      2.82ms\n"
	}
	const all, data = "1000 total, 1256 started, 1000 done, 1000 succeeded, 0 failed, 0 errored, 0 timeout", "33.72MB (35356832) total, 1.89MB (1984324) headers (space savings 89.29%), 97.66KB (100000) data"
	s := &scenario{body: 100}
	for _, c := range []struct {
		out  string
		void string
	}{
		{output(all, "1003 2xx, 0 3xx, 0 4xx, 0 5xx", data), ""},
		{output(all, "990 2xx, 1 3xx, 2 4xx, 7 5xx", data), "10 answers that are not 2xx"},
		{output("1000 total, 1256 started, 1000 done, 994 succeeded, 1 failed, 2 errored, 3 timeout", "1000 2xx, 0 3xx, 0 4xx, 0 5xx", data), "1 failed, 2 errors, 3 timeouts"},
		{output(all, "1000 2xx, 0 3xx, 0 4xx, 0 5xx", "1MB (1000000) total, 0B (0) headers (space savings 0%), 9KB (9999) data"), "9999 bytes for 1000 answers of 100 bytes"},
	} {
		g, err := parseH2load(c.out, s)
		if err != nil || g.requests != 1000 || g.seconds != 2.5 || g.void != c.void {
			t.Errorf("%+v, %v; want 1000 requests in 2.5 s, void %q", g, err, c.void)
		}
	}
	for _, bad := range []string{"", "could not connect", output("", "", "")} {
		if _, err := parseH2load(bad, s); err == nil {
			t.Errorf("%q was taken for a result", bad)
		}
	}
}

// What is not in this version of zproxy is no failure of the run; anything else is.
func TestOut(t *testing.T) {
	b := testBench(t)
	s := &scenario{name: "h2"}
	if why := b.out(s, "zproxy-epoll", fmt.Errorf("start: %w", notYet{"refused: found h2c"})); !strings.Contains(why, "refused: found h2c") || len(b.failures) != 0 {
		t.Errorf("%q, failures %q", why, b.failures)
	}
	if b.out(s, "nginx", errors.New("ended")); !slices.Equal(b.failures, []string{"h2: nginx: ended"}) {
		t.Errorf("failures %q", b.failures)
	}
}

// fixture is a scenario in which the machine became slower by a tenth every
// round, and one round is void.
func fixture() *ScenarioResult {
	rounds := func(us float64) (r []Round) {
		for range 5 {
			r = append(r, Round{CPUMicros: us, UserShare: 0.1, Requests: 1000, Seconds: 2})
			us *= 1.1
		}
		return r
	}
	res := &ScenarioResult{Name: "small", Title: "a < b", Load: []string{"wrk"}, Contenders: []*Contestant{
		{Name: "zproxy-epoll", Rounds: rounds(11)}, {Name: "zproxy-uring", Rounds: rounds(12.1)},
		{Name: "nginx", Rounds: rounds(22)}, {Name: "haproxy", Failed: "not | installed\nreally"}, {Name: "floor", Rounds: rounds(10)}}}
	res.Contenders[2].Rounds[4] = Round{Void: "1 timeouts"}
	return res
}

func TestJudge(t *testing.T) {
	res := fixture()
	quick := &Contestant{Name: "zproxy-uring" + atOnce} // cheapest of all, and not what is judged
	for _, r := range res.Contenders[0].Rounds {
		quick.Rounds = append(quick.Rounds, Round{Requests: r.Requests, Seconds: r.Seconds, CPUMicros: r.CPUMicros / 2})
	}
	res.Contenders = append(res.Contenders, quick)
	res.judge(&scenario{goals: []goal{{bestZproxy, "nginx", 0.5}, {bestZproxy, "haproxy", 0.85}, {bestZproxy, "floor", 1.09}, {otherZproxy, bestZproxy, 1.11}}})
	near := func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }
	if got := res.Contenders[0].Ratios["nginx"]; got.N != 4 || !near(got.Min, 0.5) || !near(got.Max, 0.5) {
		t.Errorf("zproxy-epoll to nginx: %+v, want 0.5 in the 4 rounds that count", got)
	}
	if got := res.Contenders[2].CPUMicros.N; got != 4 {
		t.Errorf("nginx's summary is of %d rounds, want the 4 that count", got)
	}
	// There is no result of HAProxy, so there is none of the goal.
	want := []GoalResult{{bestZproxy, "nginx", 0.5, 0.5, true}, {bestZproxy, "floor", 1.09, 1.1, false}, {otherZproxy, bestZproxy, 1.11, 1.1, true}}
	if !slices.EqualFunc(res.Goals, want, func(a, b GoalResult) bool {
		return a.Subject == b.Subject && a.Versus == b.Versus && a.Max == b.Max && near(a.Ratio, b.Ratio) && a.Met == b.Met
	}) {
		t.Errorf("goals %+v, want %+v", res.Goals, want)
	}
}

func TestReport(t *testing.T) {
	res := fixture()
	res.judge(&scenario{goals: []goal{{bestZproxy, "floor", 1.09}}})
	r := &Results{Format: resultsFormat, Scenarios: []*ScenarioResult{res}, Memory: []*MemoryResult{
		{Scenario: "ws-idle", Name: "zproxy-epoll", What: "socket", Connections: 5, PerConnection: summarise([]float64{20})},
		{Scenario: "ws-idle", Name: "nginx", What: "socket", Connections: 5, PerConnection: summarise([]float64{100})},
		{Scenario: "idle", Name: "zproxy-epoll", What: "connection", Connections: 10, Runs: []Memory{{StartPSS: 5 << 20, IdleRSS: 9 << 20}}, StartRSS: summarise([]float64{8 << 20}), PerConnection: summarise([]float64{513})}}}
	text := string(r.Markdown())
	for _, row := range []string{
		"| small | better zproxy at most 1.09 x floor | 1.10 | **no** |",
		"| idle | zproxy-epoll at most 512 B for an idle connection | 513 | **no** |",
		"| idle | zproxy-epoll at most 12.0 MiB resident at start | 8.0 MiB | yes |",
		"| ws-idle | better zproxy at most 0.25 x nginx for each socket | 0.20 | yes |",
		"| | bytes per socket | resident at start | of it proportional | resident with 5 sockets |",
		"| zproxy-epoll | 513 (513 to 513) | 8.0 MiB | 5.0 MiB | 9.0 MiB |",
		"| haproxy | not \\| installed really | | | | | | | |",
		"| nginx | 25.41 (22.00 to 29.28) | 10 % | 500 | 0 + 0 % | 1 | 0 | | 2.20 (2.20 to 2.20) |",
	} {
		if !strings.Contains(text, row+"\n") {
			t.Errorf("no row %q in\n%s", row, text)
		}
	}
	r.Latency = latencyFixture()
	text = string(r.Markdown())
	for _, row := range []string{
		"| latency | p99 at 50 % of capacity at most 1.00 x nginx | 0.50 | needs 7 rounds |",
		"| zproxy-uring | 900 | 45 % | 2000 |",
		"| 500 | zproxy-uring | 10 | 40 (20 to 80) | 90 | 0.50 (0.50 to 0.50) | 20.0 | 5 | 0 |",
		"| 500 | nginx | 10 | 80 (40 to 160) | 90 | | 20.0 | 5 | 1 |",
	} {
		if !strings.Contains(text, row+"\n") {
			t.Errorf("no row %q in\n%s", row, text)
		}
	}
	for name, c := range r.charts() {
		d := xml.NewDecoder(bytes.NewReader(c.SVG()))
		for {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Errorf("%s is not XML: %v", name, err)
				break
			}
		}
	}
	if n := len(r.charts()); n != 4 {
		t.Errorf("%d charts, want 4", n)
	}
}

// latencyFixture: times double from round to round, nginx takes twice as long
// as the faster zproxy.
func latencyFixture() *LatencyResult {
	contender := func(name string, p99 float64) *LatencyContestant {
		c := &LatencyContestant{Name: name}
		for _, scale := range []float64{1, 2, 4} {
			c.Rounds = append(c.Rounds, LatencyRound{Requests: 1000, P50Micros: 10, P99Micros: p99 * scale, P999Micros: 90, LateP99Micros: 5, CPUMicros: 20})
		}
		return c
	}
	rate := &RateResult{Share: 0.5, PerSecond: 500, Contenders: []*LatencyContestant{
		contender("zproxy-epoll", 60), contender("zproxy-uring", 20), contender("nginx", 40), {Name: "haproxy", Failed: "2 errors"}}}
	nginx := rate.Contenders[2]
	nginx.Rounds = append(nginx.Rounds, LatencyRound{P99Micros: 1e6, Void: "the generator was late"})
	rate.summarise()
	return &LatencyResult{Name: "latency", Connections: 64, Capacity: 1000, Capacities: []*Capacity{{"zproxy-uring", 900, 0.45}}, Rates: []*RateResult{rate}}
}

func TestCompare(t *testing.T) {
	write := func(scale float64) string {
		res := fixture()
		for _, c := range res.Contenders[:2] {
			for i := range c.Rounds {
				c.Rounds[i].CPUMicros *= scale
			}
		}
		res.judge(&scenario{})
		slower := latencyFixture()
		for i := range slower.Rates[0].Contenders[1].Rounds {
			slower.Rates[0].Contenders[1].Rounds[i].P99Micros *= scale
		}
		// As results were before there was more than one scenario of memory.
		memory := &MemoryResult{Name: "nginx", Runs: []Memory{{PerConnection: 500}}}
		data, err := json.Marshal(&Results{Format: resultsFormat, Scenarios: []*ScenarioResult{res}, Latency: slower, Memory: []*MemoryResult{memory}})
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "results.json"), data, 0o644); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	var out, errOut bytes.Buffer
	if status := command([]string{"compare", write(1), write(0.5)}, &out, &errOut); status != 0 {
		t.Fatalf("status %d: %s", status, errOut.String())
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	for _, want := range []string{
		"small zproxy-epoll us/request 13.3 6.66 -50.0 % 0.008 n=5+5",
		"small zproxy-epoll x floor 1.10 0.55 -50.0 % 0.008 n=5+5",
		"small nginx us/request 25.4 25.4 ~ 1.000 n=4+4",
		"idle nginx bytes/connection 500 500 ~ 1.000 n=1+1",
		"latency zproxy-uring p99 x nginx at 50 % 0.50 0.25 ~ 0.100 n=3+3",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no row %q in\n%s", want, out.String())
		}
	}
	errOut.Reset()
	if status := command([]string{"compare", t.TempDir(), t.TempDir()}, &out, &errOut); status != 1 || !strings.Contains(errOut.String(), "results.json") {
		t.Errorf("directories without results: status %d, %q", status, errOut.String())
	}
}

// One configuration stands for all that differ in addresses alone.
func TestConfigurationsAreKeptOnce(t *testing.T) {
	b := testBench(t)
	for i, s := range []string{"small", "connect", "h2-h1", "idle"} {
		p := &place{Listen: fmt.Sprintf("127.0.0.1:%d", 1000+i), Origin: fmt.Sprintf("127.0.0.1:%d", 2000+i), Dir: b.dir, IO: "epoll", HTTP2Client: s == "h2-h1", Pool: 1024}
		for _, who := range []string{"zproxy-epoll", "epoll"} {
			if _, err := b.configure(who, "zproxy.yaml", &scenario{name: s}, p); err != nil {
				t.Fatal(err)
			}
		}
	}
	if names, want := slices.Sorted(maps.Keys(b.configs)), []string{"h2-h1-epoll.yaml", "h2-h1-zproxy-epoll.yaml", "small-epoll.yaml", "small-zproxy-epoll.yaml"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
	if text := string(b.configs["small-zproxy-epoll.yaml"]); !strings.Contains(text, "address: CLIENTS") || strings.Contains(text, "127.0.0.1") {
		t.Errorf("addresses are left in\n%s", text)
	}
}

func TestWrongUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-scenarios", "large"}, `no scenario "large"`},
		{[]string{"-contenders", "apache"}, `no contender "apache"`},
		{[]string{"-rounds", "0"}, "-rounds"},
		{[]string{"-duration", "1500ms"}, "whole seconds"},
		{[]string{"-proxy-cpu", "1", "-load-cpu", "1"}, "two different CPUs"},
		{[]string{"-idle", "100000000"}, "ulimit -n"},
		{[]string{"-peers", "newest"}, "-peers newest"},
		{[]string{"extra"}, `"extra"`},
		{[]string{"compare", "one"}, "usage"},
	} {
		var out, errOut bytes.Buffer
		if status := command(c.args, &out, &errOut); status != 2 || !strings.Contains(errOut.String(), c.want) {
			t.Errorf("%v: status %d, %q; want 2 and %q", c.args, status, errOut.String(), c.want)
		}
	}
}

// Every goal names someone who takes part.
func TestScenarios(t *testing.T) {
	for i := range scenarios {
		s := &scenarios[i]
		for _, name := range s.contenders {
			if contenderNamed(name) == nil {
				t.Errorf("%s: there is no contender %q", s.name, name)
			}
		}
		for _, g := range s.goals {
			for _, name := range []string{g.subject, g.versus} {
				if name != bestZproxy && name != otherZproxy && !slices.Contains(s.contenders, name) {
					t.Errorf("%s: a goal names %q, who does not take part", s.name, name)
				}
			}
		}
	}
}

// One answer that is late stands for those that would have been asked for meanwhile.
func TestMissedAnswersCount(t *testing.T) {
	a := &asked{took: []time.Duration{time.Millisecond, 3*askEvery + time.Millisecond}}
	a.addMissed()
	want := []time.Duration{time.Millisecond, time.Millisecond, askEvery + time.Millisecond, 2*askEvery + time.Millisecond, 3*askEvery + time.Millisecond}
	if !slices.Equal(a.took, want) {
		t.Errorf("%v, want %v", a.took, want)
	}
	if p := percentile(a.took, 50); p != askEvery+time.Millisecond || percentile(nil, 99) != 0 {
		t.Errorf("half in %v", p)
	}
}
