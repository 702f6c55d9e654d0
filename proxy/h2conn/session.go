package h2conn

import (
	"iter"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/buf"
	"zproxy/loop"
	"zproxy/metrics"
	"zproxy/proto/http2"
	"zproxy/proxy/transport"
)

type state uint8

const (
	sessionConnecting state = iota // to an origin
	sessionGreeting                // connected; the origin's SETTINGS are to come
	sessionOpen
	sessionLeaving // streams finish, no new ones begin
	sessionFlush   // closes once what is queued has left
	sessionClosing // Close was called: only Closed is still to come
)

const (
	// sessionMark is how many bytes may wait on the connection before streams
	// keep theirs: what waits here can no longer be put in order.
	sessionMark = 256 << 10
	// HeadMark is how many bytes may wait there before a client is not read any
	// more: heads need no window, and each request it sends makes one.
	HeadMark = 2 * sessionMark
	// lookNs is how long something may be queued before the peer's rate is watched:
	// what it has taken only the kernel knows, which is not asked every turn.
	lookNs = int64(250 * time.Millisecond)
	// LeaveNs is how long a peer that was told of the end may at most go on
	// opening streams that are served (RFC 9113 6.8).
	LeaveNs = int64(time.Second)
)

// Session is an HTTP/2 connection, to a client or to an origin, that carries
// one exchange per stream.
type Session struct {
	H2     http2.Session
	Conn   loop.ConnID
	Self   uint32 // its index
	Role   http2.Role
	state  state
	dirty  bool // listed in Sessions.dirty
	doomed bool // its frames have a gap
	Paused bool // reading is suspended

	Listener          uint16 // of a client's
	Cluster, Endpoint uint16 // of an origin's
	Addr              uint32 // key of the address it is connected to
	idleNs            int64  // how long an origin's may be without streams

	waiting   int    // bytes in the queues of all streams
	Uses      uint32 // streams ever
	headSince int64  // when a frame or field section that is incomplete began, 0: none is
	sent      uint64 // bytes given to the kernel
	queuedAt  int64  // since when something is queued that the kernel has not taken whole, 0: nothing is
	takeMark  uint64 // bytes taken at takeFrom
	takeFrom  int64  // since when the peer's rate is watched, 0: it is not
	leaveAt   int64  // when the last GOAWAY is due; of one that lingers, since when all has left, 0: not all has
	discarded uint32 // bytes that came since it lingers
	ended     bool   // its peer sends no more, which is all that is waited for
	final     bool   // it was sent
	heldMark  uint64 // sent at heldSince
	heldSince uint32 // ms: see FindHolders
	cameMs    uint32 // when something came last
}

// Sessions are the HTTP/2 connections of a worker. A session acts on its own account, too:
// it ends, lingers, is read no more.
type Sessions struct {
	gear
	owner   uint32 // of events: and the index
	streams *Streams
	all     []*Session // by index; 0 is none
	free    []uint32
	open    http2.Streams
	scratch http2.Scratch
	dirty   []uint32 // with frames to send
	frames  []byte   // a field block too long for one frame

	set       Settings
	high      int // how many bytes may wait for a peer
	pressure  int // how short memory is
	Lingering int // clients' connections that linger

	told    []Event // to be pulled, from toldAt on
	toldAt  int
	pulled  Event
	reading reading
	flushes flushes
}

// Settings are what sessions go by. They may change with the configuration.
type Settings struct {
	Server, Client           *http2.Config
	HeaderNs, SendNs, IdleNs int64
	LeaveNs                  int64 // how long streams are served that are on their way when it is told of the end
	MinRate                  transport.Rate
	LingerNs                 int64  // how long a peer may take to end its side
	LingerBytes              uint32 // how much of what it still sends is read
}

// Config is what sessions are made of. Owners are those of the loop's events: the index of a
// session or a stream is added to them.
type Config struct {
	Transport                 *transport.Transport
	Pool                      *buf.Pool
	Metrics                   *metrics.Loop
	SessionOwner, StreamOwner uint32
	Credit                    [2]*http2.Credit // what peers may be promised, by the role towards them
	High                      int              // how many bytes may wait for a peer
}

// gear is what sessions and streams work with.
type gear struct {
	l    *transport.Transport
	pool *buf.Pool
	m    *metrics.Loop
}

