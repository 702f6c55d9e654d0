package proxy

import (
	"net/netip"

	"zproxy/buf"
	"zproxy/loop"
	"zproxy/metrics/accesslog"
	"zproxy/proto"
	"zproxy/proto/http2"
	"zproxy/proto/ws"
	"zproxy/proxy/forward"
	"zproxy/proxy/scarce"
	"zproxy/proxy/snapshot"
)

// leg is one side of an exchange: a connection of its own or one stream of an HTTP/2
// connection. What is done with either is the same up to here: this file alone tells
// the kinds apart, and has an operation for each thing that they do differently. How
// they do it is in leg_http1.go and leg_http2.go. Pointer-free.
type leg struct {
	conn   loop.ConnID
	stream uint32    // in streams; 0: a connection of its own
	x      uint32    // its exchange, 0 when none
	in     buf.Chain // received, not yet parsed; of a stream: see holdsBack
}

// legs are both sides of a worker's exchanges.
type legs struct{ part }

// isStream says that the leg is a stream, and numberOf its identifier; 0: it is none, or not open.
func (g *leg) isStream() bool { return g.stream != 0 }

func (lg *legs) numberOf(g *leg) uint32 {
	if g.stream == 0 {
		return 0
	}
	return lg.w.streams.Number(lg.w.streams.At(g.stream))
}

// queued is how many bytes wait for the peer.
func (lg *legs) queued(g *leg) int {
	if g.stream != 0 {
		return lg.w.streams.At(g.stream).Queued()
	}
	return lg.l.Queued(g.conn)
}

// left tells whether everything has left for the peer, and with it the end of its
// direction if there was one.
func (lg *legs) left(g *leg) bool {
	return lg.queued(g) == 0 && (g.stream == 0 || lg.w.streams.At(g.stream).Left())
}

// reached tells whether what has left has also left by the connection, where a stream's
// may be behind much of other streams'.
func (lg *legs) reached(g *leg) bool {
	return g.stream == 0 || lg.w.streams.Reached(lg.w.streams.At(g.stream))
}

// isOver says that nothing reaches the peer any more, with what was queued for it.
func (lg *legs) isOver(g *leg) bool { return g.stream != 0 && lg.w.streams.At(g.stream).IsOver() }

// isUnsent says of o, whose peer has reset its connection, that nothing of the request it carries has
// left, be it that a PROXY header has: no origin can have acted on it.
func (lg *legs) isUnsent(o *origin) bool {
	return o.stream == 0 && o.flags&originUnsent != 0 && !loop.Sending(lg.l.Loop, o.conn)
}

// due sets the leg's deadline; 0: none.
func (lg *legs) due(g *leg, at int64) {
	if g.stream != 0 {
		lg.w.streams.Due(g.stream, at)
		return
	}
	lg.l.Deadline(g.conn, at)
}

// push sends v as it is. It takes its reference.
func (lg *legs) push(g *leg, v buf.View) {
	if g.stream != 0 {
		lg.w.streams.Push(lg.w.streams.At(g.stream), v)
		return
	}
	lg.l.Send(g.conn, v)
}

// finish ends the sending direction behind all that waits; the other direction goes on.
func (lg *legs) finish(g *leg) {
	if g.stream != 0 {
		lg.w.streams.Finish(lg.w.streams.At(g.stream), buf.View{})
		return
	}
	lg.l.Shutdown(g.conn)
}

// carrier is the connection that the peer sends on, 0: its stream is over.
func (lg *legs) carrier(g *leg) loop.ConnID {
	if g.stream == 0 {
		return g.conn
	}
	return lg.w.streams.Carrier(lg.w.streams.At(g.stream))
}

// starves says that there is no block for what the peer has sent, or for what is before
// it on its connection. It asks the kernel.
func (lg *legs) starves(g *leg) bool { return lg.l.Starved(lg.carrier(g)) }

// partial is how much of a TLS record that is not whole has come, and how long ago the
// last of it. shared: it may be for another stream.
func (lg *legs) partial(g *leg) (n int, idleMs uint32, shared bool) {
	n, idleMs = lg.l.Partial(lg.carrier(g))
	return n, idleMs, g.stream != 0
}

