package transport

import (
	"bytes"
	stdtls "crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/buf"
	"zproxy/internal/tlstest"
	"zproxy/loop"
	"zproxy/metrics"
	"zproxy/proxy/transport/handshake"
)

const (
	testBlocks  = 512
	testTimeout = 20 * time.Second
)

// owner is a worker of the test's: what it sends back, and when, is in on.
type owner struct {
	*Transport
	on func(o *owner, ev *loop.Event)
	// refused, if set, is told of connections that failed.
	refused func(unix.Errno)
	server  *Server
	opened  int
	failed  []string
	ends    []unix.Errno
	closed  int
}

// serve runs a transport on a thread of its own, which puts what it accepts into
// TLS, until the test ends. Then no block is in use and no connection left.
func serve(t *testing.T, io loop.IO, c Config, on func(o *owner, ev *loop.Event)) (address string, o *owner, do func(func())) {
	t.Helper()
	fds, err := loop.OpenListeners("127.0.0.1:0", 1, nil, loop.SockOpts{})
	if err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	address = fmt.Sprintf("127.0.0.1:%d", sa.(*unix.SockaddrInet4).Port)
	o = &owner{on: on, server: &Server{
		Config:    handshake.ServerConfig(store(t, tlstest.Certificate(t, "ecdsa"))),
		TimeoutNs: int64(testTimeout), Most: 100,
	}}
	calls := make(chan call)
	ready, ended := make(chan error), make(chan struct{})
	var l *loop.Loop
	go func() {
		defer close(ended)
		runtime.LockOSThread()
		c.Pool = buf.NewPool(buf.NewSliceMemory(testBlocks<<14, 1<<20), 1<<14)
		var err error
		if l, err = loop.New(loop.Config{IO: io, Pool: c.Pool, CPU: -1, Reserve: testBlocks / 16}); err != nil {
			ready <- err
			return
		}
		c.Loop = l
		if c.Workers == nil {
			c.Workers = handshake.NewWorkers(2)
		}
		if c.Counts == nil {
			c.Counts = new(metrics.TLS)
		}
		o.Transport = New(c)
		o.Accept(fds[0], 7)
		ready <- nil
		o.run(t, calls)
	}()
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	do = func(f func()) {
		c := call{f, make(chan struct{})}
		calls <- c
		<-c.done
	}
	t.Cleanup(func() {
		left := func() (n int) {
			do(func() { n = o.conns.Len() })
			return n
		}
		for end := time.Now().Add(testTimeout); left() > 0 && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		c := call{nil, make(chan struct{})}
		calls <- c
		<-ended
	})
	return address, o, do
}

// call is something that a test wants done on the owner's thread; nil: the end.
type call struct {
	do   func()
	done chan struct{}
}

// run serves until the call that has nothing to do.
func (o *owner) run(t *testing.T, calls chan call) {
	for {
		select {
		case c := <-calls:
			if c.do == nil {
				o.finish(t)
				close(c.done)
				return
			}
			c.do()
			close(c.done)
		default:
		}
		if err := o.Poll(2 * time.Millisecond); err != nil {
			t.Errorf("Poll: %v", err)
			return
		}
		for ev := o.Next(); ev != nil; ev = o.Next() {
			o.event(ev)
		}
	}
}

