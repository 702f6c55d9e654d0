package http1

import (
	"bytes"
	"math/bits"

	"zproxy/proto"
)

// noted remembers where the fields that decide about framing and connection
// are, so that nothing needs to look for them: a bit per token that occurred,
// one per token that occurred more than once, the index of the first.
type noted struct {
	mask, dup uint16
	first     [16]uint16
}

const lastNoted = proto.TokenTrailer // tokens from 1 to here

func (s *noted) has(t proto.Token) bool   { return s.mask>>t&1 != 0 }
func (s *noted) twice(t proto.Token) bool { return s.dup>>t&1 != 0 }

func (s *noted) note(t proto.Token, i int) {
	bit := uint16(1) << t
	if s.mask&bit == 0 {
		s.first[t&15] = uint16(i)
	}
	s.dup |= s.mask & bit
	s.mask |= bit
}

// value lends the first field of token t, which must have occurred.
func (s *noted) value(h *proto.Head, t proto.Token) []byte {
	return h.Bytes(h.Fields[s.first[t&15]].Value)
}

// fieldSection reads field lines from b[line] on into h.Fields, up to and
// including the empty line (RFC 9112 section 5). count is the number of field
// lines before. end > 0: complete, end is the offset behind the empty line.
// Otherwise lineNow and countNow say where to go on, and code is the fault of
// the line there, FaultNone when it is merely not complete.
func fieldSection(b []byte, line, count int, lim *Limits, h *proto.Head, s *noted) (end, lineNow, countNow int, code proto.FaultCode) {
	maxFields := min(lim.Fields, MaxFields) - count
	fields, stop := fieldLines(b, line, maxFields, h.Fields)
	h.Fields = fields
	if named := nameFields(b, fields, s); named < len(fields) {
		line = int(fields[named].Name.Off)
		return 0, line, count, fieldLineFault(b[line:])
	}
	count += len(fields)
	if len(fields) > maxFields {
		return 0, stop, count, proto.FaultTooManyFields
	}
	if len(b)-stop >= 2 && b[stop] == '\r' && b[stop+1] == '\n' {
		return stop + 2, stop, count, proto.FaultNone
	}
	return 0, stop, count, fieldLineFault(b[stop:])
}

// fieldLines splits lines at colon and CRLF until one is no field line, which
// begins at stop; at most one more than maxFields. Names are looked at later,
// so that all this loop needs stays in registers: one that is invalid may even
// reach over the end of its line.
func fieldLines(b []byte, line, maxFields int, fields []proto.Field) (_ []proto.Field, stop int) {
	for len(fields) <= maxFields && line+1 < len(b) && b[line] != '\r' {
		colon := line
		for len(b)-colon >= 8 {
			if m := colons(load64(b[colon : colon+8 : colon+8])); m != 0 {
				colon += bits.TrailingZeros64(m) >> 3
				break
			}
			colon += 8
		}
		if len(b)-colon < 8 {
			colon = colonIndex(b, colon)
		}
		value := colon + 1
		for value < len(b) && (b[value] == ' ' || b[value] == '\t') {
			value++
		}
		// RFC 9110 section 5.5: visible characters, obs-text, space and HTAB.
		tail := value
		for len(b)-tail >= 8 {
			x := load64(b[tail : tail+8 : tail+8])
			if !proto.PlainASCII(x) {
				if m := proto.Controls(x); m != 0 {
					tail += bits.TrailingZeros64(m) >> 3
					break
				}
			}
			tail += 8
		}
		if len(b)-tail < 8 || b[tail] == '\t' {
			tail = proto.ValueEnd(b, tail)
		}
		if tail+1 >= len(b) || b[tail] != '\r' || b[tail+1] != '\n' {
			break
		}
		next := tail + 2
		for tail > value && (b[tail-1] == ' ' || b[tail-1] == '\t') {
			tail--
		}
		// Stored part by part: a Field built elsewhere and copied here costs a
		// store-forwarding stall per line.
		if len(fields) < cap(fields) {
			fields = fields[:len(fields)+1]
		} else {
			fields = append(fields, proto.Field{})
		}
		f := &fields[len(fields)-1]
		f.Name.Off, f.Name.Len = uint32(line), uint32(colon-line)
		f.Value.Off, f.Value.Len = uint32(value), uint32(tail-value)
		f.End, f.Token, f.Flags = uint32(next), proto.TokenOther, 0
		line = next
	}
	return fields, line
}

// nameFields finds the tokens of the fields' names and notes the ones that
// matter. It returns the index of the first field whose name is none (RFC 9110
// section 5.1), or their number.
func nameFields(b []byte, fields []proto.Field, s *noted) int {
	for i := range fields {
		f := &fields[i]
		name := b[f.Name.Off:f.Name.End()]
		f.Token = proto.LookupToken(name)
		if f.Token == proto.TokenOther {
			if !proto.IsToken(name) {
				return i
			}
		} else if f.Token <= lastNoted {
			s.note(f.Token, i)
		}
	}
	return len(fields)
}

// fieldLineFault says what is wrong with the line b begins with, which is not a
// field line; FaultNone while its LF has not arrived.
func fieldLineFault(b []byte) proto.FaultCode {
	n := lineEnd(b)
	if n == 0 {
		return proto.FaultNone
	}
	if n < 2 || b[n-2] != '\r' {
		return proto.FaultBareLF
	}
	b = b[:n-2]
	if bytes.IndexByte(b, '\r') >= 0 { // RFC 9112 section 2.2
		return proto.FaultBareCR
	}
	if b[0] == ' ' || b[0] == '\t' { // RFC 9112 sections 2.2 and 5.2
		return proto.FaultObsFold
	}
	colon := bytes.IndexByte(b, ':')
	if colon < 0 {
		return proto.FaultFieldNoColon
	}
	if colon > 0 && (b[colon-1] == ' ' || b[colon-1] == '\t') {
		return proto.FaultFieldSpaceBeforeColon
	}
	if !proto.IsToken(b[:colon]) {
		return proto.FaultFieldName
	}
	return proto.FaultFieldValue
}
