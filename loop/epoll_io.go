package loop

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// emptyPolls in a row without an event, and the next wait blocks at once.
const emptyPolls = 2

// wait carries out what was gathered, collects what is ready, and blocks only if
// that is nothing.
func (e *epoll) wait(waitNs int64) error {
	if e.submit(); len(e.l.events) > 0 || e.l.todoHead != 0 {
		waitNs = 0
	}
	if waitNs == 0 && e.sentNow && !e.skipped {
		// Sends have given the owner something to do. Asking the kernel can wait
		// until it is done: most often there is nothing yet, and then this call
		// would be one too many. Not twice in a row: reading must not wait for
		// writing.
		e.sentNow, e.skipped = false, true
		e.l.partial = true
		return nil
	}
	e.sentNow, e.skipped = false, false
	n, errno := 0, unix.Errno(0)
	if waitNs == 0 || e.empty < emptyPolls && (!e.brief() || e.l.batchWait.on) {
		n, errno = e.poll()
		if n > 0 {
			e.empty = 0
		} else if waitNs != 0 && e.empty < emptyPolls {
			e.empty++
		}
	}
	if n == 0 && waitNs != 0 {
		n, errno = e.block(waitNs)
	}
	if errno != 0 && errno != unix.EINTR {
		return errno
	}
	if errno != 0 || n == len(e.events) {
		e.l.partial = true
	}
	for i := range e.events[:max(n, 0)] {
		e.ready(&e.events[i])
	}
	e.submit()
	return nil
}

// gather makes room for one more operation, and lends the batch it joins.
func (e *epoll) gather() *batch {
	if e.batch.full() {
		e.submit()
	}
	return &e.batch
}

// submit carries out what was gathered, and reports it.
func (e *epoll) submit() {
	if e.batch.n == 0 {
		return
	}
	ops := e.batch.run()
	for i := range ops {
		if op := &ops[i]; op.receives() {
			e.receiveDone(op)
		} else {
			e.sendDone(op)
		}
	}
}

// poll does not wait.
func (e *epoll) poll() (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(e.fd), uintptr(unsafe.Pointer(&e.events[0])), uintptr(len(e.events)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// Go's scheduler takes the processor away from a thread whose system call
// lasts, and keeps a thread of its own busy with that: where waits are many
// and brief this cost up to a quarter of all CPU time. So a wait that promises
// to be brief is kept from it, as any short call is. A collection that must
// stop this thread ends such a wait with a signal; the bound is for those who
// run with asyncpreemptoff.
const (
	briefWaitMs = 10
	briefGapNs  = briefWaitMs * int64(time.Millisecond) // between wake-ups where waits are brief
)

// brief promises that the next wait is.
func (e *epoll) brief() bool { return e.l.nowNs-e.wokeNs < briefGapNs }

// block waits. More than one event says that there is load, and that polling
// may pay off again.
func (e *epoll) block(waitNs int64) (int, unix.Errno) {
	if !e.l.fallAsleep() {
		return e.poll()
	}
	ms := -1
	if waitNs > 0 {
		ms = int(min((waitNs+tickNs-1)/tickNs, 1<<30))
	}
	brief := e.brief()
	e.wokeNs = e.l.nowNs
	if ns := e.l.batchWaitNs(waitNs); ns > 0 {
		e.l.pause(ns)
		if n, errno := e.poll(); n > 0 || errno != 0 || ns == waitNs {
			e.l.wakeUp()
			return n, errno
		}
	}
	var n uintptr
	var errno unix.Errno
	if brief {
		if ms < 0 || ms > briefWaitMs {
			ms = briefWaitMs
		}
		n, _, errno = unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(e.fd), uintptr(unsafe.Pointer(&e.events[0])), uintptr(len(e.events)), uintptr(ms), 0, 0)
	} else {
		n, _, errno = unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(e.fd), uintptr(unsafe.Pointer(&e.events[0])), uintptr(len(e.events)), uintptr(ms), 0, 0)
	}
	e.l.wakeUp()
	if errno != 0 {
		return 0, errno
	}
	if n > 1 {
		e.empty = 0
	}
	return int(n), 0
}

