package upstream

import (
	"math"
	"sync/atomic"
)

// health is what is known about an endpoint from the requests it was given
// (passive marking), in one word so that every change is one compare-and-swap:
//
//	bits 8..63  until: end of the back-off, microseconds
//	bit  7      cause: 0 connecting failed, 1 responses failed
//	bit  6      probing: the back-off is over, one request tries the endpoint
//	bits 0..5   failures in a row (stops counting at 63)
//
// Zero is up, so that the path of a request is one load and one compare. An
// endpoint that is held has a back-off without end, and no failures: what
// becomes of requests does not change that.
type health struct {
	word   atomic.Uint64
	holds  atomic.Uint32  // of holdNoAddress and its like: the word follows, see settle
	ill    *atomic.Int32  // of the cluster: how many of its words are not zero
	turned *atomic.Uint32 // of the cluster: how often ill has changed
	since  atomic.Int64   // when the current outage began
	bad    atomic.Int32   // failed responses in a row while up
}

const (
	healthFails   = 1<<6 - 1
	healthProbing = 1 << 6
	healthCause   = 1 << 7
	healthShift   = 8

	healthHeld = math.MaxInt64 / 1000 << healthShift
)

// Why an endpoint is held.
const (
	holdNoAddress uint32 = 1 << iota
	holdChecks           // active checks have found all its addresses down
	holdEjected          // it has answered badly, see Outlier
	holdDrained          // its weight is 0, see SetWeight
)

// hold keeps requests off until unhold with the same why.
func (h *health) hold(why uint32) {
	if h.holds.Or(why)&why == 0 {
		h.settle()
	}
}

// unhold makes the endpoint up, if nothing else holds it.
func (h *health) unhold(why uint32) {
	if h.holds.And(^why)&why != 0 {
		h.settle()
	}
}

// settle makes the word what holds says. Whoever changes holds calls it after
// that, so of several at once the last one to look sees what all have done.
func (h *health) settle() {
	for {
		w, held := h.word.Load(), h.holds.Load() != 0
		switch {
		case held == (w == healthHeld):
			return
		case !held:
			h.clear(w)
		case h.word.CompareAndSwap(w, healthHeld) && w == 0:
			h.turns(1)
		}
	}
}

// turns counts that the endpoint is ill, or no more. The word has changed before.
func (h *health) turns(d int32) {
	h.ill.Add(d)
	h.turned.Add(1)
}

// until in ns; rounded up, so that a back-off never ends early.
func untilNs(w uint64) int64 { return int64(w>>healthShift) * 1000 }

func untilWord(ns int64) uint64 { return uint64(ns+999) / 1000 << healthShift }

// usable: up, or its back-off is over and claim may win it.
func usable(w uint64, now int64) bool { return w == 0 || now >= untilNs(w) }

// claim makes the caller the one prober of an endpoint whose back-off is over.
// The back-off is prolonged to leaseNs from now: should the prober never tell
// its result, another one gets a chance then.
func (h *health) claim(w uint64, now, leaseNs int64) (claimed uint64, ok bool) {
	claimed = untilWord(now+leaseNs) | w&(healthCause|healthFails) | healthProbing
	return claimed, h.word.CompareAndSwap(w, claimed)
}

// unclaim undoes claim for a prober that found no free slot.
func (h *health) unclaim(claimed, w uint64) { h.word.CompareAndSwap(claimed, w) }

// release lets the next request probe at once: the prober has no result yet,
// and goes on with another address.
func (h *health) release(now int64) {
	if w := h.word.Load(); w&healthProbing != 0 {
		h.word.CompareAndSwap(w, untilWord(now)-1<<healthShift|w&(healthCause|healthFails))
	}
}

// fail records a failure at now. A failure that comes while the endpoint is
// down already, and not from its prober, belongs to the burst that marked it
// and does not lengthen the back-off. jitter is any random word.
func (h *health) fail(now int64, cause uint64, first, longest int64, jitter uint64) {
	for {
		w := h.word.Load()
		if w != 0 && w&healthProbing == 0 && now < untilNs(w) {
			return
		}
		fails := min(w&healthFails+1, healthFails)
		wait := longest
		if fails < 32 && first<<(fails-1) < longest {
			wait = first << (fails - 1)
		}
		// Up to a quarter more, so that the loops of many proxies that lost
		// the same origin do not come back together.
		wait += int64(jitter % uint64(wait/4+1))
		next := untilWord(now+wait) | cause | fails
		if h.word.CompareAndSwap(w, next) {
			if w == 0 {
				h.turns(1)
				h.since.Store(now)
			}
			return
		}
	}
}

// connected clears an outage that failing connects caused. One that failing
// responses caused needs a response to end: accepting proves little.
func (h *health) connected() {
	if w := h.word.Load(); w&healthFails != 0 && w&healthCause == 0 {
		h.clear(w)
	}
}

// clear makes the endpoint up if its word is still w, which is not 0.
func (h *health) clear(w uint64) {
	if h.word.CompareAndSwap(w, 0) {
		h.turns(-1)
	}
}

// recovered ends an outage that requests found, whatever its cause.
func (h *health) recovered() {
	for w := h.word.Load(); w != 0 && w != healthHeld; w = h.word.Load() {
		h.clear(w)
	}
}

// answered ends a series of failed responses.
func (h *health) answered() {
	if h.bad.Load() != 0 {
		h.bad.Store(0)
	}
	if w := h.word.Load(); w&healthCause != 0 {
		h.clear(w)
	}
}
