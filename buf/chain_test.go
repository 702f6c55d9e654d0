package buf

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestChainSizes(t *testing.T) {
	if n := unsafe.Sizeof(Chain{}); n > 16 {
		t.Errorf("a chain takes %d bytes, 16 are promised", n)
	}
	if n := unsafe.Sizeof(node{}); n != 16 {
		t.Errorf("a node takes %d bytes, want 16", n)
	}
}

// text joins what is in c without consuming it, through iovecs as the kernel
// would.
func text(p *Pool, c *Chain) string {
	iov := make([]unix.Iovec, c.Len()+1)
	var out []byte
	for _, v := range iov[:p.Iovecs(c, iov)] {
		out = append(out, unsafe.Slice(v.Base, v.Len)...)
	}
	return string(out)
}

func message(t *testing.T, p *Pool, s string) View {
	t.Helper()
	return fill(p, mustGet(t, p), s)
}

func TestChainIsAFIFO(t *testing.T) {
	p := newPool(8, 8)
	var c Chain
	if !c.Empty() || c.Len() != 0 || c.Bytes() != 0 || p.Pop(&c) != (View{}) || p.Front(&c) != (View{}) {
		t.Fatal("the zero chain is not empty")
	}
	a, b, d := message(t, p, "aa"), message(t, p, "bbb"), message(t, p, "d")
	p.Push(&c, a)
	p.Push(&c, b)
	p.PushFront(&c, d)
	if c.Empty() || c.Len() != 3 || c.Bytes() != 6 || p.Front(&c) != d || text(p, &c) != "daabbb" {
		t.Fatalf("len %d bytes %d front %+v: %q", c.Len(), c.Bytes(), p.Front(&c), text(p, &c))
	}
	for _, want := range []View{d, a, b} {
		if got := p.Pop(&c); got != want || p.Refs(got) != 1 {
			t.Fatalf("got %+v, want %+v, with one reference", got, want)
		}
	}
	if !c.Empty() || c != (Chain{}) || p.InUse() != 3 {
		t.Fatalf("%+v, %d in use", c, p.InUse())
	}
	p.PushFront(&c, a)
	p.Push(&c, b)
	if text(p, &c) != "aabbb" {
		t.Fatalf("%q", text(p, &c))
	}
	p.Drop(&c)
	if c != (Chain{}) || p.InUse() != 1 || p.nodes.Len() != 0 {
		t.Fatalf("%+v, %d in use, %d nodes", c, p.InUse(), p.nodes.Len())
	}
}

func TestChainMergesWhatIsContiguous(t *testing.T) {
	p := newPool(8, 8)
	var c Chain
	v := message(t, p, "0123456789")
	p.Retain(v)
	p.Push(&c, v.Slice(0, 4))
	p.Push(&c, v.Slice(4, 3))
	if c.Len() != 1 || c.Bytes() != 7 || p.Refs(v) != 1 || p.Front(&c) != v.Slice(0, 7) {
		t.Fatalf("len %d bytes %d references %d front %+v", c.Len(), c.Bytes(), p.Refs(v), p.Front(&c))
	}
	p.Retain(v)
	p.Push(&c, v.Slice(8, 2)) // a gap
	other := message(t, p, "0123456789abc")
	p.Push(&c, other.Slice(10, 3)) // contiguous in number, in another block
	if c.Len() != 3 || text(p, &c) != "012345689abc" {
		t.Fatalf("len %d: %q", c.Len(), text(p, &c))
	}
	p.Drop(&c)
	if p.InUse() != 0 {
		t.Fatalf("%d in use", p.InUse())
	}
}

func TestChainTakesNoEmptyViews(t *testing.T) {
	p := newPool(2, 2)
	var c Chain
	p.Push(&c, View{})
	p.PushFront(&c, View{})
	p.Push(&c, mustGet(t, p).Slice(5, 0))
	p.PushFront(&c, mustGet(t, p).Slice(5, 0))
	if !c.Empty() || p.InUse() != 0 {
		t.Fatalf("%+v, %d in use", c, p.InUse())
	}
}

func TestConsume(t *testing.T) {
	p := newPool(8, 8)
	var c Chain
	a := message(t, p, "aaaa")
	p.Push(&c, a)
	p.Push(&c, message(t, p, "bbbb"))
	p.Push(&c, message(t, p, "cccc"))
	for _, step := range []struct {
		n, views, inUse int
		want            string
	}{
		{0, 3, 3, "aaaabbbbcccc"},
		{3, 3, 3, "abbbbcccc"},
		{1, 2, 2, "bbbbcccc"},
		{6, 1, 1, "cc"},
		{2, 0, 0, ""},
	} {
		p.Consume(&c, step.n)
		if c.Len() != step.views || p.InUse() != step.inUse || text(p, &c) != step.want || c.Bytes() != len(step.want) {
			t.Fatalf("after %d: %d views, %d in use, %q", step.n, c.Len(), p.InUse(), text(p, &c))
		}
	}
	mustPanic(t, "consume", func() { p.Consume(&c, 1) })
	mustPanic(t, "consume", func() { p.Consume(&c, -1) })
}

