package proxy

import (
	"zproxy/buf"
	"zproxy/proto"
	"zproxy/proto/http1"
	"zproxy/proto/http2"
	"zproxy/proto/ws"
	"zproxy/proxy/forward"
	"zproxy/proxy/origins"
	"zproxy/proxy/retry"
	"zproxy/upstream"
)

type exchangeState uint8

const (
	xRouting    exchangeState = iota // being decided; nothing is held elsewhere
	xFiltering                       // waits for a filter of its route
	xWaiting                         // in its upstream pool's queue
	xAsking                          // asked a neighbour for a connection
	xConnecting                      // its origin connection is being dialled
	xForwarding                      // its request is with an origin
	xTunnel                          // 101: both sides are pipes
	xEnded                           // over: its entry is free when the event at hand has been dealt with
)

const (
	xKeepAlive        = 1 << iota // the client connection may carry another request
	xRequestDone                  // the request body has been received whole
	xRequestTrailers              // the request's trailer section is being received
	xRequestChunked               // the request body leaves chunked
	xHeadGiven                    // the request head was given to the origin
	xBodyGiven                    // body bytes were given to the origin: no replay
	xRequestGiven                 // the whole request was given to the origin
	xOriginDeaf                   // the origin no longer takes the request: discard the rest
	xExpect                       // the client waits for a 100 (RFC 9110 10.1.1)
	xUpgrade                      // the client asked for an upgrade
	xResponseBegun                // the final head was given to the client
	xResponseFramed               // the response body leaves in chunks, or in frames
	xResponseToClose              // the response body ends with the client connection
	xResponseTrailers             // the response's trailer section is being received
	xLongHead                     // the head does not fit one block: no replay
	xReused                       // the origin connection had served before
	xBroken                       // out of memory mid-message: the legs must be broken
	xConnectFailed                // an endpoint could not be connected to
	xConnectTimedOut              // the last one that could not took too long
	xHandshakeFailed              // the last one that could not failed in TLS
	xMayFollow                    // the client may send more behind this request
	xHeadWaits                    // no origin is looked for before the request has ended
	xSpliced                      // bytes of the response went inside the kernel
	xBodyLost                     // body bytes given to a stream were not kept: no replay
	xGRPC                         // the client speaks gRPC
	xStreamReset                  // a side has reset its stream, with resetCode
	xContinue                     // the client asked for a 100 and has not had it
	xPerhapsDone                  // an origin that broke off may have acted on it
	xContentWaits                 // connections are short, and no origin is looked for before more of the request has come (or, see mute, they are not)
	xHTTP10                       // the client speaks HTTP/1.0
	xFiltered                     // it has a passage, see filters
)

// exchange is one request and its response: what joins a client to an origin.
// Pointer-free.
type exchange struct {
	client uint32
	origin uint32 // 0 when none
	tunnel uint32 // in tunnels: it is one, or asks for a WebSocket; 0: neither
	flags  uint32
	// head is the request head as it goes to the origin. It is kept until the
	// end: for a replay on another connection and for the access log.
	head    buf.View
	headQ   buf.Chain // the same when it is too long for one block: sent once, never replayed
	backlog buf.Chain // body bytes received before an origin was there, or kept for another stream
	trailer buf.View  // trailer lines received before an origin was there

	reqBody  http1.Body
	respBody http1.Body

	reqBytes, respBytes uint64
	bodyMark            uint64         // reqBytes at bodyFromMs
	tried               upstream.Tried // endpoints that failed this exchange: others first, then on a fresh connection

	start                  int64  // Now() ns: head received
	askedUs                uint32 // when a dial was begun, then when the head was given to the origin, from start on; while a neighbour is asked, which ask that is, 0 once it has answered
	soughtMs               uint32 // since when a connection is looked for, from start on
	bodyFromMs             uint32 // since when the body's rate is watched, from start on, 0: it is not
	bodyAtMs               uint32 // when the body last moved, from start on
	bodySeen               uint32 // reqBytes then, the low bits
	connectUs, firstByteUs uint32
	route                  int32
	cluster, endpoint      int16
	snap                   uint16 // in snapshots: it began with
	status                 uint16
	again                  retry.Tries
	interims               uint8 // how many have come, and see xEntered
	state                  exchangeState
	method                 proto.Method
	resetCode              uint8 // with xStreamReset: what the other side's stream is to be reset with
	from                   forward.Asker
}

