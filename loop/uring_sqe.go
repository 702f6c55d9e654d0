//go:build giouring

package loop

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The prepare functions of the ring library are not used: several pass the
// address of a pointer or of a slice header instead of the data, and none
// clears all of an entry that was used before. These write the whole entry;
// a test holds every one of them against the bytes the kernel expects.
//
// What an entry points at must stay in place until the kernel has consumed the
// entry (the next submission), which excludes stacks; buffers that are sent or
// received into must stay until the completion.

// userData tells which operation a completion belongs to:
// generation<<32 | op<<24 | slot. Op and slot are one word so that the low
// half of a ConnID, with room for 16 Mi slots, is found by a mask.
type userData uint64

// urOp is an operation as completions name it.
type urOp uint8

const (
	urNone urOp = iota // a completion nobody waits for: cancel or close that failed
	urAccept
	urConnect
	urRecv
	urSend
	urWake // the mailbox
)

const urSlotMax = 1<<24 - 1

func packUserData(op urOp, slot, gen uint32) userData {
	return userData(uint64(gen)<<32 | uint64(op)<<24 | uint64(slot&urSlotMax))
}

func (u userData) op() urOp     { return urOp(u >> 24) }
func (u userData) slot() uint32 { return uint32(u) & urSlotMax }
func (u userData) gen() uint32  { return uint32(u >> 32) }

// prepAccept accepts connections on fd, one completion each with the new
// descriptor, until a completion without cqeMore.
func prepAccept(e *sqe, fd int32, u userData) {
	*e = sqe{
		OpCode: opAccept, IoPrio: acceptMultishot, Fd: fd,
		OpcodeFlags: unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC, UserData: uint64(u),
	}
}

// prepRecv receives once into a buffer of the group. Without a buffer it ends with
// ENOBUFS, whether bytes are there or not: Linux asks for the buffer first.
func prepRecv(e *sqe, fd int32, group uint16, u userData) {
	*e = sqe{OpCode: opRecv, Flags: sqeBufferSelect, Fd: fd, BufIG: group, UserData: uint64(u)}
}

// prepRecvMultishot receives into buffers of the group, one completion each,
// until a completion without cqeMore. limit: that comes after so many bytes at
// the latest; 0: no limit, the only one there is before Linux 6.17.
func prepRecvMultishot(e *sqe, fd int32, group uint16, limit uint32, u userData) {
	prepRecv(e, fd, group, u)
	e.IoPrio = recvMultishot
	e.SpliceFdIn = int32(limit) // shares its place with optlen
}

// prepSend sends b, or the part of it that the kernel has room for. Without
// MSG_WAITALL a slow peer shows as short sends, so that its progress is seen
// and blocks come free on the way, as with epoll.
func prepSend(e *sqe, fd int32, b []byte, flags uintptr, u userData) {
	*e = sqe{
		OpCode: opSend, Fd: fd,
		Addr: addrOf(unsafe.Pointer(unsafe.SliceData(b))), Len: uint32(len(b)),
		OpcodeFlags: uint32(flags), UserData: uint64(u),
	}
}

// prepSendmsg is prepSend for the vector in m.
func prepSendmsg(e *sqe, fd int32, m *unix.Msghdr, flags uintptr, u userData) {
	*e = sqe{
		OpCode: opSendmsg, Fd: fd, Addr: addrOf(unsafe.Pointer(m)), Len: 1,
		OpcodeFlags: uint32(flags), UserData: uint64(u),
	}
}

// prepConnect connects fd to the raw socket address.
func prepConnect(e *sqe, fd int32, sockaddr []byte, u userData) {
	*e = sqe{
		OpCode: opConnect, Fd: fd,
		Addr: addrOf(unsafe.Pointer(unsafe.SliceData(sockaddr))), Off: uint64(len(sockaddr)),
		UserData: uint64(u),
	}
}

// prepPoll reports every time fd becomes readable, until a completion without
// cqeMore.
func prepPoll(e *sqe, fd int32, u userData) {
	*e = sqe{
		OpCode: opPollAdd, Fd: fd, Len: pollMultishot,
		OpcodeFlags: unix.POLLIN, UserData: uint64(u),
	}
}

// prepPollOnce reports once that one of the events in mask is there.
func prepPollOnce(e *sqe, fd int32, mask uint32, u userData) {
	*e = sqe{OpCode: opPollAdd, Fd: fd, OpcodeFlags: mask, UserData: uint64(u)}
}

// prepCancel ends the operation known as target, which then completes. Success
// itself is silent; not finding it, because it has just completed, is not.
func prepCancel(e *sqe, target userData) {
	*e = sqe{
		OpCode: opCancel, Flags: sqeSkipSuccess, Fd: -1, Addr: uint64(target),
		UserData: uint64(packUserData(urNone, 0, 0)),
	}
}

// prepCancelAll ends every operation in the ring.
func prepCancelAll(e *sqe) {
	*e = sqe{
		OpCode: opCancel, Flags: sqeSkipSuccess, Fd: -1, OpcodeFlags: cancelAll | cancelAny,
		UserData: uint64(packUserData(urNone, 0, 0)),
	}
}

// prepClose closes fd; silent on success.
func prepClose(e *sqe, fd int32) {
	*e = sqe{
		OpCode: opClose, Flags: sqeSkipSuccess, Fd: fd,
		UserData: uint64(packUserData(urNone, 0, 0)),
	}
}
