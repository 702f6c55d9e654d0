package proxy

import (
	"zproxy/buf"
	"zproxy/proto"
	"zproxy/proto/http2"
	"zproxy/proxy/forward"
	"zproxy/proxy/h2conn"
	"zproxy/proxy/tunnel"
)

// clientStream handles what a session says about a stream of a client. data is
// lent.
func (rq *requests) clientStream(se *h2conn.Session, ev *http2.Event, data buf.View) {
	if ev.Kind == http2.EventHead {
		rq.openClientStream(se, ev)
		return
	}
	if ev.User == 0 {
		if ev.Kind == http2.EventReset && ev.Fault != nil {
			// A request that cannot be read is refused by the session itself.
			rq.w.countFault(ev.Fault)
			rq.w.journal.logSession(se, ev.Fault)
		}
		return
	}
	st := rq.w.streams.Heard(ev)
	c := rq.w.clients.At(st.Side)
	switch ev.Kind {
	case http2.EventData:
		rq.clientStreamData(c, st, data, ev.End)
	case http2.EventTrailers:
		rq.clientStreamTrailers(c, st, se.H2.Head())
	case http2.EventReset:
		why := "client reset the stream"
		if ev.Local && ev.Fault != nil {
			rq.w.countFault(ev.Fault)
			why = ev.Fault.Reason
		} else if c.x != 0 && !ev.Local {
			rq.w.xs.At(c.x).streamReset(passedToOrigin(ev.Code))
		}
		rq.clientStreamLost(c, why)
	}
}

// openClientStream begins the exchange of a request head.
func (rq *requests) openClientStream(se *h2conn.Session, ev *http2.Event) {
	i, c := rq.w.clients.Alloc()
	c.stream, c.listener, c.state = rq.w.streams.Accept(se, ev, i), se.Listener, clientBusy
	rq.m.Streams++
	rq.m.StreamsTotal++
	if limit := rq.w.snap.Limits.RequestsPerConnection; limit > 0 && se.Uses >= limit {
		rq.w.h2.Leave(se, true)
	}
	h, done := se.H2.Head(), ev.End
	if h.Protocol.Len > 0 {
		forward.AsUpgrade(h)
		if done {
			c.flags |= clientEOF
		}
		done = true
	}
	rq.w.startExchange(i, c, h, done, ev.Fault)
}

// clientStreamTrailers ends a request. In a tunnel they are its end and no more.
func (rq *requests) clientStreamTrailers(c *client, st *h2conn.Stream, t *proto.Head) {
	if c.state == clientBusy && rq.w.xs.At(c.x).flags&xUpgrade == 0 {
		rq.end(c, rq.w.xs.At(c.x), t)
		return
	}
	rq.clientStreamData(c, st, buf.View{}, true)
}

// clientStreamData takes content of a request. data is lent.
func (rq *requests) clientStreamData(c *client, st *h2conn.Stream, data buf.View, end bool) {
	switch c.state {
	case clientBusy:
		if x := rq.w.xs.At(c.x); data.Len > 0 && !rq.w.memory.keepsRequest(x) {
			rq.w.failExchange(c, x, &faultMemory)
		} else if x.flags&xUpgrade != 0 {
			rq.w.tunnels.await(c, x, data, end)
		} else {
			rq.clientStreamBody(c, x, data, end)
		}
	case clientTunnel:
		if data.Len > 0 && !rq.w.memory.keepsRequest(rq.w.xs.At(c.x)) {
			rq.w.countFault(&faultMemory)
			rq.w.tunnels.endTunnel(c, rq.w.xs.At(c.x), faultMemory.Reason)
			break
		}
		rq.w.retain(data)
		rq.w.tunnels.fromClient(c, data)
		if end && c.state == clientTunnel {
			rq.w.tunnels.clientEnd(c, 0)
		}
	}
	if c.state == clientFlush || c.state == clientLinger {
		// It was answered already. Its connection goes on, its own window stays closed.
		rq.w.streams.Discard(st, data.Len)
		rq.w.clients.lingerEnded(c, st)
		return
	}
	rq.w.streams.Received(st, data.Len)
}

func (rq *requests) clientStreamBody(c *client, x *exchange, data buf.View, end bool) {
	if limit := rq.w.snap.Limits.BodyBytes; limit > 0 && x.reqBytes+uint64(data.Len) > limit {
		rq.fault(c, x, &faultBodyTooLarge)
		return
	}
	if data.Len > 0 {
		rq.w.retain(data)
		if !end && rq.wholeWith(x, data) {
			rq.pool.Push(&c.in, data)
			rq.w.clients.awaitBody(c)
			return
		}
		rq.received(x, data)
		if x.flags&xBroken != 0 {
			rq.w.failExchange(c, x, &faultMemory)
			return
		}
	}
	if end {
		rq.end(c, x, nil)
		return
	}
	rq.w.clients.awaitBody(c)
	rq.w.clients.applyBackpressure(c)
}

// wholeWith tells whether data is the rest of a request that an origin of
// HTTP/1 would take for whole by its Content-Length. Its client may yet send
// more than that, or take it back: that it is whole only END_STREAM says (RFC
// 9113 8.1, 8.1.1). Until then data waits in c.in.
func (rq *requests) wholeWith(x *exchange, data buf.View) bool {
	return x.flags&xRequestChunked == 0 && !(x.cluster >= 0 && rq.w.clusters[x.cluster].H2) &&
		x.reqBytes+uint64(data.Len) == uint64(x.reqBody.Remaining())
}

// clientStreamLost: the client's stream is gone, whoever ended it.
func (rq *requests) clientStreamLost(c *client, why string) {
	switch c.state {
	case clientBusy:
		x := rq.w.xs.At(c.x)
		rq.m.ClientAborts++
		if x.status == 0 {
			x.status = statusClientGone
		}
		if why == "" {
			why = "client closed the connection"
		}
		rq.w.endExchange(c, x, why)
		rq.w.legs.close(c)
	case clientTunnel:
		rq.w.tunnels.broke(c, rq.w.xs.At(c.x), tunnel.Client)
	default:
		rq.w.legs.close(c)
	}
}

// endClientStream lets a client go that is a stream. Its exchange has ended
// before.
func (rq *requests) endClientStream(c *client, code http2.ErrCode) {
	st := rq.w.streams.At(c.stream)
	c.state = clientClosing
	rq.pool.Drop(&c.in)
	rq.w.streams.Close(st, code)
	rq.m.Streams--
	rq.w.clients.ended = append(rq.w.clients.ended, st.Side)
}
