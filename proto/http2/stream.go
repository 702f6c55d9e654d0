package http2

import "zproxy/internal/slab"

// Stream is the session's knowledge of one stream. ID and User are for the
// owner to read, User also to write; the rest is the session's. It holds no
// pointers.
type Stream struct {
	ID   uint32 // stream identifier; 0: of a Client, not sent yet
	User uint32 // the owner's

	next, prev           uint32 // of the session's streams, as they were opened
	readyNext, readyPrev uint32 // of a queue of the scheduler, a ring

	remaining  int64 // content the peer still owes by its content-length, -1: it gave none
	recvWindow int32 // what the peer may send
	recvTarget int32 // what recvWindow is brought back to, see flow.go
	recvHeld   int32 // what was lent and not given back
	sendWindow int32
	creditedMs uint32 // when the window was last opened, or the stream

	flags   streamFlags
	queue   uint8 // of the scheduler, plus one; 0: in none
	urgency uint8 // RFC 9218 section 4.1
}

type streamFlags uint16

const (
	streamPeerEnded   streamFlags = 1 << iota // END_STREAM came
	streamLocalEnded                          // END_STREAM was sent
	streamBegun                               // Server: the final response was begun
	streamHead                                // Client: the final response head came
	streamNoContent                           // no DATA may come: responses to HEAD, 204, 304
	streamHEAD                                // Client: the request is a HEAD
	streamCONNECT                             // Client: the request is a CONNECT
	streamTunnel                              // a CONNECT, and accepted: DATA is all there is
	streamParked                              // has DATA waiting for its window
	streamHeavy                               // its owner has come to hold half a window
	streamIncremental                         // is served in turns (RFC 9218 section 4.2)
)

// Streams is the table of streams of one worker, shared by its sessions.
type Streams = slab.Slab[Stream]

const defaultUrgency = 3

// resetsMax is how many streams reset here are remembered one by one.
const resetsMax = 16

// open makes the entry of a stream and puts it last.
func (s *Session) open(id, user uint32) (uint32, *Stream) {
	i, st := s.streams.Alloc()
	window := int32(s.firstWindow())
	// Field by field: a literal is built and then copied in wider words than it
	// was stored in, which waits for the stores.
	st.ID, st.User, st.prev, st.remaining, st.urgency = id, user, s.last, -1, defaultUrgency
	st.recvWindow, st.recvTarget = window, int32(s.firstTarget)
	st.sendWindow, st.creditedMs = int32(s.peerWindow), s.nowMs()
	if s.last != 0 {
		s.streams.At(s.last).next = i
	} else {
		s.first = i
	}
	s.last = i
	s.active++
	if id != 0 {
		s.byID.Put(id, i)
	} else {
		s.unsent++
	}
	return i, st
}

// free takes the entry out of every list and gives it back.
func (s *Session) free(i uint32) {
	st := s.streams.At(i)
	s.unready(i, st)
	if st.prev != 0 {
		s.streams.At(st.prev).next = st.next
	} else {
		s.first = st.next
	}
	if st.next != 0 {
		s.streams.At(st.next).prev = st.prev
	} else {
		s.last = st.prev
	}
	if st.ID != 0 {
		s.byID.Delete(st.ID)
	} else {
		s.unsent--
	}
	if s.data == i {
		s.skipData()
	}
	s.active--
	s.streams.Free(i)
}

// peerEnds notes that the peer has ended its direction, and whether that was
// the end of the stream.
func (s *Session) peerEnds(i uint32, st *Stream, ev *Event) {
	ev.End = true
	st.flags |= streamPeerEnded
	if st.flags&streamLocalEnded != 0 {
		ev.Freed = true
		s.free(i)
	}
}

// localEnds is peerEnds for this side.
func (s *Session) localEnds(i uint32, st *Stream) {
	st.flags |= streamLocalEnded
	s.unready(i, st)
	if st.flags&streamPeerEnded != 0 {
		s.free(i)
	}
}

// Active is the number of open streams.
func (s *Session) Active() int { return s.active }

// Find gives the stream with an identifier, 0 when it is not open.
func (s *Session) Find(id uint32) uint32 { return s.byID.Get(id) }

// First is the stream opened longest ago, 0 without one; After goes on from
// stream. A stream may be reset between the two when After was called before.
func (s *Session) First() uint32 { return s.first }

// After is the stream opened after the given one, 0 when it is the last.
func (s *Session) After(stream uint32) uint32 { return s.streams.At(stream).next }

// neverOpened reports an identifier of a stream in state idle (RFC 9113 section
// 5.1). Nobody pushes, so even ones stay there.
func (s *Session) neverOpened(id uint32) bool { return id&1 == 0 || id > s.maxID }

// resetHere remembers that the peer may go on with a stream for a while.
func (s *Session) resetHere(id uint32) {
	at := s.resetNext % resetsMax
	s.resetsDropped = max(s.resetsDropped, s.resets[at])
	s.resets[at] = id
	s.resetNext = at + 1
}

// mayBeOnItsWay reports that frames for a closed stream are to be ignored,
// because this side reset it and the peer need not have known (RFC 9113
// section 5.1). Which of the older ones it was is not known any more.
func (s *Session) mayBeOnItsWay(id uint32) bool {
	if id <= s.resetsDropped {
		return true
	}
	for _, r := range s.resets {
		if r == id {
			return true
		}
	}
	return false
}