// flows says that bytes pushed to the peer leave at once, as far as is known.
func (lg *legs) flows(g *leg) bool {
	if g.stream != 0 {
		return lg.w.streams.Flows(lg.w.streams.At(g.stream))
	}
	return lg.l.Queued(g.conn) == 0
}

// takes says that less than a block of what the peer was sent waits, here or in the
// kernel: what it is sent now leaves at once. It asks the kernel.
func (lg *legs) takes(g *leg) bool {
	if g.stream != 0 {
		return lg.w.streams.Takes(lg.w.streams.At(g.stream), lg.pool.BlockBytes())
	}
	return lg.l.Queued(g.conn)+lg.l.Unacked(g.conn) < lg.pool.BlockBytes()
}

// holdsBack says that the last bytes of a message have come whose end has not. What
// HTTP/1 would take for whole by its Content-Length the peer may yet take back, or send
// more than that: that it is whole only END_STREAM says (RFC 9113 8.1, 8.1.1). Until
// then they wait in g.in, where a connection's have not been parsed.
func (g *leg) holdsBack() bool { return g.stream != 0 && !g.in.Empty() }

// endsApart says that the end of a client's request may come behind all of its content.
func (c *client) endsApart() bool { return c.stream != 0 }

// opensTunnel says that a final head with this status opens a tunnel (RFC 9110 15.2.2,
// RFC 8441 5).
func (g *leg) opensTunnel(status uint16) bool {
	if g.stream != 0 {
		return status/100 == 2
	}
	return status == 101
}

// switches tells whether h, a final head of o's, agrees to the upgrade that x asks for.
func (x *exchange) switches(o *origin, h *proto.Head) bool {
	return o.opensTunnel(h.Status) && (o.stream == 0 || x.flags&xUpgrade != 0)
}

// switchedTo is whether h, by which o opens a tunnel, names WebSocket, or others. On a
// stream there is nothing else to choose, and nothing is named.
func (o *origin) switchedTo(h *proto.Head) (websocket, others bool) {
	if o.stream != 0 {
		return true, false
	}
	return ws.Offered(h)
}

// names says that h, by which o opens a tunnel, names what it is for where it has to.
func (o *origin) names(h *proto.Head) bool { return o.stream != 0 || h.Upgrade }

// ownsConn says that a client's connection is for it alone, and ends with it.
func (c *client) ownsConn() bool { return c.stream == 0 }

// halfClosed says that the client has closed its write side, and may have left.
func (c *client) halfClosed() bool { return c.stream == 0 && c.flags&clientEOF != 0 }

// canRefuse says that a client can be told that its request was not processed (RFC 9113
// 8.7), and may then send it again.
func (c *client) canRefuse() bool { return c.stream != 0 }

// whole is how much of a request counts as all of it where its client is known to stall.
func (c *client) whole() int {
	if c.stream != 0 {
		return scarce.WholeStreamBytes
	}
	return scarce.WholeBytes
}

// clientBulk says that what a client sends from now on is data, not a head, and
// has to do without the last of the memory; originBulk says it of an origin. A
// stream has no connection of its own: see keepsRequest and keepsResponse.
func (lg *legs) clientBulk(c *client, on bool) { lg.bulk(c.conn, loop.Requests, on) }
func (lg *legs) originBulk(o *origin, on bool) { lg.bulk(o.conn, loop.Responses, on) }

func (lg *legs) bulk(conn loop.ConnID, class loop.Class, on bool) {
	if !on {
		class = loop.Heads
	}
	lg.l.Bulk(conn, class)
}

// peer is a client's address; not valid for unix sockets. A stream whose ends have both
// passed may be a tunnel that still has something for its origin, and has no part in a
// session any more.
func (lg *legs) peer(c *client) netip.AddrPort {
	if c.stream != 0 {
		st := lg.w.streams.At(c.stream)
		if st.IsOver() && c.x != 0 && lg.w.xs.At(c.x).state == xTunnel {
			return lg.w.tunnels.Peer(lg.w.xs.At(c.x).tunnel)
		}
		return lg.l.Peer(lg.w.streams.Session(st).Conn)
	}
	return lg.l.Peer(c.conn)
}