// Begin prepares the sessions of a worker and their streams.
func Begin(ss *Sessions, ts *Streams, c Config) {
	ss.gear = gear{c.Transport, c.Pool, c.Metrics}
	ts.gear = ss.gear
	ss.streams, ts.h2 = ts, ss
	ss.owner, ts.owner = c.SessionOwner, c.StreamOwner
	ss.scratch.Credit, ss.high = c.Credit, c.High
	ss.all = make([]*Session, 1)
}

// At is the session with index i, nil: it is gone. Each gives all that are there.
func (ss *Sessions) At(i uint32) *Session { return ss.all[i] }

func (ss *Sessions) Each() iter.Seq[*Session] {
	return func(yield func(*Session) bool) {
		for _, se := range ss.all {
			if se != nil && !yield(se) {
				return
			}
		}
	}
}

// Configure has sessions go by set.
func (ss *Sessions) Configure(set Settings) { ss.set = set }

// SetMarks: so many bytes may wait for a peer, and this is how short memory is.
func (ss *Sessions) SetMarks(high, pressure int) { ss.high, ss.pressure = high, pressure }

// Credit is what peers of the role may be promised.
func (ss *Sessions) Credit(towards http2.Role) *http2.Credit { return ss.scratch.Credit[towards] }

// HasToSend says that a session could not send what it has.
func (ss *Sessions) HasToSend() bool { return len(ss.dirty) > 0 }

// Starves says that a session to an origin waits for credit to promise.
func (ss *Sessions) Starves() bool { return ss.Credit(http2.Client).Waiters() > 0 }

func (se *Session) Opens() bool { return se.state < sessionOpen }

func (se *Session) Greets() bool { return se.state == sessionGreeting }

func (se *Session) IsOpen() bool { return se.state == sessionOpen }

func (se *Session) IsOver() bool { return se.state >= sessionFlush }

// IsClosed says that only its end is still to be heard of.
func (se *Session) IsClosed() bool { return se.state == sessionClosing }

// LingersSince is since when a client's has sent all.
func (se *Session) LingersSince() int64 { return se.leaveAt }

func (ss *Sessions) add(role http2.Role, conn loop.ConnID) *Session {
	i := len(ss.all)
	if n := len(ss.free); n > 0 {
		i = int(ss.free[n-1])
		ss.free = ss.free[:n-1]
	} else {
		ss.all = append(ss.all, nil)
	}
	se := &Session{Conn: conn, Self: uint32(i), Role: role, state: sessionOpen}
	se.H2.Owner = se.Self
	ss.all[i] = se
	ss.l.SetOwner(conn, ss.owner+se.Self)
	return se
}

// markDirty has the session's frames sent at the end of this turn.
func (ss *Sessions) markDirty(se *Session) {
	if !se.dirty {
		se.dirty = true
		ss.dirty = append(ss.dirty, se.Self)
	}
}

func (ss *Sessions) Event(i uint32, ev *loop.Event) {
	se := ss.all[i]
	switch ev.Kind {
	case loop.Received:
		if se.Role == http2.Server {
			ss.m.BytesIn += uint64(ev.N)
		} else {
			ss.m.UpstreamBytesIn += uint64(ev.N)
		}
		ss.Received(se, ev.View)
	case loop.Sent:
		ss.sent(se, ev)
	case loop.RecvEnd:
		ss.Lost(se, ev.Errno)
	case loop.Connected:
		ss.tell(Event{Kind: Connected, Session: se, Errno: ev.Errno})
	case loop.Timer:
		ss.timeout(se)
	case loop.Closed:
		ss.closed(se)
	}
}

