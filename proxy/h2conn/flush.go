package h2conn

import (
	"zproxy/buf"
	"zproxy/proto/http2"
)

// flushes is how far flush has got.
type flushes struct {
	on      bool
	se      *Session // whose streams are being sent, nil: the next one is to be found
	begun   bool     // its control frames were sent
	i       int      // in Sessions.dirty
	starved int      // so many found no memory, and stay there
}

// Flush sends what the turn has given the sessions to send: control frames, then the
// streams in the order of their priorities. It goes on as its events are pulled.
func (ss *Sessions) Flush() {
	ss.spreadCredit()
	ss.flushes = flushes{on: true}
}

// flushOn goes on with it to the next event. False: that was all.
func (ss *Sessions) flushOn() bool {
	f := &ss.flushes
	for {
		if f.se == nil {
			if !ss.nextDirty() {
				return false
			}
			se := f.se
			switch {
			case se.doomed:
				f.se = nil
				ss.pulled = Event{Kind: Stalled, Session: se, Stall: StallMemory}
				return true
			case se.state == sessionGreeting:
				f.se = nil
				ss.control(se)
				continue
			case se.Role == http2.Client && se.state < sessionFlush:
				ss.pulled = Event{Kind: Room, Session: se}
				return true
			}
		}
		se := f.se
		if !f.begun {
			f.begun = true
			ss.control(se)
			ss.applyBackpressure(se)
		}
		switch sent, ok := ss.sendNext(se); {
		case sent:
			return true
		case ok:
			ss.due(se)
		case se.state < sessionFlush:
			// No memory: again when there may be some.
			se.dirty = true
			ss.dirty[f.starved] = se.Self
			f.starved++
		}
		f.se = nil
	}
}

// nextDirty finds the next session that has something to send. False: there is none.
func (ss *Sessions) nextDirty() bool {
	f := &ss.flushes
	for f.i < len(ss.dirty) {
		se := ss.all[ss.dirty[f.i]]
		f.i++
		if se == nil {
			continue
		}
		se.dirty = false
		if se.state != sessionClosing && se.state != sessionConnecting {
			f.se, f.begun = se, false
			return true
		}
	}
	ss.dirty = ss.dirty[:f.starved]
	f.on = false
	return false
}

// sendNext sends one frame of the stream whose turn it is. Not ok: there was no memory for
// it.
func (ss *Sessions) sendNext(se *Session) (sent, ok bool) {
	if se.state >= sessionFlush || ss.l.Queued(se.Conn) >= ss.room() {
		return false, true
	}
	id, ready := se.H2.NextReady()
	if !ready {
		return false, true
	}
	user := ss.open.At(id).User
	n, ok := ss.sendStream(se, ss.streams.At(user))
	if ok {
		ss.pulled = Event{Kind: StreamDrained, Session: se, Stream: user, N: uint32(n)}
	}
	return ok, ok
}

// applyBackpressure stops reading a client that does not take its answers, and
// goes on once it has. What waits for it here needs nothing more that it says.
func (ss *Sessions) applyBackpressure(se *Session) {
	queued := ss.l.Queued(se.Conn)
	switch {
	case se.state >= sessionFlush: // it is read to its end
	case !se.Paused && se.Role == http2.Server && queued > HeadMark:
		ss.Pause(se)
	case se.Paused && queued <= sessionMark:
		se.Paused = false
		se.headSince = 0 // a head that was not read was not slow
		ss.l.Recv(se.Conn)
	}
}

// room is that constant where memory is not short.
func (ss *Sessions) room() int { return min(sessionMark, max(ss.high/2, 2*frameBytes)) }

// send queues a copy of b on the session's connection. False: no memory.
// The session, whose frames have a gap now, ends with this turn, before any of
// them leaves.
func (ss *Sessions) send(se *Session, b []byte) bool {
	for len(b) > 0 {
		n := min(len(b), ss.pool.BlockBytes())
		dst := ss.pool.Reserve(n)
		if dst == nil {
			se.doomed = true
			ss.markDirty(se)
			return false
		}
		copy(dst, b)
		ss.l.Send(se.Conn, ss.pool.Commit(n))
		b = b[n:]
	}
	return true
}

// control sends the session's control frames.
func (ss *Sessions) control(se *Session) {
	if b := se.H2.Output(); len(b) > 0 {
		ss.send(se, b)
		se.H2.Flushed()
	}
}

// sendStream sends one frame of what waits in the stream, n bytes of it. Not ok: no memory.
func (ss *Sessions) sendStream(se *Session, st *Stream) (n int, ok bool) {
	queued := st.out.Bytes()
	n = min(queued, se.H2.Sendable(st.id), se.H2.MaxFrame(), frameBytes)
	if queued == 0 && st.trailer.ID != 0 {
		if !ss.streams.Head(st, ss.pool.Bytes(st.trailer), true) {
			return 0, false
		}
		ss.release(&st.trailer)
		return 0, true
	}
	end := n == queued && st.flags&streamEnd != 0 && st.trailer.ID == 0
	size := http2.FrameHeaderLen
	if n <= CopyBytes {
		size += n
	}
	b := ss.pool.Reserve(size)
	if b == nil {
		return 0, false
	}
	se.waiting -= n
	head := se.H2.AppendDataHeader(b[:0], st.id, n, end)
	if n <= CopyBytes {
		ss.pool.CopyOut(&st.out, b[len(head):size])
		ss.pool.Consume(&st.out, n)
		ss.l.Send(se.Conn, ss.pool.Commit(size))
	} else {
		ss.l.Send(se.Conn, ss.pool.Commit(size))
		ss.passOn(&st.out, se, n)
	}
	switch {
	case end:
		ss.streams.ends(st)
	case st.out.Empty():
		se.H2.Unready(st.id)
		if st.flags&streamEnd != 0 {
			se.H2.Ready(st.id, true)
		}
	}
	return n, true
}

// passOn moves n bytes from the front of c to what the session sends.
func (ss *Sessions) passOn(c *buf.Chain, se *Session, n int) {
	for n > 0 {
		v := ss.pool.Front(c)
		if int(v.Len) <= n {
			n -= int(v.Len)
			ss.l.Send(se.Conn, ss.pool.Pop(c))
			continue
		}
		ss.pool.Retain(v)
		ss.l.Send(se.Conn, v.Slice(0, uint32(n)))
		ss.pool.Consume(c, n)
		return
	}
}