// microseconds is a time as an exchange keeps it: an hour is as good as for ever.
func microseconds(ns int64) uint32 { return uint32(min(ns/1000, 1<<32-1)) }

// sinceMs is the time from the start of x to now.
func (x *exchange) sinceMs(now int64) uint32 { return uint32((now - x.start) / 1e6) }

// asks notes that an origin is asked for a connection, or for the answer.
func (x *exchange) asks(now int64) { x.askedUs = microseconds(now - x.start) }

// took is how long that is ago.
func (x *exchange) took(now int64) int64 { return now - x.start - int64(x.askedUs)*1000 }

// watched is for how long the body's rate has been watched.
func (x *exchange) watched(now int64) int64 {
	return max(0, int64(x.sinceMs(now))-int64(x.bodyFromMs)) * 1e6
}

// minor is the version of HTTP/1 that the client takes.
func (x *exchange) minor() uint8 {
	if x.flags&xHTTP10 != 0 {
		return 0
	}
	return 1
}

// sought is since when a connection is looked for.
func (x *exchange) sought() int64 { return x.start + int64(x.soughtMs)*1e6 }

// startExchange begins the exchange of the head in h. It borrows h and its
// bytes; the bytes behind the head are in c.in, or come as frames. f, if not
// nil, is what is wrong with the head although its boundaries are known. done:
// nothing follows the head.
func (w *Worker) startExchange(i uint32, c *client, h *proto.Head, done bool, f *proto.Fault) {
	w.m.Requests++
	c.requests++
	xi, x := w.xs.Alloc()
	c.x, c.state = xi, clientBusy
	x.client, x.start = i, w.l.Now()
	w.snaps.begins(xi, x, c.listener)
	x.method = h.Method
	if h.Minor == 0 && !h.H2 { // who speaks HTTP/2 takes all that HTTP/1.1 does
		x.flags |= xHTTP10
	}
	x.route, x.cluster, x.endpoint = -1, -1, -1
	x.reqBody.Start(h.Body, h.Length)
	if done {
		x.flags |= xRequestDone
	}
	if h.Protocol.Len > 0 {
		x.flags |= xUpgrade
	}
	if forward.AsksByGRPC(h) {
		x.flags |= xGRPC
	}
	if h.Expect100 {
		x.flags |= xExpect | xContinue
	}
	if h.KeepAlive {
		x.flags |= xMayFollow
	}
	limit := w.snap.Limits.RequestsPerConnection
	if h.KeepAlive && !w.drain.on && !w.snap.Listeners[c.listener].Gone && (limit == 0 || c.requests < limit) {
		x.flags |= xKeepAlive
	}
	w.legs.due(&c.leg, 0)
	w.legs.clientBulk(c, true)
	q := &w.requests.asked
	q.Begin(&w.snap.Forwarding, h, w.heads.peerOf(c), w.heads.tlsOf(c))
	w.requests.starts = xi
	w.refuseOrRoute(c, x, q, f)
	w.requests.starts = 0
}

// refuseOrRoute refuses q, for f or for what it finds itself, or finds its route.
func (w *Worker) refuseOrRoute(c *client, x *exchange, q *forward.Request, f *proto.Fault) {
	if f == nil {
		f = w.admit(c, q)
	}
	if f != nil {
		if q.Head.Method == proto.CONNECT {
			x.flags &^= xKeepAlive // what follows may be meant for the tunnel there is not
		}
		w.failExchange(c, x, f)
		return
	}
	w.requests.route(c, x, q)
}