// due sets the session's deadline: it must take what there is for it,
// end the heads it begins, and not be idle for too long.
func (ss *Sessions) due(se *Session) {
	now, lim := ss.l.Now(), &ss.set
	at := int64(0)
	held, queued := se.H2.Held() > 0, ss.l.Queued(se.Conn) > 0
	if !held {
		se.headSince = 0
	} else if se.headSince == 0 {
		se.headSince = now
	}
	switch {
	case !queued:
		se.queuedAt, se.takeFrom = 0, 0
	case se.queuedAt == 0:
		se.queuedAt = now
	case se.takeFrom == 0 && now-se.queuedAt >= lookNs:
		se.takeFrom, se.takeMark = now, ss.taken(se)
	}
	switch {
	case se.state >= sessionFlush:
		return
	case queued && se.takeFrom == 0:
		at = se.queuedAt + lookNs
	case queued && se.Role == http2.Client && se.H2.Active() == 0: // nobody is left who might wait for it
		at = se.takeFrom + min(lim.SendNs, lookNs)
	case queued:
		at = se.takeFrom + lim.SendNs
	case held:
		at = se.headSince + lim.HeaderNs
	case se.state == sessionLeaving:
		if !se.final && se.H2.PingSince() == 0 {
			ss.leaveFinally(se)
			ss.control(se)
		}
		if se.final && se.H2.Active() == 0 {
			ss.end(se)
			return
		}
		if !se.final {
			at = se.leaveAt
		}
	case se.H2.Active() > 0:
	case se.Role == http2.Client:
		at = now + se.idleNs
	case se.Uses == 0:
		at = now + lim.HeaderNs
	default:
		at = now + lim.IdleNs
	}
	ss.l.Deadline(se.Conn, at)
}

// taken is how many bytes the peer's host has acknowledged.
func (ss *Sessions) taken(se *Session) uint64 { return se.sent - uint64(ss.l.Unacked(se.Conn)) }

// takes says that the peer goes on taking what there is for it, and not too
// slowly: see Settings.MinRate.
func (ss *Sessions) takes(se *Session) bool {
	took := ss.taken(se) - se.takeMark
	return took > 0 && took >= ss.set.MinRate.Bytes(ss.l.Leaps().RanNs(se.takeFrom, ss.l.Now()))
}

func (ss *Sessions) timeout(se *Session) {
	switch {
	case se.state <= sessionGreeting:
		ss.stalls(se, StallConnect)
	case se.state == sessionFlush:
		ss.lingerTimeout(se)
	case ss.l.Queued(se.Conn) > 0:
		if se.takeFrom == 0 || ss.takes(se) {
			se.takeFrom = 0
			ss.due(se)
			return
		}
		ss.stalls(se, StallTake)
	case se.H2.Held() > 0 && ss.l.Starved(se.Conn): // the rest may be there, unread
		ss.stalls(se, StallMemory)
	case se.H2.Held() > 0:
		ss.stalls(se, StallHead)
	case se.state == sessionLeaving:
		ss.leaveFinally(se)
	case se.state == sessionOpen && se.H2.Active() == 0:
		ss.Leave(se, false)
	}
}

// Leave tells the peer that no more streams are wanted; those that are
// open finish. gently: those on their way are served, too, until the peer has
// heard of it.
func (ss *Sessions) Leave(se *Session, gently bool) {
	if se.state != sessionOpen {
		return
	}
	se.state = sessionLeaving
	ss.left(se)
	if !gently {
		ss.leaveFinally(se)
		return
	}
	now := ss.l.Now()
	se.leaveAt = now + ss.set.LeaveNs
	se.H2.Shutdown(false)
	se.H2.Ping(now)
	ss.markDirty(se)
}

func (ss *Sessions) leaveFinally(se *Session) {
	se.final = true
	se.H2.Shutdown(true)
	ss.markDirty(se)
}

// end closes a session that has no streams once its frames have left.
func (ss *Sessions) end(se *Session) {
	ss.control(se)
	if se.state >= sessionFlush {
		return
	}
	se.state = sessionFlush
	ss.left(se)
	se.H2.Deafen()
	if se.Paused { // bytes that are never read would be answered with a reset, which may overtake the GOAWAY
		se.Paused = false
		ss.l.Recv(se.Conn)
	}
	ss.l.Shutdown(se.Conn)
	switch {
	case se.Role == http2.Server:
		se.leaveAt, se.takeFrom = 0, 0
		ss.Lingering++
		ss.linger(se)
	case ss.l.Queued(se.Conn) == 0:
		ss.Drop(se)
	default:
		ss.l.Deadline(se.Conn, ss.l.Now()+ss.set.LingerNs)
	}
}

func (ss *Sessions) sent(se *Session, ev *loop.Event) {
	if se.Role == http2.Server {
		ss.m.BytesOut += uint64(ev.N)
	} else {
		ss.m.UpstreamBytesOut += uint64(ev.N)
	}
	if ev.Errno != 0 {
		ss.Lost(se, ev.Errno)
		return
	}
	se.sent += uint64(ev.N)
	if ss.l.Queued(se.Conn) == 0 {
		se.queuedAt, se.takeFrom = 0, 0
	}
	switch {
	case se.state < sessionFlush:
		ss.markDirty(se)
	case se.state == sessionFlush && se.Role == http2.Server && ss.l.Queued(se.Conn) == 0:
		ss.linger(se)
	}
}

