package buf

import (
	"bytes"
	"testing"
)

// A SideAllocator keeps what it was given, shares blocks, and gives all of them back.
func TestSideAllocator(t *testing.T) {
	p := NewPool(NewSliceMemory(8*4096, 4096), 4096)
	var n SideAllocator
	var views []View
	note := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 300) }
	for i := range 40 {
		v := p.AllocSide(&n, note(i))
		if v.Len != 300 {
			t.Fatalf("note %d has %d bytes", i, v.Len)
		}
		views = append(views, v)
	}
	if got := p.InUse(); got != 4 { // 13 in a block
		t.Errorf("40 notes of 300 bytes hold %d blocks, want 4", got)
	}
	for i, v := range views {
		if !bytes.Equal(p.Bytes(v), note(i)) {
			t.Errorf("note %d has changed", i)
		}
	}
	if v := p.AllocSide(&n, nil); v.ID != 0 {
		t.Error("an empty note is a view")
	}
	if v := p.AllocSide(&n, make([]byte, 4097)); v.ID != 0 {
		t.Error("a note longer than a block is a view")
	}
	for _, v := range views[1:] {
		p.Release(v)
	}
	p.Tidy(&n)
	if got := p.InUse(); got != 1 {
		t.Errorf("one note is left, and %d blocks", got)
	}
	v := p.AllocSide(&n, note(7)) // there is a new block
	p.Tidy(&n)
	if !bytes.Equal(p.Bytes(v), note(7)) || !bytes.Equal(p.Bytes(views[0]), note(0)) {
		t.Error("a note has changed")
	}
	p.Release(v)
	p.Release(views[0])
	first := p.AllocSide(&n, note(1))
	p.Release(first)
	if again := p.AllocSide(&n, note(2)); again != first {
		t.Errorf("%+v: a block whose notes are gone is not begun again", again)
	} else {
		p.Release(again)
	}
	p.Tidy(&n)
	if got := p.InUse(); got != 0 {
		t.Errorf("%d blocks at the end", got)
	}
}

// Without memory there is no note, and nothing is lost.
func TestSideAllocatorWithoutMemory(t *testing.T) {
	p := NewPool(NewSliceMemory(4096, 4096), 4096)
	var n SideAllocator
	held, _ := p.Get()
	if v := p.AllocSide(&n, []byte("x")); v.ID != 0 {
		t.Error("a note without memory")
	}
	p.Release(held)
	full := p.AllocSide(&n, make([]byte, 4000))
	if v := p.AllocSide(&n, make([]byte, 4000)); v.ID != 0 {
		t.Error("a second block where there is one")
	}
	p.Release(full)
	p.Tidy(&n)
	if got := p.InUse(); got != 0 {
		t.Errorf("%d blocks at the end", got)
	}
}
