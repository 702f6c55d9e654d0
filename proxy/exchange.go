package proxy

import (
	"zproxy/buf"
	"zproxy/internal/plant"
	"zproxy/proto"
	"zproxy/proto/http1"
	"zproxy/proto/http2"
	"zproxy/proto/ws"
	"zproxy/upstream"
)

type exchangeState uint8

const (
	xRouting    exchangeState = iota // being decided; nothing is held elsewhere
	xWaiting                         // in its upstream pool's queue
	xStealing                        // asked a neighbour for a connection
	xConnecting                      // its origin connection is being dialled
	xForwarding                      // its request is with an origin
	xTunnel                          // 101: both sides are pipes
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
	xResponseChunked              // the response body leaves chunked
	xResponseToClose              // the response body ends with the client connection
	xResponseTrailers             // the response's trailer section is being received
	xLongHead                     // the head does not fit one block: no replay
	xReused                       // the origin connection had served before
	xBroken                       // out of memory mid-message: the legs must be broken
	xClientDone                   // tunnel: the client has closed its write side
	xOriginDone                   // tunnel: the origin has closed its write side
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
)

// exchange is one request and its response: what joins a client to an origin.
// Pointer-free.
type exchange struct {
	client uint32
	origin uint32 // 0 when none
	socket uint32 // what it has of a WebSocket, 0 when it is none
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
	bodyMark            uint64 // reqBytes at bodyFromMs
	tried               uint64 // endpoints that failed this exchange, by bit: others first, then on a fresh connection

	start                  int64  // Now() ns: head received
	askedUs                uint32 // when a dial was begun, then when the head was given to the origin, from start on; while a neighbour is asked, the number of that
	soughtMs               uint32 // since when a connection is looked for, from start on
	bodyFromMs             uint32 // since when the body's rate is watched, from start on, 0: it is not
	bodyAtMs               uint32 // when the body last moved, from start on
	bodySeen               uint32 // reqBytes then, the low bits
	connectUs, firstByteUs uint32
	route                  int32
	cluster, endpoint      int16
	status                 uint16
	attempts, stales       uint8 // times it was sent again: after a fresh connection broke, after a dead one
	interims               uint8
	state                  exchangeState
	method                 proto.Method
	minor                  uint8
	resetCode              uint8 // with xStreamReset: what the other side's stream is to be reset with
	from                   namedClient
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
	x.method, x.minor = h.Method, h.Minor
	if h.H2 {
		x.minor = 1 // takes all that HTTP/1.1 does
	}
	x.route, x.cluster, x.endpoint = -1, -1, -1
	x.reqBody.Start(h.Body, h.Length)
	if done {
		x.flags |= xRequestDone
	}
	if h.Protocol.Len > 0 {
		x.flags |= xUpgrade
	}
	if asksByGRPC(h) {
		x.flags |= xGRPC
	}
	if h.Expect100 {
		x.flags |= xExpect | xContinue
	}
	if h.KeepAlive {
		x.flags |= xMayFollow
	}
	limit := w.snap.limits.requestsPerConnection
	if h.KeepAlive && !w.draining && (limit == 0 || c.requests < limit) {
		x.flags |= xKeepAlive
	}
	w.clientDue(c, 0)
	w.clientBulk(c, true)
	w.current = h
	w.identify(c, h)
	if f == nil {
		f = w.admit(c, h)
	}
	if f != nil {
		if h.Method == proto.CONNECT {
			x.flags &^= xKeepAlive // what follows may be meant for the tunnel there is not
		}
		w.failExchange(c, x, f)
		return
	}
	w.routeExchange(c, x, h)
}

