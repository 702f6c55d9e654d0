package main

import (
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// echoServer sends back all it gets, and ends when the client does.
func echoServer(t *testing.T, network, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	return l
}

// start runs the forwarder in this process; there is no way to stop it.
func start(t *testing.T, origin string) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	go func() {
		runtime.LockOSThread()
		t.Error(run(addr, origin, 64<<10))
	}()
	return addr
}

func dial(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.SetDeadline(time.Now().Add(20 * time.Second))
			t.Cleanup(func() { c.Close() })
			return c.(*net.TCPConn)
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func TestForwardsEveryByte(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "origin.sock")
	echoServer(t, "unix", socket)
	for _, c := range []struct{ name, origin string }{
		{"tcp", echoServer(t, "tcp4", "127.0.0.1:0").Addr().String()},
		{"unix", "unix:" + socket},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr := start(t, c.origin)
			for _, size := range []int{1, 100, 64 << 10, 64<<10 + 1, 8 << 20} {
				conn := dial(t, addr)
				data := make([]byte, size)
				for i := range data {
					data[i] = byte(rand.Uint32())
				}
				want := sha256.Sum256(data)
				go conn.Write(data)
				// Let everything that buffers on the way fill up.
				time.Sleep(100 * time.Millisecond)
				got := sha256.New()
				n, err := io.CopyN(got, conn, int64(size))
				if err != nil || !bytes.Equal(got.Sum(nil), want[:]) {
					t.Errorf("%d bytes: came back as %d, %v, or as others", size, n, err)
				}
			}
		})
	}
}

// An answer larger than all buffers arrives whole although its sender closes
// at once and the client is slow.
func TestOriginEndsFirst(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const size = 24 << 20
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Write(make([]byte, size))
			c.Close()
		}
	}()
	conn := dial(t, start(t, l.Addr().String()))
	time.Sleep(200 * time.Millisecond)
	n, err := io.Copy(io.Discard, conn)
	if n != size || err != nil {
		t.Errorf("got %d of %d bytes, %v", n, size, err)
	}
}

func TestClientEndClosesOrigin(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn := dial(t, start(t, l.Addr().String()))
	origin, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn.Write([]byte("x"))
	conn.Close()
	origin.SetDeadline(time.Now().Add(5 * time.Second))
	if b, err := io.ReadAll(origin); string(b) != "x" || err != nil {
		t.Errorf("the origin read %q, %v; want x and the end", b, err)
	}
}

func TestNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	l.Close()
	conn := dial(t, start(t, nobody))
	conn.Write([]byte("x"))
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("read %d bytes, %v; want the connection closed", n, err)
	}
}

func TestBadAddress(t *testing.T) {
	for _, addr := range []string{"", "localhost:80", "127.0.0.1", "[::1]:80"} {
		if err := run("127.0.0.1:0", addr, 4096); err == nil {
			t.Errorf("origin %q was taken", addr)
		}
	}
}
