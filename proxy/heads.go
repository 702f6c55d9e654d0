package proxy

import (
	"bytes"
	"slices"
	"time"

	"zproxy/buf"
	"zproxy/proto"
	"zproxy/proto/http1"
	"zproxy/proto/http2"
	"zproxy/proxy/h2conn"
	"zproxy/proxy/snapshot"
	"zproxy/router"
	"zproxy/variables"
)

// heads is where heads are read to and written from. What is in it is good for the
// head at hand.
type heads struct {
	part
	limits       http1.Limits
	match        router.Match
	caches       []*router.Cache // by listener
	hits, misses uint64          // of the caches before
	head         proto.Head      // an HTTP/1 request head
	current      *proto.Head     // the request head, whichever version
	starts       uint32          // the exchange that it begins, 0: it has begun
	resp         proto.Head      // a response head
	trail        proto.Head      // a trailer section
	who          identity        // asks
	peer         peerName        // of the client, where that is a connection
	sessions     []peerName      // of clients, by their sessions
	ids          identifiers
	values       variables.Values
	extras       []proto.Extra // fields that the proxy adds

	join     []byte // a head that spans blocks, joined once
	out      []byte // a head too long for one block, on its way out
	block    []byte // a field block on its way out
	path     []byte // the normalised path of the request being routed
	scratch  []byte // the values of extras
	addrText []byte
	date     [29]byte
	dateSec  int64
}

// prepare is for a snapshot that becomes the current one. Others may be trusted by it.
func (hd *heads) prepare(s *snapshot.Snapshot) {
	for i := range hd.sessions {
		hd.sessions[i].known = false
	}
	hd.hits, hd.misses = hd.lookups()
	hd.limits, hd.caches = s.HeadLimits, routeCaches(s.Listeners)
}

// lookups is how many routes were found in caches, and how many were not.
func (hd *heads) lookups() (hits, misses uint64) {
	hits, misses = hd.hits, hd.misses
	for i, c := range hd.caches {
		if c != nil && !slices.Contains(hd.caches[:i], c) {
			hits, misses = hits+c.Hits, misses+c.Misses
		}
	}
	return hits, misses
}

// begin makes room for heads.
func (hd *heads) begin() {
	hd.ids = newIdentifiers()
	hd.head.Fields = make([]proto.Field, 0, 32)
	hd.resp.Fields = make([]proto.Field, 0, 32)
	hd.current = &hd.head
	hd.extras = make([]proto.Extra, 0, 16)
	hd.scratch = make([]byte, 0, 512)
	hd.path = make([]byte, 0, router.NormalizedBound(snapshot.MaxTargetBytes))
}

// keepHead writes the head of x as the origin gets it, behind the note for the log. False: there is no memory for it.
func (hd *heads) keepHead(x *exchange, h *proto.Head, cl *snapshot.Cluster, line *http2.RequestLine) bool {
	bound := 0
	if cl.H2 {
		bound = http2.RequestBlockBound(h, line, hd.extras)
	} else {
		bound = http1.RequestHeadBound(h, line.Path, line.Authority, hd.extras)
	}
	hd.w.journal.note = append(hd.w.journal.note[:0], noteTail, 0)
	if hd.w.journal.log != nil {
		hd.w.journal.noteRequest(h, line.Authority, line.Path)
	}
	noted := len(hd.w.journal.note)
	if bound += noted; bound > hd.pool.BlockBytes() {
		hd.out = hd.requestHead(append(hd.out[:0], hd.w.journal.note...), h, cl, line, x.flags&xUpgrade != 0)
		x.flags |= xLongHead
		hd.longHead(x, hd.out, noted)
		return x.flags&xBroken == 0
	}
	b := hd.pool.Reserve(bound)
	if b == nil {
		return false
	}
	n := len(hd.requestHead(append(b[:0], hd.w.journal.note...), h, cl, line, x.flags&xUpgrade != 0))
	x.head = hd.pool.Commit(n).Slice(uint32(noted), uint32(n-noted))
	return true
}

// requestHead appends the head of a request as the origins of cl take it. upgrade:
// no content follows, but a tunnel may.
func (hd *heads) requestHead(dst []byte, h *proto.Head, cl *snapshot.Cluster, line *http2.RequestLine, upgrade bool) []byte {
	if cl.H2 {
		return http2.AppendRequestBlock(dst, h, line, h.ContentLength, hd.extras)
	}
	body, length := h.Body, h.Length
	if body == proto.BodyNone && !upgrade && (h.ContentLength == 0 || h.Method.ExpectsContent(line.Method)) {
		body, length = proto.BodyLength, 0
	}
	return http1.AppendRequestHead(dst, h, line.Path, line.Authority, body, length, hd.extras)
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

// target is the request-target for the origin (RFC 9112 3.2.1): the routed
// path when it differs from the received one, the received target otherwise.
func (hd *heads) target(h *proto.Head, path []byte) []byte {
	if path == nil && h.Form != proto.AbsoluteForm {
		return h.Bytes(h.Target)
	}
	hd.out = hd.out[:0]
	if path == nil {
		hd.out = h.AppendOriginTarget(hd.out)
	} else {
		hd.out = append(hd.out, path...)
		if h.Query.Off != 0 {
			hd.out = append(hd.out, '?')
			hd.out = append(hd.out, h.Bytes(h.Query)...)
		}
	}
	hd.path = append(hd.path[:0], hd.out...)
	return hd.path
}

// dateField is the Date field of this second (RFC 9110 6.6.1).
func (hd *heads) dateField() proto.Extra {
	ms := hd.l.WallMs()
	if sec := ms / 1000; sec != hd.dateSec {
		hd.dateSec = sec
		time.Unix(sec, 0).UTC().AppendFormat(hd.date[:0], "Mon, 02 Jan 2006 15:04:05 GMT")
	}
	return proto.NewExtra(proto.TokenDate, hd.date[:])
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
		hd.sessions = append(hd.sessions, peerName{})
	}
	hd.sessions[se.Self].known = false
}

// peerOf is the name of a client. A session knows that of all its streams.
func (hd *heads) peerOf(c *client) *peerName {
	p, conn := hd.w.legs.name(c)
	if !p.known {
		p.set(&hd.w.snap.Forwarding, hd.l.Peer(conn).Addr(), hd.w.snap.Listeners[c.listener].Unix && !hd.l.IsNamed(conn), hd.w.snap.Scheme(c.listener))
	}
	return p
}
