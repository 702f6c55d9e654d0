package proxy

import (
	"net/netip"

	"zproxy/buf"
	"zproxy/metrics/accesslog"
	"zproxy/proto"
	"zproxy/proto/http2"
	"zproxy/proxy/forward"
)

// The line that a request gets in the access log says what was asked for, and by
// whom: as it was received, whatever is sent on. This is noted when the request is
// forwarded, in front of its head and in the same block, and read when it ends.

// A note is a table of lengths, the client's address, the texts, and, right in
// front of the head, its own length: an exchange has no room for that. Without a
// log it is its length alone.
const (
	noteMethod = iota
	noteTarget
	noteHost
	noteReferer
	noteUserAgent
	noteRequestID
	noteSentHost   // what was sent on, where it differs
	noteSentTarget //
	noteTexts

	noteAddr   = 2 * noteTexts
	noteCut    = noteAddr + 16 // 1: not all of the texts had room
	noteHeader = noteCut + 1
	noteTail   = 2
)

// noteLimits is how much of each text a line may have, and a byte more, which says
// that it was cut.
var noteLimits = [noteTexts]int{33, 8193, 257, 1025, 1025, forward.MaxIDBytes, 257, 8193}

// noteRequest makes the note of q, of which line is sent on. It leaves room in a block for
// the beginning of a head. The note is lent until the next one.
func (jo *journal) noteRequest(q *forward.Request, line *http2.RequestLine) []byte {
	if jo.log == nil {
		jo.note = append(jo.note[:0], noteTail, 0)
		return jo.note
	}
	h := q.Head
	var texts [noteTexts][]byte
	texts[noteMethod], texts[noteTarget], texts[noteHost] = h.Bytes(h.MethodName), h.Bytes(h.Target), h.Bytes(h.Host)
	texts[noteReferer], _ = h.Get(proto.TokenReferer)
	texts[noteUserAgent], _ = h.Get(proto.TokenUserAgent)
	texts[noteRequestID] = q.ID()
	if string(line.Authority) != string(texts[noteHost]) {
		texts[noteSentHost] = line.Authority
	}
	if string(line.Path) != string(texts[noteTarget]) {
		texts[noteSentTarget] = line.Path
	}
	room := jo.pool.BlockBytes()*3/4 - noteHeader - noteTail
	b := append(jo.note[:0], make([]byte, noteHeader)...)
	if q.Client.IsValid() {
		addr := q.Client.As16()
		copy(b[noteAddr:], addr[:])
	}
	for i, s := range texts {
		if n := min(len(s), noteLimits[i], room); n < len(s) {
			s, b[noteCut] = s[:n], 1
		}
		room -= len(s)
		b[2*i], b[2*i+1] = byte(len(s)), byte(len(s)>>8)
		b = append(b, s...)
	}
	n := len(b) + noteTail
	jo.note = append(b, byte(n), byte(n>>8))
	return jo.note
}

// readNote puts what is noted into r, which borrows it.
func readNote(b []byte, r *accesslog.Record) {
	var texts [noteTexts][]byte
	at := noteHeader
	for i := range texts {
		n := int(b[2*i]) | int(b[2*i+1])<<8
		texts[i] = b[at : at+n]
		at += n
	}
	r.Method, r.Target, r.Host = texts[noteMethod], texts[noteTarget], texts[noteHost]
	r.Referer, r.UserAgent, r.RequestID = texts[noteReferer], texts[noteUserAgent], texts[noteRequestID]
	r.UpstreamHost, r.UpstreamTarget = texts[noteSentHost], texts[noteSentTarget]
	r.Cut = b[noteCut] != 0
	if addr := [16]byte(b[noteAddr:noteCut]); addr != [16]byte{} {
		r.SetClient(netip.AddrFrom16(addr).Unmap())
	}
}

// noteOf lends the note of x, which has a head.
func (jo *journal) noteOf(x *exchange) []byte {
	n := jo.pool.Bytes(buf.View{ID: x.head.ID, Off: x.head.Off - noteTail, Len: noteTail})
	size := uint32(n[0]) | uint32(n[1])<<8
	return jo.pool.Bytes(buf.View{ID: x.head.ID, Off: x.head.Off - size, Len: size})
}

// logHead finds method, target and the like of exchange xi: in the note, or, while its
// request is being looked at, in the head that was just parsed. False: there was no
// log when it began.
func (jo *journal) logHead(xi uint32, x *exchange, r *accesslog.Record) bool {
	switch {
	case x.head.ID != 0:
		note := jo.noteOf(x)
		if len(note) > noteTail {
			readNote(note, r)
		}
		return len(note) > noteTail
	case x.state == xTunnel:
		return false
	case jo.w.requests.starts != xi:
		return true // there was no memory to write its head anew
	}
	q := &jo.w.requests.asked
	h := q.Head
	r.Method, r.Target, r.Host = h.Bytes(h.MethodName), h.Bytes(h.Target), h.Bytes(h.Host)
	r.Referer, _ = h.Get(proto.TokenReferer)
	r.UserAgent, _ = h.Get(proto.TokenUserAgent)
	r.RequestID = q.ID()
	if q.Client.IsValid() {
		r.SetClient(q.Client)
	}
	return true
}

// shortenHead keeps of the head of a tunnel, which may be there for days, no more
// than its note.
func (jo *journal) shortenHead(x *exchange) {
	jo.pool.Drop(&x.headQ)
	if x.head.ID == 0 {
		return
	}
	jo.w.heads.scratch = append(jo.w.heads.scratch[:0], jo.noteOf(x)...)
	if len(jo.w.heads.scratch) == noteTail {
		jo.w.release(&x.head)
		return
	}
	if v := jo.pool.AllocSide(&jo.notes, jo.w.heads.scratch); v.ID != 0 {
		jo.w.release(&x.head)
		x.head = v.Slice(v.Len, 0)
	}
}
