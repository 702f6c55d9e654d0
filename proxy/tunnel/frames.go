package tunnel

import "zproxy/proto/ws"

// readOn follows the frames of what was received to the next thing that is to be done,
// or to its end.
func (ts *Tunnels) readOn() {
	w := &ts.at
	s, b := &w.t.scan[w.from], ts.pool.Bytes(w.v)
	var f ws.Frame
	for w.at < len(b) {
		begin := w.at - s.Pending()
		n, done, fault := s.Next(b[w.at:], &w.env.Rules.Limits, &f)
		if fault != nil {
			ts.violation(fault)
			return
		}
		if w.at += n; !done {
			break
		}
		w.frame = w.at
		if ts.frame(&f, begin); !w.reading || len(ts.told) > 0 {
			return
		}
	}
	ts.pass(w.at - s.Pending())
	ts.hold(w.at)
	ts.pool.Release(w.v)
	w.reading = false
	if w.swallowed < len(b) {
		ts.moved()
	}
}

// frame deals with one that has ended, and that began at begin, before what was received
// if that is negative.
func (ts *Tunnels) frame(f *ws.Frame, begin int) {
	w, t := &ts.at, ts.at.t
	ts.m.WebSocket.CountFrame(int(w.from), uint8(f.Opcode), f.Size)
	switch {
	case f.Opcode == ws.Pong && f.Size == 8 && f.First == t.token && t.flags&(wasPinged<<w.from) != 0:
		ts.pass(begin)
		ts.drop(w.at)
		w.swallowed += w.at - max(begin, 0)
	case f.Opcode == ws.Close && t.flags&(hasFailed<<w.from.Other()) != 0:
		// It answers the one the proxy has sent. The side that broke the rule gets
		// another.
		ts.pass(begin)
		ts.drop(w.at)
		ts.pool.Release(w.v)
		w.reading = false
		ts.failed()
		return
	case f.Opcode == ws.Close:
		ts.pass(w.at)
		t.note(endedByClient+uint8(w.from), f.Code)
		ts.bothClosed()
		w.at = int(w.v.Len)
		ts.drop(w.at)
	}
	if t.flags&((pingDue|awayDue)<<w.from) != 0 {
		ts.pass(w.at)
		ts.inject(w.from)
	}
}

// pass sends on what was held, and of what was received what is before byte to.
func (ts *Tunnels) pass(to int) {
	w := &ts.at
	if to <= w.begun {
		return
	}
	if w.t.flags&(isMuted<<w.from) != 0 {
		ts.drop(to)
		return
	}
	for held := w.env.Held[w.from]; !held.Empty(); {
		ts.send(w.from.Other(), ts.pool.Pop(held))
	}
	ts.pool.Retain(w.v)
	ts.send(w.from.Other(), w.v.Slice(uint32(w.begun), uint32(to-w.begun)))
	w.begun = to
}

// drop throws away what was held, and of what was received what is before byte to.
func (ts *Tunnels) drop(to int) {
	ts.pool.Drop(ts.at.env.Held[ts.at.from])
	ts.at.begun = to
}

// hold keeps the rest of what was received, up to byte to: few bytes, so they are copied
// lest each side that stops in the middle of a header holds a block.
func (ts *Tunnels) hold(to int) {
	w := &ts.at
	n := to - w.begun
	if n <= 0 || w.t.flags&(isMuted<<w.from) != 0 {
		return
	}
	rest := w.v.Slice(uint32(w.begun), uint32(n))
	if dst := ts.pool.Reserve(n); dst != nil {
		copy(dst, ts.pool.Bytes(rest))
		rest = ts.pool.Commit(n)
	} else {
		ts.pool.Retain(rest)
	}
	ts.pool.Push(w.env.Held[w.from], rest)
}

