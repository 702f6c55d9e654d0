package proxy

import (
	"time"

	"zproxy/proto/http2"
)

const (
	drainStepNs = int64(20 * time.Millisecond)
	// drainFreshNs is how long clients that connected just before the drain
	// may take to send a request.
	drainFreshNs = int64(time.Second)
)

// drain is how a worker comes to its end.
type drain struct {
	part
	on bool
	// Whoever is left at by is cut off; before that, at freshBy, whoever has sent no
	// request.
	by, freshBy int64
	idleNs      int64 // how long clients may stay between requests
	awayBy      int64 // WebSocket clients are told to go away then
	cutting     bool  // the grace is over
	cut         CutOff
	done        bool
	standby     bool // it does not end by itself: see AskStandBy
}

// CutOff is what the end of the grace cut off: client connections, streams on
// them, and requests or tunnels under way on either.
type CutOff struct{ Connections, Streams, Requests int }

// CutOff is for after Run.
func (w *Worker) CutOff() CutOff { return w.drain.cut }

// begin stops accepting. Who is between requests may have sent one, and stays for a while: the
// next answer says that it is the last (RFC 9112 9.6).
func (dr *drain) begin(standby bool) {
	dr.standby = standby
	if dr.on {
		return
	}
	now := dr.l.Now()
	dr.on = true
	dr.w.leases.Drain(true)
	dr.by = now + dr.w.snap.GraceNs
	if dr.idleNs = dr.w.snap.EndIdleNs; standby {
		dr.idleNs = dr.w.snap.GraceNs // who comes again goes to the other process
	}
	dr.freshBy = min(dr.by, now+max(drainFreshNs, dr.idleNs))
	dr.awayBy = now + dr.w.snap.GraceNs/2
	for _, a := range dr.w.listeners {
		dr.l.StopAccept(a.fd)
	}
	dr.w.listeners = nil
	for se := range dr.w.h2.Each() {
		if se.Role == http2.Server {
			dr.w.h2.Leave(se, true)
		}
	}
	dr.clients(now)
	for i := uint32(1); i <= uint32(dr.w.clients.Cap()); i++ {
		if dr.w.clients.Live(i) {
			if c := dr.w.clients.At(i); c.state == clientIdle && c.requests > 0 && c.flags&clientRunnable == 0 && dr.w.legs.queued(&c.leg) == 0 {
				dr.w.clients.idleDue(c)
			}
		}
	}
	dr.w.setTimer(now + drainStepNs)
}

// resume has the worker serve on. What has been told to go goes.
func (dr *drain) resume() {
	dr.on, dr.standby, dr.cutting = false, false, false
	dr.w.leases.Drain(false)
	dr.w.peers[dr.w.index].drained.Store(false)
}

// step ends the worker when no worker has anything left to do: until then
// it answers its neighbours, who may need the connections it holds. It does
// not come with drain itself, so that what the listeners still gave is seen.
func (dr *drain) step(now int64) {
	dr.clients(now)
	dr.w.peers[dr.w.index].drained.Store(dr.m.ClientConns == 0 && dr.w.clients.Len() == 0 && dr.w.underWay() == 0 && dr.origins(now))
	dr.done = !dr.standby
	for _, p := range dr.w.peers {
		dr.done = dr.done && p.drained.Load()
	}
}

// origins says whether origins whose exchange is over have been sent all
// that is queued for them: the end of a WebSocket above all. When the grace is
// over it drops the rest.
func (dr *drain) origins(now int64) bool {
	sent := !dr.w.leases.Exporting() // what leaves is to arrive before the other loop ends
	for i := uint32(1); i <= uint32(dr.w.leases.Cap()); i++ {
		if !dr.w.leases.IsHeld(i) {
			continue
		}
		if o := dr.w.origins.At(i); o.state == originLinger && dr.w.legs.queued(&o.leg) > 0 {
			if now >= dr.by {
				dr.w.legs.closeOrigin(o)
			} else {
				sent = false
			}
		}
	}
	return sent
}

// clients closes clients that have sent no request, and those that have not begun their
// TLS handshake, and resets all when the grace is over.
func (dr *drain) clients(now int64) {
	if now >= dr.freshBy {
		dr.l.EndHandshakes(now >= dr.by)
	}
	if now >= dr.by {
		if !dr.cutting {
			dr.cutting, dr.cut = true, dr.underWay()
		}
		for se := range dr.w.h2.Each() {
			if se.Role == http2.Server {
				dr.w.h2.BreakOff(se, "shutdown: grace period over")
			}
		}
		dr.w.told.pull()
	}
	for i := uint32(1); i <= uint32(dr.w.clients.Cap()); i++ {
		if !dr.w.clients.Live(i) {
			continue
		}
		c := dr.w.clients.At(i)
		switch {
		case !c.ownsConn(): // its session ends it, but does not say why
			if c.state == clientTunnel && now >= dr.awayBy {
				dr.w.tunnels.away(c)
			}
		case now >= dr.by:
			if c.x != 0 {
				dr.w.endExchange(c, dr.w.xs.At(c.x), "shutdown: grace period over")
			}
			if c.state == clientIdle && c.flags&clientRunnable == 0 && dr.w.legs.queued(&c.leg) == 0 {
				dr.w.clients.close(c)
			} else {
				dr.w.clients.abort(c)
			}
		case c.state == clientIdle && c.requests == 0 && now >= dr.freshBy:
			dr.w.clients.closeAfterFlush(c, false)
		case c.state == clientTunnel && now >= dr.awayBy:
			dr.w.tunnels.away(c)
		}
	}
}

// underWay counts what the end of the process would cut off now. Clients that
// only have to take what is queued for them, or to go away, are not among it.
func (dr *drain) underWay() (cut CutOff) {
	cut.Requests = dr.w.underWay()
	for se := range dr.w.h2.Each() {
		if se.Role == http2.Server && se.H2.Active() > 0 {
			cut.Connections++
			cut.Streams += se.H2.Active()
		}
	}
	for i := uint32(1); i <= uint32(dr.w.clients.Cap()); i++ {
		if !dr.w.clients.Live(i) {
			continue
		}
		if c := dr.w.clients.At(i); c.ownsConn() && (c.x != 0 || c.state == clientHead) {
			cut.Connections++
		}
	}
	return cut
}
