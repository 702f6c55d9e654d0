package sim

import "golang.org/x/sys/unix"

// What a loop takes at once, at most, as with its own backends.
const (
	acceptsAtOnce = 64
	blocksAtOnce  = 16
)

// Wait collects what is complete, in random order. It does not wait: when
// there is nothing, until says what it would have waited for.
func (s *backend) Wait(waitNs int64) {
	w := s.w
	w.now += w.rng.Int64N(2000) // what the turn has cost
	s.acceptSome()
	if n := len(s.sockets); n > 0 {
		first := w.rng.IntN(n)
		s.turn = append(append(s.turn[:0], s.sockets[first:]...), s.sockets[:first]...)
		for _, v := range s.turn {
			s.collect(v)
		}
	}
	s.until = w.now
	if s.starved {
		s.starved = false
		s.core.Partial()
		return
	}
	if waitNs == 0 {
		return
	}
	until := never
	if waitNs > 0 {
		until = w.now + waitNs
	}
	if s.core.Sleep(until) {
		s.until = until
	}
}

func (s *backend) acceptSome() {
	for _, fd := range s.core.Accepting() {
		ln := s.w.listener(fd)
		for n := 1 + s.w.rng.IntN(acceptsAtOnce); n > 0 && s.acceptOne(ln); n-- {
		}
	}
}

// collect reports what has become of one socket's operations.
func (s *backend) collect(v *socket) {
	if v.s != s || s.idle(v) || s.heldBack(v) {
		return
	}
	if v.dialing {
		s.collectDial(v)
		return
	}
	if v.sending || v.blocked {
		s.collectSend(v)
	}
	if v.s == s && v.receiving {
		s.collectRecv(v)
	}
}

// idle says that nothing of v can be complete.
func (s *backend) idle(v *socket) bool {
	switch {
	case v.dialing:
		return !v.dialDone && !v.cancelled
	case v.cancelled:
		return false
	case v.sending || v.blocked:
		if v.space() > 0 || v.far.gone || v.sendError() != 0 {
			return false
		}
	}
	return !v.receiving || (!v.stopping || v.overshoot > 0) && (len(v.in) == 0 || len(v.in) < v.lowat && !v.rest) && !v.fin && !v.rst
}

func (s *backend) collectDial(v *socket) {
	v.dialing = false
	if v.dialDone {
		s.core.Connected(v.id, v.dialErrno)
	}
	s.core.OpEnd(v.id)
}

func (s *backend) collectSend(v *socket) {
	errno := v.sendError()
	if v.blocked {
		if errno == 0 && v.space() == 0 && !v.far.gone {
			return
		}
		v.blocked = false
		s.core.SendBusy(v.id, false)
		switch {
		case s.core.Closing(v.id):
		case !s.core.Drain(v.id) || s.core.Queued(v.id) == 0:
		default:
			s.sendNow(v)
		}
		return
	}
	n := 0
	if errno == 0 && (!v.cancelled || s.w.rng.IntN(2) == 0) {
		n = s.transfer(v)
	}
	if n == 0 && errno == 0 && !v.cancelled {
		return
	}
	v.sending = false
	s.core.SendBusy(v.id, false)
	if n > 0 || errno != 0 {
		s.core.Sent(v.id, n, errno)
	}
	s.core.OpEnd(v.id)
}

func (s *backend) collectRecv(v *socket) {
	if v.cancelled {
		if s.w.rng.IntN(3) == 0 {
			s.receive(v)
		}
		if v.receiving {
			s.stopReceiving(v)
		}
		return
	}
	if !v.stopping {
		s.receive(v)
		return
	}
	if v.overshoot > 0 {
		s.w.Tally.Overshoots++
		s.receive(v)
		if !v.receiving || !v.stopping {
			return
		}
		if v.overshoot--; v.overshoot > 0 {
			s.hold(v)
			return
		}
	}
	s.stopReceiving(v)
}

// splices moves what has arrived the other way, when that is so. False: it is to be
// received as usual.
func (s *backend) splices(v *socket) bool {
	splices, begun := s.core.Splicing(v.id)
	if !splices {
		return false
	}
	if s.core.Closing(v.id) { // what was in flight brings nothing
		return true
	}
	if !begun && s.w.chance(s.w.Overshoot) {
		return false // it was under way before
	}
	receive, wait := s.core.Relay(v.id)
	if !receive && !wait {
		s.stopReceiving(v)
	}
	return !receive
}

// receive passes on what has arrived, a bounded number of blocks.
func (s *backend) receive(v *socket) {
	w := s.w
	if s.splices(v) {
		return
	}
	n := 0
	if len(v.in) > 0 || v.fin || v.rst { // to see the end takes a block, too
		if n = min(1+w.rng.IntN(blocksAtOnce), s.core.Grant(v.id, blocksAtOnce)); n == 0 {
			s.park(v)
			return
		}
	}
	for ; n > 0 && len(v.in) > 0; n-- {
		if !s.receiveBlock(v) {
			s.park(v)
			return
		}
		if v.stopping {
			break
		}
	}
	if v.rest = len(v.in) > 0; !v.rest {
		s.core.Drained(v.id)
	} else {
		s.core.Partial()
	}
	if len(v.in) == 0 && (v.fin || v.rst) && (!v.stopping || v.overshoot > 0) {
		errno := unix.Errno(0)
		if v.rst {
			errno = unix.ECONNRESET
		}
		s.core.RecvEnded(v.id, errno)
		s.stopReceiving(v)
	}
}

// park ends a receive that finds no block.
func (s *backend) park(v *socket) {
	id := v.id // which v has no more if that was all it was waited for
	s.stopReceiving(v)
	s.core.Park(id)
}

// receiveBlock passes on a block. False: there is none.
func (s *backend) receiveBlock(v *socket) bool {
	w := s.w
	s.core.Calls(1, 0, 0)
	block := s.core.Block()
	if block == nil {
		return false
	}
	if w.chance(w.NoBlock) {
		w.Tally.NoBlocks++
		s.core.Unused()
		s.starved = true
		return false
	}
	off := 0
	if len(block) > 1 && w.chance(w.Offset) {
		off = w.rng.IntN(len(block))
	}
	size := min(len(block)-off, len(v.in))
	if size > 1 && !s.core.Thorough() && w.chance(w.ShortIO) {
		size = 1 + w.rng.IntN(size)
		w.Tally.ShortReads++
	}
	v.pull(block[off : off+size])
	s.core.Received(v.id, off, size)
	return true
}
