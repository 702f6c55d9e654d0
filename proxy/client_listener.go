package proxy

import (
	"golang.org/x/sys/unix"

	"zproxy/loop"
	"zproxy/proto/http2"
	"zproxy/proxy/h2conn"
	"zproxy/proxy/snapshot"
	"zproxy/proxy/transport"
)

// admit takes on a client whose connection stays on this loop.
func (cs *clients) admit(conn loop.ConnID, listener int) {
	if !cs.w.snaps.serves(listener) { // it is gone since another loop accepted
		cs.l.SetOwner(conn, ownerOf(ownerNobody, 0))
		cs.l.Abort(conn)
		return
	}
	l := cs.w.snap.Listeners[listener]
	greets := l.Greeting != nil && conn != 0 && l.Greeted(cs.l.Peer(conn).Addr())
	if l.Server == nil && !greets && (l.Greeting == nil || l.OthersPlain) {
		cs.open(conn, listener)
		return
	}
	if conn == 0 {
		return // see open
	}
	cs.l.SetOwner(conn, ownerOf(ownerListener, uint32(listener)))
	cs.countConns(1)
	switch {
	case greets:
		cs.l.Greet(conn, l.Greeting)
	case l.Greeting != nil && !l.OthersPlain:
		cs.w.countFault(&faultStranger)
		cs.l.Abort(conn)
	case !cs.l.Secure(conn, l.Server):
		cs.l.Abort(conn)
	}
}

// listenerEvent: a client has connected, or what became of its handshake.
func (cs *clients) listenerEvent(ev *loop.Event, listener int) {
	switch ev.Kind {
	case loop.Accepted:
		cs.accepted(ev.Conn, listener)
	case loop.Connected:
		if ev.Errno != 0 {
			cs.handshakeFailed(ev.Conn, ev.Errno)
			return
		}
		if cs.l.ALPN(ev.Conn) == transport.ProtocolChallenge {
			cs.l.Close(ev.Conn)
			return
		}
		if !cs.w.snaps.serves(listener) { // it is gone since the handshake began
			cs.l.Abort(ev.Conn)
			return
		}
		cs.countConns(-1) // open counts it
		cs.open(ev.Conn, listener)
	case loop.Timer:
		cs.l.Expire(ev.Conn)
	case loop.Closed:
		cs.countConns(-1)
	}
}

// handshakeFailed: a client's connection never came into TLS.
func (cs *clients) handshakeFailed(conn loop.ConnID, errno unix.Errno) {
	f := &faultHandshake
	switch {
	case !cs.l.IsSecure(conn):
		f = &faultProxyHeader
	case errno == unix.ETIMEDOUT:
		f = &faultHandshakeTimeout
	}
	cs.w.countFault(f)
	cs.w.journal.logConn(conn)
	cs.l.Close(conn)
}

// recordsEnd counts and logs clients whose connection ends for what is wrong with
// their records; origins fail their exchanges by it.
func (cs *clients) recordsEnd(ev *loop.Event) {
	index := ev.Owner & ownerMask
	switch {
	case !cs.l.IsSecure(ev.Conn):
		return
	case ev.Owner>>ownerShift == ownerClient:
	case ev.Owner>>ownerShift == ownerSession && cs.w.h2.At(index).Role == http2.Server:
	default:
		return
	}
	switch ev.Errno {
	case unix.EPROTO:
		cs.w.countFault(&faultRecord)
	case unix.ENOBUFS:
		cs.w.countFault(&faultRecordHeld)
	default:
		return
	}
	cs.w.journal.logConn(ev.Conn)
}

// speaks is what a client's connection carries: as was agreed within TLS, else as
// the listener says.
func (cs *clients) speaks(conn loop.ConnID, listener int) snapshot.Versions {
	v := cs.w.snap.Listeners[listener].Versions
	if cs.w.snap.Listeners[listener].Server == nil {
		return v
	}
	switch cs.l.ALPN(conn) {
	case transport.ProtocolHTTP2:
		return snapshot.OnlyHTTP2
	case transport.ProtocolHTTP1:
		return snapshot.OnlyHTTP1
	}
	if v == snapshot.EitherVersion {
		return snapshot.OnlyHTTP1 // RFC 9113 3.3: HTTP/2 within TLS is chosen by ALPN
	}
	return v
}

func (cs *clients) accepted(conn loop.ConnID, listener int) {
	cs.m.Accepted++
	if to := cs.w.handoff.lessLoaded(); to >= 0 && !cs.w.drain.on {
		cs.w.handoff.client(conn, listener, to)
		return
	}
	cs.admit(conn, listener)
}

// open begins to serve a connection; 0 is one that another loop handed
// over and this one has no room for: it is closed already.
func (cs *clients) open(conn loop.ConnID, listener int) {
	if conn == 0 {
		cs.w.countFault(&faultNoSocket)
		return
	}
	versions := cs.speaks(conn, listener)
	if versions == snapshot.OnlyHTTP2 {
		cs.greet(conn, listener)
	} else {
		i, c := cs.Alloc()
		c.conn, c.listener = conn, uint16(listener)
		if versions == snapshot.EitherVersion {
			c.flags |= clientSniff
		}
		cs.l.SetOwner(conn, ownerOf(ownerClient, i))
	}
	cs.countConns(1)
	cs.l.Recv(conn)
	cs.l.Deadline(conn, cs.l.Now()+cs.w.snap.Limits.RequestHeaderNs)
}

// greet begins an HTTP/2 connection of a client. One that began to speak only when the others had
// been told of the end is told, too: its requests on their way are served, and no others.
func (cs *clients) greet(conn loop.ConnID, listener int) *h2conn.Session {
	se := cs.w.h2.Accept(conn, listener)
	cs.w.heads.meet(se)
	if cs.w.drain.on || cs.w.snap.Listeners[listener].Gone {
		cs.w.h2.Leave(se, true)
	}
	return se
}

// countConns publishes how many clients this loop serves, for neighbours that
// look for a less loaded one. Written per connection, never per request.
func (cs *clients) countConns(d int64) {
	cs.m.ClientConns += uint64(d)
	cs.w.peers[cs.w.index].Conns.Store(int64(cs.m.ClientConns))
}

// shed answers a client that there is no memory for to receive its head,
// or the rest of it.
func (cs *clients) shed(i uint32, c *client) {
	cs.replyBare(i, c, &faultMemory, nil)
}

// leaveGone bids farewell to clients whose listener is gone. Who is between requests may have
// sent one, and stays for a while: its answer says that it is the last (RFC 9112 9.6).
func (cs *clients) leaveGone() {
	gone := func(listener uint16) bool { return cs.w.snap.Listeners[listener].Gone }
	for se := range cs.w.h2.Each() {
		if se.Role == http2.Server && gone(se.Listener) {
			cs.w.h2.Leave(se, true)
		}
	}
	for i := uint32(1); i <= uint32(cs.Cap()); i++ {
		if !cs.Live(i) {
			continue
		}
		if c := cs.At(i); c.state == clientIdle && c.flags&clientRunnable == 0 && gone(c.listener) && cs.w.legs.queued(&c.leg) == 0 {
			cs.idleDue(c)
		}
	}
}
