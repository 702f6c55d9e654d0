package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const testSize = 100

// start serves on address and gives the address to dial.
func start(t *testing.T, address string, size int) (network, dial string) {
	t.Helper()
	ln, err := open(address, -1)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newServer(ln, size)
	if err != nil {
		t.Fatal(err)
	}
	network, dial = ln.Addr().Network(), ln.Addr().String()
	done := make(chan error, 1)
	go func() { done <- s.serve() }()
	t.Cleanup(func() {
		s.stop(time.Second)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return network, dial
}

// client is one connection that writes bytes and reads responses.
type client struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

func connect(t *testing.T, network, address string) *client {
	t.Helper()
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return &client{t, c, bufio.NewReader(c)}
}

func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

// response reads one and its whole body.
func (c *client) response(method string) (*http.Response, string) {
	c.t.Helper()
	r, err := http.ReadResponse(c.in, &http.Request{Method: method})
	if err != nil {
		c.t.Fatal(err)
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return r, string(b)
}

// want reads a response and compares status and body.
func (c *client) want(method string, status int, body string) *http.Response {
	c.t.Helper()
	r, got := c.response(method)
	if r.StatusCode != status || got != body {
		c.t.Fatalf("%d %.80q, want %d %.80q", r.StatusCode, got, status, body)
	}
	return r
}

// wantEnd checks that the server closes, and nothing more comes.
func (c *client) wantEnd() {
	c.t.Helper()
	if b, err := io.ReadAll(c.in); len(b) > 0 || err != nil {
		c.t.Fatalf("%d more bytes, %v", len(b), err)
	}
}

func sequenceOf(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return string(b)
}

var ordinary = strings.Repeat("x", testSize)

func TestOrdinary(t *testing.T) {
	network, address := start(t, "127.0.0.1:0", testSize)
	c := connect(t, network, address)
	for _, line := range []string{"GET / HTTP/1.1", "PURGE /a?b HTTP/1.1", "GET http://h/x HTTP/1.1", "OPTIONS * HTTP/1.1",
		"GET /byteses/1 HTTP/1.1", "GET http://h HTTP/1.1"} {
		c.send(line + "\r\nHost: h\r\n\r\n")
		r := c.want("GET", 200, ordinary)
		if r.ContentLength != testSize || r.Close {
			t.Fatalf("%s: %+v", line, r)
		}
	}
	c.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n")
	if r := c.want("HEAD", 200, ""); r.ContentLength != testSize {
		t.Fatalf("%+v", r)
	}
	c.want("GET", 200, ordinary)
	c.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello" +
		"PUT / HTTP/1.1\r\nHost: h\r\ntransfer-encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n0\r\nT: 1\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n")
	for range 3 {
		c.want("GET", 200, ordinary)
	}
	c.send("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
	if r := c.want("GET", 200, ordinary); r.Header.Get("Connection") != "keep-alive" {
		t.Fatalf("%+v", r)
	}
	c.send("GET / HTTP/1.0\r\n\r\n")
	c.want("GET", 200, ordinary)
	c.wantEnd()
	c = connect(t, network, address)
	c.send("GET / HTTP/1.1\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\n\r\n")
	if r := c.want("GET", 200, ordinary); !r.Close {
		t.Fatalf("%+v", r)
	}
	c.wantEnd()
}

// Requests that come byte by byte, or many at once, are answered alike and in order.
func TestSplitAndPipelined(t *testing.T) {
	network, address := start(t, "127.0.0.1:0", testSize)
	c := connect(t, network, address)
	text := "GET /a HTTP/1.1\r\nHost: h\r\n\r\nPOST /echo HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc" +
		"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\nHEAD / HTTP/1.1\r\n\r\n"
	check := func() {
		t.Helper()
		c.want("GET", 200, ordinary)
		c.want("POST", 200, "abc")
		c.want("POST", 200, "de")
		c.want("HEAD", 200, "")
	}
	for i := range len(text) {
		c.send(text[i : i+1])
		if i%16 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	check()
	go c.send(strings.Repeat(text, 500))
	for range 500 {
		check()
	}
	head := "GET /headers HTTP/1.1\r\nX: " + strings.Repeat("y", 100_000) + "\r\n\r\n"
	c.send(head)
	c.want("GET", 200, head)
}

func TestLargeOrdinary(t *testing.T) {
	network, address := start(t, "127.0.0.1:0", 100_000)
	c := connect(t, network, address)
	go c.send(strings.Repeat("GET / HTTP/1.1\r\n\r\nHEAD / HTTP/1.1\r\n\r\n", 50))
	for range 50 {
		c.want("GET", 200, strings.Repeat("x", 100_000))
		c.want("HEAD", 200, "")
	}
}

func TestPaths(t *testing.T) {
	network, address := start(t, "127.0.0.1:0", testSize)
	c := connect(t, network, address)
	get := func(path string) { t.Helper(); c.send("GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n") }

	get("/bytes/1000000")
	c.want("GET", 200, sequenceOf(1_000_000))
	get("/bytes/0")
	c.want("GET", 200, "")
	get("/bytes/x")
	c.want("GET", 404, ordinary)
	get("/chunked/700000")
	if r := c.want("GET", 200, sequenceOf(700_000)); len(r.TransferEncoding) != 1 {
		t.Fatalf("%+v", r)
	}
	c.send("HEAD /bytes/77 HTTP/1.1\r\n\r\nHEAD /chunked/77 HTTP/1.1\r\n\r\nHEAD /echo HTTP/1.1\r\n\r\n")
	for _, length := range []int64{77, -1, 0} {
		if r := c.want("HEAD", 200, ""); r.ContentLength != length {
			t.Fatalf("%+v", r)
		}
	}
	get("/status/503")
	c.want("GET", 503, ordinary)
	get("/status/204")
	c.want("GET", 204, "")
	get("/status/304")
	c.want("GET", 304, "")
	get("/status/103")
	c.want("GET", 103, "")
	c.want("GET", 200, ordinary)
	get("/status/1000")
	c.want("GET", 404, ordinary)
	before := time.Now()
	get("/delay/50")
	c.want("GET", 200, ordinary)
	if d := time.Since(before); d < 50*time.Millisecond {
		t.Fatalf("after %v", d)
	}
	c.send("POST /trailers HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: 1\r\nB: 2\r\n\r\n")
	r := c.want("POST", 200, "trailers\n")
	if r.Trailer.Get("X-Received-Bytes") != "5" || r.Trailer.Get("X-Received-Trailers") != "2" {
		t.Fatalf("%+v", r.Trailer)
	}
	get("/close")
	if r := c.want("GET", 200, ordinary); !r.Close {
		t.Fatalf("%+v", r)
	}
	c.wantEnd()
	c = connect(t, network, address)
	get("/until-close/300000")
	c.want("GET", 200, sequenceOf(300_000))
	c.wantEnd()
	c = connect(t, network, address)
	c.send("GET /chunked/7 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
	c.want("GET", 200, sequenceOf(7))
	c.wantEnd()
}

func TestWhenTheBodyIsRead(t *testing.T) {
	network, address := start(t, "127.0.0.1:0", testSize)
	c := connect(t, network, address)
	// /early answers first, and goes on with the next request after the body.
	c.send("POST /early HTTP/1.1\r\nContent-Length: 10\r\n\r\n01234")
	c.want("POST", 200, ordinary)
	c.send("56789GET /status/500 HTTP/1.1\r\n\r\n")
	c.want("GET", 500, ordinary)
	// Other paths answer afterwards; what was asked before the body is answered meanwhile.
	c.send("GET / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n01234")
	c.want("GET", 200, ordinary)
	c.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
	if b, err := c.in.Peek(1); err == nil {
		t.Fatalf("%q before the body was sent", b)
	}
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	c.send("56789")
	c.want("POST", 200, ordinary)
	c.send("POST /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
	c.want("POST", 100, "")
	c.send("abc")
	c.want("POST", 200, "abc")
	// /echo answers while the body comes.
	c.send("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
	r, err := http.ReadResponse(c.in, &http.Request{Method: "POST"})
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 3)
	if _, err := io.ReadFull(r.Body, b); err != nil || string(b) != "abc" {
		t.Fatal(b, err)
	}
	c.send("2\r\nde\r\n0\r\n\r\n")
	if rest, err := io.ReadAll(r.Body); err != nil || string(rest) != "de" {
		t.Fatal(rest, err)
	}
}

func TestBadRequests(t *testing.T) {
	network, address := start(t, "127.0.0.1:0", testSize)
	for _, text := range []string{
		"GET /\r\n\r\n",
		"GET / HTTP/2.0\r\n\r\n",
		"GET / HTTP/1.1\r\nno colon\r\n\r\n",
		"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
		"GET / HTTP/1.1\r\nContent-Length: 1x\r\n\r\n",
		"GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
		"GET / HTTP/1.1\r\nX: " + strings.Repeat("x", maxHeadBytes+2000),
	} {
		c := connect(t, network, address)
		c.send("GET / HTTP/1.1\r\n\r\n" + text)
		c.want("GET", 200, ordinary)
		c.want("GET", 400, "")
	}
	for _, chunks := range []string{"x\r\n", "-1\r\n", "3\r\nabcd\r\n", "3\nabc"} {
		c := connect(t, network, address)
		c.send("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
		if b, _ := io.ReadAll(c.in); len(b) > 0 {
			t.Fatalf("%q is answered with %q", chunks, b)
		}
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	network, address := start(t, "unix:"+path, testSize)
	c := connect(t, network, address)
	c.send("GET / HTTP/1.1\r\n\r\n")
	c.want("GET", 200, ordinary)
	if _, err := open("unix:"+path, -1); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a socket in use was taken over: %v", err)
	}
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open("unix:"+file, -1); err == nil {
		t.Error("a file was taken for a socket")
	}
	if b, _ := os.ReadFile(file); string(b) != "mine" {
		t.Error("the file is gone")
	}
}

// A long answer to a client that doesn't read, and a long request body, leave memory as it is.
func TestMemoryIsBounded(t *testing.T) {
	network, address := start(t, "127.0.0.1:0", testSize)
	slow := connect(t, network, address)
	slow.send("GET /bytes/" + strconv.Itoa(8<<30) + " HTTP/1.1\r\n\r\n")
	c := connect(t, network, address)
	const size = 256 << 20
	c.send(fmt.Sprintf("POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n", size))
	block, sent, high := make([]byte, 1<<20), 0, uint64(0)
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	for ; sent < size; sent += len(block) {
		if _, err := c.Write(block); err != nil {
			t.Fatal(err)
		}
		if sent%(16<<20) == 0 {
			runtime.ReadMemStats(&now)
			high = max(high, now.HeapInuse)
		}
	}
	c.want("POST", 200, ordinary)
	if grown := int64(high) - int64(before.HeapInuse); grown > 64<<20 {
		t.Errorf("%d MiB more for a body of 256 MiB", grown>>20)
	}
	if _, err := http.ReadResponse(slow.in, nil); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1<<20)
	if _, err := io.ReadFull(slow.in, b); err != nil || !bytes.Equal(b, []byte(sequenceOf(1<<20))) {
		t.Error("the slow client got something else")
	}
}

// Two origins at one address, each for one CPU: a connection made on a CPU is
// answered by the one that listens for it.
func TestConnectionsStayOnTheirCPU(t *testing.T) {
	var mask unix.CPUSet
	if err := unix.SchedGetaffinity(0, &mask); err != nil {
		t.Fatal(err)
	}
	address, sizes := "127.0.0.1:0", map[int]int{}
	for cpu := 0; len(sizes) < 2 && cpu < 1024; cpu++ {
		if !mask.IsSet(cpu) {
			continue
		}
		ln, err := open(address, cpu)
		if err != nil {
			t.Fatal(err)
		}
		address, sizes[cpu] = ln.Addr().String(), 100+len(sizes)
		s, err := newServer(ln, sizes[cpu])
		if err != nil {
			t.Fatal(err)
		}
		go s.serve()
		t.Cleanup(func() { s.stop(time.Second) })
	}
	if len(sizes) < 2 {
		t.Skip("one CPU only: run it where there are two")
	}
	runtime.LockOSThread() // and is not given back: its CPU is changed
	for range 20 {
		for cpu, size := range sizes {
			var one unix.CPUSet
			one.Set(cpu)
			if err := unix.SchedSetaffinity(0, &one); err != nil {
				t.Fatal(err)
			}
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			to := netip.MustParseAddrPort(address)
			if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
				t.Fatal(err)
			}
			if _, err := unix.Write(fd, []byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
				t.Fatal(err)
			}
			conn := os.NewFile(uintptr(fd), "connection")
			r, err := http.ReadResponse(bufio.NewReader(conn), nil)
			conn.Close()
			if err != nil {
				t.Fatal(err)
			}
			if r.ContentLength != int64(size) {
				t.Fatalf("CPU %d: an answer of %d bytes, want %d", cpu, r.ContentLength, size)
			}
		}
	}
}
