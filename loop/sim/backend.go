package sim

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"zproxy/loop/internal/seam"
)

// backend is the one of a loop whose kernel is a World. It behaves like a
// ring (operations are in flight, and end later than one would like) or like
// readiness (nothing is in flight, all is done in the call), or like a mixture;
// whatever the backend interface allows it may do.
//
// It never blocks: where the others wait it notes until when it would.
type backend struct {
	core    seam.Core
	w       *World
	sockets []*socket // of this loop
	ring    int       // percent of operations that stay in flight
	until   int64     // when Poll has something to do; never: not by itself
	starved bool      // a receive was made to find no block
	turn    []*socket // those that are looked at in one wait
	pipes   [][]byte
	spare   []int32 // numbers of pipes that are closed
}

// loopEnd is what a backend keeps of a socket.
type loopEnd struct {
	s  *backend
	id uint64

	wanted    bool  // the owner wants bytes
	receiving bool  // a receive is in flight, or waits for readiness
	counted   bool  // ... and is counted by opBegin
	stopping  bool  // its end was asked for
	overshoot int   // blocks it may still bring
	sending   bool  // a send is in flight, counted
	blocked   bool  // a send waits for room, not counted
	dialing   bool  // counted
	dialDone  bool  // ... and its end, dialErrno, waits to be reported
	cancelled bool  // everything is to end
	held      int64 // nothing is reported before
	lowat     int   // fewer bytes are no news
	rest      bool  // but the last receive has left some
	dialErrno unix.Errno
}

// Open starts the backend of a loop: see loop.NewOn.
func (w *World) Open(core seam.Core) seam.Backend {
	s := &backend{core: core, w: w}
	switch w.rng.IntN(3) {
	case 0:
	case 1:
		s.ring = 100
	default:
		s.ring = 1 + w.rng.IntN(99)
	}
	core.WatermarkPiece(1 << (8 + w.rng.IntN(6))) // bodies are short here
	w.backends = append(w.backends, s)
	return s
}

// Now is the world's time.
func (s *backend) Now() int64 { return s.w.now }

const startWallMs = 784111777000 // of the world's beginning

// Wall is Unix time.
func (s *backend) Wall() int64 { return startWallMs + s.w.now/1e6 }

// AcceptStop takes in what has arrived.
func (s *backend) AcceptStop(fd int32) {
	ln := s.w.listener(fd)
	for s.acceptOne(ln) {
	}
	ln.closed = true
	s.core.AcceptStopped(fd)
}

func (s *backend) acceptOne(ln *listener) bool {
	if len(ln.backlog) == 0 {
		return false
	}
	v := ln.backlog[0]
	ln.backlog = ln.backlog[1:]
	peer := v.far.addr
	if v.rst && s.w.chance(50) {
		s.w.Tally.Nameless++
		peer = netip.AddrPort{} // a kernel asked too late does not know it any more
	}
	if id, ok := s.core.Accepted(ln.fd, v.fd, peer); ok {
		s.own(id, v)
	}
	return true
}

// Refuse resets it.
func (s *backend) Refuse(fd int32) { s.w.socket(fd).end(true) }

// own makes a socket this backend's.
func (s *backend) own(id uint64, v *socket) {
	v.loopEnd = loopEnd{s: s, id: id}
	s.sockets = append(s.sockets, v)
}

// disown forgets it.
func (s *backend) disown(v *socket) {
	v.loopEnd = loopEnd{}
	if i := slices.Index(s.sockets, v); i >= 0 {
		s.sockets = slices.Delete(s.sockets, i, i+1)
	}
}

// Dial connects to whoever Serves addr.
func (s *backend) Dial(id uint64, addr string, peer netip.AddrPort) int32 {
	w := s.w
	w.Tally.Dials++
	here := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10}), uint16(w.Tally.Dials))
	v, far := w.pair(here, peer)
	s.own(id, v)
	v.dialing = true
	s.core.OpBegin(id)
	if w.chance(w.SilentDial) {
		w.Tally.Silent++
		return v.fd // there is no answer until it is cancelled
	}
	accept := w.servers[addr]
	refused := w.chance(w.RefuseDial) || accept == nil
	w.After(w.rng.Int64N(w.maxLag), func() {
		switch {
		case v.s != s || v.id != id || v.cancelled:
			return
		case refused:
			w.Tally.Refused++
			v.dialErrno = unix.ECONNREFUSED
		default:
			accept(&Peer{far})
		}
		v.dialDone = true
	})
	return v.fd
}

