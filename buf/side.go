package buf

// SideAllocator allocates small items that live long, in blocks apart from those
// of Reserve. The items of Reserve come and go, and a long-lived one among them
// would keep a whole block. The zero SideAllocator is empty. It holds a reference
// of its own to the block it is filling; Close releases that reference and must be
// called before the allocator is dropped. It has no pointers.
type SideAllocator struct {
	block View   // no view: none
	used  uint32 // bytes below were given out
}

// AllocSide copies b, at most a block, and returns it as a view with a reference;
// no view when b is empty, longer, or there is no memory.
func (p *Pool) AllocSide(n *SideAllocator, b []byte) View {
	size := uint32(len(b))
	if size == 0 || len(b) > int(p.block) {
		return View{}
	}
	if n.block.ID != 0 && p.slots[n.block.ID] == 1 {
		n.used = 0 // all items in it are gone
	}
	if n.block.ID == 0 || p.block-n.used < size {
		next, ok := p.Get()
		if !ok {
			return View{}
		}
		p.Close(n)
		n.block = next
	}
	v := n.block.Slice(n.used, size)
	copy(p.Bytes(v), b)
	p.slots[v.ID]++
	n.used += size
	return v
}

// Tidy releases the block being filled when all its items are gone.
func (p *Pool) Tidy(n *SideAllocator) {
	if n.block.ID != 0 && p.slots[n.block.ID] == 1 {
		p.Close(n)
	}
}

// Close releases the block that is being filled. Its items stay until they are
// released themselves.
func (p *Pool) Close(n *SideAllocator) {
	p.Release(n.block)
	*n = SideAllocator{}
}
