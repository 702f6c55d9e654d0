package buf

// Reserve gives n bytes to write a small outgoing message into, at most a
// block; nil when n is larger than that or there is no memory. The bytes are
// nobody's until Commit: the next Reserve may give out the same ones.
//
// Messages are laid one behind the other in a block they share, so a thousand
// response heads of 200 bytes in flight hold 13 blocks of 16 KiB and not a
// thousand.
func (p *Pool) Reserve(n int) []byte {
	if n < 0 || n > int(p.block) {
		return nil
	}
	p.reserved = 0
	if p.bumpIdle() {
		p.bumpOff = 0 // all messages in it are gone: write over them, the cache has it
	}
	if p.bump == 0 || p.block-p.bumpOff < uint32(n) {
		if !p.nextBump() {
			return nil
		}
	}
	p.reserved = uint32(n)
	o := uint64(p.bump-1)*uint64(p.block) + uint64(p.bumpOff)
	e := o + uint64(n)
	return p.base[o:e:e]
}

func (p *Pool) nextBump() bool {
	v, ok := p.Get()
	if !ok {
		return false
	}
	if p.bump != 0 {
		p.Release(View{ID: p.bump})
	}
	p.bump, p.bumpOff = v.ID, 0
	return true
}

// Commit makes the first n bytes of the last Reserve a view with a reference
// of its own. It panics when n is more than was reserved. n = 0 gives the
// reservation up and returns no view.
func (p *Pool) Commit(n int) View {
	if n < 0 || n > int(p.reserved) {
		panic("buf: commit of more than was reserved")
	}
	p.reserved = 0
	if n == 0 {
		return View{}
	}
	v := View{p.bump, p.bumpOff, uint32(n)}
	p.slots[p.bump]++
	p.bumpOff += uint32(n)
	return v
}

// bumpIdle says that the pool alone holds the block of small messages.
func (p *Pool) bumpIdle() bool {
	return p.bump != 0 && p.slots[p.bump] == 1 && p.reserved == 0
}
