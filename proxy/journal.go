package proxy

import (
	"zproxy/buf"
	"zproxy/loop"
	"zproxy/metrics/accesslog"
	"zproxy/proto"
	"zproxy/proxy/h2conn"
	"zproxy/proxy/journal"
)

// records has what ends counted and logged.
type records struct {
	part
	journal.Journal
	notes buf.SideAllocator // heads of tunnels
}

// account counts and logs an exchange at its end. c.x still names it.
func (rc *records) account(c *client, x *exchange, why string) {
	e := journal.Exchange{
		Plan: rc.w.snapOf(x), Route: int(x.route), Upstream: int(x.cluster), Endpoint: int(x.endpoint),
		Status: x.status, BytesIn: x.reqBytes, BytesOut: x.respBytes, TotalNs: rc.l.Now() - x.start,
		ConnectNs: int64(x.connectUs) * 1000, ResponseNs: int64(x.firstByteUs) * 1000,
		Reused: x.flags&xReused != 0, Reason: why,
	}
	if x.cluster >= 0 {
		e.Cluster = rc.w.clusters[x.cluster]
	}
	if x.tunnel != 0 {
		e.CloseCode, e.ClosedBy = rc.w.tunnels.CountEnd(x.tunnel)
	}
	rc.Count(&e, rc.w.snap)
	if rc.w.watch.wants(e.Status, why) {
		rc.w.watch.note(c, x, &e)
	}
	if !rc.Logs() {
		return
	}
	r := rc.Line(&e, rc.l.WallMs(), rc.peerOf(c))
	if !rc.asked(c.x, x, r) {
		return
	}
	rc.w.legs.record(c, x, r)
	if x.flags&xFiltered != 0 {
		r.User = rc.w.filters.passages[c.x].User
	}
	rc.Add(r)
}

// asked finds out what exchange xi asked for: from its note, or, while its request is being
// looked at, from that. False: there was no log when it began.
func (rc *records) asked(xi uint32, x *exchange, r *accesslog.Record) bool {
	switch {
	case x.head.ID != 0:
		return journal.ReadNote(rc.noteOf(x), r)
	case x.state == xTunnel:
		return false
	case x.state == xFiltering:
		journal.Asked(rc.w.filters.asked(rc.w.clients.At(x.client)), r)
	case rc.w.requests.starts == xi:
		journal.Asked(&rc.w.requests.asked, r)
	}
	return true // else there was no memory to write its head anew
}

// noteOf lends the note of x, which has a head.
func (rc *records) noteOf(x *exchange) []byte {
	n := journal.NoteLen(rc.pool.Bytes(buf.View{ID: x.head.ID, Off: x.head.Off - journal.NoteTail, Len: journal.NoteTail}))
	return rc.pool.Bytes(buf.View{ID: x.head.ID, Off: x.head.Off - n, Len: n})
}

// shortenHead keeps of the head of a tunnel, which may be there for days, no more
// than its note.
func (rc *records) shortenHead(x *exchange) {
	rc.pool.Drop(&x.headQ)
	if x.head.ID == 0 {
		return
	}
	hd := &rc.w.heads
	hd.scratch = append(hd.scratch[:0], rc.noteOf(x)...)
	if journal.IsEmpty(hd.scratch) {
		rc.w.release(&x.head)
		return
	}
	if v := rc.pool.AllocSide(&rc.notes, hd.scratch); v.ID != 0 {
		rc.w.release(&x.head)
		x.head = v.Slice(v.Len, 0)
	}
}

func (rc *records) peerOf(c *client) journal.Peer {
	return journal.Peer{Addr: rc.w.legs.peer(c), TLS: rc.w.heads.tlsOf(c)}
}

func (rc *records) peerAt(conn loop.ConnID) journal.Peer {
	return journal.Peer{Addr: rc.l.Peer(conn), TLS: rc.l.Session(conn)}
}

// logBare logs bytes that were no request, with what of the head was readable; h is nil
// where nothing was read.
func (rc *records) logBare(c *client, f *proto.Fault, h *proto.Head) {
	if rc.Logs() {
		rc.Refused(f, 1, h, rc.l.WallMs(), rc.peerOf(c))
	}
}

// logConn logs the client of a connection that ends for what Failure says.
func (rc *records) logConn(conn loop.ConnID) {
	if rc.Logs() {
		rc.Connection(rc.l.Failure(), rc.l.WallMs(), rc.peerAt(conn))
	}
}

// logSession logs what was no request, or no HTTP/2 any more.
func (rc *records) logSession(se *h2conn.Session, f *proto.Fault) {
	if rc.Logs() {
		rc.Refused(f, 2, nil, rc.l.WallMs(), rc.peerAt(se.Conn))
	}
}
