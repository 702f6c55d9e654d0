package handshake

import (
	stdtls "crypto/tls"
	"iter"
	"sync"
	"time"
)

// Workers compute handshakes: no more at once than there are places, so that loops keep
// their CPUs. A worker takes one Job after another from a queue, and goes on with it until
// it waits for its peer. Each Job has a coroutine of its own: to change to it, and back
// when it waits, takes no scheduler and wakes no thread.
type Workers struct {
	mu      sync.Mutex
	begun   queue // Jobs with a seat: little is left to do for them
	fresh   queue // and without one
	places  int
	working int
	free    []*seat
	tended  bool   // tend runs
	seated  uint64 // Jobs so far
	before  uint64 // of them, before tend began
}

// NewWorkers makes n places.
func NewWorkers(n int) *Workers { return &Workers{places: max(1, n)} }

// Start begins a handshake as a server, with what ServerConfig gave, or as a
// client, with any configuration; config is shared by many.
func (w *Workers) Start(config *stdtls.Config, server bool, wake Waker) Handshake {
	j := &Job{workers: w, config: config, server: server, wake: wake}
	if !server { // which has the first word
		j.stage = stageQueued
		w.push(j, false)
	}
	return j
}

// queue is first in, first out.
type queue struct{ first, last *Job }

func (q *queue) push(j *Job) {
	if q.last == nil {
		q.first = j
	} else {
		q.last.behind = j
	}
	q.last = j
}

func (q *queue) pop() *Job {
	j := q.first
	if j == nil {
		return nil
	}
	if q.first = j.behind; q.first == nil {
		q.last = nil
	}
	j.behind = nil
	return j
}

// push has a worker go on with j.
func (w *Workers) push(j *Job, begun bool) {
	w.mu.Lock()
	if begun {
		w.begun.push(j)
	} else {
		w.fresh.push(j)
	}
	more := w.working < w.places
	if more {
		w.working++
	}
	tend := !w.tended
	if tend {
		w.tended, w.before = true, w.seated
	}
	w.mu.Unlock()
	if more {
		go w.work()
	}
	if tend {
		go w.tend()
	}
}

// pop takes the next Job. nil: there is none, and the worker ends if it may.
func (w *Workers) pop(mayEnd bool) *Job {
	w.mu.Lock()
	defer w.mu.Unlock()
	j := w.begun.pop()
	if j == nil {
		j = w.fresh.pop()
	}
	if j == nil && mayEnd {
		w.working--
	}
	return j
}

// gather is for how long a worker keeps what loops are to be told, while there is more to
// compute. A loop that is woken takes the CPU from the worker where they share one, and
// does more in one turn than in several.
const gather = 300 * time.Microsecond

// work computes until nothing is queued.
func (w *Workers) work() {
	var done []*Job // whose loops are not told yet
	var since time.Time
	for {
		j := w.pop(len(done) == 0)
		switch {
		case j != nil:
			w.advance(j)
			if done = append(done, j); len(done) == 1 {
				since = time.Now()
			} else if time.Since(since) >= gather {
				done = tell(done)
				since = time.Now()
			}
		case len(done) == 0:
			return
		default:
			if done = tell(done); len(done) > 0 {
				time.Sleep(time.Millisecond) // a mailbox is full
			}
		}
	}
}

// tell wakes the loops of Jobs, and leaves those whose loop is to be told again.
func tell(jobs []*Job) (left []*Job) {
	left = jobs[:0]
	for _, j := range jobs {
		if !j.tell() {
			left = append(left, j)
		}
	}
	clear(jobs[len(left):])
	return left
}

// seat is a coroutine that computes one Job after another: its stack has grown for the
// first one.
type seat struct {
	job   *Job
	next  func() (struct{}, bool)
	stop  func()
	yield func(struct{}) bool
}

func newSeat() *seat {
	s := new(seat)
	s.next, s.stop = iter.Pull(func(yield func(struct{}) bool) {
		s.yield = yield
		for {
			s.job.run()
			if !yield(struct{}{}) {
				return
			}
		}
	})
	return s
}

// sit gives a Job a seat.
func (w *Workers) sit(j *Job) *seat {
	w.mu.Lock()
	w.seated++
	var s *seat
	if n := len(w.free); n > 0 {
		s, w.free = w.free[n-1], w.free[:n-1]
	}
	w.mu.Unlock()
	if s == nil {
		s = newSeat()
	}
	s.job = j
	return s
}

// rise takes it away.
func (w *Workers) rise(s *seat) {
	s.job = nil
	w.mu.Lock()
	w.free = append(w.free, s)
	w.mu.Unlock()
}

// advance goes on with a Job until it waits or is over.
func (w *Workers) advance(j *Job) {
	seat := j.begin()
	if seat == nil {
		j.readTicket()
		return
	}
	for {
		seat.next()
		switch j.pause() {
		case stageOver:
			w.rise(seat)
			return
		case stageWaits:
			return
		}
	}
}

// tending is how often seats are looked after.
const tending = time.Second

// many handshakes leave behind what is worth to be given back at once.
const many = 100

// tend gives back what seats hold that are free, now and then while there are handshakes,
// and when there are no more.
func (w *Workers) tend() {
	hasten()
	for seated := ^uint64(0); ; {
		time.Sleep(tending)
		w.mu.Lock()
		free := w.free
		w.free = nil
		calm := w.seated == seated && w.working == 0
		w.tended = !calm
		seated = w.seated
		all := seated - w.before
		w.mu.Unlock()
		for _, s := range free {
			s.stop()
		}
		if calm {
			relax(all >= many)
			return
		}
	}
}