func (o *owner) finish(t *testing.T) {
	if err := o.Destroy(); err != nil {
		t.Errorf("Destroy: %v", err)
	}
	if n := o.conns.Len(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
	if n := o.pool.InUse(); n != 0 {
		t.Errorf("%d blocks are in use", n)
	}
	if o.handshakes.stats.UnderWay != 0 {
		t.Errorf("%d handshakes are counted", o.handshakes.stats.UnderWay)
	}
}

// event does what every owner does; the rest is on's.
func (o *owner) event(ev *loop.Event) {
	switch ev.Kind {
	case loop.Accepted:
		if !o.Secure(ev.Conn, o.server) {
			o.Abort(ev.Conn)
		}
		return
	case loop.Connected:
		if ev.Errno != 0 {
			o.failed = append(o.failed, o.Failure())
			if o.refused != nil {
				o.refused(ev.Errno)
			}
			o.Close(ev.Conn)
			return
		}
		o.opened++
		o.Recv(ev.Conn)
	case loop.RecvEnd:
		o.ends = append(o.ends, ev.Errno)
	case loop.Timer:
		o.Expire(ev.Conn)
		return
	case loop.Closed:
		o.closed++
		return
	}
	o.on(o, ev)
}

// echo sends back what arrives, and ends its direction when the peer does.
func echo(o *owner, ev *loop.Event) {
	switch ev.Kind {
	case loop.Received:
		o.Send(ev.Conn, ev.View)
		if o.Queued(ev.Conn) > 256<<10 {
			o.Pause(ev.Conn)
		}
	case loop.Sent:
		if o.Queued(ev.Conn) < 64<<10 {
			o.Recv(ev.Conn)
		}
		if ev.Errno != 0 {
			o.Close(ev.Conn)
		}
	case loop.RecvEnd:
		if ev.Errno != 0 {
			o.Close(ev.Conn)
			return
		}
		o.Shutdown(ev.Conn)
		o.SetOwner(ev.Conn, 99)
	}
	if ev.Owner == 99 && o.Queued(ev.Conn) == 0 {
		o.Close(ev.Conn)
	}
}

func backends(t *testing.T, run func(t *testing.T, io loop.IO)) {
	ios := []loop.IO{loop.Epoll}
	if loop.Probe().Usable {
		ios = append(ios, loop.Uring)
	}
	if os.Getenv("ZPROXY_TEST_IO") == loop.Uring.String() {
		ios = ios[len(ios)-1:]
	}
	for _, io := range ios {
		t.Run(io.String(), func(t *testing.T) { run(t, io) })
	}
}

func client(t testing.TB, address string, c *stdtls.Config) *stdtls.Conn {
	t.Helper()
	if c == nil {
		c = &stdtls.Config{}
	}
	c.InsecureSkipVerify = true
	raw, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.SetDeadline(time.Now().Add(testTimeout))
	t.Cleanup(func() { raw.Close() })
	conn := stdtls.Client(raw, c)
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	return conn
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)}).Read(b)
	return b
}

// Content goes round whatever its length, in both versions, and both sides learn
// of the end in the way of TLS.
func TestEcho(t *testing.T) {
	backends(t, func(t *testing.T, io_ loop.IO) {
		address, o, do := serve(t, io_, Config{}, echo)
		conns := 0
		for _, version := range []uint16{stdtls.VersionTLS12, stdtls.VersionTLS13} {
			for _, n := range []int{1, 5000, 1<<14 - 22, 1 << 14, 1 << 16, 3<<20 + 1} {
				c := client(t, address, &stdtls.Config{MaxVersion: version, NextProtos: []string{"http/1.1"}})
				conns++
				want := random(n)
				var sent sync.WaitGroup
				sent.Go(func() {
					_, _ = c.Write(want)
					_ = c.CloseWrite()
				})
				got, err := io.ReadAll(c)
				if sent.Wait(); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("%04x: %d of %d bytes came back: %v", version, len(got), n, err)
				}
				c.Close()
			}
		}
		do(func() {
			if o.opened != conns || len(o.failed) > 0 {
				t.Errorf("%d of %d opened, failed: %q", o.opened, conns, o.failed)
			}
			for _, e := range o.ends {
				if e != 0 {
					t.Errorf("an orderly end was reported as %v", e)
				}
			}
		})
	})
}

// Many connections at once, with sessions resumed, each with many small messages.
func TestMany(t *testing.T) {
	backends(t, func(t *testing.T, io_ loop.IO) {
		address, o, do := serve(t, io_, Config{}, echo)
		cache := stdtls.NewLRUClientSessionCache(64)
		var all sync.WaitGroup
		for k := range 24 {
			all.Go(func() {
				for round := range 3 {
					c := client(t, address, &stdtls.Config{ServerName: fmt.Sprint("host", k), ClientSessionCache: cache})
					for i := range 40 {
						want := random(1 + (i*i*37+k)%3000)
						if _, err := c.Write(want); err != nil {
							t.Error(err)
							return
						}
						got := make([]byte, len(want))
						if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
							t.Errorf("connection %d, message %d: %v", k, i, err)
							return
						}
					}
					if resumed := c.ConnectionState().DidResume; resumed != (round > 0) {
						t.Errorf("round %d: resumed %v", round, resumed)
					}
					c.Close()
				}
			})
		}
		all.Wait()
		do(func() {
			done, resumed, failed := counted(o.handshakes.counts)
			if s := o.Handshakes(); done != 72 || resumed != 48 || failed+s.Refused != 0 || o.handshakes.counts.Time.Count() != 72 {
				t.Errorf("%+v", s)
			}
		})
	})
}

