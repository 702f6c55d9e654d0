package proxy

import (
	"zproxy/proto"
	"zproxy/proxy/origins"
	"zproxy/proxy/snapshot"
)

// await has x wait for the lease that ev tells of.
func (ol *originLegs) await(c *client, x *exchange, ev *origins.Event) {
	ol.begin(c.x, ev)
	x.state = xConnecting
	x.asks(ol.l.Now())
}

// notDialed: nothing could be begun for x at an endpoint.
func (ol *originLegs) notDialed(c *client, x *exchange, ev *origins.Event) {
	if ev.Cause == origins.Unresolved {
		if ol.w.leases.IsGone(int(x.cluster), ev.Endpoint) {
			ol.dialAgain(c, x, ev.Endpoint, &faultUnresolved)
			return
		}
		x.tried = ol.w.clusters[x.cluster].Shared.AddTried(x.tried, ev.Endpoint)
	}
	ol.w.failExchange(c, x, ol.fault(ev))
}

// takeStream gives the exchange, which has got a permit for endpoint, a stream
// there as soon as a connection has room.
func (ol *originLegs) takeStream(c *client, x *exchange, endpoint int) {
	cluster := int(x.cluster)
	switch {
	case ol.w.scarce.bringsNothing(c, x) && ol.w.leases.FewLeft(cluster, endpoint):
		ol.w.leases.ReturnPermit(cluster, endpoint)
		ol.w.scarce.awaitContent(c, x)
		return
	case ol.w.scarce.mute(c, x) && ol.w.leases.FewLeft(cluster, endpoint) && ol.w.scarce.waitsMute(c, x):
		ol.w.leases.ReturnPermit(cluster, endpoint)
		return
	}
	wish := origins.Wish{Body: x.hasBody(), Connect: x.flags&xUpgrade != 0}
	ev := ol.w.leases.Stream(cluster, endpoint, wish)
	switch {
	case ev == nil:
		ev = ol.w.leases.Await(cluster, endpoint, wish, ol.w.scarce.asker(c, x))
		ol.await(c, x, ev)
		ol.w.clientDeadline(c, x)
		if ev.Full {
			ol.w.scarce.press(cluster)
		}
	case ev.Kind == origins.Failed:
		ol.w.failExchange(c, x, ol.fault(ev))
	default:
		if x.asks(ol.l.Now()); ev.Reused {
			x.flags |= xReused
		} else {
			x.connectUs = 0
		}
		ol.w.attach(c, x, ev)
	}
}

// dialAgain: endpoint could not be connected to. The exchange tries another
// one, or the same later.
func (ol *originLegs) dialAgain(c *client, x *exchange, endpoint int, f *proto.Fault) {
	if f == &faultNoSocket { // another endpoint would need a socket too
		ol.w.failExchange(c, x, f)
		return
	}
	cl := ol.w.clusters[x.cluster]
	if cl.Lost.Load() { // which is no failure: there is another way
		x.state = xRouting
		ol.w.dispatch(c, x)
		return
	}
	if f == &faultAcceptQueue {
		if ol.l.Now() >= x.sought()+cl.QueueNs {
			ol.w.failExchange(c, x, f)
			return
		}
		x.state = xRouting
		ol.w.leases.Pool(int(x.cluster)).Again(c.x)
		ol.w.dispatch(c, x)
		return
	}
	x.tried = cl.Shared.AddTried(x.tried, endpoint)
	if ol.w.leases.IsGone(int(x.cluster), endpoint) { // so it is not chosen again, whatever is left of retries
		x.state = xRouting
		ol.w.dispatch(c, x)
		return
	}
	x.flags = x.flags&^(xConnectTimedOut|xHandshakeFailed) | xConnectFailed
	switch f.Code {
	case codeConnectTimeout:
		x.flags |= xConnectTimedOut
	case codeOriginHandshake, codeOriginCertificate:
		x.flags |= xHandshakeFailed
	}
	if ol.w.requests.fallsOver(x) {
		ol.w.dispatch(c, x)
		return
	}
	if cl.Retry.On&snapshot.OnConnect != 0 && ol.l.Now() < x.sought()+cl.QueueNs {
		// While an outage is young the pool lets the request wait for the next
		// try; later it refuses one that has tried every endpoint.
		ol.m.UpstreamRetries++
		x.state = xRouting
		ol.w.dispatch(c, x)
	} else {
		ol.w.failExchange(c, x, f)
	}
}
