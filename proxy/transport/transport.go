package transport

import (
	"time"

	"golang.org/x/sys/unix"

	"zproxy/buf"
	"zproxy/internal/slab"
	"zproxy/loop"
	"zproxy/metrics"
	"zproxy/numa"
	"zproxy/proto/tls"
	"zproxy/proxy/transport/handshake"
)

// mailHandshake tells a loop that the handshake of connection A has something for
// it. The worker's kinds are small numbers.
const mailHandshake uint32 = 1 << 31

const whyLeft = "the peer left during the TLS handshake"

type state uint8

const (
	stateDialling  state = iota + 1 // waits for the loop's Connected, as a client
	stateHello                      // a ClientHello is coming
	stateHandshake                  // a Job is under way
	stateOpen
	stateFailed  // the handshake has failed, and an alert may be leaving
	stateClosing // the owner has closed it, and close_notify is leaving
	stateGone    // Close has reached the loop: only Closed is to come
)

const (
	flagListed    = 1 << iota // in Transport.ready
	flagTouched               // in Transport.touched
	flagSub                   // the owner wants Received
	flagConnected             // Connected is to be reported
	flagEOF                   // RecvEnd is to be reported, behind what is in
	flagEnded                 // RecvEnd was reported, or nobody wants it
	flagFinish                // Shutdown was called
	flagFinished              // and has been done
	flagServer
	flagHeld   // counts against maxHandshakes
	flagLinger // closes when the peer does, so that it reads why
	flagUnsent // Sent is to be reported, with an errno: what waited will not leave
	flagTicket // the next record may be a session ticket, for the handshake
)

// conn is one connection within TLS. No pointers.
type conn struct {
	tls     tls.Conn
	in      buf.Chain // received; of its first record content may be open
	out     buf.Chain // Sent, not sealed
	id      loop.ConnID
	lull    int64  // when the last record was sealed; before, when the handshake began
	burst   uint32 // bytes sealed since there was none for a while
	sinceMs uint32 // since when the record that in begins with is not whole
	tinyMs  uint32 // when tiny began
	tiny    uint16 // records with next to no content
	opened  uint16 // bytes of content that in begins with
	rest    uint16 // bytes of the same record behind them
	errno   uint16
	flags   uint16
	state   state
	alpn    Protocol
}

func (c *conn) has(f uint16) bool { return c.flags&f != 0 }

// side is which of the proxy's sides c is on.
func (c *conn) side() string {
	if c.has(flagServer) {
		return metrics.SideClient
	}
	return metrics.SideUpstream
}

// Stats are of the handshakes since New that metrics.TLS does not count.
type Stats struct {
	Refused  uint64 // not begun: too many were under way
	UnderWay int
}

// Transport is a loop whose connections may be within TLS. Like the loop it
// belongs to one thread.
type Transport struct {
	*loop.Loop
	pool *buf.Pool

	secure []uint32 // by the loop's slot: entry in conns, 0: in clear
	conns  slab.Slab[conn]

	ready   []uint32 // connections with something to report
	at      int      // those before have been worked off
	touched []uint32 // connections with something to seal

	ev      loop.Event
	failure string
	joined  []byte // a record that does not lie in one piece
	raw     []byte // a record as it came

	handshakes handshakes
	greetings  greetings
	keys       keys
}

// Config is what a Transport is made of. All transports of a process share Workers.
type Config struct {
	Loop    *loop.Loop
	Pool    *buf.Pool
	Workers handshake.Starter
	Counts  *metrics.TLS
}

// New makes the transport of a loop, on the loop's thread.
func New(c Config) *Transport {
	t := &Transport{Loop: c.Loop, pool: c.Pool}
	t.greetings.t = t
	t.handshakes = handshakes{t: t, workers: c.Workers, counts: c.Counts}
	return t
}

// Handshakes copies the counters.
func (t *Transport) Handshakes() Stats { return t.handshakes.stats }

// entry is that of id's TLS, 0: it is in clear.
func (t *Transport) entry(id loop.ConnID) uint32 {
	if slot := uint32(id); int(slot) < len(t.secure) {
		if i := t.secure[slot]; i != 0 && t.conns.At(i).id == id {
			return i
		}
	}
	return 0
}

func (t *Transport) newConn(id loop.ConnID) (uint32, *conn) {
	room := t.conns.Cap()
	i, c := t.conns.Alloc()
	if t.conns.Cap() > room {
		numa.KeepFromDumps(t.conns.Chunk(i)) // keys
	}
	c.id = id
	slot := int(uint32(id))
	if slot >= len(t.secure) {
		t.secure = append(t.secure, make([]uint32, slot+1-len(t.secure))...)
	}
	t.secure[slot] = i
	t.handshakes.grow(i)
	return i, c
}

