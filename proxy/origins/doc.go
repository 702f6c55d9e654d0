// Package origins is a worker's connections to endpoints: dialled, kept idle, handed to
// other loops, grouped where they carry streams. It hands them out as leases.
//
// It is a driver to pull from, as the loop is. Who needs a connection asks (Quick, Ask,
// Stream, Await) and gets the first event of its request as the answer: a lease that is
// ready, one that is coming, a place in the queue, or a refusal. What comes of it later,
// Next gives. Events of the loop and of HTTP/2 connections, and mail of other loops, go
// in; mail to them comes out by Outgoing. Nobody is called, so whoever deals with an
// event may ask for anything.
//
// A lease is a number. It is one connection, or one stream of one, for one exchange, from
// the answer that names it until its holder gives it back: by Return, which makes a
// connection idle, by Close, Abort or EndStream. A dial goes on without its holder
// (Release): the connection is for somebody else then. Of a lease that was given back
// nothing is told any more, but what was told before and not pulled yet: its holder
// knows. A lease that Failed tells of is over, and not given back.
//
// Which request is tried again, what a client is told, who waits although it could have a
// connection: all that is for the holder to say. The package knows no exchange, only the
// numbers of those that wait.
package origins
