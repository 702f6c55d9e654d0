package proxy

import (
	"zproxy/internal/plant"
	"zproxy/metrics/accesslog"
	"zproxy/proto"
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
	logTLS(w.tlsOf(c), r)
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
	logTLS(w.tlsOf(c), &w.record)
	if f.Code != codeHeadTimeout {
		h := &w.head
		w.record.Method, w.record.Target = h.Bytes(h.MethodName), h.Bytes(h.Target)
	}
	w.log.Add(&w.record)
}
