//go:build giouring

package loop

import (
	"encoding/binary"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rawSQE spells struct io_uring_sqe of the kernel's UAPI header byte by byte.
type rawSQE struct {
	opcode, flags byte
	ioprio        uint16
	fd            int32
	off, addr     uint64
	len, opFlags  uint32
	userData      uint64
	bufGroup      uint16
	optLen        uint32
}

func (r rawSQE) bytes() (b [64]byte) {
	le := binary.LittleEndian
	b[0], b[1] = r.opcode, r.flags
	le.PutUint16(b[2:], r.ioprio)
	le.PutUint32(b[4:], uint32(r.fd))
	le.PutUint64(b[8:], r.off)
	le.PutUint64(b[16:], r.addr)
	le.PutUint32(b[24:], r.len)
	le.PutUint32(b[28:], r.opFlags)
	le.PutUint64(b[32:], r.userData)
	le.PutUint16(b[40:], r.bufGroup)
	le.PutUint32(b[44:], r.optLen)
	return b
}

// Numbers are those of linux/io_uring.h, linux/socket.h and asm/fcntl.h, not
// the constants under test.
func TestSQEBytes(t *testing.T) {
	data := []byte("payload")
	sockaddr := []byte{2, 0, 0x1f, 0x90, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}
	msg := &unix.Msghdr{}
	u := packUserData(urSend, 0x123456, 0x89abcdef)
	const rawU = 0x89abcdef_04_123456
	tests := []struct {
		name string
		prep func(*sqe)
		want rawSQE
	}{
		{"accept", func(e *sqe) { prepAccept(e, 7, u) },
			rawSQE{opcode: 13, ioprio: 1, fd: 7, opFlags: 0o2004000, userData: rawU}},
		{"recv", func(e *sqe) { prepRecv(e, 7, 5, u) },
			rawSQE{opcode: 27, flags: 1 << 5, fd: 7, bufGroup: 5, userData: rawU}},
		{"recv multishot", func(e *sqe) { prepRecvMultishot(e, 7, 5, 1<<18, u) },
			rawSQE{opcode: 27, flags: 1 << 5, ioprio: 2, fd: 7, bufGroup: 5, optLen: 1 << 18, userData: rawU}},
		{"send", func(e *sqe) { prepSend(e, 7, data, 0x4000, u) },
			rawSQE{opcode: 26, fd: 7, addr: uint64(uintptr(unsafe.Pointer(&data[0]))), len: 7,
				opFlags: 0x4000, userData: rawU}},
		{"sendmsg", func(e *sqe) { prepSendmsg(e, 7, msg, 0x4000, u) },
			rawSQE{opcode: 9, fd: 7, addr: uint64(uintptr(unsafe.Pointer(msg))), len: 1,
				opFlags: 0x4000, userData: rawU}},
		{"send before a shutdown", func(e *sqe) { prepSend(e, 7, data, sendFlags(&conn{flags: flagShutWanted}), u) },
			rawSQE{opcode: 26, fd: 7, addr: uint64(uintptr(unsafe.Pointer(&data[0]))), len: 7,
				opFlags: 0xc000, userData: rawU}},
		{"connect", func(e *sqe) { prepConnect(e, 7, sockaddr, u) },
			rawSQE{opcode: 16, fd: 7, addr: uint64(uintptr(unsafe.Pointer(&sockaddr[0]))), off: 16,
				userData: rawU}},
		{"poll", func(e *sqe) { prepPoll(e, 7, u) },
			rawSQE{opcode: 6, fd: 7, len: 1, opFlags: 1, userData: rawU}},
		{"poll once", func(e *sqe) { prepPollOnce(e, 7, 4, u) },
			rawSQE{opcode: 6, fd: 7, opFlags: 4, userData: rawU}},
		{"cancel", func(e *sqe) { prepCancel(e, u) },
			rawSQE{opcode: 14, flags: 1 << 6, fd: -1, addr: rawU}},
		{"cancel all", func(e *sqe) { prepCancelAll(e) },
			rawSQE{opcode: 14, flags: 1 << 6, fd: -1, opFlags: 1 | 4}},
		{"close", func(e *sqe) { prepClose(e, 7) },
			rawSQE{opcode: 19, flags: 1 << 6, fd: 7}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var e sqe
			dirty := (*[64]byte)(unsafe.Pointer(&e)) // an entry that was used before
			for i := range dirty {
				dirty[i] = 0xff
			}
			tt.prep(&e)
			if got, want := *dirty, tt.want.bytes(); got != want {
				t.Errorf("entry\n got % x\nwant % x", got, want)
			}
		})
	}
}

func TestUserData(t *testing.T) {
	for _, op := range []urOp{urNone, urAccept, urConnect, urRecv, urSend, urWake} {
		for _, slot := range []uint32{0, 1, urSlotMax} {
			for _, gen := range []uint32{0, 1, 1 << 31, 1<<32 - 1} {
				u := packUserData(op, slot, gen)
				if u.op() != op || u.slot() != slot || u.gen() != gen {
					t.Errorf("%d/%d/%d packs to %#x: %d/%d/%d", op, slot, gen, u, u.op(), u.slot(), u.gen())
				}
			}
		}
	}
}

// The kernel's own size and offsets; the library's are compared by the compiler.
func TestRingParamsLayout(t *testing.T) {
	if unsafe.Sizeof(ringParams{}) != 120 || unsafe.Offsetof(ringParams{}.features) != 20 {
		t.Fatal("ringParams is not struct io_uring_params")
	}
}
