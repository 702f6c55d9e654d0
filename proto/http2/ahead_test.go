package http2

import (
	"bytes"
	"testing"

	xnet "golang.org/x/net/http2"
)

func TestAhead(t *testing.T) {
	var out bytes.Buffer
	fr := xnet.NewFramer(&out, nil)
	for _, id := range []uint32{3, 11, 13, 9 + 2*aheadMax - 2, 9 + 2*aheadMax} {
		fr.WriteData(id, false, []byte("RST"))
		fr.WriteHeaders(xnet.HeadersFrameParam{StreamID: id + 4, BlockFragment: []byte{0x82}})
		fr.WriteRSTStream(id, xnet.ErrCodeCancel)
	}
	fr.WriteRawFrame(frameReset, 0, 21, []byte{0, 0, 8}) // an error of the connection: it resets no stream
	whole := out.Len()
	fr.WriteRSTStream(23, xnet.ErrCodeCancel)
	b := out.Bytes()
	for _, c := range []struct {
		name string
		b    []byte
		want map[uint32]bool
	}{
		{"all", b, map[uint32]bool{11: true, 13: true, 9 + 2*aheadMax - 2: true, 23: true}},
		{"the last one is not there whole", b[:len(b)-1], map[uint32]bool{11: true, 13: true, 9 + 2*aheadMax - 2: true}},
		{"nor its header", b[:whole+5], map[uint32]bool{11: true, 13: true, 9 + 2*aheadMax - 2: true}},
		{"nothing", nil, nil},
	} {
		var a Ahead
		a.Look(b, 1)
		if !a.Has(3) {
			t.Fatal("3 is not seen from 1 on")
		}
		a.Look(c.b, 9)
		for id := uint32(1); id < 4*aheadMax; id += 2 {
			if a.Has(id) != c.want[id] {
				t.Errorf("%s: reset of %d: %v", c.name, id, a.Has(id))
			}
		}
		if a.Forget(); a.Has(11) {
			t.Errorf("%s: not forgotten", c.name)
		}
	}
}
