package buf

// Trim gives the steps at the top of the memory back whose blocks are all
// free, except the lowest step. Call it when the loop is idle: it looks at
// every block.
//
// Blocks that stay are put in order, so that the lowest are given out next:
// what is long-lived gathers at the bottom, and the top comes free in time.
func (p *Pool) Trim() {
	if len(p.levels) < 2 {
		return
	}
	if p.bumpIdle() {
		p.Release(View{ID: p.bump})
		p.bump, p.bumpOff = 0, 0
	}
	p.shrink(p.highestInUse())
	p.sortFree()
}

// highestInUse is the highest block that has a reference, 0 when none has.
func (p *Pool) highestInUse() int {
	for id := min(int(p.fresh), len(p.slots)) - 1; id > 0; id-- {
		if p.slots[id] > 0 {
			return id
		}
	}
	return 0
}

// shrink gives back the steps that lie above block keep.
func (p *Pool) shrink(keep int) {
	for n := len(p.levels); n > 1; n = len(p.levels) {
		blocks := p.levels[n-2] / int(p.block) // of what would remain
		if blocks < keep || !p.memory.Shrink() {
			return
		}
		p.stats.Shrunk++
		p.levels = p.levels[:n-1]
		p.slots = p.slots[:blocks+1]
		p.fresh = min(p.fresh, uint32(blocks+1))
	}
}

// sortFree rebuilds the free list, lowest block first. It leaves out blocks
// that shrink took away: those are beyond the end of slots.
func (p *Pool) sortFree() {
	p.free = 0
	for id := int(p.fresh) - 1; id > 0; id-- {
		if p.slots[id] <= 0 {
			p.slots[id] = ^int32(p.free)
			p.free = uint32(id)
		}
	}
}
