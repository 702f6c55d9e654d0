package http2

import (
	"slices"

	"zproxy/internal/assert"
	"zproxy/proto"
)

// Flow control (RFC 9113 section 5.2), of what comes in first.
//
// A window has a target. The window of a stream and what it has sent and the
// owner still holds are kept at the target together: as the owner gives bytes
// back, the window is opened again, in steps of half a target, so that a
// WINDOW_UPDATE stands for many frames. The window of the connection is opened
// as its bytes arrive: a stream whose bytes find no place is stopped by its own
// window, and the others go on.
//
// What the connection's window and the bytes that are held come to together is
// at most ConnWindow, and is taken from a Credit that all sessions of one owner
// share. None gets more of it than is left for the others, beyond what RFC 9113
// gives to everybody (section 6.9.2): one connection alone can have half, two a
// third each. Nothing can be taken back from a peer (section 6.9.3), so windows
// begin small and are doubled while they are used up within growMs and there is
// room. A connection for which there is none waits (see Waiting).
//
// The target of a stream begins at StreamWindow, or with a Credit at its
// FirstWindow. A stream that uses up half of its target within growMs, while
// its owner holds next to nothing, is held up by the window on any longer
// path: its target doubles, up to growMost times StreamWindow. One whose owner has come to
// hold more than half of it goes back to where it began when it is opened.
// No target is more than an eighth of what is left of the Credit, down to leastStream.

const (
	growMs      = 50
	growMost    = 4
	leastStream = 16 << 10
	leastOpened = 4 << 10 // for less the window of a connection is not opened
)

// Credit is what the peers of all sessions that share it may send, and have sent
// and the owner holds.
type Credit struct {
	FirstWindow uint32 // receive window a stream starts with, where StreamWindow is more
	free        int64  // below 0 where what everybody gets comes to more than there was
	waiting     []uint32
}

// NewCredit makes a credit of n bytes.
func NewCredit(n int64, firstWindow uint32) *Credit {
	return &Credit{FirstWindow: firstWindow, free: n}
}

// Free is what is left.
func (c *Credit) Free() int64 { return c.free }

// Waiting gives the Owner of a session that waits for credit, whose Credited is to
// be called; false: none does.
func (c *Credit) Waiting() (owner uint32, ok bool) {
	if len(c.waiting) == 0 {
		return 0, false
	}
	owner = c.waiting[0]
	c.waiting = c.waiting[:copy(c.waiting, c.waiting[1:])]
	return owner, true
}

// Waiters is how many sessions wait.
func (c *Credit) Waiters() int { return len(c.waiting) }

func (s *Session) nowMs() uint32 { return uint32(s.now / 1e6) }

// beginCredit begins with what RFC 9113 gives to everybody; without a Credit
// windows are as wide as they may be at once.
func (s *Session) beginCredit() {
	s.connTarget, s.firstTarget = max(defaultWindow, int64(s.cfg.ConnWindow)), s.cfg.StreamWindow
	if s.credit = s.scratch.Credit[s.role]; s.credit != nil {
		s.credit.free -= defaultWindow
		s.connTarget, s.firstTarget = defaultWindow, min(s.firstTarget, s.credit.FirstWindow)
	}
	s.recvWindow, s.openedMs = s.connTarget, s.nowMs()
}

// returnCredit: nothing can come any more.
func (s *Session) returnCredit() {
	if s.credit != nil {
		s.credit.free += s.recvWindow + s.recvHeld
		if i := slices.Index(s.credit.waiting, s.Owner); i >= 0 { // the next session may have the same Owner
			s.credit.waiting = slices.Delete(s.credit.waiting, i, i+1)
		}
		s.credit = nil
	}
	s.recvWindow, s.recvHeld = 0, 0
}

// Deafen says that no frames are read any more, although the connection may stay
// for a while: nothing that the peer still sends will be held for anybody.
func (s *Session) Deafen() {
	s.returnCredit()
	s.flags |= flagClosed
}

