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
// connection, which is claimed: that loop leaves it alone. Ask it by mail; there
// TakeIdle gives one up and ends the claim, here Adopted (or AdoptIdle, when its
// request has ended) counts it in, or Again and AcquireFor if there was none.
//
// # Who is next, and nobody is forgotten
//
// Waiters take turns as Turns says. After every event that may help one, which is
// Put, Closed, DialFailed, DialOK, the answer to a Steal, a mail of another loop's
// Pass, and a tick (NextDue), a loop does this:
//
//	for {
//		for w, ok := pool.NextWaiter(now); ok; w, ok = pool.NextWaiter(now) {
//			retry(w) // AcquireFor, at once
//		}
//		h, ok := pool.Pass(now)
//		if !ok {
//			break
//		}
//		post(h.Loop, h) // there Woken, AdoptIdle if it has a connection, and the same
//	}
//
// A waiter is published before the caps are looked at for the last time, and
// a slot is freed before waiters are looked for, so one of the two loops sees
// the other. A loop that is called and has no waiter any more passes it on.
package upstream