// name is where a client's name is kept, which is to be known, and whose it is: that
// of a session is the name of all its streams.
func (lg *legs) name(c *client) (*forward.Peer, loop.ConnID) {
	if c.stream != 0 {
		se := lg.w.streams.Session(lg.w.streams.At(c.stream))
		return &lg.w.heads.sessions[se.Self], se.Conn
	}
	lg.w.heads.peer.Forget()
	return &lg.w.heads.peer, c.conn
}

// record notes the version that a client speaks, and the method with which that asks
// for a tunnel.
func (lg *legs) record(c *client, x *exchange, r *accesslog.Record) {
	r.Major, r.Minor = 1, x.minor()
	if c.stream != 0 {
		r.Major, r.Minor = 2, 0
	}
	if x.flags&xUpgrade != 0 && c.stream != 0 {
		r.Method = forward.Connect
	} else if x.tunnel != 0 && lg.w.tunnels.IsWebSocket(x.tunnel) {
		r.Method = forward.Get // its origin may speak another version
	}
}

// pauseClient asks for no more bytes of a client for now, resumeClient for
// more; likewise with origins.
func (lg *legs) pauseClient(c *client) {
	if c.flags&clientPaused == 0 {
		c.flags |= clientPaused
		if c.stream != 0 {
			lg.w.streams.Pause(lg.w.streams.At(c.stream))
			return
		}
		lg.w.memory.paused++
		lg.l.Pause(c.conn)
	}
}

func (lg *legs) resumeClient(c *client) {
	if c.flags&clientPaused != 0 {
		c.flags &^= clientPaused
		if c.stream != 0 {
			lg.w.streams.Resume(lg.w.streams.At(c.stream))
			return
		}
		lg.w.memory.paused--
		lg.l.Recv(c.conn)
	}
}

func (lg *legs) pauseOrigin(o *origin) {
	if o.flags&originPaused == 0 {
		o.flags |= originPaused
		if o.stream != 0 {
			lg.w.streams.Pause(lg.w.streams.At(o.stream))
			return
		}
		lg.l.Pause(o.conn)
	}
}

func (lg *legs) resumeOrigin(o *origin) {
	if o.flags&originPaused != 0 {
		o.flags &^= originPaused
		if o.stream != 0 {
			lg.w.streams.Resume(lg.w.streams.At(o.stream))
			return
		}
		lg.l.Recv(o.conn)
	}
}

// pump feeds body bytes of a request that waited in c.in to its exchange. A stream's
// wait for the end of the request.
func (lg *legs) pump(c *client, x *exchange) {
	if c.stream == 0 {
		lg.w.clients.pump(c, x)
	}
}

// highFor and lowFor are the marks of what waits for a client: of a stream, its
// part of what may wait in the session.
func (lg *legs) highFor(c *client) int {
	if c.stream == 0 {
		return lg.w.memory.High
	}
	return lg.w.streams.HighFor(lg.w.streams.At(c.stream))
}

func (lg *legs) lowFor(c *client) int {
	if c.stream == 0 {
		return lg.w.memory.Low
	}
	return min(lg.w.memory.Low, lg.highFor(c)/2)
}

// unread is how many bytes of responses wait for a client's connection here, where
// there may be more than one at a time.
func (lg *legs) unread(c *client) int {
	if c.stream != 0 {
		return lg.w.streams.Unread(lg.w.streams.At(c.stream))
	}
	return 0
}

// sharesItsTurn says that something comes on the connection of a client that shares it
// with others: frames, or a TLS record that is not whole, and what it may be waiting for
// lies behind them, or in it.
func (lg *legs) sharesItsTurn(c *client) bool {
	if c.stream == 0 {
		return false
	}
	st := lg.w.streams.At(c.stream)
	return !st.IsOver() && (int64(lg.w.streams.SinceMs(st))*1e6 < scarce.StallNs || lg.w.scarce.brings(lg.w.streams.Carrier(st), scarce.StallNs))
}

