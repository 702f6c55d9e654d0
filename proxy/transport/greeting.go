package transport

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"zproxy/buf"
	"zproxy/loop"
	"zproxy/proto/proxyproto"
)

// Whose connection it is may be said by what is in front, in a header of the PROXY protocol
// before everything else. It is read here, below TLS; from then on Peer is whom it names.

// Greeting is how such a header is awaited.
type Greeting struct {
	TimeoutNs int64   // for the whole header
	Server    *Server // with which the connection goes into TLS behind it; nil: it stays in clear
}

// greeted is a connection whose header is awaited, or in clear what came behind it.
type greeted struct {
	of *Greeting
	in buf.Chain
	// connected: Connected is to be reported, with errno and why. After it, without an errno,
	// what is in is.
	connected, over bool
	errno           unix.Errno
	why             string
}

// named is whom a connection is said to be of, and where that has connected to.
type named struct {
	id             loop.ConnID
	addr, to       [16]byte
	port, portedTo uint16
}

// greetings are those of a transport.
type greetings struct {
	t      *Transport
	open   map[loop.ConnID]*greeted
	due    []loop.ConnID // with something to report
	named  []named       // by the loop's slot
	joined []byte

	prefaces  []preface // by the loop's slot
	prefacing int       // those of which something has not left

	counts GreetingStats
}

// GreetingStats count the headers of a transport.
type GreetingStats struct{ Taken, Local, Refused uint64 }

// Greetings copies the counters.
func (t *Transport) Greetings() GreetingStats { return t.greetings.counts }

// Greet awaits a header on an accepted connection, from which nothing was received. The owner
// hears of it again by Connected, when TLS stands too where the connection is to be in it, or
// by Timer, and calls Expire then.
func (t *Transport) Greet(id loop.ConnID, g *Greeting) {
	gs := &t.greetings
	if gs.open == nil {
		gs.open = map[loop.ConnID]*greeted{}
	}
	gs.open[id] = &greeted{of: g}
	t.Loop.Recv(id)
	t.Loop.Deadline(id, t.Loop.Now()+g.TimeoutNs)
}

// Peer is the loop's, or whom a header names.
func (t *Transport) Peer(id loop.ConnID) netip.AddrPort {
	if t.IsNamed(id) {
		n := &t.greetings.named[uint32(id)]
		return netip.AddrPortFrom(netip.AddrFrom16(n.addr).Unmap(), n.port)
	}
	return t.Loop.Peer(id)
}

// Local is the address that the peer of id has connected to: as a header says, or as the kernel does.
func Local(t *Transport, id loop.ConnID) netip.AddrPort {
	if t.IsNamed(id) {
		n := &t.greetings.named[uint32(id)]
		return netip.AddrPortFrom(netip.AddrFrom16(n.to).Unmap(), n.portedTo)
	}
	return loop.Local(t.Loop, id)
}

// IsNamed says that a header has named the peer of id.
func (t *Transport) IsNamed(id loop.ConnID) bool {
	slot := uint32(id)
	return int(slot) < len(t.greetings.named) && t.greetings.named[slot].id == id
}

// event handles what the loop says of a connection whose header is awaited. True: the owner
// is to know it.
func (gs *greetings) event(g *greeted, ev *loop.Event) bool {
	switch ev.Kind {
	case loop.Received:
		gs.t.pool.Coalesce(&g.in, ev.View)
		if !g.over {
			gs.read(ev.Conn, g)
		}
		return false
	case loop.RecvEnd:
		if g.over {
			return !g.connected && g.in.Empty()
		}
		gs.fail(ev.Conn, g, "the peer left before its PROXY protocol header", unix.ECONNRESET)
		return false
	case loop.Closed:
		gs.drop(ev.Conn)
	}
	return true
}

// read looks for the header in what has come.
func (gs *greetings) read(id loop.ConnID, g *greeted) {
	var first [16]byte
	n := gs.t.pool.CopyOut(&g.in, first[:])
	if g.in.Bytes() >= len(first) && g.in.Bytes() < proxyproto.Bytes(first[:n]) {
		return // a long one is joined once
	}
	if cap(gs.joined) < g.in.Bytes() {
		gs.joined = make([]byte, g.in.Bytes())
	}
	b := gs.joined[:min(g.in.Bytes(), proxyproto.MaxBytes)]
	gs.t.pool.CopyOut(&g.in, b)
	n, h, err := proxyproto.Parse(b)
	switch {
	case err != nil:
		gs.fail(id, g, err.Error(), unix.EPROTO)
		return
	case n == 0:
		return
	}
	gs.counts.Taken++
	if h.Local {
		gs.counts.Local++
	}
	if h.Source.IsValid() {
		gs.name(id, h.Source, h.Destination)
	}
	gs.skip(&g.in, n)
	g.over = true
	if g.of.Server == nil {
		gs.report(id, g)
		return
	}
	in, server := g.in, g.of.Server
	g.in = buf.Chain{}
	delete(gs.open, id)
	if !gs.t.Secure(id, server) {
		gs.t.pool.Drop(&in)
		gs.open[id] = g
		gs.fail(id, g, "too many TLS handshakes are under way", unix.EBUSY)
		return
	}
	i := gs.t.entry(id)
	for c := gs.t.conns.At(i); !in.Empty(); {
		gs.t.pool.Coalesce(&c.in, gs.t.pool.Pop(&in))
	}
	if c := gs.t.conns.At(i); !c.in.Empty() {
		gs.t.handshakes.hello(i, c)
	}
}

