package origins

import (
	"slices"

	"golang.org/x/sys/unix"

	"zproxy/proto/http2"
	"zproxy/proxy/h2conn"
	"zproxy/upstream"
)

// group is one loop's HTTP/2 connections to one endpoint. Exchanges share them:
// as few as hold all streams, so that the requests of a turn leave together.
//
// What the upstream pool counts as connections are here permits to have a stream
// open. They are anonymous: all of an endpoint have its number. Every
// exchange at an endpoint holds one, from Acquire until its stream has ended;
// then it goes back to the pool.
type group struct {
	sessions []uint32       // that take streams, or will once they are connected
	pending  upstream.Turns // leases that wait for a stream
	orphans  int            // permits whose exchange has ended before there was a connection
}

// groups are those of a worker, and the leases that are streams.
type groups struct {
	part
	// Limits of the connections to an endpoint, and of the streams of one.
	sessionsMost, streamsMost int
	ended                     []ended // streams whose entries are free at the end of the turn
}

// ended is a lease of a stream that is over.
type ended struct{ lease, stream uint32 }

// returnPermit gives a permit back to the pool.
func (gs *groups) returnPermit(cl *cluster, endpoint int, addr uint32) {
	if gs.ls.draining || !cl.pool.PutAddr(gs.l.Now(), uint64(endpoint), endpoint, addr) {
		cl.pool.Closed(endpoint)
	}
}

// ReturnPermit gives a permit back that was not used.
func (gs *groups) ReturnPermit(cluster, endpoint int) {
	gs.returnPermit(gs.ls.clusters[cluster], endpoint, 0)
}

// permit is one for endpoint.
func (gs *groups) permit(id, endpoint int) *Event {
	gs.look(gs.ls.clusters[id])
	return gs.ls.answer(Permit, id, endpoint)
}

// Wish is what is asked of a stream: that it can carry content, or become a tunnel.
type Wish struct{ Body, Connect bool }

// Stream uses a permit for endpoint to open a stream there. Nil: no connection has room,
// see Await.
func (gs *groups) Stream(id, endpoint int, wish Wish) *Event {
	g := &gs.ls.clusters[id].groups[endpoint]
	if g.pending.Len() > 0 {
		return nil
	}
	se := gs.roomIn(g, wish.Body)
	if se == nil {
		return nil
	}
	n, l := gs.wait(id, endpoint, wish)
	return gs.begin(n, l, se)
}

// wait begins the lease of who waits for a stream.
func (gs *groups) wait(id, endpoint int, wish Wish) (uint32, *lease) {
	n, l := gs.ls.alloc(id, endpoint, awaiting)
	l.stream = gs.streams.Wait(n)
	if wish.Body {
		l.flags |= hasBody
	}
	if wish.Connect {
		l.flags |= connects
	}
	return n, l
}

// Await uses a permit to wait for a stream at endpoint. Those that wait take turns, by whom
// they are for, until they have waited for as long as the upstream's queue lets them.
func (gs *groups) Await(id, endpoint int, wish Wish, who upstream.Client) *Event {
	cl := gs.ls.clusters[id]
	g := &cl.groups[endpoint]
	n, l := gs.wait(id, endpoint, wish)
	g.pending.Push(gs.l.Now(), n, who)
	gs.streams.Due(l.stream, gs.l.Now()+cl.QueueNs)
	gs.grow(id, endpoint)
	ev := gs.ls.answer(Coming, id, endpoint)
	ev.Lease, ev.Stream, ev.Full = n, l.stream, gs.full(g)
	return ev
}

// full says that all the streams there may be are taken.
func (gs *groups) full(g *group) bool {
	return len(g.sessions) >= gs.sessionsMost && !gs.connecting(g) && gs.roomIn(g, false) == nil
}

// FewLeft says that no more than a quarter of the streams there may be at an endpoint is
// left.
func (gs *groups) FewLeft(cluster, endpoint int) bool {
	g := &gs.ls.clusters[cluster].groups[endpoint]
	most, taken := (gs.sessionsMost-len(g.sessions))*gs.streamsMost, g.pending.Len()
	for _, i := range g.sessions {
		se := gs.h2.At(i)
		if !se.IsOpen() {
			most += gs.streamsMost
			continue
		}
		most += min(gs.streamsMost, se.H2.Active()+se.H2.Capacity())
		taken += se.H2.Active()
	}
	return 4*taken >= 3*most
}

// Short is Pool.Short, and so where few streams are left at every endpoint.
func (gs *groups) Short(cluster int) bool {
	cl := gs.ls.clusters[cluster]
	if cl.pool.Short() || !cl.H2 {
		return cl.pool.Short()
	}
	for ep := range cl.groups {
		if !gs.FewLeft(cluster, ep) {
			return false
		}
	}
	return true
}

