package loop

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/loop/sim"
)

// The contract tests talk to the loop from other goroutines and measure real
// time. So, for them, a World follows the real clock and is locked.

// kernelOnly names the contract tests that are about what only a kernel has.
var kernelOnly = map[string]string{
	"dial a unix socket":                "a World has no files",
	"dial in vain":                      "a World has no files",
	"dial and close":                    "its backlog is the kernel's",
	"descriptors run out":               "a World has no limit on descriptors",
	"a unix listener for two loops":     "a World has no files",
	"peer of a unix socket":             "a World has no files",
	"adopt what has bytes waiting":      "the socket is the kernel's",
	"destroy with everything open":      "what travels by mail is a descriptor of the kernel's",
	"no allocation":                     "a World allocates",
	"blocks go to who waits longest":    "a World reports when it likes",
	"stress among signals":              "a World makes no system calls",
	"a descriptor used again":           "a World does not use one again",
	"a collection ends a wait":          "a World does not wait",
	"the length of a turn":              "a World's time passes between the calls of a loop that waits, not within them",
	"last bytes and end in one segment": "a World has no segments",
}

// simBench is a World and its lock.
type simBench struct {
	mu    sync.Mutex
	w     *sim.World
	names uint16
}

// benches are the worlds of the tests that run: loops of one test share one.
var benches sync.Map

func benchOf(t *testing.T) *simBench {
	b, ok := benches.Load(t)
	if !ok {
		fresh := &simBench{w: sim.NewWorld(uint64(len(t.Name())), sim.Faults{Late: 10, Overshoot: 30, Offset: 20})}
		fresh.w.Room = 256 << 10 // peers write from the goroutine that polls
		benches.Store(t, fresh)
		t.Cleanup(func() { benches.Delete(t) })
		return fresh
	}
	return b.(*simBench)
}

// open makes a loop in the world.
func (b *simBench) open(cfg Config) (*Loop, error) {
	return newLoop(cfg, hostedIO, -1, func(l *Loop) (backend, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		return &lockedSim{h: host(l, b.w.Open), b: b}, nil
	})
}

// addr is an address that nobody has yet.
func (b *simBench) addr() netip.AddrPort {
	b.names++
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, 9, 9}), b.names)
}

// locked runs f with the lock and at the right time.
func (b *simBench) locked(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.w.Reach(monotonic())
	b.w.RunDue()
	f()
}

// lockedSim is a backend in a World that others may reach while it waits.
type lockedSim struct {
	h      *hosted
	b      *simBench
	inside bool // the loop holds the lock: what is complete may end a connection
}

func (k *lockedSim) locked(f func()) {
	if k.inside {
		f()
		return
	}
	k.b.locked(func() {
		k.inside = true
		f()
		k.inside = false
	})
}

func (k *lockedSim) now() int64  { return monotonic() }
func (k *lockedSim) wall() int64 { return wallClock() }

func (k *lockedSim) acceptOn(ln *listener)  {}
func (k *lockedSim) acceptOff(ln *listener) {}
func (k *lockedSim) acceptStop(ln *listener) {
	k.locked(func() { k.h.acceptStop(ln) })
}
func (k *lockedSim) refuse(fd int32) { k.locked(func() { k.h.refuse(fd) }) }
func (k *lockedSim) dial(id ConnID, c *conn, r *Remote) {
	k.locked(func() { k.h.dial(id, c, r) })
}
func (k *lockedSim) adopt(id ConnID, c *conn)   { k.locked(func() { k.h.adopt(id, c) }) }
func (k *lockedSim) recvOn(id ConnID, c *conn)  { k.locked(func() { k.h.recvOn(id, c) }) }
func (k *lockedSim) recvOff(id ConnID, c *conn) { k.locked(func() { k.h.recvOff(id, c) }) }
func (k *lockedSim) flush(id ConnID, c *conn)   { k.locked(func() { k.h.flush(id, c) }) }
func (k *lockedSim) openPipe() (p pipe, ok bool) {
	k.locked(func() { p, ok = k.h.openPipe() })
	return p, ok
}
func (k *lockedSim) closePipe(p pipe) { k.locked(func() { k.h.closePipe(p) }) }
func (k *lockedSim) pull(c *conn, p pipe, n int) (got int, errno unix.Errno) {
	k.locked(func() { got, errno = k.h.pull(c, p, n) })
	return got, errno
}
func (k *lockedSim) push(c *conn, p pipe, n int) (got int, errno unix.Errno) {
	k.locked(func() { got, errno = k.h.push(c, p, n) })
	return got, errno
}
func (k *lockedSim) awaitRoom(id ConnID, c *conn) { k.locked(func() { k.h.awaitRoom(id, c) }) }
func (k *lockedSim) shutdown(id ConnID, c *conn)  { k.locked(func() { k.h.shutdown(id, c) }) }
func (k *lockedSim) cancel(id ConnID, c *conn)    { k.locked(func() { k.h.cancel(id, c) }) }
func (k *lockedSim) close(id ConnID, c *conn)     { k.locked(func() { k.h.close(id, c) }) }
func (k *lockedSim) detach(id ConnID, c *conn) (ok bool) {
	k.locked(func() { ok = k.h.detach(id, c) })
	return ok
}
func (k *lockedSim) unix(fd int32) bool { return k.h.unix(fd) }
func (k *lockedSim) unread(c *conn) (n int) {
	k.locked(func() { n = k.h.unread(c) })
	return n
}
func (k *lockedSim) lowat(c *conn, n int) { k.locked(func() { k.h.lowat(c, n) }) }
func (k *lockedSim) broken(c *conn) (broken bool) {
	k.locked(func() { broken = k.h.broken(c) })
	return broken
}

