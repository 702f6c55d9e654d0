package proxy

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"zproxy/buf"
	"zproxy/internal/slab"
	"zproxy/loop"
	"zproxy/metrics"
	"zproxy/metrics/accesslog"
	"zproxy/numa"
	"zproxy/proxy/h2conn"
	"zproxy/proxy/journal"
	"zproxy/proxy/memory"
	"zproxy/proxy/origins"
	"zproxy/proxy/snapshot"
	"zproxy/proxy/transport"
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
	ownerNobody   = 6 // a connection that is closed as it comes
)

func ownerOf(table, index uint32) uint32 { return table<<ownerShift | index }

const (
	housekeepingNs = int64(time.Second)
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
	Snapshot *snapshot.Snapshot
	Metrics  *metrics.Loop
	Log      *accesslog.Buffer
	// MaxBlocks is how many blocks Pool may come to hold.
	MaxBlocks int
	// Arena is the memory under Pool, for reports; nil when it is none.
	Arena *numa.Arena
}

// gear is what every part of a worker works with. It does not change.
type gear struct {
	l    *transport.Transport
	pool *buf.Pool
	m    *metrics.Loop
}

// part is what a part of a worker begins with: the gear, and the way to the other
// parts.
type part struct {
	gear
	w *Worker
}

// Worker serves one loop. All methods but NewWorker belong to its thread. Its own
// affairs are turns, time and what becomes of exchanges; everything else has a part,
// which alone writes its fields.
type Worker struct {
	gear
	snap     *snapshot.Snapshot // the current one
	snaps    snapshots
	clusters []*snapshot.Cluster // by number; nil: there is none
	index    int
	peers    []*Neighbour
	xs       slab.Slab[exchange]
	ended    []uint32 // entries of xs that are free when the event at hand has been dealt with
	begun    []uint32 // clients whose requests the block being read has brought, see seek

	// Connections.
	h2      h2conn.Sessions
	streams h2conn.Streams
	leases  origins.Leases
	clients clients
	origins originLegs
	handoff handoff
	legs    legs
	lines   lines
	frames  frames
	told    h2events

	// What passes.
	requests  requests
	filters   filters
	responses responses
	retries   retries
	tunnels   tunnels
	heads     heads
	journal   records
	watch     watch
	inspector inspector
	endings   endings

	// Who has to wait, and who has to go.
	scarce shortage
	memory relief
	drain  drain

	listeners []accepting
	timer     loop.ConnID
	timerAt   int64
	keepAt    int64  // when housekeeping is due
	leapAt    int64  // the end of the last leap for which peers got more time
	asked     uint64 // reports so far
}

// NewWorker prepares the worker of c.Loop. peers has one entry per loop, in
// loop order, this one included; it is filled before Run is called.
func NewWorker(c Config, peers []*Neighbour) *Worker {
	s := c.Snapshot
	g := gear{
		l: transport.New(transport.Config{
			Loop: c.Loop, Pool: c.Pool, Workers: s.Workers,
			Counts: &c.Metrics.TLS}),
		pool: c.Pool, m: c.Metrics,
	}
	w := &Worker{snap: s, index: c.Loop.Index(), peers: peers}
	w.join(g)
	h2conn.Begin(&w.h2, &w.streams, h2conn.Config{
		Transport: g.l, Pool: g.pool, Metrics: g.m, SessionOwner: ownerOf(ownerSession, 0), StreamOwner: ownerOf(ownerStream, 0),
		Credit: credits(c.MaxBlocks, c.Pool.BlockBytes()), High: memory.HighBytes,
	})
	origins.Begin(&w.leases, origins.Config{
		Transport: g.l, Pool: g.pool, Metrics: g.m, Sessions: &w.h2, Streams: &w.streams,
		Owner: ownerOf(ownerOrigin, 0), OwnerMask: ownerMask, Nobody: ownerOf(ownerNobody, 0), Loop: w.index,
	})
	w.handoff.unposted = make([]int, len(peers))
	w.heads.begin()
	w.tunnels.begin()
	w.heads.prepare(s)
	w.requests.begin()
	w.requests.prepare(s)
	w.journal.Journal = journal.New(c.Metrics, c.Log)
	w.journal.Adopt(s, new(snapshot.Snapshot))
	w.memory.Marks, w.memory.spliceMin = memory.NewMarks(c.MaxBlocks), spliceMin
	w.told.configure(s)
	w.memory.arena = c.Arena
	w.memory.SetUpstreams(1)
	w.snaps.all = append(w.snaps.all, s)
	for id, cl := range s.Clusters {
		if cl != nil {
			w.snaps.addCluster(id, cl)
		}
	}
	return w
}

// join makes one worker of its parts.
func (w *Worker) join(g gear) {
	w.gear = g
	p := part{g, w}
	for _, own := range [...]*part{
		&w.clients.part, &w.origins.part, &w.handoff.part, &w.legs.part, &w.lines.part, &w.frames.part, &w.told.part,
		&w.requests.part, &w.filters.part, &w.responses.part, &w.retries.part, &w.tunnels.part, &w.heads.part, &w.journal.part, &w.watch.part, &w.inspector.part, &w.endings.part,
		&w.scarce.part, &w.memory.part, &w.drain.part, &w.snaps.part,
	} {
		*own = p
	}
}