// Adopt makes it this backend's.
func (s *backend) Adopt(id uint64, fd int32) { s.own(id, s.w.socket(fd)) }

// RecvOn begins a receive, which may be over in the call.
func (s *backend) RecvOn(id uint64, fd int32) {
	v := s.w.socket(fd)
	v.wanted = true
	if v.receiving {
		v.stopping = false
		return
	}
	v.receiving, v.stopping = true, false
	if v.counted = s.w.chance(s.ring); v.counted {
		s.core.OpBegin(id)
	} else if s.w.rng.IntN(2) == 0 {
		s.receive(v)
	}
}

// RecvOff ends it, not always at once.
func (s *backend) RecvOff(_ uint64, fd int32) {
	v := s.w.socket(fd)
	v.wanted = false
	if !v.receiving || v.stopping {
		return
	}
	v.stopping = true
	v.overshoot = 0
	if s.w.chance(s.w.Overshoot) {
		v.overshoot = 1 + s.w.rng.IntN(3)
		s.hold(v)
	}
	if !v.counted && v.overshoot == 0 {
		s.stopReceiving(v)
	}
}

// stopReceiving is the end of a receive, without one of the subscription.
func (s *backend) stopReceiving(v *socket) {
	v.receiving, v.stopping = false, false
	if v.counted {
		v.counted = false
		s.core.OpEnd(v.id)
	}
}

// hold keeps what v has to report for a while.
func (s *backend) hold(v *socket) {
	s.w.Tally.Late++
	v.held = s.w.now + s.w.rng.Int64N(2*s.w.maxLag)
	s.w.At(v.held, nil)
}

// heldBack says that v reports nothing now.
func (s *backend) heldBack(v *socket) bool {
	if s.core.Thorough() {
		return false
	}
	if v.held > s.w.now {
		s.core.Partial()
		return true
	}
	if s.w.chance(s.w.Late) {
		s.hold(v)
		s.core.Partial()
		return v.held > s.w.now
	}
	return false
}

// Flush begins a send, which may be over in the call.
func (s *backend) Flush(id uint64, fd int32) {
	v := s.w.socket(fd)
	if !s.core.Drain(id) {
		return
	}
	s.core.Calls(0, 1, 0)
	if s.w.chance(s.ring) {
		v.sending = true
		s.core.SendBusy(id, true)
		s.core.OpBegin(id)
		return
	}
	s.sendNow(v)
}

// sendNow sends what there is room for; it is complete in the call.
func (s *backend) sendNow(v *socket) {
	if errno := v.sendError(); errno != 0 {
		s.core.Sent(v.id, 0, errno)
		return
	}
	n := s.transfer(v)
	if n == 0 {
		v.blocked = true
		s.core.SendBusy(v.id, true)
		return
	}
	s.core.Sent(v.id, n, 0)
}

func (v *socket) sendError() unix.Errno {
	if v.rst || v.shut {
		return unix.EPIPE
	}
	return 0
}

// transfer moves bytes from the front of the queue to the far end.
func (s *backend) transfer(v *socket) int {
	total := s.core.Queued(v.id)
	n := min(total, v.space())
	if v.far.gone {
		n = total
	}
	if n > 1 && s.w.chance(s.w.ShortIO) {
		n = 1 + s.w.rng.IntN(n)
		s.w.Tally.ShortWrites++
	}
	if n < total {
		s.core.Calls(0, 0, 1)
	}
	if n > 0 {
		b := make([]byte, n)
		s.core.Front(v.id, b)
		v.push(b)
	}
	return n
}

