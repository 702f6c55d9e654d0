package proxy

import (
	"errors"
	"sync/atomic"
	"time"

	"zproxy/buf"
	"zproxy/internal/slab"
	"zproxy/loop"
	"zproxy/metrics"
	"zproxy/metrics/accesslog"
	"zproxy/numa"
	"zproxy/proto"
	"zproxy/proto/http1"
	"zproxy/proto/http2"
	"zproxy/proxy/transport"
	"zproxy/router"
	"zproxy/upstream"
	"zproxy/variables"
)

// The three high bits of an event's owner say which table the rest indexes.
const (
	ownerShift = 29
	ownerMask  = 1<<ownerShift - 1

	ownerClient   = 0
	ownerOrigin   = 1
	ownerListener = 2
	ownerWorker   = 3
	ownerSession  = 4
	ownerStream   = 5
)

func ownerOf(table, index uint32) uint32 { return table<<ownerShift | index }

const (
	housekeepingNs = int64(time.Second)
	// staleRetries bounds how many dead kept-alive connections one request may
	// meet before it is given up.
	staleRetries = 3
	// lingerNs is how long a peer whose stream, or WebSocket, is over may take
	// to end its side; lingerBytes is how much of what a client still sends is
	// read once its last answer has left (see linger.go).
	lingerNs    = int64(2 * time.Second)
	lingerBytes = 64 << 20
	// pipelineBytes is how much of the requests behind the current one is
	// held per client before its socket is no longer read.
	pipelineBytes = 64 << 10
	// pipelineRounds is how many pipelined requests of one client may be served
	// between two Polls.
	pipelineRounds = 32
	// A leg that has more than highMark bytes waiting for its receiver stops
	// reading its sender, and goes on below lowMark. Under memory pressure the
	// marks shrink (see setMarks).
	highMark = 512 << 10
	lowMark  = 128 << 10
)

// Neighbour is what a worker knows of another one: where its mail goes and
// how many connections it carries.
type Neighbour struct {
	Loop  *loop.Loop
	Node  int
	Conns atomic.Int64
	// coming: clients that others have passed on to it and that it does not
	// count among its own yet.
	coming atomic.Int64
	// drained: it has nothing more to do and waits for the others.
	drained atomic.Bool
	_       [88]byte // what one loop writes stays off the lines of the others
}

// Config is what a Worker is built from. Loop and Pool belong to the worker's
// thread; Snapshot is shared and immutable; Log may be nil.
type Config struct {
	Loop     *loop.Loop
	Pool     *buf.Pool
	Snapshot *Snapshot
	Metrics  *metrics.Loop
	Log      *accesslog.Buffer
	// MaxBlocks is how many blocks Pool may come to hold.
	MaxBlocks int
	// Arena is the memory under Pool, for reports; nil when it is none.
	Arena *numa.Arena
}

// Worker serves one loop. All methods but NewWorker belong to its thread.
type Worker struct {
	l    *transport.Transport
	pool *buf.Pool
	snap *Snapshot
	m    *metrics.Loop
	log  *accesslog.Buffer

	index   int
	peers   []*Neighbour
	clients slab.Slab[client]
	origins slab.Slab[origin]
	xs      slab.Slab[exchange]
	streams slab.Slab[stream]
	sockets slab.Slab[socket]
	pools   []*upstream.Pool
	remotes [][]remoteSet
	// refusals say for each upstream why the last TLS handshake failed that did.
	refusals []*proto.Fault

	match   router.Match
	caches  []*router.Cache // by listener
	bare    exchange        // stands in for an exchange while bytes that are none are answered
	head    proto.Head      // the HTTP/1 request head being handled
	current *proto.Head     // the request head being handled
	resp    proto.Head      // the response head being handled
	trail   proto.Head      // the trailer section being handled
	note    []byte          // see lognotes.go
	broken  []BrokenSessions
	limits  http1.Limits

	join     []byte // a head that spans blocks, joined once
	out      []byte // a head too long for one block, on its way out
	path     []byte // the normalised path of the request being routed
	scratch  []byte // the values of fields the proxy adds
	extras   []proto.Extra
	peer     peerName         // of the client at hand, where that is a connection
	who      identity         // asks, of the request that is being started
	values   variables.Values // of that request
	addrText []byte
	ids      identifiers

	// HTTP/2
	sessions     []*session // by index; 0 is none
	freeSessions []uint32
	streamTimers []streamTimer // by index of streams
	untimed      bool          // the loop had no slot for one of them
	h2streams    http2.Streams
	h2scratch    http2.Scratch
	begun        []uint32         // clients whose requests a block has brought, see seek
	reading      bool             // a client's session is reading a block
	groups       [][]group        // by cluster and endpoint
	mutes        []upstream.Turns // by cluster, see mute
	servesMutes  bool
	touched      []uint32 // sessions with frames to send
	endedClients []uint32 // entries that are free at the end of the turn
	endedOrigins []uint32
	block        []byte // a field block on its way out
	frames       []byte // a field block too long for one frame

	pressure int   // of the memory: 0 to pressures-1
	reliefAt int64 // when it is looked at next who holds it
	// lingering is how many clients' connections linger, lingererAt when it is
	// looked at next whether they can stay.
	lingering  int
	lingererAt int64
	discarding discarding
	lookedMs   uint32 // when it was
	forgivenAt int64  // the last leap of the loop that was taken into account then
	refused    bool   // data that came in frames found no place since it was looked at
	holds      []hold // of each client
	paused     int    // clients with a connection of their own that is not read
	brokenAt   int64  // when it is looked at next which of them are gone
	held       []int  // bytes that stand still, for no upstream and for each

	watching  []watch  // by exchange: those that hold a connection while others wait for one, as last seen
	asks      uint16   // of neighbours, so far
	runnable  []uint32 // clients with a pipelined request left to serve
	letters   []letter // mail that found a full mailbox
	unposted  []int    // of those, how many for each loop
	expired   []uint64
	timer     loop.ConnID
	date      [29]byte
	dateSec   int64
	high      int
	low       int
	spliceMin int64                  // of what is left of a body, for the kernel to pass it on
	dialLack  [loop.LackCount]uint64 // dials that failed for want of something, by kind
	maxBlocks int
	arena     *numa.Arena
	timerAt   int64
	keepAt    int64 // when housekeeping is due

	listeners []int
	asked     uint64 // reports so far
	draining  bool
	// Whoever is left then is cut off; before that, whoever has sent no request.
	drainBy, drainFreshBy int64
	drainAwayBy           int64 // WebSocket clients are told to go away then
	cutting               bool  // the grace is over
	cut                   CutOff

	scrambled uint64 // see scramble

	socketKey, socketAccept []byte    // of the handshake at hand
	notes                   buf.Notes // heads of tunnels, for the log

	stopped bool
	leapAt  int64 // the end of the last leap for which peers got more time
	record  accesslog.Record
}

