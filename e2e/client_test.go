package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds every single read and write of a client: a proxy that hangs
// fails the test instead of stopping it.
const patience = 30 * time.Second

// client is a plain connection that speaks HTTP by hand: it repeats nothing
// and hides nothing.
type client struct {
	net.Conn
	t  *testing.T
	br *bufio.Reader
}

func dial(t *testing.T, addr string) *client {
	t.Helper()
	network := "tcp"
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr = "unix", path
	}
	c, err := net.DialTimeout(network, addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, c)
}

func newClient(t *testing.T, c net.Conn) *client {
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return &client{Conn: c, t: t, br: bufio.NewReader(c)}
}

// dialSmall connects with a small receive buffer, so that what the client does
// not read soon stays with the proxy.
func dialSmall(t *testing.T, addr string) *client {
	t.Helper()
	d := net.Dialer{Timeout: patience, ControlContext: nil}
	d.Control = receiveBuffer(4096)
	c, err := d.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, c)
}

func (c *client) write(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, text); err != nil {
		c.t.Fatalf("writing: %v", err)
	}
}

// head reads the head of a response; its body is read from res.Body. method is
// that of the request.
func (c *client) head(method string) *http.Response {
	c.t.Helper()
	res, err := http.ReadResponse(c.br, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("reading a response: %v", err)
	}
	return res
}

// readHead is head for other goroutines than the test's.
func readHead(c *client) (*http.Response, error) { return http.ReadResponse(c.br, nil) }

// response reads a whole response.
func (c *client) response(method string) (*http.Response, string) {
	c.t.Helper()
	res := c.head(method)
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatalf("reading the body of a response: %v", err)
	}
	return res, string(body)
}

// get asks for path on the connection and wants a 200.
func (c *client) get(path string) string {
	c.t.Helper()
	c.SetDeadline(time.Now().Add(patience))
	c.write("GET " + path + " HTTP/1.1\r\nHost: e2e\r\n\r\n")
	res, body := c.response("GET")
	if res.StatusCode != 200 {
		c.t.Fatalf("GET %s: %s: %s", path, res.Status, body)
	}
	return body
}

// ends wants the peer to close without a further byte.
func (c *client) ends() {
	c.t.Helper()
	c.SetReadDeadline(time.Now().Add(patience))
	if b, err := c.br.ReadByte(); err != io.EOF {
		c.t.Fatalf("byte %q, error %v where the connection should end", b, err)
	}
}

// tryGet is one request on a connection, for clients under load.
func tryGet(c net.Conn, br *bufio.Reader, path string) (status int, body string, err error) {
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: e2e\r\n\r\n"); err != nil {
		return 0, "", err
	}
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		return 0, "", err
	}
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

// receiveBuffer sets SO_RCVBUF before a connection is made, which is what
// bounds the window.
func receiveBuffer(bytes int) func(network, address string, raw rawConn) error {
	return func(_, _ string, raw rawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, bytes)
		})
		if err == nil {
			err = failed
		}
		return err
	}
}

// curl runs curl quietly, bounded in time, and gives what it wrote to stdout.
// Its exit status must be 0.
func curl(t *testing.T, args ...string) string {
	t.Helper()
	need(t, "curl")
	return run(t, "curl", append([]string{"--silent", "--show-error", "--max-time", "30"}, args...)...)
}

// curlHead is curl -i: status line with fields, and body.
func curlHead(t *testing.T, args ...string) (head, body string) {
	t.Helper()
	dump := filepath.Join(t.TempDir(), "head")
	body = curl(t, append([]string{"--dump-header", dump}, args...)...)
	b, err := os.ReadFile(dump)
	if err != nil {
		t.Fatal(err)
	}
	return string(b), body
}

// wrkResult is what wrk prints at its end.
type wrkResult struct {
	requests int
	bad      int // answers that are not 2xx or 3xx
	errors   int // connect, read, write errors and timeouts
	text     string
}

var (
	wrkRequests = regexp.MustCompile(`(\d+) requests in`)
	wrkBad      = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`)
	wrkErrors   = regexp.MustCompile(`Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
)

// wrkFor is wrk for a time in which a machine that is not busy makes more than so many requests;
// where it made fewer, and none was bad, wrk has longer.
func wrkFor(t *testing.T, connections, requests int, duration time.Duration, url string) wrkResult {
	t.Helper()
	r := wrk(t, connections, duration, url)
	if r.bad == 0 && r.errors == 0 && r.requests < requests {
		t.Logf("%d requests in %v", r.requests, duration)
		r = wrk(t, connections, 4*duration+patience/3, url)
	}
	return r
}

// wrk runs wrk for a bounded time.
func wrk(t *testing.T, connections int, duration time.Duration, url string) wrkResult {
	t.Helper()
	need(t, "wrk")
	cmd := exec.Command("wrk", "-t2", fmt.Sprintf("-c%d", connections), fmt.Sprintf("-d%ds", int(duration.Seconds())), "--timeout", "20s", url)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	r := wrkResult{text: string(out)}
	number := func(re *regexp.Regexp) (sum int) {
		for i, s := range re.FindStringSubmatch(r.text) {
			if i > 0 {
				n, _ := strconv.Atoi(s)
				sum += n
			}
		}
		return sum
	}
	r.requests, r.bad, r.errors = number(wrkRequests), number(wrkBad), number(wrkErrors)
	return r
}
