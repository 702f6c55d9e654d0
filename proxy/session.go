package proxy

import (
	"time"

	"golang.org/x/sys/unix"

	"zproxy/buf"
	"zproxy/loop"
	"zproxy/proto"
	"zproxy/proto/http2"
)

type sessionState uint8

const (
	sessionConnecting sessionState = iota // to an origin
	sessionGreeting                       // connected; the origin's SETTINGS are to come
	sessionOpen
	sessionLeaving // streams finish, no new ones begin
	sessionFlush   // closes once what is queued has left
	sessionClosing // Close was called: only Closed is still to come
)

const (
	// sessionMark is how many bytes may wait on the connection before streams
	// keep theirs: what waits here can no longer be put in order.
	sessionMark = 256 << 10
	// headMark is how many bytes may wait there before a client is not read any
	// more: heads need no window, and each request it sends makes one.
	headMark = 2 * sessionMark
	// lookNs is how long something may be queued before the peer's rate is watched:
	// what it has taken only the kernel knows, which is not asked every turn.
	lookNs = int64(250 * time.Millisecond)
	// leaveNs is how long a peer that was told of the end may at most go on
	// opening streams that are served (RFC 9113 6.8).
	leaveNs = int64(time.Second)
)

// session is an HTTP/2 connection, to a client or to an origin, that carries
// one exchange per stream.
type session struct {
	h2      http2.Session
	conn    loop.ConnID
	self    uint32 // its index
	role    http2.Role
	state   sessionState
	touched bool // listed in Worker.touched
	doomed  bool // its frames have a gap
	paused  bool // reading is suspended

	listener          uint16   // of a client's
	peer              peerName // the client
	cluster, endpoint uint16   // of an origin's
	addr              uint32   // key of the address it is connected to

	waiting   int    // bytes in the queues of all streams
	uses      uint32 // streams ever
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
	heldSince uint32 // ms: see breakHolders
	cameMs    uint32 // when something came last
}

func (w *Worker) newSession(role http2.Role, conn loop.ConnID) *session {
	i := len(w.sessions)
	if n := len(w.freeSessions); n > 0 {
		i = int(w.freeSessions[n-1])
		w.freeSessions = w.freeSessions[:n-1]
	} else {
		w.sessions = append(w.sessions, nil)
	}
	se := &session{conn: conn, self: uint32(i), role: role, state: sessionOpen}
	se.h2.Owner = se.self
	w.sessions[i] = se
	w.l.SetOwner(conn, ownerOf(ownerSession, se.self))
	return se
}

// touch has the session's frames sent at the end of this turn.
func (w *Worker) touch(se *session) {
	if !se.touched {
		se.touched = true
		w.touched = append(w.touched, se.self)
	}
}

func (w *Worker) sessionEvent(i uint32, ev *loop.Event) {
	se := w.sessions[i]
	switch ev.Kind {
	case loop.Received:
		if se.role == http2.Server {
			w.m.BytesIn += uint64(ev.N)
		} else {
			w.m.UpstreamBytesIn += uint64(ev.N)
		}
		w.sessionReceived(se, ev.View)
	case loop.Sent:
		w.sessionSent(se, ev)
	case loop.RecvEnd:
		w.sessionLost(se, ev.Errno)
	case loop.Connected:
		w.sessionConnected(se, ev.Errno)
	case loop.Timer:
		w.sessionTimeout(se)
	case loop.Closed:
		w.sessionClosed(se)
	}
}

// sessionReceived takes bytes of a session: v's reference with them.
func (w *Worker) sessionReceived(se *session, v buf.View) {
	b := w.pool.Bytes(v)
	now := w.l.Now()
	se.cameMs = uint32(now / 1e6)
	var ev http2.Event
	w.reading = se.role == http2.Server
	for off := 0; se.state < sessionFlush; {
		n := se.h2.Next(b[off:], now, &ev)
		if ev.Kind == http2.EventNone {
			break
		}
		data := buf.View{}
		if ev.Kind == http2.EventData && ev.N > 0 {
			data = v.Slice(uint32(off+ev.Off), uint32(ev.N))
		}
		off += n
		if ev.Kind == http2.EventClosed {
			w.sessionFailed(se, &ev)
		} else if se.role == http2.Server {
			w.clientStream(se, &ev, data)
		} else {
			w.originStream(se, &ev, data)
		}
	}
	if se.state == sessionFlush && se.role == http2.Server {
		w.lingeringSessionReceived(se, v.Len)
	}
	w.dispatchBegun()
	w.pool.Release(v)
	w.touch(se)
}

