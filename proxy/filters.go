package proxy

import (
	"zproxy/filter"
	"zproxy/loop"
	"zproxy/metrics"
	"zproxy/proto"
	"zproxy/proxy/forward"
	"zproxy/proxy/snapshot"
	"zproxy/router"
)

// filters runs the chains of routes. A request whose chain has more to do when it has passed, because it waits,
// because its response or its trailers are to be changed, because its user is to be logged,
// or because it gives something back at its end, has a passage of its own until it ends (xFiltered).
type filters struct {
	part
	passages []*passage // by exchange
	free     []*passage
	serial   uint32 // of the newest passage
	runs     uint32
	change   *filter.Changes // of the head that is about to be forwarded, nil: none
	refusal  proto.Fault     // of the request that was refused last
	response filter.Response // that was changed last
	ended    forward.Request // that waited until it ended
}

// passage is a request on its way through a chain.
type passage struct {
	*filter.Request
	serial uint32
	dueNs  int64 // while it waits

	// While it waits its head is kept here.
	head    proto.Head
	bytes   []byte
	path    []byte
	changed bool
	id      []byte
	match   router.Match
}

// pass runs the chain of rt for q, which was routed as path. False: q goes no further for now.
func (fl *filters) pass(c *client, x *exchange, q *forward.Request, rt *snapshot.Route, path []byte, changed bool) bool {
	p := fl.take()
	p.Begin()
	p.Path, p.changed = path, changed
	fl.meet(c, x, q, p, rt)
	p.Params = fl.w.requests.match.Params[:fl.w.requests.match.NParams]
	p.Ticket = filter.Ticket{Resumer: fl.w.peers[fl.w.index], Slot: c.x, Serial: p.serial}
	fl.runs++
	p.Timed = fl.runs%metrics.TimedEvery == 0
	return fl.decided(c, x, q, rt, p, rt.Chain.Run(p.Request))
}

// meet tells the chain who asks.
func (fl *filters) meet(c *client, x *exchange, q *forward.Request, p *passage, rt *snapshot.Route) {
	p.Head, p.Client, p.TLS = q.Head, q.Client, q.TLS
	p.Peer, p.Scheme = q.Peer.Addr(), q.Peer.Scheme()
	p.Route = rt.ID()
	p.Now, p.WallMs, p.Loop = fl.l.Now(), fl.l.WallMs(), fl.w.index
	if rt.Chain.NeedsID {
		p.ID = q.ID()
	}
	if p.Counts = nil; fl.w.snapOf(x) == fl.w.snap {
		p.Counts = fl.m.Filters
	}
}

// decided does what the chain has decided. True: q goes on.
func (fl *filters) decided(c *client, x *exchange, q *forward.Request, rt *snapshot.Route, p *passage, v filter.Verdict) bool {
	switch v {
	case filter.Wait:
		fl.park(c, x, q, p)
		return false
	case filter.Reply:
		fl.keep(c, x, p)
		if p.Status < 400 && q.Head.Protocol.Len > 0 && p.Status/100 == 2 { // which would accept it
			fl.w.failExchange(c, x, &faultConnect)
			return false
		}
		if p.Status < 400 {
			fl.w.responses.replyFixed(c, x, fl.w.snap.Bare(p.Status), proto.Extra{})
			return false
		}
		fl.refusal.Status, fl.refusal.Code, fl.refusal.Reason = p.Status, codeFilter, p.Reason
		fl.w.failExchange(c, x, &fl.refusal)
		return false
	}
	fl.change = nil
	if p.Forward.Any() {
		fl.change = p.Forward
	}
	if rt.Chain.Responds || p.Respond.Any() || p.User != nil || p.Holds() || p.Forward.Any() && x.flags&xRequestDone == 0 {
		fl.keep(c, x, p)
	} else if x.flags&xFiltered == 0 {
		fl.free = append(fl.free, p)
	}
	return true
}

// take is a passage for the next request.
func (fl *filters) take() (p *passage) {
	if n := len(fl.free); n > 0 {
		p, fl.free = fl.free[n-1], fl.free[:n-1]
	} else {
		p = &passage{Request: filter.NewRequest()}
	}
	fl.serial++
	p.serial = fl.serial
	return p
}

