package http2

// Frames about the connection: SETTINGS, PING, GOAWAY, and RST_STREAM.

// Identifiers of settings (RFC 9113 section 6.5.2, RFC 8441, RFC 9218).
const (
	settingHeaderTable  = 0x1
	settingPush         = 0x2
	settingStreams      = 0x3
	settingWindow       = 0x4
	settingFrame        = 0x5
	settingHeadBytes    = 0x6
	settingConnect      = 0x8
	settingNoPriorities = 0x9
)

// trustStreams is how many streams are opened before the origin has said how
// many it takes: fewer than RFC 9113 section 6.5.2 recommends nobody allows.
const trustStreams = 100

func (s *Session) appendSettings() {
	at := len(s.out)
	s.out = appendFrameHeader(s.out, 0, frameSettings, 0, 0)
	s.appendSetting(settingWindow, s.firstTarget)
	s.appendSetting(settingHeadBytes, uint32(s.cfg.HeadBytes))
	if s.cfg.HeaderTable != defaultTable {
		s.appendSetting(settingHeaderTable, s.cfg.HeaderTable)
	}
	if s.role == Client {
		s.appendSetting(settingPush, 0)
	} else {
		s.appendSetting(settingStreams, s.cfg.MaxStreams)
		s.appendSetting(settingNoPriorities, 1)
		if s.cfg.ConnectProtocol {
			s.appendSetting(settingConnect, 1)
		}
	}
	s.out[at+2] = byte(len(s.out) - at - FrameHeaderLen)
}

func (s *Session) appendSetting(id uint8, v uint32) {
	s.out = append32(append(s.out, 0, id), v)
}

// settings takes the peer's (RFC 9113 section 6.5).
func (s *Session) settings(p []byte, ev *Event) {
	if s.frame.bits&bitAck != 0 {
		if len(p) > 0 {
			s.fail(ev, ErrFrameSize, &faultFrameSize)
		} else if s.flags&flagAcked != 0 {
			s.suspect(AbuseSettings)
		} else {
			s.acked()
		}
		return
	}
	if len(p)%6 != 0 {
		s.fail(ev, ErrFrameSize, &faultFrameSize)
		return
	}
	if first := s.flags&flagSettings == 0; first {
		s.flags |= flagSettings
		s.peerStreams = 1<<32 - 1
		ev.Kind = EventSettings
	} else {
		s.suspect(AbuseSettings)
	}
	for ; len(p) > 0; p = p[6:] {
		id, v := uint16(p[0])<<8|uint16(p[1]), load32(p[2:])
		if !s.setting(id, v) {
			s.fail(ev, ErrProtocol, &faultSetting)
			return
		}
		if id == settingWindow && !s.peerWindows(v) {
			s.fail(ev, ErrFlowControl, &faultWindowMax)
			return
		}
	}
	s.out = appendFrameHeader(s.out, 0, frameSettings, bitAck, 0)
}

// setting takes one setting; those unknown are ignored (section 6.5.2). The
// size of the peer's HPACK table is nothing to an encoder that has none.
func (s *Session) setting(id uint16, v uint32) (ok bool) {
	switch id {
	case settingPush:
		return v == 0 || v == 1 && s.role == Server
	case settingStreams:
		s.peerStreams = v
	case settingFrame:
		s.peerFrame = v
		return v >= minMaxFrame && v <= maxMaxFrame
	case settingConnect: // RFC 8441 section 3: not taken back
		if v == 1 && s.role == Client {
			s.flags |= flagConnect
		}
		return v == 1 || v == 0 && s.flags&flagConnect == 0
	case settingNoPriorities: // RFC 9218 section 2.1
		if v == 1 {
			s.flags |= flagPriorities
		}
		return v <= 1
	}
	return true
}

// peerWindows moves the windows of all open streams (RFC 9113 section 6.9.2);
// they may become negative, and too large for it.
func (s *Session) peerWindows(v uint32) (ok bool) {
	if v > maxWindow {
		return false
	}
	delta := int64(v) - int64(s.peerWindow)
	s.peerWindow = v
	for i := s.first; i != 0; {
		st := s.streams.At(i)
		window := int64(st.sendWindow) + delta
		if window > maxWindow {
			return false
		}
		st.sendWindow = int32(window)
		s.unpark(i, st)
		i = st.next
	}
	return true
}

// acked: the peer has taken our settings, and streams from now on begin with
// the window they say.
func (s *Session) acked() {
	less := int32(s.firstWindow() - s.firstTarget)
	s.flags |= flagAcked
	for i := s.first; i != 0 && less > 0; i = s.streams.At(i).next {
		st := s.streams.At(i)
		st.recvWindow -= less
		s.creditStream(st, 0) // what it has sent may have been given back while the window was wider
	}
}

// tableLimit bounds the table the peer may choose: until it knows our setting
// it may take the default for it (RFC 7541 section 4.2).
func (s *Session) tableLimit() uint32 {
	if s.flags&flagAcked == 0 {
		return max(s.cfg.HeaderTable, defaultTable)
	}
	return s.cfg.HeaderTable
}

