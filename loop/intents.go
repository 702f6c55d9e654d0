package loop

import (
	"net/netip"

	"zproxy/buf"
)

// todo links c into the list of those that the next Poll looks at.
func (l *Loop) todo(id ConnID, c *conn) {
	if c.has(flagTodo) {
		return
	}
	c.flags |= flagTodo
	c.todoNext = 0
	if l.todoHead == 0 {
		l.todoHead = id.slot()
	} else {
		l.conns.at(l.todoTail).todoNext = id.slot()
	}
	l.todoTail = id.slot()
}

// live gives the connection of id unless it is gone or closing.
func (l *Loop) live(id ConnID) *conn {
	c := l.conns.lookup(id)
	if c == nil || c.has(flagClosing) {
		return nil
	}
	return c
}

// Dial connects to r. It ends in Connected; when that has an Errno the caller
// still calls Close. Recv, Send and Shutdown before Connected are remembered.
// The result is 0 when all slots are taken: nothing was begun, and there is no event.
func (l *Loop) Dial(r *Remote, owner uint32) ConnID {
	id, c, ok := l.conns.alloc()
	if !ok {
		return 0
	}
	c.owner = owner
	c.flags = flagConnecting
	c.setPeer(r.peer)
	l.countConn()
	l.dials = append(l.dials, dialRequest{id, r})
	return id
}

// Adopt takes over fd, a connected non-blocking socket, and owns it from here
// on (also when the result is 0: all slots are taken, and fd is reset). peer is
// its remote address, which the loop that exported it knew (see ExportedPeer): the
// kernel forgets the peer of a connection that was reset.
func (l *Loop) Adopt(fd int, peer netip.AddrPort, owner uint32) ConnID {
	id, c, ok := l.conns.alloc()
	if !ok {
		l.refuse(int32(fd))
		return 0
	}
	c.fd = int32(fd)
	c.owner = owner
	c.flags = flagAdopt
	c.setPeer(peer)
	l.countConn()
	l.todo(id, c)
	return id
}

// AdoptAccepted is Adopt for a connection that another loop has accepted. It
// counts against MaxConns here, as it has done there; beyond it is reset, and
// the result is 0.
func (l *Loop) AdoptAccepted(fd int, peer netip.AddrPort, owner uint32) ConnID {
	if l.cfg.MaxConns > 0 && l.acceptedCount >= l.cfg.MaxConns {
		l.stats.Refused++
		l.refuse(int32(fd))
		return 0
	}
	id := l.Adopt(fd, peer, owner)
	if c := l.live(id); c != nil {
		c.flags |= flagAccepted
		l.acceptedCount++
	}
	return id
}

// SetOwner changes what the events of id carry, also those already collected.
func (l *Loop) SetOwner(id ConnID, owner uint32) {
	if c := l.live(id); c != nil {
		c.owner = owner
	}
}

// Owner is what the events of id carry now; 0 when id is gone.
func (l *Loop) Owner(id ConnID) uint32 {
	if c := l.conns.lookup(id); c != nil {
		return c.owner
	}
	return 0
}

// Recv subscribes to what arrives, or resumes after Pause: Received* and then
// one RecvEnd.
func (l *Loop) Recv(id ConnID) {
	c := l.live(id)
	if c == nil || c.has(flagSub|flagRecvEnded|flagTimerOnly) {
		return
	}
	c.flags |= flagSub | flagRecvDirty
	l.todo(id, c)
}

// Pause asks for no more Received. Some may still come, and so may RecvEnd.
func (l *Loop) Pause(id ConnID) {
	c := l.live(id)
	if c == nil || !c.has(flagSub) {
		return
	}
	c.flags &^= flagSub
	c.flags |= flagRecvDirty
	l.todo(id, c)
}

// A view holds its whole block, however few its bytes are. So views of at most
// smallBytes that join a queue of at least smallBehind are copied together:
// a peer that sends bytes one by one to one that takes none would use up the
// pool otherwise. They get no block of their own out of the reserve.
const (
	smallBytes  = 2 << 10
	smallBehind = 8
)

// Send appends v to what is sent to id and takes the reference. It leaves with
// the next Poll.
func (l *Loop) Send(id ConnID, v buf.View) {
	c := l.live(id)
	if c == nil || c.has(flagSendBroken|flagShutWanted|flagTimerOnly) {
		l.pool.Release(v)
		return
	}
	if v.Len <= smallBytes && c.sendq.Len() >= smallBehind {
		l.pool.Pack(&c.sendq, v, l.Room(Requests))
	} else {
		l.pool.Push(&c.sendq, v)
	}
	l.todo(id, c)
}

// Queued is the number of bytes given to Send, or on their way by Splice, that
// id's socket has not taken.
func (l *Loop) Queued(id ConnID) int {
	c := l.live(id)
	if c == nil {
		return 0
	}
	n := c.sendq.Bytes()
	if c.has(flagSpliceTo) {
		n += l.splices[c.splice].held
	}
	return n
}

