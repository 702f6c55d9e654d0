package loop

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"zproxy/buf"
)

// What the epoll backend has to receive and send in a tick is gathered here and
// carried out by one io_submit (Linux AIO), which works for any socket and is
// allowed in most sandboxes that forbid io_uring. On a socket that does not
// block an operation is complete when the call returns, and its result lies in
// memory shared with the kernel. Where there is no AIO, or just one thing to do,
// every operation is a system call as usual.

const (
	batchMax  = 256  // operations in one call
	batchIovs = 1024 // buffers of those that send several
)

// iocb is struct iocb of linux/aio_abi.h.
type iocb struct {
	data         uint64 // comes back in the event
	_            uint64 // key and rw_flags
	opcode       uint16
	_            int16
	fd           uint32
	buf          uint64
	bytes        uint64 // or the number of vectors
	_            [2]uint64
	flags, resFD uint32
}

const (
	aioRead   = 0
	aioWrite  = 1
	aioWritev = 8
)

// aioRing is what the kernel maps for a context: its address is the context's
// name.
type aioRing struct {
	_          uint32
	slots      uint32
	head, tail uint32
	magic      uint32
	_          uint32
	incompat   uint32
	headerSize uint32
}

const aioMagic = 0xa10a10a1

// aioEvent is struct io_event.
type aioEvent struct {
	data, obj uint64
	res, res2 int64
}

// batchOp is one operation until it is complete.
type batchOp struct {
	id    ConnID
	c     *conn
	view  buf.View     // the block of a receive; a send has none
	iov   []unix.Iovec // what is received into, or sent
	total int          // bytes of it
	done  bool         // what follows is valid
	n     int          // bytes, if errno is 0
	errno unix.Errno
}

func (op *batchOp) receives() bool { return op.view.Len != 0 }

// batch is what was gathered since the last submit. Its arrays do not move: the
// kernel reads them.
type batch struct {
	ring *aioRing // nil: no AIO
	why  string   // there is none
	msg  unix.Msghdr
	late aioEvent

	ops     [batchMax]batchOp
	cbs     [batchMax]iocb
	at      [batchMax]*iocb // those of ops that AIO can do
	iovs    [batchIovs]unix.Iovec
	n       int // of ops
	numAIO  int // of at
	numIovs int
}

// open asks the kernel for a context with room for so many operations at least.
// Without one everything works, by more system calls.
func (b *batch) open(operations int) {
	_, _, errno := unix.RawSyscall(unix.SYS_IO_SETUP, uintptr(operations), uintptr(unsafe.Pointer(&b.ring)), 0)
	switch {
	case errno != 0:
		b.ring, b.why = nil, setupFailed(errno)
	case b.ring.magic != aioMagic || b.ring.incompat != 0:
		b.close()
		b.why = "io_setup: the kernel keeps results in a form that is not known here"
	}
}

// setupFailed says what an errno of io_setup means, and what to do.
func setupFailed(errno unix.Errno) string {
	hint := ""
	switch errno {
	case unix.EAGAIN:
		hint = " (all that sysctl fs.aio-max-nr allows is taken, see fs.aio-nr; raise it)"
	case unix.ENOSYS:
		hint = " (the kernel is built without CONFIG_AIO)"
	case unix.EPERM:
		hint = " (something like a seccomp filter forbids it)"
	}
	return "io_setup: " + errno.Error() + hint
}

func (b *batch) close() {
	if b.ring != nil {
		unix.Syscall(unix.SYS_IO_DESTROY, b.context(), 0, 0)
		b.ring = nil
	}
}

func (b *batch) context() uintptr { return uintptr(unsafe.Pointer(b.ring)) }

// full says that the next operation may find no room.
func (b *batch) full() bool { return b.n == batchMax || b.numIovs+iovPerSend > batchIovs }

// receive adds a receive into v, whose memory is mem.
func (b *batch) receive(id ConnID, c *conn, v buf.View, mem []byte) {
	iov := b.room()[:1]
	iov[0].Base = &mem[0]
	iov[0].SetLen(len(mem))
	b.add(batchOp{id: id, c: c, view: v, iov: iov, total: len(mem)}, aioRead)
}