// sessionSend queues a copy of b on the session's connection. False: no memory.
// The session, whose frames have a gap now, ends with this turn, before any of
// them leaves.
func (w *Worker) sessionSend(se *session, b []byte) bool {
	for len(b) > 0 {
		n := min(len(b), w.pool.BlockBytes())
		dst := w.pool.Reserve(n)
		if dst == nil {
			se.doomed = true
			w.touch(se)
			return false
		}
		copy(dst, b)
		w.l.Send(se.conn, w.pool.Commit(n))
		b = b[n:]
	}
	return true
}

// flushSessions sends what the turn has given the sessions to send: control
// frames, then the streams in the order of their priorities.
func (w *Worker) flushSessions() {
	w.spreadCredit()
	starved := 0
	for i := 0; i < len(w.touched); i++ {
		se := w.sessions[w.touched[i]]
		if se == nil {
			continue
		}
		se.touched = false
		if se.state == sessionClosing || se.state == sessionConnecting {
			continue
		}
		if !w.flushSession(se) && se.state < sessionFlush {
			// No memory: again when there may be some.
			se.touched = true
			w.touched[starved] = se.self
			starved++
		}
	}
	w.touched = w.touched[:starved]
}

func (w *Worker) flushSession(se *session) bool {
	if se.doomed {
		w.countFault(&faultMemory)
		w.breakSession(se, faultMemory.Reason)
		return true
	}
	if se.state == sessionGreeting {
		w.control(se)
		return true
	}
	if se.role == http2.Client && se.state < sessionFlush {
		w.serveGroup(int(se.cluster), int(se.endpoint))
	}
	w.control(se)
	w.restrainSession(se)
	for se.state < sessionFlush && w.l.Queued(se.conn) < w.sessionMark() {
		id, ok := se.h2.NextReady()
		if !ok {
			break
		}
		if !w.sendStream(se, w.streams.At(w.h2streams.At(id).User)) {
			return false
		}
	}
	w.sessionDue(se)
	return true
}

// restrainSession stops reading a client that does not take its answers, and
// goes on once it has. What waits for it here needs nothing more that it says.
func (w *Worker) restrainSession(se *session) {
	queued := w.l.Queued(se.conn)
	switch {
	case se.state >= sessionFlush: // it is read to its end
	case !se.paused && se.role == http2.Server && queued > headMark:
		se.paused = true
		w.l.Pause(se.conn)
	case se.paused && queued <= sessionMark:
		se.paused = false
		se.headSince = 0 // a head that was not read was not slow
		w.l.Recv(se.conn)
	}
}

// sessionMark is that constant where memory is not short.
func (w *Worker) sessionMark() int { return min(sessionMark, max(w.high/2, 2*frameBytes)) }

// control sends the session's control frames.
func (w *Worker) control(se *session) {
	if b := se.h2.Output(); len(b) > 0 {
		w.sessionSend(se, b)
		se.h2.Flushed()
	}
}

// sessionDue sets the session's deadline: it must take what there is for it,
// end the heads it begins, and not be idle for too long.
func (w *Worker) sessionDue(se *session) {
	now, lim := w.l.Now(), &w.snap.limits
	at := int64(0)
	held, queued := se.h2.Held() > 0, w.l.Queued(se.conn) > 0
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
		se.takeFrom, se.takeMark = now, se.taken(w)
	}
	switch {
	case se.state >= sessionFlush:
		return
	case queued && se.takeFrom == 0:
		at = se.queuedAt + lookNs
	case queued && se.role == http2.Client && se.h2.Active() == 0: // nobody is left who might wait for it
		at = se.takeFrom + min(lim.sendNs, lookNs)
	case queued:
		at = se.takeFrom + lim.sendNs
	case held:
		at = se.headSince + lim.requestHeaderNs
	case se.state == sessionLeaving:
		if !se.final && se.h2.PingSince() == 0 {
			w.leaveFinally(se)
			w.control(se)
		}
		if se.final && se.h2.Active() == 0 {
			w.endSession(se)
			return
		}
		if !se.final {
			at = se.leaveAt
		}
	case se.h2.Active() > 0:
	case se.role == http2.Client:
		at = now + w.snap.clusters[se.cluster].idleTimeoutNs
	case se.uses == 0:
		at = now + lim.requestHeaderNs
	default:
		at = now + w.snap.http2.idleNs
	}
	w.l.Deadline(se.conn, at)
}

