package buf

// Pack appends v to c as a copy, so that its block is free for others to use or
// to give back: a view holds all of its block, and one that was received with
// frames for others may be all that is left of it. The first piece of a chain
// goes where small messages share blocks; further ones that find no room behind
// the last get, with own, a block of the chain's own, which those that follow fill.
// Without own they go where the first went: what large pieces have between them
// would have a block for each of them. Without memory v is pushed as it is. It takes
// the reference.
func (p *Pool) Pack(c *Chain, v View, own bool) {
	if c.tail == 0 {
		p.share(c, v)
		return
	}
	last := p.nodes.At(c.tail)
	if longer, n := p.Extend(last.view, p.Bytes(v)); n > 0 {
		last.view = longer
		c.add(uint32(n))
		v.Off += uint32(n)
		v.Len -= uint32(n)
	}
	if v.Len == 0 {
		p.Release(v)
		return
	}
	if !own {
		p.share(c, v)
		return
	}
	if b, ok := p.Get(); ok {
		b.Len = uint32(copy(p.Bytes(b), p.Bytes(v)))
		p.Release(v)
		v = b
	}
	p.Push(c, v)
}

// share pushes v as a copy where small messages share blocks, if it is not there.
func (p *Pool) share(c *Chain, v View) {
	if v.ID != p.bump {
		if b := p.Reserve(int(v.Len)); b != nil {
			n := copy(b, p.Bytes(v))
			p.Release(v)
			v = p.Commit(n)
		}
	}
	p.Push(c, v)
}
