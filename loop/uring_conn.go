//go:build giouring

package loop

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The backend's own state of a connection. conn.io has the bytes of the send
// in flight, pollIO when it waits for room in the socket instead.
const (
	pollIO = 1<<32 - 1
)

const (
	urReceiving  = flagBackend << iota // a multishot receive is in the ring
	urRecvEnds                         // its cancellation is, too
	urStream                           // the last receive filled its block: more is likely to follow
	urUnsure                           // a receive found no buffer, and nobody knows whether there are bytes
	urConnecting                       // a connect is in the ring
)

func connData(op urOp, id ConnID) userData { return packUserData(op, id.slot(), id.gen()) }

func (u *uring) begin(c *conn) {
	u.inflight++
	u.l.opBegin(c)
}

func (u *uring) dial(id ConnID, c *conn, r *Remote) {
	fd, errno := r.open()
	if errno != 0 {
		u.l.connected(id, c, errno)
		return
	}
	c.fd = int32(fd)
	prepConnect(u.sqe(), c.fd, r.sockaddr(), connData(urConnect, id))
	u.remotes = append(u.remotes, r)
	c.flags |= urConnecting
	u.begin(c)
}

func (u *uring) adopt(ConnID, *conn) {}

func (u *uring) recvOn(id ConnID, c *conn) {
	if !c.has(urReceiving) {
		u.receive(id, c)
	} else if c.has(flagSpliceFrom) && !u.l.spliceBegun(c) {
		u.endReceive(id, c)
	}
	// Otherwise it goes on by itself, and if it was cancelled its end finds
	// that the owner wants bytes.
}

// receive submits a receive that goes on by itself, but ends in time for
// others to have their turn: the next one is submitted in the next Poll.
//
// A receive asks for a buffer first, and fails without one although no bytes are
// there. So where there is none, or others wait for blocks, a poll finds out whether
// there are bytes before c asks for a block. (The ring could do both in one, with
// IORING_RECVSEND_POLL_FIRST. But where bytes and a reset are there when it begins to
// wait, a multishot receive gives the bytes and says nothing of the reset, ever:
// Linux 6.18.)
func (u *uring) receive(id ConnID, c *conn) {
	if c.has(flagSpliceFrom) && !u.relay(id, c) {
		return
	}
	switch {
	case c.has(urUnsure) || u.bufs.dry() || u.l.mustWait(c):
		u.awaitBytes(id, c)
		return
	case u.recvLimit == 0 && c.has(urStream) || c.has(flagTurn|flagBrief):
		prepRecv(u.sqe(), c.fd, recvBufGroup, connData(urRecv, id))
	default:
		prepRecvMultishot(u.sqe(), c.fd, recvBufGroup, u.recvLimit, connData(urRecv, id))
	}
	u.receiving(c)
	u.l.stats.RecvCalls++
}

func (u *uring) receiving(c *conn) {
	c.flags = c.flags&^urRecvEnds | urReceiving
	u.begin(c)
}

// awaitBytes lets the ring say that there are some.
func (u *uring) awaitBytes(id ConnID, c *conn) {
	c.flags &^= urUnsure
	prepPollOnce(u.sqe(), c.fd, unix.POLLIN, connData(urRecv, id))
	u.receiving(c)
}

// relay is receive where the bytes are spliced: they are moved by plain system
// calls, and the ring says when there are some. (It would hand a splice of its
// own to a worker thread.) True: they are not spliced any more.
func (u *uring) relay(id ConnID, c *conn) bool {
	switch u.l.relay(id, c) {
	case relayOver:
		return true
	case relayWait:
		u.awaitBytes(id, c)
	}
	return false
}

// awaitRoom lets the ring say when there is some.
func (u *uring) awaitRoom(id ConnID, c *conn) {
	prepPollOnce(u.sqe(), c.fd, unix.POLLOUT, connData(urSend, id))
	c.io = pollIO
	c.flags |= flagSendBusy
	u.begin(c)
}

// recvOff cancels at once when bytes keep coming. A connection that gets a
// message now and then is often resumed before the next one: there the
// cancellation waits until something does arrive.
func (u *uring) recvOff(id ConnID, c *conn) {
	if c.has(urStream) && !c.has(flagSpliceFrom) {
		u.endReceive(id, c)
	}
}

func (u *uring) endReceive(id ConnID, c *conn) {
	if c.flags&(urReceiving|urRecvEnds) == urReceiving {
		prepCancel(u.sqe(), connData(urRecv, id))
		c.flags |= urRecvEnds
	}
}

func (u *uring) flush(id ConnID, c *conn) {
	if c.has(flagSpliceTo) && !u.l.drain(id, c) {
		return
	}
	u.makeRoom()
	e := u.sqe()
	if c.sendq.Len() == 1 {
		b := u.l.pool.Bytes(u.l.pool.Front(&c.sendq))
		c.io = uint32(len(b))
		prepSend(e, c.fd, b, sendFlags(c), connData(urSend, id))
	} else {
		n := len(u.iovs)
		iovs := u.iovs[n : n+sendIovs]
		iovs = iovs[:u.l.pool.Iovecs(&c.sendq, iovs)]
		u.iovs = u.iovs[:n+len(iovs)]
		c.io = 0
		for i := range iovs {
			c.io += uint32(iovs[i].Len)
		}
		u.msgs = append(u.msgs, unix.Msghdr{Iov: unsafe.SliceData(iovs), Iovlen: uint64(len(iovs))})
		prepSendmsg(e, c.fd, &u.msgs[len(u.msgs)-1], sendFlags(c), connData(urSend, id))
	}
	c.flags |= flagSendBusy
	u.begin(c)
	u.l.stats.SendCalls++
}

