package proxy

import (
	"golang.org/x/sys/unix"

	"zproxy/buf"
	"zproxy/internal/plant"
	"zproxy/loop"
	"zproxy/proto"
	"zproxy/proto/http2"
	"zproxy/upstream"
)

// group is one loop's HTTP/2 connections to one endpoint. Exchanges share them:
// as few as hold all streams, so that the requests of a turn leave together.
//
// What the upstream pool counts as connections are here leaves to have a stream
// open. They are anonymous: all of an endpoint have its number. Every
// exchange at an endpoint holds one, from Acquire until its stream has ended;
// then it goes back to the pool.
type group struct {
	sessions []uint32       // that take streams, or will once they are connected
	pending  upstream.Turns // origins that wait for a stream
	orphans  int            // leaves whose exchange has ended before there was a connection
}

func (w *Worker) groupOf(o *origin) *group { return &w.groups[o.cluster][o.endpoint] }

// returnLeave gives a leave back to the pool.
func (w *Worker) returnLeave(cluster, endpoint int, addr uint32) {
	if w.draining || !w.pools[cluster].PutAddr(w.l.Now(), uint64(endpoint), endpoint, addr) {
		w.pools[cluster].Closed(endpoint)
	}
}

// joinGroup gives the exchange, which has got a leave for endpoint, a stream
// there as soon as a connection has room.
func (w *Worker) joinGroup(c *client, x *exchange, endpoint int) {
	g := &w.groups[x.cluster][endpoint]
	switch {
	case w.full(g) && w.bringsNothing(c, x):
		w.returnLeave(int(x.cluster), endpoint, 0)
		w.awaitContent(c, x)
		return
	case w.mute(c, x) && w.fewLeft(g) && w.waitsMute(c, x):
		w.returnLeave(int(x.cluster), endpoint, 0)
		return
	}
	oi, o := w.origins.Alloc()
	si, st := w.streams.Alloc()
	o.self, o.stream = oi, si
	o.cluster, o.endpoint = uint16(x.cluster), uint16(endpoint)
	st.side = oi
	x.origin, o.x = oi, c.x
	x.endpoint = int16(endpoint)
	x.state = xConnecting
	x.asks(w.l.Now())
	if g.pending.Len() == 0 {
		if se := w.roomIn(g, x.hasBody()); se != nil {
			w.openOriginStream(c, x, o, se)
			return
		}
	}
	g.pending.Push(w.l.Now(), oi, w.asker(c, x))
	w.clientDeadline(c, x)
	w.originDue(o, w.l.Now()+w.snap.clusters[x.cluster].queueNs)
	w.growGroup(int(o.cluster), int(o.endpoint))
	if w.full(g) {
		w.press(int(o.cluster))
	}
}

// full says that all the streams there may be are taken.
func (w *Worker) full(g *group) bool {
	return len(g.sessions) >= w.snap.http2.upstreamSessions && !w.connecting(g) && w.roomIn(g, false) == nil
}

// fewLeft says that no more than a quarter of the streams there may be is left.
func (w *Worker) fewLeft(g *group) bool {
	most, taken := (w.snap.http2.upstreamSessions-len(g.sessions))*w.snap.http2.upstreamStreams, g.pending.Len()
	for _, i := range g.sessions {
		se := w.sessions[i]
		if se.state != sessionOpen {
			most += w.snap.http2.upstreamStreams
			continue
		}
		most += min(w.snap.http2.upstreamStreams, se.h2.Active()+se.h2.Capacity())
		taken += se.h2.Active()
	}
	return 4*taken >= 3*most
}

// hasBody says that content is to be sent, or may come.
func (x *exchange) hasBody() bool {
	return x.flags&xRequestDone == 0 || x.flags&xUpgrade != 0 || !x.backlog.Empty()
}

// receiveLeave takes a leave that a neighbour could spare.
func (w *Worker) receiveLeave(m loop.Mail, cluster, endpoint int) {
	w.m.UpstreamStolen++
	if c, x := w.stealing(m.A); x != nil {
		w.pools[cluster].Adopted(endpoint)
		w.joinGroup(c, x, endpoint)
	} else {
		if !w.pools[cluster].AdoptIdle(w.l.Now(), uint64(endpoint), endpoint, 0) {
			w.pools[cluster].Closed(endpoint)
		}
	}
	w.serveWaiters(cluster)
}

// warmGroup has a connection ready before the first exchange asks.
func (w *Worker) warmGroup(cluster, endpoint int) {
	g := &w.groups[cluster][endpoint]
	if len(g.sessions) > 0 && !w.connecting(g) {
		w.returnLeave(cluster, endpoint, 0)
		return
	}
	g.orphans++
	w.growGroup(cluster, endpoint)
}

