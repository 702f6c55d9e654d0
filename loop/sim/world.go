package sim

import (
	"math/rand/v2"
	"net/netip"
)

// startNs is the time at which a world begins: 0 means "no deadline".
const startNs = int64(1e9)

// Faults say how unkind a World is. The numbers are chances in percent, per
// occasion; the zero value is a kind world, in which time and the order of
// things are still random.
type Faults struct {
	ShortIO     int // a transfer is cut to a random part of what is possible
	Late        int // what is complete is reported later
	Overshoot   int // a receive goes on for a while after Pause, or although the bytes are to be spliced
	NoBlock     int // a receive finds no block although there are some, or a splice no pipe
	LoseOnReset int // a reset destroys bytes that were not read yet
	RefuseDial  int // a connect is refused
	SilentDial  int // a connect gets no answer at all
	Jump        int // the clock leaps when everybody waits
	Freeze      int // the loops get no CPU for a while, and their peers go on
	Offset      int // bytes are received into the middle of a block
}

// Tally counts what a World did to its inhabitants.
type Tally struct {
	Connections, Dials             uint64
	ShortReads, ShortWrites        uint64
	Late, Overshoots, NoBlocks     uint64
	Resets, LostToReset, HalfEnds  uint64
	Refused, Silent, Nameless      uint64
	Jumps, Exports, CancelledInOps uint64
	Freezes                        uint64
	Splices, NoPipes, Gathers      uint64
}

// World is a network and a clock that exist only in memory: sockets between
// loops and scripted peers, and an agenda of what happens when.
// All of it is a function of the seed and of what its inhabitants do. It
// belongs to one goroutine, and all its loops with it.
//
// Time stands still while anybody has something to do. Whoever drives the
// loops polls each in turn and calls Advance when all of them wait:
//
//	for world.RunDue(); ; world.RunDue() {
//		... l.Poll(-1) and everything it brings, for each loop ...
//		if !world.Busy() { world.Advance() }
//	}
type World struct {
	Faults
	Tally Tally
	Room  int // bytes that a connection holds in each direction

	rng    *rand.Rand
	now    int64
	agenda agenda
	seq    uint64

	backends  []*backend
	sockets   []*socket // by descriptor - firstFD; nil: closed on both ends
	listeners []*listener
	servers   map[string]func(*Peer)
	thawed    int64 // the loops are not frozen before
	maxLag    int64 // ns until the other end notices something
}

// Descriptors of a World are numbers no process has: should one be given to
// the kernel by mistake, nothing happens.
const firstFD = 1 << 28

// NewWorld makes an empty world.
func NewWorld(seed uint64, f Faults) *World {
	w := &World{Faults: f, now: startNs, servers: map[string]func(*Peer){}}
	w.rng = rand.New(rand.NewPCG(seed, 0x5eed))
	w.Room = 1 << (10 + w.rng.IntN(9)) // 1 KiB to 256 KiB in each direction
	w.maxLag = 1 + w.rng.Int64N(2e6)
	return w
}

// Rand is the source of everything random in this world.
func (w *World) Rand() *rand.Rand { return w.rng }

// Now is the time in ns.
func (w *World) Now() int64 { return w.now }

// Reach lets it be now, unless it is later. Whoever follows another clock calls it.
func (w *World) Reach(now int64) { w.now = max(w.now, now) }

// chance says yes in percent of all cases.
func (w *World) chance(percent int) bool { return percent > 0 && w.rng.IntN(100) < percent }

// entry is something to do at a time.
type entry struct {
	at  int64
	seq uint64 // among those of one time, first come first served
	do  func() // nil: only wake up
}

// agenda is a heap, the next entry first.
type agenda []entry

func (a agenda) less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].seq < a[j].seq
}

func (a *agenda) add(e entry) {
	*a = append(*a, e)
	h := *a
	for i := len(h) - 1; i > 0 && h.less(i, (i-1)/2); i = (i - 1) / 2 {
		h[i], h[(i-1)/2] = h[(i-1)/2], h[i]
	}
}

