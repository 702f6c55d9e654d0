package http1

import (
	"bytes"

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
	fields := h.Fields
	maxFields := min(lim.Fields, MaxFields)
	for {
		if len(b)-line >= 2 && b[line] == '\r' && b[line+1] == '\n' {
			h.Fields = fields
			return line + 2, line, count, proto.FaultNone
		}
		colon := nameEnd(b, line)
		if colon >= len(b) || b[colon] != ':' {
			break
		}
		// RFC 9112 section 5.1: a token, then the colon without whitespace.
		name := b[line:colon]
		token := proto.LookupToken(name)
		if token == proto.TokenOther && !proto.IsToken(name) {
			break
		}
		value := colon + 1
		for value < len(b) && (b[value] == ' ' || b[value] == '\t') {
			value++
		}
		// RFC 9110 section 5.5: visible characters, obs-text, space and HTAB.
		tail := valueEnd(b, value)
		if tail+1 >= len(b) || b[tail] != '\r' || b[tail+1] != '\n' {
			break
		}
		next := tail + 2
		for tail > value && (b[tail-1] == ' ' || b[tail-1] == '\t') {
			tail--
		}
		if count >= maxFields {
			h.Fields = fields
			return 0, line, count, proto.FaultTooManyFields
		}
		count++
		if token != proto.TokenOther && token <= lastNoted {
			bit := uint16(1) << token
			if s.mask&bit == 0 {
				s.first[token&15] = uint16(len(fields))
			}
			s.dup |= s.mask & bit
			s.mask |= bit
		}
		fields = append(fields, proto.Field{
			Name:  proto.Span{Off: uint32(line), Len: uint32(colon - line)},
			Value: proto.Span{Off: uint32(value), Len: uint32(tail - value)},
			End:   uint32(next),
			Token: token,
		})
		line = next
	}
	h.Fields = fields
	return 0, line, count, fieldLineFault(b[line:])
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
