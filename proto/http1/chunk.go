package http1

import "zproxy/proto"

// The chunked transfer coding (RFC 9112 section 7.1), a byte at a time: a
// chunk-size line is short, its data is not looked at.

const (
	// chunkDigitsMax bounds a chunk size, leading zeros included.
	chunkDigitsMax = 16
	// chunkLineMax bounds one chunk-size line with its extensions, which nobody
	// uses and which are not forwarded (section 7.1.1 asks for a limit).
	chunkLineMax = 1024
	// A chunk may have chunkFramingFree bytes of framing and one more for each
	// byte of data. What exceeds that adds up, what stays below makes up for
	// it; at chunkOverheadMax somebody is sending framing instead of content.
	chunkFramingFree = 16
	chunkOverheadMax = 16 << 10
)

// chunkFraming consumes framing up to the next chunk's data (state chunkData),
// to the trailer section (bodyTrailers), or all of b.
func (d *Body) chunkFraming(b []byte) (skip int, code proto.FaultCode) {
	for skip < len(b) {
		c := b[skip]
		skip++
		switch {
		case d.state == chunkDataCR && c == '\r':
			d.state = chunkDataLF
			continue
		case d.state == chunkDataLF && c == '\n':
			d.state, d.line, d.digits = chunkSize, 0, 0
			continue
		case d.state == chunkDataCR, d.state == chunkDataLF:
			return skip, proto.FaultChunkDataEnd
		}
		if d.line++; d.line > chunkLineMax {
			return skip, proto.FaultChunkExtension
		}
		if d.state == chunkSize {
			if v := hexValue[c]; v != 0 {
				if d.digits++; d.digits > chunkDigitsMax || d.remaining > (1<<63-1)>>4 {
					return skip, proto.FaultChunkSizeOverflow
				}
				d.remaining = d.remaining<<4 | int64(v-1)
				continue
			}
			if d.digits == 0 {
				return skip, proto.FaultChunkSize
			}
		}
		if code := d.chunkLine(c); code != proto.FaultNone {
			return skip, code
		}
		if d.state == chunkData || d.state == bodyTrailers {
			return skip, proto.FaultNone
		}
	}
	return skip, proto.FaultNone
}

// chunkLine takes one byte behind the digits of a chunk-size line:
//
//	chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )
//
// A line ends with CRLF and nowhere else: readers that end it at a lone CR or
// LF, or skip what they do not expect, disagree about where data begins.
func (d *Body) chunkLine(c byte) proto.FaultCode {
	if c == '\n' || d.state == chunkSizeLF {
		if c != '\n' || d.state != chunkSizeLF {
			return proto.FaultChunkLine
		}
		return d.endChunkLine()
	}
	next := chunkNext[d.state-chunkSize][charClass[c]]
	if next == 0 {
		if d.state == chunkSize {
			return proto.FaultChunkSize
		}
		return proto.FaultChunkExtension
	}
	d.state = next
	return proto.FaultNone
}

// endChunkLine goes on to the data or, behind the last chunk, to the trailers.
func (d *Body) endChunkLine() proto.FaultCode {
	if d.remaining == 0 {
		d.state = bodyTrailers
		return proto.FaultNone
	}
	d.state = chunkData
	framing := int64(d.line) + int64(len(ChunkEnd))
	overhead := int64(d.overhead) + framing - chunkFramingFree - d.remaining
	if overhead > chunkOverheadMax {
		return proto.FaultChunkOverhead
	}
	d.overhead = uint32(max(overhead, 0))
	return proto.FaultNone
}

// hexValue is the digit's value plus one, 0 for what is no HEXDIG.
var hexValue = func() (t [256]uint8) {
	for i := uint8(0); i < 10; i++ {
		t['0'+i] = i + 1
	}
	for i := uint8(0); i < 6; i++ {
		t['a'+i], t['A'+i] = i+11, i+11
	}
	return t
}()

const (
	classControl = iota // never allowed here; so is 0x7f
	classToken
	classText // visible or obs-text, only inside quotes
	classSpace
	classSemicolon
	classEqual
	classQuote
	classBackslash
	classCR
	classCount
)

var charClass = func() (t [256]uint8) {
	for c := range t {
		switch {
		case proto.IsToken([]byte{byte(c)}):
			t[c] = classToken
		case c > ' ' && c != 0x7f:
			t[c] = classText
		}
	}
	t[' '], t['\t'] = classSpace, classSpace
	t[';'], t['='], t['"'], t['\\'], t['\r'] = classSemicolon, classEqual, classQuote, classBackslash, classCR
	return t
}()

// chunkNext is the state after a byte of a class; 0: the byte is a fault.
var chunkNext = [chunkSizeLF - chunkSize][classCount]bodyState{
	chunkSize - chunkSize: {
		classSpace: chunkSizeSpace, classSemicolon: chunkExtName, classCR: chunkSizeLF},
	chunkSizeSpace - chunkSize: {
		classSpace: chunkSizeSpace, classSemicolon: chunkExtName},
	chunkExtName - chunkSize: {
		classSpace: chunkExtName, classToken: chunkExtNameMore},
	chunkExtNameMore - chunkSize: {
		classToken: chunkExtNameMore, classSpace: chunkExtNameSpace, classEqual: chunkExtValue,
		classSemicolon: chunkExtName, classCR: chunkSizeLF},
	chunkExtNameSpace - chunkSize: {
		classSpace: chunkExtNameSpace, classEqual: chunkExtValue, classSemicolon: chunkExtName},
	chunkExtValue - chunkSize: {
		classSpace: chunkExtValue, classToken: chunkExtToken, classQuote: chunkExtQuoted},
	chunkExtToken - chunkSize: {
		classToken: chunkExtToken, classSpace: chunkExtValueSpace, classSemicolon: chunkExtName, classCR: chunkSizeLF},
	chunkExtQuoted - chunkSize: {
		classToken: chunkExtQuoted, classText: chunkExtQuoted, classSpace: chunkExtQuoted, classSemicolon: chunkExtQuoted,
		classEqual: chunkExtQuoted, classQuote: chunkExtQuoteEnd, classBackslash: chunkExtEscaped},
	chunkExtEscaped - chunkSize: {
		classToken: chunkExtQuoted, classText: chunkExtQuoted, classSpace: chunkExtQuoted, classSemicolon: chunkExtQuoted,
		classEqual: chunkExtQuoted, classQuote: chunkExtQuoted, classBackslash: chunkExtQuoted},
	chunkExtQuoteEnd - chunkSize: {
		classSpace: chunkExtValueSpace, classSemicolon: chunkExtName, classCR: chunkSizeLF},
	chunkExtValueSpace - chunkSize: {
		classSpace: chunkExtValueSpace, classSemicolon: chunkExtName},
}
