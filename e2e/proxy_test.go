package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// zproxy is a running proxy with its own configuration.
type zproxy struct {
	*process
	addr, admin string
	log         string // the access log, if the configuration names LOGFILE
	config      string
	file        string // that config is in
}

// stopLimit is how long a proxy at rest may take to end after SIGTERM: less
// than its grace of 30 s, after which it would end whatever is left, and more
// than a machine that is busy with other things needs.
const stopLimit = 20 * time.Second

// start runs a proxy and waits until it is ready. In text LISTEN
// and LISTEN2 stand for addresses that are free, LOGFILE for a file of the
// test's; the backend and the admin section are added. At the end of the test the proxy must come to
// rest and exit with status 0 on SIGTERM.
func start(t *testing.T, backend, text string) *zproxy {
	t.Helper()
	return startWith(t, zproxyBin, backend, text)
}

// startWith is start for another file of the program.
func startWith(t *testing.T, bin, backend, text string) *zproxy {
	t.Helper()
	for try := 1; ; try++ {
		z := launch(t, bin, backend, text)
		if z.ready(t) {
			t.Cleanup(func() { z.finish(t) })
			return z
		}
		printed := z.out.String()
		if try == startTries || !strings.Contains(printed, "already in use") && !strings.Contains(printed, "is taken") {
			t.Fatalf("zproxy does not start:\n%s\nwith\n%s", tail(printed), z.config)
		}
	}
}

// launch starts a proxy and does not wait.
func launch(t *testing.T, bin, backend, text string) *zproxy {
	t.Helper()
	dir := t.TempDir()
	z := &zproxy{addr: freeAddr(t), admin: freeAddr(t), log: filepath.Join(dir, "access.log")}
	z.config = strings.NewReplacer("LISTEN2", freeAddr(t), "LISTEN", z.addr, "LOGFILE", z.log).Replace(text)
	z.config = fmt.Sprintf("io: %s\nadmin: {address: %q}\n%s\n", backend, z.admin, z.config)
	z.file = writeFile(t, filepath.Join(dir, "zproxy.yaml"), z.config)
	z.process = spawn(t, bin, "run", "-c", z.file)
	return z
}

// ready waits for /readyz; false when the process ended instead.
func (z *zproxy) ready(t *testing.T) bool {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if !z.running() {
			return false
		}
		if res, err := adminClient.Get("http://" + z.admin + "/readyz"); err == nil {
			io.Copy(io.Discard, res.Body)
			res.Body.Close()
			if res.StatusCode == 200 {
				return true
			}
		}
	}
	t.Fatalf("zproxy is not ready within %v; it printed:\n%s", patience, tail(z.out.String()))
	return false
}

// finish is the end of every test: rest, SIGTERM, status 0.
func (z *zproxy) finish(t *testing.T) {
	if t.Failed() || t.Skipped() {
		t.Logf("zproxy with\n%s\nprinted:\n%s\n%s", z.config, tail(z.out.String()), z.failures())
	}
	if !z.running() {
		return // the test ended it
	}
	z.rests(t)
	z.signal(t, syscall.SIGTERM)
	if status := z.wait(t, stopLimit); status != 0 {
		t.Errorf("exit status %d after SIGTERM; zproxy printed:\n%s", status, tail(z.out.String()))
	}
	if strings.Contains(z.out.String(), "panic:") {
		t.Errorf("zproxy printed:\n%s", tail(z.out.String()))
	}
}

// rests waits until nothing is under way any more: what a request took must
// have come back.
func (z *zproxy) rests(t *testing.T) {
	t.Helper()
	eventually(t, stopLimit, "the proxy comes to rest", func() (bool, string) {
		m := z.metrics(t)
		s := z.status(t)
		waiting := 0
		for _, l := range s.Loops {
			waiting += l.Active + l.Clients
			for _, p := range l.Pools {
				waiting += p.Waiting
			}
		}
		// Blocks posted to the kernel for receives to come are in use for good.
		held := m.sum("zproxy_buffer_blocks_in_use") - m.sum("zproxy_buffer_blocks_posted")
		clients, tunnels := m.sum("zproxy_client_connections"), m.sum("zproxy_tunnels_open")
		streams := m.sum("zproxy_http2_streams_open") + m.sum("zproxy_upstream_http2_streams_open")
		return waiting == 0 && clients == 0 && tunnels == 0 && streams == 0 && held == 0, fmt.Sprintf(
			"clients, exchanges and waiters %d, client connections %v, tunnels %v, streams %v, blocks held %v; /status %+v",
			waiting, clients, tunnels, streams, held, s)
	})
}

