package loop

import "time"

// leapNs is less than a leap takes.
const leapNs = int64(200 * time.Millisecond)

// leapsKept is how many leaps are told apart: what came before them counts as time in which the loop ran.
const leapsKept = 64

// Leap is a time in which the loop should have run and did not: its process was
// stopped, say, or got no CPU. What a peer did in it says little about the peer,
// which stops when the kernel's buffers are full.
type Leap struct {
	At int64 // Now when it had ended, 0: there was none
	Ns int64 // how long it was, or how much of it is known
}

// Leaps are those that there were.
type Leaps struct {
	Last  Leap
	sumNs int64
	n     uint
	kept  [leapsKept]struct{ at, before int64 } // a ring; before: how long those before it were
}

func (ls *Leaps) note(l Leap) {
	m := &ls.kept[ls.n%leapsKept]
	m.at, m.before = l.At, ls.sumNs
	ls.Last, ls.n, ls.sumNs = l, ls.n+1, ls.sumNs+l.Ns
}

// sinceNs is how long those were that have ended after from.
func (ls *Leaps) sinceNs(from int64) int64 {
	before := ls.sumNs
	for i := uint(1); i <= min(ls.n, leapsKept); i++ {
		m := &ls.kept[(ls.n-i)%leapsKept]
		if m.at <= from {
			break
		}
		before = m.before
	}
	return ls.sumNs - before
}

// RanNs is for how long the loop has run from one time of its clock to now; waiting counts, leaps do not. By it is judged
// who has to keep up: between leaps too, however often there is one.
func (ls *Leaps) RanNs(from, now int64) int64 { return now - from - ls.sinceNs(from) }

// Leaps are those of the loop.
func (l *Loop) Leaps() *Leaps { return &l.leaps }