// Poll seals what the turn has left to send, and lets the loop do the rest.
func (t *Transport) Poll(maxWait time.Duration) error {
	t.ready = t.ready[:copy(t.ready, t.ready[t.at:])]
	t.at = 0
	if len(t.touched) > 0 && !t.flush() && (maxWait < 0 || maxWait > time.Millisecond) {
		maxWait = time.Millisecond // there was no memory: again soon
	}
	if len(t.ready)+len(t.greetings.due) > 0 {
		maxWait = 0
	}
	return t.Loop.Poll(maxWait)
}

// Next pulls one event, nil when there is none. The pointer is good until the
// next call of Next or Poll.
func (t *Transport) Next() *loop.Event {
	for {
		for t.at < len(t.ready) {
			i := t.ready[t.at]
			if i != 0 && t.report(i) {
				return &t.ev
			}
			t.at++
			if i == 0 {
				continue
			}
			t.conns.At(i).flags &^= flagListed
		}
		if len(t.greetings.due) > 0 && t.greetings.next(&t.ev) {
			return &t.ev
		}
		ev := t.Loop.Next()
		switch {
		case ev == nil:
			return nil
		case ev.Kind == loop.MailIn:
			if m := t.Loop.Mail(ev); m.Kind == mailHandshake {
				t.handshakes.mail(loop.ConnID(m.A))
				continue
			}
			return ev
		}
		if t.greetings.prefacing > 0 && !t.greetings.prefaced(t, ev) {
			continue
		}
		if len(t.greetings.open) > 0 {
			if g := t.greetings.open[ev.Conn]; g != nil {
				if t.greetings.event(g, ev) {
					return ev
				}
				continue
			}
		}
		i := t.entry(ev.Conn)
		if i == 0 || t.event(i, ev) {
			return ev
		}
	}
}

// list has Next look at a connection.
func (t *Transport) list(i uint32, c *conn) {
	if !c.has(flagListed) {
		c.flags |= flagListed
		t.ready = append(t.ready, i)
	}
}

// touch has flush look at a connection.
func (t *Transport) touch(i uint32, c *conn) {
	if !c.has(flagTouched) {
		c.flags |= flagTouched
		t.touched = append(t.touched, i)
	}
}

// report makes the next event of a connection in t.ev; false: there is none.
func (t *Transport) report(i uint32) bool {
	c := t.conns.At(i)
	t.ev = loop.Event{Conn: c.id, FD: -1}
	switch {
	case c.state == stateClosing || c.state == stateGone:
		return false
	case c.has(flagConnected):
		c.flags &^= flagConnected
		t.ev.Kind = loop.Connected
		if c.state == stateFailed {
			t.ev.Errno, t.failure = unix.Errno(c.errno), t.handshakes.jobs[i].why
		}
	case c.state != stateOpen:
		return false
	case c.has(flagUnsent):
		c.flags &^= flagUnsent
		t.ev.Kind, t.ev.Errno = loop.Sent, unix.EPIPE
	case c.has(flagEnded):
		return false
	case c.has(flagSub) && t.open(i, c):
	case c.has(flagEOF) && (c.has(flagSub) || c.in.Empty()):
		c.flags = c.flags&^flagEOF | flagEnded
		t.pool.Drop(&c.in)
		t.ev.Kind, t.ev.Errno = loop.RecvEnd, unix.Errno(c.errno)
		t.failure = t.handshakes.jobs[i].why
	default:
		return false
	}
	t.ev.Owner = t.Loop.Owner(c.id)
	return true
}

// event handles what the loop says of a connection. True: the owner is to know it.
func (t *Transport) event(i uint32, ev *loop.Event) bool {
	c := t.conns.At(i)
	switch ev.Kind {
	case loop.Connected:
		if ev.Errno != 0 {
			return true
		}
		t.handshakes.beginClient(i, c)
		return false
	case loop.Received:
		t.received(i, c, ev.View)
		return false
	case loop.RecvEnd:
		t.ended(i, c, ev.Errno)
		return false
	case loop.Sent:
		return t.sent(i, c, ev)
	case loop.Timer:
		return t.timer(c)
	case loop.Closed:
		t.forget(i, c)
	}
	return true
}

