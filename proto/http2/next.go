package http2

import "zproxy/proto"

type phase uint8

const (
	phaseHeader  phase = iota // of a frame
	phasePreface              // of the client
	phasePayload              // all of it is wanted before it is looked at
	phasePadLength
	phaseData
	phaseSkip // nothing but bytes to get rid of
)

// Next reads from b up to and including the next thing the owner must know.
// used bytes are done with, except that EventData lends of them; the rest is
// given again, with more. ev is overwritten; EventNone: all of b is used. An event
// may come with used 0, also for an empty b: call until EventNone. After
// EventClosed it must not be called again.
func (s *Session) Next(b []byte, now int64, ev *Event) (used int) {
	s.now = now
	*ev = Event{}
	if s.flags&(flagClosed|flagLosing) != 0 {
		if s.flags&flagClosed != 0 {
			return len(b)
		}
		if s.lose(ev); ev.Kind != EventNone {
			return 0
		}
	}
	for ev.Kind == EventNone {
		rest := b[used:]
		switch s.phase {
		case phaseHeader:
			if s.doomed != AbuseNone {
				s.endCalmly(ev)
				return used
			}
			n, ok := s.frameHeader(rest)
			used += n
			if !ok {
				return used
			}
			s.begin(ev)
		case phasePreface:
			n, ok := s.preface(rest, ev)
			used += n
			if !ok {
				return used
			}
		case phasePayload:
			n, ok := s.payload(rest, ev)
			used += n
			if !ok {
				return used
			}
		case phasePadLength:
			if len(rest) == 0 {
				return used
			}
			used++
			s.padLength(rest[0], ev)
		case phaseData:
			if len(rest) == 0 && s.left > 0 {
				return used
			}
			used += s.content(used, len(rest), ev)
		default:
			n := min(uint32(min(len(rest), maxMaxFrame)), s.left)
			used += int(n)
			s.left -= n
			if s.left > 0 {
				return used
			}
			s.phase = phaseHeader
		}
	}
	return used
}

// frameHeader reads the header of a frame into frame, out of b where that has
// all of it.
func (s *Session) frameHeader(b []byte) (used int, ok bool) {
	if s.headerLen == 0 && len(b) >= FrameHeaderLen {
		s.frame = parseFrameHeader(b)
		return FrameHeaderLen, true
	}
	used = copy(s.header[s.headerLen:], b)
	s.headerLen += uint8(used)
	if s.headerLen < FrameHeaderLen {
		return used, false
	}
	s.headerLen = 0
	s.frame = parseFrameHeader(s.header[:])
	return used, true
}

// preface compares what comes with the client's preface, byte by byte as it
// comes: something else is not waited for.
func (s *Session) preface(b []byte, ev *Event) (used int, ok bool) {
	n := min(len(b), PrefaceLen-int(s.headerLen))
	if string(b[:n]) != Preface[s.headerLen:int(s.headerLen)+n] {
		fault := &faultPreface
		if s.headerLen == 0 && b[0] == proto.TLSHandshake {
			fault = proto.RequestFault(proto.FaultTLS)
		}
		s.fail(ev, ErrProtocol, fault)
		return n, true
	}
	s.headerLen += uint8(n)
	if int(s.headerLen) < PrefaceLen {
		return n, false
	}
	s.headerLen = 0
	s.phase = phaseHeader
	return n, true
}

// begin judges a frame by its header: what is wrong with it is said now, what
// to do with the payload is the phase.
func (s *Session) begin(ev *Event) {
	f := &s.frame
	s.left = f.length
	switch {
	case f.length > minMaxFrame:
		s.fail(ev, ErrFrameSize, &faultFrameSize)
	case s.flags&flagSettings == 0 && (f.kind != frameSettings || f.bits&bitAck != 0): // RFC 9113 section 3.4
		s.fail(ev, ErrProtocol, &faultFirstFrame)
	case (s.blockID != 0) != (f.kind == frameContinuation) || s.blockID != 0 && f.id != s.blockID: // sections 4.3, 6.10
		s.fail(ev, ErrProtocol, &faultContinuation)
	case len(s.out) > outMax:
		s.suspect(AbuseOutput)
		s.endCalmly(ev)
	case f.kind == frameData:
		s.beginData(ev)
	case f.kind > frameContinuation && f.kind != framePriorityUpdate: // section 5.5: unknown frames are ignored
		s.suspect(AbuseUnknown)
		s.phase = phaseSkip
	default:
		s.phase = phasePayload
		rule := &frameRules[f.kind]
		if f.kind == framePush {
			s.fail(ev, ErrProtocol, &faultPush)
		} else if f.kind != frameWindow && rule.stream != (f.id != 0) {
			s.fail(ev, ErrProtocol, &faultFrameStream)
		} else if f.length < uint32(rule.min) || f.length > uint32(rule.max) {
			s.wrongSize(ev)
		}
	}
}