// keep leaves p with x until it ends.
func (fl *filters) keep(c *client, x *exchange, p *passage) {
	if x.flags&xFiltered != 0 {
		return
	}
	x.flags |= xFiltered
	fl.passages = snapshot.Put(fl.passages, int(c.x), p)
}

// leave takes its passage from exchange xi, which ends.
func (fl *filters) leave(xi uint32) {
	p := fl.passages[xi]
	fl.passages[xi] = nil
	p.Release()
	fl.free = append(fl.free, p)
}

// park has q wait. What it came in is the client's again: its head is copied.
func (fl *filters) park(c *client, x *exchange, q *forward.Request, p *passage) {
	if p.Head != &p.head {
		p.bytes = append(p.bytes[:0], q.Head.Buf[:q.Head.Extent()]...)
		fields := append(p.head.Fields[:0], q.Head.Fields...)
		p.head = *q.Head
		p.head.Buf, p.head.Fields = p.bytes, fields
		p.path = append(p.path[:0], p.Path...)
		p.id = append(p.id[:0], q.ID()...)
		p.match = fl.w.requests.match
		p.Head, p.Path, p.ID, p.Params, p.TLS = &p.head, p.path, p.id, p.match.Params[:p.match.NParams], nil
	}
	fl.keep(c, x, p)
	x.state = xFiltering
	p.dueNs = fl.l.Now() + p.WaitNs
	if fl.w.requests.starts == c.x && x.flags&xRequestDone == 0 {
		fl.w.clients.pump(c, x)
		if x.state == xFiltering {
			fl.w.clients.applyBackpressure(c)
		}
	}
	if x.state == xFiltering {
		fl.w.clientDeadline(c, x)
	}
}

// Resume is filter.Resumer.
func (n *Neighbour) Resume(slot, serial uint32, answer any) bool {
	return n.Loop.Post(loop.Mail{Kind: mailFilter, A: uint64(slot), B: uint64(serial), Ref: answer})
}

// resume goes on with the request that m is about, if it still waits.
func (fl *filters) resume(m loop.Mail) {
	xi := uint32(m.A)
	if int(xi) >= len(fl.passages) || fl.passages[xi] == nil || fl.passages[xi].serial != uint32(m.B) {
		return
	}
	x, p := fl.w.xs.At(xi), fl.passages[xi]
	if x.state != xFiltering {
		return
	}
	c := fl.w.clients.At(x.client)
	x.state = xRouting
	q, rt := &fl.w.requests.asked, &fl.w.snapOf(x).Routes[x.route]
	fl.recall(c, q, p)
	fl.meet(c, x, q, p, rt)
	rq := &fl.w.requests
	rq.starts = xi
	if fl.decided(c, x, q, rt, p, rt.Chain.Resume(p.Request, m.Ref)) {
		rq.match = p.match
		rq.follow(c, x, q, rt, p.Path, p.changed)
	}
	rq.starts = 0
}

// recall makes q the request of p, which waits or has waited.
func (fl *filters) recall(c *client, q *forward.Request, p *passage) {
	q.Begin(&fl.w.snap.Forwarding, &p.head, fl.w.heads.peerOf(c), fl.w.heads.tlsOf(c))
	q.Call(p.id)
}

// asked is what x, which waits, has asked for.
func (fl *filters) asked(c *client) *forward.Request {
	fl.recall(c, &fl.ended, fl.passages[c.x])
	return &fl.ended
}

// respond changes the head of the response of x: h, or, where that is nil, one of the proxy's own.
func (fl *filters) respond(c *client, x *exchange, h *proto.Head) {
	p := fl.passages[c.x]
	if h != nil {
		p.Respond.Mark(h)
	}
	rt := &fl.w.snapOf(x).Routes[x.route]
	if rt.Chain.Responds {
		fl.response = filter.Response{Head: h, Status: x.status, Secure: fl.w.heads.tlsOf(c) != nil, Change: p.Respond}
		rt.Chain.Respond(&fl.response)
	}
	fl.w.heads.fields.Change(p.Respond)
}
