package http2

// Open reserves a stream for a request of the owner's user; AppendHead gives it
// its identifier. It fails when Capacity is 0. Before EventSettings a Client
// may open streams on trust (RFC 9113 section 3.4); the origin may refuse them.
func (s *Session) Open(user uint32) (stream uint32, ok bool) {
	if s.Capacity() == 0 {
		return 0, false
	}
	stream, _ = s.open(0, user)
	return stream, true
}

// Capacity is how many more Open may succeed now: 0 when either side goes away
// or the identifiers are used up.
func (s *Session) Capacity() int {
	if s.role == Server || s.flags&(flagClosed|flagGoAway|flagFinal) != 0 {
		return 0
	}
	limit := min(int64(s.peerStreams), int64(s.cfg.MaxStreams)) - int64(s.active)
	ids := int64(maxStreamID+1-s.maxID)/2 - int64(s.unsent)
	return int(max(0, min(limit, ids)))
}

// identify gives a stream of a Client the next identifier (RFC 9113 section
// 5.1.1), and notes what its method means for the response.
func (s *Session) identify(i uint32, st *Stream, block []byte) {
	s.maxID += 1 + s.maxID&1
	st.ID = s.maxID
	s.unsent--
	s.byID.Put(st.ID, i)
	switch blockMethod(block) {
	case "HEAD":
		st.flags |= streamHEAD
	case "CONNECT":
		st.flags |= streamCONNECT
	}
}

// AppendHead appends HEADERS, and CONTINUATION where needed, with a block from
// AppendRequestBlock, AppendResponseBlock or AppendTrailerBlock. It grows dst by
// at most HeadBound(len(block)). With end the stream's direction is over.
func (s *Session) AppendHead(dst []byte, stream uint32, block []byte, end bool) []byte {
	st := s.streams.At(stream)
	if st.ID == 0 {
		s.identify(stream, st, block)
	} else if s.role == Server && !interimBlock(block) {
		st.flags |= streamBegun
		s.cuts = min(s.cuts+1, cutsMax)
	}
	s.earn()
	s.allowPing()
	left := len(block)
	update := s.flags&flagTableUpdate == 0
	if update { // RFC 7541 section 4.2: an encoder without a table says so once
		s.flags |= flagTableUpdate
		left++
	}
	var bits uint8
	if end {
		bits = bitEndStream
	}
	for kind := uint8(frameHeaders); ; kind, bits = frameContinuation, 0 {
		n := min(left, int(s.peerFrame))
		left -= n
		if left == 0 {
			bits |= bitEndHeaders
		}
		dst = appendFrameHeader(dst, n, kind, bits, st.ID)
		if update {
			update = false
			dst = append(dst, tableUpdate)
			n--
		}
		dst = append(dst, block[:n]...)
		block = block[n:]
		if left == 0 {
			break
		}
	}
	if end {
		s.localEnds(stream, st)
	}
	return dst
}

// HeadBound is the most AppendHead adds for a block of n bytes: every peer takes
// frames of 16384 bytes.
func HeadBound(n int) int { return n + 1 + FrameHeaderLen*(1+n/minMaxFrame) }
