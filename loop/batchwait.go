package loop

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A batch wait: a loop under load goes on waiting a little after the first event,
// as network cards do before they interrupt (interrupt moderation). It wakes less
// often and handles more events at a time, which saves CPU time here and in the
// peers. Whether that pays is measured. In a trial, spans with and without batch
// waits are compared in pairs, in random order, by the bytes received. If the
// waits change nothing, either span wins as often as the other, whatever the
// traffic is like; so a score of wins and losses decides.
const (
	batchWaitSpanNs = 5 * int64(time.Millisecond)
	batchWaitRestNs = int64(time.Second) // before the next trial, doubled up to
	batchWaitRests  = 32                 // at most this many times that when trials fail
	batchWaitEvents = 64                 // a batch wait ends with this many events, where the kernel counts them

	// A pair that waiting wins counts 1, one that it loses -2. Chance leads from 0
	// to batchWaitProof in 6 of 1 000 trials. Once proved, only one span in
	// batchWaitSpans goes without, and three losses end that.
	batchWaitProof = 10
	batchWaitDoubt = batchWaitProof - 5
	batchWaitVain  = -2
	batchWaitSpans = 40
)

// batchWait is a loop's state of batch waits.
type batchWait struct {
	mostNs int64 // the longest batch wait; 0: none
	always bool  // wait unless an eighth less gets done; else only where more gets done

	on     bool       // in this span it waits
	proved bool       // no trial is needed
	score  int        // see batchWaitProof
	left   int        // spans with waiting before the next pair
	second bool       // this span ends a pair
	rate   [2]float64 // of the pair, bytes per ns: without waiting, with
	random uint32     // whether the next pair begins with waiting

	restUntil, rests    int64
	since, wakes, bytes int64 // of this span; bytes: received before it

	spec unix.Timespec // the kernel reads it
}

// SetBatchWait changes l's Config.BatchWait and BatchAlways; what was learnt by the old ones is
// forgotten. On l's thread.
func SetBatchWait(l *Loop, most time.Duration, always bool) {
	l.batchWait = batchWait{mostNs: int64(most), always: always}
	if most > 0 {
		sharpTimers()
	}
}

// batchWaitNs is how long the next wait, of at most waitNs (< 0: no limit), goes
// on after the first event.
func (l *Loop) batchWaitNs(waitNs int64) int64 {
	m := &l.batchWait
	if !m.on {
		return 0
	}
	l.stats.BatchWaits++
	if waitNs >= 0 && waitNs < m.mostNs {
		return waitNs
	}
	return m.mostNs
}

// awake is told of the end of a wait that could block, and of all bytes that
// were received so far.
func (m *batchWait) awake(now, bytes int64) {
	m.wakes++
	span := now - m.since
	if span < batchWaitSpanNs {
		return
	}
	// Without load there is nothing to save.
	load := m.wakes*m.mostNs >= span || m.on && 4*m.wakes*m.mostNs >= span
	rate := float64(bytes-m.bytes) / float64(span)
	m.since, m.wakes, m.bytes = now, 0, bytes
	switch {
	case !load || now < m.restUntil:
		m.on, m.second = false, false
	case m.left > 0:
		m.on = true
		m.left--
	default:
		m.compare(now, rate)
	}
}

// compare takes in what one half of a pair has brought, and says what comes
// next.
func (m *batchWait) compare(now int64, rate float64) {
	if m.on {
		m.rate[1] = rate
	} else {
		m.rate[0] = rate
	}
	if m.second = !m.second; m.second {
		m.on = !m.on
		return
	}
	if m.always {
		m.rate[0] *= 7. / 8
	}
	if m.rate[1] > m.rate[0] {
		m.score = min(m.score+1, batchWaitProof)
	} else {
		m.score -= 2
	}
	m.random = m.random*1664525 + 1013904223
	m.on = m.random>>31 == 1
	switch {
	case m.score == batchWaitProof:
		m.proved, m.rests = true, 0
	case m.proved && m.score < batchWaitDoubt:
		m.proved, m.score = false, 0
	case m.score <= batchWaitVain:
		m.on, m.score = false, 0
		if m.rests = min(2*m.rests, batchWaitRests); m.rests == 0 || m.always {
			m.rests = 1
		}
		m.restUntil = now + m.rests*batchWaitRestNs
	}
	if m.proved {
		m.on, m.left = true, batchWaitSpans
	}
}

// sharpTimers makes the kernel end the waits of this thread when they are over:
// by default it may let them last 50 us longer.
func sharpTimers() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) }

// pause does nothing for ns, or until a signal.
func (l *Loop) pause(ns int64) {
	l.batchWait.spec = unix.NsecToTimespec(ns)
	unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&l.batchWait.spec)), 0, 0)
}
