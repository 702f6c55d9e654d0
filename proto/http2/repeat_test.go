package http2

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"

	"zproxy/proto"
)

// keeps says whether the session has kept a block of a mode.
func (r *rig) keeps(mode sectionMode) bool {
	return r.s.repeats != nil && len(r.s.repeats.kept[repeatOf(mode)].block) > 0
}

// feedBlock feeds one field block as it is, and tells what came of it and the head.
func (r *rig) feedBlock(id uint32, end bool, block string) ([]string, proto.Head) {
	bits := uint8(bitEndHeaders)
	if end {
		bits |= bitEndStream
	}
	r.raw(len(block), frameHeaders, bits, id, block)
	events := r.feed()
	h := *r.s.Head()
	h.Buf, h.Fields = bytes.Clone(h.Buf), slices.Clone(h.Fields)
	return events, h
}

// TestRepeatedBlocks: a block that comes again means the same again, until the
// table changes.
func TestRepeatedBlocks(t *testing.T) {
	const inTable = "\x82\x87\x84\xbf\xbe" // GET https /, and the two youngest entries
	r := server(t, nil)
	r.headers(1, true, append(getFields[:8:8], "x", "old")...)
	r.feed()
	id := uint32(1)
	ask := func(block, want string, kept bool) {
		t.Helper()
		id += 2
		events, _ := r.feedBlock(id, true, block)
		if want = fmt.Sprintf("head %d GET https %s END", id, want); len(events) != 1 || events[0] != want {
			t.Fatalf("%q, want %q", events, want)
		}
		if got := r.keeps(sectionRequest); got != kept {
			t.Fatalf("stream %d: the block is kept: %v, want %v", id, got, kept)
		}
	}
	const old = "a.example / [x: old]"
	ask(inTable, old, false)
	for range 4 {
		ask(inTable, old, true) // from the second time in a row on
	}
	ask("\x82\x87\x84\x41\x01b\x40\x01x\x03new", "b / [x: new]", false) // puts two into the table
	ask(inTable, "b / [x: new]", false)
	for range 3 {
		ask(inTable, "b / [x: new]", true)
	}
	ask("\x3f\xe1\x1f"+inTable, "b / [x: new]", false) // the table has the size it had
	ask(inTable, "b / [x: new]", false)
	ask(inTable, "b / [x: new]", true)
	for i := range repeatMisses + 1 {
		c := string(rune('a' + i%26))
		ask("\x82\x87\x84\x01\x01"+c, c+" /", i < repeatMisses-1)
	}
}

// TestRepeatedBlockEnds: whether a stream ends with its head is not said by the
// block.
func TestRepeatedBlockEnds(t *testing.T) {
	const post = "\x83\x87\x84\x01\x01a"
	r := server(t, nil)
	for i, end := range []bool{true, true, true, false, false, true, false, true, true, true, false} {
		events, h := r.feedBlock(uint32(2*i+1), end, post)
		if len(events) != 1 || end != (h.Body == proto.BodyNone) || end == (h.Body == proto.BodyChunked) {
			t.Errorf("request %d, end %v: %q, body %v", i, end, events, h.Body)
		}
	}
	if !r.keeps(sectionRequest) || !r.s.repeats.kept[0].section.ended {
		t.Error("nothing was kept, or not to the end")
	}
}

// TestRepeatedAmongOthers: others between them do no harm, as long as it does
// come again.
func TestRepeatedAmongOthers(t *testing.T) {
	const same = "\x82\x87\x84\x01\x01a"
	r := server(t, nil)
	r.feedBlock(1, true, same)
	r.feedBlock(3, true, same)
	for i := range 3 * repeatMisses {
		r.feedBlock(uint32(4*i+5), true, "\x82\x87\x84\x01\x02b"+string(rune('a'+i%26)))
		r.feedBlock(uint32(4*i+7), true, same)
		if !r.keeps(sectionRequest) || string(r.s.repeats.kept[0].block) != same || r.s.repeats.misses != 0 {
			t.Fatalf("after %d others it is not kept", i+1)
		}
	}
}

// TestRepeatedAbuse: what counts against a peer counts each time.
func TestRepeatedAbuse(t *testing.T) {
	r := server(t, func(c *Config) { c.HeadBytes = 200 })
	for i := range uint32(5) {
		r.feedBlock(2*i+1, true, "\x82\x87\x84\x01\x01a\x00\x01x\x7f\x00"+strings.Repeat("x", 127))
		if got := r.s.Abuse[AbuseHeadTooLarge]; got != i+1 {
			t.Errorf("%d counted after %d", got, i+1)
		}
	}
}

