package loop

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"zproxy/buf"
)

// contractTests is what every backend promises; TestContract runs all of it on
// each one.
var contractTests []contractTest

type contractTest struct {
	name string
	run  func(r *rig)
}

func contract(tests ...contractTest) bool {
	contractTests = append(contractTests, tests...)
	return true
}

func TestContract(t *testing.T) {
	for _, io := range usableBackends() {
		t.Run(io.String(), func(t *testing.T) {
			for _, ct := range contractTests {
				t.Run(ct.name, func(t *testing.T) { ct.run(newRig(t, io)) })
			}
		})
	}
	if onlyUring() {
		return
	}
	t.Run("epoll without AIO", func(t *testing.T) {
		withoutAIO(t)
		for _, ct := range contractTests {
			t.Run(ct.name, func(t *testing.T) { ct.run(newRig(t, Epoll)) })
		}
	})
	t.Run("sim", func(t *testing.T) {
		for _, ct := range contractTests {
			if kernelOnly[ct.name] == "" {
				t.Run(ct.name, func(t *testing.T) { ct.run(newRig(t, hostedIO)) })
			}
		}
	})
}

// withoutAIO lets epoll find no AIO, as in a sandbox that forbids it.
func withoutAIO(t *testing.T) {
	t.Cleanup(func() { registered[Epoll] = openEpoll })
	registered[Epoll] = func(l *Loop) (backend, error) {
		be, err := openEpoll(l)
		if err == nil {
			be.(*epoll).batch.close()
		}
		return be, err
	}
}

// onlyUring: epoll had its turn in another run of the tests.
func onlyUring() bool { return os.Getenv("ZPROXY_TEST_IO") == Uring.String() && Probe().Usable }

// usableBackends are those compiled in that this kernel can run.
func usableBackends() []IO {
	if onlyUring() {
		return []IO{Uring}
	}
	var ios []IO
	for io, open := range registered {
		if open == nil || IO(io) == Uring && !Probe().Usable {
			continue
		}
		ios = append(ios, IO(io))
	}
	return ios
}

const (
	testBlock   = 4096
	testTimeout = 5 * time.Second
)

// rig is a loop under test. When the test ends it checks that nothing is left:
// no block, no descriptor.
type rig struct {
	*testing.T
	io   IO
	l    *Loop
	pool *buf.Pool
	fds  int // open before
	sim  *simBench
}

// tcpConn is what the tests want of a client: a TCP connection, or a simulated
// one.
type tcpConn interface {
	net.Conn
	CloseWrite() error
	SetLinger(sec int) error
}

func newRig(t *testing.T, io IO) *rig { return newRigWith(t, Config{IO: io}, 256) }

// again makes the rig's loop anew, with another configuration or pool.
func (r *rig) again(cfg Config, blocks int) *rig {
	cfg.IO = r.io
	return newRigWith(r.T, cfg, blocks)
}

