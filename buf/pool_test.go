package buf

import (
	"bytes"
	"strings"
	"testing"
)

const testBlock = 64

// newPool has blocks of 64 bytes: max of them, step at a time.
func newPool(max, step int) *Pool {
	return NewPool(NewSliceMemory(max*testBlock, step*testBlock), testBlock)
}

// mustPanic runs f and checks that it panics with a text that contains want.
func mustPanic(t *testing.T, want string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		r := recover()
		if s, ok := r.(string); !ok || !strings.Contains(s, want) {
			t.Errorf("panic %v, want one about %q", r, want)
		}
	}()
	f()
}

func mustGet(t *testing.T, p *Pool) View {
	t.Helper()
	v, ok := p.Get()
	if !ok {
		t.Fatal("no block")
	}
	return v
}

func fill(p *Pool, v View, text string) View {
	v.Len = uint32(copy(p.Bytes(v), text))
	return v
}

func TestGetGrowsByStepsUpToTheLimit(t *testing.T) {
	p := newPool(5, 2)
	if s := p.Stats(); s.Blocks != 0 || p.Free() != 0 {
		t.Fatalf("memory was taken before it was needed: %+v", s)
	}
	seen := map[uint32]bool{}
	for i, blocks := range []int{2, 2, 4, 4, 5} {
		v := mustGet(t, p)
		if v.ID == 0 || seen[v.ID] || v.Off != 0 || v.Len != testBlock || p.Refs(v) != 1 {
			t.Fatalf("block %d: %+v with %d references", i, v, p.Refs(v))
		}
		seen[v.ID] = true
		if s := p.Stats(); s.Blocks != blocks || s.InUse != i+1 || p.Free() != blocks-i-1 {
			t.Fatalf("block %d: %+v, free %d", i, s, p.Free())
		}
		b := p.Bytes(v)
		if len(b) != testBlock || cap(b) != testBlock {
			t.Fatalf("len %d cap %d", len(b), cap(b))
		}
		for k := range b {
			if b[k] != 0 {
				t.Fatalf("block %d overlaps another", i)
			}
			b[k] = byte(i + 1)
		}
	}
	if v, ok := p.Get(); ok {
		t.Fatalf("%+v beyond the limit", v)
	}
	if s := p.Stats(); s.Exhausted != 1 || s.Grown != 3 || s.InUseHigh != 5 {
		t.Fatalf("%+v", s)
	}
}