// admit refuses what this proxy does not do, whatever the route, and what there
// is no memory for.
func (w *Worker) admit(c *client, h *proto.Head) *proto.Fault {
	if h.Method == proto.CONNECT {
		return &faultConnect
	}
	if h.Protocol.Len > 0 {
		if websocket, _ := ws.Offered(h); !websocket {
			return &faultProtocol
		}
	}
	if f := w.misdirected(c, h); f != nil {
		return f
	}
	if w.l.Crowded() {
		return &faultMemory
	}
	if !w.keepsBehind(&c.in) {
		return &faultMemory
	}
	if w.leavesUnread(c) {
		return &faultUnread
	}
	if limit := w.snap.limits.bodyBytes; limit > 0 && h.Body == proto.BodyLength && uint64(h.Length) > limit {
		return &faultBodyTooLarge
	}
	return nil
}

// seek has x look for an origin. Requests of HTTP/2 do so when the block they came
// in has been read: what ends them may be in it, a reset of the client's or
// something the session resets them for, and an origin that was asked costs a
// connection, which who attacks does not pay for (CVE-2023-44487, CVE-2025-8671).
func (w *Worker) seek(c *client, x *exchange) {
	if w.reading && c.stream != 0 {
		w.begun = append(w.begun, x.client)
		return
	}
	w.dispatch(c, x)
}

// dispatchBegun ends the reading of a block: who has not ended in it goes on.
func (w *Worker) dispatchBegun() {
	w.reading = false
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
	if x.flags&xRequestDone == 0 && w.lacksContent(c, x) {
		return
	}
	p := w.pools[x.cluster]
	d, ok := p.Quick(w.l.Now(), x.tried, uint64(x.start))
	if !ok {
		d = p.AcquireFor(w.l.Now(), &upstream.Request{Waiter: c.x, Client: w.asker(c, x), Tried: x.tried, Hash: uint64(x.start)})
	}
	switch d.Kind {
	case upstream.Reuse:
		if w.snap.clusters[x.cluster].h2 {
			w.joinGroup(c, x, d.Endpoint)
			return
		}
		o := w.origins.At(uint32(d.Conn))
		x.flags |= xReused
		w.m.UpstreamReused++
		w.attach(c, x, uint32(d.Conn), o)
	case upstream.Dial:
		w.dial(c, x, d.Endpoint)
	case upstream.Steal:
		w.askNeighbour(c, x, d.Endpoint, d.Loop)
	case upstream.Wait:
		w.await(c, x, xWaiting)
		w.wakeBy(p.NextDue(w.l.Now()))
		w.press(int(x.cluster))
		if d.Displaced != 0 {
			displaced := w.xs.At(d.Displaced - 1)
			w.refuseDispatch(w.clients.At(displaced.client), displaced, upstream.QueueFull)
		}
	default:
		w.refuseDispatch(c, x, d.Reason)
	}
}

// await lets the exchange wait for a connection, in state how.
func (w *Worker) await(c *client, x *exchange, how exchangeState) {
	if x.state != xWaiting && x.state != xStealing {
		w.m.Queued++
	}
	x.state = how
	w.clientDeadline(c, x)
}

func (w *Worker) dial(c *client, x *exchange, endpoint int) {
	if w.snap.clusters[x.cluster].h2 {
		w.joinGroup(c, x, endpoint)
		return
	}
	r, key := w.remote(int(x.cluster), endpoint)
	if r == nil {
		w.pools[x.cluster].DialFailed(w.l.Now(), endpoint)
		w.serveWaiters(int(x.cluster))
		x.tried |= 1 << uint(endpoint)
		w.failExchange(c, x, &faultUnresolved)
		return
	}
	oi, o := w.openOrigin(r, key, int(x.cluster), endpoint)
	if o == nil {
		w.failExchange(c, x, &faultNoSocket)
		return
	}
	x.state = xConnecting
	x.origin, o.x = oi, c.x
	x.endpoint = int16(endpoint)
	x.asks(w.l.Now())
	w.clientDeadline(c, x)
}

