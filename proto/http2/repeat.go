package http2

import "bytes"

// Peers say the same again and again: a client of gRPC that calls one method, a
// program that polls, an origin whose answers and trailers have the same fields
// each time. Once their fields are in the table such blocks are equal byte for
// byte, and what the last one was decoded to is taken again.
//
// That is right as long as the table is what it was: a block that changes it is
// not kept, and ends what was kept before.

const (
	repeatMax    = 512     // bytes of a block that is kept
	repeatText   = 4 << 10 // of what it says, which may be much more
	repeatMisses = 16      // blocks in a row that are others, and nothing is kept any more
)

// repeats is what a session keeps of the blocks of its heads, and of trailers.
type repeats struct {
	kept   [2]repeat
	misses int
}

type repeat struct {
	block   []byte // empty: nothing
	section section
}

// repeatOf is the place of a mode's blocks.
func repeatOf(mode sectionMode) int {
	if mode == sectionTrailers {
		return 1
	}
	return 0
}

// again takes what block was decoded to the last time, if that is known.
func (s *Session) again(block []byte, mode sectionMode) bool {
	if s.repeats == nil {
		return false
	}
	r := &s.repeats.kept[repeatOf(mode)]
	if r.section.mode != mode || r.section.ended && r.section.endStream != s.blockEnd || len(block) == 0 || !bytes.Equal(r.block, block) {
		return false
	}
	s.repeats.misses = 0
	s.scratch.section.take(&r.section)
	return true
}

// keep is told of a block that was decoded: one that comes a second time is
// kept, unless it has done something to the table. updated: it began with updates of
// the table's size.
func (s *Session) keep(block []byte, mode sectionMode, updated bool) {
	i := repeatOf(mode)
	hint := repeatHint(block)
	second := hint == s.hints[i]
	s.hints[i] = hint
	if s.repeats == nil && !second {
		return
	}
	if updated || s.decoder.inserted > 0 {
		s.hints[i] = 0
		s.repeats = nil
		return
	}
	if s.repeats == nil {
		s.repeats = &repeats{}
	}
	if s.repeats.misses++; s.repeats.misses > repeatMisses {
		s.repeats = nil
		return
	}
	if x := &s.scratch.section; second && mode != sectionDiscard && len(block) <= repeatMax && len(x.buf)+len(x.crumbs) <= repeatText && x.over == nil {
		r := &s.repeats.kept[i]
		r.block = append(r.block[:0], block...)
		r.section.take(x)
		x.kept = true
	}
}

// keepEnded puts what endRequest has made of x in the place of what keep has
// kept.
func (s *Session) keepEnded(x *section) {
	x.ended, x.endStream = true, s.blockEnd
	s.repeats.kept[repeatOf(sectionRequest)].section.take(x)
}

// take makes x a copy of y. Its bytes and fields are its own.
func (x *section) take(y *section) {
	words, crumbs, buf, fields := x.words, x.crumbs, x.buf, x.head.Fields
	*x = *y
	x.words, x.crumbs = words, append(crumbs[:0], y.crumbs...)
	x.buf, x.head.Fields = append(buf[:0], y.buf...), append(fields[:0], y.head.Fields...)
	x.head.Buf, x.kept = nil, false
}

// repeatHint is the same for equal blocks, and most often not for others; it is
// never 0.
func repeatHint(b []byte) uint32 {
	h := uint64(len(b)) + 1
	if n := len(b); n >= 8 {
		h ^= load64(b) ^ load64(b[n-8:])<<1 ^ load64(b[(n-8)/2:])<<2
	} else {
		for _, c := range b {
			h = h<<8 ^ h>>56 ^ uint64(c)
		}
	}
	return uint32(h*0x9e3779b97f4a7c15>>32) | 1
}

func load64(b []byte) uint64 { return uint64(load32(b))<<32 | uint64(load32(b[4:])) }
