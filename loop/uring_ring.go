//go:build giouring

package loop

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/pawelgaczynski/giouring"
	"golang.org/x/sys/unix"
)

// This is the only file that imports the ring library. It links only with
// -ldflags=-checklinkname=0, hence the build tag: without the tag the package
// has no io_uring backend and builds with no flags at all.

type (
	sqe = giouring.SubmissionQueueEntry
	cqe = giouring.CompletionQueueEvent
)

// Opcodes the backend submits.
const (
	opPollAdd = giouring.OpPollAdd
	opSendmsg = giouring.OpSendmsg
	opAccept  = giouring.OpAccept
	opCancel  = giouring.OpAsyncCancel
	opConnect = giouring.OpConnect
	opClose   = giouring.OpClose
	opSend    = giouring.OpSend
	opRecv    = giouring.OpRecv
)

type opName struct {
	op   uint8
	name string
}

// uringOps is everything the backend submits.
var uringOps = []opName{
	{opPollAdd, "POLL_ADD"}, {opSendmsg, "SENDMSG"}, {opAccept, "ACCEPT"},
	{opCancel, "ASYNC_CANCEL"}, {opConnect, "CONNECT"}, {opClose, "CLOSE"},
	{opSend, "SEND"}, {opRecv, "RECV"},
}

const (
	sqeBufferSelect = giouring.SqeBufferSelect
	sqeSkipSuccess  = giouring.SqeCQESkipSuccess

	acceptMultishot = giouring.AcceptMultishot
	recvMultishot   = giouring.RecvMultishot
	pollMultishot   = giouring.PollAddMulti
	cancelAll       = giouring.AsyncCancelAll
	cancelAny       = giouring.AsyncCancelAny

	enterGetEvents  = uintptr(giouring.EnterGetEvents)
	enterExtArg     = uintptr(giouring.EnterExtArg)
	enterRegistered = uintptr(giouring.EnterRegisteredRing)

	cqeBuffer      = giouring.CQEFBuffer
	cqeMore        = giouring.CQEFMore
	cqeBufferShift = giouring.CQEBufferShift
)

// Newer than the library.
const (
	featRecvSendBundle uint32 = 1 << 14 // Linux 6.10
	featMinTimeout     uint32 = 1 << 15 // Linux 6.12
	pbufRingInc        uint16 = 2       // Linux 6.12
)

const (
	ringSetupFlags = giouring.SetupSingleIssuer | giouring.SetupDeferTaskrun |
		giouring.SetupSubmitAll | giouring.SetupCQSize | giouring.SetupClamp

	// The kernel has copied msghdr, iovec and sockaddr once it has consumed
	// the entry (stable), loses no completion (nodrop), takes a timeout with
	// the wait (extArg) and can leave out completions (skip).
	ringFeatures = giouring.FeatNoDrop | giouring.FeatSubmitStable |
		giouring.FeatExtArg | giouring.FeatCQESkip | giouring.FeatFastPoll
)

// cqBatch is how many completions are looked at between two looks at the
// completion queue.
const cqBatch = 256

// ringParams is struct io_uring_params. The library's twin has the same
// layout but keeps its fields to itself.
type ringParams struct {
	sqEntries    uint32
	cqEntries    uint32
	flags        uint32
	sqThreadCPU  uint32
	sqThreadIdle uint32
	features     uint32
	wqFD         uint32
	_            [3]uint32
	sqHead       uint32 // offsets from the start of the shared memory
	sqTail       uint32
	_            [8]uint32
	_            [10]uint32 // those of the completion queue
}

// Compiles only if both have the same size.
var _ = [unsafe.Sizeof(giouring.Params{})]byte([unsafe.Sizeof(ringParams{})]byte{})

// ring is one io_uring instance, made and used on one thread.
type ring struct {
	r        *giouring.Ring
	params   ringParams
	shared   unsafe.Pointer // the queues' heads and tails, a second time: the library keeps its own to itself
	arg      *waitArg       // on the heap: the kernel reads it, stacks move
	regIndex int32          // of the registered ring descriptor, -1: none
	batch    [cqBatch]*cqe
}