// firstWindow is the receive window of a new stream: until the settings are
// acknowledged the peer may believe in the default.
func (s *Session) firstWindow() uint32 {
	if s.flags&flagAcked != 0 {
		return s.firstTarget
	}
	return max(s.firstTarget, defaultWindow)
}

// refill opens the window of the connection where half of its target is used, as
// far as there is credit. False: there is too little.
func (s *Session) refill() bool {
	if s.flags&flagClosed != 0 {
		return true
	}
	most := int64(s.cfg.ConnWindow)
	want := min(s.connTarget-s.recvWindow, most-s.recvWindow-s.recvHeld)
	if want < s.connTarget/2 {
		return true
	}
	if s.connTarget < most && s.nowMs()-s.openedMs < growMs {
		s.connTarget = min(2*s.connTarget, most)
		want = min(s.connTarget-s.recvWindow, most-s.recvWindow-s.recvHeld)
	}
	if room := s.room(); room < want {
		s.connTarget = max(s.connTarget/2, defaultWindow)
		if room < leastOpened {
			return false
		}
		want = room
	}
	s.openedMs = s.nowMs()
	s.recvWindow += want
	if s.credit != nil {
		s.credit.free -= want
	}
	s.appendWindow(0, want)
	return true
}

// room is how much more the peer may be promised.
func (s *Session) room() int64 {
	if s.credit == nil {
		return maxWindow
	}
	has := s.recvWindow + s.recvHeld
	return max((s.credit.free-has)/2, defaultWindow-has)
}

// Credited has a session that waited look again whether there is credit for it.
func (s *Session) Credited() {
	s.flags &^= flagWaiting
	s.openConnection()
}

// openConnection is refill for a session that is to be told of more credit.
func (s *Session) openConnection() {
	if !s.refill() && s.flags&flagWaiting == 0 {
		s.flags |= flagWaiting
		s.credit.waiting = append(s.credit.waiting, s.Owner)
	}
}

// creditConnection takes back n bytes that the owner held.
func (s *Session) creditConnection(n int64) {
	if s.flags&flagClosed != 0 {
		return
	}
	if assert.Enabled && n > s.recvHeld {
		panic("http2: more bytes given back than were lent")
	}
	n = min(n, s.recvHeld)
	s.recvHeld -= n
	if s.credit != nil {
		s.credit.free += n
	}
	s.openConnection()
}

// streamTarget is the target of a stream as far as there is credit.
func (s *Session) streamTarget(st *Stream) int64 {
	target := int64(st.recvTarget)
	if s.credit == nil {
		return target
	}
	return min(target, max(s.credit.free/8, leastStream))
}

// creditStream is creditConnection for a stream.
func (s *Session) creditStream(st *Stream, n int32) {
	st.recvHeld -= min(n, st.recvHeld)
	if st.flags&streamPeerEnded != 0 {
		return
	}
	target := s.streamTarget(st)
	open := target - int64(st.recvHeld) - int64(st.recvWindow)
	if open < target/2 {
		return
	}
	now := s.nowMs()
	if st.flags&streamHeavy != 0 {
		st.flags &^= streamHeavy
		st.recvTarget = max(st.recvTarget/2, int32(s.firstTarget))
	} else if st.recvHeld <= st.recvTarget/8 && now-st.creditedMs < growMs {
		st.recvTarget = int32(min(2*int64(st.recvTarget), growMost*int64(s.cfg.StreamWindow), int64(s.cfg.ConnWindow)))
		open += s.streamTarget(st) - target
	}
	st.creditedMs = now
	st.recvWindow += int32(open)
	s.appendWindow(st.ID, open)
}

