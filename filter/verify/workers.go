package verify

import (
	"sync"
	"sync/atomic"
	"time"
)

// Task is what is to be verified.
type Task interface {
	// Verify gives the verdict, on a goroutine of Workers. nil: it waits for something, and whoever it waits for
	// calls f.Resume.
	Verify(f *Flight) *Verdict
}

// Waiter is a request that waits for a verdict, which it gets as the answer. It is called on a goroutine of Workers,
// also when the request has gone away.
type Waiter interface{ Redeem(answer any) }

// Flight is one verification, for all requests that wait for it.
type Flight struct {
	workers *Workers
	digest  Digest
	task    Task
	waiters []Waiter // guarded by workers.mu
	began   time.Time
	behind  *Flight
}

// Workers verify, on so many goroutines at once and no more: loops keep their CPUs, whatever clients send.
type Workers struct {
	places, limit int
	patience      time.Duration
	late          *Verdict

	mu          sync.Mutex
	first, last *Flight // queue
	flights     map[Digest]*Flight
	working     int
	waiting     int // requests

	Started, Joined, Full, Late atomic.Uint64 // flights; requests that joined one; that were refused; flights that waited too long
}

// NewWorkers makes places goroutines at the most, for which limit requests may wait, and none for longer than
// patience: then late is the verdict.
func NewWorkers(places, limit int, patience time.Duration, late *Verdict) *Workers {
	return &Workers{places: max(1, places), limit: max(1, limit), patience: patience, late: late, flights: map[Digest]*Flight{}}
}

// Start has credentials verified, once for all who ask at the same time: task is that of the first. False: too many
// wait.
func (w *Workers) Start(d *Digest, task Task, waiter Waiter) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting >= w.limit {
		w.Full.Add(1)
		return false
	}
	w.waiting++
	f := w.flights[*d]
	if f != nil {
		f.waiters = append(f.waiters, waiter)
		w.Joined.Add(1)
		return true
	}
	f = &Flight{workers: w, digest: *d, task: task, waiters: []Waiter{waiter}, began: time.Now()}
	w.flights[*d] = f
	w.Started.Add(1)
	w.push(f)
	return true
}

// Waiting is how many requests wait.
func (w *Workers) Waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.waiting
}

// push queues f. The lock is held.
func (w *Workers) push(f *Flight) {
	if w.last == nil {
		w.first = f
	} else {
		w.last.behind = f
	}
	w.last = f
	if w.working < w.places {
		w.working++
		go w.work()
	}
}

// Resume goes on with a flight whose task has waited.
func (f *Flight) Resume() {
	f.workers.mu.Lock()
	defer f.workers.mu.Unlock()
	f.workers.push(f)
}

// Digest is that of the credentials.
func (f *Flight) Digest() *Digest { return &f.digest }

// pop takes the next flight; nil: there is none, and the worker ends.
func (w *Workers) pop() *Flight {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.first
	if f == nil {
		w.working--
		return nil
	}
	if w.first = f.behind; w.first == nil {
		w.last = nil
	}
	f.behind = nil
	return f
}

// end takes a flight out, and gives those who wait for it.
func (w *Workers) end(f *Flight) []Waiter {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.flights, f.digest)
	w.waiting -= len(f.waiters)
	all := f.waiters
	f.waiters = nil
	return all
}

func (w *Workers) work() {
	for {
		f := w.pop()
		if f == nil {
			return
		}
		v := w.late
		if time.Since(f.began) <= w.patience {
			v = f.task.Verify(f)
		} else {
			w.Late.Add(1)
		}
		if v == nil {
			continue
		}
		for _, one := range w.end(f) {
			one.Redeem(v)
		}
	}
}
