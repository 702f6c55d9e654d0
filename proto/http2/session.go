package http2

import (
	"zproxy/internal/index"
	"zproxy/proto"
)

// Role is the end of the connection a session is.
type Role uint8

const (
	Server Role = iota // faces a client
	Client             // faces an origin
)

// Config is shared by the sessions of a listener or of an upstream, and not
// changed while they live. Take DefaultConfig and change what differs.
type Config struct {
	MaxStreams   uint32 // concurrent streams a client may open, or are opened at an origin that allows more
	StreamWindow uint32 // receive window a stream starts with, at most 1<<31-1
	ConnWindow   uint32 // receive window of the connection, 65535 to 1<<31-1
	HeadBytes    int    // field section as RFC 9113 section 6.5.2 counts it (name, value and 32 per field): 431
	Fields       int    // field lines: 431
	LineBytes    int    // request-target: 414
	HeaderTable  uint32 // HPACK table for decoding

	ConnectProtocol bool // Server: announce extended CONNECT (RFC 8441)

	// ScoreLimit is the abuse score at which a connection is closed, ScoreDecay
	// the points it loses in a second. See Abuse.
	ScoreLimit, ScoreDecay uint32
}

// DefaultConfig is what the proxy uses when nothing else is configured.
func DefaultConfig() Config {
	return Config{
		MaxStreams: 512, StreamWindow: 1 << 20, ConnWindow: 16 << 20,
		HeadBytes: 64 << 10, Fields: 200, LineBytes: 16 << 10, HeaderTable: 4096,
		ScoreLimit: 2000, ScoreDecay: 200,
	}
}

// EventKind says what Next found.
type EventKind uint8

const (
	EventNone     EventKind = iota // all of b was used, nothing to tell
	EventHead                      // Server: a new stream and its request; Client: a response head, also an interim one. See Session.Head
	EventData                      // b[Off:Off+N] is content of the stream; N is 0 when only the end came
	EventTrailers                  // the trailer section is in Session.Head; always with End
	EventReset                     // the stream is gone
	EventGoAway                    // the peer opens or takes no more streams; ID is the last one it takes
	EventClosed                    // connection error: Code, Fault, Cause. Send Output, close, Release
	EventSettings                  // the peer's first SETTINGS: Capacity, MaxFrame are known, streams may be opened for real
)

// Event is something the owner must know.
type Event struct {
	Kind        EventKind
	End         bool  // Head, Data, Trailers: the peer has ended its direction
	Freed       bool  // the entry is gone: Stream must not be used any more
	Local       bool  // Reset: found here (RST_STREAM is in Output), not sent by the peer
	Unprocessed bool  // Reset, Client: the origin did not process it: any method may be repeated
	Cause       Abuse // Closed with ErrEnhanceYourCalm: what took the score over the limit

	Code   ErrCode
	Stream uint32       // 0: the connection, or a request refused before the owner heard of it
	User   uint32       // Stream.User
	ID     uint32       // stream identifier
	Off, N int          // Data
	Fault  *proto.Fault // Head: a section over the limits, to be answered; Reset when Local, Closed: why
}

// Session is one end of one HTTP/2 connection. The zero value is ready for
// Start, and so is one after Release.
type Session struct {
	Abuse [AbuseCount]uint32 // how often each happened since Start
	Owner uint32             // the owner's; see Credit.Waiting

	cfg     *Config
	streams *Streams
	scratch *Scratch
	decoder *decoder  // from the first field block on
	repeats *repeats  // from the first block on that came twice in a row
	hints   [2]uint32 // of the last block of a head, and of trailers
	byID    index.Map[uint32]
	out     []byte // control frames that wait
	held    []byte // what has arrived of the frame, or of the field block, that has not all arrived

	now           int64
	scoreAt       int64 // when score was right
	pingAt, rtt   int64
	score         uint32
	earned        uint32 // WINDOW_UPDATEs that are free
	pings, cuts   uint16 // PINGs and resets that are free
	flags         sessionFlags
	role          Role
	doomed        Abuse // what took the score over the limit; the connection ends before the next frame
	early         [earlyMax]earlyPriority
	resets        [resetsMax]uint32 // streams reset here lately whose peer may not know yet
	resetNext     uint8
	earlyNext     uint8
	resetsDropped uint32 // the highest identifier that resets had no room for any more

	// The frame that is being read.
	phase     phase
	headerLen uint8 // of header, or of the preface
	header    [FrameHeaderLen]byte
	frame     frameHeader
	left      uint32 // bytes of it still to come
	padding   uint32 // of those behind its data
	data      uint32 // DATA: its stream, 0 when that is gone
	block     uint32 // bytes of an unfinished field block at the beginning of held
	blockID   uint32 // the stream an unfinished field block is for, 0 without one
	blockEnd  bool   // it has END_STREAM
	blockSelf bool   // it depends on itself
	inserted  uint32 // by blocks that put many fields into it, see watchTable

	// Streams.
	first, last uint32 // in the order they were opened
	active      int
	unsent      int    // opened, without an identifier
	maxID       uint32 // Server: the highest identifier the client has used; Client: the last one given out
	goAwayID    uint32 // the last identifier the peer takes, or that was announced to it

	// Flow control.
	credit      *Credit // nil: windows are as wide as the Config says
	recvWindow  int64   // what the peer may send
	recvHeld    int64   // what was lent and not given back
	connTarget  int64   // what recvWindow is brought back to
	openedMs    uint32  // when it was
	firstTarget uint32  // recvTarget of a new stream
	sendWindow  int64
	sendMost    int64 // the largest it ever was

	// The peer's settings.
	peerStreams uint32
	peerWindow  uint32
	peerFrame   uint32

	// The scheduler: see schedule.go.
	queues  [queueCount]uint32
	waiting uint16
	turn    uint8
	queued  int
	parked  int
}

