package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/buf"
	"zproxy/config"
	"zproxy/internal/beside"
	"zproxy/loop"
	"zproxy/metrics"
	"zproxy/metrics/accesslog"
	"zproxy/numa"
	"zproxy/proxy/memory"
	"zproxy/proxy/snapshot"
)

// rig is a worker, or several, on threads of their own, between real sockets.
type rig struct {
	t    *testing.T
	addr string
	snap *snapshot.Snapshot
	// registry is what snap is of; of one goroutine.
	registry *snapshot.Registry
	peers    []*Neighbour
	done     sync.WaitGroup
}

// Loops that wait for the kernel keep no client or origin of the same process from
// running: there are more processors for Go than CPUs.
func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(max(16, runtime.NumCPU()))
	beside.AtOnce(8)
	os.Exit(m.Run())
}

// backends are those that can be tested in this build on this kernel.
func backends() []loop.IO {
	switch {
	case !loop.Probe().Usable:
		return []loop.IO{loop.Epoll}
	case os.Getenv("ZPROXY_TEST_IO") == loop.Uring.String(): // the other had its turn
		return []loop.IO{loop.Uring}
	}
	return []loop.IO{loop.Epoll, loop.Uring}
}

// onBackends runs a test on every backend.
func onBackends(t *testing.T, f func(t *testing.T, io loop.IO)) {
	for _, io := range backends() {
		t.Run(io.String(), func(t *testing.T) { f(t, io) })
	}
}

// besides is onBackends for tests that mostly wait: they run beside others.
func besides(t *testing.T, f func(t *testing.T, io loop.IO)) {
	t.Helper()
	t.Parallel()
	for _, io := range backends() {
		t.Run(io.String(), func(t *testing.T) {
			t.Parallel()
			f(t, io)
		})
	}
}

// yaml is a configuration with one listener; ORIGIN in extra stands for the
// origin's address.
func yaml(origin, extra string) string {
	if !strings.Contains(extra, "routes:") {
		extra += "\nroutes: [{path: \"/*\", upstream: app}]\n"
	}
	if !strings.Contains(extra, "upstreams:") {
		extra += "\nupstreams: {app: {endpoints: [{address: \"ORIGIN\"}], pool: {prewarm: 0}}}\n"
	}
	return "listeners: [{address: \"127.0.0.1:8080\"}]\n" + strings.ReplaceAll(extra, "ORIGIN", origin)
}

// start brings up `loops` workers with the configuration text.
func start(t *testing.T, io loop.IO, loops int, text string, log *accesslog.Logger) *rig {
	t.Helper()
	cfg, err := config.Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatalf("configuration: %v", err)
	}
	for i := range cfg.Listeners {
		if l := cfg.Listeners[i].TLS; l != nil {
			l.Certificates[0] = simCertificate()
		}
	}
	agreeToHTTP2(cfg)
	registry := snapshot.NewRegistry(loops, nil)
	snap, err := registry.Compile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	fds, err := loop.OpenListeners("127.0.0.1:0", loops, nil, snapshot.SockOpts(&cfg.Listeners[0].Socket))
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, addr: localAddr(t, fds[0]), snap: snap, registry: registry, peers: make([]*Neighbour, loops)}
	ready, release := make(chan error), make(chan bool)
	for i := range loops {
		r.done.Add(1)
		go func() {
			defer r.done.Done()
			runtime.LockOSThread()
			// Of a slice all would be cleared.
			arena, err := numa.NewArena(numa.ArenaConfig{MaxBytes: int(cfg.Buffers.MaxPerLoop), StepBytes: 2 << 20, Node: -1, Huge: numa.HugeNever})
			if err != nil {
				ready <- err
				return
			}
			defer arena.Close()
			pool := buf.NewPool(arena, int(cfg.Buffers.Block))
			l, err := loop.New(loop.Config{Index: i, CPU: -1, IO: io, Pool: pool, Reserve: memory.Reserve(pool.Limit())})
			if err == nil {
				r.peers[i] = &Neighbour{Loop: l}
			}
			ready <- err
			if err != nil {
				return
			}
			<-release
			m := new(metrics.Loop)
			c := Config{Loop: l, Pool: pool, Snapshot: snap, Metrics: m, MaxBlocks: int(cfg.Buffers.MaxPerLoop / cfg.Buffers.Block)}
			if log != nil {
				c.Log = log.NewBuffer(&m.AccessLogDropped)
			}
			w := NewWorker(c, r.peers)
			w.Listen(fds[i], 0)
			if err := w.Run(); err != nil {
				t.Errorf("loop %d: %v", i, err)
			}
			l.Destroy()
			if n := pool.InUse(); n != 0 {
				t.Errorf("loop %d: %d blocks still in use at the end", i, n)
			}
		}()
	}
	for range loops {
		if err := <-ready; err != nil {
			t.Fatal(err)
		}
	}
	close(release)
	t.Cleanup(r.stop)
	return r
}