func (k *lockedSim) local(c *conn) (a netip.AddrPort) {
	k.locked(func() { a = k.h.local(c) })
	return a
}

func (k *lockedSim) unacked(c *conn) (n int) {
	k.locked(func() { n = k.h.unacked(c) })
	return n
}
func (k *lockedSim) destroy() (err error) {
	k.locked(func() { err = k.h.destroy() })
	return err
}

// wait waits for real.
func (k *lockedSim) wait(waitNs int64) error {
	end := monotonic() + waitNs
	for {
		busy := true
		k.locked(func() {
			k.h.l.sleepsTill = 0
			k.h.wait(waitNs)
			busy = k.h.l.sleepsTill <= k.b.w.Now()
		})
		if busy || waitNs >= 0 && monotonic() >= end {
			return nil
		}
		time.Sleep(20 * time.Microsecond)
	}
}

// simConn is a Peer that blocks.
type simConn struct {
	b      *simBench
	p      *sim.Peer
	mu     sync.Mutex
	readBy time.Time
	byWhen time.Time // writing
	reset  bool
}

// try repeats f until it does something else than block.
func (c *simConn) try(by *time.Time, f func() (int, error)) (n int, err error) {
	for {
		c.b.locked(func() { n, err = f() })
		if err != sim.ErrWouldBlock {
			return n, err
		}
		c.mu.Lock()
		late := !by.IsZero() && time.Now().After(*by)
		c.mu.Unlock()
		if late {
			return 0, os.ErrDeadlineExceeded
		}
		time.Sleep(20 * time.Microsecond)
	}
}

func (c *simConn) Read(b []byte) (int, error) {
	return c.try(&c.readBy, func() (int, error) { return c.p.Read(b) })
}

func (c *simConn) Write(b []byte) (done int, err error) {
	for done < len(b) {
		n, err := c.try(&c.byWhen, func() (int, error) { return c.p.Write(b[done:]) })
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

func (c *simConn) Close() error {
	c.b.locked(func() {
		if c.reset {
			c.p.Reset()
		} else {
			c.p.Close()
		}
	})
	return nil
}

func (c *simConn) CloseWrite() error {
	c.b.locked(c.p.CloseWrite)
	return nil
}

func (c *simConn) SetLinger(sec int) error {
	c.reset = sec == 0
	return nil
}

func (c *simConn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *simConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	c.readBy = t
	c.mu.Unlock()
	return nil
}

func (c *simConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	c.byWhen = t
	c.mu.Unlock()
	return nil
}

func (c *simConn) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(c.p.Addr()) }
func (c *simConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.p.FarAddr()) }

// simOrigin accepts what the loop dials.
type simOrigin struct {
	b    *simBench
	addr netip.AddrPort
	came chan *sim.Peer
}

func (b *simBench) origin() *simOrigin {
	o := &simOrigin{b: b, came: make(chan *sim.Peer, 100)}
	b.locked(func() {
		o.addr = b.addr()
		b.w.Serve(o.addr.String(), func(p *sim.Peer) { o.came <- p })
	})
	return o
}

func (o *simOrigin) Addr() net.Addr { return net.TCPAddrFromAddrPort(o.addr) }
func (o *simOrigin) Close() error {
	o.b.locked(func() { o.b.w.Serve(o.addr.String(), nil) })
	return nil
}
func (o *simOrigin) Accept() (net.Conn, error) { return &simConn{b: o.b, p: <-o.came}, nil }

// dial connects to a listener.
func (b *simBench) dial(addr string) (c net.Conn, err error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	err = unix.ECONNREFUSED
	b.locked(func() {
		if p := b.w.Connect(b.addr(), to); p != nil {
			c, err = &simConn{b: b, p: p}, nil
		}
	})
	return c, err
}

// listen gives a listener for Accept.
func (b *simBench) listen() (fd int, addr string) {
	b.locked(func() {
		a := b.addr()
		fd, addr = b.w.Listen(a), a.String()
	})
	return fd, addr
}

// pair is a descriptor for Adopt and its far end.
func (b *simBench) pair() (fd int, c net.Conn) {
	b.locked(func() {
		near, far := b.w.Pair()
		fd, c = near, &simConn{b: b, p: far}
	})
	return fd, c
}