// waitArg is struct io_uring_getevents_arg and what it points at.
type waitArg struct {
	sigmask     uint64
	sigmaskSize uint32
	minWaitUsec uint32
	ts          uint64
	timespec    unix.Timespec
}

const waitArgSize = unsafe.Offsetof(waitArg{}.timespec)

// newRing sets up a ring with room for entries submissions and four times as
// many completions. It must run on the thread that will use the ring. The
// error is an errno.
func newRing(entries uint32) (*ring, error) {
	return newRingWith(entries, 4*entries, ringSetupFlags)
}

func newRingWith(entries, cqEntries, flags uint32) (*ring, error) {
	g := &ring{
		r:        giouring.NewRing(),
		params:   ringParams{flags: flags, cqEntries: cqEntries},
		arg:      &waitArg{sigmaskSize: 8},
		regIndex: -1,
	}
	err := g.r.QueueInitParams(entries, (*giouring.Params)(unsafe.Pointer(&g.params)))
	if err != nil {
		return nil, err
	}
	g.arg.ts = addrOf(unsafe.Pointer(&g.arg.timespec))
	g.shared, err = unix.MmapPtr(g.r.RingFd(), 0, nil, uintptr(unix.Getpagesize()),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		g.r.QueueExit()
		return nil, err
	}
	return g, nil
}

// registerFD spares every enter the look-up of the ring's descriptor. Call it
// after all other registrations: the library would do those through the
// registered descriptor, which Linux knows only since 6.3. Its failure costs
// some nanoseconds, so it is no error.
func (g *ring) registerFD() {
	// The library keeps the index it gets to itself, and cannot undo its
	// registration. The kernel gives out the lowest free index, so a first
	// registration that is taken back at once tells what the second will get.
	fd := g.r.RingFd()
	up := giouring.RsrcUpdate{Offset: ^uint32(0), Data: uint64(fd)}
	if n, errno := g.r.Register(fd, giouring.RegisterRingFDs, unsafe.Pointer(&up), 1); errno != 0 || n != 1 {
		return
	}
	index := int32(up.Offset)
	g.unregisterFD(index)
	if _, err := g.r.RegisterRingFd(); err == nil {
		g.regIndex = index
	}
}

func (g *ring) unregisterFD(index int32) {
	up := giouring.RsrcUpdate{Offset: uint32(index)}
	_, _ = g.r.Register(g.r.RingFd(), giouring.UnregisterRingFDs, unsafe.Pointer(&up), 1)
}

// close ends the ring; what is still in flight is cancelled by the kernel.
func (g *ring) close() {
	if g.r == nil {
		return
	}
	if g.regIndex >= 0 {
		// A thread that lives on would keep the ring alive through its table
		// of registered descriptors.
		g.unregisterFD(g.regIndex)
	}
	_ = unix.MunmapPtr(g.shared, uintptr(unix.Getpagesize()))
	g.r.QueueExit()
	g.r = nil
}

// sqe gives a blank entry of the submission queue, nil when it is full.
func (g *ring) sqe() *sqe { return g.r.GetSQE() }

// sqSpace is how many entries sqe can still give before the next submission.
func (g *ring) sqSpace() int { return int(g.r.SQSpaceLeft()) }

// sqReady is how many entries wait for submission.
func (g *ring) sqReady() int { return int(g.r.SQReady()) }

// submit hands over the filled entries, runs the completions that are due and
// does not wait.
func (g *ring) submit() error {
	_, _, errno := unix.RawSyscall6(unix.SYS_IO_URING_ENTER, g.enterFD(), g.publish(), 0, g.enterFlags(), 0, 0)
	return asError(errno)
}