// taken is how many bytes the peer's host has acknowledged.
func (se *session) taken(w *Worker) uint64 { return se.sent - uint64(w.l.Unacked(se.conn)) }

// takes says that the peer goes on taking what there is for it, and not too
// slowly (see pace.go).
func (se *session) takes(w *Worker) bool {
	took := se.taken(w) - se.takeMark
	return took > 0 && (took >= leastBytes(w.snap.limits.minRate, w.l.Now()-se.takeFrom) || w.l.Leap().At >= se.takeFrom)
}

func (w *Worker) sessionTimeout(se *session) {
	switch se.state {
	case sessionConnecting, sessionGreeting:
		w.sessionNotConnected(se, &faultConnectTimeout)
	case sessionFlush:
		w.lingeringSessionTimeout(se)
	default:
		switch {
		case w.l.Queued(se.conn) > 0:
			if se.takeFrom == 0 || se.takes(w) {
				se.takeFrom = 0
				w.sessionDue(se)
				return
			}
			if se.role == http2.Client {
				w.m.OriginAborts++
				w.breakOrigin(se, &faultOriginTakesNot)
				return
			}
			w.m.ClientAborts++
			w.breakSession(se, "peer did not take its frames in time")
		case se.h2.Held() > 0 && w.l.Starved(se.conn): // the rest may be there, unread
			w.countFault(&faultMemory)
			w.breakSession(se, faultMemory.Reason)
		case se.h2.Held() > 0:
			if se.role == http2.Client {
				w.m.Timeouts504++
				w.breakOrigin(se, &faultHalfFrame)
				return
			}
			w.m.Timeouts408++
			w.countFault(&faultHeadTimeout)
			w.breakSession(se, faultHeadTimeout.Reason)
		case se.state == sessionLeaving:
			w.leaveFinally(se)
		case se.h2.Active() == 0:
			w.leaveSession(se, false)
		}
	}
}

// leaveSession tells the peer that no more streams are wanted; those that are
// open finish. gently: those on their way are served, too, until the peer has
// heard of it.
func (w *Worker) leaveSession(se *session, gently bool) {
	if se.state != sessionOpen {
		return
	}
	se.state = sessionLeaving
	if se.role == http2.Client {
		w.leaveGroup(se)
		w.growGroup(int(se.cluster), int(se.endpoint))
	}
	if !gently {
		w.leaveFinally(se)
		return
	}
	now := w.l.Now()
	se.leaveAt = now + min(leaveNs, w.snap.graceNs/2)
	se.h2.Shutdown(false)
	se.h2.Ping(now)
	w.touch(se)
}

func (w *Worker) leaveFinally(se *session) {
	se.final = true
	se.h2.Shutdown(true)
	w.touch(se)
}

// endSession closes a session that has no streams once its frames have left.
func (w *Worker) endSession(se *session) {
	w.control(se)
	if se.state >= sessionFlush {
		return
	}
	if se.role == http2.Client {
		w.leaveGroup(se)
	}
	se.state = sessionFlush
	se.h2.Deafen()
	if se.paused { // bytes that are never read would be answered with a reset, which may overtake the GOAWAY
		se.paused = false
		w.l.Recv(se.conn)
	}
	w.l.Shutdown(se.conn)
	switch {
	case se.role == http2.Server:
		se.leaveAt, se.takeFrom = 0, 0
		w.lingering++
		w.lingerSession(se)
	case w.l.Queued(se.conn) == 0:
		w.dropSession(se)
	default:
		w.l.Deadline(se.conn, w.l.Now()+lingerNs)
	}
}

