package ws

// Opcode is what a frame is (RFC 6455 section 5.2).
type Opcode uint8

// The opcodes there are.
const (
	Continuation Opcode = 0x0
	Text         Opcode = 0x1
	Binary       Opcode = 0x2
	Close        Opcode = 0x8
	Ping         Opcode = 0x9
	Pong         Opcode = 0xa
)

// Control tells control frames from those that carry messages.
func (o Opcode) Control() bool { return o&0x8 != 0 }

const (
	bitFin      = 0x80
	bitsRSV     = 0x70
	bitRSV1     = 0x40
	bitMask     = 0x80
	lengthBits  = 0x7f
	length16    = 126
	length64    = 127
	controlMax  = 125
	headerMax   = 14
	headerCheck = 2 // bytes that say all but lengths above 125 and the mask
	firstMax    = 8 // bytes in Frame.First
)

// Extensions says what the handshake has agreed on.
type Extensions uint8

const (
	// Deflate is permessage-deflate (RFC 7692): RSV1 on the first frame of a
	// message says that its payload is compressed.
	Deflate Extensions = 1 << iota
	// Unknown are extensions this package does not know: reserved bits and
	// opcodes may mean anything, and so may the payload of a text message.
	Unknown
)

// Limits bound what one endpoint may send; 0: no limit. Bytes are those on the
// wire, compressed or not.
type Limits struct {
	FrameBytes, MessageBytes uint64
}

// Frame is a frame that has ended.
type Frame struct {
	Size   uint64 // payload bytes
	First  uint64 // control frames: up to eight bytes of payload, unmasked, the first one lowest
	Code   uint16 // Close: its code, CloseNoStatus without one
	Opcode Opcode
}

type phase uint8

const (
	inHeader phase = iota
	inPayload
	afterClose
)

const (
	flagClient  = 1 << iota // the sender is a client
	flagFin                 // the present frame ends its message
	flagMessage             // a message has begun
	flagText                // its payload is checked to be UTF-8
)

// Scanner follows what one endpoint sends. Start it before use.
type Scanner struct {
	size    uint64          // payload bytes of the present frame
	left    uint64          // of those, not seen yet
	message uint64          // payload bytes of the message's frames before and with this one
	mask    uint32          // of the next payload byte lowest
	head    [headerMax]byte // of a header that is not complete; then the first bytes of a control frame's payload, unmasked
	headLen uint8           // bytes of the present header that were seen
	opcode  Opcode
	phase   phase
	utf8    uint8 // of the text message, or of the close reason
	flags   uint8
	ext     Extensions
}

// Start readies s for the frames of a client (which masks them) or a server.
func (s *Scanner) Start(client bool, ext Extensions) {
	*s = Scanner{ext: ext}
	if client {
		s.flags = flagClient
	}
}

// Pending is how many of the last bytes given to Next belong to something that
// is not complete: a header or a control frame. Whoever passes frames on holds
// these back until it is.
func (s *Scanner) Pending() int {
	switch {
	case s.phase == inHeader:
		return int(s.headLen)
	case s.phase == inPayload && s.opcode.Control():
		return int(s.headLen) + int(s.size-s.left)
	}
	return 0
}

// Inside tells whether the bytes before the next one end in the middle of a
// frame of a message, behind its header.
func (s *Scanner) Inside() bool { return s.phase == inPayload && !s.opcode.Control() }

// Closed tells whether a Close frame was seen: nothing may follow it, and
// whatever does is skipped.
func (s *Scanner) Closed() bool { return s.phase == afterClose }

// Next reads b up to the end of a frame: done says that one has ended and f is
// it, n is how many bytes that took. Otherwise all of b was read. After a
// fault s and n mean nothing.
func (s *Scanner) Next(b []byte, lim *Limits, f *Frame) (n int, done bool, fault *Fault) {
	if s.phase == afterClose {
		return len(b), false, nil
	}
	if s.phase == inHeader {
		if n, fault = s.header(b, lim); s.phase == inHeader {
			return n, false, fault
		}
	}
	if s.left > 0 {
		m := int(min(uint64(len(b)-n), s.left))
		if fault = s.payload(b[n : n+m]); fault != nil {
			return 0, false, fault
		}
		n += m
		if s.left > 0 {
			return n, false, nil
		}
	}
	if fault = s.end(f); fault != nil {
		return 0, false, fault
	}
	return n, true, nil
}