func (a *agenda) take() entry {
	h := *a
	e := h[0]
	last := len(h) - 1
	h[0] = h[last]
	h[last] = entry{}
	h = h[:last]
	*a = h
	for i := 0; ; {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < last && h.less(child, least) {
				least = child
			}
		}
		if least == i {
			return e
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}

// At does something at a time, or as soon as possible after it.
func (w *World) At(at int64, do func()) {
	w.seq++
	w.agenda.add(entry{max(at, w.now), w.seq, do})
}

// After is At, counted from now.
func (w *World) After(ns int64, do func()) { w.At(w.now+ns, do) }

// RunDue does what is due, and what that makes due at once.
func (w *World) RunDue() {
	for len(w.agenda) > 0 && w.agenda[0].at <= w.now {
		if e := w.agenda.take(); e.do != nil {
			e.do()
		}
	}
}

// Busy says that a loop has something to do without any time passing.
func (w *World) Busy() bool {
	if len(w.agenda) > 0 && w.agenda[0].at <= w.now {
		return true
	}
	for _, s := range w.backends {
		if s.until <= w.now || s.core.HasMail() {
			return true
		}
	}
	return false
}

// Pending is the number of things on the agenda.
func (w *World) Pending() int { return len(w.agenda) }

const never = int64(1) << 62

// Advance lets time pass until something happens. False: nothing ever will.
func (w *World) Advance() bool {
	next := never
	if len(w.agenda) > 0 {
		next = w.agenda[0].at
	}
	for _, s := range w.backends {
		next = min(next, s.until)
	}
	if next == never {
		return false
	}
	w.now = max(w.now, next)
	if w.chance(w.Jump) {
		// As after a machine was suspended, or a thread not scheduled for long.
		w.Tally.Jumps++
		w.now += w.rng.Int64N(1 << (15 + w.rng.IntN(20))) // up to 17 s, mostly far less
	}
	if w.chance(w.Freeze) && w.now >= w.thawed && !w.sendsInFlight() {
		w.Tally.Freezes++
		w.freeze(w.now + w.rng.Int64N(1<<(15+w.rng.IntN(20))))
	}
	return true
}

// Suspend lets ns pass in which nobody runs.
func (w *World) Suspend(ns int64) { w.now += ns }

// freeze lets time pass for everybody but the loops.
func (w *World) freeze(until int64) {
	for len(w.agenda) > 0 && w.agenda[0].at <= until {
		w.now = max(w.now, w.agenda[0].at)
		w.RunDue()
	}
	w.now = until
	w.thawed = until + thawNs
}

// thawNs is how long the loops run at least before they are frozen again.
const thawNs = int64(12e9)

// sendsInFlight says that a loop has handed over bytes that are not under way
// although there is room for them: a kernel sends those at once, whatever
// becomes of the loop.
func (w *World) sendsInFlight() bool {
	for _, v := range w.sockets {
		if v != nil && v.s != nil && v.sending && (v.space() > 0 || v.far.gone) {
			return true
		}
	}
	return false
}

// socket is one end of a connection.
type socket struct {
	w    *World
	far  *socket
	fd   int32
	addr netip.AddrPort
	in   []byte // arrived and not read
	fin  bool   // nothing follows what is in
	rst  bool   // the far end has reset the connection
	shut bool   // this end has ended its sending direction
	gone bool   // this end is closed
	sent uint64 // bytes, ever

	loopEnd        // of ends that a loop has
	wake    func() // of scripted ends: something has changed
	waking  bool
}

// pair makes a connection between two addresses.
func (w *World) pair(a, b netip.AddrPort) (near, far *socket) {
	w.Tally.Connections++
	near, far = &socket{w: w, addr: a}, &socket{w: w, addr: b}
	near.far, far.far = far, near
	near.number()
	return near, far
}

// Pair makes a connection between a descriptor for Loop.Adopt and a peer.
func (w *World) Pair() (fd int, far *Peer) {
	a, b := w.pair(netip.AddrPort{}, netip.AddrPort{})
	return int(a.fd), &Peer{b}
}

// number gives a socket its descriptor.
func (v *socket) number() {
	v.fd = firstFD + int32(len(v.w.sockets))
	v.w.sockets = append(v.w.sockets, v)
}

// socket finds the loop's end with a descriptor.
func (w *World) socket(fd int32) *socket { return w.sockets[fd-firstFD] }

// OpenSockets is the number of connection ends that loops have not closed.
func (w *World) OpenSockets() int {
	n := 0
	for _, v := range w.sockets {
		if v != nil && !v.gone {
			n++
		}
	}
	return n
}

// notify lets the scripted end notice a change, a little later.
func (v *socket) notify() {
	if v.wake == nil || v.waking || v.gone {
		return
	}
	v.waking = true
	v.w.After(v.w.rng.Int64N(v.w.maxLag), func() {
		v.waking = false
		if v.wake != nil && !v.gone {
			v.wake()
		}
	})
}

// space is how many bytes the far end takes now.
func (v *socket) space() int { return max(0, v.w.Room-len(v.far.in)) }

// push sends bytes; there is room for them. To an end that is closed they are
// lost, and its answer is a reset.
func (v *socket) push(b []byte) {
	v.sent += uint64(len(b))
	if v.far.gone {
		v.rst = true
		return
	}
	v.far.in = append(v.far.in, b...)
	v.far.notify()
}

// pull reads at most n bytes.
func (v *socket) pull(dst []byte) int {
	n := copy(dst, v.in)
	if v.in = v.in[n:]; len(v.in) == 0 {
		v.in = nil
	}
	v.far.notify()
	return n
}

// finish ends the sending direction.
func (v *socket) finish() {
	if !v.shut {
		v.shut = true
		v.far.fin = true
		v.far.notify()
	}
}

// end closes this end: orderly, or with a reset when it is asked for or when
// bytes were not read.
func (v *socket) end(reset bool) {
	if v.gone {
		return
	}
	v.gone = true
	if reset || len(v.in) > 0 {
		v.reset()
	} else {
		v.finish()
	}
	v.in, v.wake = nil, nil
	if far := v.far; far.gone {
		v.forget()
		far.forget()
	}
}

func (v *socket) reset() {
	far := v.far
	if far.gone {
		return
	}
	v.w.Tally.Resets++
	far.rst = true
	if len(far.in) > 0 && v.w.chance(v.w.LoseOnReset) {
		v.w.Tally.LostToReset++
		far.in = far.in[:v.w.rng.IntN(len(far.in))]
	}
	far.notify()
}

// forget frees the descriptor of a socket that is closed at both ends.
func (v *socket) forget() {
	if v.fd != 0 {
		v.w.sockets[v.fd-firstFD] = nil
	}
}

// listener is where connections to a loop come in.
type listener struct {
	fd      int32
	addr    netip.AddrPort
	backlog []*socket // the loop's ends
	closed  bool
}

// Listen opens a listener for Loop.Accept and gives its descriptor. Several on
// one address share what arrives there, at random.
func (w *World) Listen(addr netip.AddrPort) int {
	fd := firstFD + int32(len(w.listeners)) - 1<<20
	w.listeners = append(w.listeners, &listener{fd: fd, addr: addr})
	return int(fd)
}

func (w *World) listener(fd int32) *listener { return w.listeners[fd-firstFD+1<<20] }

// Serve lets accept talk on each connection that a loop dials at addr, which
// is written as for loop.NewRemote. Nobody there: dials are refused.
func (w *World) Serve(addr string, accept func(*Peer)) {
	if accept == nil {
		delete(w.servers, addr)
		return
	}
	w.servers[addr] = accept
}

// Add sums up several worlds.
func (t *Tally) Add(o *Tally) {
	t.Connections += o.Connections
	t.Dials += o.Dials
	t.ShortReads += o.ShortReads
	t.ShortWrites += o.ShortWrites
	t.Late += o.Late
	t.Overshoots += o.Overshoots
	t.NoBlocks += o.NoBlocks
	t.Resets += o.Resets
	t.LostToReset += o.LostToReset
	t.HalfEnds += o.HalfEnds
	t.Refused += o.Refused
	t.Silent += o.Silent
	t.Nameless += o.Nameless
	t.Jumps += o.Jumps
	t.Freezes += o.Freezes
	t.Exports += o.Exports
	t.CancelledInOps += o.CancelledInOps
	t.Splices += o.Splices
	t.NoPipes += o.NoPipes
	t.Gathers += o.Gathers
}