func (w *Worker) sessionSent(se *session, ev *loop.Event) {
	if se.role == http2.Server {
		w.m.BytesOut += uint64(ev.N)
	} else {
		w.m.UpstreamBytesOut += uint64(ev.N)
	}
	if ev.Errno != 0 {
		w.sessionLost(se, ev.Errno)
		return
	}
	se.sent += uint64(ev.N)
	if w.l.Queued(se.conn) == 0 {
		se.queuedAt, se.takeFrom = 0, 0
	}
	switch {
	case se.state < sessionFlush:
		w.touch(se)
	case se.state == sessionFlush && se.role == http2.Server && w.l.Queued(se.conn) == 0:
		w.lingerSession(se)
	}
}

// sessionFailed: the peer broke the protocol. It is told, and its streams end.
func (w *Worker) sessionFailed(se *session, ev *http2.Event) {
	f := ev.Fault
	if f == nil {
		f = &faultHTTP2
	}
	if se.state == sessionGreeting {
		w.sessionNotConnected(se, &faultGreeting)
		return
	}
	code := f.Code
	if ev.Cause != http2.AbuseNone {
		code = codeAbuse + proto.FaultCode(ev.Cause)
	}
	w.m.RefusedByReason[code]++
	if se.role == http2.Server {
		w.logSession(se, f)
	} else {
		w.noteBroken(se, f, code, http2.ErrNo)
	}
	w.endStreams(se, f.Reason, 0)
	w.endSession(se)
}

// sessionLost: the connection is gone, or at least its receiving side. A peer
// that half-closes gets no answers: HTTP/2 has no use for such connections.
func (w *Worker) sessionLost(se *session, errno unix.Errno) {
	if se.state == sessionClosing || se.state == sessionConnecting {
		return
	}
	if se.state == sessionGreeting {
		w.sessionNotConnected(se, &faultGreeting)
		return
	}
	if se.state == sessionFlush {
		se.ended = true
		if errno != 0 || w.l.Queued(se.conn) == 0 {
			w.dropSession(se)
		}
		return
	}
	w.endStreams(se, "", errno)
	w.dropSession(se)
}

// breakSession ends a session whose connection is of no more use.
func (w *Worker) breakSession(se *session, why string) {
	if se.state == sessionClosing {
		return
	}
	w.endStreams(se, why, unix.ECONNRESET)
	w.sessionLingersNoMore(se)
	se.state = sessionClosing
	w.l.Abort(se.conn)
}

// dropSession closes at once. Its streams have ended before.
func (w *Worker) dropSession(se *session) {
	if se.state == sessionClosing {
		return
	}
	w.sessionLingersNoMore(se)
	se.state = sessionClosing
	w.l.Close(se.conn)
}

// endStreams ends the exchanges of all streams: the session takes part in
// nothing any more.
func (w *Worker) endStreams(se *session, why string, errno unix.Errno) {
	if se.role == http2.Client {
		w.leaveGroup(se)
	}
	for id := se.h2.First(); id != 0; {
		h := w.h2streams.At(id)
		user := h.User
		h.User = 0 // the session keeps the stream to its own end
		id = se.h2.After(id)
		if user == 0 {
			continue
		}
		st := w.streams.At(user)
		st.id, st.owed = 0, 0
		if st.flags&streamClient != 0 {
			w.clientStreamLost(w.clients.At(st.side), why)
		} else {
			w.originStreamLost(w.origins.At(st.side), errno, false)
		}
	}
	if se.role == http2.Client {
		w.serveGroup(int(se.cluster), int(se.endpoint))
	}
}

func (w *Worker) sessionClosed(se *session) {
	w.sessionLingersNoMore(se)
	if se.role == http2.Server {
		w.countConns(-1)
	} else {
		w.m.UpstreamSessions--
		w.growGroup(int(se.cluster), int(se.endpoint))
	}
	se.h2.Release()
	w.sessions[se.self] = nil
	w.freeSessions = append(w.freeSessions, se.self)
}

// freeEnded frees the entries of streams that ended in this turn: until now
// somebody may have looked at them.
func (w *Worker) freeEnded() {
	for _, i := range w.endedClients {
		c := w.clients.At(i)
		w.freeStream(c.stream)
		w.clients.Free(i)
	}
	w.endedClients = w.endedClients[:0]
	for _, i := range w.endedOrigins {
		w.freeStream(w.origins.At(i).stream)
		w.origins.Free(i)
	}
	w.endedOrigins = w.endedOrigins[:0]
}
