package proxy

import (
	"zproxy/buf"
	"zproxy/loop"
	"zproxy/metrics/accesslog"
	"zproxy/proto"
	"zproxy/proxy/h2conn"
)

// journal counts and logs what has ended.
type journal struct {
	part
	log    *accesslog.Buffer // nil: nothing is logged
	note   []byte            // see lognotes.go
	notes  buf.SideAllocator // heads of tunnels
	record accesslog.Record
}

// account counts and logs an exchange at its end. c.x still names it.
func (jo *journal) account(c *client, x *exchange, why string) {
	if class := x.status / 100; class < 6 {
		jo.m.ResponsesByClass[class]++
	} else {
		jo.m.ResponsesByClass[0]++
	}
	total := jo.l.Now() - x.start
	jo.m.Total.RecordValue(total)
	jo.countSeries(x, total)
	code, by := uint16(0), ""
	if x.tunnel != 0 {
		code, by = jo.w.tunnels.CountEnd(x.tunnel)
	}
	if jo.log == nil {
		return
	}
	r := &jo.record
	*r = accesslog.Record{
		WallMs: jo.l.WallMs(), Client: jo.w.legs.peer(c),
		Status:  x.status,
		BytesIn: x.reqBytes, BytesOut: x.respBytes,
		DurationNs: total, ConnectNs: int64(x.connectUs) * 1000, ResponseNs: int64(x.firstByteUs) * 1000,
		Reused: x.flags&xReused != 0, Reason: why,
		CloseCode: code, ClosedBy: by,
	}
	if x.route >= 0 {
		r.Route = jo.w.snapOf(x).Routes[x.route].Path
	}
	if x.cluster >= 0 {
		cl := jo.w.clusters[x.cluster]
		r.Upstream = cl.Name
		if x.endpoint >= 0 {
			r.Endpoint = cl.Shared.Endpoints()[x.endpoint].Address
		}
	}
	logTLS(jo.w.heads.tlsOf(c), r)
	if !jo.logHead(c.x, x, r) {
		return
	}
	jo.w.legs.record(c, x, r)
	jo.log.Add(r)
}

// logBare logs bytes that were no request, with what of the head was readable; h is nil
// where nothing was read.
func (jo *journal) logBare(c *client, f *proto.Fault, h *proto.Head) {
	if jo.log == nil {
		return
	}
	jo.record = accesslog.Record{
		WallMs: jo.l.WallMs(), Client: jo.w.legs.peer(c),
		Status: f.Status, Reason: f.Reason, Major: 1, Minor: 1,
	}
	logTLS(jo.w.heads.tlsOf(c), &jo.record)
	if h != nil {
		jo.record.Method, jo.record.Target = h.Bytes(h.MethodName), h.Bytes(h.Target)
	}
	jo.log.Add(&jo.record)
}

// logConn logs the client of a connection that ends for what Failure says.
func (jo *journal) logConn(conn loop.ConnID) {
	if jo.log != nil {
		jo.record = accesslog.Record{WallMs: jo.l.WallMs(), Client: jo.l.Peer(conn), Reason: jo.l.Failure()}
		logTLS(jo.l.Session(conn), &jo.record)
		jo.log.Add(&jo.record)
	}
}

// logSession logs what was no request, or no HTTP/2 any more.
func (jo *journal) logSession(se *h2conn.Session, f *proto.Fault) {
	if jo.log == nil {
		return
	}
	jo.record = accesslog.Record{
		WallMs: jo.l.WallMs(), Client: jo.l.Peer(se.Conn),
		Status: f.Status, Reason: f.Reason, Major: 2,
	}
	logTLS(jo.l.Session(se.Conn), &jo.record)
	jo.log.Add(&jo.record)
}

// flush hands lines over when they are due.
func (jo *journal) flush() {
	if jo.log != nil {
		jo.log.Flush(jo.l.Now())
		jo.w.wakeBy(jo.log.Deadline())
	}
}
