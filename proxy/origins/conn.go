package origins

import (
	"zproxy/loop"
	"zproxy/upstream"
)

// Quick is Ask for what needs no queue: an idle connection, or room for one more. Nil:
// there is neither.
func (ls *Leases) Quick(cluster int, r *upstream.Request, from *From) *Event {
	d, ok := ls.clusters[cluster].pool.Quick(ls.l.Now(), r.Tried, r.Hash)
	if !ok {
		return nil
	}
	return ls.decided(cluster, r.Waiter, &d, from)
}

// Ask asks for a connection to an endpoint of a cluster.
func (ls *Leases) Ask(cluster int, r *upstream.Request, from *From) *Event {
	d := ls.clusters[cluster].pool.AcquireFor(ls.l.Now(), r)
	return ls.decided(cluster, r.Waiter, &d, from)
}

func (ls *Leases) decided(id int, waiter uint32, d *upstream.Decision, from *From) *Event {
	cl := ls.clusters[id]
	switch d.Kind {
	case upstream.Reuse:
		if cl.H2 {
			return ls.permit(id, d.Endpoint)
		}
		conn := loop.ConnID(d.Conn)
		n := ls.number(conn)
		l := ls.all.At(n)
		l.state = held
		ls.m.UpstreamReused++
		ev := ls.answer(Ready, id, d.Endpoint)
		ev.Lease, ev.Conn, ev.Reused, ev.Stale = n, conn, true, l.use()
		return ev
	case upstream.Dial:
		if cl.H2 {
			return ls.permit(id, d.Endpoint)
		}
		return ls.dial(id, d.Endpoint, from)
	case upstream.Ask:
		ev := ls.answer(Asked, id, d.Endpoint)
		ev.Ask = ls.askLoop(id, waiter, d.Endpoint, d.Loop)
		return ev
	case upstream.Wait:
		ev := ls.answer(Queued, id, d.Endpoint)
		ev.Displaced, ev.At = d.Displaced, cl.pool.NextDue(ls.l.Now())
		return ev
	}
	ev := ls.answer(Refused, id, d.Endpoint)
	ev.Reason = d.Reason
	return ev
}

// dial dials for who asks, and from whom.
func (ls *Leases) dial(id, endpoint int, from *From) *Event {
	cl := ls.clusters[id]
	ev := ls.answer(Failed, id, endpoint)
	r, key := ls.remote(cl, endpoint)
	if r == nil {
		cl.pool.DialFailed(ls.l.Now(), endpoint)
		ls.Freed(id)
		ev.Cause = Unresolved
		return ev
	}
	n, conn := ls.open(id, r, key, endpoint)
	if n == 0 {
		ev.Cause = NoSocket
		return ev
	}
	l := ls.all.At(n)
	if !ls.preface(cl, conn, from) {
		cl.pool.DialGivenUp(ls.l.Now(), endpoint)
		l.flags |= uncounted
		ls.Close(n, conn)
		ev.Cause = NoMemory
		return ev
	}
	l.flags |= wanted
	ev.Kind, ev.Lease, ev.Conn = Coming, n, conn
	return ev
}

// open dials; 0 when the loop has no room for one more connection.
func (ls *Leases) open(id int, r *loop.Remote, key uint32, endpoint int) (uint32, loop.ConnID) {
	cl := ls.clusters[id]
	conn := ls.connect(cl, r, endpoint)
	if conn == 0 {
		ls.m.UpstreamConnectErrors++
		ls.reportDial(cl, endpoint, key, NoSocket)
		return 0, 0
	}
	n, l := ls.alloc(id, endpoint, dialling)
	l.addr = key
	ls.l.SetOwner(conn, ls.owner|n)
	ls.m.UpstreamConnects++
	ls.l.Deadline(conn, ls.l.Now()+cl.ConnectNs)
	return n, conn
}

// Event takes an event of the loop for lease n. True: it is its holder's affair, and has not
// been dealt with.
func (ls *Leases) Event(n uint32, ev *loop.Event) bool {
	if ls.all.At(n).state == held && ev.Kind != loop.Closed {
		return true
	}
	ls.event(n, ev)
	return false
}

