// Package upstream chooses where a request goes and keeps the connections to
// get there: endpoints and their balancing, limits over all loops, per-loop pools
// of idle connections, the queue of waiting requests, passive health checks with
// back-off, and the rule for retries.
//
// It knows neither sockets nor HTTP bytes: connections and waiters are numbers,
// time is an argument. A Cluster is shared by all loops, and what is shared in
// it is atomic; a Pool is one loop's share and belongs to its thread.
//
// # A connection's life
//
// Acquire returns Reuse (an idle connection, no longer idle) or Dial (a slot is
// reserved). From then on the connection is counted until Closed or DialFailed is
// called for it, on whatever loop it is then:
//
//	Dial    -> DialOK, request ...     or DialFailed, DialGivenUp (that is the end)
//	request -> PutAddr true: idle      or PutAddr false / broken: close, Closed
//	idle    -> Acquire, TakeIdle       or Remove / Expire: close, Closed
//
// Ask means: all slots are taken, and loop Decision.Loop has an idle connection.
// The connection is claimed: that loop does not use it meanwhile. The caller asks
// that loop by mail for a handoff. There TakeIdle yields the connection and ends
// the claim. Here Adopted counts it (AdoptIdle if its request has ended); if there
// was none, the caller calls Again and AcquireFor.
//
// # The next waiter, and no lost wake-up
//
// Waiters take turns as Turns says. A loop does the following after every event
// that may help one: Put, Closed, DialFailed, DialOK, the reply to an Ask, a mail
// of another loop's Pass, and a timer (NextDue):
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