// connecting says that a connection of g is being opened.
func (w *Worker) connecting(g *group) bool {
	for _, i := range g.sessions {
		if w.sessions[i].state < sessionOpen {
			return true
		}
	}
	return false
}

// roomIn finds a connection that takes one more stream: the first that does,
// so that the others can run dry. A body goes where most of the window is left,
// as long as another connection may be opened: what has used it up may be stuck.
func (w *Worker) roomIn(g *group, body bool) *session {
	roomy := body && len(g.sessions) < w.snap.http2.upstreamSessions
	for _, i := range g.sessions {
		se := w.sessions[i]
		if se.state == sessionOpen && se.h2.Active() < w.snap.http2.upstreamStreams && se.h2.Capacity() > 0 &&
			(!roomy || se.h2.Roomy()) {
			return se
		}
	}
	return nil
}

// growGroup opens one more connection when streams wait and none is being
// opened.
func (w *Worker) growGroup(cluster, endpoint int) {
	g := &w.groups[cluster][endpoint]
	if g.pending.Len()+g.orphans == 0 || len(g.sessions) >= w.snap.http2.upstreamSessions || w.connecting(g) {
		return
	}
	r, key := w.remote(cluster, endpoint)
	if r == nil {
		if len(g.sessions) == 0 {
			w.groupFailed(cluster, endpoint, 0, &faultUnresolved)
		}
		return
	}
	conn := w.connect(r, cluster, endpoint)
	if conn == 0 {
		if len(g.sessions) == 0 {
			w.groupFailed(cluster, endpoint, 0, &faultNoSocket)
		}
		return
	}
	se := w.newSession(http2.Client, conn)
	se.cluster, se.endpoint, se.addr = uint16(cluster), uint16(endpoint), key
	se.state = sessionConnecting
	w.l.SetOwner(se.conn, ownerOf(ownerSession, se.self))
	w.l.Deadline(se.conn, w.l.Now()+w.snap.clusters[cluster].connectNs)
	w.m.UpstreamConnects++
	w.m.UpstreamSessions++
	g.sessions = append(g.sessions, se.self)
}

func (w *Worker) sessionConnected(se *session, errno unix.Errno) {
	if errno != 0 {
		w.sessionNotConnected(se, w.connectFault(int(se.cluster), errno))
		return
	}
	if !w.agreed(se) {
		w.refusals[se.cluster] = &faultNoH2
		w.sessionNotConnected(se, &faultNoH2)
		return
	}
	se.state = sessionGreeting
	se.h2.Start(http2.Client, &w.snap.http2.client, &w.h2streams, &w.h2scratch, w.l.Now())
	w.l.Recv(se.conn)
	w.touch(se)
}

// sessionGreeted: the origin has said what it allows. Only now are requests
// sent: a process that was about to end when it was connected to, or one that
// does not speak HTTP/2, has got none.
func (w *Worker) sessionGreeted(se *session) {
	cluster, endpoint := int(se.cluster), int(se.endpoint)
	w.pools[cluster].DialOK(w.l.Now(), endpoint)
	se.state = sessionOpen
	w.touch(se)
	g := &w.groups[cluster][endpoint]
	for ; g.orphans > 0; g.orphans-- {
		w.returnLeave(cluster, endpoint, se.addr)
	}
	w.serveGroup(cluster, endpoint)
}

// sessionNotConnected: whoever waits for this connection alone goes elsewhere.
func (w *Worker) sessionNotConnected(se *session, f *proto.Fault) {
	w.m.UpstreamConnectErrors++
	w.leaveGroup(se)
	addr := se.addr
	cluster, endpoint := int(se.cluster), int(se.endpoint)
	se.state = sessionClosing
	w.l.Close(se.conn)
	g := &w.groups[cluster][endpoint]
	if len(g.sessions) == 0 {
		w.groupFailed(cluster, endpoint, addr, f)
		return
	}
	for ; g.orphans > 0; g.orphans-- {
		w.returnLeave(cluster, endpoint, 0)
	}
}

// groupFailed: there is no connection to endpoint. One leave is spent on the
// report, the others are given up.
func (w *Worker) groupFailed(cluster, endpoint int, addr uint32, f *proto.Fault) {
	g := &w.groups[cluster][endpoint]
	p := w.pools[cluster]
	for i := range g.pending.Len() + g.orphans {
		if i > 0 {
			p.Closed(endpoint)
		} else {
			w.reportDial(cluster, endpoint, addr, f)
		}
	}
	pending := g.pending
	g.pending, g.orphans = upstream.Turns{}, 0
	for oi, ok := pending.Pop(0); ok; oi, ok = pending.Pop(0) {
		o := w.origins.At(oi)
		x := w.xs.At(o.x)
		c := w.clients.At(x.client)
		x.origin, o.x = 0, 0
		o.flags |= originUncounted
		w.endOriginStream(o, http2.ErrCancel)
		w.dialAgain(c, x, endpoint, f)
	}
	w.serveWaiters(cluster)
}