func TestALPN(t *testing.T) {
	backends(t, func(t *testing.T, io_ loop.IO) {
		var got []Protocol
		address, _, do := serve(t, io_, Config{}, func(o *owner, ev *loop.Event) {
			if ev.Kind == loop.Connected {
				got = append(got, o.ALPN(ev.Conn))
			}
			echo(o, ev)
		})
		for _, offered := range [][]string{nil, {"h2", "http/1.1"}, {"http/1.1"}} {
			c := client(t, address, &stdtls.Config{NextProtos: offered})
			_ = c.CloseWrite()
			_, _ = io.ReadAll(c)
		}
		do(func() {
			if fmt.Sprint(got) != fmt.Sprint([]Protocol{ProtocolNone, ProtocolHTTP2, ProtocolHTTP1}) {
				t.Errorf("%v", got)
			}
		})
	})
}

// A connection that ends without close_notify was cut short, for all one knows.
func TestCutShort(t *testing.T) {
	backends(t, func(t *testing.T, io_ loop.IO) {
		var received int
		address, o, do := serve(t, io_, Config{}, func(o *owner, ev *loop.Event) {
			switch ev.Kind {
			case loop.Received:
				received += int(ev.N)
				o.Release(ev)
			case loop.RecvEnd:
				o.Close(ev.Conn)
			}
		})
		c := client(t, address, nil)
		if _, err := c.Write(random(20000)); err != nil {
			t.Fatal(err)
		}
		if err := c.NetConn().(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadAll(c.NetConn())
		do(func() {
			if received != 20000 || len(o.ends) != 1 || o.ends[0] != unix.ECONNRESET {
				t.Errorf("%d bytes, then %v", received, o.ends)
			}
		})
	})
}

// Release gives back what an event brought.
func (o *owner) Release(ev *loop.Event) { o.pool.Release(ev.View) }

// What is no TLS, what fails and what takes too long is reported with its reason,
// and the peer is told as far as it can be.
func TestFailures(t *testing.T) {
	backends(t, func(t *testing.T, io_ loop.IO) {
		address, o, do := serve(t, io_, Config{}, echo)
		say := func(b string) string {
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(testTimeout))
			if _, err := io.WriteString(c, b); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(c)
			if err != nil && !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("%q: %v", b, err)
			}
			return string(got)
		}
		if got := say("GET / HTTP/1.1\r\nHost: a\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 400 ") || !strings.Contains(got, "https://") {
			t.Errorf("plain HTTP was answered %q", got)
		}
		if got := say("\x80\x2e\x01\x03\x01"); got != "" {
			t.Errorf("%q", got)
		}
		if got := say("\x16\x03\x01\x00\x04\x01\x00\x00\x00"); len(got) != 7 || got[0] != 21 {
			t.Errorf("a broken ClientHello was answered %q", got)
		}
		raw, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		err = stdtls.Client(raw, &stdtls.Config{InsecureSkipVerify: true, MaxVersion: stdtls.VersionTLS12,
			CipherSuites: []uint16{stdtls.TLS_RSA_WITH_AES_128_CBC_SHA}}).Handshake()
		if err == nil || !strings.Contains(err.Error(), "handshake failure") {
			t.Errorf("without a common cipher suite: %v", err)
		}
		do(func() { o.server.TimeoutNs = int64(50 * time.Millisecond) })
		if got := say("\x16\x03\x01"); got != "" {
			t.Errorf("%q", got)
		}
		do(func() {
			for i, want := range []string{"plain HTTP", "not TLS", "TLS handshake: ", "cipher suite", "in time"} {
				if i >= len(o.failed) || !strings.Contains(o.failed[i], want) {
					t.Errorf("failure %d of %q: wanted %q", i, o.failed, want)
				}
			}
			if _, _, failed := counted(o.handshakes.counts); o.opened != 0 || failed != 5 {
				t.Errorf("%d opened, %+v", o.opened, o.handshakes.counts.Failed)
			}
		})
	})
}

