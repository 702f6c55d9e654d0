package loop

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A loop under load may wait a little for more when something has happened, as
// network cards do before they interrupt (interrupt moderation): it wakes less
// often and does more at a time, which leaves more of the CPU, here and where
// its packets go. It does so while it would wake more often than it waits, and
// while no less happens in total: a few clients that wait for one answer each
// would only be held up.
const (
	moderationSpan  = 10 * int64(time.Millisecond)  // between two looks at how it goes
	moderationSpans = 32                            // then a span without waiting is the measure anew
	moderationRest  = 500 * int64(time.Millisecond) // before the next attempt when it was in vain
	moderationBatch = 64                            // so many end such a wait, where the kernel counts them
)

// moderation is what a loop knows about that.
type moderation struct {
	mostNs int64 // it waits no longer, 0: it does not

	on        bool
	spans     int // since it is on
	restUntil int64
	// Since the last look.
	since, wakes, events int64
	// Of the last span without waiting.
	plainNs, plainEvents int64

	spec unix.Timespec // the kernel reads it
}

// moderateNs is how long the wait that comes, of at most waitNs (< 0: no limit),
// goes on although something has happened.
func (l *Loop) moderateNs(waitNs int64) int64 {
	m := &l.moderation
	switch {
	case !m.on:
		return 0
	case waitNs >= 0 && waitNs < m.mostNs:
		return waitNs
	}
	return m.mostNs
}

// awake is told of the end of a wait that could block, and of the events that
// it has brought.
func (m *moderation) awake(now int64, events int) {
	m.wakes++
	m.events += int64(events)
	span := now - m.since
	if span < moderationSpan {
		return
	}
	switch {
	case !m.on:
		m.plainNs, m.plainEvents = span, m.events
		m.on, m.spans = m.wakes*m.mostNs >= span && now >= m.restUntil, 0
	case m.spans > 0 && m.events*m.plainNs < m.plainEvents*span*7/8:
		m.on, m.restUntil = false, now+moderationRest
	default:
		m.spans++
		m.on = m.spans < moderationSpans && 4*m.wakes*m.mostNs >= span
	}
	m.since, m.wakes, m.events = now, 0, 0
}

// sharpTimers makes the kernel end the waits of this thread when they are over:
// by default it may let them last 50 us longer.
func sharpTimers() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) }

// pause does nothing for ns, or until a signal.
func (l *Loop) pause(ns int64) {
	l.moderation.spec = unix.NsecToTimespec(ns)
	unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&l.moderation.spec)), 0, 0)
}
