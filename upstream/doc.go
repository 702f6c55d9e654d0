// Package upstream chooses where a request goes and keeps the connections to
// get there: endpoints and their balancing, caps over all loops, per-loop pools
// of idle connections, the queue of waiting requests, passive marking with
// back-off, and the rule for retries.
//
// It knows neither sockets nor HTTP bytes: connections and waiters are numbers,
// time is an argument. A Cluster is shared by all loops, and what is shared in
// it is atomic; a Pool is one loop's share and belongs to its thread.
//
// # A connection's life
//
// Acquire answers Reuse (a connection taken out of the idle ones) or Dial (a
// slot reserved). From then on the connection is counted, exactly until Closed
// or DialFailed is called for it, on whatever loop it is then:
//
//	Dial    -> DialOK, request ...     or DialFailed, DialGivenUp (that is the end)
//	request -> PutAddr true: idle      or PutAddr false / broken: close, Closed
//	idle    -> Acquire, TakeIdle       or Remove / Expire: close, Closed
//
// Steal means: all slots are taken and loop Decision.Loop has an idle
// connection. Ask it by mail; there TakeIdle gives one up, here Adopted (or
// AdoptIdle) counts it in, or StealFailed and Acquire again if there was none.
// Every Steal ends in one of these, or in StealDropped.
//
// # Nobody is forgotten
//
// After every event that may help a waiter, which is Put, Closed, DialFailed,
// DialOK, the answer to a Steal, a wake mail, and a tick (NextDue), a loop does
// this:
//
//	for w, ok := pool.NextWaiter(now); ok; w, ok = pool.NextWaiter(now) {
//		retry(w) // Acquire, at once
//	}
//	if pool.Waiting() == 0 {
//		if other, ok := cluster.WakeLoop(self); ok {
//			post(other, wake)
//		}
//	}
//
// A waiter is published before the caps are looked at for the last time, and
// a slot is freed before waiters are looked for, so one of the two loops sees
// the other. A loop that is woken and has no waiter any more passes it on.
package upstream