// shutdown is a plain system call: the ring would hand it to a worker thread.
func (u *uring) shutdown(_ ConnID, c *conn) { shutdownFD(c.fd) }

func (u *uring) cancel(id ConnID, c *conn) {
	u.endReceive(id, c)
	if c.has(flagSendBusy) {
		prepCancel(u.sqe(), connData(urSend, id))
	}
	if c.has(urConnecting) {
		prepCancel(u.sqe(), connData(urConnect, id))
	}
}

func (u *uring) close(_ ConnID, c *conn) {
	// A connection to an origin ends before Closed says so: its place may then be
	// taken on another loop, which does not wait for this one's next submission.
	if u.l.destroyed || c.flags&(flagAbort|flagAccepted) != flagAccepted {
		endFD(c)
		return
	}
	prepClose(u.sqe(), c.fd)
}

func (u *uring) detach(ConnID, *conn) bool { return true }

// connComplete is told of a completion of a connection's operation.
func (u *uring) connComplete(ud userData, res int32, cflags uint32) {
	id := makeID(ud.slot(), ud.gen())
	c := u.l.conns.at(ud.slot()) // not stale: the join waits for its operations
	switch ud.op() {
	case urRecv:
		u.recvComplete(id, c, res, cflags)
		return
	case urSend:
		u.sendComplete(id, c, res)
	case urConnect:
		c.flags &^= urConnecting
		u.l.connected(id, c, unix.Errno(max(0, -res)))
	}
	u.l.opEnd(id, c)
}

func (u *uring) recvComplete(id ConnID, c *conn, res int32, cflags uint32) {
	if cflags&cqeBuffer != 0 {
		v := u.bufs.take(uint16(cflags>>cqeBufferShift), uint32(max(0, res)))
		c.flags &^= flagTurn
		if res > 0 {
			u.tookBytes(id, c, res)
			u.l.received(id, c, v)
		} else {
			u.l.pool.Release(v)
		}
	}
	if cflags&cqeMore != 0 {
		return
	}
	c.flags &^= urReceiving | urRecvEnds
	again := true
	switch {
	case res > 0 && cflags&cqeBuffer == 0 && !c.has(flagSpliceFrom): // awaitBytes
		again = u.starve(id, c, true)
	case res > 0 || res == -int32(unix.ECANCELED) || res == -int32(unix.EINTR) || res == -int32(unix.EAGAIN):
	case res == -int32(unix.ENOBUFS):
		u.starved++
		again = u.starve(id, c, false)
	default:
		u.l.recvEnded(id, c, unix.Errno(-res))
		again = false
	}
	switch {
	case !again || !c.has(flagSub):
	case c.has(flagSpliceFrom) && !c.has(flagClosing):
		u.receive(id, c)
	default:
		u.l.again(id, c) // by then the owner may have paused it
	}
	u.l.opEnd(id, c)
}

// tookBytes learns from the size of a receive, and ends it when the owner has
// asked for no more.
func (u *uring) tookBytes(id ConnID, c *conn, n int32) {
	if int(n) == u.l.pool.BlockBytes() {
		c.flags = c.flags&^flagBrief | urStream
	} else {
		c.flags &^= urStream
	}
	if !c.has(flagSub) {
		u.endReceive(id, c)
	}
}

// starve is called for a receive that has no buffer. True: there are some now, or
// c got a block of the reserve, or nobody knows whether bytes wait (readable):
// the receive may be submitted again. Otherwise c waits for the pool.
func (u *uring) starve(id ConnID, c *conn, readable bool) bool {
	switch {
	case !u.l.mustWait(c) && u.bufs.fill():
		u.l.stats.Enobufs++
	case !readable:
		u.l.stats.Enobufs++
		c.flags |= urUnsure
	case c.flags&(flagSub|flagClosing) != flagSub:
	case u.l.grant(c, 1) == 0:
		u.l.park(id, c)
		return false
	default:
		return u.receiveNow(id, c)
	}
	return true
}

// receiveNow receives one block without the ring: nothing is in flight for c
// in that direction, and bytes wait. False: the subscription has ended.
func (u *uring) receiveNow(id ConnID, c *conn) bool {
	l := u.l
	v, ok := l.pool.Get()
	if !ok {
		l.park(id, c)
		return false
	}
	n, errno := recvFD(c.fd, l.pool.Bytes(v))
	l.stats.RecvCalls++
	switch {
	case errno == 0 && n > 0:
		u.tookBytes(id, c, int32(n))
		l.received(id, c, v.Slice(0, uint32(n)))
		return true
	case errno == unix.EAGAIN || errno == unix.EINTR:
		l.pool.Release(v)
		c.flags |= urUnsure
		return true
	}
	l.pool.Release(v)
	l.recvEnded(id, c, errno)
	return false
}

func (u *uring) sendComplete(id ConnID, c *conn, res int32) {
	c.flags &^= flagSendBusy
	switch {
	case c.io == pollIO:
		if !c.has(flagClosing) {
			u.l.drain(id, c)
		}
	case res >= 0:
		if uint32(res) < c.io {
			u.l.stats.ShortSends++
		}
		u.l.sent(id, c, int(res), 0)
	case res == -int32(unix.EAGAIN) || res == -int32(unix.EINTR):
		u.l.again(id, c)
	case c.has(flagClosing):
		c.flags |= flagSpoiled
	default:
		u.l.sent(id, c, 0, unix.Errno(-res))
	}
}
