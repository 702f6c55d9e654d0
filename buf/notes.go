package buf

// Notes is a place for small things that are kept for long, apart from the
// messages of Reserve: those come and go, and one that stays would keep a whole
// block of them. The zero Notes is empty; it holds a reference of its own to
// the block that is being filled and must be emptied (Close) before it is
// forgotten. It has no pointers.
type Notes struct {
	block View   // no view: none
	used  uint32 // bytes below were given out
}

// Note copies b, at most a block, and gives it as a view with a reference; no
// view when b is empty, longer, or there is no memory.
func (p *Pool) Note(n *Notes, b []byte) View {
	size := uint32(len(b))
	if size == 0 || len(b) > int(p.block) {
		return View{}
	}
	if n.block.ID != 0 && p.slots[n.block.ID] == 1 {
		n.used = 0 // all notes in it are gone
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

// Tidy lets go of a block whose notes are all gone.
func (p *Pool) Tidy(n *Notes) {
	if n.block.ID != 0 && p.slots[n.block.ID] == 1 {
		p.Close(n)
	}
}

// Close lets go of the block that is being filled. The notes stay until they
// are released.
func (p *Pool) Close(n *Notes) {
	p.Release(n.block)
	*n = Notes{}
}