// skip drops the first n bytes of in.
func (gs *greetings) skip(in *buf.Chain, n int) {
	for n > 0 {
		v := gs.t.pool.Pop(in)
		if int(v.Len) <= n {
			n -= int(v.Len)
			gs.t.pool.Release(v)
			continue
		}
		var rest buf.Chain
		gs.t.pool.Push(&rest, v.Slice(uint32(n), v.Len-uint32(n)))
		for !in.Empty() {
			gs.t.pool.Push(&rest, gs.t.pool.Pop(in))
		}
		*in, n = rest, 0
	}
}

func (gs *greetings) name(id loop.ConnID, of, to netip.AddrPort) {
	slot := int(uint32(id))
	if slot >= len(gs.named) {
		gs.named = append(gs.named, make([]named, slot+1-len(gs.named))...)
	}
	gs.named[slot] = named{id, of.Addr().As16(), to.Addr().As16(), of.Port(), to.Port()}
}

func (gs *greetings) fail(id loop.ConnID, g *greeted, why string, errno unix.Errno) {
	gs.counts.Refused++
	gs.t.pool.Drop(&g.in)
	g.over, g.errno, g.why = true, errno, why
	gs.report(id, g)
}

// report has Next report that g is over.
func (gs *greetings) report(id loop.ConnID, g *greeted) {
	g.connected = true
	gs.t.Loop.Deadline(id, 0)
	gs.due = append(gs.due, id)
}

// next makes an event of what is to be reported; false: there is none.
func (gs *greetings) next(ev *loop.Event) bool {
	for len(gs.due) > 0 {
		id := gs.due[0]
		g := gs.open[id]
		switch {
		case g == nil: // it is closed
		case g.connected:
			g.connected = false
			*ev = loop.Event{Conn: id, FD: -1, Kind: loop.Connected, Errno: g.errno, Owner: gs.t.Loop.Owner(id)}
			gs.t.failure = g.why
			return true
		case !g.in.Empty():
			v := gs.t.pool.Pop(&g.in)
			*ev = loop.Event{Conn: id, FD: -1, Kind: loop.Received, View: v, N: v.Len, Owner: gs.t.Loop.Owner(id)}
			return true
		default:
			delete(gs.open, id)
		}
		gs.due = gs.due[:copy(gs.due, gs.due[1:])]
	}
	return false
}

// drop: the owner has closed id, or the loop has.
func (gs *greetings) drop(id loop.ConnID) {
	if g := gs.open[id]; g != nil {
		gs.t.pool.Drop(&g.in)
		delete(gs.open, id)
	}
}

// preface is what a connection that this side has dialled begins with.
type preface struct {
	id   loop.ConnID
	v    buf.View // until the connection stands
	left uint32   // how much of it has not left
}

// Preface has a connection that was just dialled begin with v, before TLS too. It takes v's
// reference. No Sent tells of v.
func (t *Transport) Preface(id loop.ConnID, v buf.View) {
	gs, slot := &t.greetings, int(uint32(id))
	if slot >= len(gs.prefaces) {
		gs.prefaces = append(gs.prefaces, make([]preface, slot+1-len(gs.prefaces))...)
	}
	gs.prefaces[slot] = preface{id: id, v: v, left: v.Len}
	gs.prefacing++
}

// prefaced sends what is to come first once the connection of ev stands, and tells it from what
// the owner sends. True: the event goes on.
func (gs *greetings) prefaced(t *Transport, ev *loop.Event) bool {
	slot := int(uint32(ev.Conn))
	if slot >= len(gs.prefaces) || gs.prefaces[slot].id != ev.Conn || gs.prefaces[slot].left == 0 {
		return true
	}
	p := &gs.prefaces[slot]
	switch {
	case ev.Kind == loop.Connected && ev.Errno == 0:
		t.Loop.Send(ev.Conn, p.v)
		p.v = buf.View{}
	case ev.Kind == loop.Sent && ev.Errno == 0:
		n := min(ev.N, p.left)
		if p.left, ev.N = p.left-n, ev.N-n; p.left == 0 {
			gs.prefacing--
		}
		return ev.N > 0 || t.IsSecure(ev.Conn)
	case ev.Kind == loop.Sent || ev.Kind == loop.Closed:
		gs.dropPreface(p)
	}
	return true
}

func (gs *greetings) dropPreface(p *preface) {
	if p.v.ID != 0 {
		gs.t.pool.Release(p.v)
	}
	*p = preface{}
	gs.prefacing--
}
