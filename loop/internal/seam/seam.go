// Package seam is what a loop and a backend from outside of package loop know of
// each other. loop/backend.go says what each method has to do; here connections are
// named by ID and descriptor, listeners by descriptor, pipes by a number.
package seam

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// Backend moves bytes for one loop, and reports to its Core what is complete.
type Backend interface {
	Now() int64
	Wall() int64

	AcceptStop(listener int32)
	Refuse(fd int32)
	// Dial gives the connection's descriptor. addr is written as for
	// loop.NewRemote, peer the same where it has an address.
	Dial(id uint64, addr string, peer netip.AddrPort) (fd int32)
	Adopt(id uint64, fd int32)
	RecvOn(id uint64, fd int32)
	RecvOff(id uint64, fd int32)
	Flush(id uint64, fd int32)
	Shutdown(fd int32)
	Cancel(fd int32) // something is in flight
	Close(fd int32, reset bool)
	Detach(fd int32)

	OpenPipe() (pipe int32, ok bool)
	ClosePipe(pipe int32)
	Pull(fd, pipe int32, n int) (int, unix.Errno)
	Push(fd, pipe int32, n int) (int, unix.Errno)
	AwaitRoom(fd int32) // the Core has set SendBusy

	Lowat(fd int32, n int)
	Wait(waitNs int64)
	Unread(fd int32) int
	Unacked(fd int32) int
	Broken(fd int32) bool
	Local(fd int32) netip.AddrPort
	Destroy()
}

// Core is what such a backend calls of the loop.
type Core interface {
	// Accepting gives the listeners that are to accept. It is good until the next
	// call.
	Accepting() []int32
	Accepted(listener, fd int32, peer netip.AddrPort) (id uint64, ok bool)
	AcceptStopped(listener int32)
	Connected(id uint64, errno unix.Errno)

	OpBegin(id uint64)
	OpEnd(id uint64)
	Closing(id uint64) bool

	// Grant is how many blocks a receive may take, want at the most. Block takes
	// one, nil: there is none. It goes on with the n bytes at off (Received), or
	// back (Unused).
	Grant(id uint64, want int) int
	Block() []byte
	Received(id uint64, off, n int)
	Unused()
	RecvEnded(id uint64, errno unix.Errno)
	Park(id uint64)
	Drained(id uint64)

	// Splicing says whether what is received next is spliced, and whether that is
	// so of what is in flight. Relay does it. It says whether to receive as usual
	// and, if not, whether to wait for readiness instead of for RecvOn.
	Splicing(id uint64) (splices, begun bool)
	Relay(id uint64) (receive, wait bool)

	// Queued is the number of bytes to send, Front copies the first of them. Drain
	// sends what a splice has to leave first, and is false while it has not.
	Queued(id uint64) int
	Front(id uint64, dst []byte)
	Drain(id uint64) bool
	Sent(id uint64, n int, errno unix.Errno)
	SendBusy(id uint64, busy bool)

	// Partial says that Wait may not report all that had happened, Thorough that it
	// should.
	Partial()
	Thorough() bool
	// Sleep is called at the end of a Wait that may wait. False: the loop has
	// something to do.
	Sleep(until int64) bool
	HasMail() bool

	// Calls counts system calls, or what stands for them.
	Calls(receives, sends, shortSends int)
	// WatermarkPiece sets the size of a large piece.
	WatermarkPiece(n int)
}
