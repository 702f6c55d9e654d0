package loop

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"zproxy/buf"
	"zproxy/loop/internal/seam"
)

// hosted is a backend that stands outside of this package, such as loop/sim. It
// translates what the core says into what package seam has, and back.
type hosted struct {
	l         *Loop
	b         seam.Backend
	block     buf.View // see Block
	accepting []int32
}

// NewOn makes a loop on the backend that open starts, which only packages below
// this one can have. It needs no thread of its own: what drives the backend polls it.
func NewOn(cfg Config, open func(seam.Core) seam.Backend) (*Loop, error) {
	return newLoop(cfg, hostedIO, -1, func(l *Loop) (backend, error) { return host(l, open), nil })
}

func host(l *Loop, open func(seam.Core) seam.Backend) *hosted {
	h := &hosted{l: l}
	h.b = open(h)
	return h
}

// What the core calls.

func (h *hosted) now() int64                         { return h.b.Now() }
func (h *hosted) wall() int64                        { return h.b.Wall() }
func (h *hosted) acceptOn(*listener)                 {}
func (h *hosted) acceptOff(*listener)                {}
func (h *hosted) acceptStop(ln *listener)            { h.b.AcceptStop(ln.fd) }
func (h *hosted) refuse(fd int32)                    { h.b.Refuse(fd) }
func (h *hosted) adopt(id ConnID, c *conn)           { h.b.Adopt(uint64(id), c.fd) }
func (h *hosted) recvOn(id ConnID, c *conn)          { h.b.RecvOn(uint64(id), c.fd) }
func (h *hosted) recvOff(id ConnID, c *conn)         { h.b.RecvOff(uint64(id), c.fd) }
func (h *hosted) flush(id ConnID, c *conn)           { h.b.Flush(uint64(id), c.fd) }
func (h *hosted) shutdown(_ ConnID, c *conn)         { h.b.Shutdown(c.fd) }
func (h *hosted) close(_ ConnID, c *conn)            { h.b.Close(c.fd, c.has(flagAbort)) }
func (h *hosted) lowat(c *conn, n int)               { h.b.Lowat(c.fd, n) }
func (h *hosted) unix(int32) bool                    { return false }
func (h *hosted) unread(c *conn) int                 { return h.b.Unread(c.fd) }
func (h *hosted) unacked(c *conn) int                { return h.b.Unacked(c.fd) }
func (h *hosted) broken(c *conn) bool                { return h.b.Broken(c.fd) }
func (h *hosted) local(c *conn) netip.AddrPort       { return h.b.Local(c.fd) }
func (h *hosted) dial(id ConnID, c *conn, r *Remote) { c.fd = h.b.Dial(uint64(id), r.text, r.peer) }

func (h *hosted) cancel(_ ConnID, c *conn) {
	if c.inflight > 0 {
		h.b.Cancel(c.fd)
	}
}

func (h *hosted) detach(_ ConnID, c *conn) bool {
	h.b.Detach(c.fd)
	return true
}

// A pipe has a number here, where others have two descriptors.

func (h *hosted) openPipe() (pipe, bool) {
	n, ok := h.b.OpenPipe()
	return pipe{n, n}, ok
}

func (h *hosted) closePipe(p pipe) { h.b.ClosePipe(p.r) }

func (h *hosted) pull(c *conn, p pipe, n int) (int, unix.Errno) { return h.b.Pull(c.fd, p.r, n) }
func (h *hosted) push(c *conn, p pipe, n int) (int, unix.Errno) { return h.b.Push(c.fd, p.r, n) }

func (h *hosted) awaitRoom(_ ConnID, c *conn) {
	c.flags |= flagSendBusy
	h.b.AwaitRoom(c.fd)
}

func (h *hosted) wait(waitNs int64) error {
	h.b.Wait(waitNs)
	return nil
}

func (h *hosted) destroy() error {
	h.b.Destroy()
	return nil
}

// What the backend calls: seam.Core. Most of it is what the backends of this package
// call by the same name.

func (h *hosted) conn(id uint64) *conn { return h.l.conns.lookup(ConnID(id)) }

// Accepting gives the listeners that are on.
func (h *hosted) Accepting() []int32 {
	h.accepting = h.accepting[:0]
	for _, ln := range h.l.listeners {
		if ln != nil && ln.on {
			h.accepting = append(h.accepting, ln.fd)
		}
	}
	return h.accepting
}

