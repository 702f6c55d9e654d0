package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"zproxy/loop"
	"zproxy/metrics"
)

// fake is a proxy as the pages see it.
type fake struct {
	idle
	loops  []*metrics.Loop
	gauges []metrics.Gauge
	broken atomic.Bool
	reason atomic.Value // string: why it is not ready
	status any
	block  chan struct{} // when set, Snapshot says so here and waits for close
	inside atomic.Int32
	weight int
}

func (f *fake) Snapshot() (metrics.Snapshot, error) {
	if f.block != nil {
		f.inside.Add(1)
		<-f.block
	}
	if f.broken.Load() {
		return metrics.Snapshot{}, errors.New("loop 1 does not answer")
	}
	return metrics.Snapshot{Loops: f.loops, Gauges: f.gauges}, nil
}

func (f *fake) Ready() (bool, string) {
	reason, _ := f.reason.Load().(string)
	return reason == "", strings.TrimPrefix(reason, "-")
}

func (f *fake) Status() any { return f.status }

func (f *fake) SetWeight(w Weight) error {
	if w.Upstream != "a/b" || w.Endpoint != "unix:/run/x.sock" {
		return fmt.Errorf("there is no %s at %s", w.Endpoint, w.Upstream)
	}
	f.weight = w.Weight
	return nil
}

func (f *fake) Change(c Change) (any, error) {
	if string(c.Text) == "wrong" {
		return nil, errors.New("c.yaml:1: wrong <&>")
	}
	return fmt.Sprintf("%q of %q, dry: %v", c.Text, c.Name, c.Dry), nil
}

