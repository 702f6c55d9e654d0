package proxy

import (
	"bytes"

	"zproxy/buf"
	"zproxy/loop"
	"zproxy/metrics/accesslog"
	"zproxy/proto"
	"zproxy/proto/http2"
)

// openSession begins an HTTP/2 connection of a client, which is to send its
// preface first.
func (w *Worker) openSession(conn loop.ConnID, listener int) *session {
	se := w.newSession(http2.Server, conn)
	se.listener = uint16(listener)
	w.m.Sessions++
	se.h2.Start(http2.Server, &w.snap.http2.server, &w.h2streams, &w.h2scratch, w.l.Now())
	w.touch(se)
	return se
}

// sniff finds out which version a client speaks, from its first bytes: the
// preface of HTTP/2 is no request of HTTP/1 (RFC 9113 3.4). True: v has been
// dealt with.
func (w *Worker) sniff(i uint32, c *client, v buf.View) bool {
	var first [http2.PrefaceLen]byte
	n := w.pool.CopyOut(&c.in, first[:])
	n += copy(first[n:], w.pool.Bytes(v))
	if !bytes.Equal(first[:n], []byte(http2.Preface[:n])) {
		c.flags &^= clientSniff
		return false
	}
	w.pool.Coalesce(&c.in, v)
	if n < len(first) {
		w.awaitHead(i, c)
		return true
	}
	se := w.openSession(c.conn, int(c.listener))
	c.state = clientClosing
	for !c.in.Empty() {
		w.sessionReceived(se, w.pool.Pop(&c.in))
	}
	eof := c.flags&clientEOF != 0
	w.clients.Free(i)
	if eof {
		w.sessionLost(se, 0)
	}
	return true
}

// clientStream handles what a session says about a stream of a client. data is
// lent.
func (w *Worker) clientStream(se *session, ev *http2.Event, data buf.View) {
	if ev.Kind == http2.EventHead {
		w.openClientStream(se, ev)
		return
	}
	if ev.User == 0 {
		if ev.Kind == http2.EventReset && ev.Fault != nil {
			// A request that cannot be read is refused by the session itself.
			w.countFault(ev.Fault)
			w.logSession(se, ev.Fault)
		}
		return
	}
	st := w.streams.At(ev.User)
	c := w.clients.At(st.side)
	st.peerEnds(ev.End)
	if ev.Freed {
		w.streamOver(st)
	}
	switch ev.Kind {
	case http2.EventData:
		w.clientStreamData(c, st, data, ev.End)
	case http2.EventTrailers:
		w.clientStreamTrailers(c, st, se.h2.Head())
	case http2.EventReset:
		why := "client reset the stream"
		if ev.Local && ev.Fault != nil {
			w.countFault(ev.Fault)
			why = ev.Fault.Reason
		} else if c.x != 0 && !ev.Local {
			w.xs.At(c.x).streamReset(passedToOrigin(ev.Code))
		}
		w.clientStreamLost(c, why)
	}
}

// openClientStream begins the exchange of a request head.
func (w *Worker) openClientStream(se *session, ev *http2.Event) {
	si, st := w.streams.Alloc()
	i, c := w.clients.Alloc()
	c.stream, c.listener, c.state = si, se.listener, clientBusy
	st.session, st.id, st.side, st.flags = se.self, ev.Stream, i, streamClient
	w.h2streams.At(ev.Stream).User = si
	st.peerEnds(ev.End)
	w.m.Streams++
	w.m.StreamsTotal++
	se.uses++
	if limit := w.snap.limits.requestsPerConnection; limit > 0 && se.uses >= limit {
		w.leaveSession(se, true)
	}
	h, done := se.h2.Head(), ev.End
	if h.Protocol.Len > 0 {
		asUpgrade(h)
		if done {
			c.flags |= clientEOF
		}
		done = true
	}
	w.startExchange(i, c, h, done, ev.Fault)
}

// clientStreamTrailers ends a request. In a tunnel they are its end and no more.
func (w *Worker) clientStreamTrailers(c *client, st *stream, t *proto.Head) {
	if c.state == clientBusy && w.xs.At(c.x).flags&xUpgrade == 0 {
		w.requestEnd(c, w.xs.At(c.x), t)
		return
	}
	w.clientStreamData(c, st, buf.View{}, true)
}

// clientStreamData takes content of a request. data is lent.
func (w *Worker) clientStreamData(c *client, st *stream, data buf.View, end bool) {
	switch c.state {
	case clientBusy:
		if x := w.xs.At(c.x); data.Len > 0 && !w.keepsRequest(x) {
			w.failExchange(c, x, &faultMemory)
		} else if x.flags&xUpgrade != 0 {
			w.awaitTunnel(c, x, data, end)
		} else {
			w.clientStreamBody(c, x, data, end)
		}
	case clientTunnel:
		if data.Len > 0 && !w.keepsRequest(w.xs.At(c.x)) {
			w.countFault(&faultMemory)
			w.endTunnel(c, w.xs.At(c.x), faultMemory.Reason)
			break
		}
		w.retain(data)
		w.tunnelFromClient(c, data)
		if end && c.state == clientTunnel {
			w.tunnelClientEnd(c, 0)
		}
	}
	if c.state == clientFlush || c.state == clientLinger {
		// It was answered already. Its connection goes on, its own window stays closed.
		w.sessionOf(st).h2.Consumed(0, int(data.Len))
		w.lingeringStreamEnded(c, st)
		return
	}
	w.streamReceived(st, data.Len)
}

