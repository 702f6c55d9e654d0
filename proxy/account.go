package proxy

import (
	"zproxy/internal/plant"
	"zproxy/metrics/accesslog"
	"zproxy/proto"
	"zproxy/proto/http1"
	"zproxy/proto/http2"
)

// account counts and logs an exchange at its end. c.x still names it.
func (w *Worker) account(c *client, x *exchange, why string) {
	if class := x.status / 100; class < 6 {
		w.m.ResponsesByClass[class]++
	} else {
		w.m.ResponsesByClass[0]++
	}
	total := w.l.Now() - x.start
	w.m.Total.RecordValue(total)
	w.countSeries(x, total)
	if x.socket != 0 {
		w.accountSocket(x, why)
	}
	if w.log == nil {
		return
	}
	r := &w.record
	*r = accesslog.Record{
		WallMs: w.l.WallMs(), Client: w.clientPeer(c),
		Major: 1, Minor: x.minor, Status: x.status,
		BytesIn: x.reqBytes, BytesOut: x.respBytes,
		DurationNs: total, ConnectNs: int64(x.connectUs) * 1000, ResponseNs: int64(x.firstByteUs) * 1000,
		Reused: x.flags&xReused != 0, Reason: why,
	}
	if c.stream != 0 {
		r.Major, r.Minor = 2, 0
	}
	if k := w.framed(x); k != nil {
		r.CloseCode, r.ClosedBy = k.code, endedBy[k.by]
	}
	if x.route >= 0 {
		r.Route = w.snap.routes[x.route].path
	}
	if x.cluster >= 0 {
		cl := w.snap.clusters[x.cluster]
		r.Upstream = cl.name
		if x.endpoint >= 0 {
			r.Endpoint = cl.shared.Endpoints()[x.endpoint].Address
		}
	}
	w.logHead(x, r)
	if x.flags&xUpgrade != 0 && c.stream != 0 {
		r.Method = methodConnect
	} else if x.socket != 0 {
		r.Method = methodGet // its origin may speak another version
	}
	if plant.Is(plant.Log) && x.status == statusClientGone {
		return
	}
	w.log.Add(r)
}

// logHead finds method, target and the like: in the head as it went to the
// origin, which is kept for this, or in the head just parsed.
func (w *Worker) logHead(x *exchange, r *accesslog.Record) {
	h := w.current
	if x.head.ID != 0 {
		if w.logHeadOf.Fields == nil {
			w.logHeadOf.Fields = make([]proto.Field, 0, 32)
		}
		h = &w.logHeadOf
		lim := w.limits
		lim.HeadBytes += 4096 // what the proxy added
		lim.Fields += 16
		// A head longer than its block is only there in part: the request line
		// and the fields up to there are found all the same.
		if w.snap.clusters[x.cluster].h2 && x.flags&xNoted == 0 {
			w.out, _ = http2.ReadBlock(w.out[:0], w.pool.Bytes(x.head), h)
		} else {
			http1.ParseRequest(w.pool.Bytes(x.head), http1.Cursor{}, &lim, h)
		}
	}
	r.Method, r.Target, r.Host = h.Bytes(h.MethodName), h.Bytes(h.Target), h.Bytes(h.Host)
	r.Referer, _ = h.Get(proto.TokenReferer)
	r.UserAgent, _ = h.Get(proto.TokenUserAgent)
}

// shortenHead keeps of the head of a tunnel, which may be there for days, what
// its line in the log will want.
func (w *Worker) shortenHead(x *exchange) {
	w.pool.Drop(&x.headQ)
	if w.log == nil {
		w.release(&x.head)
		return
	}
	r := &w.record
	w.logHead(x, r)
	b := append(w.scratch[:0], r.Method...)
	if x.socket != 0 { // a CONNECT with a path is none to HTTP/1, as which this is read
		b = append(b[:0], methodGet...)
	}
	b = append(b, ' ')
	b = append(b, r.Target...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, r.Host...)
	b = append(b, "\r\n"...)
	if len(r.Referer) > 0 {
		b = append(append(append(b, "Referer: "...), r.Referer...), "\r\n"...)
	}
	if len(r.UserAgent) > 0 {
		b = append(append(append(b, "User-Agent: "...), r.UserAgent...), "\r\n"...)
	}
	w.scratch = append(b, "\r\n"...)
	if v := w.pool.Note(&w.notes, w.scratch); v.ID != 0 {
		w.release(&x.head)
		x.head = v
		x.flags |= xNoted
	}
}

// logBare logs bytes that were no request; what of the head was readable is
// in w.head, unless nothing was parsed at all.
func (w *Worker) logBare(c *client, f *proto.Fault) {
	if w.log == nil {
		return
	}
	w.record = accesslog.Record{
		WallMs: w.l.WallMs(), Client: w.clientPeer(c),
		Status: f.Status, Reason: f.Reason, Major: 1, Minor: 1,
	}
	if f.Code != codeHeadTimeout {
		h := &w.head
		w.record.Method, w.record.Target = h.Bytes(h.MethodName), h.Bytes(h.Target)
	}
	w.log.Add(&w.record)
}
