package loop

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// sim is the deterministic backend: its kernel is a World. It behaves like a
// ring (operations are in flight, and end later than one would like) or like
// readiness (nothing is in flight, all is done in the call), or like a mixture;
// whatever the backend interface allows it may do.
//
// It never blocks: where the others wait it notes until when it would.
type sim struct {
	l       *Loop
	w       *World
	sockets []*simSocket // of this loop
	ring    int          // percent of operations that stay in flight
	until   int64        // when Poll has something to do; never: not by itself
	starved bool         // a receive was made to find no block
	turn    []*simSocket // those that are looked at in one wait
	pipes   [][]byte
	spare   []int32 // numbers of pipes that are closed
}

// loopEnd is what a backend keeps of a socket.
type loopEnd struct {
	s  *sim
	id ConnID

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

// NewSim makes a loop in a world. It needs no thread of its own: what drives
// the world polls it.
func NewSim(cfg Config, w *World) (*Loop, error) {
	return newLoop(cfg, simIO, -1, func(l *Loop) (backend, error) { return openSim(l, w), nil })
}

func openSim(l *Loop, w *World) *sim {
	s := &sim{l: l, w: w}
	switch w.rng.IntN(3) {
	case 0:
	case 1:
		s.ring = 100
	default:
		s.ring = 1 + w.rng.IntN(99)
	}
	l.gatherPiece = 1 << (8 + w.rng.IntN(6)) // bodies are short here
	w.sims = append(w.sims, s)
	return s
}

func (s *sim) now() int64 { return s.w.now }

const simWallMs = 784111777000 // of the world's beginning

func (s *sim) wall() int64 { return simWallMs + s.w.now/1e6 }

func (s *sim) acceptOn(*listener)  {}
func (s *sim) acceptOff(*listener) {}

// acceptStop takes in what has arrived.
func (s *sim) acceptStop(ln *listener) {
	v := s.w.listener(ln.fd)
	for s.acceptOne(ln, v) {
	}
	v.closed = true
	s.l.acceptStopped(ln)
}

func (s *sim) acceptOne(ln *listener, from *simListener) bool {
	if len(from.backlog) == 0 {
		return false
	}
	v := from.backlog[0]
	from.backlog = from.backlog[1:]
	peer := v.far.addr
	if v.rst && s.w.chance(50) {
		s.w.Tally.Nameless++
		peer = netip.AddrPort{} // a kernel asked too late does not know it any more
	}
	if id, _, ok := s.l.accepted(ln, v.fd, peer); ok {
		s.own(id, v)
	}
	return true
}

func (s *sim) refuse(fd int32) { s.w.socket(fd).end(true) }

// own makes a socket this backend's.
func (s *sim) own(id ConnID, v *simSocket) {
	v.loopEnd = loopEnd{s: s, id: id}
	s.sockets = append(s.sockets, v)
}

// disown forgets it.
func (s *sim) disown(v *simSocket) {
	v.loopEnd = loopEnd{}
	if i := slices.Index(s.sockets, v); i >= 0 {
		s.sockets = slices.Delete(s.sockets, i, i+1)
	}
}

func (s *sim) dial(id ConnID, c *conn, r *Remote) {
	w := s.w
	w.Tally.Dials++
	here := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10}), uint16(w.Tally.Dials))
	v, far := w.pair(here, r.peer)
	c.fd = v.fd
	s.own(id, v)
	v.dialing = true
	s.l.opBegin(c)
	if w.chance(w.SilentDial) {
		w.Tally.Silent++
		return // until it is cancelled
	}
	accept := w.servers[r.text]
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
}

func (s *sim) adopt(id ConnID, c *conn) { s.own(id, s.w.socket(c.fd)) }

func (s *sim) recvOn(id ConnID, c *conn) {
	v := s.w.socket(c.fd)
	v.wanted = true
	if v.receiving {
		v.stopping = false
		return
	}
	v.receiving, v.stopping = true, false
	if v.counted = s.w.chance(s.ring); v.counted {
		s.l.opBegin(c)
	} else if s.w.rng.IntN(2) == 0 {
		s.receive(v, c)
	}
}

func (s *sim) recvOff(id ConnID, c *conn) {
	v := s.w.socket(c.fd)
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
		s.stopReceiving(v, c)
	}
}

// stopReceiving is the end of a receive, without one of the subscription.
func (s *sim) stopReceiving(v *simSocket, c *conn) {
	v.receiving, v.stopping = false, false
	if v.counted {
		v.counted = false
		s.l.opEnd(v.id, c)
	}
}

// hold keeps what v has to report for a while.
func (s *sim) hold(v *simSocket) {
	s.w.Tally.Late++
	v.held = s.w.now + s.w.rng.Int64N(2*s.w.maxLag)
	s.w.At(v.held, nil)
}