// frameRules says for each type whether it is about a stream and how long its
// payload may be.
var frameRules = [...]struct {
	stream   bool
	min, max uint16
}{
	frameHeaders:        {true, 0, minMaxFrame},
	framePriority:       {true, 5, 5},
	frameReset:          {true, 4, 4},
	frameSettings:       {false, 0, minMaxFrame},
	framePing:           {false, 8, 8},
	frameGoAway:         {false, 8, minMaxFrame},
	frameWindow:         {false, 4, 4},
	frameContinuation:   {true, 0, minMaxFrame},
	framePriorityUpdate: {false, 4, minMaxFrame},
}

// wrongSize: an error of the connection, except for PRIORITY (RFC 9113 section
// 6.3), and except WINDOW_UPDATE, of which section 6.9 says so too.
func (s *Session) wrongSize(ev *Event) {
	if i := s.byID.Get(s.frame.id); s.frame.kind == framePriority && i != 0 {
		s.phase = phaseSkip
		s.streamError(i, s.frame.id, ErrFrameSize, &faultFrameSize, ev)
		return
	}
	s.fail(ev, ErrFrameSize, &faultFrameSize)
}

// payload waits for all of a frame's payload and acts on it. What has to be
// kept lies in held, behind the field block that is being gathered.
func (s *Session) payload(b []byte, ev *Event) (used int, ok bool) {
	used = min(len(b), int(s.left))
	s.left -= uint32(used)
	got := len(s.held) - int(s.block)
	if s.left > 0 || got > 0 {
		s.hold(b[:used])
		if s.left > 0 {
			return used, false
		}
	}
	s.phase = phaseHeader
	payload := b[:used]
	if got > 0 {
		payload = s.held[s.block:]
	}
	s.act(payload, ev)
	if s.blockID == 0 {
		s.dropHeld()
	}
	return used, true
}

// hold keeps b, behind what is kept already.
func (s *Session) hold(b []byte) {
	if len(b) == 0 {
		return
	}
	if s.held == nil {
		s.held = s.scratch.borrow(len(b))
	}
	s.held = append(s.held, b...)
}

func (s *Session) dropHeld() {
	if s.held != nil {
		s.scratch.giveBack(s.held)
		s.held = nil
	}
	s.block = 0
}

func (s *Session) act(p []byte, ev *Event) {
	switch s.frame.kind {
	case frameHeaders:
		s.headers(p, ev)
	case frameContinuation:
		s.continuation(p, ev)
	case framePriority:
		s.priority(p, ev)
	case frameReset:
		s.peerReset(p, ev)
	case frameSettings:
		s.settings(p, ev)
	case framePing:
		s.ping(p)
	case frameGoAway:
		s.goAway(p, ev)
	case frameWindow:
		s.windowUpdate(p, ev)
	case framePriorityUpdate:
		s.priorityUpdate(p, ev)
	}
}

// fail ends the connection (RFC 9113 section 5.4.1).
func (s *Session) fail(ev *Event, code ErrCode, fault *proto.Fault) {
	s.flags |= flagClosed
	why := ""
	if s.doomed != AbuseNone {
		why = fault.Reason // so that whoever looks after the peer can find out
	}
	s.appendGoAway(s.lastTaken(), code, why)
	*ev = Event{Kind: EventClosed, Code: code, Fault: fault, Cause: s.doomed}
	if s.role == Client {
		ev.Fault = asResponse(fault)
	}
}

// asResponse is a fault as the origin's: the client is answered 502. Those
// without a table of their own keep their reason.
func asResponse(f *proto.Fault) *proto.Fault {
	if f == proto.RequestFault(f.Code) {
		return f.AsResponse()
	}
	return f
}

// streamError resets a stream for something the peer did (section 5.4.2); i
// is 0 when the owner has not heard of it.
func (s *Session) streamError(i, id uint32, code ErrCode, fault *proto.Fault, ev *Event) {
	*ev = Event{Kind: EventReset, Local: true, Freed: true, Code: code, ID: id, Stream: i, Fault: fault}
	if s.role == Client {
		ev.Fault = asResponse(fault)
	}
	s.forced(fault)
	s.appendReset(id, code)
	if i != 0 {
		ev.User = s.streams.At(i).User
		s.free(i)
	}
}