func TestMove(t *testing.T) {
	p := newPool(8, 8)
	var a, b Chain
	p.Move(&a, &b)
	if a != (Chain{}) {
		t.Fatalf("%+v", a)
	}
	p.Push(&b, message(t, p, "one "))
	p.Push(&b, message(t, p, "two "))
	p.Move(&a, &b) // to an empty chain
	p.Push(&b, message(t, p, "three"))
	p.Move(&a, &b) // to one that is not
	p.Move(&a, &b) // nothing
	if b != (Chain{}) || a.Len() != 3 || a.Bytes() != 13 || text(p, &a) != "one two three" {
		t.Fatalf("%+v %q", a, text(p, &a))
	}
	p.Push(&a, message(t, p, "!"))
	if text(p, &a) != "one two three!" {
		t.Fatalf("the tail is wrong after Move: %q", text(p, &a))
	}
	p.Drop(&a)
	if p.InUse() != 0 {
		t.Fatalf("%d in use", p.InUse())
	}
}

func TestIovecsAndCopyOutStopWhereDstEnds(t *testing.T) {
	p := newPool(8, 8)
	var c Chain
	var iov [2]unix.Iovec
	if n := p.Iovecs(&c, iov[:]); n != 0 {
		t.Fatalf("%d iovecs of nothing", n)
	}
	for _, s := range []string{"aaa", "bb", "c"} {
		p.Push(&c, message(t, p, s))
	}
	if n := p.Iovecs(&c, iov[:]); n != 2 || iov[0].Len != 3 || iov[1].Len != 2 || *iov[1].Base != 'b' {
		t.Fatalf("%d: %+v", n, iov)
	}
	if n := p.Iovecs(&c, nil); n != 0 {
		t.Fatalf("%d iovecs in no room", n)
	}
	for _, want := range []string{"", "aa", "aaab", "aaabbc"} {
		dst := make([]byte, len(want))
		if n := p.CopyOut(&c, dst); n != len(want) || string(dst) != want {
			t.Fatalf("%d bytes: %q, want %q", n, dst, want)
		}
	}
	dst := make([]byte, 10)
	if n := p.CopyOut(&c, dst); n != 6 || c.Bytes() != 6 {
		t.Fatalf("%d bytes, %d left", n, c.Bytes())
	}
	if got := p.Stats().Joins; got != 3 {
		t.Fatalf("%d joins counted, want the 3 that read from more than one view", got)
	}
}

// Random operations on several chains against plain byte slices: every byte in
// order, no block lost, no block with a wrong count.
func TestChainsAgainstModel(t *testing.T) {
	for seed := range uint64(50) {
		modelRun(t, seed)
		if t.Failed() {
			return
		}
	}
}

// chainModel is several chains beside the bytes each must have.
type chainModel struct {
	rnd    *rand.Rand
	p      *Pool
	chains [4]Chain
	model  [4][]byte
	stamp  byte
}

// write fills b with bytes that differ from those before.
func (m *chainModel) write(b []byte) {
	for i := range b {
		m.stamp++
		b[i] = m.stamp
	}
}

func modelRun(t *testing.T, seed uint64) {
	m := &chainModel{rnd: rand.New(rand.NewPCG(seed, 1)), p: newPool(64, 8)}
	p := m.p
	for op := range 2000 {
		m.step(t, seed)
		for k := range m.chains {
			if got := text(p, &m.chains[k]); got != string(m.model[k]) || m.chains[k].Bytes() != len(got) {
				t.Fatalf("seed %d, operation %d, chain %d:\n got %q\nwant %q", seed, op, k, got, m.model[k])
			}
		}
	}
	for k := range m.chains {
		p.Drop(&m.chains[k])
	}
	if p.InUse() != 0 || p.nodes.Len() != 0 || p.Free() != p.Stats().Blocks {
		t.Fatalf("seed %d: at rest %d blocks and %d nodes are in use", seed, p.InUse(), p.nodes.Len())
	}
}

