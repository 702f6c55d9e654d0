package vmtest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"zproxy/internal/child"
)

const (
	proxyAddr = "127.0.0.1:8080"
	adminAddr = "127.0.0.1:9901"
	// Everything is emulated, and the host has other things to do.
	patience = 30 * time.Second
)

// largeBody is more than the sockets on its way hold, which are kept small.
var largeBody = strings.Repeat("0123456789abcdef", 1<<20/16)

const (
	socketBytes = 32 << 10
	maxPerLoop  = 64 << 20 // of buffers, the default
)

// origin is what the proxy forwards to.
type origin struct{ addr string }

func startOrigin(t *testing.T) *origin {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/large") {
			io.WriteString(w, largeBody) // in chunks: a body of known length would be spliced past the buffers
			return
		}
		const body = "hello\n"
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		io.WriteString(w, body)
	})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return &origin{l.Addr().String()}
}

// proxy is a running zproxy.
type proxy struct {
	cmd    *exec.Cmd
	out    child.Output
	exited chan struct{}
	err    error // of Wait, when exited is closed
	loops  int   // 0: not known yet
}

// startProxy starts a proxy with one loop on every CPU before o; extra is more
// configuration.
func startProxy(t *testing.T, backend string, o *origin, extra string) *proxy {
	t.Helper()
	return startProxyWith(t, backend, before(o)+extra)
}

func before(o *origin) string {
	return fmt.Sprintf(`
upstreams: {app: {endpoints: [{address: %q}], socket: {receive_buffer: %d}, timeouts: {connect: 60s}}}
routes: [{path: "/*", upstream: app}]
`, o.addr, socketBytes)
}

func startProxyWith(t *testing.T, backend, text string) *proxy {
	t.Helper()
	z := launch(t, backend, text)
	deadline := time.Now().Add(patience)
	for {
		if res, err := http.Get("http://" + adminAddr + "/readyz"); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return z
			}
		}
		select {
		case <-z.exited:
			t.Fatalf("it ended: %v\n%s", z.err, z.out.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("not ready within %v:\n%s", patience, z.out.String())
		}
	}
}

func launch(t *testing.T, backend, text string) *proxy {
	t.Helper()
	text += fmt.Sprintf(`
io: %s
listeners: [{address: %q, socket: {send_buffer: %d}}]
admin: {address: %q}
limits: {request_header_timeout: 60s} # a connection may have to wait for its turn
`, backend, proxyAddr, socketBytes, adminAddr)
	file := t.TempDir() + "/zproxy.yaml"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	z := &proxy{cmd: exec.Command("/zproxy", "run", "-c", file), exited: make(chan struct{})}
	z.cmd.Stdout, z.cmd.Stderr = &z.out, &z.out
	if err := z.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		z.err = z.cmd.Wait()
		close(z.exited)
	}()
	t.Cleanup(func() {
		z.cmd.Process.Kill()
		<-z.exited
		if t.Failed() {
			t.Logf("the proxy printed:\n%s", z.out.String())
		}
	})
	return z
}

// refused gives what a proxy prints that does not start.
func refused(t *testing.T, backend string, o *origin, extra string) string {
	t.Helper()
	z := launch(t, backend, before(o)+extra)
	select {
	case <-z.exited:
		if z.err == nil {
			t.Error("it ended without an error")
		}
	case <-time.After(patience):
		t.Errorf("it started with %q", extra)
	}
	return z.out.String()
}

// stop drains it.
func (z *proxy) stop(t *testing.T) {
	t.Helper()
	if err := z.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-z.exited:
		if z.err != nil {
			t.Errorf("it ended with %v", z.err)
		}
	case <-time.After(patience):
		t.Errorf("it did not end within %v", patience)
	}
}

