// Package plant puts known bugs into the proxy, so that a test can see the
// simulator find them: oracles that were never seen to fail prove nothing.
//
// A plain build has none of it: Is is false there, known to the compiler. With
// `-tags plant` the environment variable ZPROXY_PLANT names the one bug that
// is let loose.
package plant

// The bugs. Where each one is planted, its name stands in the code.
const (
	Release = "release" // a block is released once too often
	Byte    = "byte"    // a byte of a body is lost now and then
	Swap    = "swap"    // a connection is used again in the middle of an answer
	Cut     = "cut"     // an answer that was cut short ends in order
	Pause   = "pause"   // a paused client is not always resumed
	Log     = "log"     // a request of a client that leaves is not logged
	Twice   = "twice"   // a request that must not be repeated is sent again
	Leak    = "leak"    // a block is not given back
	Slot    = "slot"    // a connection that ends is still counted against its cap
	Bound   = "bound"   // an origin whose client does not keep up is read on
	Credit  = "credit"  // a stream that was paused is not given all its window back
	Stream  = "stream"  // bytes of a stream leave on another one
	End     = "end"     // a stream whose answer was cut short ends in order
	Leave   = "leave"   // a leave to have a stream open is lost
	Half    = "half"    // the end of a tunnel's direction does not leave on a stream
	Early   = "early"   // what a client sends before its tunnel is open is lost
	Connect = "connect" // a WebSocket goes to an origin that takes none
)

// Held is found by a test of its own: who holds memory without moving keeps it.
const Held = "held"

// These are found by another one: one client has what is others'.
const (
	Line  = "line"  // who waits for a connection waits in one line, whoever asks for it
	Each  = "each"  // an address has a turn on each loop
	Stall = "stall" // who holds a connection without moving keeps it
)

// All lists the others.
var All = []string{Release, Byte, Swap, Cut, Pause, Log, Twice, Leak, Slot, Bound, Credit, Stream, End, Leave, Half, Early, Connect}