func TestReleasedBlockIsTheNextGivenOut(t *testing.T) {
	p := newPool(8, 8)
	a, b, c := mustGet(t, p), mustGet(t, p), mustGet(t, p)
	p.Release(a)
	p.Release(c)
	p.Release(b)
	for _, want := range []View{b, c, a} {
		if got := mustGet(t, p); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if s := p.Stats(); s.InUseHigh != 3 || s.InUse != 3 {
		t.Errorf("%+v", s)
	}
}

func TestReferences(t *testing.T) {
	p := newPool(2, 2)
	v := mustGet(t, p)
	p.Retain(v.Slice(3, 4))
	if p.Refs(v) != 2 {
		t.Fatalf("%d references", p.Refs(v))
	}
	p.Release(v.Slice(3, 4))
	if p.Refs(v) != 1 || p.InUse() != 1 {
		t.Fatalf("%d references", p.Refs(v))
	}
	p.Release(v)
	if p.Refs(v) != 0 || p.InUse() != 0 {
		t.Fatalf("%d references", p.Refs(v))
	}
	mustPanic(t, "no reference", func() { p.Release(v) })
	mustPanic(t, "no reference", func() { p.Retain(v) })
	mustPanic(t, "no reference", func() { p.Release(View{ID: 2}) }) // never given out
	mustPanic(t, "no reference", func() { p.Retain(View{}) })
	p.Release(View{})
	if got := mustGet(t, p); got != v {
		t.Errorf("the panics changed the pool: %+v", got)
	}
}

func TestBytesLiesWithinTheBlock(t *testing.T) {
	p := newPool(3, 3)
	mustGet(t, p)
	v := mustGet(t, p)
	copy(p.Bytes(v), "0123456789")
	b := p.Bytes(v.Slice(2, 3))
	if string(b) != "234" || cap(b) != 3 {
		t.Errorf("%q cap %d", b, cap(b))
	}
	if got := p.Bytes(View{}); len(got) != 0 {
		t.Errorf("no view has bytes %q", got)
	}
	b = append(b, "xyz"...)
	if got := p.Bytes(v)[:8]; string(got) != "01234567" {
		t.Errorf("appending to %q wrote into the block: %q", b, got)
	}
}

func TestExtend(t *testing.T) {
	p := newPool(2, 2)
	v := mustGet(t, p).Slice(10, 0)
	v, n := p.Extend(v, []byte("hello "))
	if n != 6 {
		t.Fatalf("copied %d", n)
	}
	v, n = p.Extend(v, []byte("world"))
	if got := string(p.Bytes(v)); n != 5 || got != "hello world" || v.Off != 10 {
		t.Fatalf("copied %d, have %q at %d", n, got, v.Off)
	}
	p.Retain(v)
	if w, n := p.Extend(v, []byte("!")); n != 0 || w != v {
		t.Fatalf("a shared block was written to: %+v, %d", w, n)
	}
	p.Release(v)
	next := mustGet(t, p)
	v, n = p.Extend(v, bytes.Repeat([]byte("x"), 100))
	if n != testBlock-10-11 || v.Off+v.Len != testBlock {
		t.Fatalf("copied %d up to %d", n, v.Off+v.Len)
	}
	if got := p.Bytes(next)[0]; got != 0 {
		t.Fatal("wrote into the next block")
	}
	if _, n := p.Extend(v, []byte("x")); n != 0 {
		t.Fatalf("copied %d into a full block", n)
	}
}

func TestMessagesShareABlock(t *testing.T) {
	p := newPool(2, 2)
	copy(p.Reserve(40), "first")
	a := p.Commit(5)
	copy(p.Reserve(40), "second")
	b := p.Commit(6)
	if a.ID != b.ID || a.Off+a.Len != b.Off {
		t.Fatalf("%+v and %+v are not one behind the other", a, b)
	}
	if string(p.Bytes(a)) != "first" || string(p.Bytes(b)) != "second" {
		t.Fatalf("%q %q", p.Bytes(a), p.Bytes(b))
	}
	if _, n := p.Extend(b, []byte("x")); n != 0 {
		t.Fatal("the space behind a message is the pool's")
	}
	copy(p.Reserve(60), "third")
	c := p.Commit(5)
	if c.ID == a.ID || c.Off != 0 {
		t.Fatalf("%+v does not fit behind %+v", c, b)
	}
	if p.InUse() != 2 {
		t.Fatalf("%d in use", p.InUse())
	}
	p.Release(a)
	p.Release(b)
	if p.InUse() != 1 || p.Refs(a) != 0 {
		t.Fatalf("the first block stays with %d references", p.Refs(a))
	}
	p.Release(c)
	if p.InUse() != 0 || p.Free() != 2 {
		t.Fatalf("at rest: %d in use, %d free", p.InUse(), p.Free())
	}
	copy(p.Reserve(64), "fourth")
	if d := p.Commit(6); d.ID != c.ID || d.Off != 0 {
		t.Fatalf("%+v: an empty block is begun anew", d)
	}
}

func TestReserveAndCommitLimits(t *testing.T) {
	p := newPool(1, 1)
	if p.Reserve(testBlock+1) != nil || p.Reserve(-1) != nil {
		t.Fatal("more than a block")
	}
	if b := p.Reserve(testBlock); len(b) != testBlock || cap(b) != testBlock {
		t.Fatalf("len %d cap %d", len(b), cap(b))
	}
	mustPanic(t, "reserved", func() { p.Commit(testBlock + 1) })
	mustPanic(t, "reserved", func() { p.Commit(-1) })
	if v := p.Commit(0); v != (View{}) || p.InUse() != 0 {
		t.Fatalf("%+v: an empty message is none", v)
	}
	mustPanic(t, "reserved", func() { p.Commit(1) })
	p.Reserve(10)
	v := p.Commit(10)
	mustPanic(t, "reserved", func() { p.Commit(1) })
	if p.Reserve(testBlock) != nil {
		t.Fatal("a reservation on top of a message")
	}
	if got := p.Stats().Exhausted; got != 1 {
		t.Fatalf("exhausted %d times", got)
	}
	p.Reserve(20) // given up: its message was never committed
	p.Release(v)
	if p.Reserve(testBlock) == nil {
		t.Fatal("no memory though all of it is free")
	}
}

// At the limit the pool must not keep a block for messages that nobody sends.
func TestGetTakesTheIdleMessageBlock(t *testing.T) {
	p := newPool(1, 1)
	p.Reserve(8)
	if _, ok := p.Get(); ok {
		t.Fatal("a block with a reservation was given out")
	}
	v := p.Commit(8)
	if _, ok := p.Get(); ok {
		t.Fatal("a block with a message was given out")
	}
	p.Release(v)
	w := mustGet(t, p)
	if w.Len != testBlock || p.Refs(w) != 1 || p.InUse() != 1 || p.Free() != 0 {
		t.Fatalf("%+v: %d references, %d in use", w, p.Refs(w), p.InUse())
	}
	if p.Reserve(1) != nil {
		t.Fatal("reserved in somebody's block")
	}
	p.Release(w)
	if p.InUse() != 0 || p.Free() != 1 {
		t.Fatalf("%d in use, %d free", p.InUse(), p.Free())
	}
}

func TestTrimGivesFreeStepsBack(t *testing.T) {
	m := NewSliceMemory(8*testBlock, 2*testBlock)
	p := NewPool(m, testBlock)
	var views []View
	for range 8 {
		views = append(views, mustGet(t, p))
	}
	p.Trim()
	if p.Stats().Blocks != 8 {
		t.Fatal("blocks in use were given back")
	}
	for _, i := range []int{7, 0, 5, 1, 6, 3} { // 2 and 4 stay: steps 2 and 3 of 4
		p.Release(views[i])
	}
	p.Trim()
	if s := p.Stats(); s.Blocks != 6 || s.Shrunk != 1 || m.Committed() != 6*testBlock {
		t.Fatalf("%+v, committed %d", s, m.Committed())
	}
	for _, want := range []uint32{1, 2, 4, 6} {
		if got := mustGet(t, p); got.ID != want {
			t.Fatalf("block %d, want the lowest free one, %d", got.ID, want)
		}
	}
	for i, want := range []uint32{7, 8} {
		if v := mustGet(t, p); v.ID != want || p.Stats().Grown != 5 {
			t.Fatalf("after growing again, block %d: %+v, %+v", i, v, p.Stats())
		}
	}
	for id := uint32(1); id <= 8; id++ {
		p.Release(View{ID: id})
	}
	p.Trim()
	if s := p.Stats(); s.Blocks != 2 || m.Committed() != 2*testBlock || p.Free() != 2 {
		t.Fatalf("one step stays: %+v, committed %d", s, m.Committed())
	}
	p.Trim()
	if p.Stats().Blocks != 2 {
		t.Fatal("the last step was given back")
	}
}

func TestTrimTakesTheIdleMessageBlock(t *testing.T) {
	p := newPool(4, 2)
	a, b := mustGet(t, p), mustGet(t, p)
	p.Reserve(8)
	v := p.Commit(8) // in the second step
	p.Release(a)
	p.Release(b)
	p.Trim()
	if p.Stats().Blocks != 4 || string(p.Bytes(v)) != strings.Repeat("\x00", 8) {
		t.Fatal("the block of a message that is on its way was given back")
	}
	p.Release(v)
	p.Trim()
	if s := p.Stats(); s.Blocks != 2 || s.InUse != 0 {
		t.Fatalf("%+v", s)
	}
	if b := p.Reserve(8); b == nil {
		t.Fatal("no message after trimming")
	}
}

// A step that is no multiple of the block leaves a block half committed, which
// must be neither given out nor kept.
func TestBlocksAcrossSteps(t *testing.T) {
	m := NewSliceMemory(10*testBlock, 2*testBlock+testBlock/2)
	p := NewPool(m, testBlock)
	var views []View
	for i, blocks := range []int{2, 2, 5, 5, 5, 7, 7, 10, 10, 10} {
		v := mustGet(t, p)
		if p.Stats().Blocks != blocks || int(v.ID)*testBlock > m.Committed() {
			t.Fatalf("block %d: %d blocks, ID %d, committed %d", i, p.Stats().Blocks, v.ID, m.Committed())
		}
		views = append(views, v)
	}
	for _, v := range views[2:] {
		p.Release(v)
	}
	p.Trim()
	if p.Stats().Blocks != 2 || m.Committed() != 2*testBlock+testBlock/2 {
		t.Fatalf("%d blocks, committed %d", p.Stats().Blocks, m.Committed())
	}
}

func TestPoolOverMemoryThatIsAlreadyCommitted(t *testing.T) {
	m := NewSliceMemory(4*testBlock, 2*testBlock)
	m.Grow()
	p := NewPool(m, testBlock)
	if p.Free() != 2 || p.Stats().Grown != 0 {
		t.Fatalf("%+v", p.Stats())
	}
	for range 4 {
		mustGet(t, p)
	}
	if _, ok := p.Get(); ok {
		t.Fatal("beyond the limit")
	}
}

func TestSliceMemory(t *testing.T) {
	m := NewSliceMemory(5, 2)
	for _, want := range []int{2, 4, 5} {
		if !m.Grow() || m.Committed() != want {
			t.Fatalf("committed %d, want %d", m.Committed(), want)
		}
	}
	if m.Grow() || len(m.Bytes()) != 5 {
		t.Fatal("grew beyond the limit")
	}
	for _, want := range []int{4, 2, 0} {
		if !m.Shrink() || m.Committed() != want {
			t.Fatalf("committed %d, want %d", m.Committed(), want)
		}
	}
	if m.Shrink() {
		t.Fatal("shrank below nothing")
	}
}

func TestNewPoolChecksTheBlockSize(t *testing.T) {
	for _, n := range []int{0, -1, 1<<30 + 1} {
		mustPanic(t, "block size", func() { NewPool(NewSliceMemory(1, 1), n) })
	}
}
