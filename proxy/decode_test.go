package proxy

import (
	"bufio"
	"bytes"
	"io"
	"net/http/httputil"
	"testing"

	"zproxy/proto"
	"zproxy/proto/http1"
)

// FuzzDecodeBody: taking the chunks off in place gives the bytes that
// net/http's reader gives, wherever the blocks they came in end.
func FuzzDecodeBody(f *testing.F) {
	f.Add([]byte("5\r\nhello\r\n0\r\n\r\n"), uint64(0))
	f.Add([]byte("1\r\na\r\n1;x=\"y\"\r\nb\r\n3\r\ncde\r\n00\r\nX: y\r\n\r\nGET / "), uint64(1))
	f.Add([]byte("a\r\n0123456789\r\n1\r\n!\r\n0\r\n\r\n"), uint64(0x123456))
	f.Fuzz(func(t *testing.T, in []byte, cuts uint64) {
		whole, done := decodeInBlocks(in, 0)
		pieces, doneInPieces := decodeInBlocks(in, cuts)
		// Before a fault, more or less of what was whole may have been given.
		n := min(len(whole), len(pieces))
		if done != doneInPieces || !bytes.Equal(whole[:n], pieces[:n]) || done && len(whole) != len(pieces) {
			t.Fatalf("%q: %q (%v) in one block, %q (%v) in pieces of %x", in, whole, done, pieces, doneInPieces, cuts)
		}
		if !done {
			return
		}
		theirs, err := io.ReadAll(httputil.NewChunkedReader(bufio.NewReader(bytes.NewReader(in))))
		if spaced := bytes.Contains(in, []byte(" ;")) || bytes.Contains(in, []byte("\t;")); err != nil && spaced {
			return // valid, and refused there
		}
		if err != nil || !bytes.Equal(whole, theirs) {
			t.Fatalf("%q: %q here, %q (%v) there", in, whole, theirs, err)
		}
	})
}

// decodeInBlocks decodes in block by block, whose ends follow from cuts (0:
// one block), and says whether the last chunk was there. Nothing but a block's
// own bytes may be written.
func decodeInBlocks(in []byte, cuts uint64) (data []byte, done bool) {
	var d http1.Body
	d.Start(proto.BodyChunked, -1)
	for rest := bytes.Clone(in); len(rest) > 0; {
		n := len(rest)
		if cuts != 0 {
			n = min(n, 1+int(cuts%7))
			cuts = cuts>>3 | cuts<<61
		}
		block := rest[:n:n]
		for len(block) > 0 {
			r := decodeBody(&d, block)
			if r.fault != nil {
				return data, false
			}
			data = append(data, block[r.at:r.at+r.n]...)
			if r.piece == http1.PieceTrailers {
				return data, true
			}
			block = block[r.used:]
		}
		rest = rest[n:]
	}
	return data, false
}
