package http2

import (
	"zproxy/internal/assert"
	"zproxy/proto"
)

// Flow control (RFC 9113 section 5.2), of what comes in first.
//
// A window has a target. What the peer may send, and what it has sent and the
// owner still holds, are kept at the target together: as the owner gives bytes
// back, the window is opened again, in steps of half a target, so that a
// WINDOW_UPDATE stands for many frames.
//
// The target of the connection is ConnWindow, that of a stream begins at
// StreamWindow. A stream that uses up half of its target within growMs, while
// its owner holds next to nothing, is held up by the window on any longer
// path: its target doubles, up to growMost times StreamWindow. One whose owner has come to
// hold more than half of it goes back towards StreamWindow when it is opened.
//
// Under pressure all targets are smaller, by a quarter for each level and down
// to pressedStream and pressedConn. Nothing is taken back from the peer (section
// 6.9.3 has no way to): windows are not opened until they have come down.

const (
	growMs        = 50
	growMost      = 4
	pressedStream = 16 << 10
	pressedConn   = 64 << 10
)

// SetPressure says how short of memory the process is, 0 to 3: see flow.go for
// what becomes of the windows.
func (s *Session) SetPressure(level int) { s.pressure = uint8(min(max(level, 0), 3)) }

func (s *Session) nowMs() uint32 { return uint32(s.now / 1e6) }

func (s *Session) pressed(target, floor int64) int64 {
	return max(target>>(2*s.pressure), min(target, floor))
}

// firstWindow is the receive window of a new stream: until the settings are
// acknowledged the peer may believe in the default.
func (s *Session) firstWindow() uint32 {
	if s.flags&flagAcked != 0 {
		return s.cfg.StreamWindow
	}
	return max(s.cfg.StreamWindow, defaultWindow)
}

// creditConnection gives back n bytes to the connection's window.
func (s *Session) creditConnection(n int64) {
	if s.flags&flagClosed != 0 {
		return
	}
	if assert.Enabled && n > s.recvHeld {
		panic("http2: more bytes given back than were lent")
	}
	s.recvHeld -= min(n, s.recvHeld)
	target := s.pressed(int64(s.cfg.ConnWindow), pressedConn)
	if open := target - s.recvHeld - s.recvWindow; open >= target/2 {
		s.recvWindow += open
		s.appendWindow(0, open)
	}
}

// creditStream is creditConnection for a stream.
func (s *Session) creditStream(st *Stream, n int32) {
	st.recvHeld -= min(n, st.recvHeld)
	if st.flags&streamPeerEnded != 0 {
		return
	}
	target := s.pressed(int64(st.recvTarget), pressedStream)
	open := target - int64(st.recvHeld) - int64(st.recvWindow)
	if open < target/2 {
		return
	}
	now := s.nowMs()
	if st.flags&streamHeavy != 0 {
		st.flags &^= streamHeavy
		st.recvTarget = max(st.recvTarget/2, int32(s.cfg.StreamWindow))
	} else if st.recvHeld <= st.recvTarget/8 && now-st.creditedMs < growMs {
		grown := min(2*int64(st.recvTarget), growMost*int64(s.cfg.StreamWindow), int64(s.cfg.ConnWindow))
		open += s.pressed(grown, pressedStream) - target
		st.recvTarget = int32(grown)
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
