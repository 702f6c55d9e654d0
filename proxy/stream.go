package proxy

import (
	"zproxy/buf"
	"zproxy/internal/plant"
	"zproxy/loop"
	"zproxy/proto/http2"
)

const (
	streamClient    = 1 << iota // it faces a client; else an origin
	streamEnd                   // nothing more will be queued
	streamEnded                 // END_STREAM has left
	streamPeerEnded             // END_STREAM has come
	streamPaused                // what arrives is not credited: the peer runs out of window
)

// copyBytes is up to where the bytes of a DATA frame are copied behind its
// header: a reference and a vector of their own would cost more.
const copyBytes = 1 << 10

// streamMark is how many bytes may at most wait in a stream, waitingMark how many
// in all streams of a session: there may be hundreds on a connection, and what
// waits leaves by their windows alone.
const (
	streamMark  = 256 << 10
	waitingMark = 4 << 20
)

// highFor and lowFor are the marks of what waits for a client: of a stream, its
// part of what may wait in the session.
func (w *Worker) highFor(c *client) int {
	if c.stream == 0 {
		return w.high
	}
	st := w.streams.At(c.stream)
	if st.id == 0 {
		return w.high // nothing waits, and its session may be gone
	}
	se := w.sessionOf(st)
	if se.waiting > waitingMark {
		return 0
	}
	return min(w.high, streamMark, waitingMark/max(1, se.h2.Active()))
}

func (w *Worker) lowFor(c *client) int {
	if c.stream == 0 {
		return w.low
	}
	return min(w.low, w.highFor(c)/2)
}

// frameBytes is the longest frame sent: every peer takes it, and the streams
// take turns by it.
const frameBytes = 16 << 10

// stream is what a side of an exchange has instead of a connection of its own:
// one stream of a session. Pointer-free.
type stream struct {
	out     buf.Chain // bytes that wait for a window, or for their turn
	trailer buf.View  // the field block that ends the stream, behind out
	session uint32
	id      uint32 // in Worker.streams; 0: not open, or over
	side    uint32 // the client or the origin it belongs to
	owed    uint32 // bytes received for which the peer was given no credit
	flags   uint8
}

// sessionOf is the session of a stream that is open.
func (w *Worker) sessionOf(st *stream) *session { return w.sessions[st.session] }

// streamPush queues v, of whose reference it takes care.
func (w *Worker) streamPush(st *stream, v buf.View) {
	if st.id == 0 || st.flags&streamEnd != 0 {
		w.pool.Release(v)
		return
	}
	n := int(v.Len)
	w.queue(&st.out, v)
	se := w.sessionOf(st)
	se.waiting += n
	se.h2.Ready(st.id, false)
	w.touch(se)
}

// streamFinish ends the stream behind all that is queued. trailer, if there is
// one, is a field block; its reference is taken.
func (w *Worker) streamFinish(st *stream, trailer buf.View) {
	if st.id == 0 || st.flags&streamEnd != 0 {
		w.pool.Release(trailer)
		return
	}
	st.flags |= streamEnd
	st.trailer = trailer
	se := w.sessionOf(st)
	se.h2.Ready(st.id, st.out.Empty())
	w.touch(se)
}

// streamHead sends a field block at once: heads need no window. False: there
// was no memory for it, and nothing has changed.
func (w *Worker) streamHead(st *stream, block []byte, end bool) bool {
	if st.id == 0 {
		return true
	}
	se := w.sessionOf(st)
	w.control(se) // what the session has to say first, SETTINGS above all
	if n := http2.HeadBound(len(block)); n <= w.pool.BlockBytes() {
		b := w.pool.Reserve(n)
		if b == nil {
			return false
		}
		b = se.h2.AppendHead(b[:0], st.id, block, end)
		w.l.Send(se.conn, w.pool.Commit(len(b)))
	} else {
		w.frames = se.h2.AppendHead(w.frames[:0], st.id, block, end)
		w.sessionSend(se, w.frames)
	}
	if end {
		st.flags |= streamEnd
		w.streamEnds(st)
	}
	return true
}

// streamReceived credits the peer with n bytes that found a place, or owes it
// the credit while the stream is paused.
func (w *Worker) streamReceived(st *stream, n uint32) {
	if st.flags&streamPaused != 0 && st.id != 0 {
		st.owed += n
		return
	}
	w.sessionOf(st).h2.Consumed(st.id, int(n))
}

// peerEnds notes that the peer has ended its direction, if end is true.
func (st *stream) peerEnds(end bool) {
	if end {
		st.flags |= streamPeerEnded
	}
}

// streamOver: the session has no such stream any more.
func (w *Worker) streamOver(st *stream) {
	st.id = 0
	if st.owed > 0 {
		w.sessionOf(st).h2.Consumed(0, int(st.owed))
		st.owed = 0
	}
}

// left: nothing waits any more, not even the end that was asked for.
func (st *stream) left() bool {
	return st.id == 0 || st.flags&(streamEnd|streamEnded) != streamEnd
}

func (w *Worker) streamPause(st *stream) { st.flags |= streamPaused }

func (w *Worker) streamResume(st *stream) {
	st.flags &^= streamPaused
	if st.owed > 0 {
		se := w.sessionOf(st)
		if !plant.Is(plant.Credit) || st.owed%2 == 0 {
			se.h2.Consumed(st.id, int(st.owed))
		}
		st.owed = 0
		w.touch(se)
	}
}

// streamTimer is the timer of an index of streams, and serves all that come to
// have it.
type streamTimer struct {
	timer loop.ConnID // 0: there was no need of one, or no slot
	at    int64       // the deadline, 0: none
}

