package proxy

import (
	"golang.org/x/sys/unix"

	"zproxy/internal/slab"
	"zproxy/loop"
	"zproxy/proto"
	"zproxy/proto/http2"
	"zproxy/upstream"
)

type originState uint8

const (
	originConnecting originState = iota
	originIdle                   // in its pool
	originBusy                   // carries an exchange
	originTunnel
	originExporting // leaves for a neighbour
	originLinger    // write side closed: discard until the origin closes too
	originClosing
)

const (
	originDirty     = 1 << iota // bytes behind the response: never reused
	originPaused                // reading is suspended
	originEOF                   // the origin closed its write side
	originUncounted             // its slot in the cap has been given back
	originUnsent                // nothing of its request has left yet
	originHasty                 // its deadline is that of a try
	originPatient               // no other origin is tried instead when it takes longer than that
)

// origin is one connection to an endpoint, or one stream of one. Pointer-free.
type origin struct {
	leg
	uses     uint32
	self     uint32 // its index
	addr     uint32 // key of the address it is connected to
	cluster  uint16
	endpoint uint16
	exportTo uint16 // loop that asked for this connection
	state    originState
	flags    uint8
}

// origins are a worker's connections to endpoints, its share of their pools, and what
// it knows of them.
type origins struct {
	part
	slab.Slab[origin]
	pools    []*upstream.Pool       // by cluster
	remotes  [][]remoteSet          // by cluster and endpoint
	refusals []*proto.Fault         // by cluster: why the last TLS handshake failed that did
	dialLack [loop.LackCount]uint64 // dials that failed for want of something, by kind
	ends     []uint32               // by cluster: its changes up to which endDown has looked
	broken   []BrokenSessions
	expired  []uint64
	free     []int    // clusters whose waiters are to be served, see freed
	isFree   []bool   // by cluster: it is listed there
	ended    []uint32 // entries of streams that are free at the end of the turn
	prefaces prefaces
}

// open dials; nil when the loop has no room for one more connection.
func (og *origins) open(r *loop.Remote, key uint32, cluster, endpoint int) (uint32, *origin) {
	conn := og.connect(r, cluster, endpoint)
	if conn == 0 {
		og.m.UpstreamConnectErrors++
		og.reportDial(cluster, endpoint, key, &faultNoSocket)
		return 0, nil
	}
	oi, o := og.Alloc()
	o.self, o.addr = oi, key
	o.cluster, o.endpoint = uint16(cluster), uint16(endpoint)
	o.conn = conn
	og.l.SetOwner(conn, ownerOf(ownerOrigin, oi))
	og.m.UpstreamConnects++
	og.w.legs.due(&o.leg, og.l.Now()+og.w.clusters[cluster].ConnectNs)
	return oi, o
}

func (og *origins) event(oi uint32, ev *loop.Event) {
	o := og.At(oi)
	switch ev.Kind {
	case loop.Received:
		og.m.UpstreamBytesIn += uint64(ev.N)
		og.w.responses.received(oi, o, ev.View)
	case loop.Spliced:
		og.m.UpstreamBytesIn += uint64(ev.N)
		og.w.responses.spliced(o, int(ev.N))
	case loop.Sent:
		og.w.requests.sent(o, ev)
	case loop.RecvEnd:
		og.w.responses.recvEnd(o, ev.Errno)
	case loop.Connected:
		og.connected(oi, o, ev.Errno)
	case loop.Timer:
		og.w.originTimeout(o)
	case loop.Closed:
		og.closed(oi, o, ev)
	}
}

func (og *origins) connected(oi uint32, o *origin, errno unix.Errno) {
	if errno != 0 {
		og.dialFailed(o, og.connectFault(int(o.cluster), errno))
		return
	}
	og.pools[o.cluster].DialOK(og.l.Now(), int(o.endpoint))
	og.l.Recv(o.conn)
	if o.x == 0 {
		og.idle(oi, o)
		return
	}
	x := og.w.xs.At(o.x)
	took := x.took(og.l.Now())
	x.connectUs = microseconds(took)
	og.m.Connect.RecordValue(took)
	og.w.attach(og.w.clients.At(x.client), x, oi, o)
}

// idle returns a connection to its pool, or closes it when the pool has
// no room.
func (og *origins) idle(oi uint32, o *origin) {
	o.x, o.state = 0, originIdle
	og.w.legs.originBulk(o, false)
	if !og.w.drain.on && og.w.clusters[o.cluster].SendProxy == 0 && og.pools[o.cluster].PutAddr(og.l.Now(), uint64(oi), int(o.endpoint), o.addr) {
		og.w.legs.due(&o.leg, 0)
		og.freed(int(o.cluster))
		return
	}
	og.close(o)
}

// close closes a connection whatever state it is in; its slot is counted back when
// Closed arrives.
func (og *origins) close(o *origin) {
	if o.state != originClosing {
		o.state = originClosing
		og.pool.Drop(&o.in)
		og.l.Close(o.conn)
	}
}

// abort closes with a reset: what was sent must not pass for whole.
func (og *origins) abort(o *origin) {
	if o.state != originClosing {
		o.state = originClosing
		og.pool.Drop(&o.in)
		og.l.Abort(o.conn)
	}
}

func (og *origins) closed(oi uint32, o *origin, ev *loop.Event) {
	if o.state == originExporting {
		og.w.handoff.exportedOrigin(o, int(ev.FD))
	} else if o.flags&originUncounted == 0 {
		og.pools[o.cluster].Closed(int(o.endpoint))
	}
	og.pool.Drop(&o.in)
	cluster := int(o.cluster)
	og.Free(oi)
	og.freed(cluster)
}

