package proxy

import (
	"time"

	"zproxy/loop"
)

// leapEndNs is how long after a leap of the loop a deadline may be reported that
// passed in it, and leapRestNs the time between two leaps that count: on a
// machine that never gives the loop enough CPU, deadlines must pass all the same.
const (
	leapEndNs  = int64(50 * time.Millisecond)
	leapRestNs = int64(10 * time.Second)
)

// excused: the deadline of ev passed while the loop did not run. What its peer
// had sent by then has been handled before ev, but it may have been kept from
// sending, because the loop neither read nor gave credit. It gets back the time
// that the loop has lost.
func (w *Worker) excused(ev *loop.Event) bool {
	leap, now := w.l.Leaps().Last, w.l.Now()
	if leap.At == 0 || now-leap.At > leapEndNs || ev.Owner>>ownerShift == ownerWorker {
		return false
	}
	if leap.At != w.leapAt {
		if w.leapAt != 0 && leap.At-w.leapAt < leapRestNs {
			return false
		}
		w.leapAt = leap.At
	}
	w.l.Deadline(ev.Conn, now+max(leap.Ns, 2*leapEndNs))
	return true
}
