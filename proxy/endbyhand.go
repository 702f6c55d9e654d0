package proxy

import (
	"zproxy/loop"
	"zproxy/proto/http2"
	"zproxy/upstream"
)

// What an administrator ends.

// Ending asks a worker to end a client's connection (Conn), an exchange (Index and StartNs, as Inspected has
// them), or all exchanges at an endpoint of Cluster, a slice at a time.
type Ending struct {
	Conn     loop.ConnID
	Index    uint32
	StartNs  int64
	Cluster  *upstream.Cluster
	Endpoint int
	From     uint32 // as in Inspection
	Next     uint32
	Ended    int // how many there were
	Finished Finished
}

// endedEach is how many exchanges one piece of mail ends at the most.
const endedEach = 32

// AskEnd has the worker of l end what e says, and tell e.Finished. False when its mailbox is full. Any thread.
func AskEnd(l *loop.Loop, e *Ending) bool { return l.Post(loop.Mail{Kind: mailEnd, Ref: e}) }

// endings end what an administrator wants ended.
type endings struct{ part }

func (es *endings) end(e *Ending) {
	e.Next = 0
	switch {
	case e.Cluster != nil:
		es.endAt(e)
	case e.Index != 0:
		if es.w.xs.Live(e.Index) {
			if x := es.w.xs.At(e.Index); x.start == e.StartNs && x.state != xEnded {
				es.endOne(x)
				e.Ended++
			}
		}
	case e.Conn != 0:
		if es.endConn(e.Conn) {
			e.Ended++
		}
	}
	e.Finished.Finished()
}

// endAt ends exchanges at an endpoint.
func (es *endings) endAt(e *Ending) {
	ended := 0
	for i, seen := max(1, e.From), 0; i <= uint32(es.w.xs.Cap()); i, seen = i+1, seen+1 {
		if seen == sliceEntries || ended == endedEach {
			e.Next = i
			break
		}
		if !es.w.xs.Live(i) {
			continue
		}
		x := es.w.xs.At(i)
		if x.state == xEnded || x.cluster < 0 || int(x.endpoint) != e.Endpoint || x.origin == 0 || es.w.clusters[x.cluster].Shared != e.Cluster {
			continue
		}
		es.endOne(x)
		ended++
	}
	e.Ended += ended
}

// endOne ends an exchange: with a response, or, where one has begun, so that its client sees that it is not whole.
func (es *endings) endOne(x *exchange) {
	c := es.w.clients.At(x.client)
	if x.state == xTunnel {
		es.w.countFault(&faultByHand)
		es.w.tunnels.endTunnel(c, x, faultByHand.Reason)
		return
	}
	es.w.giveUp(c, x, &faultByHand)
}

// endConn ends a client's connection, with all there is on it. False: there is none with that number.
func (es *endings) endConn(conn loop.ConnID) bool {
	owner := es.l.Owner(conn)
	index := owner & ownerMask
	switch {
	case owner == 0:
		return false
	case owner>>ownerShift == ownerSession:
		se := es.w.h2.At(index)
		if se == nil || se.Conn != conn || se.Role != http2.Server || se.IsClosed() {
			return false
		}
		es.w.countFault(&faultByHand)
		es.w.h2.BreakOff(se, faultByHand.Reason)
		return true
	case owner>>ownerShift != ownerClient || !es.w.clients.Live(index) || es.w.clients.At(index).conn != conn:
		return false
	}
	c := es.w.clients.At(index)
	if c.state == clientClosing {
		return false
	}
	es.w.countFault(&faultByHand)
	if c.x != 0 {
		es.w.endExchange(c, es.w.xs.At(c.x), faultByHand.Reason)
	}
	es.w.clients.abort(c)
	return true
}