// Fail ends a session whose peer broke the protocol. It is told, and its streams end.
func (ss *Sessions) Fail(se *Session, why string) {
	ss.endStreams(se, why, 0)
	ss.end(se)
}

// Lost: the connection is gone, or at least its receiving side. A peer
// that half-closes gets no answers: HTTP/2 has no use for such connections.
func (ss *Sessions) Lost(se *Session, errno unix.Errno) {
	if se.state == sessionClosing || se.state == sessionConnecting {
		return
	}
	if se.state == sessionGreeting {
		ss.stalls(se, StallGreeting)
		return
	}
	if se.state == sessionFlush {
		se.ended = true
		if errno != 0 || ss.l.Queued(se.Conn) == 0 {
			ss.Drop(se)
		}
		return
	}
	ss.endStreams(se, "", errno)
	ss.Drop(se)
}

// BreakOff ends a session whose connection is of no more use.
func (ss *Sessions) BreakOff(se *Session, why string) {
	if se.state == sessionClosing {
		return
	}
	ss.endStreams(se, why, unix.ECONNRESET)
	ss.lingersNoMore(se)
	se.state = sessionClosing
	ss.l.Abort(se.Conn)
}

// Drop closes at once. Its streams have ended before.
func (ss *Sessions) Drop(se *Session) {
	if se.state == sessionClosing {
		return
	}
	ss.lingersNoMore(se)
	se.state = sessionClosing
	ss.l.Close(se.Conn)
}

// endStreams ends the exchanges of all streams: the session takes part in
// nothing any more.
func (ss *Sessions) endStreams(se *Session, why string, errno unix.Errno) {
	ss.left(se)
	for id := se.H2.First(); id != 0; {
		h := ss.open.At(id)
		user := h.User
		h.User = 0 // the session keeps the stream to its own end
		id = se.H2.After(id)
		if user == 0 {
			continue
		}
		st := ss.streams.At(user)
		st.id, st.owed = 0, 0
		ss.tell(Event{Kind: StreamLost, Session: se, Stream: user, Why: why, Errno: errno})
	}
	if se.Role == http2.Client {
		ss.tell(Event{Kind: Room, Session: se})
	}
}

// left: an origin's session takes no more streams.
func (ss *Sessions) left(se *Session) {
	if se.Role == http2.Client {
		ss.tell(Event{Kind: Left, Session: se})
	}
}

func (ss *Sessions) closed(se *Session) {
	ss.lingersNoMore(se)
	if se.Role == http2.Client {
		ss.m.UpstreamSessions--
	}
	se.H2.Release()
	ss.all[se.Self] = nil
	ss.free = append(ss.free, se.Self)
	ss.tell(Event{Kind: Gone, Session: se})
}

// Accept begins an HTTP/2 connection of a client, which is to send its
// preface first.
func (ss *Sessions) Accept(conn loop.ConnID, listener int) *Session {
	se := ss.add(http2.Server, conn)
	se.Listener = uint16(listener)
	ss.m.Sessions++
	se.H2.Start(http2.Server, ss.set.Server, &ss.open, &ss.scratch, ss.l.Now())
	ss.markDirty(se)
	return se
}

// Dial begins an HTTP/2 connection to an origin, which is being connected to.
func (ss *Sessions) Dial(conn loop.ConnID, cluster, endpoint int, addr uint32, idleNs int64) *Session {
	se := ss.add(http2.Client, conn)
	se.Cluster, se.Endpoint, se.Addr, se.idleNs = uint16(cluster), uint16(endpoint), addr, idleNs
	se.state = sessionConnecting
	ss.m.UpstreamSessions++
	return se
}

// Greet begins to speak on a session that is connected; Opened is for one whose peer has
// answered that.
func (ss *Sessions) Greet(se *Session) {
	se.state = sessionGreeting
	se.H2.Start(http2.Client, ss.set.Client, &ss.open, &ss.scratch, ss.l.Now())
	ss.l.Recv(se.Conn)
	ss.markDirty(se)
}

func (ss *Sessions) Opened(se *Session) {
	se.state = sessionOpen
	ss.markDirty(se)
}