// admit refuses what this proxy does not do, whatever the route, and what there
// is no memory for.
func (w *Worker) admit(c *client, q *forward.Request) *proto.Fault {
	h := q.Head
	if h.Method == proto.CONNECT {
		return &faultConnect
	}
	if h.Protocol.Len > 0 {
		if websocket, _ := ws.Offered(h); !websocket {
			return &faultProtocol
		}
	}
	if q.Misdirected() {
		return &faultMisdirected
	}
	if w.l.Crowded() {
		return &faultMemory
	}
	if !w.memory.keepsBehind(&c.in) {
		return &faultMemory
	}
	if w.memory.leavesUnread(c) {
		return &faultUnread
	}
	if limit := w.snap.Limits.BodyBytes; limit > 0 && h.Body == proto.BodyLength && uint64(h.Length) > limit {
		return &faultBodyTooLarge
	}
	return nil
}

// seek has x look for an origin. Requests of HTTP/2 do so when the block they came
// in has been read: what ends them may be in it, a reset of the client's or
// something the session resets them for, and an origin that was asked costs a
// connection, which who attacks does not pay for (CVE-2023-44487, CVE-2025-8671).
func (w *Worker) seek(c *client, x *exchange) {
	if w.h2.ReadsClient() {
		w.begun = append(w.begun, x.client)
		return
	}
	w.dispatch(c, x)
}

// dispatchBegun comes when a block has been read: who has not ended in it goes on.
func (w *Worker) dispatchBegun() {
	for _, i := range w.begun {
		// Clients that have ended keep their entries until the turn ends.
		if c := w.clients.At(i); c.state == clientBusy {
			w.dispatch(c, w.xs.At(c.x))
		}
	}
	w.begun = w.begun[:0]
}

// dispatch finds the exchange an origin connection: a kept-alive one, a new
// one, a neighbour's, or a place in the queue.
func (w *Worker) dispatch(c *client, x *exchange) {
	if x.flags&xRequestDone == 0 && w.scarce.lacksContent(c, x) {
		return
	}
	if cl := w.clusters[x.cluster]; cl.Spare != 0 && cl.Lost.Load() && !w.heads.fallBack(c, x, cl.Spare-1) {
		w.failExchange(c, x, &faultNoH2)
		return
	}
	r := upstream.Request{Waiter: c.x, Tried: x.tried, Hash: w.requests.hash(c.x, x), Stick: w.requests.stick(c.x, x)}
	from := w.origins.from(c, x)
	var ev *origins.Event
	if r.Stick == 0 {
		ev = w.leases.Quick(int(x.cluster), &r, &from)
	}
	if ev == nil {
		r.Client = w.scarce.asker(c, x)
		ev = w.leases.Ask(int(x.cluster), &r, &from)
	}
	switch ev.Kind {
	case origins.Ready:
		x.flags |= xReused
		w.attach(c, x, ev)
	case origins.Coming:
		w.origins.await(c, x, ev)
		w.clientDeadline(c, x)
	case origins.Permit:
		w.origins.takeStream(c, x, ev.Endpoint)
	case origins.Asked:
		if x.state != xAsking {
			w.await(c, x, xAsking)
		}
		x.askedUs = ev.Ask
	case origins.Queued:
		w.await(c, x, xWaiting)
		w.wakeBy(ev.At)
		w.scarce.press(int(x.cluster))
		if ev.Displaced != 0 {
			displaced := w.xs.At(ev.Displaced - 1)
			w.refuseDispatch(w.clients.At(displaced.client), displaced, upstream.QueueFull)
		}
	case origins.Failed:
		w.origins.notDialed(c, x, ev)
	default:
		w.refuseDispatch(c, x, ev.Reason)
	}
}

