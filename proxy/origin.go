package proxy

import (
	"zproxy/internal/slab"
	"zproxy/loop"
	"zproxy/proto"
	"zproxy/proto/http2"
	"zproxy/proxy/origins"
)

type originState uint8

const (
	originConnecting originState = iota // its lease is still to come
	originBusy                          // carries an exchange
	originTunnel
	originLinger  // write side closed: discard until the origin closes too
	originClosing // its lease is over, or was given back
)

const (
	originDirty   = 1 << iota // bytes behind the response: never reused
	originPaused              // reading is suspended
	originEOF                 // the origin closed its write side
	originUnsent              // nothing of its request has left yet
	originHasty               // its deadline is that of a try
	originPatient             // no other origin is tried instead when it takes longer than that
	originStale               // its connection had served before, and may be dead
)

// origin is the side of an exchange that faces an endpoint: what there is to know of a
// lease as long as it is held. Pointer-free.
type origin struct {
	leg
	lease uint32 // its number, and the place it has
	state originState
	flags uint8
}

// originLegs are a worker's origins, by the numbers of their leases.
type originLegs struct {
	part
	slab.Beside[origin]
	refusals  []*proto.Fault // by cluster: why the last TLS handshake failed that did
	broken    []BrokenSessions
	uniqueIDs []uniqueID // by exchange, see noteUniqueID
}

// begin gives the exchange xi the lease that ev tells of.
func (ol *originLegs) begin(xi uint32, ev *origins.Event) *origin {
	o := ol.Begin(ev.Lease)
	o.conn, o.stream, o.x, o.lease = ev.Conn, ev.Stream, xi, ev.Lease
	x := ol.w.xs.At(xi)
	x.origin, x.endpoint = ev.Lease, int16(ev.Endpoint)
	return o
}

// event handles what the loop says of a lease that is held.
func (ol *originLegs) event(n uint32, ev *loop.Event) {
	o := ol.At(n)
	switch ev.Kind {
	case loop.Received:
		ol.m.UpstreamBytesIn += uint64(ev.N)
		ol.w.responses.received(o, ev.View)
	case loop.Spliced:
		ol.m.UpstreamBytesIn += uint64(ev.N)
		ol.w.responses.spliced(o, int(ev.N))
	case loop.Sent:
		ol.w.requests.sent(o, ev)
	case loop.RecvEnd:
		ol.w.responses.recvEnd(o, ev.Errno)
	case loop.Timer:
		ol.w.originTimeout(o)
	}
}

// told handles what leases have come to.
func (ol *originLegs) told(ev *origins.Event) {
	switch ev.Kind {
	case origins.Turn:
		c, x := ol.waiter(ev.Waiter)
		ol.w.dispatch(c, x)
	case origins.Permit:
		c, x := ol.waiter(ev.Waiter)
		ol.takeStream(c, x, ev.Endpoint)
	case origins.Ready:
		ol.ready(ev)
	case origins.Failed:
		ol.failed(ev)
	case origins.Down:
		ol.down(ol.At(ev.Lease))
	case origins.Served:
		ol.w.wakeBy(ev.At)
		if ol.w.scarce.mutes[ev.Cluster].Len() > 0 {
			ol.w.scarce.serveMutes(ev.Cluster)
		}
	case origins.Leaving:
		ol.w.peers[ol.w.index].drained.Store(false) // nobody ends before it has arrived
	}
}

// waiter is the exchange xi, which has its turn. Another loop that was asked has answered.
func (ol *originLegs) waiter(xi uint32) (*client, *exchange) {
	x := ol.w.xs.At(xi)
	if x.state == xAsking {
		x.askedUs = 0
	}
	return ol.w.clients.At(x.client), x
}

// ready: a lease that was to come is there.
func (ol *originLegs) ready(ev *origins.Event) {
	xi := ev.Waiter // of a connection of another loop's
	if xi == 0 {
		xi = ol.At(ev.Lease).x
	}
	if xi == 0 {
		return // it was given back
	}
	c, x := ol.waiter(xi)
	if ev.Dialed {
		ol.m.Connect.RecordValue(x.took(ol.l.Now()))
	}
	if ev.Reused {
		x.flags |= xReused
	} else {
		x.connectUs = microseconds(x.took(ol.l.Now()))
	}
	ol.w.attach(c, x, ev)
}

// failed: what an exchange waits for will not come. Nothing of its request has been sent.
func (ol *originLegs) failed(ev *origins.Event) {
	o := ol.At(ev.Lease)
	xi := o.x
	if xi == 0 {
		return
	}
	o.x, o.state = 0, originClosing
	x := ol.w.xs.At(xi)
	x.origin = 0
	c := ol.w.clients.At(x.client)
	switch f := ol.fault(ev); ev.Cause {
	case origins.NoConnect, origins.NoStream:
		ol.w.failExchange(c, x, f)
	default:
		ol.dialAgain(c, x, ev.Endpoint, f)
	}
}