// attach gives the exchange to a connected origin and sends what is there.
func (w *Worker) attach(c *client, x *exchange, oi uint32, o *origin) {
	waited := x.state == xWaiting || x.state == xStealing
	x.state = xForwarding
	x.origin, x.endpoint = oi, int16(o.endpoint)
	if waited {
		w.clientDeadline(c, x)
	}
	x.asks(w.l.Now())
	x.respBody = http1.Body{} // a head may have begun on a connection that broke
	o.x, o.state = c.x, originBusy
	if o.stream == 0 {
		o.flags |= originUnsent
	}
	o.uses++
	w.originHead(x, o)
	if !x.backlog.Empty() {
		w.originBacklog(x, o)
	}
	if x.flags&xRequestDone != 0 {
		w.originEnd(x, o)
	}
	if x.flags&xBroken != 0 {
		w.failExchange(c, x, &faultMemory)
		return
	}
	if x.flags&xRequestDone != 0 {
		return
	}
	w.resumeRequest(c, x)
	if c.state != clientBusy || x.flags&xRequestDone != 0 {
		return
	}
	w.originDeadline(x, o)
}

// requestBacklog is how many bytes of the request wait for the origin.
func (w *Worker) requestBacklog(x *exchange) int {
	if x.origin != 0 && x.state == xForwarding {
		return w.originQueued(w.origins.At(x.origin))
	}
	return x.backlog.Bytes()
}

// resumeRequest goes on with a request body that was held up.
func (w *Worker) resumeRequest(c *client, x *exchange) {
	w.pumpRequest(c, x)
	if c.state == clientBusy && x.flags&xRequestDone == 0 && w.requestBacklog(x) <= w.high {
		w.resumeClient(c)
		w.awaitBody(c)
	}
}

// requestData takes decoded body bytes of the request. It never ends the
// exchange: what goes wrong shows in xBroken or in an event to come.
func (w *Worker) requestData(x *exchange, v buf.View) {
	x.reqBytes += uint64(v.Len)
	x.flags &^= xExpect // or it has got tired of waiting
	switch {
	case x.flags&xOriginDeaf != 0:
		x.flags |= xBodyGiven // it is gone all the same: a replay would lack it
		w.pool.Release(v)
	case x.state == xForwarding:
		w.originData(x, w.origins.At(x.origin), v)
	default:
		w.queue(&x.backlog, v)
	}
}

// requestEnd notes that the request has been received whole; t is its trailer
// section, borrowed, or nil.
func (w *Worker) requestEnd(c *client, x *exchange, t *proto.Head) {
	x.flags |= xRequestDone
	x.flags &^= xRequestTrailers
	if c.stream != 0 && !c.in.Empty() {
		w.requestData(x, w.pool.Pop(&c.in))
	}
	w.clientDeadline(c, x)
	if t != nil && w.keepsTrailers(x) {
		w.snap.forwarding.judge(t, w.peerOf(c).trusted, w.asksClients(c))
		w.out = w.requestTrailerSection(w.out[:0], x, t)
		if len(w.out) > w.pool.BlockBytes() {
			w.requestFault(c, x, proto.RequestFault(proto.FaultHeadTooLarge))
			return
		}
		x.trailer = w.keep(x, w.out)
	}
	if x.flags&(xHeadWaits|xContentWaits) != 0 && x.flags&xBroken == 0 {
		x.flags &^= xHeadWaits
		w.contentCame(c, x)
		return
	}
	if x.flags&(xOriginDeaf|xBroken) == 0 && x.state == xForwarding {
		w.originEnd(x, w.origins.At(x.origin))
	}
	if x.flags&xBroken != 0 {
		// Its trailers or its last chunk found no memory: the origin must not
		// wait for them, nor take what follows for them.
		w.failExchange(c, x, &faultMemory)
		return
	}
	if !c.in.Empty() {
		w.restrainClient(c)
	}
}

