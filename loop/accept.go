package loop

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// Why a listener is paused; it accepts while no reason is set.
type pauseReason uint8

const (
	pauseErrno  pauseReason = 1 << iota // out of descriptors or memory: until acceptRetryAt, or until a descriptor is closed
	pauseBlocks                         // there is no block to read a head into
)

// listener is one listening socket of a loop. The core decides whether it
// accepts; the backend keeps what it needs in io.
type listener struct {
	fd    int32
	index int // in Loop.listeners, stable while it lives
	owner uint32

	on       bool // the backend was told to accept
	stopping bool // StopAccept: the backend was or will be told
	told     bool // the backend was told to stop
	unix     bool // its clients have no address; anybody else without one is refused

	io uint32 // the backend's own
}

// How long a listener rests when the process or the system is out of
// descriptors or memory: waiting for an accept to succeed would be a busy loop.
const acceptRetryNs = int64(100e6)

// Accept starts accepting on fd, a listening non-blocking socket, which the
// loop owns from here on: Accepted{Owner: owner} for each connection.
func (l *Loop) Accept(fd int, owner uint32) {
	ln := &listener{fd: int32(fd), owner: owner, unix: l.be.unix(int32(fd))}
	l.acceptDirty = true
	for i, free := range l.listeners {
		if free == nil {
			ln.index = i
			l.listeners[i] = ln
			return
		}
	}
	ln.index = len(l.listeners)
	l.listeners = append(l.listeners, ln)
}

// StopAccept stops accepting on fd and closes it. Connections that the kernel
// had already queued may still be Accepted. There is no event.
func (l *Loop) StopAccept(fd int) {
	for _, ln := range l.listeners {
		if ln != nil && int(ln.fd) == fd {
			ln.stopping = true
			l.acceptDirty = true
		}
	}
}

// AcceptAgain looks anew at who waits in the kernel's queues. Where another process accepts from the
// same sockets, the kernel wakes one of both rings for a connection, and that of a process that has
// just died may still be the one.
func AcceptAgain(l *Loop) {
	for _, ln := range l.listeners {
		if ln != nil && ln.on && !ln.stopping {
			ln.on = false
			l.be.acceptOff(ln)
			l.acceptDirty = true
		}
	}
}

// updateListeners tells the backend what has changed.
func (l *Loop) updateListeners() {
	l.acceptDirty = false
	if l.lines[Heads].waiting() > 0 {
		l.paused |= pauseBlocks
	} else {
		l.paused &^= pauseBlocks
	}
	for _, ln := range l.listeners {
		switch {
		case ln == nil || ln.told:
		case ln.stopping:
			ln.told = true
			l.be.acceptStop(ln)
		case ln.on && l.paused != 0:
			ln.on = false
			l.be.acceptOff(ln)
		case !ln.on && l.paused == 0:
			ln.on = true
			l.be.acceptOn(ln)
		}
	}
}

// accepted gives the connection fd, non-blocking, its slot and reports it. A
// backend with more to do registers fd. False: the connection is reset, because
// there are as many as there may be (to leave it to the kernel's queue would let
// it wait for nobody knows what), or because the kernel no longer knows its peer:
// a client that has reset its connection must not pass for one without address.
func (l *Loop) accepted(ln *listener, fd int32, peer netip.AddrPort) (ConnID, *conn, bool) {
	if !ln.unix && !peer.IsValid() {
		l.stats.AcceptErrors++
		l.refuse(fd)
		return 0, nil, false
	}
	if l.cfg.MaxConns > 0 && l.acceptedCount >= l.cfg.MaxConns {
		l.stats.Refused++
		l.refuse(fd)
		return 0, nil, false
	}
	id, c, ok := l.conns.alloc()
	if !ok {
		l.stats.AcceptErrors++
		l.refuse(fd)
		return 0, nil, false
	}
	c.fd = fd
	c.owner = ln.owner
	c.flags = flagAccepted
	c.setPeer(peer)
	l.acceptedCount++
	l.stats.Accepts++
	l.countConn()
	l.push(Event{Kind: Accepted, Conn: id, FD: -1})
	return id, c, true
}

// LimitConns changes l's Config.MaxConns. Those that are there stay. On l's thread.
func LimitConns(l *Loop, n int) { l.cfg.MaxConns = n }

// NearlyFull says that most connections that may be accepted are there: an owner
// that has some which it can do without should close them.
func (l *Loop) NearlyFull() bool {
	most := l.cfg.MaxConns
	return most > 0 && l.acceptedCount >= most-most/8
}

// IsLocalShortage says that an accept or a dial failed with e for want of
// something on this machine: descriptors, ports or memory. It says nothing of
// the peer.
func IsLocalShortage(e unix.Errno) bool {
	switch e {
	case unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOBUFS, unix.EADDRNOTAVAIL:
		return true
	}
	return false
}

// What this machine may lack; see IsLocalShortage.
const (
	LackFiles  = iota // descriptors, of the process or of the system
	LackPorts         // local ports towards an address
	LackMemory        // the kernel's
	LackCount
)

// LackOf is the kind of a local shortage.
func LackOf(e unix.Errno) int {
	switch e {
	case unix.EMFILE, unix.ENFILE:
		return LackFiles
	case unix.EADDRNOTAVAIL:
		return LackPorts
	}
	return LackMemory
}

// acceptFailed counts a failure. What concerns one connection is over with it;
// what concerns the process lets all listeners rest for a while.
func (l *Loop) acceptFailed(errno unix.Errno) {
	l.stats.AcceptErrors++
	if !IsLocalShortage(errno) {
		return
	}
	l.stats.Lack[LackOf(errno)]++
	// Who waits in the kernel's queue is neither served nor refused. So for want
	// of descriptors the next try is as soon as the loop has closed one, and at
	// once if it has since the last failure: a flood of connections that are
	// refused takes all of them for a moment. There is no busy loop: each try has
	// a descriptor that was closed before it.
	closed := l.closed != l.closedAtLack
	l.closedAtLack = l.closed
	l.lacksFiles = LackOf(errno) == LackFiles
	if !l.lacksFiles || !closed {
		l.paused |= pauseErrno
		l.acceptRetryAt = l.be.now() + acceptRetryNs
		l.acceptDirty = true
	}
}

// refuse resets a connection that is not to be the loop's.
func (l *Loop) refuse(fd int32) {
	l.be.refuse(fd)
	l.descriptorClosed()
}

// descriptorClosed: there may be one for a connection that waits to be accepted.
func (l *Loop) descriptorClosed() {
	l.closed++
	if l.paused&pauseErrno != 0 && l.lacksFiles {
		l.paused &^= pauseErrno
		l.acceptDirty = true
	}
}

// acceptStopped: nothing of ln is in flight any more, and it is closed.
func (l *Loop) acceptStopped(ln *listener) { l.listeners[ln.index] = nil }

// countConn counts a new connection.
func (l *Loop) countConn() {
	l.connCount++
	l.stats.ConnsHigh = max(l.stats.ConnsHigh, l.connCount)
}

// uncountConn counts the end of one.
func (l *Loop) uncountConn(c *conn) {
	l.connCount--
	if c.has(flagAccepted) {
		l.acceptedCount--
	}
}