type sessionFlags uint16

const (
	flagSettings    sessionFlags = 1 << iota // the peer's first SETTINGS came
	flagAcked                                // it has acknowledged ours
	flagClosed                               // EventClosed was given, or Deafen called
	flagGoAway                               // the peer goes away
	flagLosing                               // streams above goAwayID are still to be reported
	flagDraining                             // the first GOAWAY was sent
	flagFinal                                // the final one
	flagTableUpdate                          // the encoder's table size update was sent
	flagPriorities                           // the peer has said something about priorities
	flagConnect                              // the origin takes extended CONNECT
	flagWaiting                              // is listed in Credit.waiting
)

// Scratch is what the sessions of a worker share: the head of the last event,
// and spare room for frames that come in pieces. The zero value is ready.
type Scratch struct {
	Credit  [2]*Credit // by Role: of the sessions that are started with it, nil for no bound
	section section
	spare   [][]byte
}

// spareMax bounds the buffers kept for frames that come in pieces.
const spareMax = 8

// borrow gives an empty buffer for at least n bytes.
func (x *Scratch) borrow(n int) []byte {
	for i := len(x.spare) - 1; i >= 0; i-- {
		if b := x.spare[i]; cap(b) >= n {
			last := len(x.spare) - 1
			x.spare[i] = x.spare[last]
			x.spare[last] = nil
			x.spare = x.spare[:last]
			return b[:0]
		}
	}
	return make([]byte, 0, max(n, 512))
}

func (x *Scratch) giveBack(b []byte) {
	if cap(b) > 0 && len(x.spare) < spareMax {
		x.spare = append(x.spare, b)
	}
}

// Start begins a connection. Server: the client's preface is expected first;
// a caller that has seen it gives it to Next all the same. Output has this
// side's preface and settings. now is in nanoseconds, as everywhere here.
func (s *Session) Start(role Role, c *Config, streams *Streams, scratch *Scratch, now int64) {
	decoder, byID, out, owner := s.decoder, s.byID, s.out[:0], s.Owner
	*s = Session{
		Owner: owner, cfg: c, streams: streams, scratch: scratch, decoder: decoder, byID: byID, out: out,
		role: role, now: now, scoreAt: now, earned: earnedStart,
		goAwayID: maxStreamID, sendWindow: defaultWindow, sendMost: defaultWindow,
		peerStreams: trustStreams, peerWindow: defaultWindow, peerFrame: minMaxFrame,
	}
	if decoder != nil { // of the connection before
		decoder.setMax(0)
		decoder.setMax(defaultTable)
	}
	if role == Server {
		s.phase = phasePreface
	} else {
		s.out = append(s.out, Preface...)
	}
	s.beginCredit()
	s.appendSettings()
	if more := s.recvWindow - defaultWindow; more > 0 {
		s.appendWindow(0, more)
	}
}

// Release frees the streams that are left, without telling anybody, and gives
// back the memory the session holds.
func (s *Session) Release() {
	for s.first != 0 {
		s.free(s.first)
	}
	s.returnCredit()
	s.dropHeld()
	s.Flushed()
	s.flags |= flagClosed
}

// Head is the head of the last EventHead or EventTrailers: until the next call
// of Next of any session that shares the Scratch, which owns its bytes.
//
// A request has Method, MethodName, Target, Path, Query, Form, Scheme, Host
// (:authority or else host, which is not among the Fields), Protocol for an
// extended CONNECT. A response has Status. In both H2 and KeepAlive are true,
// Lines false, cookies are one field, and Body says what may follow: BodyNone
// for nothing (an End of its own may come), BodyLength, or BodyChunked for
// everything up to End. Fields with names of HTTP/1's connections do not
// occur, except that TE: trailers stays; HasTETrailers says so.
func (s *Session) Head() *proto.Head { return &s.scratch.section.head }

// Output lends the control frames that wait to be sent; good until the next
// call of any other method.
func (s *Session) Output() []byte { return s.out }

// outKeep is the room for control frames a session keeps.
const outKeep = 512

// Flushed says that Output was sent, or copied.
func (s *Session) Flushed() {
	if cap(s.out) > outKeep {
		s.out = nil
	}
	s.out = s.out[:0]
}

// Held is the number of bytes kept for a frame or a field block of which only
// a part has arrived.
func (s *Session) Held() int { return len(s.held) }

// Acked reports that the peer has acknowledged the settings: it knows them.
func (s *Session) Acked() bool { return s.flags&flagAcked != 0 }

// ExtendedConnect reports that the origin takes extended CONNECT (RFC 8441).
func (s *Session) ExtendedConnect() bool { return s.flags&flagConnect != 0 }