// submitAllDone is submit, but all completions that are due are run, of which
// there are at most n: without a number the kernel runs a few and leaves the rest
// to the next call (Linux 6.13).
func (g *ring) submitAllDone(n int) error {
	g.arg.minWaitUsec = 0
	g.arg.timespec = unix.Timespec{}
	_, _, errno := unix.RawSyscall6(unix.SYS_IO_URING_ENTER, g.enterFD(), g.publish(), uintptr(n+g.sqReady()), g.enterFlags()|enterExtArg, uintptr(unsafe.Pointer(g.arg)), waitArgSize)
	if errno == unix.ETIME {
		return nil
	}
	return asError(errno)
}

// submitWait hands over the filled entries and waits for a completion, at most
// waitNs; < 0: no limit. A completion queue that is not empty ends the wait at
// once, or, if more than one is wanted, when batchWaitNs have passed. unix.ETIME
// is not reported: no completion says it as well. A signal ends the wait with
// unix.EINTR. A brief wait is kept from Go's scheduler, see briefWaitMs.
func (g *ring) submitWait(waitNs, batchWaitNs int64, brief bool) error {
	flags, arg, size := g.enterFlags(), unsafe.Pointer(nil), uintptr(0)
	completions := uintptr(1)
	if g.arg.minWaitUsec = 0; batchWaitNs > 0 && g.params.features&featMinTimeout != 0 {
		// What is submitted now may be complete at once and counts, too.
		completions = uintptr(g.sqReady() + batchWaitEvents)
		g.arg.minWaitUsec = uint32(batchWaitNs / 1000)
	}
	if waitNs >= 0 {
		g.arg.timespec = unix.NsecToTimespec(waitNs)
		flags, arg, size = flags|enterExtArg, unsafe.Pointer(g.arg), waitArgSize
	}
	var errno unix.Errno
	if brief {
		_, _, errno = unix.RawSyscall6(unix.SYS_IO_URING_ENTER, g.enterFD(), g.publish(), completions, flags, uintptr(arg), size)
	} else {
		_, _, errno = unix.Syscall6(unix.SYS_IO_URING_ENTER, g.enterFD(), g.publish(), completions, flags, uintptr(arg), size)
	}
	if errno == unix.ETIME {
		return nil
	}
	return asError(errno)
}

// publish shows the kernel the filled entries and gives their number.
func (g *ring) publish() uintptr {
	n := g.r.SQReady()
	head := atomic.LoadUint32((*uint32)(unsafe.Add(g.shared, g.params.sqHead)))
	atomic.StoreUint32((*uint32)(unsafe.Add(g.shared, g.params.sqTail)), head+n)
	return uintptr(n)
}

func (g *ring) enterFD() uintptr {
	if g.regIndex >= 0 {
		return uintptr(g.regIndex)
	}
	return uintptr(g.r.RingFd())
}

func (g *ring) enterFlags() uintptr {
	if g.regIndex >= 0 {
		return enterGetEvents | enterRegistered
	}
	return enterGetEvents
}