// Crowd is how many wait for streams where all that there may be are taken.
func (gs *groups) Crowd(cluster int) (waiting int) {
	for ep := range gs.ls.clusters[cluster].groups {
		if g := &gs.ls.clusters[cluster].groups[ep]; gs.full(g) {
			waiting += g.pending.Len()
		}
	}
	return waiting
}

// warm has a connection ready before the first exchange asks.
func (gs *groups) warm(id, endpoint int) {
	g := &gs.ls.clusters[id].groups[endpoint]
	if len(g.sessions) > 0 && !gs.connecting(g) {
		gs.ReturnPermit(id, endpoint)
		return
	}
	g.orphans++
	gs.grow(id, endpoint)
}

// connecting says that a connection of g is being opened.
func (gs *groups) connecting(g *group) bool {
	for _, i := range g.sessions {
		if gs.h2.At(i).Opens() {
			return true
		}
	}
	return false
}

// roomIn finds a connection that takes one more stream: the first that does,
// so that the others can run dry. A body goes where most of the window is left,
// as long as another connection may be opened: what has used it up may be stuck.
func (gs *groups) roomIn(g *group, body bool) *h2conn.Session {
	roomy := body && len(g.sessions) < gs.sessionsMost
	for _, i := range g.sessions {
		se := gs.h2.At(i)
		if se.IsOpen() && se.H2.Active() < gs.streamsMost && se.H2.Capacity() > 0 &&
			(!roomy || se.H2.Roomy()) {
			return se
		}
	}
	return nil
}

// grow opens one more connection when streams wait and none is being opened.
func (gs *groups) grow(id, endpoint int) {
	cl := gs.ls.clusters[id]
	g := &cl.groups[endpoint]
	if g.pending.Len()+g.orphans == 0 || len(g.sessions) >= gs.sessionsMost || gs.connecting(g) {
		return
	}
	r, key := gs.ls.remote(cl, endpoint)
	if r == nil {
		if len(g.sessions) == 0 {
			gs.failed(id, endpoint, 0, Unresolved)
		}
		return
	}
	conn := gs.ls.connect(cl, r, endpoint)
	if conn == 0 {
		if len(g.sessions) == 0 {
			gs.failed(id, endpoint, 0, NoSocket)
		}
		return
	}
	se := gs.h2.Dial(conn, id, endpoint, key, cl.IdleTimeoutNs)
	gs.l.Deadline(se.Conn, gs.l.Now()+cl.ConnectNs)
	gs.m.UpstreamConnects++
	g.sessions = append(g.sessions, se.Self)
}

// Connected: the connection of se stands, or could not be made.
func (gs *groups) Connected(se *h2conn.Session, errno unix.Errno) {
	cl := gs.ls.clusters[se.Cluster]
	if errno != 0 {
		gs.NotConnected(se, gs.ls.causeOf(cl, errno))
		return
	}
	if !gs.ls.agreed(cl, int(se.Endpoint), se.Conn) {
		if cl.Spare != 0 {
			cl.Lost.Store(true)
		}
		gs.NotConnected(se, NoHTTP2)
		return
	}
	gs.h2.Greet(se)
}

// Greeted: the endpoint has said what it allows. Only now are requests
// sent: a process that was about to end when it was connected to, or one that
// does not speak HTTP/2, has got none.
func (gs *groups) Greeted(se *h2conn.Session) {
	cl, endpoint := gs.ls.clusters[se.Cluster], int(se.Endpoint)
	cl.pool.DialOK(gs.l.Now(), endpoint)
	gs.h2.Opened(se)
	g := &cl.groups[endpoint]
	for ; g.orphans > 0; g.orphans-- {
		gs.returnPermit(cl, endpoint, se.Addr)
	}
	gs.Room(se)
}

// NotConnected: whoever waits for this connection alone goes elsewhere.
func (gs *groups) NotConnected(se *h2conn.Session, c Cause) {
	gs.m.UpstreamConnectErrors++
	gs.leave(se)
	addr, id, endpoint := se.Addr, int(se.Cluster), int(se.Endpoint)
	gs.h2.Drop(se)
	cl := gs.ls.clusters[id]
	g := &cl.groups[endpoint]
	if len(g.sessions) == 0 || cl.Lost.Load() {
		gs.failed(id, endpoint, addr, c)
		return
	}
	for ; g.orphans > 0; g.orphans-- {
		gs.returnPermit(cl, endpoint, 0)
	}
}

// failed: there is no connection to endpoint. One permit is spent on the
// report, the others are given up.
func (gs *groups) failed(id, endpoint int, addr uint32, c Cause) {
	cl := gs.ls.clusters[id]
	g := &cl.groups[endpoint]
	for i := range g.pending.Len() + g.orphans {
		if i > 0 {
			cl.pool.Closed(endpoint)
		} else {
			gs.ls.reportDial(cl, endpoint, addr, c)
		}
	}
	pending := g.pending
	g.pending, g.orphans = upstream.Turns{}, 0
	for n, ok := pending.Pop(0); ok; n, ok = pending.Pop(0) {
		gs.ls.all.At(n).flags |= uncounted
		gs.lose(n, c)
	}
	gs.ls.Freed(id)
}

