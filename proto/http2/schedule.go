package http2

// Ready says that stream has something to send: bytes of DATA, or with endOnly
// nothing that a window could hold up (an END, trailers). Calling it again only
// changes endOnly.
func (s *Session) Ready(stream uint32, endOnly bool) {}

// Unready says that stream has nothing to send for now.
func (s *Session) Unready(stream uint32) {}

// NextReady is the stream whose turn it is to send, which has window left; each
// call moves on. The rule is in schedule.go. ok is false when none can.
func (s *Session) NextReady() (stream uint32, ok bool) { return 0, false }

// Stalled is the number of streams that have DATA waiting for a window of their
// own: a peer that opens none for long is to be given up.
func (s *Session) Stalled() int { return 0 }

// StalledStream reports whether stream is one of them.
func (s *Session) StalledStream(stream uint32) bool { return false }
