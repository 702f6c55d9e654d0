package e2e

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"zproxy/internal/longtest"
)

var soakFor = flag.Duration("soak", 20*time.Second, "how long TestSoak goes on")

// Bounds of what a proxy at rest may have grown by: what is in use is equal to
// the byte, but the kernel and the Go runtime give pages back as they like.
const (
	soakGrowth = 3 * mib
	soakBuffer = 16 * mib // of each of the two loops, at most
	soakPeak   = 2*soakBuffer + 48*mib
	soakRest   = 3 * time.Second // about what it takes to come to rest
)

// soaking is a proxy under all that clients and origins do to one.
type soaking struct {
	*zproxy
	backend string
	up      string // what the hashing origin says of an upload
	fileSum string

	done, failed atomic.Int64
	first        atomic.Pointer[string] // failure

	peakRSS, peakFDs int // of the round
}

// atRest is what a proxy holds when nobody is there.
type atRest struct{ rss, fds, goroutines int }

// soakOrigins are the origins that all proxies of a test share.
type soakOrigins struct {
	steady, hashing, echo, sick string
	one, two, sockets           string // of HTTP/1.1, of HTTP/2, and for WebSockets
	shaky                       [2]*nginx
}

func startSoakOrigins(t *testing.T) *soakOrigins {
	t.Helper()
	root := t.TempDir()
	writeFile(t, filepath.Join(root, "shaky"), "shaky\n")
	o := &soakOrigins{
		steady:  startNginx(t, bodyDir).addr,
		hashing: startHashing(t).addr,
		echo:    startOrigin(t, upgrading).addr,
		sick:    startOrigin(t, sick).addr,
		one:     startGo(t, "http1", soakEcho),
		two:     startGo(t, "h2c", soakEcho),
		sockets: webOrigin(t, http.HandlerFunc(gorillaEcho)),
	}
	for i := range o.shaky {
		o.shaky[i] = startNginx(t, root)
	}
	return o
}

