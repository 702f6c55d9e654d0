package loop

import (
	"net/netip"
	"time"
)

// backend moves bytes and reports what is complete. It is called from the
// core on the loop's thread, only from within Poll (except destroy, unix),
// and reports through the core's completion calls, which may be made from any
// of these methods:
//
//	l.accepted(ln, fd, peer)          a connection came in (gives its slot)
//	l.acceptFailed(ln, errno)         accept failed; may lead to acceptOff
//	l.acceptStopped(ln)               the answer to acceptStop, see there
//	l.connected(id, c, errno)         the end of dial
//	l.received(id, c, view)           takes the reference
//	l.recvEnded(id, c, errno)         nothing will be received any more
//	l.sent(id, c, n, errno)           n bytes taken from the front of c.sendq
//	l.park(id, c)                     the pool is exhausted: recvOn comes later
//	l.again(id, c)                    call recvOn or flush again in the next Poll
//	l.relay(id, c)                    instead of receiving, with flagSpliceFrom
//	l.drain(id, c)                    before anything else is sent, with flagSpliceTo
//	l.opBegin(c), l.opEnd(id, c)      an operation is in the kernel, or not any more
//
// The core owns the slot, the chain, the event queue, the timers, the mailbox
// and the join at the end of a connection. A backend may use conn.io,
// conn.inflight through opBegin and opEnd, conn.setRecvBlocks, the flags from
// flagBackend up, and flagSendBusy.
//
// Completions may come at any time for a connection with flagClosing: the core
// drops what they bring (views are released). A completion whose id is stale
// (l.conns.lookup gives nil) can only be one of an operation that was not
// counted with opBegin.
type backend interface {
	// now is the time in ns, monotonic and above 0; wall is Unix ms.
	now() int64
	wall() int64

	// acceptOn begins to accept on ln. acceptOff asks for a pause: connections
	// may still come, acceptOn may come before the pause is complete.
	// acceptStop ends it for good: what the kernel has queued for ln is
	// accepted if that is cheap, and once nothing of ln is in flight (now or
	// later) the backend closes ln.fd and calls l.acceptStopped(ln).
	acceptOn(ln *listener)
	acceptOff(ln *listener)
	acceptStop(ln *listener)

	// refuse resets fd, which was accepted or exported and is nobody's.
	refuse(fd int32)

	// dial opens a socket for r, sets c.fd, and ends in l.connected.
	dial(id ConnID, c *conn, r *Remote)
	// adopt makes c.fd, a connected non-blocking socket, the backend's.
	// (Accepted sockets are already when l.accepted is called.)
	adopt(id ConnID, c *conn)

	// recvOn: the owner wants bytes. Also called when it already did: after
	// l.park, when blocks are back, and after l.again. recvOff is a request.
	recvOn(id ConnID, c *conn)
	recvOff(id ConnID, c *conn)

	// flush sends from the front of c.sendq, which is not empty. It is not
	// called while flagSendBusy is set. A backend that has a send in flight, or
	// waits for room, sets the flag and clears it before it calls l.sent or
	// flushes by itself. Views in flight stay in the chain until l.sent.
	// When l.sent leaves bytes in the chain and flagSendBusy is clear, flush is
	// called again in the next Poll.
	flush(id ConnID, c *conn)
	// shutdown ends the sending direction; the chain is empty and nothing is
	// in flight there.
	shutdown(id ConnID, c *conn)

	// cancel asks for the end of everything in flight for c, without waiting:
	// the core goes on when c.inflight is 0, which may be so at once.
	cancel(id ConnID, c *conn)
	// close gives up c.fd; nothing is in flight. With flagAbort the peer gets
	// an RST.
	close(id ConnID, c *conn)
	// detach forgets c.fd and leaves it open, with every byte that was not
	// reported still in the socket; nothing is in flight. False: not possible,
	// the core will close it.
	detach(id ConnID, c *conn) bool

	piping

	// lowat lets nothing of less than n bytes be received, except for what the
	// end is behind, or an error. When n is less than before, what is there
	// already is received.
	lowat(c *conn, n int)

	// wait submits what is queued, waits until there is something to report or
	// waitNs have passed (0: do not wait, <0: no limit), and reports it. Before
	// it blocks it calls l.fallAsleep, and does not block if that says no;
	// afterwards l.wakeUp. A write to l.wakeFD must end the wait. EINTR ends it
	// without error. It never waits when it has already reported something in
	// this Poll (the core passes 0 then). It sets l.partial unless it is sure to
	// have reported whatever had happened before the call, of a receive at least
	// a part, and is thorough about that while l.sweep.on is set: deadlines wait
	// for it.
	wait(waitNs int64) error

	// unix says that fd is a listener of unix sockets.
	unix(fd int32) bool
	// unread asks it for the bytes that have arrived and were not received.
	unread(c *conn) int
	// unacked asks it for the bytes sent that the peer has not acknowledged.
	unacked(c *conn) int
	// broken asks it whether the peer has reset the connection.
	broken(c *conn) bool
	// local asks for this end's address, which may not be valid.
	local(c *conn) netip.AddrPort

	// destroy gives everything back: no block, descriptor or mapping is left.
	// Operations still in flight are cancelled and waited for; nothing is
	// reported. close is called for every socket after that.
	destroy() error
}

// openBackend starts a backend for l; l.cfg and l.wakeFD are set. A backend
// makes itself known with register in an init function of the file that holds
// it, which may carry a build tag.
type openBackend func(l *Loop) (backend, error)

var registered [numIO]openBackend

func register(io IO, open openBackend) { registered[io] = open }

const notCompiledIn = "not compiled in (build tag giouring)"

// CompiledIn lists the backends in this binary, by the names the
// configuration uses.
func CompiledIn() []string {
	var names []string
	for io, open := range registered {
		if open != nil {
			names = append(names, IO(io).String())
		}
	}
	return names
}

// clockBase is what monotonic counts from; one second is added so that no time
// a process can see is 0, which means "no deadline".
var clockBase = time.Now()

const clockStart = int64(time.Second)

// monotonic reads the monotonic clock without a system call or an allocation.
func monotonic() int64 { return int64(time.Since(clockBase)) + clockStart }

// Clock reads the clock anew, where Now stands still for a turn: for measuring what a turn does. Any thread.
func Clock() int64 { return monotonic() }

// wallClock is Unix time in ms.
func wallClock() int64 { return time.Now().UnixMilli() }
