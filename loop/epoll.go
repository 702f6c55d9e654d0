package loop

import (
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"zproxy/buf"
)

func init() { register(Epoll, openEpoll) }

// Flags of the epoll backend. An edge is reported once, so what it said is
// kept until a system call has found the opposite.
const (
	flagReadable flags = flagBackend << iota // bytes, or the end, may wait in the socket
	flagHangup                               // the end or an error has been seen behind the bytes
	flagPolled                               // registered
)

const (
	// Edge-triggered and both directions: registered once, never changed.
	epollConn = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET
	// Level-triggered: what is left when the bound on accepts per tick is
	// reached comes again. Exclusive: of the loops that share a unix socket one
	// wakes.
	epollListener = unix.EPOLLIN | unix.EPOLLEXCLUSIVE

	acceptsPerTick = 64
	blocksPerTick  = 16        // received per connection
	bytesPerTick   = 512 << 10 // received, of those that fill several blocks
	iovPerSend     = 64
)

// epoll is the readiness backend. Between two Polls it has nothing in flight:
// what wait has gathered is complete when it returns.
type epoll struct {
	kernelPipes
	l      *Loop
	fd     int
	events []unix.EpollEvent

	// A poll that does not wait costs little and is enough under load; under
	// no load it is one system call too many. This follows what paid off.
	empty uint8 // polls in a row that found nothing

	wokeNs int64 // when the wait before the last blocking one ended

	sentNow bool // since the last wait
	skipped bool // the last wait did not ask the kernel

	tick      uint64 // the Poll of which tickFull counts
	tickBytes int

	batch  batch
	views  [blocksPerTick]buf.View
	iov    [blocksPerTick]unix.Iovec
	peerSA unix.RawSockaddrAny
	peerN  uint32
}

func openEpoll(l *Loop) (backend, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	e := &epoll{l: l, fd: fd, events: make([]unix.EpollEvent, l.cfg.Entries)}
	// Edge-triggered, so the eventfd need not be read.
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET}
	if errno := epollCtl(fd, unix.EPOLL_CTL_ADD, int32(l.wakeFD), &ev); errno != 0 {
		unix.Close(fd)
		return nil, fmt.Errorf("epoll_ctl of an eventfd: %w", errno)
	}
	e.batch.open(batchMax)
	return e, nil
}

func (e *epoll) unbatched() string { return e.batch.why }

func (e *epoll) now() int64  { return monotonic() }
func (e *epoll) wall() int64 { return wallClock() }

// epollData is a ConnID as the kernel carries it. Slot 0 is no connection:
// generation 0 is the eventfd there, n > 0 the listener n-1.
func epollData(mask uint32, id ConnID) unix.EpollEvent {
	ev := unix.EpollEvent{Events: mask}
	*(*[2]int32)(unsafe.Pointer(&ev.Fd)) = [2]int32{int32(id.slot()), int32(id.gen())}
	return ev
}

func epollID(ev *unix.EpollEvent) ConnID {
	d := *(*[2]int32)(unsafe.Pointer(&ev.Fd))
	return makeID(uint32(d[0]), uint32(d[1]))
}

func (e *epoll) acceptOn(ln *listener) {
	ev := epollData(epollListener, makeID(0, uint32(ln.index+1)))
	errno := epollCtl(e.fd, unix.EPOLL_CTL_ADD, ln.fd, &ev)
	if errno == 0 {
		return
	}
	// Out of memory, or of watches (/proc/sys/fs/epoll/max_user_watches):
	// acceptFailed lets the listener rest, then this is called again.
	if errno == unix.ENOSPC {
		errno = unix.ENOMEM
	}
	ln.on = false
	e.l.acceptFailed(errno)
}

func (e *epoll) acceptOff(ln *listener) {
	var ev unix.EpollEvent
	epollCtl(e.fd, unix.EPOLL_CTL_DEL, ln.fd, &ev)
}

// acceptStop takes in what has finished its handshake: closing the listener
// would reset those clients.
func (e *epoll) acceptStop(ln *listener) {
	for e.acceptOne(ln) {
	}
	e.acceptOff(ln)
	closeFD(ln.fd)
	e.l.acceptStopped(ln)
}

// acceptOne is false when there is nothing more to accept now.
func (e *epoll) acceptOne(ln *listener) bool {
	fd, errno := acceptFD(ln.fd, &e.peerSA, &e.peerN)
	switch errno {
	case 0:
	case unix.EAGAIN:
		return false
	case unix.EINTR, unix.ECONNABORTED:
		return true
	default:
		e.l.acceptFailed(errno)
		return false
	}
	if id, c, ok := e.l.accepted(ln, fd, inetAddr(&e.peerSA)); ok {
		e.watch(id, c)
	}
	return true
}

func (e *epoll) refuse(fd int32) { abortFD(fd) }

// watch registers a connected socket. When the kernel refuses, the connection
// looks as if its peer had gone: receiving and sending report what they find.
func (e *epoll) watch(id ConnID, c *conn) bool {
	ev := epollData(epollConn, id)
	if epollCtl(e.fd, unix.EPOLL_CTL_ADD, c.fd, &ev) == 0 {
		c.flags |= flagPolled
		return true
	}
	shutdownBoth(c.fd)
	c.flags |= flagReadable | flagHangup
	return false
}

func (e *epoll) adopt(id ConnID, c *conn) { e.watch(id, c) }

func (e *epoll) dial(id ConnID, c *conn, r *Remote) {
	fd, errno := r.open()
	if errno != 0 {
		e.l.connected(id, c, errno)
		return
	}
	c.fd = int32(fd)
	errno = connectFD(c.fd, r.sockaddr())
	switch errno {
	case 0, unix.EINPROGRESS, unix.EINTR:
	default:
		e.l.connected(id, c, errno)
		return
	}
	if !e.watch(id, c) {
		e.l.connected(id, c, unix.ENOMEM)
		return
	}
	if errno == 0 {
		e.l.connected(id, c, 0)
	}
}

func (e *epoll) recvOn(id ConnID, c *conn) {
	if c.has(flagReadable) {
		e.receive(id, c)
	}
}

// recvOff has nothing to do: without a call of receive nothing comes.
func (e *epoll) recvOff(ConnID, *conn) {}

// awaitRoom: an edge will come.
func (e *epoll) awaitRoom(_ ConnID, c *conn) { c.flags |= flagSendBusy }

func (e *epoll) shutdown(_ ConnID, c *conn) { shutdownFD(c.fd) }

func (e *epoll) cancel(ConnID, *conn) {}

// close ends the registration too, which goes with the last descriptor of the
// socket; should another process have one, stale events are recognised by
// their generation.
func (e *epoll) close(_ ConnID, c *conn) { endFD(c) }

func (e *epoll) detach(_ ConnID, c *conn) bool {
	var ev unix.EpollEvent
	return !c.has(flagPolled) || epollCtl(e.fd, unix.EPOLL_CTL_DEL, c.fd, &ev) == 0
}

func (e *epoll) unix(fd int32) bool   { return unixFD(fd) }
func (e *epoll) unread(c *conn) int   { return unreadFD(c.fd) }
func (e *epoll) unacked(c *conn) int  { return unackedFD(c.fd) }
func (e *epoll) broken(c *conn) bool  { return brokenFD(c.fd) }
func (e *epoll) lowat(c *conn, n int) { lowatFD(c.fd, n) }

func (e *epoll) local(c *conn) netip.AddrPort { return kernelLocal(c.fd) }

func (e *epoll) destroy() error {
	e.batch.close()
	return unix.Close(e.fd)
}
