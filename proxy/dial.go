package proxy

import (
	"golang.org/x/sys/unix"

	"zproxy/loop"
	"zproxy/proto"
	"zproxy/proxy/snapshot"
)

// connectFault is what an exchange is told whose dial ended with errno.
func (og *origins) connectFault(cluster int, errno unix.Errno) *proto.Fault {
	switch {
	case loop.IsLocalShortage(errno):
		og.dialLack[loop.LackOf(errno)]++
		return &faultNoSocket
	case errno == unix.EAGAIN: // a unix socket says so where TCP would let the dial wait
		return &faultAcceptQueue
	}
	switch errno {
	case unix.EPROTO:
		return og.refusal(cluster, &faultOriginHandshake)
	case unix.EKEYREJECTED:
		return og.refusal(cluster, &faultOriginCertificate)
	}
	return &faultConnectFailed
}

// refusal is f with the reason that the handshake at hand failed for. It is kept, for
// requests that are told later.
func (og *origins) refusal(cluster int, f *proto.Fault) *proto.Fault {
	reason := f.Reason + ": " + og.l.Failure()
	if og.refusals[cluster].Reason != reason {
		own := *f
		own.Reason = reason
		og.refusals[cluster] = &own
	}
	return og.refusals[cluster]
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

// reportDial tells the pool that a dial failed with f, unless that says nothing
// of the endpoint; addr is 0 when the address is not known.
func (og *origins) reportDial(cluster, endpoint int, addr uint32, f *proto.Fault) {
	switch f {
	case &faultNoSocket:
		og.pools[cluster].DialGivenUp(og.l.Now(), endpoint)
		return
	case &faultNoH2:
		if og.w.clusters[cluster].Spare != 0 { // it speaks, if not HTTP/2
			og.pools[cluster].DialGivenUp(og.l.Now(), endpoint)
			return
		}
	case &faultAcceptQueue:
		og.pools[cluster].DialLater(og.l.Now(), endpoint)
		return
	}
	og.pools[cluster].DialFailedAt(og.l.Now(), endpoint, addr)
}

// dialFailed marks the endpoint and sends the exchange elsewhere: nothing of
// it has been sent, so any method may be tried again.
func (og *origins) dialFailed(o *origin, f *proto.Fault) {
	og.m.UpstreamConnectErrors++
	o.flags |= originUncounted
	og.reportDial(int(o.cluster), int(o.endpoint), o.addr, f)
	xi := o.x
	o.x = 0
	og.close(o)
	if xi == 0 {
		og.freed(int(o.cluster))
		return
	}
	x := og.w.xs.At(xi)
	x.origin = 0
	og.dialAgain(og.w.clients.At(x.client), x, int(o.endpoint), f)
	og.freed(int(o.cluster))
}

// dialAgain: endpoint could not be connected to. The exchange tries another
// one, or the same later.
func (og *origins) dialAgain(c *client, x *exchange, endpoint int, f *proto.Fault) {
	if f == &faultNoSocket { // another endpoint would need a socket too
		og.w.failExchange(c, x, f)
		return
	}
	cl := og.w.clusters[x.cluster]
	if cl.Lost.Load() { // which is no failure: there is another way
		x.state = xRouting
		og.w.dispatch(c, x)
		return
	}
	if f == &faultAcceptQueue {
		if og.l.Now() >= x.sought()+cl.QueueNs {
			og.w.failExchange(c, x, f)
			return
		}
		x.state = xRouting
		og.pools[x.cluster].Again(c.x)
		og.w.dispatch(c, x)
		return
	}
	x.tried = cl.Shared.AddTried(x.tried, endpoint)
	if og.isGone(int(x.cluster), endpoint) { // so it is not chosen again, whatever is left of retries
		x.state = xRouting
		og.w.dispatch(c, x)
		return
	}
	x.flags = x.flags&^(xConnectTimedOut|xHandshakeFailed) | xConnectFailed
	switch f.Code {
	case codeConnectTimeout:
		x.flags |= xConnectTimedOut
	case codeOriginHandshake, codeOriginCertificate:
		x.flags |= xHandshakeFailed
	}
	if og.w.requests.fallsOver(x) {
		og.w.dispatch(c, x)
		return
	}
	if cl.Retry.On&snapshot.OnConnect != 0 && og.l.Now() < x.sought()+cl.QueueNs {
		// While an outage is young the pool lets the request wait for the next
		// try; later it refuses one that has tried every endpoint.
		og.m.UpstreamRetries++
		x.state = xRouting
		og.w.dispatch(c, x)
	} else {
		og.w.failExchange(c, x, f)
	}
}

// isGone says that the upstream has the endpoint no more.
func (og *origins) isGone(cluster, endpoint int) bool {
	return og.w.clusters[cluster].Shared.Endpoints()[endpoint].Vacant()
}

// remoteSet is what the addresses of one endpoint were turned into, rebuilt
// when they change.
type remoteSet struct {
	generation uint32
	byKey      map[uint32]*loop.Remote
}

// remote picks the address to dial next at an endpoint and gives it as the
// loop takes it, with its key; nil when there is none.
func (og *origins) remote(cluster, endpoint int) (*loop.Remote, uint32) {
	addrs, i := og.pools[cluster].Address(og.l.Now(), endpoint)
	if addrs == nil {
		return nil, 0
	}
	set := &og.remotes[cluster][endpoint]
	if addrs.Generation != set.generation || set.byKey == nil {
		set.generation, set.byKey = addrs.Generation, map[uint32]*loop.Remote{}
	}
	key := addrs.Keys[i]
	r := set.byKey[key]
	if r == nil {
		var err error
		if r, err = loop.NewRemote(addrs.Addrs[i], og.w.clusters[cluster].Socket); err != nil {
			return nil, 0
		}
		set.byKey[key] = r
	}
	return r, key
}

// connect dials an endpoint.
func (og *origins) connect(r *loop.Remote, cluster, endpoint int) loop.ConnID {
	conn := og.l.Dial(r, 0)
	if c := og.w.clusters[cluster].TLS[endpoint]; c != nil && conn != 0 {
		og.l.SecureDial(conn, c)
	}
	return conn
}