// ready acts on one event of the kernel.
func (e *epoll) ready(ev *unix.EpollEvent) {
	l := e.l
	id, mask := epollID(ev), ev.Events
	c := l.conns.lookup(id)
	if c == nil || c.has(flagClosing) {
		if id.slot() == 0 && id.gen() != 0 {
			e.acceptSome(int(id.gen() - 1))
		}
		return
	}
	if c.has(flagConnecting) && !e.finishDial(id, c, mask) {
		return
	}
	if mask&unix.EPOLLOUT != 0 || mask&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		if c.has(flagSendBusy) {
			c.flags &^= flagSendBusy
			e.flush(id, c)
		}
	}
	if mask&^unix.EPOLLOUT == 0 {
		return
	}
	c.flags |= flagReadable
	if mask&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		c.flags |= flagHangup
	}
	if c.flags&(flagSub|flagRecvEnded|flagParked) == flagSub {
		e.receive(id, c)
	}
}

// finishDial reports the end of a dial once there is one.
func (e *epoll) finishDial(id ConnID, c *conn, mask uint32) bool {
	if c.has(flagRecvEnded) || mask&(unix.EPOLLOUT|unix.EPOLLERR|unix.EPOLLHUP) == 0 {
		return false // failed and reported, or not yet
	}
	errno := unix.Errno(0)
	if mask&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		errno = socketError(c.fd)
		if errno == 0 && mask&unix.EPOLLOUT == 0 {
			return false
		}
	}
	e.l.connected(id, c, errno)
	return errno == 0
}

func (e *epoll) acceptSome(index int) {
	if index >= len(e.l.listeners) {
		return
	}
	ln := e.l.listeners[index]
	if ln == nil || !ln.on {
		return
	}
	for range acceptsPerTick {
		if !e.acceptOne(ln) {
			return
		}
	}
}

// receive reads what is there, a bounded number of blocks. A read that did not
// fill its blocks has emptied the socket: what arrives later is a new edge.
// That does not hold once the end was announced, whose edge is past.
func (e *epoll) receive(id ConnID, c *conn) {
	l := e.l
	if c.has(flagSpliceFrom) && !e.relay(id, c) {
		return
	}
	most := blocksPerTick
	if c.has(flagBrief) {
		most = 1
		c.setRecvBlocks(1)
	}
	if c.recvBlocks() > 1 && e.tickFull() {
		l.again(id, c)
		return
	}
	granted := l.grant(c, most)
	if granted == 0 {
		l.park(id, c)
		return
	}
	for budget := granted; budget > 0 && c.recvBlocks() > 1; {
		n, more := e.receiveMany(id, c, min(budget, c.recvBlocks()), budget == granted)
		if !more {
			return
		}
		if budget -= n; budget == 0 || c.recvBlocks() <= 1 {
			l.again(id, c)
			return
		}
	}
	v, ok := l.pool.Get()
	if !ok {
		l.park(id, c)
		return
	}
	e.gather().receive(id, c, v, l.pool.Bytes(v))
	l.stats.RecvCalls++
}

// tickFull says that those that fill several blocks have received enough in this
// tick, and the others of them take their turn in the next: what is received
// is sent while the CPU's cache has it.
func (e *epoll) tickFull() bool {
	if polls := e.l.stats.Polls; e.tick != polls {
		e.tick, e.tickBytes = polls, 0
	}
	return e.tickBytes >= bytesPerTick
}

// receiveDone is told of a receive into one block. What it leaves in the socket
// is for the next Poll.
func (e *epoll) receiveDone(op *batchOp) {
	l, id, c := e.l, op.id, op.c
	if op.n == 0 || op.errno != 0 {
		l.pool.Release(op.view)
		if e.receivedNothing(id, c, op.errno) {
			l.again(id, c)
		}
		return
	}
	l.received(id, c, op.view.Slice(0, uint32(op.n)))
	switch {
	case op.n == op.total:
		c.flags &^= flagBrief
		c.setRecvBlocks(2)
		l.again(id, c)
	case c.has(flagHangup):
		l.again(id, c)
	default:
		c.flags &^= flagReadable
		l.drained(c)
	}
}

