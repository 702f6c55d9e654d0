package loop

// The last blocks of the pool are not for everybody. Data, which is what
// connections marked Bulk receive, leaves Config.Reserve of them alone, so that
// the head of a request that comes now can still be read and answered; what
// others receive leaves a quarter of those, from which the owner writes its
// answers. Whoever finds no block waits in a line of his kind and gets one when
// it is his turn: nobody overtakes a receiver that waits longer.
//
// All of that holds within a tick: every receive asks (grant), or takes from
// buffers that were put there by the same rule.

// line holds the receivers that wait for a block, those first that wait longest.
// Some may have left it: flagParked tells.
type line struct {
	ids  []ConnID
	head int // those before have had their turn
}

const (
	lineHeads = iota // of connections that are not Bulk
	lineBulk
	numLines
)

func (n *line) waiting() int { return len(n.ids) - n.head }

// lineOf is where c waits, or would.
func (l *Loop) lineOf(c *conn) *line {
	if c.has(flagBulk) {
		return &l.lines[lineBulk]
	}
	return &l.lines[lineHeads]
}

// Bulk says whether what id receives is data from now on, for which the last
// blocks of the pool are too good.
func (l *Loop) Bulk(id ConnID, on bool) {
	c := l.live(id)
	if c == nil || c.has(flagBulk) == on {
		return
	}
	c.flags ^= flagBulk
	if c.has(flagParked) { // in a line that is not its own any more
		c.flags = c.flags&^flagParked | flagRecvDirty
		l.todo(id, c)
	}
}

// Crowded says that there is no block left but the reserve.
func (l *Loop) Crowded() bool { return l.pool.Spare() <= l.cfg.Reserve }

// Starved says that bytes wait for id that there is no block for. It asks the
// kernel.
func (l *Loop) Starved(id ConnID) bool {
	c := l.live(id)
	return c != nil && c.has(flagParked) && l.be.unread(c) > 0
}

// mustWait says that others wait for blocks that c would take.
func (l *Loop) mustWait(c *conn) bool { return !c.has(flagTurn) && l.lineOf(c).waiting() > 0 }

// grant is how many blocks a receive for c may take, want at the most. 0: it
// has to wait (park). Where few are left it is one for everybody.
func (l *Loop) grant(c *conn, want int) int {
	spare := l.pool.Spare() - l.cfg.Reserve
	if spare >= 4*want && l.parkedCount() == 0 {
		return want
	}
	wait := l.mustWait(c)
	c.flags &^= flagTurn
	if !wait && (spare > 0 || !c.has(flagBulk) && spare > l.cfg.Reserve/4-l.cfg.Reserve) {
		return 1
	}
	return 0
}

// park makes c wait for a block.
func (l *Loop) park(id ConnID, c *conn) {
	l.stats.Enobufs++
	if c.has(flagParked | flagClosing | flagRecvEnded) {
		return
	}
	if c.has(flagSpliceFrom) {
		l.again(id, c) // what comes next needs no block
		return
	}
	c.flags = c.flags&^flagTurn | flagParked
	l.stats.Parked++
	n := l.lineOf(c)
	if len(n.ids) > 64 && len(n.ids) > 4*l.connCount {
		l.compact(n)
	}
	n.ids = append(n.ids, id)
	l.acceptDirty = l.acceptDirty || n == &l.lines[lineHeads] // no more of them
}

func (l *Loop) parkedCount() int { return l.lines[lineHeads].waiting() + l.lines[lineBulk].waiting() }

// compact forgets those that have left a line.
func (l *Loop) compact(n *line) {
	kept := n.ids[:0]
	for _, id := range n.ids[n.head:] {
		if c := l.live(id); c != nil && c.has(flagParked) {
			kept = append(kept, id)
		}
	}
	n.ids, n.head = kept, 0
}

// unpark lets as many receivers go on as there are blocks, heads before data.
// Accepting goes on when no head waits.
func (l *Loop) unpark() {
	if v, ok := l.pool.Get(); ok { // that may also grow the pool
		l.pool.Release(v)
	}
	posted := 0
	if b, ok := l.be.(interface{ posted() int }); ok {
		posted = b.posted()
	}
	free, spare := l.pool.Free()+posted, l.pool.Spare()+posted
	l.callUp(&l.lines[lineHeads], min(free, spare-l.cfg.Reserve/4))
	l.callUp(&l.lines[lineBulk], min(free, spare-l.cfg.Reserve)-l.calledUp)
	if l.paused&pauseBlocks != 0 && l.lines[lineHeads].waiting() == 0 {
		l.acceptDirty = true
	}
}

// callUp gives the first blocks receivers of a line their turn.
func (l *Loop) callUp(n *line, blocks int) {
	for ; n.head < len(n.ids); n.head++ {
		id := n.ids[n.head]
		c := l.live(id)
		if c == nil || !c.has(flagParked) {
			continue
		}
		if blocks <= 0 {
			break
		}
		blocks--
		l.calledUp++
		c.flags = c.flags&^flagParked | flagRecvDirty | flagTurn
		l.todo(id, c)
	}
	if n.head == len(n.ids) {
		n.ids, n.head = n.ids[:0], 0
	} else if n.head > len(n.ids)/2 {
		l.compact(n)
	}
}
