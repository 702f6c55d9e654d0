package journal

import (
	"net/netip"

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

	// NoteTail is how many bytes at the end of a note say how long it is.
	NoteTail = 2
)

// noteLimits is how much of each text a line may have, and a byte more, which says
// that it was cut.
var noteLimits = [noteTexts]int{33, 8193, 257, 1025, 1025, forward.MaxIDBytes, 257, 8193}

// Note is the note of q, of which line is sent on. It leaves room in a block of so many bytes for
// the beginning of a head. The note is lent until the next one.
func (j *Journal) Note(q *forward.Request, line *http2.RequestLine, blockBytes int) []byte {
	if j.log == nil {
		j.note = append(j.note[:0], NoteTail, 0)
		return j.note
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
	room := blockBytes*3/4 - noteHeader - NoteTail
	b := append(j.note[:0], make([]byte, noteHeader)...)
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
	n := len(b) + NoteTail
	j.note = append(b, byte(n), byte(n>>8))
	return j.note
}

// NoteLen is how long a note is whose last bytes are tail.
func NoteLen(tail []byte) uint32 { return uint32(tail[0]) | uint32(tail[1])<<8 }

// IsEmpty says that a note is of a time when there was no log.
func IsEmpty(note []byte) bool { return len(note) == NoteTail }

// ReadNote puts into r what is noted, and lends it. False: the note is empty.
func ReadNote(note []byte, r *accesslog.Record) bool {
	if IsEmpty(note) {
		return false
	}
	var texts [noteTexts][]byte
	at := noteHeader
	for i := range texts {
		n := int(note[2*i]) | int(note[2*i+1])<<8
		texts[i] = note[at : at+n]
		at += n
	}
	r.Method, r.Target, r.Host = texts[noteMethod], texts[noteTarget], texts[noteHost]
	r.Referer, r.UserAgent, r.RequestID = texts[noteReferer], texts[noteUserAgent], texts[noteRequestID]
	r.UpstreamHost, r.UpstreamTarget = texts[noteSentHost], texts[noteSentTarget]
	r.Cut = note[noteCut] != 0
	if addr := [16]byte(note[noteAddr:noteCut]); addr != [16]byte{} {
		r.SetClient(netip.AddrFrom16(addr).Unmap())
	}
	return true
}

// Asked puts q, of which nothing was sent on, into r, and lends it.
func Asked(q *forward.Request, r *accesslog.Record) {
	h := q.Head
	r.Method, r.Target, r.Host = h.Bytes(h.MethodName), h.Bytes(h.Target), h.Bytes(h.Host)
	r.Referer, _ = h.Get(proto.TokenReferer)
	r.UserAgent, _ = h.Get(proto.TokenUserAgent)
	r.RequestID = q.ID()
	if q.Client.IsValid() {
		r.SetClient(q.Client)
	}
}