// NewWorker prepares the worker of c.Loop. peers has one entry per loop, in
// loop order, this one included; it is filled before Run is called.
func NewWorker(c Config, peers []*Neighbour) *Worker {
	s := c.Snapshot
	w := &Worker{
		l: transport.New(transport.Config{
			Loop: c.Loop, Pool: c.Pool, Workers: s.secure.workers, MaxHandshakes: s.secure.handshakes,
			Counts: &c.Metrics.TLS}),
		pool: c.Pool, snap: s, m: c.Metrics, log: c.Log,
		index: c.Loop.Index(), peers: peers,
		limits:   s.headLimits,
		ids:      newIdentifiers(),
		caches:   routeCaches(s.routers),
		unposted: make([]int, len(peers)),
		extras:   make([]proto.Extra, 0, 16),
		high:     highMark, low: lowMark, spliceMin: spliceMin, maxBlocks: c.MaxBlocks, arena: c.Arena,
	}
	w.makeSeries()
	w.head.Fields = make([]proto.Field, 0, 32)
	w.resp.Fields = make([]proto.Field, 0, 32)
	w.scratch = make([]byte, 0, 512)
	w.path = make([]byte, 0, router.NormalizedBound(maxTargetBytes))
	w.current = &w.head
	w.sessions = make([]*session, 1)
	w.h2scratch.Credit = credits(c.MaxBlocks, c.Pool.BlockBytes())
	w.held = make([]int, 1+len(s.clusters))
	for _, cl := range s.clusters {
		w.groups = append(w.groups, make([]group, len(cl.shared.Endpoints())))
		w.mutes = append(w.mutes, upstream.Turns{})
		w.pools = append(w.pools, cl.shared.Pool(w.index))
		w.remotes = append(w.remotes, make([]remoteSet, len(cl.shared.Endpoints())))
		w.refusals = append(w.refusals, &faultOriginHandshake)
	}
	return w
}

// Listen starts accepting on fd; listener is its index in the configuration.
func (w *Worker) Listen(fd, listener int) {
	w.listeners = append(w.listeners, fd)
	w.l.Accept(fd, ownerOf(ownerListener, uint32(listener)))
}

// Run serves until the worker has drained. It returns the loop's error, if
// the loop could not go on.
func (w *Worker) Run() error {
	if !w.begin() {
		w.peers[w.index].drained.Store(true) // nobody is to wait for it
		return errNoTimer
	}
	for !w.stopped {
		if err := w.turn(-1); err != nil {
			w.peers[w.index].drained.Store(true) // nobody is to wait for it
			return err
		}
	}
	if w.log != nil {
		w.log.Close()
	}
	return nil
}

var errNoTimer = errors.New("the loop has no room for the worker's timer")

// begin prepares the first turn; false when the loop has no room for the timer.
func (w *Worker) begin() bool {
	if w.timer = w.l.NewTimer(ownerOf(ownerWorker, 0)); w.timer == 0 {
		return false
	}
	w.wake()
	return true
}

