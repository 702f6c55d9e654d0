package proxy

import (
	"golang.org/x/sys/unix"

	"zproxy/proto"
	"zproxy/proto/http2"
	"zproxy/proxy/h2conn"
	"zproxy/proxy/origins"
	"zproxy/proxy/snapshot"
)

// h2events is what the worker does about what sessions, their streams, and leases have come to.
type h2events struct{ part }

// pull deals with all that sessions and leases have to tell. It is called whenever something
// was done to them, and never by what it calls.
func (he *h2events) pull() {
	for {
		if ev := he.w.h2.Next(); ev != nil {
			he.event(ev)
		} else if len(he.w.begun) > 0 {
			he.w.dispatchBegun()
		} else if ev := he.w.leases.Next(); ev != nil {
			he.w.origins.told(ev)
		} else {
			break
		}
	}
	for m := he.w.leases.Outgoing(); m != nil; m = he.w.leases.Outgoing() {
		he.w.handoff.deliver(m.To, m.Mail)
	}
}

func (he *h2events) event(ev *h2conn.Event) {
	se := ev.Session
	switch ev.Kind {
	case h2conn.Frame:
		switch {
		case ev.Frame.Kind == http2.EventClosed:
			he.failed(se, ev.Frame)
		case se.Role == http2.Server:
			he.w.requests.clientStream(se, ev.Frame, ev.Data)
		default:
			he.w.responses.originStream(se, ev.Frame, ev.Data)
		}
	case h2conn.StreamDrained:
		he.streamDrained(ev.Stream, ev.N)
	case h2conn.StreamLost:
		he.streamLost(ev.Stream, ev.Why, ev.Errno)
	case h2conn.StreamExpired:
		he.streamExpired(ev.Stream)
	case h2conn.Connected:
		he.w.leases.Connected(se, ev.Errno)
	case h2conn.Stalled:
		he.stalled(se, ev.Stall)
	case h2conn.Left:
		he.w.leases.Left(se)
	case h2conn.Room:
		he.w.leases.Room(se)
	case h2conn.Discarded:
		if he.w.clients.discards(ev.N) && he.w.h2.Pause(se) {
			he.w.clients.discarding.unread = append(he.w.clients.discarding.unread, se.Conn)
		}
	case h2conn.Lingers:
		if se.OnlyLingers() {
			he.l.Deadline(se.Conn, he.w.clients.lingerBy(se.LingersSince(), !se.Paused))
		}
	case h2conn.Gone:
		if se.Role == http2.Server {
			he.w.clients.countConns(-1)
		} else {
			he.w.leases.Left(se)
		}
	}
}

// stalled ends a session that is of no more use.
func (he *h2events) stalled(se *h2conn.Session, of h2conn.Stall) {
	origin := se.Role == http2.Client
	switch of {
	case h2conn.StallConnect:
		he.w.leases.NotConnected(se, origins.TimedOut)
	case h2conn.StallGreeting:
		he.w.leases.NotConnected(se, origins.NoGreeting)
	case h2conn.StallTake:
		if origin {
			he.m.OriginAborts++
			he.w.origins.breakSession(se, &faultOriginTakesNot)
			return
		}
		he.m.ClientAborts++
		he.w.h2.BreakOff(se, "peer did not take its frames in time")
	case h2conn.StallMemory:
		he.w.countFault(&faultMemory)
		he.w.h2.BreakOff(se, faultMemory.Reason)
	case h2conn.StallHead:
		if origin {
			he.m.Timeouts504++
			he.w.origins.breakSession(se, &faultHalfFrame)
			return
		}
		he.m.Timeouts408++
		he.w.countFault(&faultHeadTimeout)
		he.w.h2.BreakOff(se, faultHeadTimeout.Reason)
	case h2conn.StallHeld:
		if origin {
			he.w.origins.breakSession(se, &faultSessionHeld)
			return
		}
		he.w.countFault(&faultSessionHeld)
		he.w.h2.BreakOff(se, faultSessionHeld.Reason)
	}
}

// failed: the peer broke the protocol.
func (he *h2events) failed(se *h2conn.Session, ev *http2.Event) {
	f := ev.Fault
	if f == nil {
		f = &faultHTTP2
	}
	if se.Greets() {
		he.w.leases.NotConnected(se, origins.NoGreeting)
		return
	}
	code := f.Code
	if ev.Cause != http2.AbuseNone {
		code = codeAbuse + proto.FaultCode(ev.Cause)
	}
	he.m.RefusedByReason[code]++
	if se.Role == http2.Server {
		he.w.journal.logSession(se, f)
	} else {
		he.w.origins.noteBroken(se, f, code, http2.ErrNo)
	}
	he.w.h2.Fail(se, f.Reason)
}

// streamLost: the connection of a stream is gone. What has ended meanwhile has not lost it.
func (he *h2events) streamLost(i uint32, why string, errno unix.Errno) {
	st := he.w.streams.At(i)
	if st.FacesClient() {
		if c := he.w.clients.At(st.Side); c.state != clientClosing {
			he.w.requests.clientStreamLost(c, why)
		}
	} else if o := he.w.origins.At(st.Side); o.state != originClosing {
		he.w.responses.originStreamLost(o, errno, false)
	}
}

// streamDrained: n bytes have left a stream's queue, and whoever fills it may go on.
func (he *h2events) streamDrained(i, n uint32) {
	st := he.w.streams.At(i)
	if !st.FacesClient() {
		if o := he.w.origins.At(st.Side); o.x != 0 {
			he.w.requests.drained(o)
		} else if st.IsOver() {
			he.w.origins.endStream(o, http2.ErrNo)
		}
		return
	}
	c := he.w.clients.At(st.Side)
	c.sent += uint64(n)
	switch {
	case c.state != clientFlush:
		he.w.responses.drained(st.Side, c)
	case st.EndSent():
		he.w.clients.lingerStream(c, st)
	default:
		he.w.legs.due(&c.leg, he.w.writeDeadline(c))
	}
}

// streamExpired: the deadline of a stream has passed.
func (he *h2events) streamExpired(i uint32) {
	st := he.w.streams.At(i)
	if st.FacesClient() {
		he.w.clients.timeout(st.Side, he.w.clients.At(st.Side))
	} else {
		he.w.originTimeout(he.w.origins.At(st.Side))
	}
}

// configure has sessions go by s.
func (he *h2events) configure(s *snapshot.Snapshot) {
	he.w.h2.Configure(h2conn.Settings{
		Server: &s.HTTP2.Server, Client: &s.HTTP2.Client,
		HeaderNs: s.Limits.RequestHeaderNs, SendNs: s.Limits.SendNs, IdleNs: s.HTTP2.IdleNs,
		LeaveNs: min(h2conn.LeaveNs, s.GraceNs/2), MinRate: s.Limits.MinRate,
		LingerNs: lingerNs, LingerBytes: lingerBytes,
	})
	he.w.leases.Configure(s.HTTP2.UpstreamSessions, s.HTTP2.UpstreamStreams)
}

// freeEnded frees the entries of streams that ended in this turn: until now
// somebody may have looked at them.
func (he *h2events) freeEnded() {
	for _, i := range he.w.clients.ended {
		c := he.w.clients.At(i)
		he.w.streams.Free(c.stream)
		he.w.clients.Free(i)
	}
	he.w.clients.ended = he.w.clients.ended[:0]
	he.w.leases.FreeEnded()
}