// room lends the place for the vectors of the next operation.
func (b *batch) room() []unix.Iovec { return b.iovs[b.numIovs : b.numIovs+iovPerSend] }

// send adds a send of iov, which is a part of room.
func (b *batch) send(id ConnID, c *conn, iov []unix.Iovec) {
	total := 0
	for i := range iov {
		total += int(iov[i].Len)
	}
	b.add(batchOp{id: id, c: c, iov: iov, total: total}, aioWrite)
}

// add appends op, and prepares it for AIO unless it needs flags that AIO does
// not know.
func (b *batch) add(op batchOp, opcode uint16) {
	b.ops[b.n] = op
	b.numIovs += len(op.iov)
	if op.receives() || !op.c.has(flagShutWanted) {
		cb := &b.cbs[b.numAIO]
		*cb = iocb{data: uint64(b.n), opcode: opcode, fd: uint32(op.c.fd), buf: addrOf(unsafe.Pointer(op.iov[0].Base)), bytes: op.iov[0].Len}
		if len(op.iov) > 1 {
			cb.opcode, cb.buf, cb.bytes = aioWritev, addrOf(unsafe.Pointer(&op.iov[0])), uint64(len(op.iov))
		}
		b.at[b.numAIO] = cb
		b.numAIO++
	}
	b.n++
}

// run carries out what was added and lends it, with its results, until the next
// add.
func (b *batch) run() []batchOp {
	if b.ring != nil && b.numAIO > 1 {
		b.submit()
	}
	ops := b.ops[:b.n]
	for i := range ops {
		if op := &ops[i]; !op.done {
			b.call(op)
		}
	}
	b.n, b.numAIO, b.numIovs = 0, 0, 0
	return ops
}

// submit is io_submit. What the kernel takes is complete afterwards; if it does
// not take all, the rest is left to plain calls.
func (b *batch) submit() {
	n, _, errno := unix.RawSyscall(unix.SYS_IO_SUBMIT, b.context(), uintptr(b.numAIO), uintptr(unsafe.Pointer(&b.at[0])))
	if errno != 0 {
		return
	}
	for left := int(n) - b.reap(); left > 0; left-- {
		// Cannot be with sockets that don't block. The buffers are the kernel's
		// until it has finished.
		unix.Syscall6(unix.SYS_IO_GETEVENTS, b.context(), 1, 1, uintptr(unsafe.Pointer(&b.late)), 0, 0)
		b.settle(&b.late)
	}
}

// reap takes the results out of the ring, and gives their number.
func (b *batch) reap() (n int) {
	r := b.ring
	events := unsafe.Slice((*aioEvent)(unsafe.Add(unsafe.Pointer(r), r.headerSize)), r.slots)
	head := r.head
	for tail := atomic.LoadUint32(&r.tail); head != tail; n++ {
		b.settle(&events[head])
		if head++; head == r.slots {
			head = 0
		}
	}
	atomic.StoreUint32(&r.head, head)
	return n
}

func (b *batch) settle(ev *aioEvent) {
	op := &b.ops[ev.data]
	op.done = true
	if ev.res < 0 {
		op.errno = unix.Errno(-ev.res)
	} else {
		op.n = int(ev.res)
	}
}

// call does one operation by a system call of its own.
func (b *batch) call(op *batchOp) {
	c := op.c
	switch {
	case op.receives():
		op.n, op.errno = recvFD(c.fd, unsafe.Slice(op.iov[0].Base, op.total))
	case len(op.iov) == 1:
		op.n, op.errno = sendFD(c.fd, &op.iov[0], sendFlags(c))
	default:
		b.msg.Iov = &op.iov[0]
		b.msg.SetIovlen(len(op.iov))
		op.n, op.errno = sendmsgFD(c.fd, &b.msg, sendFlags(c))
	}
}
