package http1

import "zproxy/proto"

// Piece says what Body.Next found.
type Piece uint8

const (
	PieceMore     Piece = iota // all of b was framing: feed more bytes
	PieceData                  // n bytes of data behind skip bytes of framing
	PieceTrailers              // chunked: the data is over, the trailer section begins behind skip bytes
	PieceEnd                   // the content is complete
)

// Body walks over the content of one message without copying it: the caller
// feeds bytes as they come, Body says which of them are data. It holds no
// pointers and may live in a slab. The zero Body is that of a message without
// content.
type Body struct {
	remaining int64  // data bytes left, of the content or of the chunk; while reading a chunk size, the value so far; while reading what is before or behind the content, the cursor; behind a fault, its code
	overhead  uint32 // chunk framing bytes not made up for by data, see chunkOverheadMax
	line      uint16 // bytes of this chunk-size line
	digits    uint8  // of this chunk size
	state     bodyState
}

type bodyState uint8

const (
	bodyEnd bodyState = iota
	bodyLength
	bodyUntilClose
	bodyTrailers // until Trailers has read them
	bodyFault
	chunkData   // remaining > 0
	chunkDataCR // data is followed by CRLF
	chunkDataLF
	chunkSize // states of the chunk-size line from here on
	chunkSizeSpace
	chunkExtName
	chunkExtNameMore
	chunkExtNameSpace
	chunkExtValue
	chunkExtToken
	chunkExtQuoted
	chunkExtEscaped
	chunkExtQuoteEnd
	chunkExtValueSpace
	chunkSizeLF
)

// Start begins the content of a message, as Head.Body and Head.Length have it.
func (d *Body) Start(kind proto.BodyKind, length int64) {
	*d = Body{}
	switch kind {
	case proto.BodyLength:
		if length > 0 {
			d.state, d.remaining = bodyLength, length
		}
	case proto.BodyChunked:
		d.state = chunkSize
	case proto.BodyUntilClose:
		d.state = bodyUntilClose
	}
}

// Next looks at b, the bytes behind those it consumed before: the first skip
// bytes are framing, the n bytes behind them data (PieceData only). Call again
// with b[skip+n:]. Whatever way the content is split, data and faults are the
// same. PieceTrailers is repeated until Trailers has read them; a fault is repeated too.
// Faults are those of a request; Fault.AsResponse makes one the origin's.
func (d *Body) Next(b []byte) (piece Piece, skip, n int, f *proto.Fault) {
	switch d.state {
	case bodyEnd:
		return PieceEnd, 0, 0, nil
	case bodyTrailers:
		return PieceTrailers, 0, 0, nil
	case bodyFault:
		return PieceMore, 0, 0, d.fault()
	case bodyLength:
		if len(b) == 0 {
			return PieceMore, 0, 0, nil
		}
		n = d.take(len(b), bodyEnd)
		return PieceData, 0, n, nil
	case bodyUntilClose:
		if len(b) == 0 {
			return PieceMore, 0, 0, nil
		}
		return PieceData, 0, len(b), nil
	}
	if d.state != chunkData {
		var code proto.FaultCode
		if skip, code = d.chunkFraming(b); code != proto.FaultNone {
			return PieceMore, skip, 0, d.fail(code)
		}
		if d.state == bodyTrailers {
			return PieceTrailers, skip, 0, nil
		}
	}
	if d.state != chunkData || skip == len(b) {
		return PieceMore, skip, 0, nil
	}
	n = d.take(len(b)-skip, chunkDataCR)
	return PieceData, skip, n, nil
}

// take hands out up to n bytes of data; then is the state when none are left.
func (d *Body) take(n int, then bodyState) int {
	if int64(n) >= d.remaining {
		n = int(d.remaining)
		d.state = then
	}
	d.remaining -= int64(n)
	return n
}

// ResponseHead is ParseResponse for the head in front of the content, or for an
// interim one: all of its bytes, also those of calls before. d, which is zero or
// was given to ResponseHead alone, keeps the cursor. Start comes after it.
func (d *Body) ResponseHead(b []byte, req proto.Method, lim *Limits, h *proto.Head) (n int, f *proto.Fault) {
	n, scanned, f := ParseResponse(b, wideCursor(d.remaining), req, lim, h)
	d.remaining = scanned.wide()
	return n, f
}

// Trailers is ParseTrailers for b, the bytes behind the data of PieceTrailers:
// all of them, also those of calls before. d keeps the cursor. With n > 0 the
// content is complete.
func (d *Body) Trailers(b []byte, lim *Limits, h *proto.Head) (n int, f *proto.Fault) {
	n, scanned, f := ParseTrailers(b, wideCursor(d.remaining), lim, h)
	d.remaining = scanned.wide()
	if n > 0 {
		d.state = bodyEnd
	}
	return n, f
}

// Done reports that the content, trailers included, is complete.
func (d *Body) Done() bool { return d.state == bodyEnd }

// Remaining is the number of data bytes to come, -1 when that is not known.
func (d *Body) Remaining() int64 {
	switch d.state {
	case bodyEnd, bodyTrailers:
		return 0
	case bodyLength:
		return d.remaining
	}
	return -1
}

// Skip counts n data bytes that went by another way than through Next; they are
// no more than Remaining says.
func (d *Body) Skip(n int) Piece {
	d.take(n, bodyEnd)
	if d.state == bodyEnd {
		return PieceEnd
	}
	return PieceMore
}

// EOF says what the end of the connection means now: it completes a body that
// goes on until the connection ends and cuts any other short (RFC 9112 section
// 8), which must not be passed on as a complete message.
func (d *Body) EOF() *proto.Fault {
	switch d.state {
	case bodyEnd:
		return nil
	case bodyUntilClose:
		d.state = bodyEnd
		return nil
	case bodyFault:
		return d.fault()
	}
	return d.fail(proto.FaultBodyTruncated)
}

func (d *Body) fail(code proto.FaultCode) *proto.Fault {
	d.state, d.remaining = bodyFault, int64(code)
	return d.fault()
}

// fault is what was wrong, in state bodyFault.
func (d *Body) fault() *proto.Fault { return proto.RequestFault(proto.FaultCode(d.remaining)) }
