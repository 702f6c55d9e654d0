package h2conn

import (
	"zproxy/buf"
	"zproxy/internal/slab"
	"zproxy/loop"
	"zproxy/proto/http2"
)

func (ts *Streams) Flows(st *Stream) bool {
	if st.id == 0 {
		return true // they are dropped
	}
	return st.out.Empty() && ts.Session(st).H2.Sendable(st.id) > 0
}

const (
	streamClient    = 1 << iota // it faces a client; else an origin
	streamEnd                   // nothing more will be queued
	streamEnded                 // END_STREAM has left
	streamPeerEnded             // END_STREAM has come
	streamPaused                // what arrives is not credited: the peer runs out of window
)

// CopyBytes is up to where the bytes of a DATA frame are copied behind its
// header: a reference and a vector of their own would cost more.
const CopyBytes = 1 << 10

// frameBytes is the longest frame sent: every peer takes it, and the streams
// take turns by it.
const frameBytes = 16 << 10

// Stream is what a side of an exchange has instead of a connection of its own:
// one stream of a session. Pointer-free.
type Stream struct {
	out     buf.Chain // bytes that wait for a window, or for their turn
	trailer buf.View  // the field block that ends the stream, behind out
	session uint32
	id      uint32 // in http2.Streams; 0: not open, or over
	Side    uint32 // the client or the origin it belongs to
	owed    uint32 // bytes received for which the peer was given no credit
	flags   uint8
}

// Streams are those of all sessions of a worker.
type Streams struct {
	gear
	owner uint32
	h2    *Sessions
	slab.Slab[Stream]
	timers  []streamTimer // by index
	untimed bool          // the loop had no slot for one of them
}

// Session is the session of a stream that is open.
func (ts *Streams) Session(st *Stream) *Session { return ts.h2.all[st.session] }

// Push queues v, of whose reference it takes care.
func (ts *Streams) Push(st *Stream, v buf.View) {
	if st.id == 0 || st.flags&streamEnd != 0 {
		ts.pool.Release(v)
		return
	}
	n := int(v.Len)
	ts.h2.Queue(&st.out, v)
	se := ts.Session(st)
	se.waiting += n
	se.H2.Ready(st.id, false)
	ts.h2.markDirty(se)
}

// Finish ends the stream behind all that is queued. trailer, if there is
// one, is a field block; its reference is taken.
func (ts *Streams) Finish(st *Stream, trailer buf.View) {
	if st.id == 0 || st.flags&streamEnd != 0 {
		ts.pool.Release(trailer)
		return
	}
	st.flags |= streamEnd
	st.trailer = trailer
	se := ts.Session(st)
	se.H2.Ready(st.id, st.out.Empty())
	ts.h2.markDirty(se)
}

// Head sends a field block at once: heads need no window. False: there
// was no memory for it, and nothing has changed.
func (ts *Streams) Head(st *Stream, block []byte, end bool) bool {
	if st.id == 0 {
		return true
	}
	se := ts.Session(st)
	ts.h2.control(se) // what the session has to say first, SETTINGS above all
	if n := http2.HeadBound(len(block)); n <= ts.pool.BlockBytes() {
		b := ts.pool.Reserve(n)
		if b == nil {
			return false
		}
		b = se.H2.AppendHead(b[:0], st.id, block, end)
		ts.l.Send(se.Conn, ts.pool.Commit(len(b)))
	} else {
		ts.h2.frames = se.H2.AppendHead(ts.h2.frames[:0], st.id, block, end)
		ts.h2.send(se, ts.h2.frames)
	}
	if end {
		st.flags |= streamEnd
		ts.ends(st)
	}
	return true
}

// Received credits the peer with n bytes that found a place, or owes it
// the credit while the stream is paused.
func (ts *Streams) Received(st *Stream, n uint32) {
	if st.flags&streamPaused != 0 && st.id != 0 {
		st.owed += n
		return
	}
	ts.Session(st).H2.Consumed(st.id, int(n))
}

// Settle gives the connection the credit that its peer is owed for the stream.
func (ts *Streams) Settle(st *Stream) {
	if st.owed > 0 {
		ts.Session(st).H2.Consumed(0, int(st.owed))
		st.owed = 0
	}
}

// Discard credits the connection alone with n bytes that were thrown away.
func (ts *Streams) Discard(st *Stream, n uint32) { ts.Session(st).H2.Consumed(0, int(n)) }