func (t *Transport) received(i uint32, c *conn, v buf.View) {
	switch c.state {
	case stateHello:
		t.keepsMoving(c, v.Len)
		t.pool.Coalesce(&c.in, v)
		t.handshakes.hello(i, c)
	case stateHandshake:
		if !t.handshakes.jobs[i].Feed(t.pool.Bytes(v)) {
			t.Loop.Pause(c.id)
		}
		t.pool.Release(v)
	case stateOpen:
		if c.has(flagEnded | flagEOF) {
			t.pool.Release(v) // behind close_notify, or an error
			return
		}
		t.keepsMoving(c, v.Len)
		t.pool.Coalesce(&c.in, v)
		t.list(i, c)
	default:
		t.pool.Release(v)
	}
}

// moves is what part of what is held of a record must come for it to count as moving.
const moves = 16

// keepsMoving notes that n more bytes of a record come.
func (t *Transport) keepsMoving(c *conn, n uint32) {
	if int(n)*moves >= c.in.Bytes() {
		c.sinceMs = t.ms()
	}
}

// ended: the peer sends no more, and has said so in TLS before or not.
func (t *Transport) ended(i uint32, c *conn, errno unix.Errno) {
	switch c.state {
	case stateHello:
		t.handshakes.fail(i, c, whyLeft, reasonLeft, unix.ECONNRESET)
	case stateHandshake, stateOpen:
		if !c.has(flagEOF | flagEnded) {
			if errno == 0 {
				errno = unix.ECONNRESET // no close_notify
			}
			c.errno = uint16(errno)
			c.flags |= flagEOF
			t.list(i, c)
		}
		if c.state == stateHandshake {
			t.handshakes.jobs[i].End() // it may have all it needs
		}
	case stateClosing:
		t.gone(c)
	}
}

func (t *Transport) sent(i uint32, c *conn, ev *loop.Event) bool {
	switch c.state {
	case stateOpen:
		if ev.Errno != 0 {
			t.pool.Drop(&c.out)
		} else if !c.out.Empty() {
			t.touch(i, c)
		}
		return true
	case stateClosing:
		if ev.Errno != 0 || t.Loop.Queued(c.id) == 0 && !c.has(flagLinger) {
			t.gone(c)
		}
	}
	return false
}

// timer: the owner judges all deadlines but that of an end.
func (t *Transport) timer(c *conn) bool {
	if c.state == stateClosing {
		t.gone(c)
		return false
	}
	return c.state != stateGone
}

// Expire fails a handshake that has taken too long, behind the Timer that says so.
func (t *Transport) Expire(id loop.ConnID) {
	if g := t.greetings.open[id]; g != nil && !g.over {
		t.greetings.fail(id, g, "PROXY protocol header not finished in time", unix.ETIMEDOUT)
		return
	}
	if i := t.entry(id); i != 0 {
		if c := t.conns.At(i); c.state == stateHello || c.state == stateHandshake {
			t.handshakes.fail(i, c, "TLS handshake not finished in time", reasonTimeout, unix.ETIMEDOUT)
		}
	}
}

// gone ends a connection whose last bytes have left, or never will.
func (t *Transport) gone(c *conn) {
	c.state = stateGone
	t.Loop.Close(c.id)
}

// forget: Closed is the connection's last event.
func (t *Transport) forget(i uint32, c *conn) {
	t.drop(i, c)
	t.handshakes.agreed[i] = Session{}
	t.secure[uint32(c.id)] = 0
	if c.has(flagListed) {
		forgetIn(t.ready[t.at:], i)
	}
	if c.has(flagTouched) {
		forgetIn(t.touched, i)
	}
	t.conns.Free(i)
}

func forgetIn(list []uint32, i uint32) {
	for k, j := range list {
		if j == i {
			list[k] = 0
		}
	}
}

// drop lets go all that a connection holds but its slot.
func (t *Transport) drop(i uint32, c *conn) {
	t.pool.Drop(&c.in)
	t.pool.Drop(&c.out)
	t.handshakes.drop(i, c)
}

// Destroy is the loop's; handshakes under way end as well, and what connections
// hold is given back.
func (t *Transport) Destroy() error {
	for id := range t.greetings.open {
		t.greetings.drop(id)
	}
	for i := range t.greetings.prefaces {
		if p := &t.greetings.prefaces[i]; p.left > 0 {
			t.greetings.dropPreface(p)
		}
	}
	for i, left := uint32(1), t.conns.Len(); left > 0; i++ {
		if t.conns.Live(i) {
			left--
			t.drop(i, t.conns.At(i))
		}
	}
	return t.Loop.Destroy()
}