// TestRepeatedFieldsAreOwned: what is done to a head does not show in the next.
func TestRepeatedFieldsAreOwned(t *testing.T) {
	r := server(t, nil)
	for i := range 5 {
		r.feedBlock(uint32(2*i+1), true, "\x82\x87\x84\x01\x01a\x00\x01x\x01y\x00\x01z\x01z")
		h := r.s.Head()
		if len(h.Fields) != 2 || h.Fields[0].Flags != 0 || string(h.Bytes(h.Fields[0].Value)) != "y" || string(h.Bytes(h.Host)) != "a" {
			t.Fatalf("request %d: %s", i, tellHead(h))
		}
		h.Fields[0].Flags = proto.FlagDrop
		h.Fields = append(h.Fields[:1], h.Fields[0])
		clear(h.Buf)
	}
	if !r.keeps(sectionRequest) {
		t.Error("nothing was kept")
	}
}

// TestRepeatedResponses: heads and trailers of an origin that answers the same
// each time, as those of gRPC do, are kept both.
func TestRepeatedResponses(t *testing.T) {
	r := client(t, nil)
	for i := range 6 {
		id := r.streams.At(r.request(uint32(i)+1, "POST", true)).ID
		for _, c := range []struct {
			block, want string
			end         bool
		}{
			{"\x88\x00\x01a\x01b", "200", false},
			{"\x00\x0bgrpc-status\x010", "", true},
		} {
			events, h := r.feedBlock(id, c.end, c.block)
			if len(events) != 1 || c.end != (h.Status == 0) || len(h.Fields) != 1 {
				t.Fatalf("answer %d: %q", i, events)
			}
		}
	}
	if !r.keeps(sectionResponse) || !r.keeps(sectionTrailers) {
		t.Error("head or trailers were not kept")
	}
}

// FuzzRepeats: a session that keeps blocks tells what one tells that keeps none,
// whatever the blocks do to the table, and whichever comes again.
func FuzzRepeats(f *testing.F) {
	f.Add([]byte{0, 1, 1, 1, 1, 7, 1, 1, 1})
	f.Add([]byte{0x10, 0x10, 0x21, 0x80, 0x80, 0x80, 0x55, 0x80, 0x80, 0xff, 0x80})
	f.Fuzz(func(t *testing.T, ops []byte) { agree(t, ops) })
}

// TestRepeatsAgree is that with many blocks that were drawn.
func TestRepeatsAgree(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	kept := 0
	for range 2000 {
		ops := make([]byte, 60)
		for i := range ops {
			if ops[i] = byte(rnd.Uint32()); i > 2 && rnd.IntN(3) > 0 {
				ops[i] = 0x80 | byte(rnd.IntN(3)) | ops[i]&0x20 // one of the last few again
			}
		}
		kept += agree(t, ops)
	}
	if kept < 1000 {
		t.Errorf("a block was kept %d times", kept)
	}
}

// agree feeds two sessions the blocks that ops stand for, and gives how often
// one of them kept one.
func agree(t *testing.T, ops []byte) (kept int) {
	keeps, plain := server(t, nil), server(t, nil)
	names := []string{"x", "cookie", "te", "content-length", "user-agent", ":path"}
	values := []string{"trailers", "0", "a", "/", "a=b", "10"}
	var blocks []string
	id := uint32(1)
	for i, op := range ops {
		if i > 200 || keeps.end != "" {
			return kept
		}
		block := ""
		switch {
		case op >= 0x80 && len(blocks) > 0: // one that was before
			block = blocks[len(blocks)-1-int(op&0x1f)%len(blocks)]
		case op >= 0x60: // and the same, spoilt
			if len(blocks) > 0 {
				b := []byte(blocks[len(blocks)-1])
				b[int(op&0x1f)%len(b)] ^= byte(i)
				block = string(b)
			}
		case op >= 0x40:
			keeps.enc.SetMaxDynamicTableSize(uint32(op&0x1f) * 40)
			continue
		default:
			keeps.blk.Reset()
			fields := append(getFields[:8:8], names[op%6], values[op/6%6], names[op/2%6], values[op/3%6])
			for j := 0; j < len(fields); j += 2 {
				keeps.enc.WriteField(hpack.HeaderField{Name: fields[j], Value: fields[j+1], Sensitive: int(op)&j != 0})
			}
			block = keeps.blk.String()
		}
		if block == "" {
			continue
		}
		blocks = append(blocks, block)
		end := op&0x20 == 0
		plain.s.repeats, plain.s.hints = nil, [2]uint32{}
		got, gotHead := keeps.feedBlock(id, end, block)
		want, wantHead := plain.feedBlock(id, end, block)
		if !slices.Equal(got, want) || !reflect.DeepEqual(gotHead, wantHead) {
			t.Fatalf("block %d (%x), kept %v:\n%q\n%q\n%+v\n%+v", i, block, keeps.keeps(sectionRequest), got, want, gotHead, wantHead)
		}
		if keeps.keeps(sectionRequest) {
			kept++
		}
		if i%5 != 4 { // else the next are trailers, if the stream is still there
			id += 2
		}
	}
	return kept
}