// lose ends lease n, which waits for a stream.
func (gs *groups) lose(n uint32, c Cause) {
	l := gs.ls.all.At(n)
	gs.EndStream(n, http2.ErrCancel)
	gs.ls.tell(Event{Kind: Failed, Lease: n, Cluster: int(l.cluster), Endpoint: int(l.endpoint), Cause: c})
}

// servePending opens streams for those that wait, as far as there is room.
func (gs *groups) servePending(id, endpoint int) {
	g := &gs.ls.clusters[id].groups[endpoint]
	for {
		n, ok := g.pending.Next()
		if !ok {
			return
		}
		l := gs.ls.all.At(n)
		se := gs.roomIn(g, l.flags&hasBody != 0)
		if se == nil {
			gs.grow(id, endpoint)
			return
		}
		g.pending.Pop(gs.l.Now())
		gs.ls.tell(*gs.begin(n, l, se))
	}
}

// Room: streams of se or a connection have ended, and whoever waits can have
// their room.
func (gs *groups) Room(se *h2conn.Session) {
	gs.servePending(int(se.Cluster), int(se.Endpoint))
	gs.ls.Freed(int(se.Cluster))
}

// Left takes se out of those that get new streams: it takes none, or is gone.
func (gs *groups) Left(se *h2conn.Session) {
	gs.leave(se)
	gs.grow(int(se.Cluster), int(se.Endpoint))
}

// begin opens a stream of se, which has room, for lease n.
func (gs *groups) begin(n uint32, l *lease, se *h2conn.Session) *Event {
	ev := gs.ls.answer(Failed, int(l.cluster), int(l.endpoint))
	ev.Lease = n
	if l.flags&connects != 0 && !se.H2.ExtendedConnect() { // RFC 8441 3
		ev.Cause = NoConnect
		gs.EndStream(n, http2.ErrCancel)
		return ev
	}
	if !gs.streams.Begin(l.stream, se) {
		ev.Cause = NoStream
		gs.EndStream(n, http2.ErrCancel)
		return ev
	}
	l.addr, l.state = se.Addr, held
	gs.m.UpstreamStreams++
	if ev.Kind, ev.Stream = Ready, l.stream; se.Uses > 1 {
		gs.m.UpstreamReused++
		ev.Reused, ev.Stale = true, true
	}
	return ev
}

// leave takes a connection out of those that get new streams.
func (gs *groups) leave(se *h2conn.Session) {
	g := &gs.ls.clusters[se.Cluster].groups[se.Endpoint]
	for i, j := range g.sessions {
		if j == se.Self {
			g.sessions = append(g.sessions[:i], g.sessions[i+1:]...)
			return
		}
	}
}

// Configure sets how many HTTP/2 connections there may be to an endpoint, and how many
// streams on each.
func (gs *groups) Configure(sessions, streams int) {
	gs.sessionsMost, gs.streamsMost = sessions, streams
}

// Retire lets the HTTP/2 connections to a cluster go that is to have no more requests.
func (gs *groups) Retire(id int) {
	for ep := range gs.ls.clusters[id].groups {
		for _, i := range slices.Clone(gs.ls.clusters[id].groups[ep].sessions) {
			if se := gs.h2.At(i); se.H2.Active() == 0 {
				gs.h2.Leave(se, false)
			}
		}
	}
}

// EndStream lets a lease that is a stream, or waits to be one, go. code is what the stream
// is reset with if it has not ended.
func (gs *groups) EndStream(n uint32, code http2.ErrCode) {
	l := gs.ls.all.At(n)
	if l.state == closing {
		return
	}
	pending, g := l.state == awaiting, gs.ls.group(l)
	l.state = closing
	if pending {
		g.pending.Remove(n)
	} else {
		gs.m.UpstreamStreams--
	}
	gs.streams.Close(gs.streams.At(l.stream), code)
	gs.ended = append(gs.ended, ended{n, l.stream})
	switch {
	case l.flags&uncounted != 0:
	case pending && gs.connecting(g):
		g.orphans++ // what comes of the connection is reported with it
	default:
		gs.returnPermit(gs.ls.of(l), int(l.endpoint), l.addr)
	}
}

// FreeEnded frees the entries of streams that ended in this turn: until now somebody may
// have looked at them.
func (gs *groups) FreeEnded() {
	for _, e := range gs.ended {
		gs.streams.Free(e.stream)
		gs.ls.all.Free(e.lease)
	}
	gs.ended = gs.ended[:0]
}
