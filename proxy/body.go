package proxy

import (
	"zproxy/proto"
	"zproxy/proto/http1"
)

// decoded is what decodeBody found: n body bytes at b[at:], used bytes spent.
type decoded struct {
	at, n, used int
	piece       http1.Piece
	fault       *proto.Fault
}

// decodeBody takes the transfer coding off b in place: body bytes that lie
// apart move down over the framing between them, so one received block yields
// one run of body bytes, however small its chunks. b must be exclusive.
func decodeBody(d *http1.Body, b []byte) decoded {
	var r decoded
	for {
		piece, skip, n, f := d.Next(b[r.used:])
		if f != nil {
			r.fault = f
			return r
		}
		r.used += skip
		if piece != http1.PieceData {
			r.piece = piece
			return r
		}
		if r.n == 0 {
			r.at = r.used
		} else if skip > 0 {
			copy(b[r.at+r.n:], b[r.used:r.used+n])
		}
		r.n += n
		r.used += n
		if r.used == len(b) && !d.Done() {
			r.piece = http1.PieceMore
			return r
		}
	}
}
