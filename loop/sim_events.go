package loop

import "golang.org/x/sys/unix"

// wait collects what is complete, in random order. It does not wait: when
// there is nothing, until says what it would have waited for.
func (s *sim) wait(waitNs int64) error {
	w := s.w
	before := len(s.l.events)
	w.now += w.rng.Int64N(2000) // what the turn has cost
	s.acceptSome()
	if n := len(s.sockets); n > 0 {
		first := w.rng.IntN(n)
		s.turn = append(append(s.turn[:0], s.sockets[first:]...), s.sockets[:first]...)
		for _, v := range s.turn {
			s.collect(v)
		}
	}
	if s.starved {
		s.l.partial = true
	}
	s.until = w.now
	if waitNs == 0 || len(s.l.events) > before || s.l.todoHead != 0 || s.starved {
		s.starved = false
		return nil
	}
	if s.l.fallAsleep() {
		s.until = never
		if waitNs > 0 {
			s.until = w.now + waitNs
		}
		s.l.sleepsTill = s.until
	}
	s.l.wakeUp()
	return nil
}

func (s *sim) acceptSome() {
	for _, ln := range s.l.listeners {
		if ln == nil || !ln.on {
			continue
		}
		from := s.w.listener(ln.fd)
		for n := 1 + s.w.rng.IntN(acceptsPerTick); n > 0 && s.acceptOne(ln, from); n-- {
		}
	}
}

// collect reports what has become of one socket's operations.
func (s *sim) collect(v *simSocket) {
	c := s.l.conns.lookup(v.id)
	if v.s != s || c == nil || s.idle(v) || s.heldBack(v) {
		return
	}
	if v.dialing {
		s.collectDial(v, c)
		return
	}
	if v.sending || v.blocked {
		s.collectSend(v, c)
	}
	if v.s == s && v.receiving {
		s.collectRecv(v, c)
	}
}

// idle says that nothing of v can be complete.
func (s *sim) idle(v *simSocket) bool {
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

func (s *sim) collectDial(v *simSocket, c *conn) {
	v.dialing = false
	if v.dialDone {
		s.l.connected(v.id, c, v.dialErrno)
	}
	s.l.opEnd(v.id, c)
}

func (s *sim) collectSend(v *simSocket, c *conn) {
	errno := v.sendError()
	if v.blocked {
		if errno == 0 && v.space() == 0 && !v.far.gone {
			return
		}
		v.blocked = false
		c.flags &^= flagSendBusy
		switch {
		case c.has(flagClosing):
		case c.has(flagSpliceTo) && !s.l.drain(v.id, c) || c.sendq.Empty():
		default:
			s.sendNow(v, c)
		}
		return
	}
	n := 0
	if errno == 0 && (!v.cancelled || s.w.rng.IntN(2) == 0) {
		n = s.transfer(v, c)
	}
	if n == 0 && errno == 0 && !v.cancelled {
		return
	}
	v.sending = false
	c.flags &^= flagSendBusy
	if n > 0 || errno != 0 {
		s.l.sent(v.id, c, n, errno)
	}
	s.l.opEnd(v.id, c)
}

func (s *sim) collectRecv(v *simSocket, c *conn) {
	if v.cancelled {
		if s.w.rng.IntN(3) == 0 {
			s.receive(v, c)
		}
		if v.receiving {
			s.stopReceiving(v, c)
		}
		return
	}
	if !v.stopping {
		s.receive(v, c)
		return
	}
	if v.overshoot > 0 {
		s.w.Tally.Overshoots++
		s.receive(v, c)
		if !v.receiving || !v.stopping {
			return
		}
		if v.overshoot--; v.overshoot > 0 {
			s.hold(v)
			return
		}
	}
	s.stopReceiving(v, c)
}

// relay is receive where the bytes are spliced. True: they are not, or not yet.
func (s *sim) relay(v *simSocket, c *conn) bool {
	if c.has(flagClosing) { // what was in flight brings nothing
		return false
	}
	if !s.l.spliceBegun(c) && s.w.chance(s.w.Overshoot) {
		return true // it was under way before
	}
	switch s.l.relay(v.id, c) {
	case relayOver:
		return true
	case relayLater:
		s.stopReceiving(v, c)
	}
	return false
}

// receive passes on what has arrived, a bounded number of blocks.
func (s *sim) receive(v *simSocket, c *conn) {
	w, l := s.w, s.l
	if c.has(flagSpliceFrom) && !s.relay(v, c) {
		return
	}
	n := 0
	if len(v.in) > 0 || v.fin || v.rst { // to see the end takes a block, too
		if n = min(1+w.rng.IntN(blocksPerTick), l.grant(c, blocksPerTick)); n == 0 {
			id := v.id
			s.stopReceiving(v, c)
			l.park(id, c)
			return
		}
	}
	for ; n > 0 && len(v.in) > 0; n-- {
		l.stats.RecvCalls++
		block, ok := l.pool.Get()
		if ok && w.chance(w.NoBlock) {
			w.Tally.NoBlocks++
			l.pool.Release(block)
			ok, s.starved = false, true
		}
		if !ok {
			id := v.id
			s.stopReceiving(v, c)
			l.park(id, c)
			return
		}
		if block.Len > 1 && w.chance(w.Offset) {
			off := uint32(w.rng.IntN(int(block.Len)))
			block = block.Slice(off, block.Len-off)
		}
		size := min(int(block.Len), len(v.in))
		if size > 1 && !l.sweep.on && w.chance(w.ShortIO) {
			size = 1 + w.rng.IntN(size)
			w.Tally.ShortReads++
		}
		block = block.Slice(0, uint32(size))
		v.pull(l.pool.Bytes(block))
		l.received(v.id, c, block)
		if v.stopping {
			break
		}
	}
	if v.rest = len(v.in) > 0; !v.rest {
		l.drained(c)
	} else {
		l.partial = true
	}
	if len(v.in) == 0 && (v.fin || v.rst) && (!v.stopping || v.overshoot > 0) {
		errno := unix.Errno(0)
		if v.rst {
			errno = unix.ECONNRESET
		}
		l.recvEnded(v.id, c, errno)
		s.stopReceiving(v, c)
	}
}
