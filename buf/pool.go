package buf

import (
	"zproxy/internal/assert"
	"zproxy/internal/slab"
)

// View is a range of bytes in one block of one pool. It holds no pointer; the
// zero View means "no view".
type View struct {
	ID  uint32 // block, counted from 1
	Off uint32 // first byte, from the start of the block
	Len uint32 // bytes
}

// Slice gives n bytes of v from its byte off on: arithmetic only, the result
// stands for the same reference. The caller keeps off+n within v.Len.
func (v View) Slice(off, n uint32) View {
	if assert.Enabled && uint64(off)+uint64(n) > uint64(v.Len) {
		panic("buf: slice outside its view")
	}
	return View{v.ID, v.Off + off, n}
}

// Stats describes a pool. Counters only grow; the others are of now.
type Stats struct {
	Blocks     int    // committed
	InUse      int    // blocks with a reference
	InUseHigh  int    // the most that were ever in use at once
	BlockBytes int    // size of a block
	Exhausted  uint64 // requests for a block refused at the limit
	Grown      uint64 // steps taken from memory
	Shrunk     uint64 // steps given back
	Joins      uint64 // chains of several views copied into one piece
}

// Pool cuts a Memory into blocks of one size and counts references to them.
// It belongs to one loop: no method may be called from two goroutines at once.
type Pool struct {
	base  []byte
	block uint32
	limit int // blocks there can be

	// slots has one entry per committed block and one for "no view" at 0.
	// In use: the number of references, > 0. On the free list: ^next, < 0.
	// Neither: 0, a block that was not given out since it was committed.
	slots []int32
	free  uint32 // head of the free list, most recently released first; 0: empty
	fresh uint32 // lowest block not given out since it was committed

	// The block that small outgoing messages are appended to. The pool holds
	// one reference of its own to it.
	bump     uint32 // 0: none
	bumpOff  uint32 // bytes below were committed
	reserved uint32 // bytes of a Reserve that waits for its Commit

	inUse int // blocks that have a reference, bump among them

	nodes slab.Slab[node] // of all chains

	memory Memory
	levels []int // Committed() after each step, lowest first
	stats  Stats
}

// NewPool makes a pool of blocks of blockBytes over m. Nothing is committed
// until the first block is asked for.
func NewPool(m Memory, blockBytes int) *Pool {
	if blockBytes <= 0 || blockBytes > 1<<30 {
		panic("buf: block size out of range")
	}
	p := &Pool{
		base:   m.Bytes(),
		block:  uint32(blockBytes),
		limit:  len(m.Bytes()) / blockBytes,
		slots:  make([]int32, 1),
		fresh:  1,
		memory: m,
	}
	if c := m.Committed(); c > 0 {
		p.adopt(c)
	}
	return p
}

// adopt makes blocks of everything below committed.
func (p *Pool) adopt(committed int) {
	p.levels = append(p.levels, committed)
	n := committed/int(p.block) + 1
	p.slots = append(p.slots, make([]int32, n-len(p.slots))...)
}

// BlockBytes is the size of every block.
func (p *Pool) BlockBytes() int { return int(p.block) }

// Get gives an exclusive block, all of it, with one reference. It grows the
// memory by a step when no block is free; false at the limit.
func (p *Pool) Get() (View, bool) {
	id := p.free
	if id == 0 {
		return p.getFresh()
	}
	p.free = uint32(^p.slots[id])
	p.slots[id] = 1
	p.inUse++
	return View{id, 0, p.block}, true
}

func (p *Pool) getFresh() (View, bool) {
	// The free list is empty: all blocks below fresh are in use. Until the
	// next time this happens inUse cannot be higher than it gets here, so the
	// high mark is due nowhere else.
	for int(p.fresh) >= len(p.slots) {
		if !p.grow() {
			return p.getBump()
		}
	}
	id := p.fresh
	p.fresh++
	p.slots[id] = 1
	p.inUse++
	p.stats.InUseHigh = max(p.stats.InUseHigh, p.inUse)
	return View{id, 0, p.block}, true
}