// Accept makes an entry for a stream that a client has begun with the head in ev; side is
// the client.
func (ts *Streams) Accept(se *Session, ev *http2.Event, side uint32) uint32 {
	i, st := ts.Alloc()
	st.session, st.id, st.Side, st.flags = se.Self, ev.Stream, side, streamClient
	ts.h2.open.At(ev.Stream).User = i
	st.peerEnds(ev.End)
	se.Uses++
	return i
}

// Wait makes an entry for a stream that is to be opened for the origin side.
func (ts *Streams) Wait(side uint32) uint32 {
	i, st := ts.Alloc()
	st.Side = side
	return i
}

// Begin opens stream i on se, which has room. False: it has not.
func (ts *Streams) Begin(i uint32, se *Session) bool {
	id, ok := se.H2.Open(i)
	if !ok {
		return false
	}
	st := ts.At(i)
	st.session, st.id = se.Self, id
	ts.Due(i, 0)
	se.Uses++
	return true
}

// FacesClient says that its side is a client, IsOver that it has no part in a session any
// more, or has none yet.
func (st *Stream) FacesClient() bool { return st.flags&streamClient != 0 }

func (st *Stream) IsOver() bool { return st.id == 0 }

// EndSent says that END_STREAM has left.
func (st *Stream) EndSent() bool { return st.flags&streamEnded != 0 }

// Queued is how many bytes wait to be sent.
func (st *Stream) Queued() int { return st.out.Bytes() }

// Carrier is the connection that the peer sends on, 0: the stream is over.
func (ts *Streams) Carrier(st *Stream) loop.ConnID {
	if st.id == 0 {
		return 0
	}
	return ts.Session(st).Conn
}

// Reached tells whether what has left has also left by the connection, where it may be
// behind much of other streams'.
func (ts *Streams) Reached(st *Stream) bool {
	return st.id == 0 || ts.l.Queued(ts.Session(st).Conn) == 0
}

// Takes says that less than room bytes wait, here or in the kernel, and that the peer's
// windows are not what they wait for. It asks the kernel.
func (ts *Streams) Takes(st *Stream, room int) bool {
	if st.id == 0 {
		return true // it is dropped
	}
	se, waits := ts.Session(st), st.out.Bytes()
	return se.H2.Sendable(st.id) > waits && waits+ts.l.Queued(se.Conn)+ts.l.Unacked(se.Conn) < room
}

// Unread is how many bytes wait in all streams of the connection.
func (ts *Streams) Unread(st *Stream) int {
	if st.id == 0 {
		return 0
	}
	return ts.Session(st).waiting
}

// SinceMs is how long ago something came on the connection. The stream is open.
func (ts *Streams) SinceMs(st *Stream) uint32 {
	return uint32(ts.l.Now()/1e6) - ts.Session(st).cameMs
}

// Waits says that the stream is still to be opened.
func (st *Stream) Waits() bool { return st.session == 0 }

// Heard is the stream that ev is about, which has heard it.
func (ts *Streams) Heard(ev *http2.Event) *Stream {
	st := ts.At(ev.User)
	st.peerEnds(ev.End)
	if ev.Freed {
		ts.over(st)
	}
	return st
}

// HasEnded says that the end of the stream has left, or that nothing leaves any more.
func (st *Stream) HasEnded() bool { return st.id == 0 || st.flags&streamEnded != 0 }

// SendsUpTo is what the connection will have sent when all has left that is queued on
// it, taken what its peer has acknowledged of that. The stream has been open.
func (ts *Streams) SendsUpTo(st *Stream) uint64 {
	se := ts.Session(st)
	return se.sent + uint64(ts.l.Queued(se.Conn))
}

func (ts *Streams) Taken(st *Stream) uint64 { return ts.h2.taken(ts.Session(st)) }

// peerEnds notes that the peer has ended its direction, if end is true.
func (st *Stream) peerEnds(end bool) {
	if end {
		st.flags |= streamPeerEnded
	}
}

// over: the session has no such stream any more.
func (ts *Streams) over(st *Stream) {
	st.id = 0
	ts.Settle(st)
}

// Left: nothing waits any more, not even the end that was asked for.
func (st *Stream) Left() bool {
	return st.id == 0 || st.flags&(streamEnd|streamEnded) != streamEnd
}

func (ts *Streams) Pause(st *Stream) { st.flags |= streamPaused }

func (ts *Streams) Resume(st *Stream) {
	st.flags &^= streamPaused
	if st.owed > 0 {
		se := ts.Session(st)
		se.H2.Consumed(st.id, int(st.owed))
		st.owed = 0
		ts.h2.markDirty(se)
	}
}