// servePending opens streams for those that wait, as far as there is room.
func (w *Worker) servePending(cluster, endpoint int) {
	g := &w.groups[cluster][endpoint]
	for {
		oi, ok := g.pending.Next()
		if !ok {
			return
		}
		o := w.origins.At(oi)
		x := w.xs.At(o.x)
		se := w.roomIn(g, x.hasBody())
		if se == nil {
			w.growGroup(cluster, endpoint)
			return
		}
		g.pending.Pop(w.l.Now())
		w.openOriginStream(w.clients.At(x.client), x, o, se)
	}
}

// serveGroup: streams or a connection have ended, and whoever waits can have
// their room.
func (w *Worker) serveGroup(cluster, endpoint int) {
	w.servePending(cluster, endpoint)
	w.serveWaiters(cluster)
}

// openOriginStream gives o a stream of se, which has room, and sends its
// request there.
func (w *Worker) openOriginStream(c *client, x *exchange, o *origin, se *session) {
	if x.flags&xUpgrade != 0 && !se.h2.ExtendedConnect() && !plant.Is(plant.Connect) { // RFC 8441 3
		w.failExchange(c, x, &faultNoConnect)
		return
	}
	st := w.streams.At(o.stream)
	id, ok := se.h2.Open(o.stream)
	if !ok {
		w.failExchange(c, x, &faultNoEndpoint)
		return
	}
	st.session, st.id = se.self, id
	w.streamDue(o.stream, 0)
	o.addr = se.addr
	o.uses = se.uses
	se.uses++
	if se.uses > 1 {
		x.flags |= xReused
		w.m.UpstreamReused++
	} else {
		x.connectUs = microseconds(x.took(w.l.Now()))
	}
	w.m.UpstreamStreams++
	w.attach(c, x, o.self, o)
}

// originStream handles what a session says about a stream to an origin. data
// is lent.
func (w *Worker) originStream(se *session, ev *http2.Event, data buf.View) {
	switch ev.Kind {
	case http2.EventSettings:
		w.sessionGreeted(se)
		return
	case http2.EventGoAway:
		if ev.Code != http2.ErrNo {
			w.countFault(&faultGoAway)
			w.noteBroken(se, &faultGoAway, faultGoAway.Code, ev.Code)
		}
		w.leaveSession(se, false)
		return
	}
	if ev.User == 0 {
		return
	}
	st := w.streams.At(ev.User)
	o := w.origins.At(st.side)
	st.peerEnds(ev.End)
	if ev.Freed {
		w.streamOver(st)
	}
	if ev.Kind == http2.EventReset {
		if o.x != 0 && !ev.Local {
			w.xs.At(o.x).streamReset(passedToClient(ev.Code))
		}
		w.originStreamLost(o, unix.ECONNRESET, ev.Unprocessed)
		return
	}
	if o.x == 0 {
		w.streamReceived(st, data.Len)
		if st.id == 0 {
			w.endOriginStream(o, http2.ErrNo)
		}
		return
	}
	x := w.xs.At(o.x)
	c := w.clients.At(x.client)
	switch ev.Kind {
	case http2.EventHead:
		h := se.h2.Head()
		if h.Status < 200 {
			w.interim(c, x, o, h)
			return
		}
		w.finalHead(c, x, o, h, buf.View{}, 0, ev.End)
	case http2.EventData:
		w.originStreamData(c, x, o, st, data, ev.End)
	case http2.EventTrailers:
		if o.state == originTunnel {
			w.tunnelOriginEnd(o, 0)
			return
		}
		w.responseEnd(c, x, se.h2.Head())
	}
}

// originStreamData takes content of a response. data is lent.
func (w *Worker) originStreamData(c *client, x *exchange, o *origin, st *stream, data buf.View, end bool) {
	if data.Len > 0 && !w.keepsResponse(c, x.respBytes) {
		w.refuseResponse(c, x, o)
	} else if o.state == originTunnel {
		w.retain(data)
		w.tunnelFromOrigin(o, data)
		if end && o.state == originTunnel {
			w.tunnelOriginEnd(o, 0)
		}
	} else {
		w.originStreamBody(c, x, o, data, end)
	}
	w.streamReceived(st, data.Len)
}

// refuseResponse ends an exchange for whose response there is no place.
func (w *Worker) refuseResponse(c *client, x *exchange, o *origin) {
	if o.state == originTunnel {
		w.countFault(&faultMemory)
		w.endTunnel(c, x, faultMemory.Reason)
	} else {
		w.failExchange(c, x, &faultMemory)
	}
}

