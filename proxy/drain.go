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

// CutOff is what the end of the grace cut off: client connections, streams on
// them, and requests or tunnels under way on either.
type CutOff struct{ Connections, Streams, Requests int }

// CutOff is for after Run.
func (w *Worker) CutOff() CutOff { return w.cut }

// drain stops accepting and closes whoever is between requests.
func (w *Worker) drain() {
	if w.draining {
		return
	}
	now := w.l.Now()
	w.draining = true
	w.drainBy = now + w.snap.graceNs
	w.drainFreshBy = min(w.drainBy, now+drainFreshNs)
	w.drainAwayBy = now + w.snap.graceNs/2
	for _, fd := range w.listeners {
		w.l.StopAccept(fd)
	}
	w.listeners = nil
	for _, se := range w.sessions {
		if se != nil && se.role == http2.Server {
			w.leaveSession(se, true)
		}
	}
	w.drainClients(now)
	w.setTimer(now + drainStepNs)
}

// drainStep ends the worker when no worker has anything left to do: until then
// it answers its neighbours, who may need the connections it holds. It does
// not come with drain itself, so that what the listeners still gave is seen.
func (w *Worker) drainStep(now int64) {
	w.drainClients(now)
	w.peers[w.index].drained.Store(w.m.ClientConns == 0 && w.clients.Len() == 0 && w.xs.Len() == 0 && w.drainOrigins(now))
	w.stopped = true
	for _, p := range w.peers {
		w.stopped = w.stopped && p.drained.Load()
	}
}

// drainOrigins says whether origins whose exchange is over have been sent all
// that is queued for them: the end of a WebSocket above all. When the grace is
// over it drops the rest.
func (w *Worker) drainOrigins(now int64) bool {
	sent := true
	for i := uint32(1); i <= uint32(w.origins.Cap()); i++ {
		if !w.origins.Live(i) {
			continue
		}
		if w.origins.At(i).state == originExporting {
			sent = false // it is to arrive before the other loop ends
		}
		if o := w.origins.At(i); o.state == originLinger && w.originQueued(o) > 0 {
			if now >= w.drainBy {
				w.closeOrigin(o)
			} else {
				sent = false
			}
		}
	}
	return sent
}

// drainClients closes clients between requests, and those that have not begun their
// TLS handshake, and resets all when the grace is over.
func (w *Worker) drainClients(now int64) {
	if now >= w.drainFreshBy {
		w.l.EndHandshakes(now >= w.drainBy)
	}
	if now >= w.drainBy {
		if !w.cutting {
			w.cutting, w.cut = true, w.underWay()
		}
		for _, se := range w.sessions {
			if se != nil && se.role == http2.Server {
				w.breakSession(se, "shutdown: grace period over")
			}
		}
	}
	for i := uint32(1); i <= uint32(w.clients.Cap()); i++ {
		if !w.clients.Live(i) {
			continue
		}
		c := w.clients.At(i)
		switch {
		case c.stream != 0: // its session ends it, but does not say why
			if c.state == clientTunnel && now >= w.drainAwayBy {
				w.socketAway(c)
			}
		case now >= w.drainBy:
			if c.x != 0 {
				w.endExchange(c, w.xs.At(c.x), "shutdown: grace period over")
			}
			w.abortClient(c)
		case c.state == clientIdle && c.flags&clientRunnable == 0 && (c.requests > 0 || now >= w.drainFreshBy):
			w.closeAfterFlush(c, false)
		case c.state == clientTunnel && now >= w.drainAwayBy:
			w.socketAway(c)
		}
	}
}

// underWay counts what the end of the process would cut off now. Clients that
// only have to take what is queued for them, or to go away, are not among it.
func (w *Worker) underWay() (cut CutOff) {
	cut.Requests = w.xs.Len()
	for _, se := range w.sessions {
		if se != nil && se.role == http2.Server && se.h2.Active() > 0 {
			cut.Connections++
			cut.Streams += se.h2.Active()
		}
	}
	for i := uint32(1); i <= uint32(w.clients.Cap()); i++ {
		if !w.clients.Live(i) {
			continue
		}
		if c := w.clients.At(i); c.stream == 0 && (c.x != 0 || c.state == clientHead) {
			cut.Connections++
		}
	}
	return cut
}
