package proxy

import (
	"zproxy/buf"
	"zproxy/proto/ws"
)

// Frames pass as they come: what was received in one piece leaves in one piece.
// Held back is only what is not decided yet, the bytes of an incomplete header
// or control frame, in the chain that held the head before. So between two
// passages the receiver is at the end of a frame or within the payload of one
// that carries a message; at the end of one, the proxy may put in a word.

// data takes received bytes of a WebSocket. It takes v's reference. False
// means that the exchange has ended.
func (tu *tunnels) data(c *client, x *exchange, o *origin, k *socket, dir int, v buf.View) bool {
	s := &k.scan[dir]
	k.flags &^= socketAwaits << dir
	if s.Closed() || k.flags&(socketFailed<<dir) != 0 { // nothing may follow a Close frame (RFC 6455 5.5.1)
		tu.pool.Release(v)
		return true
	}
	b, lim := tu.pool.Bytes(v), &tu.rulesOf(x).Limits
	p := passage{c: c, x: x, o: o, k: k, dir: dir, v: v}
	at, swallowed := 0, 0
	frame := 0 // where the present frame began; -1: a part of it has gone before
	if s.Inside() {
		frame = -1
	}
	var f ws.Frame
	for at < len(b) {
		begin := at - s.Pending()
		n, done, fault := s.Next(b[at:], lim, &f)
		if fault != nil {
			return tu.violation(&p, fault, frame)
		}
		if at += n; !done {
			break
		}
		frame = at
		tu.m.WebSocket.CountFrame(dir, uint8(f.Opcode), f.Size)
		switch {
		case f.Opcode == ws.Pong && f.Size == 8 && f.First == k.token && k.flags&(socketPinged<<dir) != 0:
			tu.pass(&p, begin)
			tu.drop(&p, at)
			swallowed += at - max(begin, 0)
		case f.Opcode == ws.Close && k.flags&(socketFailed<<(1-dir)) != 0:
			// It answers the one the proxy has sent. The side that broke the
			// rule gets another.
			tu.pass(&p, begin)
			tu.drop(&p, at)
			tu.pool.Release(v)
			tu.over(c, x, o, k)
			return false
		case f.Opcode == ws.Close:
			tu.pass(&p, at)
			tu.closed(k, dir, f.Code)
			tu.drop(&p, len(b))
			at = len(b)
		}
		if k.flags&((socketPingDue|socketAwayDue)<<dir) != 0 {
			tu.pass(&p, at)
			tu.inject(c, x, o, k, dir)
		}
	}
	tu.pass(&p, at-s.Pending())
	tu.hold(&p, at)
	tu.pool.Release(v)
	if swallowed < len(b) {
		tu.restartIdle(c, x)
	}
	return true
}

// passage is the state of one view on its way from one side to the other.
type passage struct {
	c    *client
	x    *exchange
	o    *origin
	k    *socket
	dir  int
	v    buf.View // borrowed
	from int      // bytes of v before were passed on or dropped
}

// held is where bytes that are not decided yet wait.
func (p *passage) held() *buf.Chain {
	if p.dir == fromClient {
		return &p.c.in
	}
	return &p.o.in
}

// pass sends on what was held, and v up to byte to.
func (tu *tunnels) pass(p *passage, to int) {
	if to <= p.from {
		return
	}
	if p.k.flags&(socketMuted<<p.dir) != 0 {
		tu.drop(p, to)
		return
	}
	for h := p.held(); !h.Empty(); {
		tu.push(p.c, p.o, p.dir, tu.pool.Pop(h))
	}
	tu.pool.Retain(p.v)
	tu.push(p.c, p.o, p.dir, p.v.Slice(uint32(p.from), uint32(to-p.from)))
	p.from = to
}

// drop throws away what was held, and v up to byte to.
func (tu *tunnels) drop(p *passage, to int) {
	tu.pool.Drop(p.held())
	p.from = to
}

// hold keeps the rest of v, up to byte to: few bytes, so they are copied lest
// each side that stops in the middle of a header holds a block.
func (tu *tunnels) hold(p *passage, to int) {
	n := to - p.from
	if n <= 0 || p.k.flags&(socketMuted<<p.dir) != 0 {
		return
	}
	rest := p.v.Slice(uint32(p.from), uint32(n))
	if dst := tu.pool.Reserve(n); dst != nil {
		copy(dst, tu.pool.Bytes(rest))
		rest = tu.pool.Commit(n)
	} else {
		tu.pool.Retain(rest)
	}
	tu.pool.Push(p.held(), rest)
}

func (tu *tunnels) push(c *client, o *origin, dir int, v buf.View) {
	if dir == fromClient {
		tu.w.legs.push(&o.leg, v)
	} else {
		tu.w.legs.push(&c.leg, v)
	}
}

