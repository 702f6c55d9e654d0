package loop

import (
	"net/netip"

	"zproxy/buf"
)

// flags are the state of a connection. The upper five bits belong to the
// backend.
type flags uint32

const (
	flagTimerOnly  flags = 1 << iota // a slot of NewTimer: no socket
	flagConnecting                   // Dial is under way or failed: nothing is sent or received
	flagAdopt                        // the backend has not been told of this descriptor
	flagSub                          // the owner wants Received
	flagRecvDirty                    // the backend has not been told of flagSub's last change, or asked for recvOn again
	flagRecvEnded                    // RecvEnd is reported or irrelevant
	flagParked                       // waits for a block of the pool
	flagSendBusy                     // the backend comes back by itself: in flight, or waits for room
	flagSendBroken                   // sending failed: the queue is dropped and stays empty
	flagShutWanted                   // SHUT_WR once the queue is empty
	flagShutDone                     // SHUT_WR done: later Sends are dropped
	flagClosing                      // Close, Abort or Export: the only event left is Closed
	flagAbort                        // end with RST
	flagExport                       // the descriptor survives
	flagSpoiled                      // an Export that lost bytes or saw an error: close instead
	flagTornDown                     // the backend was told to end what is in flight
	flagFinished                     // Closed is in the queue; the descriptor is gone
	flagTodo                         // linked in the todo list
	flagTimerFired                   // a Timer event waits in the queue
	flagTurn                         // was called up: the next block is for it
	flagAccepted                     // counts against MaxConns
	flagReset                        // a send was told that the peer has reset the connection
	flagSpliceFrom                   // what it receives next goes to another connection, see splice.go
	flagSpliceTo                     // it is that other connection
	flagBrief                        // the next receive should bring one block: a splice is likely to follow

	flagBackend flags = 1 << 27 // first of the backend's own bits
)

// conn is one slot of the table: no pointers, at most 80 bytes (a test holds
// it to that). Everything about a connection that is not moving bytes right
// now is in here.
type conn struct {
	gen   uint32 // of the ID that is valid now
	owner uint32
	fd    int32 // -1: none
	flags flags

	sendq    buf.Chain
	deadline int64 // ns, 0: none. May be later than the wheel's place: see timers.go

	timerNext, timerPrev uint32 // in a bucket of the wheel
	timerBucket          uint16 // bucket+1, 0: not in the wheel
	inflight             uint8  // the backend's operations in the kernel
	recv                 uint8  // see recvBlocks and class

	todoNext uint32 // in the todo list, or in the free list
	io       uint32 // the backend's own word

	peerPort  uint16
	splice    uint8    // in Loop.splices, 0: none
	watermark uint8    // in Loop.watermarks, 0: none
	peerAddr  [16]byte // as IPv6; all zero: there is none
}

func (c *conn) has(f flags) bool { return c.flags&f != 0 }

// recvBlocks is how many blocks the next receive should offer, at most
// blocksPerTick; 0 and 1: one. It shares its byte with the class.
func (c *conn) recvBlocks() int { return int(c.recv & recvBlocksMask) }

func (c *conn) setRecvBlocks(n int) { c.recv = c.recv&^recvBlocksMask | uint8(n) }

// class is what the connection receives, see Bulk.
func (c *conn) class() Class { return Class(c.recv >> recvBlocksBits) }

const (
	recvBlocksBits = 5 // hold blocksPerTick
	recvBlocksMask = 1<<recvBlocksBits - 1
)

func (c *conn) setPeer(a netip.AddrPort) {
	if a.IsValid() {
		c.peerAddr, c.peerPort = a.Addr().As16(), a.Port()
	}
}

func (c *conn) peer() netip.AddrPort {
	if c.peerAddr == [16]byte{} {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(netip.AddrFrom16(c.peerAddr).Unmap(), c.peerPort)
}

const (
	chunkBits = 8
	chunkSize = 1 << chunkBits
	maxSlots  = 1 << 24 // so that an ID and a kind of operation fit into 64 bits
)

// connTable is the slab of connections. It differs from internal/slab in that
// a slot keeps its generation while it is free. It grows by chunks that never
// move: a *conn stays valid until its slot is freed.
type connTable struct {
	chunks []*[chunkSize]conn
	free   uint32 // most recently freed slot, 0: none
	fresh  uint32 // slots below were used at least once; slot 0 never is
	most   uint32 // slots there may be, 0: as many as an ID has room for
}

func (t *connTable) at(slot uint32) *conn {
	return &t.chunks[slot>>chunkBits][slot%chunkSize]
}

// lookup gives the slot of id, nil when that connection is gone.
func (t *connTable) lookup(id ConnID) *conn {
	slot := id.slot()
	if int(slot>>chunkBits) >= len(t.chunks) || slot == 0 {
		return nil
	}
	c := t.at(slot)
	if c.gen != id.gen() {
		return nil
	}
	return c
}

// alloc gives a slot that is empty but for its generation, and false when
// there are no more.
func (t *connTable) alloc() (ConnID, *conn, bool) {
	slot := t.free
	if slot != 0 {
		c := t.at(slot)
		t.free = c.todoNext
		*c = conn{gen: c.gen, fd: -1}
		return makeID(slot, c.gen), c, true
	}
	if t.fresh == 0 {
		t.fresh = 1
	}
	if t.fresh == maxSlots || t.fresh > t.most && t.most > 0 {
		return 0, nil, false
	}
	if int(t.fresh>>chunkBits) == len(t.chunks) {
		t.chunks = append(t.chunks, new([chunkSize]conn))
	}
	slot = t.fresh
	t.fresh++
	c := t.at(slot)
	c.gen, c.fd = 1, -1
	return makeID(slot, 1), c, true
}

// release frees the slot of c; its ID is stale from here on.
func (t *connTable) release(slot uint32, c *conn) {
	c.gen++
	c.flags, c.fd = 0, -1
	c.todoNext = t.free
	t.free = slot
}

// Slots is the last slot that a connection was in. InSlot names the one that is in a slot
// now, 0: there is none.
func Slots(l *Loop) uint32 { return max(l.conns.fresh, 1) - 1 }

func InSlot(l *Loop, slot uint32) ConnID {
	c := l.conns.at(slot)
	if c.fd < 0 {
		return 0
	}
	return makeID(slot, c.gen)
}
