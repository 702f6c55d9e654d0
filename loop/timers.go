package loop

import "math/bits"

// The timers are a hierarchical wheel with ticks of one millisecond: level k
// has 64 buckets of 64^k ticks. A connection is linked at most once, and
// lazily: moving its deadline further away, or clearing it, only stores the
// new one; the wheel finds out when the old place comes up. That is what
// happens to nearly all timeouts of a proxy.
//
// A tick lies in the lowest level in which it differs from elapsed only in
// that level's digit (base 64). So all buckets in use lie behind elapsed in
// their level, nothing wraps, and elapsed may jump any distance that does not
// pass the beginning of a bucket in use.
const (
	tickNs      = int64(1e6)
	wheelBits   = 6
	wheelSize   = 1 << wheelBits
	wheelLevels = 7 // 2^42 ms, 139 years
	wheelMax    = int64(1)<<(wheelBits*wheelLevels) - 1
)

type wheel struct {
	elapsed int64               // ticks; everything before is expired
	used    [wheelLevels]uint64 // bit per bucket
	heads   [wheelLevels * wheelSize]uint32
}

// insert links slot so that it comes up at tick, or as soon as possible.
func (w *wheel) insert(t *connTable, slot uint32, c *conn, tick int64) {
	tick = min(max(tick, w.elapsed), wheelMax)
	level := 0
	if diff := uint64(w.elapsed ^ tick); diff != 0 {
		level = (bits.Len64(diff) - 1) / wheelBits
	}
	n := int(tick>>(level*wheelBits)) % wheelSize
	w.used[level] |= 1 << n
	bucket := level*wheelSize + n
	head := w.heads[bucket]
	if head != 0 {
		t.at(head).timerPrev = slot
	}
	c.timerNext, c.timerPrev = head, 0
	c.timerBucket = uint16(bucket + 1)
	w.heads[bucket] = slot
}

// remove unlinks slot if it is linked.
func (w *wheel) remove(t *connTable, slot uint32, c *conn) {
	if c.timerBucket == 0 {
		return
	}
	bucket := int(c.timerBucket - 1)
	if c.timerNext != 0 {
		t.at(c.timerNext).timerPrev = c.timerPrev
	}
	if c.timerPrev != 0 {
		t.at(c.timerPrev).timerNext = c.timerNext
	} else {
		w.heads[bucket] = c.timerNext
		if c.timerNext == 0 {
			w.used[bucket/wheelSize] &^= 1 << (bucket % wheelSize)
		}
	}
	c.timerNext, c.timerPrev, c.timerBucket = 0, 0, 0
}

// begins is the first tick of a bucket in use.
func (w *wheel) begins(bucket int) int64 {
	level, n := bucket/wheelSize, int64(bucket%wheelSize)
	shift := level * wheelBits
	return w.elapsed>>(shift+wheelBits)<<(shift+wheelBits) | n<<shift
}

// first is the bucket that comes up next; false when all are empty. A lower
// level always comes before a higher one.
func (w *wheel) first() (bucket int, ok bool) {
	for level, used := range w.used {
		if used != 0 {
			return level*wheelSize + bits.TrailingZeros64(used), true
		}
	}
	return 0, false
}

// next is the tick at which the wheel has something to do.
func (w *wheel) next() (tick int64, ok bool) {
	bucket, ok := w.first()
	if !ok {
		return 0, false
	}
	return max(w.elapsed, w.begins(bucket)), true
}

// tickAfter is the first tick that is not before at (ns).
func tickAfter(at int64) int64 {
	tick := at / tickNs
	if at > tick*tickNs {
		tick++
	}
	return min(tick, wheelMax)
}