// Consumed says that n bytes lent by EventData are done with; stream is 0 when
// it is not open any more.
func (s *Session) Consumed(stream uint32, n int) {
	if s.flags&flagClosed != 0 || n == 0 {
		return
	}
	if stream != 0 {
		s.creditStream(s.streams.At(stream), int32(n))
	}
	s.creditConnection(int64(n))
}

func (s *Session) appendWindow(id uint32, n int64) {
	s.out = appendFrameHeader(s.out, 4, frameWindow, 0, id)
	s.out = append32(s.out, uint32(n))
}

// beginData judges a DATA frame by its header (RFC 9113 section 6.1). All of
// it, padding too, counts for both windows (section 6.9.1).
func (s *Session) beginData(ev *Event) {
	f := &s.frame
	if f.id == 0 {
		s.fail(ev, ErrProtocol, &faultFrameStream)
		return
	}
	if f.bits&bitPadded != 0 && f.length == 0 {
		s.fail(ev, ErrFrameSize, &faultFrameSize)
		return
	}
	if int64(f.length) > s.recvWindow {
		s.fail(ev, ErrFlowControl, &faultWindow)
		return
	}
	s.recvWindow -= int64(f.length)
	s.recvHeld += int64(f.length)
	s.openConnection()
	s.padding = 0
	i := s.byID.Get(f.id)
	if i == 0 {
		s.skipData()
		s.absent(f.id, ev)
		return
	}
	s.data = i
	st := s.streams.At(i)
	switch {
	case st.flags&streamPeerEnded != 0:
		s.streamError(i, f.id, ErrStreamClosed, &faultStreamClosed, ev)
	case s.role == Client && st.flags&streamHead == 0:
		s.streamError(i, f.id, ErrProtocol, &faultNoHead, ev)
	case int64(f.length) > int64(st.recvWindow):
		s.streamError(i, f.id, ErrFlowControl, &faultWindow, ev)
	default:
		st.recvWindow -= int32(f.length)
		st.recvHeld += int32(f.length)
		if st.recvHeld > st.recvTarget/2 {
			st.flags |= streamHeavy
		}
		if f.bits&bitPadded != 0 {
			s.phase = phasePadLength
		} else {
			s.beginContent(ev)
		}
	}
}

// skipData goes on behind a DATA frame whose stream is gone. What is left of
// its data is not lent: the connection gets it back.
func (s *Session) skipData() {
	s.data = 0
	s.creditConnection(int64(s.left))
	s.left += s.padding // credited before
	s.phase = phaseSkip
}

// absent judges a frame for a stream that is not open: it never was, or it was
// closed, and then ended or reset by the peer (an error of the connection,
// RFC 9113 section 5.1) or reset here, and the frame was on its way.
func (s *Session) absent(id uint32, ev *Event) {
	if s.neverOpened(id) {
		s.fail(ev, ErrProtocol, &faultIdle)
	} else if s.mayBeOnItsWay(id) {
		if s.role == Server {
			s.suspect(AbuseClosedStream)
		}
	} else {
		s.fail(ev, ErrStreamClosed, &faultStreamClosed)
	}
}

// padLength takes the byte in front of padded data.
func (s *Session) padLength(c byte, ev *Event) {
	s.padding = uint32(c)
	s.left--
	if s.padding > s.left { // RFC 9113 section 6.1
		s.fail(ev, ErrProtocol, &faultPadding)
		return
	}
	s.left -= s.padding
	s.creditStream(s.streams.At(s.data), int32(s.padding)+1)
	s.creditConnection(int64(s.padding) + 1)
	s.beginContent(ev)
}

