package http2

// Open reserves a stream for a request of the owner's user; AppendHead gives it
// its identifier. It fails when Capacity is 0. Before EventSettings a Client
// may open streams on trust (RFC 9113 section 3.4); the origin may refuse them.
func (s *Session) Open(user uint32) (stream uint32, ok bool) { return 0, false }

// Capacity is how many more Open may succeed now: 0 when the peer goes away.
func (s *Session) Capacity() int { return 0 }

// AppendHead appends HEADERS, and CONTINUATION where needed, with a block from
// AppendRequestBlock, AppendResponseBlock or AppendTrailerBlock. It grows dst by
// at most HeadBound(len(block)). With end the stream's direction is over.
func (s *Session) AppendHead(dst []byte, stream uint32, block []byte, end bool) []byte { return dst }

// HeadBound is the most AppendHead adds for a block of n bytes: every peer takes
// frames of 16384 bytes.
func HeadBound(n int) int { return n + 1 + FrameHeaderLen*(1+n/minMaxFrame) }

const minMaxFrame = 16384

// Sendable is how many bytes of DATA may be sent on stream now, 0 when a window
// is closed.
func (s *Session) Sendable(stream uint32) int { return 0 }

// MaxFrame is the longest frame the peer takes.
func (s *Session) MaxFrame() int { return minMaxFrame }

// AppendDataHeader appends the 9 bytes in front of n bytes of DATA, which the
// owner sends behind it; n is at most MaxFrame and Sendable, and may be 0 with end.
func (s *Session) AppendDataHeader(dst []byte, stream uint32, n int, end bool) []byte { return dst }

// Consumed says that n bytes lent by EventData are done with; stream is 0 when
// it is not open any more.
func (s *Session) Consumed(stream uint32, n int) {}

// SetPressure says how short of memory the process is, 0 to 3: see flow.go for
// what becomes of the windows.
func (s *Session) SetPressure(level int) {}

// Reset ends a stream with RST_STREAM and frees it. A Client's stream that was
// never sent is only freed.
func (s *Session) Reset(stream uint32, code ErrCode) {}

// Shutdown queues a GOAWAY: first without final, which asks the peer to open no
// more streams but still takes those on their way, and a round trip later with
// final, after which new streams are refused. Open streams go on either way.
func (s *Session) Shutdown(final bool) {}
