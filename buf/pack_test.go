package buf

import (
	"bytes"
	"testing"
)

// Small pieces of large blocks hold few blocks, whoever else has a part of those.
func TestPackHoldsFewBlocks(t *testing.T) {
	const block, pieces = 1024, 200
	p := NewPool(NewSliceMemory(1024*block, 64*block), block)
	var chains [3]Chain
	var want [3][]byte
	for i := range pieces {
		v, ok := p.Get()
		if !ok {
			t.Fatal("no block")
		}
		copy(p.Bytes(v), bytes.Repeat([]byte{byte(i)}, block))
		for k := range chains { // a part for each of them, and the rest has left
			part := v.Slice(uint32(k*20), uint32(10+k))
			want[k] = append(want[k], p.Bytes(part)...)
			p.Retain(v)
			p.Pack(&chains[k], part, true)
		}
		p.Release(v)
	}
	if n := p.InUse(); n > 3*(pieces*12/block+2)+1 {
		t.Errorf("%d pieces hold %d blocks", 3*pieces, n)
	}
	for k := range chains {
		got := make([]byte, chains[k].Bytes())
		if p.CopyOut(&chains[k], got); !bytes.Equal(got, want[k]) {
			t.Errorf("chain %d has other bytes than it was given", k)
		}
		p.Drop(&chains[k])
	}
	if n := p.InUse(); n != 0 {
		t.Errorf("%d blocks are in use at the end", n)
	}
}

// Without memory for a copy the piece is kept as it is.
func TestPackWithoutMemory(t *testing.T) {
	p := NewPool(NewSliceMemory(2*1024, 1024), 1024)
	var c Chain
	for _, b := range []byte("ab") {
		v, _ := p.Get()
		p.Bytes(v)[0] = b
		p.Pack(&c, v.Slice(0, 1), true)
	}
	got := make([]byte, 2)
	if p.CopyOut(&c, got); string(got) != "ab" {
		t.Errorf("%q", got)
	}
	p.Drop(&c)
	if n := p.InUse(); n != 0 {
		t.Errorf("%d blocks are in use at the end", n)
	}
}

// What comes between large pieces has no block for each of them, where it may not.
func TestPackBetweenLargePieces(t *testing.T) {
	const block, pieces = 1024, 50
	p := NewPool(NewSliceMemory(256*block, 64*block), block)
	var c Chain
	var want []byte
	for i := range pieces {
		v, ok := p.Get()
		if !ok {
			t.Fatal("no block")
		}
		b := p.Bytes(v)
		copy(b, bytes.Repeat([]byte{byte(i)}, block))
		p.Retain(v) // somebody else has a part of it
		p.Push(&c, v.Slice(1, block-1))
		want = append(want, b[1:]...)
		between := append(p.Reserve(2)[:0], "\r\n"...)
		want = append(want, between...)
		p.Pack(&c, p.Commit(len(between)), false)
		p.Pack(&c, v.Slice(0, 1), false)
		want = append(want, b[0])
	}
	if n := p.InUse(); n > pieces+1 {
		t.Errorf("%d pieces and what is between them hold %d blocks", pieces, n)
	}
	got := make([]byte, c.Bytes())
	if p.CopyOut(&c, got); !bytes.Equal(got, want) {
		t.Error("the chain has other bytes than it was given")
	}
	p.Drop(&c)
	if n := p.InUse(); n != 0 {
		t.Errorf("%d blocks are in use at the end", n)
	}
}