// header reads as much of a header as b has; the phase says whether it was all.
func (s *Scanner) header(b []byte, lim *Limits) (n int, fault *Fault) {
	if s.headLen == 0 {
		// The common case: the header is parsed where it lies.
		n, fault = s.parse(b, lim)
		if n > 0 || fault != nil {
			s.headLen = uint8(n)
			return n, fault
		}
	}
	have := int(s.headLen)
	n = copy(s.head[have:], b)
	size, fault := s.parse(s.head[:have+n], lim)
	if fault != nil {
		return 0, fault
	}
	if size == 0 {
		s.headLen += uint8(n)
		return n, nil
	}
	s.headLen = uint8(size)
	return size - have, nil
}

// parse reads the header b begins with (RFC 6455 section 5.2) and gives its
// length, 0 while it is not complete.
func (s *Scanner) parse(b []byte, lim *Limits) (n int, fault *Fault) {
	if len(b) < headerCheck {
		return 0, nil
	}
	if fault := s.check(b[0], b[1]); fault != nil {
		return 0, fault
	}
	size, n := uint64(b[1]&lengthBits), headerCheck
	switch size {
	case length16:
		if n += 2; len(b) < n {
			return 0, nil
		}
		size = uint64(b[2])<<8 | uint64(b[3])
		if size < length16 {
			return 0, &faults[FaultLengthEncoding]
		}
	case length64:
		if n += 8; len(b) < n {
			return 0, nil
		}
		size = uint64(b[2])<<56 | uint64(b[3])<<48 | uint64(b[4])<<40 | uint64(b[5])<<32 |
			uint64(b[6])<<24 | uint64(b[7])<<16 | uint64(b[8])<<8 | uint64(b[9])
		if size>>63 != 0 {
			return 0, &faults[FaultLengthRange]
		}
		if size <= 1<<16-1 {
			return 0, &faults[FaultLengthEncoding]
		}
	}
	if fault := s.measure(Opcode(b[0]&0x0f), size, lim); fault != nil {
		return 0, fault
	}
	s.mask = 0
	if s.flags&flagClient != 0 {
		if n += 4; len(b) < n {
			return 0, nil
		}
		m := b[n-4 : n]
		s.mask = uint32(m[0]) | uint32(m[1])<<8 | uint32(m[2])<<16 | uint32(m[3])<<24
	}
	s.begin(b[0], size)
	return n, nil
}

// check looks at the first two bytes of a header.
func (s *Scanner) check(b0, b1 byte) *Fault {
	op := Opcode(b0 & 0x0f)
	if rsv := b0 & bitsRSV; rsv != 0 && s.ext&Unknown == 0 {
		// RFC 7692 section 6: RSV1 is on the first frame of a message only.
		if rsv != bitRSV1 || s.ext&Deflate == 0 || op == Continuation || op.Control() {
			return &faults[FaultReserved]
		}
	}
	switch {
	case op > Pong, op > Binary && op < Close && s.ext&Unknown == 0:
		return &faults[FaultOpcode]
	case (b1&bitMask != 0) != (s.flags&flagClient != 0): // section 5.1
		if b1&bitMask != 0 {
			return &faults[FaultMasked]
		}
		return &faults[FaultUnmasked]
	case op.Control(): // section 5.5
		switch {
		case b0&bitFin == 0:
			return &faults[FaultControlFragment]
		case b1&lengthBits > controlMax:
			return &faults[FaultControlLength]
		case op == Close && b1&lengthBits == 1: // section 5.5.1
			return &faults[FaultCloseLength]
		}
	case op == Continuation && s.flags&flagMessage == 0: // section 5.4
		return &faults[FaultContinuation]
	case op != Continuation && s.flags&flagMessage != 0:
		return &faults[FaultInterleaved]
	}
	return nil
}