func newRigWith(t *testing.T, cfg Config, blocks int) *rig {
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	r := &rig{T: t, io: cfg.IO, fds: countFDs(t)}
	r.pool = buf.NewPool(buf.NewSliceMemory(blocks*testBlock, min(blocks, 16)*testBlock), testBlock)
	cfg.Pool = r.pool
	var l *Loop
	var err error
	if cfg.IO == hostedIO {
		r.sim = benchOf(t)
		l, err = r.sim.open(cfg)
	} else {
		l, err = New(cfg)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.l = l
	t.Cleanup(func() {
		if err := l.Destroy(); err != nil {
			t.Errorf("Destroy: %v", err)
		}
		if n := r.pool.InUse(); n != 0 {
			t.Errorf("%d blocks are still in use at the end", n)
		}
		r.checkFDs()
	})
	return r
}

// checkFDs: no socket is left open. The last ones of peers may close a little
// later.
func (r *rig) checkFDs() {
	deadline := time.Now().Add(testTimeout)
	for countFDs(r.T) > r.fds && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if n := countFDs(r.T); n > r.fds {
		r.Errorf("%d sockets are open, %d were before", n, r.fds)
	}
}

func countFDs(t *testing.T) int {
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range d {
		// The Go runtime opens its own poller when it likes.
		s, _ := os.Readlink("/proc/self/fd/" + e.Name())
		if strings.HasPrefix(s, "socket:") || strings.HasPrefix(s, "pipe:") {
			n++
		}
	}
	return n
}

// next is the next event, polling for it; nil after d without one.
func (r *rig) next(d time.Duration) *Event {
	r.Helper()
	deadline := time.Now().Add(d)
	for {
		if ev := r.l.Next(); ev != nil {
			return ev
		}
		left := time.Until(deadline)
		if left <= 0 {
			return nil
		}
		if err := r.l.Poll(min(left, 20*time.Millisecond)); err != nil {
			r.Fatalf("Poll: %v", err)
		}
	}
}

// expect is the next event, which must be of kind k for id (0: any). Events of
// the kind Sent without an error are passed over unless asked for.
func (r *rig) expect(k Kind, id ConnID) Event {
	r.Helper()
	for {
		ev := r.next(testTimeout)
		if ev == nil {
			r.Fatalf("no event, want %v", k)
		}
		if ev.Kind == Sent && k != Sent && ev.Errno == 0 {
			continue
		}
		if ev.Kind != k || id != 0 && ev.Conn != id {
			r.Fatalf("%v of %x (errno %v, n %d), want %v of %x", ev.Kind, ev.Conn, ev.Errno, ev.N, k, id)
		}
		return *ev
	}
}

// quiet: no event (but Sent) for d.
func (r *rig) quiet(d time.Duration) {
	r.Helper()
	deadline := time.Now().Add(d)
	for {
		ev := r.next(time.Until(deadline))
		if ev == nil {
			return
		}
		if ev.Kind != Sent || ev.Errno != 0 {
			r.Fatalf("%v of %x (errno %v, n %d), want nothing", ev.Kind, ev.Conn, ev.Errno, ev.N)
		}
	}
}

// take reads a Received event's bytes and releases the block.
func (r *rig) take(ev *Event) string {
	r.Helper()
	if ev.N != ev.View.Len || ev.N == 0 {
		r.Fatalf("Received: N %d, View.Len %d", ev.N, ev.View.Len)
	}
	if n := r.pool.Refs(ev.View); n != 1 {
		r.Fatalf("Received: block with %d references", n)
	}
	s := string(r.pool.Bytes(ev.View))
	r.pool.Release(ev.View)
	return s
}

// recvAll collects n bytes of id.
func (r *rig) recvAll(id ConnID, n int) string {
	r.Helper()
	var s strings.Builder
	for s.Len() < n {
		ev := r.expect(Received, id)
		s.WriteString(r.take(&ev))
	}
	return s.String()
}

// send queues s, in blocks.
func (r *rig) send(id ConnID, s string) {
	r.Helper()
	for len(s) > 0 {
		v, ok := r.pool.Get()
		if !ok {
			r.Fatal("the test's pool is too small")
		}
		n := copy(r.pool.Bytes(v), s)
		r.l.Send(id, v.Slice(0, uint32(n)))
		s = s[n:]
	}
}

// closed closes id and waits for its end.
func (r *rig) closed(id ConnID) {
	r.Helper()
	r.l.Close(id)
	if ev := r.expect(Closed, id); ev.FD != -1 {
		r.Fatalf("Closed with FD %d", ev.FD)
	}
}

// listen opens a TCP listener on loopback and accepts on it.
func (r *rig) listen(o SockOpts, owner uint32) (fd int, addr string) {
	r.Helper()
	if r.sim != nil {
		fd, addr = r.sim.listen()
		r.l.Accept(fd, owner)
		return fd, addr
	}
	fds, err := OpenListeners("127.0.0.1:0", 1, nil, o)
	if err != nil {
		r.Fatal(err)
	}
	ap, err := LocalAddr(fds[0])
	if err != nil {
		r.Fatal(err)
	}
	r.l.Accept(fds[0], owner)
	return fds[0], ap.String()
}

// client connects to addr.
func (r *rig) client(addr string) tcpConn {
	r.Helper()
	c, err := r.dial(addr)
	if err != nil {
		r.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(4 * testTimeout))
	r.Cleanup(func() { c.Close() })
	return c.(tcpConn)
}

func (r *rig) dial(addr string) (net.Conn, error) {
	if r.sim != nil {
		return r.sim.dial(addr)
	}
	return net.DialTimeout("tcp", addr, testTimeout)
}

// origin listens for what the loop dials.
func (r *rig) origin() interface {
	Addr() net.Addr
	Accept() (net.Conn, error)
	Close() error
} {
	r.Helper()
	if r.sim != nil {
		return r.sim.origin()
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.Fatal(err)
	}
	return ln
}

// tcpPair is a connection accepted by the loop, and its client.
func (r *rig) tcpPair(o SockOpts) (ConnID, tcpConn) {
	r.Helper()
	_, addr := r.listen(o, 7)
	c := r.client(addr)
	return r.expect(Accepted, 0).Conn, c
}

// unixPair is one end of a socketpair adopted by the loop, and the other end.
func (r *rig) unixPair() (ConnID, net.Conn) {
	r.Helper()
	if r.sim != nil {
		fd, c := r.sim.pair()
		c.SetDeadline(time.Now().Add(4 * testTimeout))
		r.Cleanup(func() { c.Close() })
		return r.l.Adopt(fd, netip.AddrPort{}, 7), c
	}
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		r.Fatal(err)
	}
	return r.l.Adopt(p[0], netip.AddrPort{}, 7), r.fileConn(p[1])
}