// lingerTimeout: a client that has had its last response has not ended in time.
func (lg *legs) lingerTimeout(c *client) {
	if c.stream != 0 {
		lg.w.clients.streamLingers(c)
		return
	}
	lg.w.clients.lingerTimeout(c)
}

// close drops whatever is queued for a client and ends it. The exchange, if any, has
// ended before.
func (lg *legs) close(c *client) {
	if c.stream != 0 {
		lg.w.requests.endClientStream(c, http2.ErrCancel)
		return
	}
	lg.w.clients.close(c)
}

// abort is close with a reset: what the client has got must not pass for whole.
func (lg *legs) abort(c *client) {
	if c.stream != 0 {
		lg.w.requests.endClientStream(c, http2.ErrInternal)
		return
	}
	lg.w.clients.abort(c)
}

// abortTunnel is abort for a tunnel: CANCEL is what a reset is there (RFC 8441 5).
func (lg *legs) abortTunnel(c *client) {
	if c.stream != 0 {
		lg.w.requests.endClientStream(c, http2.ErrCancel)
		return
	}
	lg.w.clients.abort(c)
}

// cut ends a client whose response is not whole, so that it sees that. toClose: the
// end of its connection would say that it is; linger: the client may still send; code
// is what a stream is reset with.
func (lg *legs) cut(c *client, toClose, linger bool, code http2.ErrCode) {
	switch {
	case c.stream != 0:
		// RFC 9113 8.1: a message that ends before END_STREAM is incomplete.
		lg.w.requests.endClientStream(c, code)
	case toClose:
		lg.w.clients.abort(c)
	default:
		lg.w.clients.closeAfterFlush(c, linger)
	}
}

// answered: a response was queued whole, and its exchange is over. keep: the client
// may send another request on its connection; linger: it may still send something.
func (lg *legs) answered(i uint32, c *client, keep, linger bool) {
	switch {
	case c.stream != 0:
		lg.w.clients.finishAnswer(c)
	case keep:
		lg.w.clients.next(i, c)
	default:
		lg.w.clients.closeAfterFlush(c, linger || !c.in.Empty())
	}
}

// unanswered: a response of the proxy's own found no memory, and its exchange is over.
func (lg *legs) unanswered(c *client) {
	if c.stream != 0 {
		lg.w.requests.endClientStream(c, http2.ErrInternal)
		return
	}
	lg.w.clients.closeAfterFlush(c, !c.in.Empty())
}

// closeAfterFlush ends a client once the queued bytes have left. linger: it may still
// send something.
func (lg *legs) closeAfterFlush(c *client, linger bool) {
	if c.stream != 0 {
		lg.finish(&c.leg)
		lg.w.clients.finishAnswer(c)
		return
	}
	lg.w.clients.closeAfterFlush(c, linger)
}

// responseHead gives a client the final head h of its response; end: and the response ends
// with it. What it returns is still to be sent, and lent until the next head.
func (lg *legs) responseHead(c *client, x *exchange, h *proto.Head, end bool) []byte {
	if c.stream != 0 {
		lg.w.frames.response(c, x, h, end)
		return nil
	}
	return lg.w.lines.response(c, x, h, end)
}

// interim gives a client a head that has no content, and behind which its
// direction goes on: an interim response, or one that opens a tunnel.
func (lg *legs) interim(c *client, x *exchange, h *proto.Head, extras []proto.Extra) {
	if c.stream != 0 {
		lg.w.frames.interim(c, x, h, extras)
		return
	}
	lg.w.lines.interim(c, x, h, extras)
}

// continueNow tells a client to send its content.
func (lg *legs) continueNow(c *client, x *exchange) {
	if c.stream == 0 {
		lg.w.lines.sendBytes(c.conn, x, continueHead)
	} else if !lg.w.streams.Head(lg.w.streams.At(c.stream), continueBlock, false) {
		x.flags |= xBroken
	}
}