// Deadline asks for a Timer event once Now reaches at (ns); 0 clears it. There
// is one deadline per connection, and the last word counts: a Timer that was
// collected but not pulled when Deadline is called does not come.
func (l *Loop) Deadline(id ConnID, at int64) {
	c := l.live(id)
	if c == nil {
		return
	}
	c.deadline = at
	c.flags &^= flagTimerFired
	if at == 0 {
		return
	}
	tick := tickAfter(at)
	if c.timerBucket != 0 {
		// In place if its bucket comes up in time.
		if l.wheel.begins(int(c.timerBucket-1)) <= tick {
			return
		}
		l.wheel.remove(&l.conns, id.slot(), c)
	}
	l.wheel.insert(&l.conns, id.slot(), c, tick)
}

// due says that at now (a tick) the wheel has something to do.
func (w *wheel) due(now int64) bool {
	bucket, ok := w.first()
	return ok && w.begins(bucket) <= now
}

// A peer has done in time what its bytes prove that had arrived before the
// deadline, however late the loop comes to read them: the process may have been
// stopped, or had no CPU. So no deadline is reported by the clock alone. First
// everything that had arrived by then is collected, in a sweep of as many Polls
// as that takes; the owner handles it, and what that made it send or allow is
// carried out; only the deadlines that are left then have passed.
type sweep struct {
	on      bool  // the next Poll collects thoroughly and does not wait
	from    int64 // all that had arrived by then is being collected, 0: nothing is
	left    int   // Polls that may still take
	settled int64 // was collected and is in the hands of the owner, 0: nothing is
}

// sweepLeast and sweepConns bound a sweep, for under load there is always more:
// so many Polls, and one more for every so many connections.
const (
	sweepLeast = 8
	sweepConns = 16
)

// judgeTimers reports the deadlines that have passed. since is a time before
// this Poll collected. True: a deadline may have passed and there is nothing for
// the owner to do before that is known, so this Poll is to collect once more.
func (l *Loop) judgeTimers(since int64) bool {
	s := &l.sweep
	if !l.wheel.due(l.nowNs / tickNs) {
		*s = sweep{}
		l.expireTimers(l.nowNs)
		return false
	}
	if s.settled != 0 {
		l.expireTimers(s.settled)
		s.settled = 0
	}
	if s.from == 0 {
		s.from, s.left = since, sweepLeast+l.connCount/sweepConns
	}
	if s.on = true; l.partial && s.left > 0 {
		s.left--
		return !l.news()
	}
	if l.news() {
		s.settled, s.from = s.from, 0
		return false
	}
	l.expireTimers(s.from)
	s.from = 0
	s.on = l.wheel.due(l.nowNs / tickNs)
	return s.on
}

// news says that the owner is about to hear of something that has arrived, or
// left.
func (l *Loop) news() bool {
	for i := l.head; i < len(l.events); i++ {
		if k := l.events[i].Kind; k != Timer && k != Closed {
			return true
		}
	}
	return false
}

// expireTimers reports the deadlines up to at, and brings connections whose
// deadline has moved to their new place.
func (l *Loop) expireTimers(at int64) {
	w := &l.wheel
	now := at / tickNs
	for {
		bucket, ok := w.first()
		if !ok {
			break
		}
		begins := w.begins(bucket)
		if begins > now {
			break
		}
		w.elapsed = max(w.elapsed, begins)
		slot := w.heads[bucket]
		w.heads[bucket] = 0
		w.used[bucket/wheelSize] &^= 1 << (bucket % wheelSize)
		for slot != 0 {
			c := l.conns.at(slot)
			next := c.timerNext
			c.timerNext, c.timerPrev, c.timerBucket = 0, 0, 0
			switch {
			case c.deadline == 0:
			case tickAfter(c.deadline) <= w.elapsed: // not before those that are due sooner
				c.deadline = 0
				c.flags |= flagTimerFired
				l.push(Event{Kind: Timer, Conn: makeID(slot, c.gen), FD: -1})
			default:
				w.insert(&l.conns, slot, c, tickAfter(c.deadline))
			}
			slot = next
		}
	}
	w.elapsed = max(w.elapsed, now)
}
