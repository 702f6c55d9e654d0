package http1

import (
	"bytes"

	"zproxy/proto"
)

// Limits bound a message head. All must be positive.
type Limits struct {
	HeadBytes int // whole head or trailer section, including its empty line: 431; at most MaxHeadBytes
	Fields    int // field lines: 431; at most MaxFields
	LineBytes int // request-target: 414
}

// What a cursor can hold; larger limits count as these.
const (
	MaxHeadBytes = 1<<24 - 1
	MaxFields    = 1<<15 - 1
)

// Cursor says how far an unfinished head was read, so that no byte is looked at
// again before its line is complete. The zero Cursor is the beginning. It is
// for those bytes alone, and for what comes behind them.
type Cursor struct {
	// The offset of the unfinished line, the bytes seen (which hold no LF from
	// that line on), and the field lines before it. In two words, because a
	// structure with a wide one is padded to it.
	low, high uint32
}

const cursorBits = 24

func cursor(line, seen, fields int) Cursor {
	return wideCursor(int64(fields<<(2*cursorBits) | line<<cursorBits | seen))
}

func (c Cursor) split() (line, seen, fields int) {
	const mask = 1<<cursorBits - 1
	w := int(c.wide())
	return w >> cursorBits & mask, w & mask, w >> (2 * cursorBits)
}

// wide is c as a number, never negative.
func (c Cursor) wide() int64 { return int64(c.high)<<32 | int64(c.low) }

func wideCursor(w int64) Cursor { return Cursor{uint32(w), uint32(w >> 32)} }

// clip limits b to what a head may have, so that a fault behind the limit is
// never seen before the limit itself, however the bytes arrive.
func clip(b []byte, lim *Limits) (head []byte, full bool) {
	limit := min(lim.HeadBytes, MaxHeadBytes)
	if len(b) >= limit {
		return b[:limit], true
	}
	return b, false
}

// resume goes on behind cursor c. Lines that were completed meanwhile are only
// checked, into h as scratch. again: the head is complete or at fault (or its
// first line was completed just now), so read it from the beginning.
// Otherwise next is the cursor to go on from.
func resume(b []byte, c Cursor, lim *Limits, h *proto.Head) (again bool, next Cursor) {
	line, seen, fields := c.split()
	if seen >= len(b) || bytes.IndexByte(b[seen:], '\n') < 0 {
		return false, cursor(line, max(seen, len(b)), fields)
	}
	if line == 0 {
		return true, Cursor{}
	}
	h.Reset(b)
	var s noted
	end, line, fields, code := fieldSection(b, line, fields, lim, h, &s)
	return end > 0 || code != proto.FaultNone, cursor(line, len(b), fields)
}

// lineEnd is the length of the line b begins with, LF included; 0 when the
// line is not complete.
func lineEnd(b []byte) int { return bytes.IndexByte(b, '\n') + 1 }