// step does one thing at random, to a chain and to its bytes.
func (m *chainModel) step(t *testing.T, seed uint64) {
	rnd, p, model := m.rnd, m.p, &m.model
	i, j := rnd.IntN(4), rnd.IntN(4)
	c := &m.chains[i]
	switch rnd.IntN(9) {
	case 0: // a part of a block
		if v, ok := p.Get(); ok {
			v = v.Slice(uint32(rnd.IntN(20)), uint32(rnd.IntN(40)))
			m.write(p.Bytes(v))
			model[i] = append(model[i], p.Bytes(v)...)
			p.Push(c, v)
		}
	case 1: // a block shared by two chains
		if v, ok := p.Get(); ok {
			m.write(p.Bytes(v))
			cut := uint32(rnd.IntN(testBlock))
			p.Retain(v)
			model[i] = append(model[i], p.Bytes(v.Slice(0, cut))...)
			p.Push(c, v.Slice(0, cut))
			model[j] = append(model[j], p.Bytes(v.Slice(cut, testBlock-cut))...)
			p.Push(&m.chains[j], v.Slice(cut, testBlock-cut))
		}
	case 2, 3: // a small message
		if b := p.Reserve(rnd.IntN(30)); b != nil {
			m.write(b)
			v := p.Commit(rnd.IntN(len(b) + 1))
			if rnd.IntN(2) == 0 {
				model[i] = append(model[i], p.Bytes(v)...)
				p.Push(c, v)
			} else {
				model[i] = append(append([]byte(nil), p.Bytes(v)...), model[i]...)
				p.PushFront(c, v)
			}
		}
	case 4, 5:
		n := rnd.IntN(c.Bytes() + 1)
		p.Consume(c, n)
		model[i] = model[i][n:]
	case 6:
		if i != j {
			p.Move(c, &m.chains[j])
			model[i] = append(model[i], model[j]...)
			model[j] = nil
		}
	case 7: // received in parts
		if v := p.Pop(c); v.ID != 0 {
			model[i] = model[i][v.Len:]
			extra := make([]byte, rnd.IntN(10))
			m.write(extra)
			v, n := p.Extend(v, extra)
			model[i] = append(append([]byte(nil), p.Bytes(v)...), model[i]...)
			if n > 0 && !bytes.HasSuffix(p.Bytes(v), extra[:n]) {
				t.Fatalf("seed %d: extended by %q, have %q", seed, extra[:n], p.Bytes(v))
			}
			p.PushFront(c, v)
		}
	case 8:
		if rnd.IntN(4) == 0 {
			p.Drop(c)
			model[i] = nil
			p.Trim()
		}
	}
}

func TestNothingAllocates(t *testing.T) {
	p := newPool(64, 64)
	var c, d Chain
	iov := make([]unix.Iovec, 8)
	dst := make([]byte, 100)
	run := func() {
		v, _ := p.Get()
		p.Retain(v)
		p.Push(&c, v.Slice(0, 10))
		p.Push(&c, v.Slice(20, 10))
		copy(p.Reserve(20), "head")
		p.PushFront(&c, p.Commit(4))
		p.Move(&d, &c)
		p.Iovecs(&d, iov)
		p.CopyOut(&d, dst)
		p.Consume(&d, 7)
		p.Release(p.Pop(&d))
		p.Drop(&d)
		p.Trim()
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkGetRelease(b *testing.B) {
	p := newPool(64, 64)
	for b.Loop() {
		v, _ := p.Get()
		p.Release(v)
	}
}

func BenchmarkPushPop(b *testing.B) {
	p := newPool(64, 64)
	v, _ := p.Get()
	var c Chain
	for b.Loop() {
		p.Push(&c, v)
		v = p.Pop(&c)
	}
}

func BenchmarkReserveCommitConsume(b *testing.B) {
	p := newPool(64, 64)
	var c Chain
	for b.Loop() {
		p.Reserve(48)
		p.Push(&c, p.Commit(40))
		p.Consume(&c, 40)
	}
}

func BenchmarkBytes(b *testing.B) {
	p := newPool(64, 64)
	v, _ := p.Get()
	n := 0
	for b.Loop() {
		n += len(p.Bytes(v))
	}
}

// CopyIn writes over a chain what CopyOut then reads, whatever its pieces are.
func TestCopyIn(t *testing.T) {
	p := NewPool(NewSliceMemory(16<<12, 16<<12), 1<<12)
	var c Chain
	for _, n := range []int{1, 700, 4096, 3} {
		v, ok := p.Get()
		if !ok {
			t.Fatal("no block")
		}
		p.Push(&c, v.Slice(0, uint32(n)))
	}
	want := make([]byte, c.Bytes()-2)
	for i := range want {
		want[i] = byte(i * 7)
	}
	p.CopyIn(&c, want)
	got := make([]byte, len(want))
	if n := p.CopyOut(&c, got); n != len(want) || !bytes.Equal(got, want) {
		t.Errorf("%d of %d bytes, or others", n, len(want))
	}
	p.Drop(&c)
}