// heldBack says that v reports nothing now.
func (s *sim) heldBack(v *simSocket) bool {
	if s.l.sweep.on {
		return false
	}
	if v.held > s.w.now {
		s.l.partial = true
		return true
	}
	if s.w.chance(s.w.Late) {
		s.hold(v)
		s.l.partial = true
		return v.held > s.w.now
	}
	return false
}

func (s *sim) flush(id ConnID, c *conn) {
	v := s.w.socket(c.fd)
	if c.has(flagSpliceTo) && !s.l.drain(id, c) {
		return
	}
	s.l.stats.SendCalls++
	if s.w.chance(s.ring) {
		v.sending = true
		c.flags |= flagSendBusy
		s.l.opBegin(c)
		return
	}
	s.sendNow(v, c)
}

// sendNow sends what there is room for; it is complete in the call.
func (s *sim) sendNow(v *simSocket, c *conn) {
	if errno := v.sendError(); errno != 0 {
		s.l.sent(v.id, c, 0, errno)
		return
	}
	n := s.transfer(v, c)
	if n == 0 {
		v.blocked = true
		c.flags |= flagSendBusy
		return
	}
	s.l.sent(v.id, c, n, 0)
}

func (v *simSocket) sendError() unix.Errno {
	if v.rst || v.shut {
		return unix.EPIPE
	}
	return 0
}

// transfer moves bytes from the front of the queue to the far end.
func (s *sim) transfer(v *simSocket, c *conn) int {
	total := c.sendq.Bytes()
	n := min(total, v.space())
	if v.far.gone {
		n = total
	}
	if n > 1 && s.w.chance(s.w.ShortIO) {
		n = 1 + s.w.rng.IntN(n)
		s.w.Tally.ShortWrites++
	}
	if n < total {
		s.l.stats.ShortSends++
	}
	if n > 0 {
		b := make([]byte, n)
		s.l.pool.CopyOut(&c.sendq, b)
		v.push(b)
	}
	return n
}

// openPipe gives a pipe, which has a number where others have descriptors.
func (s *sim) openPipe() (pipe, bool) {
	if s.w.chance(s.w.NoBlock) {
		s.w.Tally.NoPipes++
		return pipe{}, false
	}
	if n := len(s.spare); n > 0 {
		i := s.spare[n-1]
		s.spare = s.spare[:n-1]
		return pipe{i, i}, true
	}
	s.pipes = append(s.pipes, nil)
	i := int32(len(s.pipes) - 1)
	return pipe{i, i}, true
}

func (s *sim) closePipe(p pipe) {
	s.pipes[p.r] = nil
	s.spare = append(s.spare, p.r)
}

// simPipeBytes is what a pipe holds: no more than a receive brings.
const simPipeBytes = 16 << 10

func (s *sim) pull(c *conn, p pipe, n int) (int, unix.Errno) {
	if s.w.chance(s.w.NoBlock) {
		s.w.Tally.NoPipes++
		return 0, unix.ENOMEM
	}
	v := s.w.socket(c.fd)
	n = min(n, len(v.in), 1+s.w.rng.IntN(simPipeBytes))
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
	s.pipes[p.r] = b
	return n, 0
}

func (s *sim) push(c *conn, p pipe, n int) (int, unix.Errno) {
	v := s.w.socket(c.fd)
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
	v.push(s.pipes[p.r][:n])
	s.pipes[p.r] = s.pipes[p.r][n:]
	return n, 0
}

// awaitRoom: as after a send that found none.
func (s *sim) awaitRoom(_ ConnID, c *conn) {
	s.w.socket(c.fd).blocked = true
	c.flags |= flagSendBusy
}

func (s *sim) shutdown(id ConnID, c *conn) { s.w.socket(c.fd).finish() }

// cancel ends what is in flight, most of it later: each operation may still
// bring something.
func (s *sim) cancel(id ConnID, c *conn) {
	v := s.w.socket(c.fd)
	if c.inflight == 0 {
		return
	}
	s.w.Tally.CancelledInOps++
	v.cancelled = true
	if s.w.chance(s.w.Late) {
		s.hold(v)
	}
}

func (s *sim) close(id ConnID, c *conn) {
	v := s.w.socket(c.fd)
	s.disown(v)
	v.end(c.has(flagAbort))
}

func (s *sim) detach(id ConnID, c *conn) bool {
	s.w.Tally.Exports++
	s.disown(s.w.socket(c.fd))
	return true
}

func (s *sim) unix(int32) bool { return false }

func (s *sim) unread(c *conn) int { return len(s.w.socket(c.fd).in) }

// unacked: what has arrived is not acknowledged before it is read.
func (s *sim) unacked(c *conn) int { return len(s.w.socket(c.fd).far.in) }

func (s *sim) broken(c *conn) bool { return s.w.socket(c.fd).rst }

func (s *sim) lowat(c *conn, n int) {
	s.w.Tally.Gathers++
	s.w.socket(c.fd).lowat = n
}

func (s *sim) destroy() error {
	if i := slices.Index(s.w.sims, s); i >= 0 {
		s.w.sims = slices.Delete(s.w.sims, i, i+1)
	}
	return nil
}