// detach separates the exchange from its origin.
func (og *origins) detach(x *exchange, reusable bool) {
	if x.origin == 0 {
		return
	}
	o := og.At(x.origin)
	x.origin, o.x = 0, 0
	og.w.legs.detach(x, o, reusable)
}

// giveBack lets a connection go that carried x. A reusable one goes back to the pool, any
// other is closed, so that a message cut short is seen to be.
func (og *origins) giveBack(x *exchange, o *origin, reusable bool) {
	switch {
	case o.state == originConnecting:
		// The dial goes on; the connection will serve somebody else.
	case reusable && o.state == originBusy && og.atRest(o):
		og.w.legs.resumeOrigin(o)
		og.idle(o.self, o)
	case o.state == originTunnel && (!og.w.tunnels.BothEnded(x.tunnel) || og.w.legs.queued(&o.leg) > 0):
		og.abort(o)
	default:
		og.close(o)
	}
}

// atRest: the next byte either way belongs to the next exchange. An origin that
// answers early may have left a body unread, and whatever is behind it.
func (og *origins) atRest(o *origin) bool {
	return o.flags&(originDirty|originEOF) == 0 && o.in.Empty() && og.w.legs.queued(&o.leg) == 0
}

// dropIdle closes a pooled connection that can no longer be used.
func (og *origins) dropIdle(o *origin) {
	og.pools[o.cluster].Remove(uint64(o.self), int(o.endpoint))
	og.close(o)
}

// endStream lets an origin go that is a stream, or waits to be one.
func (og *origins) endStream(o *origin, code http2.ErrCode) {
	if o.state == originClosing {
		return
	}
	st := og.w.streams.At(o.stream)
	pending := o.state == originConnecting && st.Waits()
	o.state = originClosing
	cluster, endpoint := int(o.cluster), int(o.endpoint)
	if pending {
		og.w.groups.of(o).pending.Remove(o.self)
	} else {
		og.m.UpstreamStreams--
	}
	og.pool.Drop(&o.in)
	og.w.streams.Close(st, code)
	og.ended = append(og.ended, o.self)
	switch {
	case o.flags&originUncounted != 0:
	case pending && og.w.groups.connecting(og.w.groups.of(o)):
		og.w.groups.of(o).orphans++ // what comes of the connection is reported with it
	default:
		og.w.groups.returnPermit(cluster, endpoint, o.addr)
	}
}

func (og *origins) expireIdle(cluster int, now int64) {
	og.expired = og.pools[cluster].Expire(now, og.expired[:0])
	for _, conn := range og.expired {
		if og.w.clusters[cluster].H2 {
			og.pools[cluster].Closed(int(conn))
			continue
		}
		og.close(og.At(uint32(conn)))
	}
}

// prewarm dials what the pool wants in advance. A failure is the endpoint's
// affair: DialFailed slows the next try down.
func (og *origins) prewarm(cluster int, now int64) {
	for {
		ep, ok := og.pools[cluster].Prewarm(now)
		if !ok {
			return
		}
		r, key := og.remote(cluster, ep)
		if r == nil {
			og.pools[cluster].DialFailed(now, ep)
			return
		}
		if og.w.clusters[cluster].H2 {
			og.w.groups.warm(cluster, ep)
			continue
		}
		if _, o := og.open(r, key, cluster, ep); o == nil {
			return
		}
	}
}

// freed notes that something has come free, or may have, that requests for a cluster
// wait for. They are served at the end of the turn: whatever has set it free, and may
// be the end of another request, is over then.
func (og *origins) freed(cluster int) {
	for len(og.isFree) <= cluster {
		og.isFree = append(og.isFree, false)
	}
	if !og.isFree[cluster] {
		og.isFree[cluster] = true
		og.free = append(og.free, cluster)
	}
}

// serveFreed serves those who wait for what has come free. What comes free by that
// has its turn after it.
func (og *origins) serveFreed() {
	for n := len(og.free); n > 0; n-- {
		cluster := og.free[0]
		og.free = og.free[:copy(og.free, og.free[1:])]
		og.isFree[cluster] = false
		if og.w.snaps.has(cluster) {
			og.serveWaiters(cluster)
		}
	}
}

// serveWaiters lets queued exchanges of a cluster try again, here and, where that
// is for others first, on another loop.
func (og *origins) serveWaiters(cluster int) {
	p := og.pools[cluster]
	og.serveHere(cluster)
	for {
		h, ok := p.Pass(og.l.Now())
		if !ok {
			break
		}
		if h.Kept {
			og.w.handoff.export(cluster, h.Endpoint, h.Loop, h.Conn, h.Addr, asked(cluster, 0, 0))
		} else {
			og.w.handoff.deliver(h.Loop, loop.Mail{Kind: mailWake, From: int32(og.w.index), A: uint64(cluster)})
		}
		og.serveHere(cluster)
	}
	if og.w.scarce.mutes[cluster].Len() > 0 {
		og.w.scarce.serveMutes(cluster)
	}
}

// serveHere serves those whose turn it is on this loop.
func (og *origins) serveHere(cluster int) {
	p := og.pools[cluster]
	if p.Waiting() == 0 {
		return
	}
	for {
		xi, ok := p.NextWaiter(og.l.Now())
		if !ok {
			break
		}
		x := og.w.xs.At(xi)
		og.w.dispatch(og.w.clients.At(x.client), x)
	}
	if p.Waiting() > 0 {
		og.w.wakeBy(p.NextDue(og.l.Now()))
	}
}
