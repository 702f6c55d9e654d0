package http1

import "zproxy/proto"

// ParseTrailers reads a trailer section (RFC 9112 section 7.1.2), field lines up
// to and including the empty line, into h.Fields. Results are those of
// ParseRequest; n is 2 when there are none. Fields that mean something only in
// a head get FlagDrop (RFC 9110 section 6.5.1). Faults are those of a request;
// Fault.AsResponse makes one the origin's.
func ParseTrailers(b []byte, scanned Cursor, lim *Limits, h *proto.Head) (n int, scannedNow Cursor, f *proto.Fault) {
	b, full := clip(b, lim)
	if scanned != (Cursor{}) {
		if again, next := resume(b, scanned, lim, h); !again && !full {
			return 0, next, nil
		}
	}
	h.Reset(b)
	h.Lines = true
	var s noted
	end, line, count, code := fieldSection(b, 0, 0, lim, h, &s)
	if code != proto.FaultNone {
		return 0, Cursor{}, proto.RequestFault(code)
	}
	if end == 0 {
		return goesOn(cursor(line, len(b), count), full, proto.RequestFault(proto.FaultHeadTooLarge))
	}
	for i := range h.Fields {
		if proto.ForbiddenTrailer(h.Fields[i].Token) {
			h.Fields[i].Flags |= proto.FlagDrop
		}
	}
	return end, Cursor{}, nil
}
