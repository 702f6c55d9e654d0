package h2conn

import "zproxy/proto/http2"

func (ss *Sessions) lingersNoMore(se *Session) {
	if se.state == sessionFlush && se.Role == http2.Server {
		ss.Lingering--
	}
}

// linger sets the deadline of a client's session that has ended; once all has left the
// owner is to set it.
func (ss *Sessions) linger(se *Session) {
	if ss.l.Queued(se.Conn) > 0 {
		if se.takeFrom == 0 {
			se.takeFrom, se.takeMark = ss.l.Now(), ss.taken(se)
		}
		ss.l.Deadline(se.Conn, se.takeFrom+ss.set.SendNs)
		return
	}
	if se.ended {
		ss.Drop(se)
		return
	}
	if se.leaveAt == 0 {
		se.leaveAt = ss.l.Now()
	}
	ss.tell(Event{Kind: Lingers, Session: se})
}

// ResumeLinger reads on a session that lingers. False: it does not, or was read.
func (ss *Sessions) ResumeLinger(se *Session) bool {
	if se.state != sessionFlush || !se.Paused {
		return false
	}
	se.Paused = false
	ss.l.Recv(se.Conn)
	ss.linger(se)
	return true
}

// Pause reads no more of a session. False: so it was already.
func (ss *Sessions) Pause(se *Session) bool {
	if se.Paused {
		return false
	}
	se.Paused = true
	ss.l.Pause(se.Conn)
	return true
}

func (ss *Sessions) lingerReceived(se *Session, n uint32) {
	se.discarded += n
	if se.discarded > ss.set.LingerBytes {
		ss.Drop(se)
		return
	}
	ss.tell(Event{Kind: Discarded, Session: se, N: n})
	if ss.l.Queued(se.Conn) == 0 {
		ss.linger(se)
	}
}

func (ss *Sessions) lingerTimeout(se *Session) {
	if se.Role == http2.Server && ss.l.Queued(se.Conn) > 0 {
		if !ss.takes(se) {
			ss.m.ClientAborts++
			ss.BreakOff(se, "")
			return
		}
		se.takeFrom = 0
		ss.linger(se)
		return
	}
	ss.Drop(se)
}

func (se *Session) OnlyLingers() bool {
	return se.state == sessionFlush && se.Role == http2.Server && se.leaveAt != 0
}
