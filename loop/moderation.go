package loop

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A loop under load may wait a little for more when something has happened, as
// network cards do before they interrupt (interrupt moderation): it wakes less
// often and does more at a time, which leaves more of the CPU, here and where
// its packets go. Whether that is good for anything shows in what gets done. In
// a trial, spans with and without waiting are compared in pairs, in random
// order, by the bytes that came in. If waiting changes nothing either span wins
// as often as the other, whatever the traffic is like, so that a score of wins
// and losses tells.
const (
	moderationSpanNs = 5 * int64(time.Millisecond)
	moderationRestNs = int64(time.Second) // before the next trial, doubled up to
	moderationRests  = 32                 // so many times that when trials are in vain
	moderationBatch  = 64                 // so many events end such a wait, where the kernel counts them

	// A pair that waiting wins counts 1, one that it loses -2. Chance leads from 0
	// to moderationProof in 6 of 1 000 trials. What has proved itself is done
	// without in one span of so many only, and three losses end that.
	moderationProof = 10
	moderationDoubt = moderationProof - 5
	moderationVain  = -2
	moderationSpans = 40
)

// moderation is what a loop knows about that.
type moderation struct {
	mostNs int64 // it waits no longer, 0: it does not
	always bool  // it does unless an eighth less gets done, else only where more does

	on     bool       // in this span it waits
	proved bool       // no trial is needed
	score  int        // see moderationProof
	left   int        // spans with waiting before the next pair
	second bool       // this span ends a pair
	rate   [2]float64 // of the pair, bytes per ns: without waiting, with
	random uint32     // whether the next pair begins with waiting

	restUntil, rests    int64
	since, wakes, bytes int64 // of this span; bytes: received before it

	spec unix.Timespec // the kernel reads it
}

// moderateNs is how long the wait that comes, of at most waitNs (< 0: no limit),
// goes on although something has happened.
func (l *Loop) moderateNs(waitNs int64) int64 {
	m := &l.moderation
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
func (m *moderation) awake(now, bytes int64) {
	m.wakes++
	span := now - m.since
	if span < moderationSpanNs {
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
func (m *moderation) compare(now int64, rate float64) {
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
		m.score = min(m.score+1, moderationProof)
	} else {
		m.score -= 2
	}
	m.random = m.random*1664525 + 1013904223
	m.on = m.random>>31 == 1
	switch {
	case m.score == moderationProof:
		m.proved, m.rests = true, 0
	case m.proved && m.score < moderationDoubt:
		m.proved, m.score = false, 0
	case m.score <= moderationVain:
		m.on, m.score = false, 0
		if m.rests = min(2*m.rests, moderationRests); m.rests == 0 || m.always {
			m.rests = 1
		}
		m.restUntil = now + m.rests*moderationRestNs
	}
	if m.proved {
		m.on, m.left = true, moderationSpans
	}
}

// sharpTimers makes the kernel end the waits of this thread when they are over:
// by default it may let them last 50 us longer.
func sharpTimers() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) }

// pause does nothing for ns, or until a signal.
func (l *Loop) pause(ns int64) {
	l.moderation.spec = unix.NsecToTimespec(ns)
	unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&l.moderation.spec)), 0, 0)
}
