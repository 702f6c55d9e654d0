package proxy

import (
	"slices"

	"golang.org/x/sys/unix"

	"zproxy/loop"
	"zproxy/proto"
	"zproxy/proto/http2"
	"zproxy/proxy/h2conn"
	"zproxy/proxy/transport"
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
	pending  upstream.Turns // origins that wait for a stream
	orphans  int            // permits whose exchange has ended before there was a connection
}

// groups are those of a worker, one for each endpoint that speaks HTTP/2.
type groups struct {
	part
	all  [][]group // by cluster and endpoint
	seen []uint32  // by cluster: its changes that were looked at, see look
}

func (gs *groups) of(o *origin) *group { return &gs.all[o.cluster][o.endpoint] }

// returnPermit gives a permit back to the pool.
func (gs *groups) returnPermit(cluster, endpoint int, addr uint32) {
	if gs.w.drain.on || !gs.w.origins.pools[cluster].PutAddr(gs.l.Now(), uint64(endpoint), endpoint, addr) {
		gs.w.origins.pools[cluster].Closed(endpoint)
	}
}

// join gives the exchange, which has got a permit for endpoint, a stream
// there as soon as a connection has room.
func (gs *groups) join(c *client, x *exchange, endpoint int) {
	gs.look(int(x.cluster))
	g := &gs.all[x.cluster][endpoint]
	switch {
	case gs.w.scarce.bringsNothing(c, x) && gs.fewLeft(g):
		gs.returnPermit(int(x.cluster), endpoint, 0)
		gs.w.scarce.awaitContent(c, x)
		return
	case gs.w.scarce.mute(c, x) && gs.fewLeft(g) && gs.w.scarce.waitsMute(c, x):
		gs.returnPermit(int(x.cluster), endpoint, 0)
		return
	}
	oi, o := gs.w.origins.Alloc()
	o.self, o.stream = oi, gs.w.streams.Wait(oi)
	o.cluster, o.endpoint = uint16(x.cluster), uint16(endpoint)
	x.origin, o.x = oi, c.x
	x.endpoint = int16(endpoint)
	x.state = xConnecting
	x.asks(gs.l.Now())
	if g.pending.Len() == 0 {
		if se := gs.roomIn(g, x.hasBody()); se != nil {
			gs.open(c, x, o, se)
			return
		}
	}
	g.pending.Push(gs.l.Now(), oi, gs.w.scarce.asker(c, x))
	gs.w.clientDeadline(c, x)
	gs.w.legs.due(&o.leg, gs.l.Now()+gs.w.clusters[x.cluster].QueueNs)
	gs.grow(int(o.cluster), int(o.endpoint))
	if gs.full(g) {
		gs.w.scarce.press(int(o.cluster))
	}
}

// full says that all the streams there may be are taken.
func (gs *groups) full(g *group) bool {
	return len(g.sessions) >= gs.w.snap.HTTP2.UpstreamSessions && !gs.connecting(g) && gs.roomIn(g, false) == nil
}

// fewLeft says that no more than a quarter of the streams there may be is left.
func (gs *groups) fewLeft(g *group) bool {
	most, taken := (gs.w.snap.HTTP2.UpstreamSessions-len(g.sessions))*gs.w.snap.HTTP2.UpstreamStreams, g.pending.Len()
	for _, i := range g.sessions {
		se := gs.w.h2.At(i)
		if !se.IsOpen() {
			most += gs.w.snap.HTTP2.UpstreamStreams
			continue
		}
		most += min(gs.w.snap.HTTP2.UpstreamStreams, se.H2.Active()+se.H2.Capacity())
		taken += se.H2.Active()
	}
	return 4*taken >= 3*most
}

// hasBody says that content is to be sent, or may come.
func (x *exchange) hasBody() bool {
	return x.flags&xRequestDone == 0 || x.flags&xUpgrade != 0 || !x.backlog.Empty()
}

// receivePermit takes a permit that a neighbour could spare.
func (gs *groups) receivePermit(m loop.Mail, cluster, endpoint int) {
	gs.m.UpstreamAdopted++
	if c, x := gs.w.handoff.asking(m.A); x != nil {
		gs.w.origins.pools[cluster].Adopted(endpoint)
		gs.join(c, x, endpoint)
	} else {
		if !gs.w.origins.pools[cluster].AdoptIdle(gs.l.Now(), uint64(endpoint), endpoint, 0) {
			gs.w.origins.pools[cluster].Closed(endpoint)
		}
	}
	gs.w.origins.freed(cluster)
}

