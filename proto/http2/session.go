package http2

import "zproxy/proto"

// Role is the end of the connection a session is.
type Role uint8

const (
	Server Role = iota // faces a client
	Client             // faces an origin
)

// Config is shared by the sessions of a listener or of an upstream, and not
// changed while they live. Take DefaultConfig and change what differs.
type Config struct {
	MaxStreams   uint32 // concurrent streams a client may open
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

// Session is one end of one HTTP/2 connection. It is reused with Start after
// Release.
type Session struct {
	Abuse [AbuseCount]uint32 // how often each happened

	scratch *Scratch
}

// Scratch is what the sessions of a worker share: the head of the last event,
// and spare room for frames that come in pieces.
type Scratch struct {
	head proto.Head
}

// Start begins a connection. Server: the client's preface is expected first;
// a caller that has seen it gives it to Next all the same. Output has this
// side's preface and settings. now is in nanoseconds, as everywhere here.
func (s *Session) Start(role Role, c *Config, streams *Streams, scratch *Scratch, now int64) {
	s.scratch = scratch
}

// Release frees the streams that are left, without telling anybody, and gives
// back the memory the session holds.
func (s *Session) Release() {}

// Next reads from b up to and including the next thing the owner must know.
// used bytes are done with, except that EventData lends of them; the rest is
// given again, with more. EventNone: all of b is used. An event may come with
// used 0, also for an empty b: call until EventNone. After EventClosed it must
// not be called again.
func (s *Session) Next(b []byte, now int64) (used int, ev Event) { return len(b), Event{} }

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
func (s *Session) Head() *proto.Head { return &s.scratch.head }

// Output lends the control frames that wait to be sent; good until the next
// call of any other method.
func (s *Session) Output() []byte { return nil }

// Flushed says that Output was sent, or copied.
func (s *Session) Flushed() {}

// Active is the number of open streams.
func (s *Session) Active() int { return 0 }

// Find gives the stream with an identifier, 0 when it is not open.
func (s *Session) Find(id uint32) uint32 { return 0 }

// First is the stream opened longest ago, 0 without one; After goes on from
// stream. A stream may be reset between the two when After was called before.
func (s *Session) First() uint32 { return 0 }

// After is the stream opened after the given one, 0 when it is the last.
func (s *Session) After(stream uint32) uint32 { return 0 }

// Held is the number of bytes kept for a frame or a field block of which only
// a part has arrived.
func (s *Session) Held() int { return 0 }

// Ping queues a PING unless one is unanswered.
func (s *Session) Ping(now int64) {}

// PingSince is when the PING without an answer was queued, 0 without one.
func (s *Session) PingSince() int64 { return 0 }

// RTT is what the last PING took in nanoseconds, 0 before the first answer.
func (s *Session) RTT() int64 { return 0 }

// Acked reports that the peer has acknowledged the settings: it knows them.
func (s *Session) Acked() bool { return false }
