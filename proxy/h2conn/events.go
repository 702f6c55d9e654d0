package h2conn

import (
	"golang.org/x/sys/unix"

	"zproxy/buf"
	"zproxy/proto/http2"
)

type EventKind uint8

const (
	Frame         EventKind = iota + 1 // something has come: frame says what, data is lent
	Connected                          // the connection to an origin is open, or failed with errno
	Stalled                            // it is of no more use, for what stall says: the owner ends it
	Left                               // an origin's takes no new streams any more
	Room                               // streams to an origin may have ended
	Discarded                          // n bytes came behind its end
	Lingers                            // the owner is to say until when
	Gone                               // its connection is closed
	StreamLost                         // it has no part in a session any more, for why
	StreamDrained                      // n bytes of it have left
	StreamExpired                      // its deadline has passed
)

// Stall is why a session is of no more use.
type Stall uint8

const (
	StallConnect  Stall = iota // it was not connected, or greeted, in time
	StallGreeting              // the origin broke off before it had greeted
	StallTake                  // the peer does not take its frames in time
	StallMemory                // there is no memory for what it sends, or is to be sent
	StallHead                  // a head or a frame is not whole in time
	StallHeld                  // it holds what others wait for
)

// Event is what a session or one of its streams has come to.
type Event struct {
	Kind    EventKind
	Stall   Stall
	Session *Session
	Stream  uint32
	N       uint32
	Errno   unix.Errno
	Why     string
	Frame   *http2.Event
	Data    buf.View
}

// tell has next give ev.
func (ss *Sessions) tell(ev Event) { ss.told = append(ss.told, ev) }

func (ss *Sessions) stalls(se *Session, of Stall) {
	ss.tell(Event{Kind: Stalled, Session: se, Stall: of})
}

// Next is the next event, nil: there is none. It is good until next is called again, which
// takes what is lent. What the owner does about one may make more.
func (ss *Sessions) Next() *Event {
	switch {
	case ss.toldAt < len(ss.told):
		ss.pulled = ss.told[ss.toldAt]
		if ss.toldAt++; ss.toldAt == len(ss.told) {
			clear(ss.told)
			ss.told, ss.toldAt = ss.told[:0], 0
		}
	case ss.reading.se != nil && ss.readOn():
	case ss.toldAt < len(ss.told): // what the end of a block has come to
		return ss.Next()
	case ss.flushes.on && ss.flushOn():
	default:
		return nil
	}
	return &ss.pulled
}

// reading is how far a received block has been read.
type reading struct {
	se    *Session // nil: none is being read
	v     buf.View
	b     []byte
	off   int
	now   int64
	frame http2.Event
}

// Received takes bytes of a session: v's reference with them. They are read as events are
// pulled.
func (ss *Sessions) Received(se *Session, v buf.View) {
	now := ss.l.Now()
	se.cameMs = uint32(now / 1e6)
	r := &ss.reading
	r.se, r.v, r.b, r.off, r.now = se, v, ss.pool.Bytes(v), 0, now
}

// ReadsClient says that the block of a client is being read.
func (ss *Sessions) ReadsClient() bool {
	return ss.reading.se != nil && ss.reading.se.Role == http2.Server
}

// readOn reads on in the received block to the next event. False: it is at its end.
func (ss *Sessions) readOn() bool {
	r := &ss.reading
	se := r.se
	if se.state < sessionFlush {
		n := se.H2.Next(r.b[r.off:], r.now, &r.frame)
		if r.frame.Kind != http2.EventNone {
			ss.pulled = Event{Kind: Frame, Session: se, Frame: &r.frame}
			if r.frame.Kind == http2.EventData && r.frame.N > 0 {
				ss.pulled.Data = r.v.Slice(uint32(r.off+r.frame.Off), uint32(r.frame.N))
			}
			r.off += n
			return true
		}
	}
	r.se, r.b = nil, nil
	if se.state == sessionFlush && se.Role == http2.Server {
		ss.lingerReceived(se, r.v.Len)
	}
	ss.pool.Release(r.v)
	ss.markDirty(se)
	return false
}
