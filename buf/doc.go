// Package buf owns the bytes of one event loop: fixed blocks cut from the
// loop's arena, handed around by reference and never copied on their way from
// one socket to another.
//
// # Shapes
//
// A [View] names a range of bytes in a block. It contains no pointers, so
// structures full of views are invisible to the garbage collector. A [Chain]
// is a FIFO of views and has none either; its nodes live in a slab inside the
// [Pool]. Everything here belongs to one loop: nothing locks, and no view may
// be used with another pool than the one that gave it out.
//
// # Who owns bytes
//
// Every block counts references. Somebody who holds a view holds exactly one
// of them, unless the text says "lends" or "borrows". The verb says what
// happens to it:
//
//	Get, Commit, Pop,
//	AllocSide               give the caller a reference
//	Retain                  makes one more, for a second holder
//	Push, PushFront, Send   take the caller's reference: the view is gone
//	Move                    passes references from one chain to another
//	Release, Consume, Drop  end references
//	Bytes, Front, CopyOut,
//	Iovecs                  lend: good until the reference that covers the
//	                        bytes is released, and no longer
//	Slice                   arithmetic: the result stands for the same
//	                        reference, it is not a second one
//
// So to split a received view into a head and the beginning of a body, Retain
// it once and hand out two slices; to throw one of them away, Release it. A
// block returns to the pool with its last reference and is the next one to be
// given out, while the cache still has it.
//
// Releasing a block that has no references panics, and so does retaining one:
// by then two owners would write into one block, and bytes of one exchange
// could reach another. The zero View means "no view"; releasing it does
// nothing, pushing it does nothing.
//
// # Who may write
//
// The holder of an exclusive view (one reference, as Get gives it) may write
// to the whole block. Once there is a second reference nobody writes, with one
// exception: Extend, Reserve and AllocSide append behind the bytes that views cover, and
// only ever where no other view can reach.
//
// # Running out
//
// Get and Reserve report failure at the configured limit; nothing waits here.
// What to do then (park receivers, stop accepting) is the loop's affair.
package buf
