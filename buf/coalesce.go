package buf

// Coalesce appends v to c like Push, but copies its bytes into the block of
// c's last view where they fit there: a message that trickles in holds no more
// blocks than its bytes fill, whatever size the pieces have. It takes the
// reference.
func (p *Pool) Coalesce(c *Chain, v View) {
	if c.tail != 0 {
		last := p.nodes.At(c.tail)
		if longer, n := p.Extend(last.view, p.Bytes(v)); n > 0 {
			last.view = longer
			c.add(uint32(n))
			if uint32(n) == v.Len {
				p.Release(v)
				return
			}
			v = v.Slice(uint32(n), v.Len-uint32(n))
		}
	}
	p.Push(c, v)
}