// accepting is a descriptor that connections are accepted on, and the number of its
// listener.
type accepting struct{ fd, listener int }

// Listen starts accepting on fd; listener is its number (see Snapshot.Listener). A worker that
// drains closes it.
func (w *Worker) Listen(fd, listener int) {
	w.l.Accept(fd, ownerOf(ownerListener, uint32(listener)))
	if w.drain.on {
		w.l.StopAccept(fd)
		return
	}
	w.listeners = append(w.listeners, accepting{fd, listener})
}

func (w *Worker) unlisten(listener int) {
	w.listeners = slices.DeleteFunc(w.listeners, func(a accepting) bool {
		if a.listener == listener {
			w.l.StopAccept(a.fd)
		}
		return a.listener == listener
	})
}

// Run serves until the worker has drained. It returns the loop's error, if
// the loop could not go on.
func (w *Worker) Run() error {
	if !w.begin() {
		w.peers[w.index].drained.Store(true) // nobody is to wait for it
		return errNoTimer
	}
	for !w.drain.done {
		if err := w.turn(-1); err != nil {
			w.peers[w.index].drained.Store(true) // nobody is to wait for it
			return err
		}
	}
	w.journal.Close()
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
		w.freeExchanges()
	}
	w.endTurn()
	return nil
}

func (w *Worker) poll(maxWait time.Duration) error {
	if len(w.clients.runnable) > 0 || w.leases.HasFreed() {
		maxWait = 0
	} else if len(w.handoff.pending) > 0 || w.h2.HasToSend() {
		maxWait = time.Millisecond
	}
	if err := w.l.Poll(w.memory.reliefWait(maxWait)); err != nil {
		return err
	}
	w.memory.setMarks()
	w.h2.SetMarks(w.memory.High, w.memory.Pressure)
	return nil
}

// endTurn does what is left when all events are handled.
func (w *Worker) endTurn() {
	w.clients.serveRunnable()
	w.memory.relieve()
	w.memory.endBroken()
	w.clients.endLingerers()
	w.clients.discardOn()
	w.serveAndFlush()
	w.freeExchanges()
	w.told.freeEnded()
	w.h2.Check()
	w.leases.Check()
	if len(w.handoff.pending) > 0 {
		w.handoff.deliverAgain()
	}
	w.wakeBy(w.journal.Flush(w.l.Now()))
}

// serveRounds is how often in a turn requests are served that others have made way for:
// what leaves by streams may make way for more.
const serveRounds = 4

// serveAndFlush serves requests that others have made way for, and sends what the turn
// has given streams to send.
func (w *Worker) serveAndFlush() {
	for range serveRounds {
		w.leases.Serve()
		w.told.pull()
		w.h2.Flush()
		w.told.pull()
		if !w.leases.HasFreed() {
			return
		}
	}
}

func (w *Worker) handle(ev *loop.Event) {
	if ev.Kind == loop.MailIn {
		w.mail(w.l.Mail(ev))
		w.told.pull()
		return
	}
	if ev.Kind == loop.Timer && w.excused(ev) {
		return
	}
	if ev.Kind == loop.RecvEnd && ev.Errno != 0 {
		w.clients.recordsEnd(ev)
	}
	index := ev.Owner & ownerMask
	switch ev.Owner >> ownerShift {
	case ownerClient:
		w.clients.event(index, ev)
	case ownerOrigin:
		if w.leases.Event(index, ev) {
			w.origins.event(index, ev)
		} else {
			w.told.pull()
		}
	case ownerListener:
		w.clients.listenerEvent(ev, int(index))
	case ownerWorker:
		w.workerEvent(ev)
		w.told.pull()
	case ownerSession:
		w.h2.Event(index, ev)
		w.told.pull()
	case ownerStream:
		if ev.Kind == loop.Timer {
			w.streams.Timeout(index)
			w.told.pull()
		}
	}
}

func (w *Worker) workerEvent(ev *loop.Event) {
	switch ev.Kind {
	case loop.Timer:
		w.wake()
	case loop.Closed:
		if ev.Conn != w.timer {
			w.handoff.exported(ev.Owner&ownerMask, int(ev.FD))
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
	for i, cl := range w.clusters {
		if cl != nil {
			w.leases.Freed(i)
			w.scarce.look(i, now)
		}
	}
	if w.drain.on {
		w.drain.step(now)
		w.timerAt = min(w.timerAt, now+drainStepNs)
	}
	w.setTimer(w.timerAt)
}

// housekeeping runs once a second, whatever else the timer goes off for: idle
// origin connections age out, pools refill, memory goes back.
func (w *Worker) housekeeping(now int64) {
	for i, cl := range w.clusters {
		if cl == nil {
			continue
		}
		w.leases.Housekeep(i, now)
	}
	w.streams.Retime()
	w.streams.Trim()
	w.l.Trim()
	w.snaps.sweep()
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
