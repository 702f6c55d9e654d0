package loop

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/buf"
)

// Config says what a loop is made of.
type Config struct {
	Index    int       // of the loop in the process
	CPU      int       // it is pinned to, -1: none
	Node     int       // its NUMA node
	IO       IO        // backend
	Pool     *buf.Pool // receives into it; belongs to this loop
	MaxConns int       // of those accepted; more are refused. 0: no limit
	MaxSlots int       // connections and timers in all, at most and by default 1<<24 - 1
	Reserve  int       // blocks of Pool that are not for data, see Bulk
	Entries  int       // events per wait, or length of the submission queue; 0: 256

	// BatchWait is how long a loop under load waits for more once something has
	// happened, where more gets done that way; 0: it does not. With BatchAlways it
	// is enough that not much less gets done.
	BatchWait   time.Duration
	BatchAlways bool
}

// Stats are counters since New, and a few numbers of now.
type Stats struct {
	Polls, Waits             uint64 // calls of Poll; waits that could block
	BatchWaits               uint64 // of them, those that went on for more
	LongTurns                uint64 // turns that took longer than longTurn
	LongestTurn              time.Duration
	Events                   uint64 // pushed to the queue
	Accepts, AcceptErrors    uint64
	Refused                  uint64            // accepted and reset at once: MaxConns
	Lack                     [LackCount]uint64 // accepts that failed for want of something, by kind
	RecvCalls, SendCalls     uint64            // system calls or submitted operations
	ShortSends               uint64            // the kernel took less than it was given
	Enobufs                  uint64            // receives that found no block
	Parked                   uint64            // connections that had to wait for a block
	Received                 uint64            // bytes, in blocks
	Gathers                  uint64            // long messages that came in large pieces
	Spliced                  uint64            // bytes that went from socket to socket
	Posted                   int               // blocks that lie with the kernel for receives to come
	MailsIn, MailsFull       uint64            // delivered; refused because the mailbox was full
	Conns, Timers, ConnsHigh int               // connections now, NewTimer slots now, most connections ever
}

// Loop is one event loop. Only Post may be called from other threads than the
// one that called New.
type Loop struct {
	cfg  Config
	be   backend
	pool *buf.Pool

	conns      connTable
	nowNs      int64
	wheel      wheel
	sweep      sweep
	partial    bool // this Poll may not have reported all that had arrived
	leaps      Leaps
	sleepsTill int64 // a hosted wait, which ends with the next Poll
	asleepAt   int64 // when it fell asleep in this wait; 0: it did not
	events     []Event
	head       int // events below are pulled
	eventsMost int // there were at once since the last Trim
	unseen     int // Received events that were not pulled yet, each with a block

	closed       uint64 // descriptors of connections, ever
	closedAtLack uint64 // ... when an accept failed last
	lacksFiles   bool   // it failed for want of one

	todoHead, todoTail uint32 // connections with something for the next Poll
	dials              []dialRequest
	dialsMost          int              // as eventsMost
	lines              [numClasses]line // receivers waiting for a block
	calledUp           int              // of them, in this Poll

	splices        []splice // by number; 0 is none
	freeSplice     uint8
	pipes          []pipe // empty ones
	pipeCount      int    // and those in use
	pipesRestUntil int64  // there are none before

	watermarks     []watermark // by number; 0 is none
	freeWatermark  uint8
	watermarkDue   int64  // none of them is due before; 0: never
	watermarkPiece uint64 // the constant of that name, but for simulations

	listeners     []*listener
	acceptDirty   bool
	paused        pauseReason
	acceptRetryAt int64
	exportedPeer  netip.AddrPort // see ExportedPeer

	batchWait batchWait

	box    mailbox
	mails  []Mail // of the MailIn events in the queue
	wakeFD int    // eventfd, -1: the backend wakes by itself

	wallMs, wallOffset, wallSyncAt int64

	connCount, timerCount int
	acceptedCount         int // of connCount
	stats                 Stats
	fallback              string
	destroyed             bool
}

type dialRequest struct {
	id ConnID
	r  *Remote
}

// New makes a loop. It must be called on the thread that will run the loop.
func New(cfg Config) (*Loop, error) {
	io, fallback := cfg.IO, ""
	if io == Auto {
		io, fallback = chooseIO()
	}
	if int(io) >= len(registered) || registered[io] == nil {
		if io == Uring {
			return nil, errors.New("io_uring: " + notCompiledIn)
		}
		return nil, fmt.Errorf("no backend %q in this binary; there are %v", io, CompiledIn())
	}
	if io == Uring {
		if f := Probe(); !f.Usable {
			return nil, errors.New("io_uring: " + f.Reason)
		}
	}
	wakeFD, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	l, err := newLoop(cfg, io, wakeFD, registered[io])
	if err != nil && cfg.IO == Auto && io == Uring {
		fallback = err.Error()
		l, err = newLoop(cfg, Epoll, wakeFD, registered[Epoll])
	}
	if err != nil {
		unix.Close(wakeFD)
		return nil, err
	}
	l.fallback = fallback
	return l, nil
}

