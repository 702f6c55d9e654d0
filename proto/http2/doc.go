// Package http2 reads and writes the frames of HTTP/2 (RFC 9113), for either
// end of a connection: a Session is what one connection knows.
//
// It is sans-IO, as proto/http1 is: bytes come as arguments, results are
// offsets into them, errors are values, and the time is given. Any splitting of
// the input gives the same heads, data, resets and faults. The owner (package
// proxy) feeds the blocks it received to Next, acts on the events, sends the
// bodies out of the blocks they came in, and puts the bytes the session made
// between them: Output, AppendHead, AppendDataHeader. The session does framing,
// HPACK, stream states, both levels of flow control, settings, GOAWAY,
// priorities, and counts what only attackers do.
//
// # Streams
//
// The streams of all sessions of a worker lie in one Streams slab; everything
// here names a stream by its index there, 0 is none. Stream.User is the owner's.
//
// A Server session makes the entry before it gives EventHead, a Client session
// in Open. The session frees it, at once, when
//
//   - both directions have ended: in Next, when it gives an event with End and
//     the owner had sent its end before (Event.Freed is then true), or in
//     AppendHead or AppendDataHeader with end, when the peer had ended before
//   - either side resets it: in Reset, or in Next, which then gives EventReset
//     (always Freed)
//
// So an index is good until the owner has seen one of Freed and its own end
// behind the peer's. In an event that frees, Event.Stream still has the number,
// to be compared with but not used; User and ID are in the event. A number
// may be given out again for another stream by the next call of any session
// that shares the table. Find tells whether a stream identifier is still open;
// with the tag assert, use of a freed entry panics.
//
// After EventClosed all streams of the session are gone as well: the owner
// ends what it had on them, walking its own lists or, before it calls Release,
// with First and After. Release frees the entries and gives back what the
// session holds; it is how every session ends.
//
// # Bodies
//
// EventData lends Off, N of the bytes given to Next. Every byte lent that way
// is given back exactly once with Consumed, whether it was forwarded or thrown
// away, before or after the end of its stream: with the stream while that is
// open, with 0 afterwards. Only that opens the windows again; Reset and
// EventReset credit nothing that was lent. What never was lent (padding, the
// rest of a body after Reset, data on closed streams) the session credits itself.
//
// The session checks a body against content-length: EventData never
// exceeds it, and an end before it is an EventReset, not an End.
//
// # Order
//
// Bytes have to leave in the order they were made: what is in Output, when the
// owner sends anything, goes first. AppendHead and AppendDataHeader assume that
// what they append is sent; a stream identifier is given to a Client's stream
// when AppendHead is called, so heads may be made in any order.
//
// An EventClosed leaves a GOAWAY in Output: send it, then close.
package http2
