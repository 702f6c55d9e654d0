package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// logged reads the lines of access logs, each of which must be whole and
// valid.
func logged(t *testing.T, files ...string) (records []record) {
	t.Helper()
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		sc := bufio.NewScanner(f)
		for sc.Scan() {
			var r record
			if err := json.Unmarshal(sc.Bytes(), &r); err != nil {
				t.Fatalf("%s: %q: %v", name, sc.Text(), err)
			}
			if _, err := time.Parse(time.RFC3339, r.Time); err != nil || r.Client == "" || r.Protocol == "" {
				t.Fatalf("%s: %q: %v", name, sc.Text(), err)
			}
			records = append(records, r)
		}
	}
	return records
}

const logConfig = `
listeners: [{address: LISTEN}]
upstreams: {app: {endpoints: [{address: %q}]}}
routes:
  - {path: "/*", upstream: app}
  - {path: "/own/:name", respond: {status: 418, body: "teapot\n"}}
access_log: {path: %s, buffer_bytes: %s, flush: 50ms, format: %s}
`

// One line per request, with what was asked and what came of it.
func TestAccessLog(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		origin := startNginx(t, t.TempDir())
		z := start(t, backend, fmt.Sprintf(logConfig, origin.addr, "LOGFILE", "64KiB", "json"))
		const each = 100
		curl(t, "-o", "/dev/null", "-A", "e2e \"quoted\" \xff", "-e", "http://ref/", z.url(fmt.Sprintf("/hello?[1-%d]", each)))
		curl(t, "-o", "/dev/null", z.url(fmt.Sprintf("/own/[1-%d]", each)))
		curl(t, "-o", "/dev/null", z.url(fmt.Sprintf("/missing/[1-%d]", each)))
		c := dial(t, z.addr)
		c.write("nonsense\r\n\r\n")
		c.response("GET")
		c.Close()

		var records []record
		eventually(t, patience, "all lines are written", func() (bool, string) {
			b, _ := os.ReadFile(z.log)
			n := strings.Count(string(b), "\n")
			return n >= 3*each+1, fmt.Sprintf("%d lines", n)
		})
		records = logged(t, z.log)
		counts := map[string]int{}
		for _, r := range records {
			counts[fmt.Sprintf("%d %s %s %s", r.Status, r.Method, r.Route, r.Upstream)]++
			if r.Route == "/*" && (r.Endpoint != origin.addr || r.BytesOut == 0 || r.Duration <= 0) {
				t.Fatalf("%+v", r)
			}
		}
		want := map[string]int{
			"200 GET /* app": each, "418 GET /own/:name ": each, "404 GET /* app": each, "400   ": 1,
		}
		for what, n := range want {
			if counts[what] != n {
				t.Errorf("%d lines %q, want %d; all: %v", counts[what], what, n, counts)
			}
		}
		if len(records) != 3*each+1 {
			t.Errorf("%d lines for %d requests", len(records), 3*each+1)
		}
	})
}

// Rotation under load: the file is renamed, SIGUSR1 sent, and every request
// has its line in one of the files.
func TestAccessLogReopen(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		// Buffers for all that is asked here: a writer that comes late on a busy
		// machine loses nothing, so what is lost is lost in the rotation.
		z := start(t, backend, fmt.Sprintf(logConfig, startNginx(t, t.TempDir()).addr, "LOGFILE", "4MiB", "json"))
		clients := startLoad(z.addr, "/hello", "hello\n", 8)
		var files []string
		for i := range 5 {
			eventually(t, patience, "the log is written to", func() (bool, string) {
				info, err := os.Stat(z.log)
				return err == nil && info.Size() > 0, fmt.Sprint(err)
			})
			rotated := fmt.Sprintf("%s.%d", z.log, i)
			if err := os.Rename(z.log, rotated); err != nil {
				t.Fatal(err)
			}
			files = append(files, rotated)
			z.signal(t, syscall.SIGUSR1)
			eventually(t, patience, "the log is opened again", func() (bool, string) {
				_, err := os.Stat(z.log)
				return err == nil, fmt.Sprint(err)
			})
		}
		clients.reach(t, clients.answered.Load()+100)
		answered, failed, _ := clients.stop(t)
		z.rests(t)
		if n := z.metrics(t).sum("zproxy_access_log_dropped_total"); n != 0 {
			t.Errorf("%v lines were dropped", n)
		}
		z.signal(t, syscall.SIGTERM)
		if status := z.wait(t, stopLimit); status != 0 {
			t.Errorf("exit status %d", status)
		}
		if n := len(logged(t, append(files, z.log)...)); failed > 0 || int64(n) != answered {
			t.Errorf("%d lines for %d requests (%d failed)", n, answered, failed)
		}
		for _, f := range files {
			if len(logged(t, f)) == 0 {
				t.Errorf("%s is empty", f)
			}
		}
	})
}

// A full disk loses lines, never requests.
func TestAccessLogDiskFull(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		z := start(t, backend, fmt.Sprintf(logConfig, startNginx(t, t.TempDir()).addr, "/dev/full", "16KiB", "json"))
		clients := startLoad(z.addr, "/hello", "hello\n", 8)
		clients.reach(t, 1000)
		answered, failed, slowest := clients.stop(t)
		if failed > 0 || answered < 1000 || slowest > fastLimit {
			t.Errorf("%d requests were answered, %d not, the slowest in %v", answered, failed, slowest)
		}
		eventually(t, patience, "lines are lost, counted and reported", func() (bool, string) {
			m := z.metrics(t)
			failing, dropped := m.sum("zproxy_access_log_failing"), m.sum("zproxy_access_log_dropped_total")
			return failing == 1 && dropped > 0 && strings.Contains(z.out.String(), "no space left"), fmt.Sprintf("failing %v, dropped %v", failing, dropped)
		})
		if n := strings.Count(z.out.String(), "no space left"); n != 1 {
			t.Errorf("the full disk is reported %d times, want once:\n%s", n, z.out.String())
		}
	})
}

// The log on standard output, in the combined format.
func TestAccessLogStdout(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		z := start(t, backend, fmt.Sprintf(logConfig, startNginx(t, t.TempDir()).addr, `"-"`, "64KiB", "combined"))
		curl(t, "-A", "e2e", z.url("/hello"))
		eventually(t, patience, "the line is printed", func() (bool, string) {
			return strings.Contains(z.out.String(), `"GET /hello HTTP/1.1" 200 6 "-" "e2e"`), z.out.String()
		})
	})
}

// SIGTERM ends the process within its grace, whether or not somebody reads the
// access log, and says how many lines were lost.
func TestEndWithStalledLogReader(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		fifo := filepath.Join(t.TempDir(), "fifo")
		if err := syscall.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
		reader, err := os.OpenFile(fifo, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Close()
		z := start(t, backend, fmt.Sprintf(logConfig+"shutdown: {grace: 1s}\n", startNginx(t, t.TempDir()).addr, fifo, "64KiB", "json"))
		curl(t, "-o", "/dev/null", z.url("/own/[1-2000]")) // more than a pipe takes
		begin := time.Now()
		z.signal(t, syscall.SIGTERM)
		if status := z.wait(t, stopLimit); status != 0 {
			t.Errorf("exit status %d, want 0", status)
		}
		if took := time.Since(begin); took < 500*time.Millisecond || took > 3*time.Second {
			t.Errorf("the process ended after %v; its grace is 1s", took)
		}
		if !strings.Contains(z.out.String(), "lost_records=") {
			t.Errorf("lost lines are not reported:\n%s", z.out.String())
		}
	})
}