// put sends a frame of the proxy's own in direction dir, whose receiver
// is between two frames. Without memory there is none.
func (ts *Tunnels) put(dir Side, b []byte) {
	if dst := ts.pool.Reserve(len(b)); dst != nil {
		copy(dst, b)
		ts.send(dir.Other(), ts.pool.Commit(len(b)))
	}
}

// mask is the mask of a frame in direction dir: origins get masked ones
// (RFC 6455 5.3).
func (ts *Tunnels) mask(dir Side) uint32 {
	if dir == Client {
		return uint32(ts.scramble(ts.at.env.Now)) | 1
	}
	return 0
}

// speakable tells whether a frame of the proxy's own may go in direction dir at
// all, and whether it may now.
func (t *tunnel) speakable(dir Side) (ever, now bool) {
	ever = t.flags&(isMuted<<dir) == 0 && !t.scan[dir].Closed()
	return ever, ever && !t.scan[dir].Inside()
}

// pingBytes is the length of a ping of the proxy's own, with a mask.
const pingBytes = 2 + 4 + 8

// inject puts in what is due in direction dir, between two frames.
func (ts *Tunnels) inject(dir Side) {
	t := ts.at.t
	due := t.flags & ((pingDue | awayDue) << dir)
	t.flags &^= due
	if ever, _ := t.speakable(dir); !ever {
		return
	}
	if due&(awayDue<<dir) != 0 {
		ts.close(dir, ws.CloseGoingAway, ts.whyAway())
		ts.bothClosed()
		return
	}
	if t.scan[dir.Other()].Closed() {
		return // whoever has said that it closes need not answer
	}
	var payload [8]byte // see pingBytes
	for i := range payload {
		payload[i] = byte(t.token >> (8 * i))
	}
	ts.out = ws.AppendControl(ts.out[:0], ws.Ping, payload[:], ts.mask(dir))
	ts.put(dir, ts.out)
	t.flags |= (isAwaited | wasPinged) << dir.Other()
}

// close sends a Close frame of the proxy's own, and nothing of the other
// side behind it.
func (ts *Tunnels) close(dir Side, code uint16, reason string) {
	ts.out = ws.AppendClose(ts.out[:0], code, reason, ts.mask(dir))
	ts.put(dir, ts.out)
	ts.at.t.flags |= isMuted << dir
	ts.at.t.note(endedByProxy, code)
}

// bothClosed: once each side has had its Close frame, only the end of the
// connections is left to come, and soon.
func (ts *Tunnels) bothClosed() {
	t := ts.at.t
	up, _ := t.speakable(Client)
	down, _ := t.speakable(Origin)
	if !up && !down && t.flags&isClosing == 0 {
		t.flags |= isClosing
		t.closeBy = ts.at.env.Now + CloseNs
	}
}

// violation fails the connection (RFC 6455 7.1.7). What came before the
// frame is passed on, and then a Close frame, unless a part of the frame has
// gone already: then only the end of the connection can follow. What the other
// side has to say goes on until it closes, too (see failed).
func (ts *Tunnels) violation(f *ws.Fault) {
	w, t, dir := &ts.at, ts.at.t, ts.at.from
	ts.pass(w.frame)
	ts.drop(0)
	ts.pool.Release(w.v)
	w.reading = false
	ts.m.WebSocket.Violations[dir][f.Code]++
	if ever, _ := t.speakable(dir); ever && w.frame >= 0 {
		ts.close(dir, f.Close, violations[dir][f.Code])
	} else if ever {
		t.flags |= isMuted << dir
		ts.tell(Finish, dir.Other())
	}
	t.note(endedByProxy, f.Close)
	if t.flags&(hasFailed<<dir.Other()) != 0 {
		ts.failed()
		return
	}
	t.flags |= hasFailed<<dir | isClosing
	t.fault = f.Code
	t.closeBy = w.env.Now + failNs
	ts.moved()
	if ever, _ := t.speakable(dir.Other()); !ever { // that has had its Close frame
		t.flags |= isMuted << dir.Other()
		ts.failed()
	}
}