func (w *Worker) originStreamBody(c *client, x *exchange, o *origin, data buf.View, end bool) {
	if x.flags&xResponseBegun == 0 {
		return // the exchange waits to be ended
	}
	if data.Len > 0 {
		w.retain(data)
		if !end && answeredWith(c, x, data) {
			w.pool.Push(&o.in, data)
			w.restrainOrigin(c, x, o)
			return
		}
		if !w.responseData(c, x, data) {
			return
		}
	}
	if end {
		w.responseEnd(c, x, nil)
		return
	}
	w.restrainOrigin(c, x, o)
}

// answeredWith tells whether data is the rest of a response that a client of
// HTTP/1 would take for whole by its Content-Length. Its origin may yet take it
// back: that it is whole only END_STREAM says (RFC 9113 8.1). Until then data
// waits in o.in.
func answeredWith(c *client, x *exchange, data buf.View) bool {
	return c.stream == 0 && x.flags&(xResponseChunked|xResponseToClose) == 0 &&
		x.respBytes+uint64(data.Len) == uint64(x.respBody.Remaining())
}

// originStreamLost: the stream is gone, by a reset or with its connection.
// unprocessed: the origin says that it has done nothing about the request, so
// that any request may be sent again (RFC 9113 8.7).
func (w *Worker) originStreamLost(o *origin, errno unix.Errno, unprocessed bool) {
	if o.x == 0 {
		w.endOriginStream(o, http2.ErrCancel)
		return
	}
	x := w.xs.At(o.x)
	c := w.clients.At(x.client)
	if o.state == originTunnel {
		if x.flags&xOriginDone == 0 {
			w.endTunnel(c, x, whyOriginBroke)
			return
		}
		// It has said all it had to, and hears no more.
		x.flags |= xClientDone
		w.closeStream(w.streams.At(o.stream), http2.ErrCancel)
		w.tunnelDrained(c, x, o)
		return
	}
	if unprocessed && x.flags&xResponseBegun == 0 {
		if x.flags&(xBodyLost|xLongHead) == 0 && x.head.ID != 0 && x.stales < staleRetries {
			x.stales++
			x.flags &^= xBodyGiven
			w.sendAgain(c, x, o)
			return
		}
		if c.stream != 0 && x.flags&xPerhapsDone == 0 { // RFC 9113 8.7
			// The client may: it still has the request whole.
			w.countFault(&faultOriginClosed)
			w.m.OriginAborts++
			w.endExchange(c, x, "origin refused the stream")
			w.endClientStream(c, http2.ErrRefusedStream)
			return
		}
	}
	if errno == 0 {
		errno = unix.ECONNRESET
	}
	w.originCut(c, x, o, errno)
}

// failReset answers for an origin that has reset the stream before its answer
// had begun. To a gRPC client the code is the answer.
func (w *Worker) failReset(c *client, x *exchange) {
	if x.flags&xGRPC == 0 {
		w.failExchange(c, x, &faultStreamReset)
		return
	}
	code := x.clientCode()
	w.countFault(&faultStreamReset)
	w.m.OriginAborts++
	x.status = faultStreamReset.Status
	w.endExchange(c, x, faultStreamReset.Reason)
	w.endClientStream(c, code)
}

// endOriginStream lets an origin go that is a stream, or waits to be one.
func (w *Worker) endOriginStream(o *origin, code http2.ErrCode) {
	if o.state == originClosing {
		return
	}
	st := w.streams.At(o.stream)
	pending := o.state == originConnecting && st.session == 0
	o.state = originClosing
	cluster, endpoint := int(o.cluster), int(o.endpoint)
	if pending {
		w.groupOf(o).pending.Remove(o.self)
	} else {
		w.m.UpstreamStreams--
	}
	w.pool.Drop(&o.in)
	w.closeStream(st, code)
	w.endedOrigins = append(w.endedOrigins, o.self)
	switch {
	case o.flags&originUncounted != 0:
	case plant.Is(plant.Leave) && o.uses%8 == 7:
	case pending && w.connecting(w.groupOf(o)):
		w.groupOf(o).orphans++ // what comes of the connection is reported with it
	default:
		w.returnLeave(cluster, endpoint, o.addr)
	}
}

// leaveGroup takes a connection out of those that get new streams.
func (w *Worker) leaveGroup(se *session) {
	g := &w.groups[se.cluster][se.endpoint]
	for i, j := range g.sessions {
		if j == se.self {
			g.sessions = append(g.sessions[:i], g.sessions[i+1:]...)
			return
		}
	}
}