// hasBody says that content is to be sent, or may come.
func (x *exchange) hasBody() bool {
	return x.flags&xRequestDone == 0 || x.flags&xUpgrade != 0 || !x.backlog.Empty()
}

// await lets the exchange wait for a connection, in state how.
func (w *Worker) await(c *client, x *exchange, how exchangeState) {
	if x.state != xWaiting && x.state != xAsking {
		w.m.Queued++
	}
	x.state = how
	w.clientDeadline(c, x)
}

// attach gives the exchange the lease that ev tells of and sends what is there.
func (w *Worker) attach(c *client, x *exchange, ev *origins.Event) {
	waited := x.state == xWaiting || x.state == xAsking
	x.state = xForwarding
	o := w.origins.begin(c.x, ev)
	if waited {
		w.clientDeadline(c, x)
	}
	x.asks(w.l.Now())
	x.respBody = http1.Body{} // a head may have begun on a connection that broke
	if o.state, o.flags = originBusy, originUnsent; ev.Stale {
		o.flags |= originStale
	}
	w.legs.requestHead(x, o)
	if !x.backlog.Empty() {
		w.legs.requestBacklog(x, o)
	}
	if x.flags&xRequestDone != 0 {
		w.requests.finish(x, o)
	}
	if x.flags&xBroken != 0 {
		w.failExchange(c, x, &faultMemory)
		return
	}
	if x.flags&xRequestDone != 0 {
		return
	}
	w.requests.resume(c, x)
	if x.state == xEnded || x.flags&xRequestDone != 0 {
		return
	}
	w.originDeadline(x, o)
}

// failExchange ends the exchange with an answer of the proxy's own, or, when
// an answer has begun, by breaking the client's leg.
func (w *Worker) failExchange(c *client, x *exchange, f *proto.Fault) {
	w.countFault(f)
	if x.flags&xResponseBegun != 0 {
		w.m.OriginAborts++
		w.breakClient(c, x, f.Reason)
		if f == &faultMemory && w.legs.queued(&c.leg) > 0 {
			w.legs.abort(c) // what waits for it is what others lack
		}
		return
	}
	w.origins.detach(x, false)
	w.responses.replyFault(c, x, f, proto.Extra{})
}

// breakClient ends a response that cannot be completed so that the client
// sees the cut: no last chunk, fewer bytes than Content-Length said, or, for
// a body that ends with the connection, a reset (RFC 9112 8).
func (w *Worker) breakClient(c *client, x *exchange, why string) {
	toClose, linger, code := x.flags&xResponseToClose != 0, x.lingers(), x.clientCode()
	w.endExchange(c, x, why)
	w.legs.cut(c, toClose, linger, code)
}

// streamReset notes that a side has reset its stream, and what the other is to
// be told.
func (x *exchange) streamReset(code http2.ErrCode) {
	x.flags |= xStreamReset
	x.resetCode = uint8(code)
}

// clientCode is what the stream of a client is reset with whose answer is not
// whole.
func (x *exchange) clientCode() http2.ErrCode {
	if x.flags&xStreamReset != 0 {
		return http2.ErrCode(x.resetCode)
	}
	return http2.ErrInternal
}

// originCode is what the stream to an origin is reset with that is not wanted
// any more.
func (x *exchange) originCode() http2.ErrCode {
	if x.flags&xStreamReset != 0 {
		return http2.ErrCode(x.resetCode)
	}
	return http2.ErrCancel
}

// lingers says that the client may have sent something that was not read, or
// be about to: to close at once would answer that with a reset, which may
// overtake the responses on their way (RFC 9112 9.6).
func (x *exchange) lingers() bool {
	return x.flags&xRequestDone == 0 || x.flags&xMayFollow != 0
}