func serve(t *testing.T, f *fake) *Server {
	t.Helper()
	s, err := Serve("127.0.0.1:0", nil, f, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

var client = http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func do(t *testing.T, s *Server, method, path string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, "http://"+s.Addr().String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

func TestPages(t *testing.T) {
	f := &fake{
		loops:  []*metrics.Loop{{Requests: 42}},
		gauges: append(make([]metrics.Gauge, 0, 64), metrics.Gauge{Name: "zproxy_build_info", Help: "Build.", Value: 1}),
		status: map[string]any{"loops": []int{1, 2}},
	}
	s := serve(t, f)
	for _, c := range []struct {
		method, path string
		status       int
		contentType  string
		has          string
	}{
		{"GET", "/", 200, plainText, "/readyz     200 while"},
		{"GET", "/metrics", 200, metrics.ContentType, "\nzproxy_requests_total{loop=\"0\"} 42\n"},
		{"GET", "/metrics", 200, metrics.ContentType, "\nprocess_resident_memory_bytes "},
		{"GET", "/metrics", 200, metrics.ContentType, "\nzproxy_build_info 1\n"},
		{"GET", "/healthz", 200, plainText, "ok\n"},
		{"GET", "/readyz", 200, plainText, "ok\n"},
		{"GET", "/status", 200, "application/json", "\"loops\": ["},
		{"GET", "/metrics/", 404, plainText, "/ lists the pages"},
		{"GET", "/debug/pprof/", 404, plainText, "not found"},
		{"GET", "//metrics", 404, plainText, "not found"},
		{"POST", "/nothing", 404, plainText, "not found"},
		{"POST", "/metrics", 405, plainText, "GET or HEAD"},
		{"OPTIONS", "/", 405, plainText, "GET or HEAD"},
		{"DELETE", "/healthz", 405, plainText, "GET or HEAD"},
		{"HEAD", "/metrics", 200, metrics.ContentType, ""},
		{"HEAD", "/readyz", 200, plainText, ""},
	} {
		response, body := do(t, s, c.method, c.path)
		h := response.Header
		if response.StatusCode != c.status || h.Get("Content-Type") != c.contentType || !strings.Contains(body, c.has) {
			t.Errorf("%s %s: %d %s\n%s", c.method, c.path, response.StatusCode, h.Get("Content-Type"), body)
		}
		if h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %s: %v", c.method, c.path, h)
		}
		if allow := h.Get("Allow"); (c.status == 405) != (allow == "GET, HEAD") {
			t.Errorf("%s %s: Allow %q", c.method, c.path, allow)
		}
		if c.method == "HEAD" && (body != "" || response.ContentLength <= 0) {
			t.Errorf("HEAD %s: %d bytes, Content-Length %d", c.path, len(body), response.ContentLength)
		}
	}
	if f.gauges[:2][1].Name != "" {
		t.Error("the source's slice has been written to")
	}
	_, body := do(t, s, "GET", "/status")
	var status struct{ Loops []int }
	if err := json.Unmarshal([]byte(body), &status); err != nil || len(status.Loops) != 2 {
		t.Errorf("%v: %s", err, body)
	}
	if _, index := do(t, s, "GET", "/"); strings.Count(index, "\n") != 5+len(pages) {
		t.Errorf("index:\n%s", index)
	}
}

func TestReadiness(t *testing.T) {
	f := &fake{}
	s := serve(t, f)
	for _, c := range []struct {
		reason string
		status int
		body   string
	}{
		{"starting: waiting for loop 1", 503, "starting: waiting for loop 1\n"},
		{"", 200, "ok\n"},
		{"draining", 503, "draining\n"},
		{"-", 503, "not ready\n"},
	} {
		f.reason.Store(c.reason)
		if response, body := do(t, s, "GET", "/readyz"); response.StatusCode != c.status || body != c.body {
			t.Errorf("%q: %d %q", c.reason, response.StatusCode, body)
		}
		if response, _ := do(t, s, "GET", "/healthz"); response.StatusCode != 200 {
			t.Errorf("%q: /healthz %d", c.reason, response.StatusCode)
		}
	}
}

func TestSourceFailures(t *testing.T) {
	f := &fake{status: func() {}} // a function is not JSON
	f.broken.Store(true)
	s := serve(t, f)
	s.http.ErrorLog.SetOutput(io.Discard)
	if response, body := do(t, s, "GET", "/metrics"); response.StatusCode != 503 || !strings.Contains(body, "loop 1 does not answer") {
		t.Errorf("%d %q", response.StatusCode, body)
	}
	if response, body := do(t, s, "GET", "/status"); response.StatusCode != 500 || !strings.Contains(body, "no status") {
		t.Errorf("%d %q", response.StatusCode, body)
	}
	f.broken.Store(false)
	f.gauges = []metrics.Gauge{{Name: "not a name"}}
	if response, body := do(t, s, "GET", "/metrics"); response.StatusCode != 200 || strings.Contains(body, "not a name") {
		t.Errorf("%d %q", response.StatusCode, body)
	}
}

// Many scrapes at once cost bounded memory, and health still answers.
func TestConcurrentRequestsAreBounded(t *testing.T) {
	f := &fake{block: make(chan struct{})}
	s := serve(t, f)
	answered := make(chan int, maxConcurrent)
	for range maxConcurrent {
		go func() {
			response, err := client.Get("http://" + s.Addr().String() + "/metrics")
			if err != nil {
				answered <- 0
				return
			}
			response.Body.Close()
			answered <- response.StatusCode
		}()
	}
	for deadline := time.Now().Add(30 * time.Second); f.inside.Load() < maxConcurrent; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the requests did not arrive")
		}
	}
	response, _ := do(t, s, "GET", "/metrics")
	if response.StatusCode != 503 || response.Header.Get("Retry-After") == "" {
		t.Errorf("one too many: %d", response.StatusCode)
	}
	if response, _ := do(t, s, "GET", "/healthz"); response.StatusCode != 200 {
		t.Errorf("/healthz: %d", response.StatusCode)
	}
	close(f.block)
	for range maxConcurrent {
		if status := <-answered; status != 200 {
			t.Errorf("a request that was let in got %d", status)
		}
	}
	if response, _ := do(t, s, "GET", "/metrics"); response.StatusCode != 200 {
		t.Errorf("afterwards: %d", response.StatusCode)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	s := serve(t, &fake{})
	before := runtime.NumGoroutine()
	for range maxConnections * 3 {
		conn, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	time.Sleep(50 * time.Millisecond)
	// (Those of the runtime, and of tests before, come and go.)
	more := runtime.NumGoroutine() - before
	for deadline := time.Now().Add(5 * time.Second); more > maxConnections+5 && time.Now().Before(deadline); more = runtime.NumGoroutine() - before {
		time.Sleep(10 * time.Millisecond)
	}
	if more > maxConnections+5 {
		t.Errorf("%d goroutines for %d connections", more, maxConnections*3)
	}
}

func TestLargeHeadIsRefused(t *testing.T) {
	s := serve(t, &fake{})
	r, _ := http.NewRequest("GET", "http://"+s.Addr().String()+"/healthz", nil)
	r.Header.Set("X", strings.Repeat("x", 64<<10))
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", response.StatusCode)
	}
}

func TestTimeoutsAreSet(t *testing.T) {
	s := serve(t, &fake{})
	if h := &s.http; h.ReadTimeout <= 0 || h.ReadHeaderTimeout <= 0 || h.WriteTimeout <= 0 || h.IdleTimeout <= 0 {
		t.Errorf("%v %v %v %v", h.ReadTimeout, h.ReadHeaderTimeout, h.WriteTimeout, h.IdleTimeout)
	}
}

func TestAddressErrors(t *testing.T) {
	s := serve(t, &fake{})
	taken := s.Addr().String()
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	used := filepath.Join(dir, "used")
	u, err := Serve("unix:"+used, nil, &fake{}, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	for addr, want := range map[string]string{
		taken:                      taken + " is taken by another process",
		"192.0.2.1:9901":           "not an address of this machine",
		"127.0.0.1:99999":          "admin.address is host:port",
		"nonsense":                 "admin.address is host:port",
		"unix:" + plain:            "is not a socket",
		"unix:" + used:             "is taken by another process",
		"unix:" + dir + "/no/such": "directory must exist",
	} {
		s, err := Serve(addr, nil, &fake{}, slog.Default())
		if err == nil {
			s.Close()
			t.Errorf("%s: no error", addr)
		} else if !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "admin: ") {
			t.Errorf("%s: %v", addr, err)
		}
	}
	if content, err := os.ReadFile(plain); string(content) != "x" {
		t.Errorf("the file in the way: %q, %v", content, err)
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	// A socket file that a dead process left behind.
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	old.Close()

	s, err := Serve("unix:"+path, &loop.FileAccess{Mode: 0o660, UID: -1, GID: -1}, &fake{}, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v %v", info, err)
	}
	overUnix := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}
	response, err := overUnix.Get("http://admin/healthz")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != 200 {
		t.Errorf("status %d", response.StatusCode)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket file is still there: %v", err)
	}
}

func TestShutdownWaitsForAnswers(t *testing.T) {
	f := &fake{block: make(chan struct{})}
	s := serve(t, f)
	answered := make(chan int, 1)
	go func() {
		response, err := client.Get("http://" + s.Addr().String() + "/metrics")
		if err != nil {
			answered <- 0
			return
		}
		response.Body.Close()
		answered <- response.StatusCode
	}()
	for deadline := time.Now().Add(30 * time.Second); f.inside.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the request did not arrive")
		}
	}
	time.AfterFunc(20*time.Millisecond, func() { close(f.block) })
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if status := <-answered; status != 200 {
		t.Errorf("status %d", status)
	}
	if _, err := net.Dial("tcp", s.Addr().String()); err == nil {
		t.Error("still listening")
	}
}

// Connections that ask nothing make way for one that does, however many they
// are.
func TestSilentConnectionsShutNobodyOut(t *testing.T) {
	s := serve(t, &fake{})
	for range 3 * maxConnections {
		c, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	client := http.Client{Timeout: readTimeout * 4 / 5} // before they end by themselves
	res, err := client.Get("http://" + s.Addr().String() + "/healthz")
	if err != nil {
		t.Fatalf("beside %d silent connections: %v", 3*maxConnections, err)
	}
	res.Body.Close()
	if res.StatusCode != 200 {
		t.Errorf("%s", res.Status)
	}
}