func (ls *Leases) event(n uint32, ev *loop.Event) {
	switch l := ls.all.At(n); ev.Kind {
	case loop.Received:
		ls.m.UpstreamBytesIn += uint64(ev.N)
		ls.pool.Release(ev.View)
		if l.state == idle {
			// RFC 9112 9.2: unsolicited bytes cannot belong to any request to come.
			ls.dropIdle(n, l, ev.Conn)
		}
	case loop.Spliced:
		ls.m.UpstreamBytesIn += uint64(ev.N)
	case loop.Sent:
		ls.m.UpstreamBytesOut += uint64(ev.N)
	case loop.RecvEnd:
		if l.state == idle {
			ls.dropIdle(n, l, ev.Conn)
		}
	case loop.Connected:
		ls.connected(n, l, ev)
	case loop.Timer:
		if l.state == dialling {
			ls.dialFailed(n, l, ev.Conn, TimedOut)
		}
	case loop.Closed:
		ls.closed(n, l, ev)
	}
}

func (ls *Leases) connected(n uint32, l *lease, ev *loop.Event) {
	if l.state != dialling {
		return
	}
	if ev.Errno != 0 {
		ls.dialFailed(n, l, ev.Conn, ls.causeOf(ls.of(l), ev.Errno))
		return
	}
	ls.of(l).pool.DialOK(ls.l.Now(), int(l.endpoint))
	ls.l.Recv(ev.Conn)
	if l.flags&wanted == 0 {
		ls.Return(n, ev.Conn)
		return
	}
	l.state = held
	ls.tell(Event{Kind: Ready, Lease: n, Conn: ev.Conn, Cluster: int(l.cluster), Endpoint: int(l.endpoint), Dialed: true, Stale: l.use()})
}

// dialFailed marks the endpoint. Nothing of who waits has been sent.
func (ls *Leases) dialFailed(n uint32, l *lease, conn loop.ConnID, c Cause) {
	ls.m.UpstreamConnectErrors++
	l.flags |= uncounted
	ls.reportDial(ls.of(l), int(l.endpoint), l.addr, c)
	ls.Close(n, conn)
	if l.flags&wanted != 0 {
		ls.tell(Event{Kind: Failed, Lease: n, Cluster: int(l.cluster), Endpoint: int(l.endpoint), Cause: c})
	}
	ls.Freed(int(l.cluster))
}

func (ls *Leases) closed(n uint32, l *lease, ev *loop.Event) {
	if l.state == exporting {
		ls.exported(n, l, int(ev.FD))
	} else if l.flags&uncounted == 0 {
		ls.of(l).pool.Closed(int(l.endpoint))
	}
	id := int(l.cluster)
	ls.all.Free(n)
	ls.Freed(id)
}

// dropIdle closes a pooled connection that can no longer be used.
func (ls *Leases) dropIdle(n uint32, l *lease, conn loop.ConnID) {
	ls.of(l).pool.Remove(uint64(conn), int(l.endpoint))
	ls.Close(n, conn)
}

func (ls *Leases) expireIdle(cl *cluster, now int64) {
	ls.expired = cl.pool.Expire(now, ls.expired[:0])
	for _, conn := range ls.expired {
		if cl.H2 {
			cl.pool.Closed(int(conn))
			continue
		}
		ls.Close(ls.number(loop.ConnID(conn)), loop.ConnID(conn))
	}
}

// prewarm dials what the pool wants in advance. A failure is the endpoint's affair:
// DialFailed slows the next try down.
func (ls *Leases) prewarm(id int, cl *cluster, now int64) {
	for {
		ep, ok := cl.pool.Prewarm(now)
		if !ok {
			return
		}
		r, key := ls.remote(cl, ep)
		if r == nil {
			cl.pool.DialFailed(now, ep)
			return
		}
		if cl.H2 {
			ls.warm(id, ep)
			continue
		}
		if n, _ := ls.open(id, r, key, ep); n == 0 {
			return
		}
	}
}
