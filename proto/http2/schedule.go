package http2

import "math/bits"

// The order in which streams send (RFC 9218 section 10).
//
// Streams with nothing but an end to send go first: they cost nine bytes and
// set something free. Then the lowest urgency goes first. Within one, streams
// that are not incremental go in the order of their identifiers, one until it
// has nothing left; incremental ones take turns; and the two kinds take turns
// with each other.
//
// A peer that has never said anything about priorities, by a field, a frame or a
// setting, did not mean "one after the other" by that: its streams take turns.
//
// A stream that is found without window is parked, outside of the queues, until
// a WINDOW_UPDATE or SETTINGS opens it: it holds up nobody and costs nothing.
//
// Each queue is a ring of streams; queues has the first of each.
const (
	queueOrdered     = 0 // plus the urgency
	queueIncremental = 8 // plus the urgency
	queueEnds        = 16
	queueCount       = 17
)

// Ready says that stream has something to send: bytes of DATA, or with endOnly
// nothing that a window could hold up (an END, trailers). Calling it again only
// changes endOnly.
func (s *Session) Ready(stream uint32, endOnly bool) {
	st := s.streams.At(stream)
	if endOnly {
		if st.queue == queueEnds+1 {
			return
		}
		s.unready(stream, st)
		s.enqueue(stream, st, queueEnds)
		return
	}
	if st.flags&streamParked != 0 || st.queue != 0 && st.queue != queueEnds+1 {
		return
	}
	s.unready(stream, st)
	s.enqueue(stream, st, s.queueOf(st))
}

// Unready says that stream has nothing to send for now.
func (s *Session) Unready(stream uint32) { s.unready(stream, s.streams.At(stream)) }

func (s *Session) unready(i uint32, st *Stream) {
	if st.flags&streamParked != 0 {
		st.flags &^= streamParked
		s.parked--
	} else if st.queue != 0 {
		s.dequeue(i, st)
	}
}

func (s *Session) queueOf(st *Stream) uint8 {
	if st.flags&streamIncremental != 0 || s.flags&flagPriorities == 0 {
		return queueIncremental + st.urgency
	}
	return queueOrdered + st.urgency
}

// NextReady is the stream whose turn it is to send, which has window left; each
// call moves on. The rule is in schedule.go. ok is false when none can.
func (s *Session) NextReady() (stream uint32, ok bool) {
	if i := s.queues[queueEnds]; i != 0 {
		s.queues[queueEnds] = s.streams.At(i).readyNext
		return i, true
	}
	for s.waiting != 0 && s.sendWindow > 0 {
		urgency := uint8(bits.TrailingZeros16(s.waiting | s.waiting>>8))
		q := urgency + queueOrdered
		if i := urgency + queueIncremental; s.queues[q] == 0 || s.queues[i] != 0 && s.turn != queueIncremental {
			q = i
		}
		i := s.queues[q]
		st := s.streams.At(i)
		if st.sendWindow <= 0 {
			s.dequeue(i, st)
			st.flags |= streamParked
			s.parked++
			continue
		}
		s.turn = queueOrdered
		if q >= queueIncremental {
			s.turn = queueIncremental
			s.queues[q] = st.readyNext
		}
		return i, true
	}
	return 0, false
}

// Stalled is the number of streams that have DATA waiting for a window: a peer
// that opens none for long is to be given up.
func (s *Session) Stalled() int {
	if s.sendWindow <= 0 {
		return s.parked + s.queued
	}
	return s.parked
}

// StalledStream reports whether stream is one of them.
func (s *Session) StalledStream(stream uint32) bool {
	st := s.streams.At(stream)
	waits := st.queue != 0 && st.queue != queueEnds+1 && (s.sendWindow <= 0 || st.sendWindow <= 0)
	return waits || st.flags&streamParked != 0
}

// unpark puts a stream whose window was opened back.
func (s *Session) unpark(i uint32, st *Stream) {
	if st.flags&streamParked != 0 && st.sendWindow > 0 {
		st.flags &^= streamParked
		s.parked--
		s.enqueue(i, st, s.queueOf(st))
	}
}

