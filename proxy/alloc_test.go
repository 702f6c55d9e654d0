package proxy

import (
	"net"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/buf"
	"zproxy/config"
	"zproxy/loop"
	"zproxy/metrics"
	"zproxy/metrics/accesslog"
	"zproxy/proxy/snapshot"
)

// stepped is a worker that the test turns by hand, with a client and an
// origin on raw sockets of the same thread: nothing else allocates.
type stepped struct {
	t      testing.TB
	w      *Worker
	client int
	origin int
	accept net.Listener // the origin's
}

// acceptRaw accepts one connection and gives its descriptor, -1 if there is none.
func acceptRaw(l net.Listener) <-chan int {
	accepted := make(chan int)
	go func() {
		c, err := l.Accept()
		if err != nil {
			accepted <- -1
			return
		}
		f, _ := c.(*net.TCPConn).File()
		fd, _ := unix.Dup(int(f.Fd()))
		f.Close()
		c.Close()
		accepted <- fd
	}()
	return accepted
}

func newStepped(t testing.TB, io loop.IO, extra string, log *accesslog.Logger) *stepped {
	t.Helper()
	return newSteppedBy(t, io, "[http1]", extra, log, []byte(getRequest))
}

// newSteppedBy has a client that speaks one of protocols, and begins with first:
// bytes that make the worker connect to the origin.
func newSteppedBy(t testing.TB, io loop.IO, protocols, extra string, log *accesslog.Logger, first []byte) *stepped {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	origin, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { origin.Close() })
	cfg, err := config.Parse("test.yaml", []byte(strings.Replace(yaml(origin.Addr().String(), extra), "8080\"}", "8080\", protocols: "+protocols+"}", 1)))
	if err != nil {
		t.Fatal(err)
	}
	snap, err := snapshot.NewRegistry(1, nil).Compile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	fds, err := loop.OpenListeners("127.0.0.1:0", 1, nil, loop.SockOpts{NoDelay: true})
	if err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	pool := buf.NewPool(buf.NewSliceMemory(8<<20, 2<<20), 16<<10)
	l, err := loop.New(loop.Config{CPU: -1, IO: io, Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	m := new(metrics.Loop)
	c := Config{Loop: l, Pool: pool, Snapshot: snap, Metrics: m, MaxBlocks: 512}
	if log != nil {
		c.Log = log.NewBuffer(&m.AccessLogDropped)
	}
	s := &stepped{t: t, w: NewWorker(c, []*Neighbour{{Loop: l}}), accept: origin}
	s.w.Listen(fds[0], 0)
	s.w.begin()
	t.Cleanup(func() { l.Destroy() })
	if s.client, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0); err != nil {
		t.Fatal(err)
	}
	if err = unix.Connect(s.client, sa); err != nil {
		t.Fatal(err)
	}
	unix.SetNonblock(s.client, true)
	t.Cleanup(func() { unix.Close(s.client); unix.Close(s.origin) })
	unix.Write(s.client, first)
	accepted := acceptRaw(origin)
	for s.origin == 0 {
		s.turn()
		select {
		case s.origin = <-accepted:
		default:
		}
	}
	unix.SetNonblock(s.origin, true)
	return s
}

const (
	getRequest = "GET /path?q=1 HTTP/1.1\r\nHost: example.com\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n"
	okResponse = "HTTP/1.1 200 OK\r\nServer: o\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 128\r\nConnection: keep-alive\r\n\r\n" +
		"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456\n"
)

func (s *stepped) turn() {
	if err := s.w.turn(time.Millisecond); err != nil {
		s.t.Fatal(err)
	}
}

// read turns the worker until fd has something.
func (s *stepped) read(fd int, b []byte) int {
	for range 1000 {
		n, err := unix.Read(fd, b)
		if err == nil {
			return n
		}
		s.turn()
	}
	s.t.Fatal("nothing arrived within a thousand turns")
	return 0
}

// A request on kept-alive connections allocates nothing, with and without an
// access log.
func TestRequestAllocatesNothing(t *testing.T) {
	logger := func() *accesslog.Logger {
		l, err := accesslog.Open(accesslog.Options{Path: t.TempDir() + "/log", Loops: 1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	onBackends(t, func(t *testing.T, io loop.IO) {
		for _, logged := range []bool{false, true} {
			var log *accesslog.Logger
			if logged {
				log = logger()
			}
			s := newStepped(t, io, "", log)
			if n := s.allocates(); n != 0 {
				t.Errorf("log %v: %v allocations per request, want 0", logged, n)
			}
		}
	})
}

// An idle keep-alive client costs its two slab entries and nothing else.
func TestIdleClientSize(t *testing.T) {
	if n := reflect.TypeFor[client]().Size(); n > 96 {
		t.Errorf("client is %d bytes, want at most 96", n)
	}
	if n := reflect.TypeFor[origin]().Size(); n > 96 {
		t.Errorf("origin is %d bytes, want at most 96", n)
	}
}
