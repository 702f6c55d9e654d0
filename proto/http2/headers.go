package http2

import "zproxy/proto"

// Field blocks as they come in: HEADERS and CONTINUATION are joined, decoded,
// and become the head or the trailers of a stream.

// blockMax bounds the bytes of a field block: what the decoded section may have
// twice over, as a block is decoded whole before it is found too large.
func (s *Session) blockMax() int { return 2*s.cfg.HeadBytes + minMaxFrame }

// headers begins a field block (RFC 9113 section 6.2).
func (s *Session) headers(p []byte, ev *Event) {
	f := &s.frame
	if s.role == Server && f.id&1 == 0 || s.role == Client && s.neverOpened(f.id) { // section 5.1.1
		s.fail(ev, ErrProtocol, &faultStreamID)
		return
	}
	padding, self := 0, false
	if f.bits&bitPadded != 0 {
		if len(p) < 1 {
			s.fail(ev, ErrFrameSize, &faultFrameSize)
			return
		}
		padding = int(p[0])
		p = p[1:]
	}
	if f.bits&bitPriority != 0 {
		if len(p) < 5 {
			s.fail(ev, ErrFrameSize, &faultFrameSize)
			return
		}
		self = load32(p)&maxStreamID == f.id
		p = p[5:]
	}
	if padding > len(p) {
		s.fail(ev, ErrProtocol, &faultPadding)
		return
	}
	p = p[:len(p)-padding]
	s.blockEnd, s.blockSelf = f.bits&bitEndStream != 0, self
	if f.bits&bitEndHeaders != 0 {
		s.fields(p, ev)
		return
	}
	if len(p) == 0 {
		s.suspect(AbuseEmptyHeaders)
	}
	s.blockID = f.id
	s.keepBlock(p)
}

// continuation goes on with a field block (RFC 9113 section 6.10).
func (s *Session) continuation(p []byte, ev *Event) {
	last := s.frame.bits&bitEndHeaders != 0
	switch {
	case len(p) == 0:
		s.suspect(AbuseEmptyHeaders)
	case len(p) < shortFragment && !last:
		s.suspectOf(AbuseContinuation, shortPoints)
	default:
		s.suspect(AbuseContinuation)
	}
	if int(s.block)+len(p) > s.blockMax() {
		s.doomed = AbuseContinuation
		s.endCalmly(ev)
		return
	}
	s.keepBlock(p)
	if last {
		s.blockID = 0
		s.fields(s.held[:s.block], ev)
	}
}

// keepBlock puts p, which may lie behind it in held already, at the end of the
// unfinished block.
func (s *Session) keepBlock(p []byte) {
	if len(s.held) > int(s.block) {
		n := copy(s.held[s.block:], p)
		s.held = s.held[:int(s.block)+n]
	} else {
		s.hold(p)
	}
	s.block = uint32(len(s.held))
}

// fields acts on a complete field block. Whatever becomes of its stream, it is
// decoded: the table has to follow (RFC 9113 section 4.3).
func (s *Session) fields(block []byte, ev *Event) {
	id := s.frame.id
	i := s.byID.Get(id)
	var st *Stream
	mode := sectionDiscard
	refused := false
	if i != 0 {
		st = s.streams.At(i)
		mode = s.modeOf(st)
	} else if s.role == Server && id > s.maxID { // section 5.1.1: the lower ones are closed now
		s.maxID = id
		if refused = id > s.goAwayID || s.active >= int(s.cfg.MaxStreams); !refused {
			mode = sectionRequest
		}
	}
	if !s.decode(block, mode) {
		s.fail(ev, ErrCompression, proto.RequestFault(proto.FaultCompression))
		return
	}
	x := &s.scratch.section
	switch {
	case refused:
		s.suspect(AbuseRefused) // section 5.1.2
		s.appendReset(id, ErrRefusedStream)
	case i == 0 && mode == sectionDiscard:
		s.absent(id, ev)
	case s.blockSelf:
		s.streamError(i, id, ErrProtocol, &faultSelf, ev)
	case mode == sectionRequest:
		s.request(id, x, ev)
	case st.flags&streamPeerEnded != 0:
		s.streamError(i, id, ErrStreamClosed, &faultStreamClosed, ev)
	case mode == sectionResponse:
		s.response(i, st, x, ev)
	default:
		s.trailers(i, st, x, ev)
	}
}