// startLines are the lines that say what each loop got.
func (z *proxy) startLines(t *testing.T, loops int) []string {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		var lines []string
		for line := range strings.Lines(z.out.String()) {
			if strings.Contains(line, fmt.Sprintf("subject=loop loop=%d cpu=", len(lines))) {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
		if len(lines) == loops {
			return lines
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d loops say what they got:\n%s", len(lines), loops, z.out.String())
		}
	}
}

// status is what /status shows.
type status struct {
	Error string
	Loops []struct {
		Index, CPU, Node int
		IO               string
		Bound            bool `json:"memory_bound"`
		Clients          int
		Requests         uint64
		Grown            uint64
		HugeBytes        uint64 `json:"huge_bytes"`
		Size             uint64 `json:"arena_bytes"`
	}
}

func (z *proxy) status(t *testing.T) status {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		var s status
		if err := json.Unmarshal(z.page(t, "/status"), &s); err != nil {
			t.Fatal(err)
		}
		if s.Error == "" {
			return s
		}
		if time.Now().After(deadline) { // a loop may be slow to answer here
			t.Fatal(s.Error)
		}
	}
}

// page is 503 while a loop is slow to answer, as it may be here.
func (z *proxy) page(t *testing.T, path string) []byte {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		res, err := http.Get("http://" + adminAddr + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err == nil && res.StatusCode == http.StatusOK {
			return text
		}
		if err != nil || res.StatusCode != http.StatusServiceUnavailable || time.Now().After(deadline) {
			t.Fatalf("%s: %s %v", path, res.Status, err)
		}
	}
}

// metrics gives a counter's value for every loop.
func (z *proxy) metrics(t *testing.T, name string) map[int]float64 {
	t.Helper()
	values := map[int]float64{}
	for line := range strings.Lines(string(z.page(t, "/metrics"))) {
		var loop int
		var value float64
		if n, _ := fmt.Sscanf(line, name+`{loop="%d"} %g`, &loop, &value); n == 2 {
			values[loop] = value
		}
	}
	if len(values) == 0 {
		t.Fatalf("%s is not among the metrics", name)
	}
	return values
}

// waitForGrowth waits until every loop has taken more than its first step of
// memory.
func (z *proxy) waitForGrowth(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		smallest := uint64(1 << 40)
		for _, l := range z.status(t).Loops {
			smallest = min(smallest, l.Size)
		}
		if smallest > 2<<20 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("a loop still has only %d bytes after %v", smallest, patience)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// client is a connection to the proxy.
type client struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

// nextPort is for connections whose port matters: below those that the kernel
// gives out, and never used twice.
var nextPort = 10000

// dialLoop connects to one loop: on the loopback interface half the client's
// port, modulo the number of loops, says which one a connection is for.
func (z *proxy) dialLoop(t *testing.T, loop int) *client {
	t.Helper()
	if z.loops == 0 {
		z.loops = len(z.status(t).Loops)
	}
	for nextPort/2%z.loops != loop {
		nextPort += 2
	}
	port := nextPort
	nextPort += 2
	return dialFrom(t, port)
}

// dial connects from a port that the kernel chooses.
func dial(t *testing.T) *client { return dialFrom(t, 0) }

func dialFrom(t *testing.T, port int) *client {
	t.Helper()
	d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}}
	conn, err := d.Dial("tcp4", proxyAddr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.(*net.TCPConn).SetReadBuffer(socketBytes); err != nil {
		t.Fatal(err)
	}
	return &client{t, conn, bufio.NewReader(conn)}
}

func (c *client) close() { c.conn.Close() }

func (c *client) get(path, want string) {
	c.t.Helper()
	c.ask(path)
	c.answer(want)
}

func (c *client) ask(path string) {
	c.t.Helper()
	c.conn.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(c.conn, "GET %s HTTP/1.1\r\nHost: guest\r\n\r\n", path); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) answer(want string) {
	c.t.Helper()
	c.conn.SetDeadline(time.Now().Add(patience))
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || string(body) != want {
		c.t.Fatalf("%s, %d bytes, want %d: %v", res.Status, len(body), len(want), err)
	}
}