// measure holds a frame of a message to the limits.
func (s *Scanner) measure(op Opcode, size uint64, lim *Limits) *Fault {
	if op.Control() {
		return nil
	}
	if lim.FrameBytes > 0 && size > lim.FrameBytes {
		return &faults[FaultFrameSize]
	}
	before := s.message
	if op != Continuation {
		before = 0
	}
	// Both are below 1<<63, but a message may go on for ever.
	if before+size < before || lim.MessageBytes > 0 && before+size > lim.MessageBytes {
		return &faults[FaultMessageSize]
	}
	return nil
}

// begin takes note of a header that is complete and in order.
func (s *Scanner) begin(b0 byte, size uint64) {
	op := Opcode(b0 & 0x0f)
	s.phase, s.opcode, s.size, s.left = inPayload, op, size, size
	if op == Close {
		s.utf8 = whole // the text it interrupts will not go on
	}
	if op.Control() {
		clear(s.head[:firstMax])
		return
	}
	s.flags &^= flagFin
	if b0&bitFin != 0 {
		s.flags |= flagFin
	}
	if op == Continuation {
		s.message += size
		return
	}
	s.message = size
	s.flags = s.flags&^flagText | flagMessage
	if op == Text && b0&bitRSV1 == 0 && s.ext&Unknown == 0 {
		s.flags |= flagText
		s.utf8 = whole
	}
}

// payload reads payload bytes of the present frame.
func (s *Scanner) payload(b []byte) *Fault {
	at := s.size - s.left
	s.left -= uint64(len(b))
	switch {
	case s.opcode.Control():
		for i, c := range b {
			if k := at + uint64(i); k < firstMax {
				s.head[k] = c ^ byte(s.mask>>(i&3*8))
			}
		}
		if s.opcode == Close {
			return s.closing(b, at)
		}
	case s.flags&flagText != 0:
		if s.utf8 = checkUTF8(s.utf8, b, s.mask); s.utf8 == bad {
			return &faults[FaultText]
		}
	}
	s.turn(len(b))
	return nil
}

// closing reads payload bytes of a Close frame, from byte at on: a code of two
// bytes and a reason (section 5.5.1).
func (s *Scanner) closing(b []byte, at uint64) *Fault {
	code := int(min(uint64(len(b)), 2-min(at, 2)))
	s.turn(code)
	if at < 2 && at+uint64(code) == 2 && !sendable(s.code()) {
		return &faults[FaultCloseCode]
	}
	if s.utf8 = checkUTF8(s.utf8, b[code:], s.mask); s.utf8 == bad {
		return &faults[FaultCloseReason]
	}
	s.turn(len(b) - code)
	return nil
}

// turn rotates the mask by n payload bytes.
func (s *Scanner) turn(n int) {
	k := uint(n&3) * 8
	s.mask = s.mask>>k | s.mask<<(32-k)
}

// code is the close code in the first two bytes, in network order.
func (s *Scanner) code() uint16 { return uint16(s.head[0])<<8 | uint16(s.head[1]) }

// end is the end of the present frame.
func (s *Scanner) end(f *Frame) *Fault {
	*f = Frame{Size: s.size, Opcode: s.opcode}
	if s.opcode.Control() {
		for i, c := range s.head[:firstMax] {
			f.First |= uint64(c) << (8 * i)
		}
	}
	s.phase, s.headLen = inHeader, 0
	switch {
	case s.opcode == Close:
		if s.utf8 != whole {
			return &faults[FaultCloseReason]
		}
		f.Code = CloseNoStatus
		if s.size > 0 {
			f.Code = s.code()
		}
		s.phase = afterClose
	case s.opcode.Control():
	case s.flags&flagFin != 0:
		if s.flags&flagText != 0 && s.utf8 != whole { // section 8.1
			return &faults[FaultText]
		}
		s.flags &^= flagMessage
		s.message = 0
	}
	return nil
}