// enqueue puts stream i last in a queue, or where its identifier belongs.
func (s *Session) enqueue(i uint32, st *Stream, q uint8) {
	st.queue = q + 1
	if q != queueEnds {
		s.queued++
		s.waiting |= 1 << q
	}
	head := s.queues[q]
	if head == 0 {
		s.queues[q] = i
		st.readyNext, st.readyPrev = i, i
		return
	}
	next := head // the stream to stand in front of
	if q < queueIncremental {
		for {
			prev := s.streams.At(next).readyPrev
			if s.streams.At(prev).ID < st.ID {
				break
			}
			next = prev
			if next == head {
				s.queues[q] = i
				break
			}
		}
	}
	after := s.streams.At(next)
	st.readyNext, st.readyPrev = next, after.readyPrev
	s.streams.At(after.readyPrev).readyNext = i
	after.readyPrev = i
}

func (s *Session) dequeue(i uint32, st *Stream) {
	q := st.queue - 1
	st.queue = 0
	if q != queueEnds {
		s.queued--
	}
	if st.readyNext == i {
		s.queues[q] = 0
		if q != queueEnds {
			s.waiting &^= 1 << q
		}
		return
	}
	s.streams.At(st.readyPrev).readyNext = st.readyNext
	s.streams.At(st.readyNext).readyPrev = st.readyPrev
	if s.queues[q] == i {
		s.queues[q] = st.readyNext
	}
}

// earlyMax is how many priorities of streams that are not open yet are kept.
const earlyMax = 4

type earlyPriority struct {
	id          uint32
	urgency     uint8
	incremental bool
}

// Prioritize sets the priority of a stream from the value of a priority field,
// such as an origin's that knows better (RFC 9218 section 8). What the value
// does not say stays.
func (s *Session) Prioritize(stream uint32, field []byte) {
	st := s.streams.At(stream)
	urgency, incremental := parsePriority(field, st.urgency, st.flags&streamIncremental != 0)
	s.reprioritize(stream, st, urgency, incremental)
}

func (s *Session) reprioritize(i uint32, st *Stream, urgency uint8, incremental bool) {
	st.prioritize(urgency, incremental)
	if st.queue != 0 && st.queue != queueEnds+1 && st.queue != s.queueOf(st)+1 {
		s.dequeue(i, st)
		s.enqueue(i, st, s.queueOf(st))
	}
}

func (st *Stream) prioritize(urgency uint8, incremental bool) {
	st.urgency = urgency
	st.flags &^= streamIncremental
	if incremental {
		st.flags |= streamIncremental
	}
}

// priority is the frame of RFC 7540, which nobody acts on any more (RFC 9113
// section 5.3.2).
func (s *Session) priority(p []byte, ev *Event) {
	s.suspect(AbusePriority)
	if id := s.frame.id; load32(p)&maxStreamID == id { // RFC 7540 section 5.3.1
		if i := s.byID.Get(id); i != 0 {
			s.streamError(i, id, ErrProtocol, &faultSelf, ev)
		} else {
			s.fail(ev, ErrProtocol, &faultSelf)
		}
	}
}

// priorityUpdate is PRIORITY_UPDATE (RFC 9218 section 7.1), of clients only.
func (s *Session) priorityUpdate(p []byte, ev *Event) {
	id := load32(p) & maxStreamID
	if id == 0 || s.role == Client {
		s.fail(ev, ErrProtocol, &faultFrameStream)
		return
	}
	s.suspect(AbusePriority)
	s.flags |= flagPriorities
	urgency, incremental := parsePriority(p[4:], defaultUrgency, false)
	if i := s.byID.Get(id); i != 0 {
		s.reprioritize(i, s.streams.At(i), urgency, incremental)
	} else if s.neverOpened(id) {
		s.early[s.earlyNext%earlyMax] = earlyPriority{id, urgency, incremental}
		s.earlyNext++
	}
}

// firstPriority gives a new stream the priority that came before it, which is
// newer than the field of its head, or else that of the field.
func (s *Session) firstPriority(st *Stream, field []byte) {
	if field != nil {
		s.flags |= flagPriorities
		st.prioritize(parsePriority(field, st.urgency, st.flags&streamIncremental != 0))
	}
	for k := range earlyMax { // the last one counts
		if e := &s.early[(int(s.earlyNext)+k)%earlyMax]; e.id == st.ID {
			st.prioritize(e.urgency, e.incremental)
		}
	}
}