// warm has a connection ready before the first exchange asks.
func (gs *groups) warm(cluster, endpoint int) {
	g := &gs.all[cluster][endpoint]
	if len(g.sessions) > 0 && !gs.connecting(g) {
		gs.returnPermit(cluster, endpoint, 0)
		return
	}
	g.orphans++
	gs.grow(cluster, endpoint)
}

// connecting says that a connection of g is being opened.
func (gs *groups) connecting(g *group) bool {
	for _, i := range g.sessions {
		if gs.w.h2.At(i).Opens() {
			return true
		}
	}
	return false
}

// roomIn finds a connection that takes one more stream: the first that does,
// so that the others can run dry. A body goes where most of the window is left,
// as long as another connection may be opened: what has used it up may be stuck.
func (gs *groups) roomIn(g *group, body bool) *h2conn.Session {
	roomy := body && len(g.sessions) < gs.w.snap.HTTP2.UpstreamSessions
	for _, i := range g.sessions {
		se := gs.w.h2.At(i)
		if se.IsOpen() && se.H2.Active() < gs.w.snap.HTTP2.UpstreamStreams && se.H2.Capacity() > 0 &&
			(!roomy || se.H2.Roomy()) {
			return se
		}
	}
	return nil
}

// grow opens one more connection when streams wait and none is being
// opened.
func (gs *groups) grow(cluster, endpoint int) {
	g := &gs.all[cluster][endpoint]
	if g.pending.Len()+g.orphans == 0 || len(g.sessions) >= gs.w.snap.HTTP2.UpstreamSessions || gs.connecting(g) {
		return
	}
	r, key := gs.w.origins.remote(cluster, endpoint)
	if r == nil {
		if len(g.sessions) == 0 {
			gs.failed(cluster, endpoint, 0, &faultUnresolved)
		}
		return
	}
	conn := gs.w.origins.connect(r, cluster, endpoint)
	if conn == 0 {
		if len(g.sessions) == 0 {
			gs.failed(cluster, endpoint, 0, &faultNoSocket)
		}
		return
	}
	se := gs.w.h2.Dial(conn, cluster, endpoint, key, gs.w.clusters[cluster].IdleTimeoutNs)
	gs.l.Deadline(se.Conn, gs.l.Now()+gs.w.clusters[cluster].ConnectNs)
	gs.m.UpstreamConnects++
	g.sessions = append(g.sessions, se.Self)
}

func (gs *groups) connected(se *h2conn.Session, errno unix.Errno) {
	if errno != 0 {
		gs.notConnected(se, gs.w.origins.connectFault(int(se.Cluster), errno))
		return
	}
	if !gs.agreed(se) {
		gs.w.origins.refusals[se.Cluster] = &faultNoH2
		if cl := gs.w.clusters[se.Cluster]; cl.Spare != 0 {
			cl.Lost.Store(true)
		}
		gs.notConnected(se, &faultNoH2)
		return
	}
	gs.w.h2.Greet(se)
}

// greeted: the origin has said what it allows. Only now are requests
// sent: a process that was about to end when it was connected to, or one that
// does not speak HTTP/2, has got none.
func (gs *groups) greeted(se *h2conn.Session) {
	cluster, endpoint := int(se.Cluster), int(se.Endpoint)
	gs.w.origins.pools[cluster].DialOK(gs.l.Now(), endpoint)
	gs.w.h2.Opened(se)
	g := &gs.all[cluster][endpoint]
	for ; g.orphans > 0; g.orphans-- {
		gs.returnPermit(cluster, endpoint, se.Addr)
	}
	gs.serve(cluster, endpoint)
}