// getBump hands out the block of small messages when nothing of it is in use:
// at the limit the pool must not sit on a block itself.
func (p *Pool) getBump() (View, bool) {
	if !p.bumpIdle() {
		p.stats.Exhausted++
		return View{}, false
	}
	id := p.bump
	p.bump, p.bumpOff = 0, 0
	return View{id, 0, p.block}, true
}

func (p *Pool) grow() bool {
	if !p.memory.Grow() {
		return false
	}
	p.stats.Grown++
	p.adopt(p.memory.Committed())
	return true
}

// Bytes lends the bytes of v, until the reference v stands for is released.
// The result's capacity is its length: appending to it copies.
func (p *Pool) Bytes(v View) []byte {
	if assert.Enabled {
		p.check(v)
	}
	if v.Len == 0 {
		return nil
	}
	o := uint64(v.ID-1)*uint64(p.block) + uint64(v.Off)
	e := o + uint64(v.Len)
	return p.base[o:e:e]
}

// check panics unless v lies within a block that is in use.
func (p *Pool) check(v View) {
	if v.ID == 0 && v.Len == 0 {
		return
	}
	if p.slots[v.ID] <= 0 {
		panic("buf: use of a view whose block was released")
	}
	if uint64(v.Off)+uint64(v.Len) > uint64(p.block) {
		panic("buf: view outside its block")
	}
}

// Retain makes one more reference to v's block, for a second holder. It panics
// when the block has none.
func (p *Pool) Retain(v View) {
	s := p.slots[v.ID]
	if s <= 0 {
		panic("buf: retain of a block that has no reference")
	}
	p.slots[v.ID] = s + 1
}

// Release ends one reference; with the last one the block is free, and the
// next to be given out. It panics when the block has none. Releasing the zero
// View does nothing.
func (p *Pool) Release(v View) {
	s := p.slots[v.ID] - 1
	if s > 0 {
		p.slots[v.ID] = s
		return
	}
	p.releaseLast(v.ID, s)
}

func (p *Pool) releaseLast(id uint32, refs int32) {
	if id == 0 {
		return
	}
	if refs < 0 {
		panic("buf: release of a block that has no reference")
	}
	p.slots[id] = ^int32(p.free)
	p.free = id
	p.inUse--
}

// Refs is the number of references to v's block, 0 when it is free.
func (p *Pool) Refs(v View) int { return max(0, int(p.slots[v.ID])) }

// Extend copies as much of b as fits directly behind v in its block, provided
// that v is the block's only reference (nobody else can see those bytes). It
// gives the longer view, which stands for the same reference, and the number
// of bytes copied, 0 when v is shared.
func (p *Pool) Extend(v View, b []byte) (View, int) {
	if p.slots[v.ID] != 1 {
		return v, 0
	}
	o := uint64(v.ID-1) * uint64(p.block)
	n := copy(p.base[o+uint64(v.Off)+uint64(v.Len):o+uint64(p.block)], b)
	v.Len += uint32(n)
	return v, n
}

// Limit is how many blocks the pool can have, once all memory is committed.
func (p *Pool) Limit() int { return p.limit }

// Spare is how many more blocks Get gives before the limit is reached, provided
// that the memory can grow. The block of small messages counts as in use.
func (p *Pool) Spare() int { return p.limit - p.inUse }

// Free is the number of committed blocks that nobody outside the pool holds.
func (p *Pool) Free() int { return len(p.slots) - 1 - p.InUse() }

// InUse is the number of blocks that somebody outside the pool holds.
func (p *Pool) InUse() int {
	if p.bumpIdle() {
		return p.inUse - 1
	}
	return p.inUse
}

// Stats is a copy of the pool's numbers.
func (p *Pool) Stats() Stats {
	s := p.stats
	s.Blocks = len(p.slots) - 1
	s.InUse = p.InUse()
	s.BlockBytes = int(p.block)
	return s
}
