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

// socketData takes received bytes of a WebSocket. It takes v's reference. False
// means that the exchange has ended.
func (w *Worker) socketData(c *client, x *exchange, o *origin, k *socket, dir int, v buf.View) bool {
	s := &k.scan[dir]
	k.flags &^= socketAwaits << dir
	if s.Closed() || k.flags&(socketFailed<<dir) != 0 { // nothing may follow a Close frame (RFC 6455 5.5.1)
		w.pool.Release(v)
		return true
	}
	b, lim := w.pool.Bytes(v), &w.rulesOf(x).limits
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
			return w.socketViolation(&p, fault, frame)
		}
		if at += n; !done {
			break
		}
		frame = at
		w.m.WebSocket.CountFrame(dir, uint8(f.Opcode), f.Size)
		switch {
		case f.Opcode == ws.Pong && f.Size == 8 && f.First == k.token && k.flags&(socketPinged<<dir) != 0:
			w.pass(&p, begin)
			w.drop(&p, at)
			swallowed += at - max(begin, 0)
		case f.Opcode == ws.Close && k.flags&(socketFailed<<(1-dir)) != 0:
			// It answers the one the proxy has sent. The side that broke the
			// rule gets another.
			w.pass(&p, begin)
			w.drop(&p, at)
			w.pool.Release(v)
			w.socketOver(c, x, o, k)
			return false
		case f.Opcode == ws.Close:
			w.pass(&p, at)
			w.socketClosed(k, dir, f.Code)
			w.drop(&p, len(b))
			at = len(b)
		}
		if k.flags&((socketPingDue|socketAwayDue)<<dir) != 0 {
			w.pass(&p, at)
			w.socketInject(c, x, o, k, dir)
		}
	}
	w.pass(&p, at-s.Pending())
	w.hold(&p, at)
	w.pool.Release(v)
	if swallowed < len(b) {
		w.touchTunnel(c, x)
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
func (w *Worker) pass(p *passage, to int) {
	if to <= p.from {
		return
	}
	if p.k.flags&(socketMuted<<p.dir) != 0 {
		w.drop(p, to)
		return
	}
	for h := p.held(); !h.Empty(); {
		w.socketPush(p.c, p.o, p.dir, w.pool.Pop(h))
	}
	w.pool.Retain(p.v)
	w.socketPush(p.c, p.o, p.dir, p.v.Slice(uint32(p.from), uint32(to-p.from)))
	p.from = to
}

// drop throws away what was held, and v up to byte to.
func (w *Worker) drop(p *passage, to int) {
	w.pool.Drop(p.held())
	p.from = to
}

// hold keeps the rest of v, up to byte to: few bytes, so they are copied lest
// each side that stops in the middle of a header holds a block.
func (w *Worker) hold(p *passage, to int) {
	n := to - p.from
	if n <= 0 || p.k.flags&(socketMuted<<p.dir) != 0 {
		return
	}
	rest := p.v.Slice(uint32(p.from), uint32(n))
	if dst := w.pool.Reserve(n); dst != nil {
		copy(dst, w.pool.Bytes(rest))
		rest = w.pool.Commit(n)
	} else {
		w.pool.Retain(rest)
	}
	w.pool.Push(p.held(), rest)
}

func (w *Worker) socketPush(c *client, o *origin, dir int, v buf.View) {
	if dir == fromClient {
		w.originPush(o, v)
	} else {
		w.clientPush(c, v)
	}
}

// socketPut sends a frame of the proxy's own in direction dir, whose receiver
// is between two frames. Without memory there is none.
func (w *Worker) socketPut(c *client, o *origin, dir int, b []byte) {
	if dst := w.pool.Reserve(len(b)); dst != nil {
		copy(dst, b)
		w.socketPush(c, o, dir, w.pool.Commit(len(b)))
	}
}

// socketMask is the mask of a frame in direction dir: origins get masked ones
// (RFC 6455 5.3).
func (w *Worker) socketMask(dir int) uint32 {
	if dir == fromClient {
		return uint32(w.scramble()) | 1
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

// socketInject puts in what is due in direction dir, between two frames.
func (w *Worker) socketInject(c *client, x *exchange, o *origin, k *socket, dir int) {
	due := k.flags & ((socketPingDue | socketAwayDue) << dir)
	k.flags &^= due
	if ever, _ := k.speakable(dir); !ever {
		return
	}
	if due&(socketAwayDue<<dir) != 0 {
		w.socketClose(c, o, k, dir, ws.CloseGoingAway, "proxy is shutting down")
		w.socketBothClosed(k)
		return
	}
	if k.scan[1-dir].Closed() {
		return // whoever has said that it closes need not answer
	}
	var payload [8]byte // see pingBytes
	for i := range payload {
		payload[i] = byte(k.token >> (8 * i))
	}
	w.scratch = ws.AppendControl(w.scratch[:0], ws.Ping, payload[:], w.socketMask(dir))
	w.socketPut(c, o, dir, w.scratch)
	k.flags |= (socketAwaits | socketPinged) << (1 - dir)
}

// socketClose sends a Close frame of the proxy's own, and nothing of the other
// side behind it.
func (w *Worker) socketClose(c *client, o *origin, k *socket, dir int, code uint16, reason string) {
	w.scratch = ws.AppendClose(w.scratch[:0], code, reason, w.socketMask(dir))
	w.socketPut(c, o, dir, w.scratch)
	k.flags |= socketMuted << dir
	k.note(endedByProxy, code)
}

// socketClosed takes note of a Close frame that came.
func (w *Worker) socketClosed(k *socket, dir int, code uint16) {
	k.note(uint8(endedByClient+dir), code)
	w.socketBothClosed(k)
}

// socketBothClosed: once each side has had its Close frame, only the end of the
// connections is left to come, and soon.
func (w *Worker) socketBothClosed(k *socket) {
	up, _ := k.speakable(fromClient)
	down, _ := k.speakable(fromOrigin)
	if !up && !down && k.flags&socketClosing == 0 {
		k.flags |= socketClosing
		k.closeBy = w.l.Now() + socketCloseNs
	}
}

// socketViolation fails the connection (RFC 6455 7.1.7). What came before the
// frame is passed on, and then a Close frame, unless a part of the frame has
// gone already: then only the end of the connection can follow. What the other
// side has to say goes on until it closes, too (see socketOver). frame is where
// the frame began in p's view, negative when a part of it has gone. False means
// that the exchange has ended.
func (w *Worker) socketViolation(p *passage, f *ws.Fault, frame int) bool {
	k, dir := p.k, p.dir
	w.pass(p, frame)
	w.drop(p, 0)
	w.pool.Release(p.v)
	w.m.WebSocket.Violations[dir][f.Code]++
	if ever, _ := k.speakable(dir); ever && frame >= 0 {
		w.socketClose(p.c, p.o, k, dir, f.Close, socketReasons[dir][f.Code])
	} else if ever {
		k.flags |= socketMuted << dir
		w.socketFinish(p.c, p.o, dir)
	}
	k.note(endedByProxy, f.Close)
	if k.flags&(socketFailed<<(1-dir)) != 0 {
		w.socketOver(p.c, p.x, p.o, k)
		return false
	}
	k.flags |= socketFailed<<dir | socketClosing
	k.fault = f.Code
	k.closeBy = w.l.Now() + lingerNs
	w.touchTunnel(p.c, p.x)
	if ever, _ := k.speakable(1 - dir); !ever { // that has had its Close frame
		k.flags |= socketMuted << (1 - dir)
		w.socketOver(p.c, p.x, p.o, k)
		return false
	}
	return true
}

// socketFinish ends the sending direction dir.
func (w *Worker) socketFinish(c *client, o *origin, dir int) {
	if dir == fromClient {
		w.originFinish(o)
	} else {
		w.clientFinish(c)
	}
}