// down: active checks have found down what o is connected to.
func (ol *originLegs) down(o *origin) {
	if o.x == 0 || o.state != originBusy && o.state != originTunnel {
		return
	}
	x := ol.w.xs.At(o.x)
	c := ol.w.clients.At(x.client)
	if o.state == originTunnel {
		ol.w.tunnels.endTunnel(c, x, faultDown.Reason)
		return
	}
	ol.w.responses.lost(c, x, o, &faultDown)
}

// close closes a connection whatever state it is in, abort with a reset: what was sent must
// not pass for whole.
func (ol *originLegs) close(o *origin) {
	if o.state != originClosing {
		o.state = originClosing
		ol.pool.Drop(&o.in)
		ol.w.leases.Close(o.lease, o.conn)
	}
}

func (ol *originLegs) abort(o *origin) {
	if o.state != originClosing {
		o.state = originClosing
		ol.pool.Drop(&o.in)
		ol.w.leases.Abort(o.lease, o.conn)
	}
}

// endStream lets an origin go that is a stream, or waits to be one.
func (ol *originLegs) endStream(o *origin, code http2.ErrCode) {
	if o.state != originClosing {
		o.state = originClosing
		ol.pool.Drop(&o.in)
		ol.w.leases.EndStream(o.lease, code)
	}
}

// detach separates the exchange from its origin.
func (ol *originLegs) detach(x *exchange, reusable bool) {
	if x.origin == 0 {
		return
	}
	o := ol.At(x.origin)
	x.origin, o.x = 0, 0
	ol.w.legs.detach(x, o, reusable)
}

// giveBack lets a connection go that carried x. A reusable one goes back to the pool, any
// other is closed, so that a message cut short is seen to be.
func (ol *originLegs) giveBack(x *exchange, o *origin, reusable bool) {
	switch {
	case o.state == originConnecting:
		o.state = originClosing
		ol.w.leases.Release(o.lease, o.conn) // the dial goes on; the connection will serve somebody else
	case reusable && o.state == originBusy && ol.atRest(o):
		ol.w.legs.resumeOrigin(o)
		o.state = originClosing
		ol.w.leases.Return(o.lease, o.conn)
	case o.state == originTunnel && (!ol.w.tunnels.BothEnded(x.tunnel) || ol.w.legs.queued(&o.leg) > 0):
		ol.abort(o)
	default:
		ol.close(o)
	}
}

// atRest: the next byte either way belongs to the next exchange. An origin that
// answers early may have left a body unread, and whatever is behind it.
func (ol *originLegs) atRest(o *origin) bool {
	return o.flags&(originDirty|originEOF) == 0 && o.in.Empty() && ol.w.legs.queued(&o.leg) == 0
}

// fault is what an exchange is told that gets no connection.
func (ol *originLegs) fault(ev *origins.Event) *proto.Fault {
	f := causes[ev.Cause]
	switch ev.Cause {
	case origins.Handshake, origins.Certificate:
		// It is kept, for requests that are told later.
		if reason := f.Reason + ": " + ol.w.leases.Why(ev.Cluster); ol.refusals[ev.Cluster].Reason != reason {
			own := *f
			own.Reason = reason
			ol.refusals[ev.Cluster] = &own
		}
		return ol.refusals[ev.Cluster]
	case origins.NoHTTP2:
		ol.refusals[ev.Cluster] = f
	}
	return f
}

var causes = [...]*proto.Fault{
	origins.NoSocket:    &faultNoSocket,
	origins.NoMemory:    &faultMemory,
	origins.Unresolved:  &faultUnresolved,
	origins.NotTaken:    &faultConnectFailed,
	origins.TimedOut:    &faultConnectTimeout,
	origins.AcceptQueue: &faultAcceptQueue,
	origins.Handshake:   &faultOriginHandshake,
	origins.Certificate: &faultOriginCertificate,
	origins.NoHTTP2:     &faultNoH2,
	origins.NoGreeting:  &faultGreeting,
	origins.NoConnect:   &faultNoConnect,
	origins.NoStream:    &faultNoEndpoint,
}

// publicReason is what a client hears of f: what is wrong with an origin's certificate is for
// the log.
func publicReason(f *proto.Fault) string {
	switch f.Code {
	case codeOriginCertificate:
		return faultOriginCertificate.Reason
	case codeOriginHandshake:
		return faultOriginHandshake.Reason
	}
	return f.Reason
}