// chooseIO picks the backend of io: auto, and says why it is not io_uring.
func chooseIO() (io IO, fallback string) {
	if registered[Uring] == nil {
		return Epoll, notCompiledIn
	}
	if f := Probe(); !f.Usable {
		return Epoll, f.Reason
	}
	return Uring, ""
}

// newLoop makes a loop on the backend that open starts.
func newLoop(cfg Config, io IO, wakeFD int, open openBackend) (*Loop, error) {
	if cfg.Pool == nil {
		return nil, errors.New("a loop needs a pool of buffers")
	}
	if cfg.Entries <= 0 {
		cfg.Entries = 256
	}
	cfg.IO = io
	l := &Loop{
		cfg:    cfg,
		pool:   cfg.Pool,
		events: make([]Event, 0, cfg.Entries),
		wakeFD: wakeFD,

		watermarkPiece: watermarkPiece,
	}
	l.box.init()
	l.conns.most = uint32(cfg.MaxSlots)
	SetBatchWait(l, cfg.BatchWait, cfg.BatchAlways)
	be, err := open(l)
	if err != nil {
		return nil, err
	}
	l.be = be
	l.nowNs = be.now()
	l.wheel.elapsed = l.nowNs / tickNs
	l.syncWall()
	return l, nil
}

// IO is the backend that runs.
func (l *Loop) IO() IO { return l.cfg.IO }

// Index is the loop's number in the process.
func (l *Loop) Index() int { return l.cfg.Index }

// Fallback says why Auto did not choose io_uring, "" when it did or was not
// asked.
func (l *Loop) Fallback() string { return l.fallback }

// Unbatched says why every receive and send is a system call of its own, "" when
// those of a tick are made together.
func (l *Loop) Unbatched() string {
	if b, ok := l.be.(interface{ unbatched() string }); ok {
		return b.unbatched()
	}
	return ""
}

// Now is the monotonic time in ns, read once per Poll. It is above 0.
func (l *Loop) Now() int64 { return l.nowNs }

// WallMs is Unix time in ms, as of the last Poll.
func (l *Loop) WallMs() int64 { return l.wallMs }

// Conns is the number of connections (without NewTimer slots).
func (l *Loop) Conns() int { return l.connCount }

// Stats copies the counters.
func (l *Loop) Stats() Stats {
	s := l.stats
	s.Conns, s.Timers = l.connCount, l.timerCount
	s.MailsFull = l.box.full.Load()
	s.Posted = l.Posted()
	return s
}

// Wall time is followed by adding the monotonic time to an offset, which is
// read again so often.
const wallSyncNs = int64(100 * time.Millisecond)

func (l *Loop) syncWall() {
	l.wallOffset = l.be.wall() - l.nowNs/1e6
	l.wallSyncAt = l.nowNs + wallSyncNs
	l.wallMs = l.wallOffset + l.nowNs/1e6
}

func (l *Loop) readClock() {
	l.nowNs = l.be.now()
	if l.nowNs >= l.wallSyncAt {
		l.syncWall()
		return
	}
	l.wallMs = l.wallOffset + l.nowNs/1e6
}

// Poll carries out the intents stated since the last Poll, waits at most
// maxWait (below 0: no limit) for something to happen, and collects it. It
// does not wait when there are events not pulled yet. A signal may end the
// wait early: Poll without an event is ordinary. An error means that the
// backend is broken.
func (l *Loop) Poll(maxWait time.Duration) error {
	l.stats.Polls++
	l.recycle()
	collected, waits := len(l.events), l.stats.Waits
	if l.paused&pauseErrno != 0 && l.nowNs >= l.acceptRetryAt {
		l.paused &^= pauseErrno
		l.acceptDirty = true
	}
	l.calledUp, l.partial = 0, false
	if l.parkedCount() > 0 {
		l.unpark()
	}
	if len(l.dials) > 0 {
		l.startDials()
	}
	if l.todoHead != 0 {
		l.runTodo()
	}
	if l.acceptDirty {
		l.updateListeners()
	}
	l.asleepAt = 0
	for first := true; ; first = false {
		since := l.nowNs
		if err := l.collect(l.waitNs(maxWait)); err != nil {
			return err
		}
		if first {
			ended := l.nowNs
			if l.asleepAt != 0 {
				ended = l.asleepAt
			}
			l.stats.endTurn(ended - since)
		}
		if l.batchWait.mostNs > 0 && l.stats.Waits > waits {
			l.batchWait.awake(l.nowNs, int64(l.stats.Received+l.stats.Spliced))
			waits = l.stats.Waits
		}
		if !l.judgeTimers(since) {
			break
		}
		l.partial = false
	}
	l.stats.Events += uint64(len(l.events) - collected)
	return nil
}