// requestFault answers a request whose body turned out wrong. The origin leg
// is broken before its message is whole.
func (w *Worker) requestFault(c *client, x *exchange, f *proto.Fault) {
	w.failExchange(c, x, f)
}

// failExchange ends the exchange with an answer of the proxy's own, or, when
// an answer has begun, by breaking the client's leg.
func (w *Worker) failExchange(c *client, x *exchange, f *proto.Fault) {
	w.countFault(f)
	if x.flags&xResponseBegun != 0 {
		w.m.OriginAborts++
		w.breakClient(c, x, f.Reason)
		if f == &faultMemory && c.stream == 0 && w.clientQueued(c) > 0 {
			w.abortClient(c) // what waits for it is what others lack
		}
		return
	}
	w.detachOrigin(x, false)
	w.replyFault(c, x, f)
}

// breakClient ends a response that cannot be completed so that the client
// sees the cut: no last chunk, fewer bytes than Content-Length said, or, for
// a body that ends with the connection, a reset (RFC 9112 8).
func (w *Worker) breakClient(c *client, x *exchange, why string) {
	toClose, linger, code := x.flags&xResponseToClose != 0, x.lingers(), x.clientCode()
	w.endExchange(c, x, why)
	if c.stream != 0 {
		if plant.Is(plant.End) {
			w.clientFinish(c)
			w.finishStream(c)
			return
		}
		// RFC 9113 8.1: a message that ends before END_STREAM is incomplete.
		w.endClientStream(c, code)
		return
	}
	if toClose && !plant.Is(plant.Cut) {
		w.abortClient(c)
		return
	}
	w.closeAfterFlush(c, linger)
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
	w.detachOrigin(x, reusable && x.flags&xRequestGiven != 0)
	w.endExchange(c, x, "")
	if c.stream != 0 {
		w.finishStream(c)
		return
	}
	if keep {
		w.nextRequest(i, c)
		return
	}
	w.closeAfterFlush(c, linger || !c.in.Empty())
}

// endExchange is the one place where an exchange ends: it is counted, logged
// and freed. An origin still attached is broken. The caller decides what
// becomes of the client.
func (w *Worker) endExchange(c *client, x *exchange, why string) {
	if x.state == xWaiting {
		w.pools[x.cluster].RemoveWaiter(c.x)
		w.muteNoMore(c, x)
	}
	if x.state == xTunnel {
		w.m.Tunnels--
	}
	w.detachOrigin(x, false)
	w.account(c, x, why)
	if x.socket != 0 {
		w.dropSocket(x)
	}
	w.pool.Drop(&x.backlog)
	w.pool.Drop(&x.headQ)
	w.release(&x.head)
	w.pool.Tidy(&w.notes)
	w.release(&x.trailer)
	w.xs.Free(c.x)
	c.x = 0
}

func (w *Worker) release(v *buf.View) {
	if v.ID != 0 {
		if !plant.Is(plant.Leak) || v.Len%64 != 63 {
			w.pool.Release(*v)
		}
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

// decoded is what decodeBody found: n body bytes at b[at:], used bytes spent.
type decoded struct {
	at, n, used int
	piece       http1.Piece
	fault       *proto.Fault
}

// decodeBody takes the transfer coding off b in place: body bytes that lie
// apart move down over the framing between them, so one received block yields
// one run of body bytes, however small its chunks. b must be exclusive.
func decodeBody(d *http1.Body, b []byte) decoded {
	var r decoded
	for {
		piece, skip, n, f := d.Next(b[r.used:])
		if f != nil {
			r.fault = f
			return r
		}
		r.used += skip
		if piece != http1.PieceData {
			r.piece = piece
			return r
		}
		if r.n == 0 {
			r.at = r.used
		} else if skip > 0 {
			copy(b[r.at+r.n:], b[r.used:r.used+n])
		}
		r.n += n
		r.used += n
		if r.used == len(b) && !d.Done() {
			r.piece = http1.PieceMore
			return r
		}
	}
}
