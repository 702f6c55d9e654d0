package loop

import "time"

// Long messages are received in large pieces. A sender that paces, or that shares
// its CPU with others, sends small segments, and a loop would wake for each. With a
// low watermark (SO_RCVLOWAT) the kernel wakes it only when a large piece of the
// message is there. A piece is at most what arrived in the last watermarkNs: at
// that rate it is there in that time, and if it is not, the loop receives what is.
const (
	watermarkNs    = 5 * int64(time.Millisecond)
	watermarksMax  = 255      // at once; conn.watermark is a byte
	watermarkPiece = 64 << 10 // the smallest
	watermarkSteps = 2        // so often a piece may be doubled
	watermarkLeast = 2        // so many pieces make a message that is worth while
)

// watermark is the low watermark of a connection that receives a long message.
type watermark struct {
	id    ConnID // 0: the entry is free
	left  uint64 // bytes that are still to come
	seen  uint64 // and about how many came since
	since int64  // which is at most watermarkNs ago when it is looked at
	piece uint64 // bytes that the kernel wakes for
	due   int64  // when it shall wake for less, 0: piece is 1
	next  uint8  // in the free list
}

// LowWatermark says that the next n bytes of id, counted behind the last Received or
// Spliced that was pulled, belong together, so that nobody minds when some come
// up to watermarkNs later than they could. A message that has
// its low watermark already keeps it; a short one gets none.
func (l *Loop) LowWatermark(id ConnID, n uint64) {
	if n < watermarkLeast*l.watermarkPiece {
		return
	}
	c := l.live(id)
	if c == nil || c.watermark != 0 || c.fd < 0 {
		return
	}
	if n -= min(n, l.unpulled(id)); n < watermarkLeast*l.watermarkPiece {
		return
	}
	i := l.newWatermark()
	if i == 0 {
		return
	}
	l.watermarks[i] = watermark{id: id, left: n, since: l.nowNs, piece: 1}
	c.watermark = i
	l.stats.Gathers++
}

// newWatermark takes an entry; 0: there is none.
func (l *Loop) newWatermark() uint8 {
	if i := l.freeWatermark; i != 0 {
		l.freeWatermark = l.watermarks[i].next
		return i
	}
	if len(l.watermarks) > watermarksMax {
		return 0
	}
	if len(l.watermarks) == 0 {
		l.watermarks = append(l.watermarks, watermark{}) // 0 is none
	}
	l.watermarks = append(l.watermarks, watermark{})
	return uint8(len(l.watermarks) - 1)
}

// pieceReceived counts what c has received.
func (l *Loop) pieceReceived(c *conn, n uint64) {
	g := &l.watermarks[c.watermark]
	g.seen += n
	if g.left -= min(g.left, n); g.left == 0 {
		l.endWatermark(c)
	}
}

// drained is told by backends that c's socket had no more just now: it decides
// how much there must be before they hear of it again.
func (l *Loop) drained(c *conn) {
	if c.watermark == 0 {
		return
	}
	g := &l.watermarks[c.watermark]
	if age := l.nowNs - g.since; age > watermarkNs {
		g.seen = uint64(float64(g.seen) * float64(watermarkNs) / float64(age))
		g.since = l.nowNs - watermarkNs
	}
	piece := uint64(1)
	if g.seen >= l.watermarkPiece {
		piece = l.watermarkPiece
		for range watermarkSteps {
			if 2*piece <= g.seen {
				piece *= 2
			}
		}
		piece = min(piece, g.left)
	}
	l.setPiece(c, g, piece)
}

// setPiece tells the kernel, and lets it wake for less when that takes too long.
func (l *Loop) setPiece(c *conn, g *watermark, piece uint64) {
	if piece != g.piece {
		g.piece = piece
		l.be.lowat(c, int(piece))
	}
	if g.due = 0; piece > 1 {
		g.due = l.nowNs + watermarkNs
		if l.watermarkDue == 0 {
			l.watermarkDue = g.due // later ones are due later
		}
	}
}

// expireWatermarks takes what there is of the pieces that take too long. Those
// connections begin anew.
func (l *Loop) expireWatermarks() {
	l.watermarkDue = 0
	for i := range l.watermarks {
		g := &l.watermarks[i]
		switch {
		case g.due == 0:
		case g.due <= l.nowNs:
			g.seen, g.since = 0, l.nowNs
			l.setPiece(l.conns.at(g.id.slot()), g, 1)
			l.partial = true // what there is comes with the next Poll
		case l.watermarkDue == 0 || g.due < l.watermarkDue:
			l.watermarkDue = g.due
		}
	}
}

// endWatermark makes c receive as usual.
func (l *Loop) endWatermark(c *conn) {
	g := &l.watermarks[c.watermark]
	l.setPiece(c, g, 1)
	*g = watermark{next: l.freeWatermark}
	l.freeWatermark = c.watermark
	c.watermark = 0
}