// finishExchange ends an exchange whose response was given to the client
// whole.
func (w *Worker) finishExchange(c *client, x *exchange, reusable bool) {
	i := x.client
	keep := x.flags&(xKeepAlive|xRequestDone) == xKeepAlive|xRequestDone && x.flags&xResponseToClose == 0
	linger := x.lingers()
	w.origins.detach(x, reusable && x.flags&xRequestGiven != 0)
	w.endExchange(c, x, "")
	w.legs.answered(i, c, keep, linger)
}

// endExchange is the one place where an exchange ends: it is counted, logged
// and freed. An origin still attached is broken. The caller decides what
// becomes of the client.
func (w *Worker) endExchange(c *client, x *exchange, why string) {
	switch x.state {
	case xWaiting:
		w.leases.Pool(int(x.cluster)).RemoveWaiter(c.x)
		w.scarce.muteNoMore(c, x)
	case xAsking:
		if x.askedUs != 0 {
			w.leases.Forget(x.askedUs)
		}
	}
	w.origins.detach(x, false)
	w.journal.account(c, x, why)
	w.tunnels.drop(x)
	w.snaps.setEnd(c.x, 0)
	if x.cluster >= 0 {
		x.again.End(w.clusters[x.cluster])
	}
	w.leave(x)
	if x.flags&xFiltered != 0 {
		w.filters.leave(c.x)
	}
	w.pool.Drop(&x.backlog)
	w.pool.Drop(&x.headQ)
	w.release(&x.head)
	w.pool.Tidy(&w.journal.notes)
	w.release(&x.trailer)
	w.ended = append(w.ended, c.x)
	x.state = xEnded
	c.x = 0
}

func (w *Worker) release(v *buf.View) {
	if v.ID != 0 {
		w.pool.Release(*v)
		*v = buf.View{}
	}
}

// keep copies b, at most a block, into a view of its own. When there is no
// memory the exchange is marked broken and the view is empty.
func (w *Worker) keep(x *exchange, b []byte) buf.View {
	if len(b) == 0 {
		return buf.View{}
	}
	if len(b) <= w.pool.BlockBytes() {
		if dst := w.pool.Reserve(len(b)); dst != nil {
			copy(dst, b)
			return w.pool.Commit(len(b))
		}
	}
	x.flags |= xBroken
	return buf.View{}
}

// retain makes one more reference to v, if it is one.
func (w *Worker) retain(v buf.View) {
	if v.ID != 0 {
		w.pool.Retain(v)
	}
}

// refuseDispatch answers an exchange that its pool could not take.
func (w *Worker) refuseDispatch(c *client, x *exchange, r upstream.Reason) {
	if r != upstream.QueueFull && w.requests.fallsOver(x) {
		w.dispatch(c, x)
		return
	}
	switch r {
	case upstream.QueueFull:
		w.m.QueueFull++
		w.failExchange(c, x, w.noConnection(x, &faultQueueFull))
	case upstream.NotResolved:
		w.failExchange(c, x, w.noConnection(x, &faultUnresolved))
	default:
		w.failExchange(c, x, w.noConnection(x, &faultNoEndpoint))
	}
}

// noConnection is why an exchange got no connection: f, unless an endpoint was
// tried and could not be connected to, which says more.
func (w *Worker) noConnection(x *exchange, f *proto.Fault) *proto.Fault {
	switch {
	case x.flags&xConnectTimedOut != 0:
		return &faultConnectTimeout
	case x.flags&xHandshakeFailed != 0:
		return w.origins.refusals[x.cluster]
	case x.flags&xConnectFailed != 0:
		return &faultConnectFailed
	}
	return f
}

func (w *Worker) countFault(f *proto.Fault) { w.m.RefusedByReason[f.Code]++ }

// freeExchanges frees the entries of exchanges that have ended. Nobody is in the middle
// of one when it is called.
func (w *Worker) freeExchanges() {
	for _, i := range w.ended {
		w.xs.Free(i)
	}
	w.ended = w.ended[:0]
}

// underWay is how many exchanges there are that have not ended.
func (w *Worker) underWay() int { return w.xs.Len() - len(w.ended) }
