//go:build giouring

package loop

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

func init() { register(Uring, openUring) }

// uring is the io_uring backend. Intents become entries of the submission
// queue; one system call per Poll hands them over, waits, and runs what became
// ready. Accepting and receiving are multishot: submitted once, they complete
// again and again, a receive each time with a block of the pool that the
// kernel picks when data is there.
type uring struct {
	kernelPipes
	l    *Loop
	g    *ring
	bufs *recvBuffers

	// Bytes after which a multishot receive ends, 0: the kernel cannot do that.
	// Then only those receive multishot that do not stream.
	recvLimit uint32

	// What entries not yet submitted point at. The kernel copies it when it
	// takes the entries, so one array serves all ticks.
	msgs    []unix.Msghdr
	iovs    []unix.Iovec
	remotes []*Remote // kept reachable

	wokeNs   int64 // when the wait before the last one that could block ended
	inflight int   // operations that will still complete
	starved  int   // receives that found no buffer, in this Poll
	fatal    error // the ring is broken
	wakeOn   bool
}

const (
	sendMsgsMax = 256  // vectors between two submissions
	sendIovsMax = 2048 // their entries
	sendIovs    = 64   // of one vector: 1 MiB of 16 KiB blocks

	ringEntriesMin = 64
	ringEntriesMax = 4096
)

func openUring(l *Loop) (backend, error) {
	g, err := newRing(uint32(min(max(l.cfg.Entries, ringEntriesMin), ringEntriesMax)))
	if err != nil {
		return nil, errors.New(setupReason(err, kernelRelease(), ioUringSysctl(), memlockLimit()))
	}
	bufs, err := newRecvBuffers(g, l.pool, l.cfg.Reserve)
	if err != nil {
		g.close()
		return nil, fmt.Errorf("io_uring: buffer ring: %w", err)
	}
	g.registerFD()
	limit := 0
	if slices.Contains(Probe().Names, featRecvLimit) {
		limit = blocksPerTick * l.pool.BlockBytes()
	}
	return &uring{
		l: l, g: g, bufs: bufs, recvLimit: uint32(limit),
		msgs: make([]unix.Msghdr, 0, sendMsgsMax),
		iovs: make([]unix.Iovec, 0, sendIovsMax),
	}, nil
}

func (u *uring) now() int64  { return monotonic() }
func (u *uring) wall() int64 { return wallClock() }

// sqe gives a blank entry. When the queue is full it submits what is there:
// prepared vectors are gone after that, see makeRoom.
func (u *uring) sqe() *sqe {
	if e := u.g.sqe(); e != nil {
		return e
	}
	u.submitAll()
	if e := u.g.sqe(); e != nil {
		return e
	}
	return &sqe{} // the ring is broken, and wait will say so
}

// makeRoom makes sure that sqe does not submit, and that a vector fits.
func (u *uring) makeRoom() {
	if u.g.sqSpace() == 0 || len(u.msgs) == cap(u.msgs) || len(u.iovs)+sendIovs > cap(u.iovs) {
		u.submitAll()
	}
}

// submitAll hands everything over in the middle of a tick.
func (u *uring) submitAll() {
	for u.fatal == nil {
		err := u.g.submit()
		if u.g.sqReady() == 0 {
			u.submitted()
			return
		}
		u.noteError(err)
		// Short of memory, or of room for completions: those are only taken
		// out between two submissions, so the kernel keeps them meanwhile.
		time.Sleep(100 * time.Microsecond)
	}
}

// submitted forgets what the kernel has read.
func (u *uring) submitted() {
	u.msgs, u.iovs = u.msgs[:0], u.iovs[:0]
	clear(u.remotes)
	u.remotes = u.remotes[:0]
}

// noteError keeps an error of a submission that will not go away by itself.
func (u *uring) noteError(err error) {
	switch err {
	case nil, unix.EINTR, unix.EAGAIN, unix.EBUSY, unix.ENOMEM, unix.ETIME:
	default:
		u.fatal = fmt.Errorf("io_uring_enter: %w", err)
	}
}

