package buf

import (
	"bytes"
	"testing"
)

// A trickle of single bytes must fill blocks, not take one each.
func TestCoalesceFillsBlocks(t *testing.T) {
	p := NewPool(NewSliceMemory(64<<10, 4<<10), 1<<10)
	var c Chain
	var want []byte
	for i := range 3000 {
		v, ok := p.Get()
		if !ok {
			t.Fatal("no block")
		}
		p.Bytes(v)[0] = byte(i)
		want = append(want, byte(i))
		p.Coalesce(&c, v.Slice(0, 1))
	}
	if c.Len() != 3 || p.InUse() != 3 || c.Bytes() != 3000 {
		t.Fatalf("%d views, %d blocks, %d bytes; want 3, 3, 3000", c.Len(), p.InUse(), c.Bytes())
	}
	got := make([]byte, 3000)
	p.CopyOut(&c, got)
	if !bytes.Equal(got, want) {
		t.Fatal("bytes differ")
	}
	p.Drop(&c)
	if p.InUse() != 0 {
		t.Fatalf("%d blocks left in use", p.InUse())
	}
}

// A shared block must not be written to: its other holder may have the bytes
// behind the view.
func TestCoalesceLeavesSharedBlocks(t *testing.T) {
	p := NewPool(NewSliceMemory(64<<10, 4<<10), 1<<10)
	var c Chain
	a, _ := p.Get()
	copy(p.Bytes(a), "abc")
	p.Retain(a)
	p.Push(&c, a.Slice(0, 1))
	b, _ := p.Get()
	p.Bytes(b)[0] = 'x'
	p.Coalesce(&c, b.Slice(0, 1))
	if string(p.Bytes(a)[:3]) != "abc" || c.Len() != 2 {
		t.Fatalf("shared block holds %q, %d views", p.Bytes(a)[:3], c.Len())
	}
	p.Drop(&c)
	p.Release(a)
}
