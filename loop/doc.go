// Package loop asks the kernel for sockets and time: one event loop per CPU,
// on a thread of its own, over epoll or io_uring.
//
// # A queue to pull from
//
// A [Loop] has no handlers. Its owner states intents (Dial, Recv, Send,
// Close, ...), which cost no system call and report nothing, calls [Loop.Poll]
// to carry them out and to wait, and then pulls what happened with
// [Loop.Next]:
//
//	for {
//		if err := l.Poll(-1); err != nil { ... }
//		for ev := l.Next(); ev != nil; ev = l.Next() {
//			switch ev.Kind { ... }
//		}
//	}
//
// Poll is the only call that blocks. Nothing happens inside an intent, so
// there is no re-entrancy: events come from Poll alone.
//
// # Connections
//
// A [ConnID] is a slot and the slot's generation. An ID whose connection is
// gone is recognised by one comparison; every intent on it does nothing (Send
// releases the view it was given). The events of a connection, in order:
//
//	Accepted | Connected{Errno}      it exists (Dial: also when it failed)
//	Received*  then one RecvEnd      after Recv; Errno 0 is end of file
//	Spliced*                         after Splice, in place of Received
//	Sent*                            one per completed send to the kernel
//	Timer                            each time a Deadline has passed, and what
//	                                 had arrived before was reported
//	Closed                           after Close, Abort, Export: the last event
//
// After Close, Abort or Export the only event is Closed: what was collected
// before and not pulled yet is dropped. The slot lives until Closed is pulled.
//
// # Who owns bytes
//
// Received passes an exclusive reference to View's block to the puller, who
// may also Extend it. Send takes the caller's reference; it is released when
// the kernel is done with the bytes. Buffers are taken from the pool when data
// arrives: an idle connection holds none. When the pool is exhausted the loop
// stops accepting and parks receivers, and goes on as blocks come back.
//
// # Threads
//
// Everything belongs to the thread that called [New], except [Loop.Post].
//
// # Backends
//
// The core (this package without epoll*.go and uring*.go) owns the connection
// table, the send chains, the event queue, the timers, the mailbox and the
// join that ends a connection. A backend (see backend.go) moves bytes and
// reports completions. Which one runs is chosen in New; one table of contract
// tests runs on all of them. A package below this one can bring its own (NewOn).
package loop