// beginContent checks the data of a frame, left bytes, against what the head
// said (RFC 9113 section 8.1.1).
func (s *Session) beginContent(ev *Event) {
	st := s.streams.At(s.data)
	end := s.frame.bits&bitEndStream != 0
	n := int64(s.left)
	s.phase = phaseData
	switch {
	case n > 0 && st.flags&streamNoContent != 0:
		s.streamError(s.data, s.frame.id, ErrProtocol, &faultNoContent, ev)
	case st.remaining >= 0 && (n > st.remaining || end && n != st.remaining):
		s.streamError(s.data, s.frame.id, ErrProtocol, proto.RequestFault(proto.FaultLengthDiffers), ev)
	case st.remaining > 0:
		st.remaining -= n
	}
	if n == 0 && !end && ev.Kind == EventNone {
		s.suspect(AbuseEmptyData)
		s.endFrame()
	}
}

// endFrame goes on behind the data of a frame.
func (s *Session) endFrame() {
	s.data = 0
	s.left = s.padding
	s.phase = phaseSkip
}

// content lends the data that is there, n bytes from off on.
func (s *Session) content(off, n int, ev *Event) (used int) {
	i := s.data
	n = min(n, int(s.left))
	s.left -= uint32(n)
	st := s.streams.At(i)
	ev.Kind, ev.Stream, ev.User, ev.ID, ev.Off, ev.N = EventData, i, st.User, st.ID, off, n
	if s.left == 0 {
		end := s.frame.bits&bitEndStream != 0
		s.endFrame()
		if end {
			s.peerEnds(i, st, ev)
		}
	}
	return n
}

// windowUpdate opens a window of this side (RFC 9113 section 6.9).
func (s *Session) windowUpdate(p []byte, ev *Event) {
	n := load32(p) & maxWindow
	if s.earned > 0 {
		s.earned--
	} else if n < smallUpdate {
		s.suspect(AbuseWindowUpdate)
	}
	id := s.frame.id
	if id == 0 {
		if n == 0 {
			s.fail(ev, ErrProtocol, &faultWindowZero)
		} else if s.sendWindow += int64(n); s.sendWindow > maxWindow {
			s.fail(ev, ErrFlowControl, &faultWindowMax)
		}
		s.sendMost = max(s.sendMost, s.sendWindow)
		return
	}
	i := s.byID.Get(id)
	if i == 0 { // on its way when the stream ended, or for one that never was
		if s.neverOpened(id) {
			s.fail(ev, ErrProtocol, &faultIdle)
		}
		return
	}
	st := s.streams.At(i)
	if n == 0 {
		s.streamError(i, id, ErrProtocol, &faultWindowZero, ev)
	} else if window := int64(st.sendWindow) + int64(n); window > maxWindow {
		s.streamError(i, id, ErrFlowControl, &faultWindowMax, ev)
	} else {
		st.sendWindow = int32(window)
		s.unpark(i, st)
	}
}

// Roomy reports whether at least half of the connection's window is left.
func (s *Session) Roomy() bool { return 2*s.sendWindow >= s.sendMost }

// Sendable is how many bytes of DATA may be sent on stream now, 0 when a window
// is closed.
func (s *Session) Sendable(stream uint32) int {
	return int(max(0, min(s.sendWindow, int64(s.streams.At(stream).sendWindow))))
}

// MaxFrame is the longest frame the peer takes.
func (s *Session) MaxFrame() int { return int(s.peerFrame) }

// AppendDataHeader appends the 9 bytes in front of n bytes of DATA, which the
// owner sends behind it; n is at most MaxFrame and Sendable, and may be 0 with end.
func (s *Session) AppendDataHeader(dst []byte, stream uint32, n int, end bool) []byte {
	st := s.streams.At(stream)
	if n > s.MaxFrame() || n > 0 && n > s.Sendable(stream) {
		panic("http2: more data than frame or window allow")
	}
	st.sendWindow -= int32(n)
	s.sendWindow -= int64(n)
	s.allowPing()
	if n >= smallData || s.Sendable(stream) > 0 {
		s.earn()
	}
	var bits uint8
	if end {
		bits = bitEndStream
	}
	dst = appendFrameHeader(dst, n, frameData, bits, st.ID)
	if end {
		s.localEnds(stream, st)
	}
	return dst
}