// turn waits for events, at most maxWait, and handles all there are.
func (w *Worker) turn(maxWait time.Duration) error {
	if err := w.poll(maxWait); err != nil {
		return err
	}
	for ev := w.l.Next(); ev != nil; ev = w.l.Next() {
		w.handle(ev)
	}
	w.endTurn()
	return nil
}

func (w *Worker) poll(maxWait time.Duration) error {
	if len(w.runnable) > 0 {
		maxWait = 0
	} else if len(w.letters)+len(w.touched) > 0 {
		maxWait = time.Millisecond
	}
	if err := w.l.Poll(w.reliefWait(maxWait)); err != nil {
		return err
	}
	w.setMarks()
	return nil
}

// endTurn does what is left when all events are handled.
func (w *Worker) endTurn() {
	w.serveRunnable()
	w.relieve()
	w.endBroken()
	w.endLingerers()
	w.discardOn()
	w.flushSessions()
	w.freeEnded()
	if len(w.letters) > 0 {
		w.deliverAgain()
	}
	w.flushLog()
}

func (w *Worker) handle(ev *loop.Event) {
	if ev.Kind == loop.MailIn {
		w.mail(w.l.Mail(ev))
		return
	}
	if ev.Kind == loop.Timer && w.excused(ev) {
		return
	}
	if ev.Kind == loop.RecvEnd && ev.Errno != 0 {
		w.recordsEnd(ev)
	}
	index := ev.Owner & ownerMask
	switch ev.Owner >> ownerShift {
	case ownerClient:
		w.clientEvent(index, ev)
	case ownerOrigin:
		w.originEvent(index, ev)
	case ownerListener:
		w.listenerEvent(ev, int(index))
	case ownerWorker:
		w.workerEvent(ev)
	case ownerSession:
		w.sessionEvent(index, ev)
	case ownerStream:
		if ev.Kind == loop.Timer {
			w.streamTimeout(index)
		}
	}
}

func (w *Worker) workerEvent(ev *loop.Event) {
	switch ev.Kind {
	case loop.Timer:
		w.wake()
	case loop.Closed:
		if ev.Conn != w.timer {
			w.exported(ev.Owner&ownerMask, int(ev.FD))
		}
	}
}

// serveRunnable serves pipelined requests, one of each client at a time, for a
// bounded number of rounds: what then is left comes after the next Poll, so
// that no client holds the loop.
func (w *Worker) serveRunnable() {
	for round := 0; round < pipelineRounds && len(w.runnable) > 0; round++ {
		n := len(w.runnable)
		for i := 0; i < n; i++ {
			if ci := w.runnable[i]; ci != 0 {
				c := w.clients.At(ci)
				c.flags &^= clientRunnable
				w.parsePending(ci, c)
			}
		}
		w.runnable = append(w.runnable[:0], w.runnable[n:]...)
	}
}

// forgetRunnable strikes a client that closed out of the list.
func (w *Worker) forgetRunnable(i uint32) {
	for j, ci := range w.runnable {
		if ci == i {
			w.runnable[j] = 0
		}
	}
}

// wake does what has a time. The log looks at its own when the turn ends.
func (w *Worker) wake() {
	now := w.l.Now()
	due := now >= w.keepAt
	if due {
		w.keepAt = now + housekeepingNs
	}
	w.timerAt = w.keepAt
	if due {
		w.housekeeping(now)
	}
	for i := range w.pools {
		w.serveWaiters(i)
		w.look(i, now)
	}
	if w.draining {
		w.drainStep(now)
		w.timerAt = min(w.timerAt, now+drainStepNs)
	}
	w.setTimer(w.timerAt)
}

// housekeeping runs once a second, whatever else the timer goes off for: idle
// origin connections age out, pools refill, memory goes back.
func (w *Worker) housekeeping(now int64) {
	for i := range w.pools {
		w.expireIdle(i, now)
		if !w.draining {
			w.prewarm(i, now)
		}
	}
	w.timeStreams()
	w.trimStreamTimers()
	w.l.Trim()
}

// setTimer and wakeBy keep the worker's one timer: it goes off for housekeeping,
// or sooner when something else has a time.
func (w *Worker) setTimer(at int64) {
	w.timerAt = at
	w.l.Deadline(w.timer, at)
}

func (w *Worker) wakeBy(at int64) {
	if at > w.l.Now() && at < w.timerAt {
		w.setTimer(at)
	}
}

// flushLog hands lines over when they are due.
func (w *Worker) flushLog() {
	if w.log != nil {
		w.log.Flush(w.l.Now())
		w.wakeBy(w.log.Deadline())
	}
}

// dateField is the Date field of this second (RFC 9110 6.6.1).
func (w *Worker) dateField() proto.Extra {
	ms := w.l.WallMs()
	if sec := ms / 1000; sec != w.dateSec {
		w.dateSec = sec
		time.Unix(sec, 0).UTC().AppendFormat(w.date[:0], "Mon, 02 Jan 2006 15:04:05 GMT")
	}
	return proto.NewExtra(proto.TokenDate, w.date[:])
}
