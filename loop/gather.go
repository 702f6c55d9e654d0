package loop

import "time"

// Long messages are received in large pieces. Where a sender trickles, as one
// does that paces, or that shares its CPU with others, a loop would wake for
// every segment; SO_RCVLOWAT lets the kernel wake it when a good part of the
// message is there. No more is waited for than came in the last gatherNs, so at
// that rate a piece is there in that time, and if it is not, what is there comes.
const (
	gatherNs    = 5 * int64(time.Millisecond)
	gathersMax  = 255      // at once; conn.gather is a byte
	gatherPiece = 64 << 10 // the smallest
	gatherSteps = 2        // so often a piece may be doubled
	gatherLeast = 2        // so many pieces make a message that is worth while
)

// gather is a long message on its way in.
type gather struct {
	id    ConnID // 0: the entry is free
	left  uint64 // bytes that are still to come
	seen  uint64 // and about how many came since
	since int64  // which is at most gatherNs ago when it is looked at
	piece uint64 // bytes that the kernel wakes for
	due   int64  // when it shall wake for less, 0: piece is 1
	next  uint8  // in the free list
}

// Gather says that the next n bytes of id, counted behind the last Received or
// Spliced that was pulled, belong together, so that nobody minds when some come
// up to gatherNs later than they could. A message that is gathered already goes
// on; short ones are not.
func (l *Loop) Gather(id ConnID, n uint64) {
	if n < gatherLeast*l.gatherPiece {
		return
	}
	c := l.live(id)
	if c == nil || c.gather != 0 || c.fd < 0 {
		return
	}
	if n -= min(n, l.unpulled(id)); n < gatherLeast*l.gatherPiece {
		return
	}
	i := l.newGather()
	if i == 0 {
		return
	}
	l.gathers[i] = gather{id: id, left: n, since: l.nowNs, piece: 1}
	c.gather = i
	l.stats.Gathers++
}

// newGather takes an entry; 0: there is none.
func (l *Loop) newGather() uint8 {
	if i := l.freeGather; i != 0 {
		l.freeGather = l.gathers[i].next
		return i
	}
	if len(l.gathers) > gathersMax {
		return 0
	}
	if len(l.gathers) == 0 {
		l.gathers = append(l.gathers, gather{}) // 0 is none
	}
	l.gathers = append(l.gathers, gather{})
	return uint8(len(l.gathers) - 1)
}

// gathered counts what c has received.
func (l *Loop) gathered(c *conn, n uint64) {
	g := &l.gathers[c.gather]
	g.seen += n
	if g.left -= min(g.left, n); g.left == 0 {
		l.endGather(c)
	}
}

// drained is told by backends that c's socket had no more just now: it decides
// how much there must be before they hear of it again.
func (l *Loop) drained(c *conn) {
	if c.gather == 0 {
		return
	}
	g := &l.gathers[c.gather]
	if age := l.nowNs - g.since; age > gatherNs {
		g.seen = uint64(float64(g.seen) * float64(gatherNs) / float64(age))
		g.since = l.nowNs - gatherNs
	}
	piece := uint64(1)
	if g.seen >= l.gatherPiece {
		piece = l.gatherPiece
		for range gatherSteps {
			if 2*piece <= g.seen {
				piece *= 2
			}
		}
		piece = min(piece, g.left)
	}
	l.setPiece(c, g, piece)
}

// setPiece tells the kernel, and lets it wake for less when that takes too long.
func (l *Loop) setPiece(c *conn, g *gather, piece uint64) {
	if piece != g.piece {
		g.piece = piece
		l.be.lowat(c, int(piece))
	}
	if g.due = 0; piece > 1 {
		g.due = l.nowNs + gatherNs
		if l.gatherDue == 0 {
			l.gatherDue = g.due // later ones are due later
		}
	}
}

// expireGathers takes what there is of the pieces that take too long. Those
// connections begin anew.
func (l *Loop) expireGathers() {
	l.gatherDue = 0
	for i := range l.gathers {
		g := &l.gathers[i]
		switch {
		case g.due == 0:
		case g.due <= l.nowNs:
			g.seen, g.since = 0, l.nowNs
			l.setPiece(l.conns.at(g.id.slot()), g, 1)
			l.partial = true // what there is comes with the next Poll
		case l.gatherDue == 0 || g.due < l.gatherDue:
			l.gatherDue = g.due
		}
	}
}

// endGather makes c receive as usual.
func (l *Loop) endGather(c *conn) {
	g := &l.gathers[c.gather]
	l.setPiece(c, g, 1)
	*g = gather{next: l.freeGather}
	l.freeGather = c.gather
	c.gather = 0
}