func (w *Worker) clientStreamBody(c *client, x *exchange, data buf.View, end bool) {
	if limit := w.snap.limits.bodyBytes; limit > 0 && x.reqBytes+uint64(data.Len) > limit {
		w.requestFault(c, x, &faultBodyTooLarge)
		return
	}
	if data.Len > 0 {
		w.retain(data)
		if !end && w.wholeWith(x, data) {
			w.pool.Push(&c.in, data)
			w.awaitBody(c)
			return
		}
		w.requestData(x, data)
		if x.flags&xBroken != 0 {
			w.failExchange(c, x, &faultMemory)
			return
		}
	}
	if end {
		w.requestEnd(c, x, nil)
		return
	}
	w.awaitBody(c)
	w.restrainClient(c)
}

// wholeWith tells whether data is the rest of a request that an origin of
// HTTP/1 would take for whole by its Content-Length. Its client may yet send
// more than that, or take it back: that it is whole only END_STREAM says (RFC
// 9113 8.1, 8.1.1). Until then data waits in c.in.
func (w *Worker) wholeWith(x *exchange, data buf.View) bool {
	return x.flags&xRequestChunked == 0 && !w.snap.clusters[x.cluster].h2 &&
		x.reqBytes+uint64(data.Len) == uint64(x.reqBody.Remaining())
}

// retain makes one more reference to v, if it is one.
func (w *Worker) retain(v buf.View) {
	if v.ID != 0 {
		w.pool.Retain(v)
	}
}

// clientStreamLost: the client's stream is gone, whoever ended it.
func (w *Worker) clientStreamLost(c *client, why string) {
	switch c.state {
	case clientBusy:
		x := w.xs.At(c.x)
		w.m.ClientAborts++
		if x.status == 0 {
			x.status = statusClientGone
		}
		if why == "" {
			why = "client closed the connection"
		}
		w.endExchange(c, x, why)
		w.closeClient(c)
	case clientTunnel:
		w.endTunnel(c, w.xs.At(c.x), whyClientBroke)
	default:
		w.closeClient(c)
	}
}

// endClientStream lets a client go that is a stream. Its exchange has ended
// before.
func (w *Worker) endClientStream(c *client, code http2.ErrCode) {
	st := w.streams.At(c.stream)
	c.state = clientClosing
	w.pool.Drop(&c.in)
	w.closeStream(st, code)
	w.m.Streams--
	w.endedClients = append(w.endedClients, st.side)
}

// giveStreamAnswer is giveAnswer for a client that is a stream.
func (w *Worker) giveStreamAnswer(c *client, x *exchange, a *answer, extra proto.Extra, why string) {
	w.streamAnswer(c, x, a, extra, x.method == proto.HEAD)
	x.respBytes = uint64(len(a.body))
	w.endStreamExchange(c, x, why)
}

// endStreamExchange ends an exchange whose answer, of the proxy's own, was queued
// for a stream.
func (w *Worker) endStreamExchange(c *client, x *exchange, why string) {
	broken := x.flags&xBroken != 0
	w.endExchange(c, x, why)
	if broken {
		w.abortClient(c)
		return
	}
	w.finishStream(c)
}

// streamAnswer queues an answer of the proxy's own.
func (w *Worker) streamAnswer(c *client, x *exchange, a *answer, extra proto.Extra, head bool) {
	st := w.streams.At(c.stream)
	w.block = append(w.block[:0], a.block...)
	date := w.dateField()
	w.block = http2.AppendField(w.block, &date)
	if extra.Name != "" {
		w.block = http2.AppendField(w.block, &extra)
	}
	body := a.body
	if head {
		body = nil
	}
	if !w.streamHead(st, w.block, len(body) == 0) {
		x.flags |= xBroken
		return
	}
	for len(body) > 0 {
		n := min(len(body), w.pool.BlockBytes())
		v := w.keep(x, body[:n])
		if v.ID == 0 {
			return
		}
		w.streamPush(st, v)
		body = body[n:]
	}
	w.streamFinish(st, buf.View{})
}

// logSession logs what was no request, or no HTTP/2 any more.
func (w *Worker) logSession(se *session, f *proto.Fault) {
	if w.log == nil {
		return
	}
	w.record = accesslog.Record{
		WallMs: w.l.WallMs(), Client: w.l.Peer(se.conn),
		Status: f.Status, Reason: f.Reason, Major: 2,
	}
	logTLS(w.l.Session(se.conn), &w.record)
	w.log.Add(&w.record)
}