// relay is receive where the bytes are spliced. True: they are not any more.
func (e *epoll) relay(id ConnID, c *conn) bool {
	switch e.l.relay(id, c) {
	case relayOver:
		return true
	case relayWait: // as in receivedNothing
		c.flags &^= flagReadable | flagHangup
	}
	return false
}

// receiveMany is receive into k blocks at once. It gives the number of blocks
// used, and whether there may be more to read. Only the first read of a burst
// says that so many blocks were too many: what follows a full one is a rest.
func (e *epoll) receiveMany(id ConnID, c *conn, k int, first bool) (used int, more bool) {
	l := e.l
	got, room := 0, 0
	for ; got < k; got++ {
		v, ok := l.pool.Get()
		if !ok {
			break
		}
		e.views[got] = v
		b := l.pool.Bytes(v)
		e.iov[got].Base = &b[0]
		e.iov[got].SetLen(len(b))
		room += len(b)
	}
	if got == 0 {
		l.park(id, c)
		return 0, false
	}
	n, errno := readvFD(c.fd, e.iov[:got])
	l.stats.RecvCalls++
	if errno != 0 {
		n = 0
	}
	e.tickBytes += n
	left := uint32(n)
	for i, v := range e.views[:got] {
		if left == 0 {
			l.pool.Release(v)
			continue
		}
		part := min(left, v.Len)
		left -= part
		used = i + 1
		l.received(id, c, v.Slice(0, part))
	}
	if first && used <= k/2 {
		c.setRecvBlocks(k / 2)
	}
	if n == 0 {
		return 0, e.receivedNothing(id, c, errno)
	}
	if n == room {
		c.setRecvBlocks(min(2*max(k, c.recvBlocks()), blocksPerTick))
		return used, true
	}
	if !c.has(flagHangup) {
		c.flags &^= flagReadable
		l.drained(c)
		return used, false
	}
	return used, true
}

// receivedNothing ends the subscription unless it was EAGAIN; true: try again.
func (e *epoll) receivedNothing(id ConnID, c *conn, errno unix.Errno) bool {
	switch errno {
	case unix.EINTR:
		return true
	case unix.EAGAIN: // also after an error that is over: nothing has ended
		c.flags &^= flagReadable | flagHangup
		e.l.drained(c)
	default:
		e.l.recvEnded(id, c, errno)
	}
	return false
}

// flush sends what is queued, as far as it goes in one call. When the socket is
// full an edge will come, and only then is it tried again.
func (e *epoll) flush(id ConnID, c *conn) {
	l := e.l
	if c.has(flagSpliceTo) && !l.drain(id, c) {
		return
	}
	b := e.gather()
	iov := b.room()
	k := l.pool.Iovecs(&c.sendq, iov)
	if k == 0 {
		return
	}
	c.flags |= flagSendBusy
	b.send(id, c, iov[:k])
	l.stats.SendCalls++
	e.sentNow = true
}

// sendDone is told of a send.
func (e *epoll) sendDone(op *batchOp) {
	l, id, c := e.l, op.id, op.c
	switch {
	case op.errno == unix.EAGAIN: // flagSendBusy stays
	case op.errno == unix.EINTR:
		c.flags &^= flagSendBusy
		l.again(id, c)
	case op.errno != 0:
		c.flags &^= flagSendBusy
		l.sent(id, c, 0, op.errno)
	case op.n < op.total:
		l.stats.ShortSends++
		l.sent(id, c, op.n, 0) // and flagSendBusy stays
	default:
		c.flags &^= flagSendBusy
		l.sent(id, c, op.n, 0)
	}
}