// switched tells a client that its tunnel is open, by what o has said in h.
func (lg *legs) switched(c *client, x *exchange, o *origin, h *proto.Head) {
	h.Status = 101
	if o.stream != 0 || c.stream != 0 {
		h.Drop(proto.TokenSecWebSocketAccept)
	}
	if c.stream != 0 {
		h.Status = 200
	}
	x.status = h.Status
	if x.flags&xFiltered != 0 {
		lg.w.filters.respond(c, x, h)
	}
	f, fields, stuck := &lg.w.snap.Forwarding, &lg.w.heads.fields, lg.w.requests.stuck(c, x)
	if c.stream != 0 {
		lg.interim(c, x, h, fields.Response(f, h, lg.l.WallMs(), &stuck))
		return
	}
	lg.interim(c, x, h, fields.ResponseLines(f, h, lg.l.WallMs(), &stuck, lg.w.tunnels.Accept()))
}

// responseData gives a client bytes of its response's body, of which had came before. It
// takes v's reference.
func (lg *legs) responseData(c *client, x *exchange, v buf.View, had uint64) {
	if c.stream == 0 {
		lg.w.lines.sendData(c.conn, x, v, x.flags&xResponseFramed != 0)
		return
	}
	if !lg.w.memory.keepsResponse(c, had) {
		x.flags |= xBroken
	}
	lg.w.streams.Push(lg.w.streams.At(c.stream), v)
}

// responseEnd gives a client the end of its response's body, with trailers unless t is
// nil. False: the exchange has ended.
func (lg *legs) responseEnd(c *client, x *exchange, t *proto.Head) bool {
	if c.stream != 0 {
		return lg.w.frames.responseEnd(c, x, t)
	}
	return lg.w.lines.responseEnd(c, x, t)
}

// answer gives a client a response of the proxy's own, with one more field if
// extra has a name.
func (lg *legs) answer(c *client, x *exchange, a *snapshot.Response, extra proto.Extra, keep bool) {
	if c.stream != 0 {
		lg.w.frames.answer(c, x, a, extra, x.method == proto.HEAD)
		return
	}
	lg.w.lines.answer(c, x, a, extra, keep, x.method == proto.HEAD)
}

// requestHead gives an origin the head of its request. The exchange keeps its reference,
// for a replay and for the log.
func (lg *legs) requestHead(x *exchange, o *origin) {
	x.flags |= xHeadGiven
	if o.stream != 0 {
		lg.w.frames.request(x, o)
		return
	}
	lg.w.lines.request(x, o)
}

// requestData gives an origin bytes of its request's body. It takes v's reference.
func (lg *legs) requestData(x *exchange, o *origin, v buf.View) {
	x.flags |= xBodyGiven
	if lg.w.retries.keepsBody(x) {
		lg.w.requests.keepBody(x, v)
	}
	if o.stream != 0 {
		lg.w.streams.Push(lg.w.streams.At(o.stream), v)
		return
	}
	lg.w.lines.sendData(o.conn, x, v, x.flags&xRequestChunked != 0)
}

// requestBacklog gives an origin the bytes of the body that waited for it.
func (lg *legs) requestBacklog(x *exchange, o *origin) {
	x.flags |= xBodyGiven
	if o.stream != 0 {
		lg.w.frames.backlog(x, o)
		return
	}
	lg.w.lines.backlog(x, o)
}

// requestEnd gives an origin the end of its request.
func (lg *legs) requestEnd(x *exchange, o *origin) {
	x.flags |= xRequestGiven
	if o.stream != 0 {
		lg.w.frames.requestEnd(x, o)
		return
	}
	lg.w.lines.requestEnd(x, o)
}

// closeOrigin lets an origin go, whatever state it is in.
func (lg *legs) closeOrigin(o *origin) {
	if o.stream != 0 {
		lg.w.origins.endStream(o, http2.ErrCancel)
		return
	}
	lg.w.origins.close(o)
}

// detach lets an origin go that x has no use for any more. reusable: the next request
// may follow on its connection.
func (lg *legs) detach(x *exchange, o *origin, reusable bool) {
	if o.stream != 0 {
		lg.w.origins.endStream(o, x.originCode())
		return
	}
	lg.w.origins.giveBack(x, o, reusable)
}