// fileConn makes a net.Conn of a socket and takes it over.
func (r *rig) fileConn(fd int) net.Conn {
	r.Helper()
	f := os.NewFile(uintptr(fd), "peer")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		r.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(4 * testTimeout))
	r.Cleanup(func() { c.Close() })
	return c
}

func (r *rig) write(c net.Conn, s string) {
	r.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		r.Fatalf("peer's write: %v", err)
	}
}

// readFull reads n bytes at the peer while the loop runs.
func (r *rig) readFull(c net.Conn, n int) string {
	r.Helper()
	b := make([]byte, n)
	got := make(chan error, 1)
	go func() {
		_, err := io.ReadFull(c, b)
		got <- err
	}()
	r.pump(got)
	return string(b)
}

// pump runs the loop until done says something, which must be nil. Only Sent
// may come meanwhile.
func (r *rig) pump(done chan error) {
	r.Helper()
	for deadline := time.Now().Add(4 * testTimeout); time.Now().Before(deadline); {
		select {
		case err := <-done:
			if err != nil {
				r.Fatalf("peer: %v", err)
			}
			return
		default:
		}
		if ev := r.next(time.Millisecond); ev != nil && (ev.Kind != Sent || ev.Errno != 0) {
			r.Fatalf("%v of %x (errno %v), want only Sent", ev.Kind, ev.Conn, ev.Errno)
		}
	}
	r.Fatal("the peer does not come to an end")
}

// pattern is n bytes that differ by position and seed.
func pattern(seed, n int) string {
	b := make([]byte, n)
	x := uint32(seed)*2654435761 + 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return string(b)
}

// same compares long strings and shows where they part.
func (r *rig) same(got, want string) {
	r.Helper()
	if got == want {
		return
	}
	n := 0
	for n < len(got) && n < len(want) && got[n] == want[n] {
		n++
	}
	r.Fatalf("bytes differ at %d (got %d bytes, want %d)", n, len(got), len(want))
}

func (r *rig) equal(what string, got, want any) {
	r.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		r.Fatalf("%s: %v, want %v", what, got, want)
	}
}

const (
	sizeofConn  = unsafe.Sizeof(conn{})
	sizeofEvent = unsafe.Sizeof(Event{})
)