// sick is an origin that stops in the middle of its answers, in one way or
// another, or does not answer at all.
func sick(c *originConn) {
	for n := 0; c.request() != nil; n++ {
		switch rand.IntN(4) {
		case 0:
			c.write("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + string(make([]byte, 50_000)))
			return
		case 1:
			c.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
			time.Sleep(time.Second)
			return
		case 2:
			time.Sleep(time.Second)
			return
		}
		c.write(ok("sick\n"))
	}
}

func startSoaking(t *testing.T, backend string, o *soakOrigins) *soaking {
	t.Helper()
	_, sum := bodyFile(t, mib, "1MiB")
	s := &soaking{backend: backend, fileSum: sum, up: sumOfStream(t, soakUpload)}
	s.zproxy = start(t, backend, fmt.Sprintf(`
loops: 2
buffers: {max_per_loop: %d}
listeners: [{address: LISTEN, protocols: [http1, h2c]}]
upstreams:
  steady: {endpoints: [{address: %q}], pool: {idle_timeout: 1s}}
  hashing: {endpoints: [{address: %q}], pool: {idle_timeout: 1s}}
  echo: {endpoints: [{address: %q}], pool: {idle_timeout: 1s}}
  sick: {endpoints: [{address: %q}], pool: {idle_timeout: 1s}, timeouts: {response: 500ms, idle: 500ms}}
  shaky: {endpoints: [{address: %q}, {address: %q}], pool: {idle_timeout: 1s, queue_timeout: 1s}}
  one: {endpoints: [{address: %q}], pool: {idle_timeout: 1s}}
  two: {protocol: h2c, endpoints: [{address: %q}], pool: {idle_timeout: 1s}}
  sockets: {endpoints: [{address: %q}], pool: {idle_timeout: 1s}}
routes:
  - {path: "/*", upstream: steady}
  - {path: "/up", upstream: hashing}
  - {path: "/echo", upstream: echo}
  - {path: "/sick", upstream: sick}
  - {path: "/shaky", upstream: shaky}
  - {path: "/one/*", upstream: one}
  - {path: "/two/*", upstream: two}
  - {path: "/ws", upstream: sockets, websocket: {ping_interval: 4s}}
  - {path: "/own", respond: {body: "own\n"}}
limits: {request_header_timeout: 2500ms, keepalive_timeout: 5s, request_body_timeout: 5s, send_timeout: 5s}
access_log: {path: /dev/null}
`, soakBuffer, o.steady, o.hashing, o.echo, o.sick, o.shaky[0].addr, o.shaky[1].addr, o.one, o.two, o.sockets))
	return s
}

// TestSoak has clients of all kinds come and go in rounds. Whenever they have
// gone the proxy has to be as it was: as many descriptors and goroutines, and
// no more memory. `make soak` goes on for an hour.
func TestSoak(t *testing.T) {
	need(t, "wrk", "h2load")
	rounds := min(max(int(*soakFor/(30*time.Second)), 4), 60)
	o := startSoakOrigins(t)
	var all []*soaking
	for _, backend := range backends {
		all = append(all, startSoaking(t, backend, o))
	}
	seen := make([][]atRest, len(all))
	began, each := time.Now(), *soakFor/time.Duration(rounds)
	t.Logf("%7s %6s %9s %9s | %16s | %10s %5s %10s", "time", "", "done", "requests", "peak RSS, fds", "rest RSS", "fds", "goroutines")
	for range rounds {
		o.round(t, all, time.Now().Add(max(each-soakRest, each/2)))
		for i, s := range all {
			r := s.rested(t, seen[i])
			seen[i] = append(seen[i], r)
			t.Logf("%7s %6s %9d %9.0f | %7.1f MiB %4d | %6.1f MiB %5d %10d", time.Since(began).Round(time.Second), s.backend, s.done.Load(),
				s.metrics(t).sum("zproxy_requests_total"), float64(s.peakRSS)/mib, s.peakFDs, float64(r.rss)/mib, r.fds, r.goroutines)
			s.judgeRound(t, r, seen[i][0])
		}
	}
	for i, s := range all {
		s.judgeGrowth(t, seen[i])
	}
}

// round lets everybody loose until end, while the shaky origins are restarted
// in turn.
func (o *soakOrigins) round(t *testing.T, all []*soaking, end time.Time) {
	t.Helper()
	var running sync.WaitGroup
	for _, s := range all {
		s.peakRSS, s.peakFDs = 0, 0
		for _, k := range soakKinds {
			for i := range k.many {
				running.Go(func() { s.keepDoing(k, uint64(i), end) })
			}
		}
		running.Go(func() { s.burst(end) })
		running.Go(func() {
			for time.Now().Before(end) {
				s.peak()
				time.Sleep(200 * time.Millisecond)
			}
		})
	}
	for i := 0; time.Until(end) > 0; i++ {
		o.shaky[i%2].restart(200 * time.Millisecond)
		time.Sleep(min(time.Until(end), time.Second))
	}
	running.Wait()
}

// rested waits until nobody is there, and until the proxy has let go of all it
// had for them: of as much as it did the first time. The pages that are asked
// for take a connection themselves, now and then a moment longer.
func (s *soaking) rested(t *testing.T, before []atRest) (r atRest) {
	t.Helper()
	s.rests(t)
	eventually(t, patience, "connections to origins are closed", func() (bool, string) {
		origins := int(s.metrics(t).sum("zproxy_upstream_http2_connections"))
		for _, l := range s.status(t).Loops {
			origins += l.Origins
		}
		return origins == 0, fmt.Sprintf("%d are open", origins)
	})
	r = atRest{math.MaxInt, math.MaxInt, math.MaxInt}
	for try, deadline := 0, time.Now().Add(patience); try < 20 || len(before) > 0 && time.Now().Before(deadline); try++ {
		r.goroutines = min(r.goroutines, int(s.metrics(t).sum("go_goroutines")))
		time.Sleep(50 * time.Millisecond)
		r.fds, r.rss = min(r.fds, s.files()), min(r.rss, s.resident())
		none := len(before) > 0 && r.fds <= before[0].fds && r.goroutines <= before[0].goroutines
		if none && (try > 3 && r.rss <= before[0].rss || try >= 20) {
			break
		}
	}
	return r
}

// resident is the resident set in bytes, 0 when there is none to read.
func (s *soaking) resident() (bytes int) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", s.cmd.Process.Pid))
	if m := residentSet.FindSubmatch(b); m != nil {
		bytes, _ = strconv.Atoi(string(m[1]))
	}
	return bytes << 10
}