// Beyond the limit of handshakes under way connections are refused, and those
// before them go on.
func TestTooMany(t *testing.T) {
	backends(t, func(t *testing.T, io_ loop.IO) {
		address, o, do := serve(t, io_, Config{}, echo)
		do(func() { o.server.Most = 3 })
		var open []net.Conn
		for range 3 {
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, c)
		}
		under := func() (n int) {
			do(func() { n = o.handshakes.stats.UnderWay })
			return n
		}
		for end := time.Now().Add(testTimeout); under() < 3 && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		if c, err := net.Dial("tcp", address); err == nil {
			_ = c.SetDeadline(time.Now().Add(testTimeout))
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("a fourth handshake was begun: %v", err)
			}
			c.Close()
		} else if !errors.Is(err, unix.ECONNRESET) {
			t.Error(err)
		}
		for _, c := range open {
			tc := stdtls.Client(c, &stdtls.Config{InsecureSkipVerify: true})
			if err := tc.Handshake(); err != nil {
				t.Error(err)
			}
			c.Close()
		}
		do(func() {
			if o.handshakes.stats.Refused != 1 {
				t.Errorf("%+v", o.handshakes.stats)
			}
		})
	})
}

// As a client: to a server that it trusts, and to one that it does not.
func TestDial(t *testing.T) {
	backends(t, func(t *testing.T, io_ loop.IO) {
		cert := tlstest.Certificate(t, "ecdsa")
		addr := tlstest.Echo(t, &stdtls.Config{Certificates: []stdtls.Certificate{cert}, NextProtos: []string{"h2"}})
		var got []byte
		var alpn Protocol
		done := make(chan struct{}, 1)
		_, o, do := serve(t, io_, Config{}, func(o *owner, ev *loop.Event) {
			switch ev.Kind {
			case loop.Connected:
				alpn = o.ALPN(ev.Conn)
			case loop.Received:
				got = append(got, o.pool.Bytes(ev.View)...)
				o.Release(ev)
				if len(got) == 40000 {
					o.Shutdown(ev.Conn)
				}
			case loop.RecvEnd:
				o.Close(ev.Conn)
				done <- struct{}{}
			}
		})
		roots := x509.NewCertPool()
		roots.AddCert(cert.Leaf)
		want := random(40000)
		dial := func(config *stdtls.Config) {
			do(func() {
				r, err := loop.NewRemote(addr, loop.SockOpts{})
				if err != nil {
					t.Error(err)
					return
				}
				id := o.Dial(r, 5)
				o.SecureDial(id, &Client{Config: config})
				for b := want; len(b) > 0; { // before it is connected
					n := min(len(b), o.pool.BlockBytes())
					room := o.pool.Reserve(n)
					copy(room, b[:n])
					o.Send(id, o.pool.Commit(n))
					b = b[n:]
				}
			})
		}
		dial(&stdtls.Config{RootCAs: roots, ServerName: "zproxy.test", NextProtos: []string{"h2", "http/1.1"}})
		select {
		case <-done:
		case <-time.After(testTimeout):
			t.Fatal("no end")
		}
		do(func() {
			if !bytes.Equal(got, want) || alpn != ProtocolHTTP2 || o.ends[0] != 0 {
				t.Errorf("%d bytes, ALPN %d, ends %v", len(got), alpn, o.ends)
			}
		})
		dial(&stdtls.Config{RootCAs: x509.NewCertPool(), ServerName: "zproxy.test"})
		failed := func() (s string) {
			do(func() { s = strings.Join(o.failed, ";") })
			return s
		}
		for end := time.Now().Add(testTimeout); failed() == "" && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		if got := failed(); !strings.Contains(got, "self-signed") {
			t.Errorf("%q", got)
		}
	})
}
