package proxy

import (
	"golang.org/x/sys/unix"

	"zproxy/loop"
	"zproxy/proto"
)

// connectFault is what an exchange is told whose dial ended with errno.
func (w *Worker) connectFault(cluster int, errno unix.Errno) *proto.Fault {
	switch {
	case loop.Ours(errno):
		w.dialLack[loop.LackOf(errno)]++
		return &faultNoSocket
	case errno == unix.EAGAIN: // a unix socket says so where TCP would let the dial wait
		return &faultAcceptQueue
	}
	switch errno {
	case unix.EPROTO:
		return w.refusal(cluster, &faultOriginHandshake)
	case unix.EKEYREJECTED:
		return w.refusal(cluster, &faultOriginCertificate)
	}
	return &faultConnectFailed
}

// refusal is f with the reason that the handshake at hand failed for. It is kept, for
// requests that are told later.
func (w *Worker) refusal(cluster int, f *proto.Fault) *proto.Fault {
	reason := f.Reason + ": " + w.l.Failure()
	if w.refusals[cluster].Reason != reason {
		own := *f
		own.Reason = reason
		w.refusals[cluster] = &own
	}
	return w.refusals[cluster]
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
func (w *Worker) reportDial(cluster, endpoint int, addr uint32, f *proto.Fault) {
	switch f {
	case &faultNoSocket:
		w.pools[cluster].DialGivenUp(w.l.Now(), endpoint)
		return
	case &faultAcceptQueue:
		w.pools[cluster].DialLater(w.l.Now(), endpoint)
		return
	}
	w.pools[cluster].DialFailedAt(w.l.Now(), endpoint, addr)
}

// dialFailed marks the endpoint and sends the exchange elsewhere: nothing of
// it has been sent, so any method may be tried again.
func (w *Worker) dialFailed(o *origin, f *proto.Fault) {
	w.m.UpstreamConnectErrors++
	o.flags |= originUncounted
	w.reportDial(int(o.cluster), int(o.endpoint), o.addr, f)
	xi := o.x
	o.x = 0
	w.closeOrigin(o)
	if xi == 0 {
		w.serveWaiters(int(o.cluster))
		return
	}
	x := w.xs.At(xi)
	x.origin = 0
	w.dialAgain(w.clients.At(x.client), x, int(o.endpoint), f)
	w.serveWaiters(int(o.cluster))
}

// dialAgain: endpoint could not be connected to. The exchange tries another
// one, or the same later.
func (w *Worker) dialAgain(c *client, x *exchange, endpoint int, f *proto.Fault) {
	if f == &faultNoSocket { // another endpoint would need a socket too
		w.failExchange(c, x, f)
		return
	}
	cl := w.snap.clusters[x.cluster]
	if f == &faultAcceptQueue {
		if w.l.Now() >= x.sought()+cl.queueNs {
			w.failExchange(c, x, f)
			return
		}
		x.state = xRouting
		w.pools[x.cluster].Again(c.x)
		w.dispatch(c, x)
		return
	}
	x.tried |= 1 << uint(endpoint)
	x.flags = x.flags&^(xConnectTimedOut|xHandshakeFailed) | xConnectFailed
	switch f.Code {
	case codeConnectTimeout:
		x.flags |= xConnectTimedOut
	case codeOriginHandshake, codeOriginCertificate:
		x.flags |= xHandshakeFailed
	}
	if cl.retries > 0 && w.l.Now() < x.sought()+cl.queueNs {
		// While an outage is young the pool lets the request wait for the next
		// try; later it refuses one that has tried every endpoint.
		w.m.UpstreamRetries++
		x.state = xRouting
		w.dispatch(c, x)
	} else {
		w.failExchange(c, x, f)
	}
}
