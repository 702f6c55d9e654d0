package proxy

import (
	"golang.org/x/sys/unix"

	"zproxy/buf"
	"zproxy/proto/http2"
	"zproxy/proxy/h2conn"
)

// originStream handles what a session says about a stream to an origin. data
// is lent.
func (rs *responses) originStream(se *h2conn.Session, ev *http2.Event, data buf.View) {
	switch ev.Kind {
	case http2.EventSettings:
		rs.w.leases.Greeted(se)
		return
	case http2.EventGoAway:
		if ev.Code != http2.ErrNo {
			rs.w.countFault(&faultGoAway)
			rs.w.origins.noteBroken(se, &faultGoAway, faultGoAway.Code, ev.Code)
		}
		rs.w.h2.Leave(se, false)
		return
	}
	if ev.User == 0 {
		return
	}
	st := rs.w.streams.Heard(ev)
	o := rs.w.origins.At(st.Side)
	if ev.Kind == http2.EventReset {
		if o.x != 0 && !ev.Local {
			rs.w.xs.At(o.x).streamReset(passedToClient(ev.Code))
		}
		rs.originStreamLost(o, unix.ECONNRESET, ev.Unprocessed)
		return
	}
	if o.x == 0 {
		rs.w.streams.Received(st, data.Len)
		if st.IsOver() {
			rs.w.origins.endStream(o, http2.ErrNo)
		}
		return
	}
	x := rs.w.xs.At(o.x)
	c := rs.w.clients.At(x.client)
	switch ev.Kind {
	case http2.EventHead:
		h := se.H2.Head()
		if h.Status < 200 {
			rs.interim(c, x, o, h)
			return
		}
		rs.streamHead(c, x, o, h, ev.End)
	case http2.EventData:
		rs.originStreamData(c, x, o, st, data, ev.End)
	case http2.EventTrailers:
		if o.state == originTunnel {
			rs.w.tunnels.originEnd(o, 0)
			return
		}
		rs.end(c, x, se.H2.Head())
	}
}

// originStreamData takes content of a response. data is lent.
func (rs *responses) originStreamData(c *client, x *exchange, o *origin, st *h2conn.Stream, data buf.View, end bool) {
	if data.Len > 0 && !rs.w.memory.keepsResponse(c, x.respBytes) {
		rs.refuse(c, x, o)
	} else if o.state == originTunnel {
		rs.w.retain(data)
		rs.w.tunnels.fromOrigin(o, data)
		if end && o.state == originTunnel {
			rs.w.tunnels.originEnd(o, 0)
		}
	} else {
		rs.originStreamBody(c, x, o, data, end)
	}
	rs.w.streams.Received(st, data.Len)
}

// refuse ends an exchange for whose response there is no place.
func (rs *responses) refuse(c *client, x *exchange, o *origin) {
	if o.state == originTunnel {
		rs.w.countFault(&faultMemory)
		rs.w.tunnels.endTunnel(c, x, faultMemory.Reason)
	} else {
		rs.w.failExchange(c, x, &faultMemory)
	}
}

func (rs *responses) originStreamBody(c *client, x *exchange, o *origin, data buf.View, end bool) {
	if x.flags&xResponseBegun == 0 {
		return // the exchange waits to be ended
	}
	if data.Len > 0 {
		rs.w.retain(data)
		if !end && answeredWith(x, data) {
			rs.pool.Push(&o.in, data)
			rs.applyBackpressure(c, x, o)
			return
		}
		if !rs.data(c, x, data) {
			return
		}
	}
	if end {
		rs.end(c, x, nil)
		return
	}
	rs.applyBackpressure(c, x, o)
}

// answeredWith tells whether data is the rest of a response that a client of
// HTTP/1 would take for whole by its Content-Length. Its origin may yet take it
// back: that it is whole only END_STREAM says (RFC 9113 8.1). Until then data
// waits in o.in.
func answeredWith(x *exchange, data buf.View) bool {
	return x.flags&(xResponseFramed|xResponseToClose) == 0 &&
		x.respBytes+uint64(data.Len) == uint64(x.respBody.Remaining())
}

// originStreamLost: the stream is gone, by a reset or with its connection.
// unprocessed: the origin says that it has done nothing about the request, so
// that any request may be sent again (RFC 9113 8.7).
func (rs *responses) originStreamLost(o *origin, errno unix.Errno, unprocessed bool) {
	if o.x == 0 {
		rs.w.origins.endStream(o, http2.ErrCancel)
		return
	}
	x := rs.w.xs.At(o.x)
	c := rs.w.clients.At(x.client)
	if o.state == originTunnel {
		if !rs.w.tunnels.lost(c, x) {
			return
		}
		// It has said all it had to, and hears no more.
		rs.w.streams.Close(rs.w.streams.At(o.stream), http2.ErrCancel)
		rs.w.tunnels.drained(c, x, o)
		return
	}
	if unprocessed && x.flags&xResponseBegun == 0 {
		if x.flags&(xBodyLost|xLongHead) == 0 && x.head.ID != 0 && x.again.StalesLeft() {
			x.again.Stale()
			rs.w.retries.sendAgain(c, x, o, false)
			return
		}
		if c.canRefuse() && x.flags&xPerhapsDone == 0 {
			// The client may: it still has the request whole.
			rs.w.countFault(&faultOriginClosed)
			rs.m.OriginAborts++
			rs.w.endExchange(c, x, "origin refused the stream")
			rs.w.requests.endClientStream(c, http2.ErrRefusedStream)
			return
		}
	}
	if errno == 0 {
		errno = unix.ECONNRESET
	}
	rs.cut(c, x, o, errno)
}

// failReset answers for an origin that has reset the stream before its answer
// had begun. To a gRPC client the code is the answer.
func (rs *responses) failReset(c *client, x *exchange) {
	if x.flags&xGRPC == 0 {
		rs.w.failExchange(c, x, &faultStreamReset)
		return
	}
	code := x.clientCode()
	rs.w.countFault(&faultStreamReset)
	rs.m.OriginAborts++
	x.status = faultStreamReset.Status
	rs.w.endExchange(c, x, faultStreamReset.Reason)
	rs.w.requests.endClientStream(c, code)
}