// notConnected: whoever waits for this connection alone goes elsewhere.
func (gs *groups) notConnected(se *h2conn.Session, f *proto.Fault) {
	gs.m.UpstreamConnectErrors++
	gs.leave(se)
	addr := se.Addr
	cluster, endpoint := int(se.Cluster), int(se.Endpoint)
	gs.w.h2.Drop(se)
	g := &gs.all[cluster][endpoint]
	if len(g.sessions) == 0 || gs.w.clusters[cluster].Lost.Load() {
		gs.failed(cluster, endpoint, addr, f)
		return
	}
	for ; g.orphans > 0; g.orphans-- {
		gs.returnPermit(cluster, endpoint, 0)
	}
}

// failed: there is no connection to endpoint. One permit is spent on the
// report, the others are given up.
func (gs *groups) failed(cluster, endpoint int, addr uint32, f *proto.Fault) {
	g := &gs.all[cluster][endpoint]
	p := gs.w.origins.pools[cluster]
	for i := range g.pending.Len() + g.orphans {
		if i > 0 {
			p.Closed(endpoint)
		} else {
			gs.w.origins.reportDial(cluster, endpoint, addr, f)
		}
	}
	pending := g.pending
	g.pending, g.orphans = upstream.Turns{}, 0
	for oi, ok := pending.Pop(0); ok; oi, ok = pending.Pop(0) {
		o := gs.w.origins.At(oi)
		x := gs.w.xs.At(o.x)
		c := gs.w.clients.At(x.client)
		x.origin, o.x = 0, 0
		o.flags |= originUncounted
		gs.w.origins.endStream(o, http2.ErrCancel)
		gs.w.origins.dialAgain(c, x, endpoint, f)
	}
	gs.w.origins.freed(cluster)
}

// servePending opens streams for those that wait, as far as there is room.
func (gs *groups) servePending(cluster, endpoint int) {
	g := &gs.all[cluster][endpoint]
	for {
		oi, ok := g.pending.Next()
		if !ok {
			return
		}
		o := gs.w.origins.At(oi)
		x := gs.w.xs.At(o.x)
		se := gs.roomIn(g, x.hasBody())
		if se == nil {
			gs.grow(cluster, endpoint)
			return
		}
		g.pending.Pop(gs.l.Now())
		gs.open(gs.w.clients.At(x.client), x, o, se)
	}
}

// serve: streams or a connection have ended, and whoever waits can have
// their room.
func (gs *groups) serve(cluster, endpoint int) {
	gs.servePending(cluster, endpoint)
	gs.w.origins.freed(cluster)
}

// open gives o a stream of se, which has room, and sends its
// request there.
func (gs *groups) open(c *client, x *exchange, o *origin, se *h2conn.Session) {
	if x.flags&xUpgrade != 0 && !se.H2.ExtendedConnect() { // RFC 8441 3
		gs.w.failExchange(c, x, &faultNoConnect)
		return
	}
	if !gs.w.streams.Begin(o.stream, se) {
		gs.w.failExchange(c, x, &faultNoEndpoint)
		return
	}
	o.addr = se.Addr
	o.uses = se.Uses - 1
	if se.Uses > 1 {
		x.flags |= xReused
		gs.m.UpstreamReused++
	} else {
		x.connectUs = microseconds(x.took(gs.l.Now()))
	}
	gs.m.UpstreamStreams++
	gs.w.attach(c, x, o.self, o)
}

// leave takes a connection out of those that get new streams.
func (gs *groups) leave(se *h2conn.Session) {
	g := &gs.all[se.Cluster][se.Endpoint]
	for i, j := range g.sessions {
		if j == se.Self {
			g.sessions = append(g.sessions[:i], g.sessions[i+1:]...)
			return
		}
	}
}

// agreed says whether a connection to an origin is good for HTTP/2: within TLS
// that is agreed on (RFC 9113 3.2).
func (gs *groups) agreed(se *h2conn.Session) bool {
	return gs.w.clusters[se.Cluster].TLS[se.Endpoint] == nil || gs.l.ALPN(se.Conn) == transport.ProtocolHTTP2
}

// retire lets the connections to a cluster go that is to have no more requests.
func (gs *groups) retire(cluster int) {
	for ep := range gs.all[cluster] {
		for _, i := range slices.Clone(gs.all[cluster][ep].sessions) {
			if se := gs.w.h2.At(i); se.H2.Active() == 0 {
				gs.w.h2.Leave(se, false)
			}
		}
	}
}