// put sends a frame of the proxy's own in direction dir, whose receiver
// is between two frames. Without memory there is none.
func (tu *tunnels) put(c *client, o *origin, dir int, b []byte) {
	if dst := tu.pool.Reserve(len(b)); dst != nil {
		copy(dst, b)
		tu.push(c, o, dir, tu.pool.Commit(len(b)))
	}
}

// mask is the mask of a frame in direction dir: origins get masked ones
// (RFC 6455 5.3).
func (tu *tunnels) mask(dir int) uint32 {
	if dir == fromClient {
		return uint32(tu.scramble()) | 1
	}
	return 0
}

// speakable tells whether a frame of the proxy's own may go in direction dir at
// all, and whether it may now.
func (k *socket) speakable(dir int) (ever, now bool) {
	ever = k.flags&(socketMuted<<dir) == 0 && !k.scan[dir].Closed()
	return ever, ever && !k.scan[dir].Inside()
}

// pingBytes is the length of a ping of the proxy's own, with a mask.
const pingBytes = 2 + 4 + 8

// inject puts in what is due in direction dir, between two frames.
func (tu *tunnels) inject(c *client, x *exchange, o *origin, k *socket, dir int) {
	due := k.flags & ((socketPingDue | socketAwayDue) << dir)
	k.flags &^= due
	if ever, _ := k.speakable(dir); !ever {
		return
	}
	if due&(socketAwayDue<<dir) != 0 {
		tu.close(c, o, k, dir, ws.CloseGoingAway, tu.whyAway())
		tu.bothClosed(k)
		return
	}
	if k.scan[1-dir].Closed() {
		return // whoever has said that it closes need not answer
	}
	var payload [8]byte // see pingBytes
	for i := range payload {
		payload[i] = byte(k.token >> (8 * i))
	}
	tu.w.heads.scratch = ws.AppendControl(tu.w.heads.scratch[:0], ws.Ping, payload[:], tu.mask(dir))
	tu.put(c, o, dir, tu.w.heads.scratch)
	k.flags |= (socketAwaits | socketPinged) << (1 - dir)
}

// close sends a Close frame of the proxy's own, and nothing of the other
// side behind it.
func (tu *tunnels) close(c *client, o *origin, k *socket, dir int, code uint16, reason string) {
	tu.w.heads.scratch = ws.AppendClose(tu.w.heads.scratch[:0], code, reason, tu.mask(dir))
	tu.put(c, o, dir, tu.w.heads.scratch)
	k.flags |= socketMuted << dir
	k.note(endedByProxy, code)
}

// closed takes note of a Close frame that came.
func (tu *tunnels) closed(k *socket, dir int, code uint16) {
	k.note(uint8(endedByClient+dir), code)
	tu.bothClosed(k)
}

// bothClosed: once each side has had its Close frame, only the end of the
// connections is left to come, and soon.
func (tu *tunnels) bothClosed(k *socket) {
	up, _ := k.speakable(fromClient)
	down, _ := k.speakable(fromOrigin)
	if !up && !down && k.flags&socketClosing == 0 {
		k.flags |= socketClosing
		k.closeBy = tu.l.Now() + socketCloseNs
	}
}

// violation fails the connection (RFC 6455 7.1.7). What came before the
// frame is passed on, and then a Close frame, unless a part of the frame has
// gone already: then only the end of the connection can follow. What the other
// side has to say goes on until it closes, too (see over). frame is where
// the frame began in p's view, negative when a part of it has gone. False means
// that the exchange has ended.
func (tu *tunnels) violation(p *passage, f *ws.Fault, frame int) bool {
	k, dir := p.k, p.dir
	tu.pass(p, frame)
	tu.drop(p, 0)
	tu.pool.Release(p.v)
	tu.m.WebSocket.Violations[dir][f.Code]++
	if ever, _ := k.speakable(dir); ever && frame >= 0 {
		tu.close(p.c, p.o, k, dir, f.Close, socketReasons[dir][f.Code])
	} else if ever {
		k.flags |= socketMuted << dir
		tu.finish(p.c, p.o, dir)
	}
	k.note(endedByProxy, f.Close)
	if k.flags&(socketFailed<<(1-dir)) != 0 {
		tu.over(p.c, p.x, p.o, k)
		return false
	}
	k.flags |= socketFailed<<dir | socketClosing
	k.fault = f.Code
	k.closeBy = tu.l.Now() + lingerNs
	tu.restartIdle(p.c, p.x)
	if ever, _ := k.speakable(1 - dir); !ever { // that has had its Close frame
		k.flags |= socketMuted << (1 - dir)
		tu.over(p.c, p.x, p.o, k)
		return false
	}
	return true
}

// finish ends the sending direction dir.
func (tu *tunnels) finish(c *client, o *origin, dir int) {
	if dir == fromClient {
		tu.w.legs.finish(&o.leg)
	} else {
		tu.w.legs.finish(&c.leg)
	}
}
