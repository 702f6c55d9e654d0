package loop

// The last blocks of the pool are not for everybody. There is an order of who
// may go how far (see least): bodies of requests leave all of Config.Reserve,
// those of responses three quarters of it, what responses begin with half, heads a
// quarter, from which the owner writes its answers. So
//
//   - a head is read and answered however much data waits;
//   - a short answer is passed on although others hold all that data of frames may
//     take: what leaves as far as anybody knows, and then does not, stops before it;
//   - responses move while requests fill all that they may: an origin that takes
//     more of a request only as its response is taken goes on, and nobody waits
//     for somebody who waits for him.
//
// Whoever has bytes to receive, or their end, and finds no block waits in a line of
// his class and gets one when it is his turn: nobody overtakes a receiver that waits
// longer. Who has none stands in nobody's way, however short blocks are.
//
// All of that holds within a tick: every receive asks (grant), or takes from
// buffers that were put there by the same rule.

// Class is what a connection receives.
type Class uint8

const (
	Heads     Class = iota // heads, or frames of which each may be anything
	Answers                // see Room: what a response begins with, for a peer that has taken all before it
	Passing                // see Room: data of frames that leaves at once
	Responses              // bodies from origins
	Requests               // bodies from clients
	numClasses
)

// line holds the receivers that wait for a block, those first that wait longest.
// Some may have left it: flagParked tells.
type line struct {
	ids  []ConnID
	head int // those before have had their turn
}

func (n *line) waiting() int { return len(n.ids) - n.head }

// lineOf is where c waits, or would.
func (l *Loop) lineOf(c *conn) *line { return &l.lines[c.class()] }

// Bulk says what id receives from now on.
func (l *Loop) Bulk(id ConnID, class Class) {
	c := l.live(id)
	if c == nil || c.class() == class {
		return
	}
	c.recv = c.recv&recvBlocksMask | uint8(class)<<recvBlocksBits
	if c.has(flagParked) { // in a line that is not its own any more
		c.flags = c.flags&^flagParked | flagRecvDirty
		l.todo(id, c)
	}
}

// least is how many spare blocks a class leaves.
func (l *Loop) least(class Class) int {
	r := l.cfg.Reserve
	switch class {
	case Requests:
		return r
	case Responses:
		return r - r/4
	case Passing:
		return r - r/4 - r/8
	case Answers:
		return r / 2
	}
	return r / 4
}

// Posted is the number of blocks that lie with the kernel for receives to come.
func (l *Loop) Posted() int {
	if b, ok := l.be.(interface{ posted() int }); ok {
		return b.posted()
	}
	return 0
}

// Room says that there is a block for data of a class that was received as part
// of something else: frames carry heads and data mixed.
func (l *Loop) Room(class Class) bool {
	least := l.least(class)
	return l.pool.Spare() > least || l.spare() > least
}

// spare is how many blocks nobody holds for good: those of events to come are
// looked at first.
func (l *Loop) spare() int { return l.pool.Spare() + l.Posted() + l.unseen }

// Crowded says that heads and answers have used up most of the reserve that data
// leaves alone: for new requests there is no memory.
func (l *Loop) Crowded() bool { return l.spare() <= l.cfg.Reserve*3/8 }

// Waiting is how many receivers of data wait for a block.
func (l *Loop) Waiting() int { return l.lines[Responses].waiting() + l.lines[Requests].waiting() }

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
	spare := l.pool.Spare()
	if spare-l.cfg.Reserve >= 4*want && l.parkedCount() == 0 {
		return want
	}
	wait := l.mustWait(c)
	c.flags &^= flagTurn
	if !wait && spare > l.least(c.class()) {
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
		l.compact(c.class())
	}
	n.ids = append(n.ids, id)
	l.acceptDirty = l.acceptDirty || c.class() == Heads // no more of them
}

func (l *Loop) parkedCount() int { return l.lines[Heads].waiting() + l.Waiting() }

// compact forgets those that have left a line.
func (l *Loop) compact(class Class) {
	n := &l.lines[class]
	kept := n.ids[:0]
	for _, id := range n.ids[n.head:] {
		if c := l.live(id); c != nil && c.has(flagParked) && c.class() == class {
			kept = append(kept, id)
		}
	}
	n.ids, n.head = kept, 0
}

// Where both classes of data wait, requests have one turn of so long in eight.
const (
	turnNs = int64(8e6)
	turns  = 8
)

// requestsTurn says whose turn it is.
func (l *Loop) requestsTurn() bool {
	return l.lines[Requests].waiting() > 0 && l.nowNs/turnNs%turns == turns-1
}

// turnEnds is when that changes, 0 where it does not matter.
func (l *Loop) turnEnds() int64 {
	if l.lines[Responses].waiting() == 0 || !l.requestsTurn() {
		return 0
	}
	return (l.nowNs/turnNs + 1) * turnNs
}

// unpark lets as many receivers go on as there are blocks, heads before data.
// Responses may go further than requests, but not always while those wait: as
// long as responses took each block that comes back, requests would get none.
// Accepting goes on when no head waits.
func (l *Loop) unpark() {
	if v, ok := l.pool.Get(); ok { // that may also grow the pool
		l.pool.Release(v)
	}
	posted := l.Posted()
	free, spare := l.pool.Free()+posted, l.pool.Spare()+posted
	l.callUp(Heads, min(free, spare-l.least(Heads)))
	first, second := Responses, Requests
	left := l.least(Responses)
	if l.requestsTurn() {
		first, second, left = Requests, Responses, l.least(Requests)
	}
	l.callUp(first, min(free, spare-left)-l.calledUp)
	l.callUp(second, min(free, spare-l.least(Requests))-l.calledUp)
	if l.paused&pauseBlocks != 0 && l.lines[Heads].waiting() == 0 {
		l.acceptDirty = true
	}
}

// callUp gives the first blocks receivers of a line their turn.
func (l *Loop) callUp(class Class, blocks int) {
	n := &l.lines[class]
	for ; n.head < len(n.ids); n.head++ {
		id := n.ids[n.head]
		c := l.live(id)
		if c == nil || !c.has(flagParked) || c.class() != class {
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
		l.compact(class)
	}
}