// streamTimer is the timer of an index of streams, and serves all that come to have
// it. A stream's deadline is set and taken back several times, and seldom passes: the
// loop, where each time is a line of memory that nobody else needs then, is told of
// it only when its timer would go off too late.
type streamTimer struct {
	timer loop.ConnID // 0: there was no need of one, or no slot
	at    uint32      // ms, the low bits: the deadline, 0: none
	set   uint32      // likewise: when the loop's goes off at the earliest, 0: never
}

// Due sets the deadline of the stream with index i.
func (ts *Streams) Due(i uint32, at int64) {
	for uint32(len(ts.timers)) <= i {
		ts.timers = append(ts.timers, streamTimer{})
	}
	t := &ts.timers[i]
	if at == 0 {
		t.at = 0
		return
	}
	t.at = max(1, uint32((at+1e6-1)/1e6))
	if t.set == 0 || int32(t.at-t.set) < 0 {
		ts.set(i, t)
	}
}

// set has the loop's timer go off at the deadline.
func (ts *Streams) set(i uint32, t *streamTimer) {
	if t.timer == 0 {
		if t.timer = ts.l.NewTimer(ts.owner + i); t.timer == 0 {
			ts.untimed = true // housekeeping tries again
			return
		}
	}
	t.set = t.at
	now := ts.l.Now() / 1e6
	ts.l.Deadline(t.timer, (now+int64(int32(t.at-uint32(now))))*1e6)
}

// passed says that the deadline is over; there is one.
func (t *streamTimer) passed(now int64) bool { return int32(uint32(now/1e6)-t.at) >= 0 }

// Retime sets the deadlines for which the loop had no slot, and sees to
// those that have passed: slots may be taken for as long as their streams are open.
func (ts *Streams) Retime() {
	if !ts.untimed {
		return
	}
	ts.untimed = false
	for i := 0; i < len(ts.timers); i++ {
		t := &ts.timers[i]
		switch {
		case t.timer != 0 || t.at == 0:
		case t.passed(ts.l.Now()):
			t.at = 0
			ts.h2.tell(Event{Kind: StreamExpired, Stream: uint32(i)})
		default:
			ts.set(uint32(i), t)
		}
	}
}

func (ts *Streams) Free(i uint32) {
	ts.Due(i, 0)
	ts.Slab.Free(i)
}

// Timeout: the timer of the stream with index i has gone off.
func (ts *Streams) Timeout(i uint32) {
	t := &ts.timers[i]
	t.set = 0
	switch {
	case t.at == 0:
	case !t.passed(ts.l.Now()):
		ts.set(i, t)
	default:
		t.at = 0
		ts.h2.tell(Event{Kind: StreamExpired, Stream: i})
	}
}

// Trim gives the timers back when there is no stream.
func (ts *Streams) Trim() {
	if ts.Len() > 0 {
		return
	}
	for _, t := range ts.timers {
		ts.l.Close(t.timer)
	}
	ts.timers = ts.timers[:0]
}

// Close ends the stream, if it is open, with code, and forgets what was
// queued. The entry is freed at the end of the turn.
func (ts *Streams) Close(st *Stream, code http2.ErrCode) {
	if st.id != 0 {
		se := ts.Session(st)
		se.H2.Reset(st.id, code)
		ts.over(st)
		ts.h2.markDirty(se)
	}
	if n := st.out.Bytes(); n > 0 {
		ts.Session(st).waiting -= n
	}
	ts.pool.Drop(&st.out)
	ts.h2.release(&st.trailer)
}

// ends: END_STREAM is on its way. With both ends the session forgets the
// stream.
func (ts *Streams) ends(st *Stream) {
	st.flags |= streamEnded
	if st.flags&streamPeerEnded != 0 {
		ts.over(st)
	}
}

// HighFor is the mark of what waits in a stream.
func (ts *Streams) HighFor(st *Stream) int {
	if st.id == 0 {
		return ts.h2.high // nothing waits, and its session may be gone
	}
	se := ts.Session(st)
	if se.waiting > waitingMark {
		return 0
	}
	return min(ts.h2.high, StreamMark, waitingMark/max(1, se.H2.Active()))
}

// streamMark is how many bytes may at most wait in a stream, waitingMark how many
// in all streams of a session: there may be hundreds on a connection, and what
// waits leaves by their windows alone.
const (
	StreamMark  = 256 << 10
	waitingMark = 4 << 20
)
