package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/buf"
	"zproxy/loop"
)

// The place of a connection to an origin is free once Closed is there, for any
// loop: so the origin must have seen its end by then, and not only when this loop
// next turns to the kernel. Otherwise two loops together pass max_connections.
func TestClosedMeansClosed(t *testing.T) {
	besides(t, func(t *testing.T, backend loop.IO) {
		for _, abort := range []bool{false, true} {
			t.Run(fmt.Sprintf("abort %v", abort), func(t *testing.T) {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				ends := make(chan error, 1)
				origin := startOrigin(t, func(_ int, c net.Conn) {
					c.SetReadDeadline(time.Now().Add(2 * time.Second))
					_, err := c.Read(make([]byte, 1))
					ends <- err
				})
				l, err := loop.New(loop.Config{CPU: -1, IO: backend, Pool: buf.NewPool(buf.NewSliceMemory(1<<20, 1<<20), 4096)})
				if err != nil {
					t.Fatal(err)
				}
				defer l.Destroy()
				to, err := loop.NewRemote(origin, loop.SockOpts{})
				if err != nil {
					t.Fatal(err)
				}
				id := l.Dial(to, 0)
				await := func(kind loop.Kind) {
					for {
						if err := l.Poll(time.Second); err != nil {
							t.Fatal(err)
						}
						for ev := l.Next(); ev != nil; ev = l.Next() {
							if ev.Kind == kind {
								return
							}
						}
					}
				}
				await(loop.Connected)
				l.Recv(id)
				l.Poll(0)
				if abort {
					l.Abort(id)
				} else {
					l.Close(id)
				}
				await(loop.Closed)
				if err := <-ends; errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error("2 s after Closed the connection is still open at the origin")
				}
			})
		}
	})
}

// shortQueue listens on a unix socket that has room for one more connection than
// backlog before they are accepted.
func shortQueue(t *testing.T, backlog int) (path string, l net.Listener) {
	t.Helper()
	path = t.TempDir() + "/origin"
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, backlog); err != nil {
		t.Fatal(err)
	}
	if l, err = net.FileListener(f); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return path, l
}

// A unix socket whose queue of connections is full is no endpoint that has failed:
// whoever cannot connect yet waits.
func TestFullAcceptQueueOfUnixSocket(t *testing.T) {
	besides(t, func(t *testing.T, backend loop.IO) {
		path, l := shortQueue(t, 1)
		go func() {
			time.Sleep(300 * time.Millisecond) // the burst finds the queue full
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					for {
						if _, err := readHead(c); err != nil {
							return
						}
						time.Sleep(time.Millisecond)
						c.Write([]byte(ok2))
					}
				}()
			}
		}()
		r := start(t, backend, 2, scarceText("unix:"+path, "http1", "max_connections: 100"), nil)
		var wg sync.WaitGroup
		for range 30 {
			wg.Go(func() {
				c, err := net.Dial("tcp", r.addr)
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(patience))
				io.WriteString(c, simpleGet)
				if head, err := readHead(c); !strings.HasPrefix(head, "HTTP/1.1 200") {
					t.Errorf("got %q, %v; want a 200", head, err)
				}
			})
		}
		wg.Wait()
		for _, rep := range r.settled() {
			if rep.Metrics.RefusedByReason[codeUnavailable] != 0 || rep.Metrics.RefusedByReason[codeConnectFailed] != 0 {
				t.Errorf("loop %d took the endpoint for one that failed", rep.Index)
			}
		}
	})
}

// So it is whatever the connection is for.
func TestFullAcceptQueueIsNoFailure(t *testing.T) {
	besides(t, func(t *testing.T, backend loop.IO) {
		for _, tc := range []struct {
			protocol string
			prewarm  int
		}{{"http1", 0}, {"h2c", 0}, {"http1", 1}, {"h2c", 1}} {
			t.Run(fmt.Sprintf("%s, prewarm %d", tc.protocol, tc.prewarm), func(t *testing.T) {
				t.Parallel()
				path, _ := shortQueue(t, 0)
				c, err := net.Dial("unix", path) // it stays in the queue
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				r := start(t, backend, 1, yaml("unix:"+path, fmt.Sprintf(
					"upstreams: {app: {protocol: %s, endpoints: [{address: \"ORIGIN\"}], pool: {prewarm: %d}}}\n", tc.protocol, tc.prewarm)), nil)
				if tc.prewarm == 0 {
					c := r.dial()
					defer c.(*net.TCPConn).SetLinger(0)
					io.WriteString(c, simpleGet)
				}
				for until := time.Now().Add(patience); ; {
					m := &r.reports()[0].Metrics
					if m.UpstreamConnectErrors > 0 && (tc.prewarm > 0 || m.UpstreamConnectErrors > 2) {
						break
					}
					if time.Now().After(until) {
						t.Fatalf("%d connections failed, want some", m.UpstreamConnectErrors)
					}
					time.Sleep(time.Millisecond)
				}
				if e := r.snap.Clusters[0].Shared.Endpoints()[0]; e.Failing() || e.Failures() != 0 {
					t.Errorf("the endpoint is failing: %v, %d failures", e.Failing(), e.Failures())
				}
			})
		}
	})
}