// OpenPipe gives a pipe, which is a place in pipes.
func (s *backend) OpenPipe() (int32, bool) {
	if s.w.chance(s.w.NoBlock) {
		s.w.Tally.NoPipes++
		return 0, false
	}
	if n := len(s.spare); n > 0 {
		i := s.spare[n-1]
		s.spare = s.spare[:n-1]
		return i, true
	}
	s.pipes = append(s.pipes, nil)
	return int32(len(s.pipes) - 1), true
}

// ClosePipe frees its place.
func (s *backend) ClosePipe(p int32) {
	s.pipes[p] = nil
	s.spare = append(s.spare, p)
}

// pipeBytes is what a pipe holds: no more than a receive brings.
const pipeBytes = 16 << 10

// Pull moves bytes from a socket into a pipe.
func (s *backend) Pull(fd, p int32, n int) (int, unix.Errno) {
	if s.w.chance(s.w.NoBlock) {
		s.w.Tally.NoPipes++
		return 0, unix.ENOMEM
	}
	v := s.w.socket(fd)
	n = min(n, len(v.in), 1+s.w.rng.IntN(pipeBytes))
	switch {
	case n > 0:
	case v.rst:
		return 0, unix.ECONNRESET
	case v.fin:
		return 0, 0
	default:
		return 0, unix.EAGAIN
	}
	if n > 1 && s.w.chance(s.w.ShortIO) {
		n = 1 + s.w.rng.IntN(n)
		s.w.Tally.ShortReads++
	}
	s.w.Tally.Splices++
	b := make([]byte, n)
	v.pull(b)
	s.pipes[p] = b
	return n, 0
}

// Push moves them from there to another one.
func (s *backend) Push(fd, p int32, n int) (int, unix.Errno) {
	v := s.w.socket(fd)
	if errno := v.sendError(); errno != 0 {
		return 0, errno
	}
	if !v.far.gone {
		n = min(n, v.space())
	}
	if n == 0 {
		return 0, unix.EAGAIN
	}
	if n > 1 && s.w.chance(s.w.ShortIO) {
		n = 1 + s.w.rng.IntN(n)
		s.w.Tally.ShortWrites++
	}
	v.push(s.pipes[p][:n])
	s.pipes[p] = s.pipes[p][n:]
	return n, 0
}

// AwaitRoom: as after a send that found none.
func (s *backend) AwaitRoom(fd int32) { s.w.socket(fd).blocked = true }

// Shutdown ends the sending direction.
func (s *backend) Shutdown(fd int32) { s.w.socket(fd).finish() }

// Cancel ends what is in flight, most of it later: each operation may still
// bring something.
func (s *backend) Cancel(fd int32) {
	v := s.w.socket(fd)
	s.w.Tally.CancelledInOps++
	v.cancelled = true
	if s.w.chance(s.w.Late) {
		s.hold(v)
	}
}

// Close closes it.
func (s *backend) Close(fd int32, reset bool) {
	v := s.w.socket(fd)
	s.disown(v)
	v.end(reset)
}

// Detach leaves it to another loop.
func (s *backend) Detach(fd int32) {
	s.w.Tally.Exports++
	s.disown(s.w.socket(fd))
}

// Unread is how much has arrived.
func (s *backend) Unread(fd int32) int { return len(s.w.socket(fd).in) }

// Unacked: what has arrived is not acknowledged before it is read.
func (s *backend) Unacked(fd int32) int { return len(s.w.socket(fd).far.in) }

// Broken says that the far end has reset the connection.
func (s *backend) Broken(fd int32) bool { return s.w.socket(fd).rst }

// Local is this end's address.
func (s *backend) Local(fd int32) netip.AddrPort { return s.w.socket(fd).addr }

// Lowat sets how few bytes are no news.
func (s *backend) Lowat(fd int32, n int) {
	s.w.Tally.Gathers++
	s.w.socket(fd).lowat = n
}

// Destroy leaves the world.
func (s *backend) Destroy() {
	if i := slices.Index(s.w.backends, s); i >= 0 {
		s.w.backends = slices.Delete(s.w.backends, i, i+1)
	}
}