// collect waits at most ns and turns what has happened into events.
func (l *Loop) collect(ns int64) error {
	if err := l.be.wait(ns); err != nil {
		return err
	}
	woke := max(l.nowNs+ns, l.sleepsTill)
	l.sleepsTill = 0
	l.readClock()
	if late := l.nowNs - woke; ns >= 0 && late > leapNs {
		l.leaps.note(Leap{At: l.nowNs, Ns: late})
	}
	if l.watermarkDue != 0 && l.nowNs >= l.watermarkDue {
		l.expireWatermarks()
	}
	l.collectMail()
	if !l.box.empty() {
		l.partial = true
	}
	return nil
}

// recycle makes room in the event queue.
func (l *Loop) recycle() {
	if l.head == 0 {
		return
	}
	l.eventsMost = max(l.eventsMost, len(l.events))
	if l.head < len(l.events) {
		l.events = l.events[:copy(l.events, l.events[l.head:])]
		l.head = 0
		return
	}
	l.events = l.events[:0]
	l.head = 0
	clear(l.mails) // so that what they refer to can be collected
	l.mails = l.mails[:0]
}

// waitNs is how long the backend may wait.
func (l *Loop) waitNs(maxWait time.Duration) int64 {
	if len(l.events) > 0 || l.todoHead != 0 || maxWait == 0 || l.acceptDirty || l.sweep.on {
		return 0
	}
	if l.calledUp > 0 && l.parkedCount() > 0 {
		return 0 // who was called up may have needed no block: the next one's turn
	}
	wait := int64(maxWait)
	until := int64(0)
	if tick, ok := l.wheel.next(); ok {
		until = tick * tickNs
	}
	if l.paused&pauseErrno != 0 && (until == 0 || l.acceptRetryAt < until) {
		until = l.acceptRetryAt
	}
	if l.watermarkDue != 0 && (until == 0 || l.watermarkDue < until) {
		until = l.watermarkDue
	}
	if ends := l.turnEnds(); ends != 0 && (until == 0 || ends < until) {
		until = ends
	}
	if until != 0 {
		left := max(0, until-l.be.now())
		if wait < 0 || left < wait {
			wait = left
		}
	}
	return wait
}

// push appends to the event queue.
func (l *Loop) push(ev Event) {
	if ev.Kind == Received {
		l.unseen++
	}
	l.events = append(l.events, ev)
}

// Next pulls one event, nil when there is none. The pointer is good until the
// next call of Next or Poll.
func (l *Loop) Next() *Event {
	for l.head < len(l.events) {
		ev := &l.events[l.head]
		l.head++
		if ev.Kind == Received {
			l.unseen--
		}
		if ev.Kind == MailIn {
			return ev
		}
		c := l.conns.lookup(ev.Conn)
		if c == nil {
			continue // an event of a connection that Destroy took away
		}
		ev.Owner = c.owner
		if !c.has(flagClosing | flagTimerFired) {
			if ev.Kind == Timer {
				continue // Deadline was called after it had fired
			}
			return ev
		}
		if l.deliverable(ev, c) {
			return ev
		}
	}
	return nil
}

// deliverable decides about events of connections that are closing, and about
// deadlines. It frees the slot with Closed.
func (l *Loop) deliverable(ev *Event, c *conn) bool {
	if c.has(flagClosing) {
		if ev.Kind == Closed {
			l.exportedPeer = c.peer()
			l.conns.release(ev.Conn.slot(), c)
			return true
		}
		if ev.lost() {
			c.flags |= flagSpoiled
		}
		l.pool.Release(ev.View)
		return false
	}
	if ev.Kind == Timer {
		c.flags &^= flagTimerFired
	}
	return true
}

// Destroy closes everything that is left and gives back what the loop holds:
// blocks, descriptors, mappings. Nothing may be called afterwards but Post,
// which then says false.
func (l *Loop) Destroy() error {
	if l.destroyed {
		return nil
	}
	l.destroyed = true
	l.box.shut()
	err := l.be.destroy()
	for ; l.head < len(l.events); l.head++ {
		ev := &l.events[l.head]
		l.pool.Release(ev.View)
		switch {
		case ev.Kind == Closed && ev.FD >= 0:
			unix.Close(int(ev.FD)) // exported, and nobody knows it yet
		case ev.Kind == MailIn:
			closeMail(&l.mails[ev.N])
		}
	}
	for slot := uint32(1); slot < l.conns.fresh; slot++ {
		c := l.conns.at(slot)
		l.pool.Drop(&c.sendq)
		if c.has(flagSpliceTo) {
			if s := &l.splices[c.splice]; s.held > 0 {
				l.losePipe(s.pipe)
			}
		}
		if c.fd >= 0 {
			l.be.close(makeID(slot, c.gen), c)
		}
		c.fd = -1
	}
	l.trimPipes()
	for _, ln := range l.listeners {
		if ln != nil {
			unix.Close(int(ln.fd))
		}
	}
	for m := (Mail{}); l.box.take(&m); {
		closeMail(&m)
	}
	l.conns, l.listeners, l.mails, l.splices, l.watermarks = connTable{}, nil, nil, nil, nil
	l.events, l.head, l.connCount, l.timerCount = nil, 0, 0, 0
	if l.wakeFD >= 0 {
		unix.Close(l.wakeFD)
	}
	return err
}