func (h *hosted) listener(fd int32) *listener {
	for _, ln := range h.l.listeners {
		if ln != nil && ln.fd == fd {
			return ln
		}
	}
	return nil
}

func (h *hosted) Accepted(listener, fd int32, peer netip.AddrPort) (uint64, bool) {
	id, _, ok := h.l.accepted(h.listener(listener), fd, peer)
	return uint64(id), ok
}

func (h *hosted) AcceptStopped(listener int32) { h.l.acceptStopped(h.listener(listener)) }

func (h *hosted) Connected(id uint64, errno unix.Errno) {
	h.l.connected(ConnID(id), h.conn(id), errno)
}

func (h *hosted) OpBegin(id uint64) { h.l.opBegin(h.conn(id)) }

func (h *hosted) OpEnd(id uint64) { h.l.opEnd(ConnID(id), h.conn(id)) }

// Closing is flagClosing.
func (h *hosted) Closing(id uint64) bool { return h.conn(id).has(flagClosing) }

func (h *hosted) Grant(id uint64, want int) int { return h.l.grant(h.conn(id), want) }

// Block takes a block out of the pool.
func (h *hosted) Block() []byte {
	v, ok := h.l.pool.Get()
	if !ok {
		return nil
	}
	h.block = v
	return h.l.pool.Bytes(v)
}

// Received is received, with a part of the last Block.
func (h *hosted) Received(id uint64, off, n int) {
	h.l.received(ConnID(id), h.conn(id), h.block.Slice(uint32(off), uint32(n)))
	h.block = buf.View{}
}

// Unused gives the last Block back.
func (h *hosted) Unused() {
	h.l.pool.Release(h.block)
	h.block = buf.View{}
}

func (h *hosted) RecvEnded(id uint64, errno unix.Errno) {
	h.l.recvEnded(ConnID(id), h.conn(id), errno)
}

func (h *hosted) Park(id uint64) { h.l.park(ConnID(id), h.conn(id)) }

func (h *hosted) Drained(id uint64) { h.l.drained(h.conn(id)) }

// Splicing is flagSpliceFrom and spliceBegun.
func (h *hosted) Splicing(id uint64) (splices, begun bool) {
	c := h.conn(id)
	splices = c.has(flagSpliceFrom)
	return splices, splices && h.l.spliceBegun(c)
}

func (h *hosted) Relay(id uint64) (receive, wait bool) {
	r := h.l.relay(ConnID(id), h.conn(id))
	return r == relayOver, r == relayWait
}

// Queued is the length of the queue.
func (h *hosted) Queued(id uint64) int { return h.conn(id).sendq.Bytes() }

// Front copies from the queue.
func (h *hosted) Front(id uint64, dst []byte) { h.l.pool.CopyOut(&h.conn(id).sendq, dst) }

// Drain is drain, where there is something to.
func (h *hosted) Drain(id uint64) bool {
	c := h.conn(id)
	return !c.has(flagSpliceTo) || h.l.drain(ConnID(id), c)
}

func (h *hosted) Sent(id uint64, n int, errno unix.Errno) {
	h.l.sent(ConnID(id), h.conn(id), n, errno)
}

// SendBusy is flagSendBusy.
func (h *hosted) SendBusy(id uint64, busy bool) {
	c := h.conn(id)
	c.flags &^= flagSendBusy
	if busy {
		c.flags |= flagSendBusy
	}
}

// Partial is Loop.partial.
func (h *hosted) Partial() { h.l.partial = true }

// Thorough is sweep.on.
func (h *hosted) Thorough() bool { return h.l.sweep.on }

// Sleep is fallAsleep and wakeUp: the wait takes no time of ours.
func (h *hosted) Sleep(until int64) bool {
	l := h.l
	if len(l.events) > 0 || l.todoHead != 0 {
		return false
	}
	asleep := l.fallAsleep()
	if asleep {
		l.sleepsTill = until
	}
	l.wakeUp()
	return asleep
}

// HasMail says that something was posted.
func (h *hosted) HasMail() bool { return !h.l.box.empty() }

// Calls counts.
func (h *hosted) Calls(receives, sends, shortSends int) {
	s := &h.l.stats
	s.RecvCalls += uint64(receives)
	s.SendCalls += uint64(sends)
	s.ShortSends += uint64(shortSends)
}

// WatermarkPiece is Loop.watermarkPiece.
func (h *hosted) WatermarkPiece(n int) { h.l.watermarkPiece = uint64(n) }
