package loop

import (
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"zproxy/buf"
)

// pairs are connected sockets that do not block: what is sent to near comes out
// of far.
type pairs struct {
	near, far []conn
	pool      *buf.Pool
}

func newPairs(t *testing.T, n int) *pairs {
	p := &pairs{pool: buf.NewPool(buf.NewSliceMemory(n*testBlock, n*testBlock), testBlock)}
	for range n {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		p.near = append(p.near, conn{fd: int32(fds[0])})
		p.far = append(p.far, conn{fd: int32(fds[1])})
	}
	t.Cleanup(func() {
		for i := range p.near {
			closeFD(p.near[i].fd)
			closeFD(p.far[i].fd)
		}
	})
	return p
}

func (p *pairs) send(b *batch, c *conn, parts ...string) {
	iov := b.room()[:len(parts)]
	for i, s := range parts {
		iov[i].Base = unsafe.StringData(s)
		iov[i].SetLen(len(s))
	}
	b.send(0, c, iov)
}

func (p *pairs) receive(t *testing.T, b *batch, c *conn) {
	v, ok := p.pool.Get()
	if !ok {
		t.Fatal("no block")
	}
	b.receive(0, c, v, p.pool.Bytes(v))
}

// got is what a receive brought; its block goes back.
func (p *pairs) got(op *batchOp) string {
	s := string(p.pool.Bytes(op.view)[:op.n])
	p.pool.Release(op.view)
	return s
}

// TestBatch holds every kind of operation and result against what the socket
// says, with AIO, with a context that is too small for a batch, and without one.
func TestBatch(t *testing.T) {
	for name, operations := range map[string]int{"AIO": batchMax, "a small context": 1, "calls": 0} {
		t.Run(name, func(t *testing.T) {
			b := new(batch)
			if operations > 0 {
				b.open(operations)
				defer b.close()
				if b.ring == nil {
					t.Skip(b.why)
				}
			}
			testBatch(t, b)
		})
	}
}

func testBatch(t *testing.T, b *batch) {
	const many = 150
	p := newPairs(t, many)
	for i := range many {
		switch i % 3 {
		case 0:
			p.send(b, &p.near[i], "one")
		case 1:
			p.send(b, &p.near[i], "one", "two", "three")
		default: // in one segment with the end
			p.near[i].flags = flagShutWanted
			p.send(b, &p.near[i], "last")
		}
	}
	want := func(i int) string { return [...]string{"one", "onetwothree", "last"}[i%3] }
	for i, op := range b.run() {
		if op.errno != 0 || op.n != len(want(i)) || op.n != op.total {
			t.Fatalf("send %d: %d of %d bytes, %v", i, op.n, op.total, op.errno)
		}
	}
	// Every fifth is not asked now.
	for i := range many {
		if i%5 != 0 {
			p.receive(t, b, &p.far[i])
		}
	}
	ops := b.run()
	if len(ops) != many*4/5 {
		t.Fatalf("%d operations, want %d", len(ops), many*4/5)
	}
	for i, n := 0, 0; i < many; i++ {
		if i%5 != 0 {
			if got := p.got(&ops[n]); got != want(i) || ops[n].errno != 0 {
				t.Fatalf("receive %d: %q, %v, want %q", i, got, ops[n].errno, want(i))
			}
			n++
		}
	}
	testBatchErrors(t, b)
	if b.n != 0 || len(b.run()) != 0 {
		t.Error("something is left")
	}
}

func testBatchErrors(t *testing.T, b *batch) {
	p := newPairs(t, 4)
	shutdownFD(p.near[1].fd)
	shutdownBoth(p.far[2].fd) // so that a send breaks, with a signal if it is let
	gone := conn{fd: 1 << 20}
	p.receive(t, b, &p.far[0])
	p.receive(t, b, &p.far[1])
	p.receive(t, b, &gone)
	p.send(b, &p.near[2], "nobody")
	p.send(b, &p.near[3], strings.Repeat("much", 1<<20))
	ops := b.run()
	for i := range ops[:3] {
		p.pool.Release(ops[i].view)
	}
	for i, want := range []unix.Errno{unix.EAGAIN, 0, unix.EBADF, unix.EPIPE, 0} {
		if ops[i].errno != want {
			t.Errorf("operation %d: %v, want %v", i, ops[i].errno, want)
		}
	}
	if ops[1].n != 0 {
		t.Errorf("%d bytes at the end", ops[1].n)
	}
	if n := ops[4].n; n == 0 || n >= ops[4].total {
		t.Errorf("sent %d of %d bytes to a socket that is not read", n, ops[4].total)
	}
	if n := p.pool.InUse(); n != 0 {
		t.Errorf("%d blocks in use", n)
	}
}

// TestBatchFull: more than a batch holds, in one tick.
func TestBatchFull(t *testing.T) {
	const clients = 2*batchMax + 50
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err == nil && files.Cur < 3*clients {
		t.Skipf("needs %d open files, the limit is %d (ulimit -n)", 3*clients, files.Cur)
	}
	r := newRig(t, Epoll).again(Config{Entries: clients}, 8*clients)
	ids, conns := make([]ConnID, clients), make([]tcpConn, clients)
	for i := range clients {
		ids[i], conns[i] = r.tcpPair(SockOpts{NoDelay: true})
		r.l.Recv(ids[i])
	}
	r.quiet(1e6)
	for _, c := range conns {
		r.write(c, "request")
	}
	for _, id := range ids {
		r.recvAll(id, 7)
	}
	for _, id := range ids {
		for _, part := range []string{"r", "es", "pon", "s", "e"} { // and more vectors than a batch holds
			r.send(id, part)
		}
	}
	for _, c := range conns {
		r.quiet(0)
		if got := r.readFull(c, 8); got != "response" {
			t.Fatalf("got %q", got)
		}
	}
}

// TestUnbatched: what has no AIO says why, and what to do.
func TestUnbatched(t *testing.T) {
	for errno, want := range map[unix.Errno]string{
		unix.EAGAIN: "fs.aio-max-nr", unix.ENOSYS: "CONFIG_AIO", unix.EPERM: "seccomp", unix.ENOMEM: "cannot allocate memory",
	} {
		if got := setupFailed(errno); !strings.Contains(got, want) || !strings.HasPrefix(got, "io_setup: ") {
			t.Errorf("%v: %q", errno, got)
		}
	}
}