// asError is errno as an error, nil for none.
func asError(errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

// completions lends up to cqBatch completions, until seen is called with their
// number. Empty: there are none. Completions that did not fit in the queue
// are fetched from the kernel when the queue has been emptied.
func (g *ring) completions() []*cqe {
	n := g.r.CQReady()
	if n == 0 {
		if !g.r.CQHasOverflow() {
			return nil
		}
		_, _ = g.r.GetEvents()
		if n = g.r.CQReady(); n == 0 {
			return nil
		}
	}
	// The library fills the whole slice it is given, whatever is ready.
	batch := g.batch[:min(n, cqBatch)]
	return batch[:g.r.PeekBatchCQE(batch)]
}

// pending is whether completions has something.
func (g *ring) pending() bool { return g.r.CQReady() != 0 || g.r.CQHasOverflow() }

// seen gives the oldest n completions back to the kernel.
func (g *ring) seen(n int) { g.r.CQAdvance(uint32(n)) }

// missingOps names the operations of want that the kernel lacks.
func (g *ring) missingOps(want []opName) ([]string, error) {
	probe, err := g.r.GetProbeRing()
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, o := range want {
		if !probe.IsSupported(o.op) {
			missing = append(missing, o.name)
		}
	}
	return missing, nil
}

// pbufRing is a provided-buffer ring: memory shared with the kernel, which
// takes buffers from the front when data arrives.
type pbufRing struct {
	ring    *ring
	mem     *giouring.BufAndRing
	entries uint32 // power of two
	group   uint16
	tail    uint16 // free-running
}

// pbufMaxEntries bounds a buffer ring so that an entry's byte offset fits the
// library's 16-bit arithmetic and the ring itself stays at 64 KiB.
const pbufMaxEntries = 4096

// newPbufRing registers an empty ring of entries (a power of two) buffers.
func (g *ring) newPbufRing(entries uint32, group uint16) (*pbufRing, error) {
	if entries == 0 || entries > pbufMaxEntries || entries&(entries-1) != 0 {
		return nil, fmt.Errorf("buffer ring of %d entries: want a power of two up to %d", entries, pbufMaxEntries)
	}
	mem, err := g.r.SetupBufRing(entries, int(group), 0)
	if err != nil {
		return nil, err
	}
	return &pbufRing{ring: g, mem: mem, entries: entries, group: group}, nil
}

// next is the place, and the buffer number, of the next put.
func (b *pbufRing) next() uint16 { return b.tail & uint16(b.entries-1) }

// put offers mem to the kernel as buffer next(); publish makes it visible.
func (b *pbufRing) put(mem []byte) {
	// Field by field: the first entry's last two bytes are the ring's tail.
	id := b.next()
	e := (*giouring.BufAndRing)(unsafe.Add(unsafe.Pointer(b.mem), uintptr(id)*unsafe.Sizeof(*b.mem)))
	e.Addr = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(mem))))
	e.Len = uint32(len(mem))
	e.Bid = id
	b.tail++
}

// publish shows the kernel what was put since.
func (b *pbufRing) publish() {
	b.mem.BufRingAdvance(int(b.tail - b.mem.Tail))
}

// unregister takes the ring from the kernel: buffers still in it are not
// written to from then on.
func (b *pbufRing) unregister() {
	reg := giouring.BufReg{Bgid: b.group}
	_, _ = b.ring.r.Register(b.ring.r.RingFd(), giouring.UnregisterPbufRing, unsafe.Pointer(&reg), 1)
}

// reset empties the ring.
func (b *pbufRing) reset() error {
	b.unregister()
	b.tail = 0
	b.mem.BufRingInit()
	reg := giouring.BufReg{RingAddr: addrOf(unsafe.Pointer(b.mem)), RingEntries: b.entries, Bgid: b.group}
	if _, errno := b.ring.r.Register(b.ring.r.RingFd(), giouring.RegisterPbufRing, unsafe.Pointer(&reg), 1); errno != 0 {
		return errno
	}
	return nil
}

// free unregisters the ring and unmaps it.
func (b *pbufRing) free() {
	b.unregister()
	size := uintptr(b.entries) * unsafe.Sizeof(*b.mem)
	_ = unix.MunmapPtr(unsafe.Pointer(b.mem), size)
	b.mem = nil
}

// hasIncrementalBuffers tries to register a ring whose buffers are used up
// piece by piece.
func (g *ring) hasIncrementalBuffers() bool {
	const group = 1
	mem, err := unix.MmapPtr(-1, 0, nil, uintptr(unix.Getpagesize()),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANONYMOUS|unix.MAP_PRIVATE)
	if err != nil {
		return false
	}
	defer unix.MunmapPtr(mem, uintptr(unix.Getpagesize()))
	// The library calls the field Pad that has become the flags.
	reg := giouring.BufReg{RingAddr: uint64(uintptr(mem)), RingEntries: 4, Bgid: group, Pad: pbufRingInc}
	fd := g.r.RingFd()
	if _, errno := g.r.Register(fd, giouring.RegisterPbufRing, unsafe.Pointer(&reg), 1); errno != 0 {
		return false
	}
	reg = giouring.BufReg{Bgid: group}
	_, _ = g.r.Register(fd, giouring.UnregisterPbufRing, unsafe.Pointer(&reg), 1)
	return true
}