var adminClient = &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}

// page is a page at the admin address. It is asked for again where a loop is too busy to report.
func (z *zproxy) page(t *testing.T, path string) []byte {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		res, err := adminClient.Get("http://" + z.admin + path)
		if err != nil {
			t.Fatalf("%s: %v; zproxy printed:\n%s", path, err, tail(z.out.String()))
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err == nil && res.StatusCode == 200 {
			return body
		}
		if !strings.Contains(string(body), "a loop did not report within") || time.Now().After(deadline) {
			t.Fatalf("%s: %s %v\n%s", path, res.Status, err, body)
		}
	}
}

// samples are the samples of a /metrics page: name with labels, and value.
type samples map[string]float64

func (z *zproxy) metrics(t *testing.T) samples {
	t.Helper()
	m := samples{}
	for sc := bufio.NewScanner(strings.NewReader(string(z.page(t, "/metrics")))); sc.Scan(); {
		line := sc.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		v, err := strconv.ParseFloat(line[i+1:], 64)
		if err != nil {
			t.Fatalf("/metrics: %q: %v", line, err)
		}
		if _, twice := m[line[:i]]; twice {
			t.Errorf("/metrics: %s is there twice", line[:i])
		}
		m[line[:i]] = v
	}
	return m
}

// all lists the values of the samples of one name, in no order, whose labels
// contain each of parts.
func (m samples) all(name string, parts ...string) []float64 {
	var vs []float64
next:
	for key, v := range m {
		if n, _, _ := strings.Cut(key, "{"); n != name {
			continue
		}
		for _, p := range parts {
			if !strings.Contains(key, p) {
				continue next
			}
		}
		vs = append(vs, v)
	}
	return vs
}

// counts waits until the samples of name whose labels contain each of parts sum up to want:
// what a client sees may come before it is counted.
func (z *zproxy) counts(t *testing.T, want float64, name string, parts ...string) {
	t.Helper()
	eventually(t, patience, fmt.Sprintf("%s %v is %v", name, parts, want), func() (bool, string) {
		got := z.metrics(t).sum(name, parts...)
		return got == want, fmt.Sprint(got)
	})
}

func (m samples) sum(name string, parts ...string) (sum float64) {
	for _, v := range m.all(name, parts...) {
		sum += v
	}
	return sum
}

// status is what the tests look at in /status.
type status struct {
	State string `json:"state"`
	Loops []struct {
		IO      string
		InUse   int                           `json:"blocks_in_use"`
		Clients int                           `json:"clients"`
		Origins int                           `json:"origins"`
		Active  int                           `json:"active_requests"`
		Pools   []struct{ Idle, Waiting int } `json:"pools"`
	} `json:"loops"`
	Upstreams []struct {
		Upstream, Protocol string
		Auto               bool
	} `json:"upstreams"`
}

func (z *zproxy) status(t *testing.T) (s status) {
	t.Helper()
	if err := json.Unmarshal(z.page(t, "/status"), &s); err != nil {
		t.Fatalf("/status: %v", err)
	}
	return s
}

// memory reads a value of /proc/PID/FILE, such as VmHWM of status or Rss of
// smaps_rollup, in bytes.
func (z *zproxy) memory(t *testing.T, file, name string) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", z.cmd.Process.Pid, file))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^` + name + `:\s+(\d+) kB`).FindSubmatch(b)
	if m == nil {
		t.Fatalf("no %s in %s", name, file)
	}
	kib, _ := strconv.Atoi(string(m[1]))
	return kib << 10
}

// failures sums up what the access log says about answers that were none of
// the origin's.
func (z *zproxy) failures() string {
	b, err := os.ReadFile(z.log)
	if err != nil {
		return ""
	}
	counts := map[string]int{}
	for _, line := range strings.Split(string(b), "\n") {
		var r record
		if json.Unmarshal([]byte(line), &r) == nil && r.Reason != "" {
			counts[fmt.Sprintf("%d %s (reused %v)", r.Status, r.Reason, r.Reused)]++
		}
	}
	return fmt.Sprintf("reasons in the access log: %v", counts)
}

// record is a line of the access log.
type record struct {
	Time, Client, Method, Target, Host, Protocol, Route, Upstream, Endpoint, Reason string

	Status   int
	BytesIn  int64 `json:"bytes_in"`
	BytesOut int64 `json:"bytes_out"`
	Duration int64 `json:"duration_us"`
	Reused   bool
}

func (z *zproxy) url(path string) string { return "http://" + z.addr + path }