var residentSet = regexp.MustCompile(`(?m)^Rss:\s+(\d+) kB`)

// peak notes the most that a proxy holds under load.
func (s *soaking) peak() {
	s.peakFDs, s.peakRSS = max(s.peakFDs, s.files()), max(s.peakRSS, s.resident())
}

func (s *soaking) judgeRound(t *testing.T, r, first atRest) {
	t.Helper()
	if n := s.failed.Load(); n > 0 {
		t.Errorf("%s: %d clients that did nothing wrong were not served; the first: %s", s.backend, n, *s.first.Load())
	}
	if r.fds > first.fds || r.goroutines > first.goroutines {
		t.Errorf("%s: %d descriptors and %d goroutines at rest, %d and %d after the first round", s.backend, r.fds, r.goroutines, first.fds, first.goroutines)
	}
	if s.peakRSS > soakPeak {
		t.Errorf("%s: a resident set of %d bytes under load, want at most %d", s.backend, s.peakRSS, soakPeak)
	}
	if t.Failed() {
		t.FailNow()
	}
}

// judgeGrowth compares the last third of the rounds with those before, without
// the first, which touches code and memory for the first time.
func (s *soaking) judgeGrowth(t *testing.T, seen []atRest) {
	t.Helper()
	last := max(len(seen)/3, 1)
	early, late := medianRSS(seen[1:len(seen)-last]), medianRSS(seen[len(seen)-last:])
	t.Logf("%s: %d doings of clients; resident set at rest %.1f MiB early, %.1f MiB late", s.backend, s.done.Load(), float64(early)/mib, float64(late)/mib)
	if late > early+soakGrowth {
		t.Errorf("%s: the resident set at rest has grown from %d to %d bytes", s.backend, early, late)
	}
}

func medianRSS(seen []atRest) int {
	sizes := make([]int, len(seen))
	for i, r := range seen {
		sizes[i] = r.rss
	}
	slices.Sort(sizes)
	return sizes[len(sizes)/2]
}

// Whatever becomes of many connections, nothing of them is left.
func TestLengthyConnectionsComeAndGo(t *testing.T) {
	longtest.Need(t)
	const few, many = 3000, 10_000
	eachBackend(t, func(t *testing.T, backend string) {
		s := startSoaking(t, backend, startSoakOrigins(t))
		come := func(n int) atRest {
			// One that its client has reset before it was accepted counts as an accept that failed.
			came := func() float64 {
				m := s.metrics(t)
				return m.sum("zproxy_accepted_total") + m.sum("zproxy_loop_accept_errors_total")
			}
			opened := came()
			var left atomic.Int64
			left.Store(int64(n))
			var running sync.WaitGroup
			for i := range uint64(16) {
				running.Go(func() {
					rng := rand.New(rand.NewPCG(i, 0))
					for left.Add(-1) >= 0 {
						s.do(quickKinds[rng.IntN(len(quickKinds))], rng)
					}
				})
			}
			running.Wait()
			r := s.rested(t, nil)
			opened = came() - opened
			t.Logf("%.0f connections later: %d descriptors, %d goroutines, %.2f MiB", opened, r.fds, r.goroutines, float64(r.rss)/mib)
			if opened < float64(n)*0.99 {
				t.Errorf("%.0f connections were opened, want about %d", opened, n)
			}
			return r
		}
		before := come(few)
		after := come(many)
		s.judgeRound(t, after, before)
		if after.rss > before.rss+soakGrowth {
			t.Errorf("the resident set has grown from %d to %d bytes", before.rss, after.rss)
		}
	})
}