// ping answers one (RFC 9113 section 6.7), or takes the answer to ours.
func (s *Session) ping(p []byte) {
	if s.frame.bits&bitAck == 0 {
		if s.pings > 0 {
			s.pings--
		} else {
			s.suspect(AbusePing)
		}
		s.out = appendFrameHeader(s.out, len(p), framePing, bitAck, 0)
		s.out = append(s.out, p...)
	} else if at := int64(load32(p))<<32 | int64(load32(p[4:])); s.pingAt != 0 && at == s.pingAt {
		s.rtt = s.now - s.pingAt
		s.pingAt = 0
	} else {
		s.suspect(AbusePing)
	}
}

// Ping queues a PING unless one is unanswered.
func (s *Session) Ping(now int64) {
	if s.pingAt == 0 && s.flags&flagClosed == 0 {
		s.pingAt = now
		s.out = appendFrameHeader(s.out, 8, framePing, 0, 0)
		s.out = append32(append32(s.out, uint32(now>>32)), uint32(now))
	}
}

// PingSince is when the PING without an answer was queued, 0 without one.
func (s *Session) PingSince() int64 { return s.pingAt }

// RTT is what the last PING took in nanoseconds, 0 before the first answer.
func (s *Session) RTT() int64 { return s.rtt }

// goAway: the peer takes no more streams, and has not taken those above the
// identifier (RFC 9113 section 6.8), which must not grow.
func (s *Session) goAway(p []byte, ev *Event) {
	last := load32(p) & maxStreamID
	*ev = Event{Kind: EventGoAway, ID: last, Code: ErrCode(load32(p[4:]))}
	s.flags |= flagGoAway
	if s.role == Client {
		s.goAwayID = min(s.goAwayID, last)
		s.flags |= flagLosing
	}
}

// lose reports one of the streams that the peer has not taken.
func (s *Session) lose(ev *Event) {
	for i := s.first; i != 0; {
		st := s.streams.At(i)
		if st.ID == 0 || st.ID > s.goAwayID {
			*ev = Event{Kind: EventReset, Freed: true, Unprocessed: true, Code: ErrRefusedStream, Stream: i, User: st.User, ID: st.ID}
			s.free(i)
			return
		}
		i = st.next
	}
	s.flags &^= flagLosing
}

// Shutdown queues a GOAWAY: first without final, which asks the peer to open no
// more streams but still takes those on their way, and a round trip later with
// final, after which new streams are refused. Open streams go on either way.
func (s *Session) Shutdown(final bool) {
	switch {
	case s.flags&(flagClosed|flagFinal) != 0:
	case s.role == Client || final:
		s.flags |= flagFinal | flagDraining
		if s.role == Server {
			s.goAwayID = s.maxID
		}
		s.appendGoAway(s.lastTaken(), ErrNo, "")
	case s.flags&flagDraining == 0:
		s.flags |= flagDraining
		s.appendGoAway(maxStreamID, ErrNo, "")
	}
}

// lastTaken is the highest identifier of the peer's that was acted on.
func (s *Session) lastTaken() uint32 {
	if s.role == Client {
		return 0
	}
	return min(s.maxID, s.goAwayID)
}

// appendGoAway queues a GOAWAY, with debug data for people (RFC 9113 section 6.8).
func (s *Session) appendGoAway(last uint32, code ErrCode, debug string) {
	s.out = appendFrameHeader(s.out, 8+len(debug), frameGoAway, 0, 0)
	s.out = append32(append32(s.out, last), uint32(code))
	s.out = append(s.out, debug...)
}

// peerReset ends a stream the peer does not want any more (section 6.4).
func (s *Session) peerReset(p []byte, ev *Event) {
	id, code := s.frame.id, ErrCode(load32(p))
	i := s.byID.Get(id)
	if i == 0 {
		if s.neverOpened(id) {
			s.fail(ev, ErrProtocol, &faultIdle)
		} else if s.role == Server {
			s.suspect(AbuseClosedStream)
		}
		return
	}
	st := s.streams.At(i)
	*ev = Event{Kind: EventReset, Freed: true, Code: code, Stream: i, User: st.User, ID: id}
	ev.Unprocessed = s.role == Client && code == ErrRefusedStream
	if s.role == Server && st.flags&streamBegun == 0 {
		s.cut(st)
	}
	s.free(i)
}

// Reset ends a stream with RST_STREAM and frees it. A Client's stream that was
// never sent is only freed.
func (s *Session) Reset(stream uint32, code ErrCode) {
	if id := s.streams.At(stream).ID; id != 0 && s.flags&flagClosed == 0 {
		s.appendReset(id, code)
	}
	s.free(stream)
}

func (s *Session) appendReset(id uint32, code ErrCode) {
	s.resetHere(id)
	s.out = appendFrameHeader(s.out, 4, frameReset, 0, id)
	s.out = append32(s.out, uint32(code))
}