// modeOf says what a field section on an open stream is.
func (s *Session) modeOf(st *Stream) sectionMode {
	switch {
	case st.flags&(streamPeerEnded|streamTunnel) != 0:
		return sectionDiscard
	case s.role == Client && st.flags&streamHead == 0:
		return sectionResponse
	}
	return sectionTrailers
}

// decode reads a block into the Scratch's section; false is an error of the
// connection.
func (s *Session) decode(block []byte, mode sectionMode) bool {
	if s.decoder == nil {
		s.decoder = &decoder{max: defaultTable}
	}
	whole := len(block)
	block, ok := s.tableUpdates(block)
	if !ok {
		return false
	}
	updated := len(block) < whole
	if !updated && s.again(block, mode) {
		return true
	}
	x := &s.scratch.section
	x.begin(mode, s.cfg)
	err := s.decoder.decode(block, x)
	s.watchTable()
	if x.over != nil {
		s.suspectOf(AbuseHeadTooLarge, abuses[AbuseHeadTooLarge].points+uint32(x.unwanted/unwantedFree))
	}
	if err != nil {
		return false
	}
	s.keep(block, mode, updated)
	return true
}

func (s *Session) request(id uint32, x *section, ev *Event) {
	h := &x.head
	if x.ended {
		h.Buf = x.buf // it came again
	} else if fault := x.endRequest(s.cfg, s.blockEnd); fault != nil {
		s.streamError(0, id, ErrProtocol, fault, ev)
		return
	} else if x.kept {
		s.keepEnded(x)
	}
	i, st := s.open(id, 0)
	st.remaining = h.Length
	if h.Method == proto.CONNECT {
		st.flags |= streamTunnel
	}
	s.firstPriority(st, x.priority())
	ev.Kind, ev.Stream, ev.ID, ev.Fault = EventHead, i, id, x.over
	if s.blockEnd {
		s.peerEnds(i, st, ev)
	}
}

func (s *Session) response(i uint32, st *Stream, x *section, ev *Event) {
	fault := x.endResponse(st, s.blockEnd)
	if x.over != nil {
		s.streamError(i, st.ID, ErrEnhanceYourCalm, x.over, ev)
		return
	}
	if fault != nil {
		s.streamError(i, st.ID, ErrProtocol, fault, ev)
		return
	}
	h := &x.head
	ev.Kind, ev.Stream, ev.User, ev.ID = EventHead, i, st.User, st.ID
	if h.Status < 200 {
		return
	}
	st.flags |= streamHead
	st.remaining = h.Length
	switch {
	case h.Body == proto.BodyNone:
		st.flags |= streamNoContent
	case st.flags&streamCONNECT != 0 && h.Status/100 == 2:
		st.flags |= streamTunnel
	}
	if s.blockEnd {
		s.peerEnds(i, st, ev)
	}
}

func (s *Session) trailers(i uint32, st *Stream, x *section, ev *Event) {
	fault := x.endTrailers()
	switch {
	case st.flags&streamTunnel != 0: // RFC 9113 section 8.5
		fault = &faultTunnel
	case !s.blockEnd: // section 8.1
		fault = &faultSecondHead
	case fault == nil && st.remaining > 0:
		fault = proto.RequestFault(proto.FaultLengthDiffers)
	case fault == nil && x.over != nil:
		fault = x.over
	}
	if fault != nil {
		s.streamError(i, st.ID, ErrProtocol, fault, ev)
		return
	}
	ev.Kind, ev.Stream, ev.User, ev.ID = EventTrailers, i, st.User, st.ID
	s.peerEnds(i, st, ev)
}
