package http2

import (
	"bytes"

	"zproxy/proto"
)

// Who asks for the same thing all the time, or answers the same, as callers of
// one method of gRPC do, sends one field block again and again once its fields
// are in the table. The third time in a row it is not decoded and checked any
// more: as long as nothing else was decoded, and the block does not change the
// table, it says what it said before.

// againMax is how long a block may be that is looked out for.
const againMax = 512

// again is the block that was decoded last by any session of a worker.
type again struct {
	of    *Session // whose it is, nil: none to look out for
	block []byte
	mode  sectionMode
	end   bool        // it has END_STREAM
	flags streamFlags // of its stream, those that a response's meaning depends on
	twice bool        // it has come twice
	known bool        // head and fields are what it says, and nothing is wrong with that
	head  proto.Head
	// fields are those of head: the owner of the event marks them.
	fields []proto.Field
}

// repeated reports that block is the last one again. Then the section is what it
// was; otherwise it has to be decoded.
func (s *Session) repeated(block []byte, mode sectionMode, st *Stream) bool {
	a := &s.scratch.again
	flags := streamFlags(0)
	if st != nil {
		flags = st.flags & (streamCONNECT | streamHEAD)
	}
	same := a.of == s && a.mode == mode && a.end == s.blockEnd && a.flags == flags && bytes.Equal(a.block, block)
	if same && a.known {
		h := &s.scratch.section.head
		fields := append(h.Fields[:0], a.fields...)
		*h = a.head
		h.Fields = fields
		return true
	}
	a.known, a.twice = false, same
	if !same {
		a.of = nil
		if len(block) <= againMax && (mode == sectionRequest || mode == sectionResponse) {
			a.of, a.mode, a.end, a.flags = s, mode, s.blockEnd, flags
			a.block = append(a.block[:0], block...)
		}
	}
	return false
}

// remember keeps what the block says that was decoded just now, if it has come
// twice and changes nothing.
func (s *Session) remember() {
	a, x := &s.scratch.again, &s.scratch.section
	if !a.twice || a.known || x.over != nil {
		return
	}
	if n, whole := insertions(a.block); n > 0 || !whole || a.block[0]&0xe0 == tableUpdate {
		a.twice = false
		return
	}
	a.known = true
	a.head = x.head
	a.fields = append(a.fields[:0], x.head.Fields...)
}

// forget: what s has decoded is not what it would decode any more. It need not
// have been started.
func (s *Session) forget() {
	if x := s.scratch; x != nil && x.again.of == s {
		x.again.of, x.again.known = nil, false
	}
}
