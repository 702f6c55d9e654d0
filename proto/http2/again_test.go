package http2

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"zproxy/proto"
)

// mark does what owners of heads do.
func mark(r *rig) {
	for i := range r.s.Head().Fields {
		r.s.Head().Fields[i].Flags |= proto.FlagDrop
	}
}

// told is what a session says of a block, on the stream after the last one, with
// the marks that fields came with.
func told(r *rig, block string, bits uint8) string {
	id := r.s.maxID + 2 - 1&^r.s.maxID
	r.raw(len(block), frameHeaders, bitEndHeaders|bits, id, block)
	text := strings.Replace(fmt.Sprint(r.feed()), fmt.Sprint("head ", id), "head", 1)
	for _, f := range r.s.Head().Fields {
		text += fmt.Sprint(" ", f.Flags)
	}
	mark(r)
	if i := r.s.Find(id); i != 0 {
		r.s.Reset(i, ErrNo)
	}
	return text
}

// A block that comes again says what it said, whatever became of the head, until
// the table or what it is for is another.
func TestBlocksThatComeAgain(t *testing.T) {
	const get = "\x82\x86\x84\x01\x01a\xbe"
	insert := func(value string) string { return "\x82\x86\x84\x01\x01a\x40\x01x" + string(rune(len(value))) + value }
	r := server(t, nil)
	told(r, insert("first"), bitEndStream)
	want := told(r, get, bitEndStream)
	for n := range 5 {
		if got := told(r, get, bitEndStream); got != want {
			t.Fatalf("time %d: %s, want %s", n+2, got, want)
		}
	}
	if !r.scratch.again.known {
		t.Error("it is still decoded every time")
	}
	if got := told(r, get, 0); got == want || r.scratch.again.known {
		t.Errorf("without its end: %s", got)
	}
	for range 3 {
		told(r, get, bitEndStream)
	}
	told(r, insert("other"), bitEndStream)
	if got := told(r, get, bitEndStream); got == want {
		t.Errorf("with another entry in the table: %s", got)
	}
	for range 3 {
		told(r, insert("same"), bitEndStream)
	}
	if r.scratch.again.known {
		t.Error("a block that changes the table is not decoded")
	}
	r.s.Release()
	if r.scratch.again.of != nil {
		t.Error("the session is not let go of")
	}
	new(Session).Release() // of a connection that did not come about
}

// Sessions that share a worker tell the same as sessions that share nothing.
func TestBlocksThatComeAgainElsewhere(t *testing.T) {
	blocks := []string{"\x82\x86\x84\x01\x01a", "\x82\x86\x84\x01\x01a\xbe", "\x82\x86\x84\x01\x01a\x40\x01x\x01y", "\x83\x86\x84\x01\x01a\x40\x01x\x01z", "\x20\x3f\xe1\x1f\x82\x86\x84\x01\x01a"}
	bits := []uint8{0, bitEndStream}
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var scratch Scratch
		shared, alone := make([]*rig, 3), make([]*rig, 3)
		for i := range shared {
			shared[i], alone[i] = server(t, nil), server(t, nil)
			shared[i].s.scratch = &scratch
			told(shared[i], blocks[2], 0)
			told(alone[i], blocks[2], 0)
		}
		hits := 0
		for range 300 {
			i, b, end := rng.IntN(3), blocks[rng.IntN(len(blocks))], bits[rng.IntN(2)]
			for n := rng.IntN(5); n > 0 && shared[i].end == ""; n-- {
				alone[i].scratch.again = again{}
				got, want := told(shared[i], b, end), told(alone[i], b, end)
				if got != want {
					t.Fatalf("seed %d: %q: %s, want %s", seed, b, got, want)
				}
				if scratch.again.known {
					hits++
				}
			}
			if shared[i].end != "" || alone[i].end != "" { // a name for an entry that is not there any more
				shared[i], alone[i] = server(t, nil), server(t, nil)
				shared[i].s.scratch = &scratch
			}
		}
		if hits == 0 {
			t.Errorf("seed %d: everything is decoded", seed)
		}
	}
}

// What a response means depends on its request.
func TestResponsesThatComeAgain(t *testing.T) {
	r := client(t, nil)
	for n, method := range []string{"GET", "GET", "GET", "HEAD", "GET", "HEAD", "HEAD", "HEAD"} {
		r.request(uint32(n+1), method, true)
		r.out = nil
		r.raw(4, frameHeaders, bitEndHeaders, id(n), "\x88\x5c\x01"+"7")
		r.feed()
		want := proto.BodyLength
		if method == "HEAD" {
			want = proto.BodyNone
		}
		if h := r.s.Head(); h.Body != want || h.Status != 200 {
			t.Errorf("%s, response %d: body %v", method, n, h.Body)
		}
	}
}
