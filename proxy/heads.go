package proxy

import (
	"bytes"

	"zproxy/buf"
	"zproxy/proto"
	"zproxy/proto/http1"
	"zproxy/proto/http2"
	"zproxy/proxy/forward"
	"zproxy/proxy/h2conn"
	"zproxy/proxy/snapshot"
	"zproxy/proxy/transport"
)

// heads is where heads are read to and written from. What is in it is good for the
// head at hand.
type heads struct {
	part
	limits   http1.Limits
	head     proto.Head     // an HTTP/1 request head
	resp     proto.Head     // a response head
	trail    proto.Head     // a trailer section
	fields   forward.Fields // that the proxy adds
	peer     forward.Peer   // the client, where that is a connection
	sessions []forward.Peer // clients, by their sessions

	join    []byte // a head that spans blocks, joined once
	out     []byte // a head too long for one block, on its way out
	block   []byte // a field block on its way out
	scratch []byte // a small message on its way out
}

// begin makes room for heads.
func (hd *heads) begin() {
	hd.head.Fields = make([]proto.Field, 0, 32)
	hd.resp.Fields = make([]proto.Field, 0, 32)
	hd.fields = forward.NewFields()
	hd.scratch = make([]byte, 0, 512)
}

// prepare is for a snapshot that becomes the current one. Others may be trusted by it.
func (hd *heads) prepare(s *snapshot.Snapshot) {
	for i := range hd.sessions {
		hd.sessions[i].Forget()
	}
	hd.limits = s.HeadLimits
}

// keepHead writes the head of x as the origin gets it, behind the note for the log.
// False: there is no memory for it.
func (hd *heads) keepHead(x *exchange, q *forward.Request, toH2 bool, line *http2.RequestLine, extras []proto.Extra) bool {
	note := hd.w.journal.Note(q, line, hd.pool.BlockBytes())
	upgrade := x.flags&xUpgrade != 0
	bound := len(note) + forward.RequestBound(q.Head, toH2, line, extras)
	if bound > hd.pool.BlockBytes() {
		hd.out = forward.AppendRequest(append(hd.out[:0], note...), q.Head, toH2, line, upgrade, extras)
		x.flags |= xLongHead
		hd.longHead(x, hd.out, len(note))
		return x.flags&xBroken == 0
	}
	b := hd.pool.Reserve(bound)
	if b == nil {
		return false
	}
	n := len(forward.AppendRequest(append(b[:0], note...), q.Head, toH2, line, upgrade, extras))
	x.head = hd.pool.Commit(n).Slice(uint32(len(note)), uint32(n-len(note)))
	return true
}

// longHead keeps a head that does not fit one block as a chain. It can be sent
// once only. The first noted bytes are the note for the log.
func (hd *heads) longHead(x *exchange, b []byte, noted int) {
	for len(b) > 0 {
		n := min(len(b), hd.pool.BlockBytes())
		v := hd.w.keep(x, b[:n])
		if v.ID == 0 {
			return
		}
		if x.head.ID == 0 {
			v = v.Slice(uint32(noted), v.Len-uint32(noted))
			hd.pool.Retain(v)
			x.head = v // its beginning, for the log
		}
		hd.pool.Push(&x.headQ, v)
		b = b[n:]
	}
}

// joined copies at most limit bytes of ch into the worker's join buffer.
// Borrowed until the next call.
func (hd *heads) joined(ch *buf.Chain, limit int) []byte {
	n := min(ch.Bytes(), limit)
	if cap(hd.join) < n {
		hd.join = make([]byte, n, limit)
	}
	hd.join = hd.join[:n]
	return hd.join[:hd.pool.CopyOut(ch, hd.join)]
}

// mayEnd says whether a head or a trailer section that was not complete in ch
// is worth another look with v: when a line ends in v, or it gets too long. To
// join what trickles in for every piece would cost the square of its length;
// the number of lines is bounded by limits.headers.
func (hd *heads) mayEnd(ch *buf.Chain, v buf.View) bool {
	return ch.Bytes()+int(v.Len) > hd.limits.HeadBytes || bytes.IndexByte(hd.pool.Bytes(v), '\n') >= 0
}

// meet has the name of se's client looked up anew.
func (hd *heads) meet(se *h2conn.Session) {
	for uint32(len(hd.sessions)) <= se.Self {
		hd.sessions = append(hd.sessions, forward.Peer{})
	}
	hd.sessions[se.Self].Forget()
}

// peerOf is the other end of a client's connection. A session knows that of all its
// streams.
func (hd *heads) peerOf(c *client) *forward.Peer {
	p, conn := hd.w.legs.name(c)
	if !p.Known() {
		p.Set(&hd.w.snap.Forwarding, hd.l.Peer(conn).Addr(), hd.w.snap.Listeners[c.listener].Unix && !hd.l.IsNamed(conn), hd.w.snap.Scheme(c.listener))
	}
	return p
}

// tlsOf is what was agreed on with a client within TLS; nil: it is in
// clear, or gone.
func (hd *heads) tlsOf(c *client) *transport.Session {
	if hd.w.snap.Listeners[c.listener].Server == nil {
		return nil
	}
	return hd.l.Session(hd.w.legs.carrier(&c.leg))
}