// stop drains all workers and waits for them.
func (r *rig) stop() {
	for _, p := range r.peers {
		AskDrain(p.Loop)
	}
	r.done.Wait()
}

// settled waits until no exchange is left anywhere and gives the reports.
func (r *rig) settled() []*Report {
	r.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		reports := r.reports()
		busy := 0
		for _, rep := range reports {
			busy += rep.Exchanges
		}
		if busy == 0 {
			return reports
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("%d exchanges never ended", busy)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

type reportChan chan *Report

func (c reportChan) Deliver(r *Report) { c <- r }

func (r *rig) reports() []*Report {
	c := make(reportChan, len(r.peers))
	out := make([]*Report, len(r.peers))
	for _, p := range r.peers {
		AskReport(p.Loop, c)
	}
	for range r.peers {
		rep := <-c
		out[rep.Index] = rep
	}
	return out
}

func localAddr(t *testing.T, fd int) string {
	t.Helper()
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", sa.(*unix.SockaddrInet4).Port)
}

// origin accepts connections and lets serve talk on each; n counts from 1.
func startOrigin(t *testing.T, serve func(n int, c net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, l, serve)
}

func serveOn(t *testing.T, l net.Listener, serve func(n int, c net.Conn)) string {
	t.Helper()
	var conns sync.Map
	t.Cleanup(func() {
		l.Close()
		conns.Range(func(c, _ any) bool { c.(net.Conn).Close(); return true })
	})
	go func() {
		for n := 1; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Store(c, nil)
			go func() {
				defer c.Close()
				serve(n, c)
			}()
		}
	}()
	return l.Addr().String()
}

// answeringOrigin gives every request, which has no content, the same answer.
func answeringOrigin(t *testing.T, answer string) (addr string) {
	t.Helper()
	return startOrigin(t, func(_ int, c net.Conn) {
		for {
			if _, err := readHead(c); err != nil {
				return
			}
			io.WriteString(c, answer)
		}
	})
}

// readHead reads up to and including the empty line; what follows stays in the
// socket.
func readHead(c net.Conn) (string, error) {
	const end = "\r\n\r\n"
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return "", err
	}
	var head []byte
	for ahead := make([]byte, 4096); ; {
		n := 0
		var errno error
		err := raw.Read(func(fd uintptr) bool {
			n, _, errno = unix.Recvfrom(int(fd), ahead, unix.MSG_PEEK|unix.MSG_DONTWAIT)
			return errno != unix.EAGAIN
		})
		switch {
		case err != nil:
			return string(head), err
		case errno == unix.EINTR:
			continue
		case errno != nil:
			return string(head), errno
		case n == 0:
			return string(head), io.EOF
		}
		from := max(0, len(head)-len(end)+1)
		more := append(head, ahead[:n]...)
		at := bytes.Index(more[from:], []byte(end))
		if at >= 0 {
			n = from + at + len(end) - len(head)
		}
		if _, err := io.ReadFull(c, ahead[:n]); err != nil {
			return string(head), err
		}
		if head = append(head, ahead[:n]...); at >= 0 {
			return string(head), nil
		}
	}
}

func readN(c net.Conn, n int) string {
	b := make([]byte, n)
	m, _ := io.ReadFull(c, b)
	return string(b[:m])
}

func (r *rig) dial() net.Conn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	r.t.Cleanup(func() { c.Close() })
	return c
}

const (
	patience = 30 * time.Second      // for what must come, on a busy machine too
	quiet    = 30 * time.Millisecond // for what must not
)

// hear reads until the peer closes, or until done says that all is there and
// nothing more has come for a while.
func hear(c net.Conn, done func(got string) bool) (got string, closed bool) {
	var b []byte
	chunk := make([]byte, 64<<10)
	for {
		wait := patience
		if done(string(b)) {
			wait = quiet
		}
		c.SetReadDeadline(time.Now().Add(wait))
		n, err := c.Read(chunk)
		b = append(b, chunk[:n]...)
		if err != nil {
			ne, ok := err.(net.Error)
			return string(b), !(ok && ne.Timeout())
		}
	}
}