func (u *uring) wait(waitNs int64) error {
	if !u.wakeOn {
		u.watchWake()
	}
	if u.starved > 0 {
		u.bufs.deepen(u.starved)
		u.starved = 0
	}
	u.bufs.fill()
	var err error
	if waitNs != 0 && !u.g.pending() && u.l.fallAsleep() {
		brief := u.l.nowNs-u.wokeNs < briefGapNs
		u.wokeNs = u.l.nowNs
		if brief && (waitNs < 0 || waitNs > briefGapNs) {
			waitNs = briefGapNs
		}
		batchWaitNs := int64(0)
		if brief {
			batchWaitNs = u.l.batchWaitNs(waitNs)
		}
		err = u.g.submitWait(waitNs, batchWaitNs, brief)
		u.l.wakeUp()
	} else if u.l.sweep.on {
		err = u.g.submitAllDone(u.inflight)
	} else {
		err = u.g.submit()
	}
	// A ring does only some of what is ready in one call, unless it is asked for all.
	if !u.l.sweep.on || err != nil {
		u.l.partial = true
	}
	if u.g.sqReady() == 0 {
		u.submitted()
	}
	u.noteError(err)
	for batch := u.g.completions(); len(batch) > 0; batch = u.g.completions() {
		for i, c := range batch {
			ud := userData(c.UserData)
			u.complete(ud, c.Res, c.Flags)
			// A multishot receive completes several times in a row: what it has left
			// is looked at behind the last.
			if ud.op() == urRecv && (i+1 == len(batch) || batch[i+1].UserData != c.UserData) {
				u.l.drained(u.l.conns.at(ud.slot()))
			}
		}
		u.g.seen(len(batch))
	}
	if u.starved > 0 {
		u.l.partial = true
	}
	return u.fatal
}

// complete is told of one completion.
func (u *uring) complete(ud userData, res int32, cflags uint32) {
	if cflags&cqeMore == 0 && ud.op() != urNone {
		u.inflight--
	}
	switch ud.op() {
	case urRecv, urSend, urConnect:
		u.connComplete(ud, res, cflags)
	case urAccept:
		u.acceptComplete(u.l.listeners[ud.slot()], res, cflags)
	case urWake:
		u.wakeOn = cflags&cqeMore != 0 // the wake-up was all there is to it
	case urNone:
		// A cancel came too late, which its target's own completion tells, or
		// a descriptor could not be closed.
	}
}

// watchWake makes a write to the loop's eventfd end a wait. Every write
// counts, so nobody has to read it.
func (u *uring) watchWake() {
	if u.l.wakeFD < 0 {
		return
	}
	prepPoll(u.sqe(), int32(u.l.wakeFD), packUserData(urWake, 0, 0))
	u.inflight++
	u.wakeOn = true
}

// trim takes the blocks out of the ring of buffers. A receive that the kernel
// would start now finds none and ends, to be submitted again.
func (u *uring) trim() {
	if u.g.pending() {
		return // with buffers that were filled
	}
	if err := u.bufs.empty(); err != nil && u.fatal == nil {
		u.fatal = fmt.Errorf("io_uring: buffer ring: %w", err)
	}
}

func (u *uring) unix(fd int32) bool   { return unixFD(fd) }
func (u *uring) unread(c *conn) int   { return unreadFD(c.fd) }
func (u *uring) unacked(c *conn) int  { return unackedFD(c.fd) }
func (u *uring) lowat(c *conn, n int) { lowatFD(c.fd, n) }
func (u *uring) broken(c *conn) bool  { return brokenFD(c.fd) }

func (u *uring) local(c *conn) netip.AddrPort { return kernelLocal(c.fd) }

// What destroy waits for operations to end, at most.
const destroyWaitNs = int64(2e9)

func (u *uring) destroy() error {
	prepCancelAll(u.sqe())
	for until := u.now() + destroyWaitNs; u.inflight > 0 && u.fatal == nil; {
		left := until - u.now()
		if left <= 0 {
			u.fatal = fmt.Errorf("io_uring: %d operations did not end", u.inflight)
			break
		}
		u.noteError(u.g.submitWait(left, 0, false))
		for batch := u.g.completions(); len(batch) > 0; batch = u.g.completions() {
			for _, c := range batch {
				u.discard(userData(c.UserData), c.Res, c.Flags)
			}
			u.g.seen(len(batch))
		}
	}
	if u.fatal != nil {
		// The kernel may still write to the blocks it has: they are lost.
		u.g.close()
		return u.fatal
	}
	u.noteError(u.g.submit()) // closes, if destroy found nothing to wait for
	u.bufs.free()
	u.g.close()
	return u.fatal
}

// discard takes what a completion brings while the loop ends.
func (u *uring) discard(ud userData, res int32, cflags uint32) {
	if cflags&cqeMore == 0 && ud.op() != urNone {
		u.inflight--
	}
	if ud.op() == urAccept && res >= 0 {
		closeFD(res)
	}
	if cflags&cqeBuffer != 0 {
		u.l.pool.Release(u.bufs.take(uint16(cflags>>cqeBufferShift), 0))
	}
}