// Unacked is how many bytes of what was Sent the kernel holds that the peer has
// not acknowledged; 0 where nobody knows. It asks the kernel: not for every
// message.
func (l *Loop) Unacked(id ConnID) int {
	c := l.live(id)
	if c == nil || c.fd < 0 {
		return 0
	}
	return l.be.unacked(c)
}

// Broken says that the peer has reset the connection, which is no event while
// nobody asks for what it sends. It asks the kernel.
func (l *Loop) Broken(id ConnID) bool {
	c := l.live(id)
	return c != nil && c.fd >= 0 && l.be.broken(c)
}

// Shutdown ends the sending direction once everything is sent. Later Sends are
// dropped. There is no event. What was Sent in the same turn leaves in one
// segment with the end.
func (l *Loop) Shutdown(id ConnID) {
	c := l.live(id)
	if c == nil || c.has(flagShutWanted|flagTimerOnly) {
		return
	}
	c.flags |= flagShutWanted
	l.todo(id, c)
}

// Close drops what is queued and ends id. The only event left is Closed. When
// the kernel has bytes that were not received, it answers the peer with RST.
func (l *Loop) Close(id ConnID) { l.end(id, 0) }

// Abort is Close with RST: the peer cannot mistake it for an orderly end.
func (l *Loop) Abort(id ConnID) { l.end(id, flagAbort) }

// Export is Close but for the descriptor, which survives in Closed.FD and is
// the caller's then. When bytes were received that the caller has not seen,
// when there was an error, or when bytes were still queued for sending, the
// descriptor is closed and FD is -1: whoever gets one gets a connection that
// has lost nothing.
func (l *Loop) Export(id ConnID) { l.end(id, flagExport) }

func (l *Loop) end(id ConnID, how flags) {
	c := l.live(id)
	if c == nil {
		return
	}
	c.flags |= flagClosing | how
	l.todo(id, c)
}

// NewTimer makes a slot without a socket, for Deadline, SetOwner and Close.
// The result is 0 when all slots are taken.
func (l *Loop) NewTimer(owner uint32) ConnID {
	id, c, ok := l.conns.alloc()
	if !ok {
		return 0
	}
	c.owner = owner
	c.flags = flagTimerOnly
	l.timerCount++
	return id
}

// Peer is the remote address, known since the connection was accepted, dialled or
// adopted; not valid for unix sockets. The zone of link-local addresses is not kept.
func (l *Loop) Peer(id ConnID) netip.AddrPort {
	c := l.conns.lookup(id)
	if c == nil {
		return netip.AddrPort{}
	}
	return c.peer()
}

// Local is the address of this machine that a connection of l goes to or comes from; not valid for
// unix sockets, and where the kernel does not say. It asks the kernel.
func Local(l *Loop, id ConnID) netip.AddrPort {
	c := l.conns.lookup(id)
	if c == nil || c.fd < 0 {
		return netip.AddrPort{}
	}
	return l.be.local(c)
}

// Sending says that the kernel has, or may have, taken bytes of id's queue that no Sent has told of.
func Sending(l *Loop, id ConnID) bool {
	c := l.conns.lookup(id)
	return c != nil && c.has(flagSendBusy)
}

// ExportedPeer is the remote address of the connection whose descriptor was in
// the last Closed event.
func (l *Loop) ExportedPeer() netip.AddrPort { return l.exportedPeer }

// startDials opens the sockets of the dials stated since the last Poll.
func (l *Loop) startDials() {
	l.dialsMost = max(l.dialsMost, len(l.dials))
	for i := range l.dials {
		d := &l.dials[i]
		if c := l.live(d.id); c != nil {
			l.be.dial(d.id, c, d.r)
		}
		d.r = nil
	}
	l.dials = l.dials[:0]
}

// runTodo looks at every connection that has something to do. What is linked
// while it runs waits for the next Poll.
func (l *Loop) runTodo() {
	slot := l.todoHead
	l.todoHead, l.todoTail = 0, 0
	for slot != 0 {
		c := l.conns.at(slot)
		next := c.todoNext
		c.flags &^= flagTodo
		l.advance(makeID(slot, c.gen), c)
		slot = next
	}
}

// advance carries out the intents on one connection.
func (l *Loop) advance(id ConnID, c *conn) {
	if c.has(flagClosing) {
		l.teardown(id, c)
		return
	}
	if c.has(flagConnecting | flagTimerOnly) {
		return
	}
	if c.has(flagAdopt) {
		c.flags &^= flagAdopt
		l.be.adopt(id, c)
	}
	if !c.sendq.Empty() {
		if !c.has(flagSendBusy) {
			l.be.flush(id, c)
		}
	} else {
		l.shutdownIfSent(id, c)
	}
	if c.has(flagRecvDirty) {
		c.flags &^= flagRecvDirty
		switch {
		case c.has(flagRecvEnded | flagParked):
		case c.has(flagSub):
			l.be.recvOn(id, c)
		default:
			l.be.recvOff(id, c)
		}
	}
}