// streamDue sets the deadline of the stream with index i.
func (w *Worker) streamDue(i uint32, at int64) {
	for uint32(len(w.streamTimers)) <= i {
		w.streamTimers = append(w.streamTimers, streamTimer{})
	}
	t := &w.streamTimers[i]
	t.at = at
	if t.timer == 0 && at != 0 {
		if t.timer = w.l.NewTimer(ownerOf(ownerStream, i)); t.timer == 0 {
			w.untimed = true // housekeeping tries again
		}
	}
	w.l.Deadline(t.timer, at)
}

// timeStreams sets the deadlines for which the loop had no slot, and sees to
// those that have passed: slots may be taken for as long as their streams are open.
func (w *Worker) timeStreams() {
	if !w.untimed {
		return
	}
	w.untimed = false
	for i := 0; i < len(w.streamTimers); i++ {
		t := &w.streamTimers[i]
		switch {
		case t.timer != 0 || t.at == 0:
		case t.at <= w.l.Now():
			t.at = 0
			w.streamTimeout(uint32(i))
		default:
			w.streamDue(uint32(i), t.at)
		}
	}
}

func (w *Worker) freeStream(i uint32) {
	w.streamDue(i, 0)
	w.streams.Free(i)
}

// streamTimeout: the deadline of the stream with index i has passed.
func (w *Worker) streamTimeout(i uint32) {
	st := w.streams.At(i)
	if st.flags&streamClient != 0 {
		w.clientTimeout(st.side, w.clients.At(st.side))
	} else {
		w.originTimeout(w.origins.At(st.side))
	}
}

// trimStreamTimers gives the timers back when there is no stream.
func (w *Worker) trimStreamTimers() {
	if w.streams.Len() > 0 {
		return
	}
	for _, t := range w.streamTimers {
		w.l.Close(t.timer)
	}
	w.streamTimers = w.streamTimers[:0]
}

// closeStream ends the stream, if it is open, with code, and forgets what was
// queued. The entry is freed at the end of the turn.
func (w *Worker) closeStream(st *stream, code http2.ErrCode) {
	if st.id != 0 {
		se := w.sessionOf(st)
		se.h2.Reset(st.id, code)
		w.streamOver(st)
		w.touch(se)
	}
	w.sessionWaits(st, -st.out.Bytes())
	w.pool.Drop(&st.out)
	w.release(&st.trailer)
}

// sessionWaits counts what waits in the session's streams.
func (w *Worker) sessionWaits(st *stream, n int) {
	if n != 0 {
		w.sessionOf(st).waiting += n
	}
}

// sendStream sends one frame of what waits in the stream. False: no memory.
func (w *Worker) sendStream(se *session, st *stream) bool {
	queued := st.out.Bytes()
	n := min(queued, se.h2.Sendable(st.id), se.h2.MaxFrame(), frameBytes)
	if queued == 0 && st.trailer.ID != 0 {
		if !w.streamHead(st, w.pool.Bytes(st.trailer), true) {
			return false
		}
		w.release(&st.trailer)
		w.streamSent(st, 0)
		return true
	}
	end := n == queued && st.flags&streamEnd != 0 && st.trailer.ID == 0
	size := http2.FrameHeaderLen
	if n <= copyBytes {
		size += n
	}
	b := w.pool.Reserve(size)
	if b == nil {
		return false
	}
	se.waiting -= n
	head := se.h2.AppendDataHeader(b[:0], st.id, n, end)
	if last := len(head) - 1; plant.Is(plant.Stream) && n%64 == 63 && head[last] > 2 {
		head[last] -= 2 // the stream that the peer opened before
	}
	if n <= copyBytes {
		w.pool.CopyOut(&st.out, b[len(head):size])
		w.pool.Consume(&st.out, n)
		w.l.Send(se.conn, w.pool.Commit(size))
	} else {
		w.l.Send(se.conn, w.pool.Commit(size))
		w.passOn(&st.out, se, n)
	}
	switch {
	case end:
		w.streamEnds(st)
	case st.out.Empty():
		se.h2.Unready(st.id)
		if st.flags&streamEnd != 0 {
			se.h2.Ready(st.id, true)
		}
	}
	w.streamSent(st, n)
	return true
}

// passOn moves n bytes from the front of c to what the session sends.
func (w *Worker) passOn(c *buf.Chain, se *session, n int) {
	for n > 0 {
		v := w.pool.Front(c)
		if int(v.Len) <= n {
			n -= int(v.Len)
			w.l.Send(se.conn, w.pool.Pop(c))
			continue
		}
		w.pool.Retain(v)
		w.l.Send(se.conn, v.Slice(0, uint32(n)))
		w.pool.Consume(c, n)
		return
	}
}

// streamEnds: END_STREAM is on its way. With both ends the session forgets the
// stream.
func (w *Worker) streamEnds(st *stream) {
	st.flags |= streamEnded
	if st.flags&streamPeerEnded != 0 {
		w.streamOver(st)
	}
}

// streamSent: n bytes have left the stream's queue, and whoever fills it may
// go on.
func (w *Worker) streamSent(st *stream, n int) {
	if st.flags&streamClient == 0 {
		if o := w.origins.At(st.side); o.x != 0 {
			w.originDrained(o)
		} else if st.id == 0 {
			w.endOriginStream(o, http2.ErrNo)
		}
		return
	}
	c := w.clients.At(st.side)
	c.sent += uint64(n)
	switch {
	case c.state != clientFlush:
		w.clientDrained(st.side, c)
	case st.flags&streamEnded != 0:
		w.lingerStream(c, st)
	default:
		w.clientDue(c, w.takeBy(c))
	}
}
