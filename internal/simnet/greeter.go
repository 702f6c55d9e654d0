package simnet

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"

	"golang.org/x/sys/unix"

	"zproxy/loop/sim"
)

// plainLink is a link in clear, on which TLS may be spoken.
type plainLink interface {
	link
	Room() int
	Gone() bool
}

// greeter is the end of a load balancer: its connection begins with a PROXY header, and is
// from then on that of the client it names.
type greeter struct {
	plainLink
	r     *Run
	named netip.AddrPort
	to    netip.AddrPort // where that has connected to
	rest  []byte         // of the header
	joins bool           // it leaves with what comes behind it
	wake  func()
}

// namedTo is where named clients say they have connected to.
var namedTo = [2]netip.AddrPort{netip.MustParseAddrPort("203.0.113.1:443"), netip.MustParseAddrPort("[2001:db8:1::1]:443")}

// greet has the i-th client's connection begin with a header, and the client be called as it says.
func (r *Run) greet(p *sim.Peer, i int) plainLink {
	g := &greeter{plainLink: p, r: r, named: p.Addr(), to: p.FarAddr(), joins: r.rng.IntN(3) == 0}
	from, to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), uint16(1+i)), namedTo[0]
	if r.rng.IntN(3) == 0 {
		from, to = netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 14: byte(i >> 8), 15: byte(i)}), uint16(1+i)), namedTo[1]
	}
	r.Greeted++
	switch r.rng.IntN(8) {
	case 0:
		g.rest = localHeader(r.rng)
	case 1:
		g.rest = []byte("PROXY UNKNOWN\r\n")
	case 2, 3, 4:
		g.rest, g.named, g.to = v1Header(from, to), from, to
	default:
		g.rest, g.named, g.to = v2Header(r.rng, from, to, r.rng.IntN(2) == 0), from, to
	}
	r.trace(g, "a header of %d bytes names this client", len(g.rest))
	p.OnChange(g.changed)
	if !g.joins {
		r.World.After(r.pace(false), g.say)
	}
	return g
}

// Addr is the client's, and FarAddr where it has connected to.
func (g *greeter) Addr() netip.AddrPort    { return g.named }
func (g *greeter) FarAddr() netip.AddrPort { return g.to }

func (g *greeter) OnChange(wake func()) { g.wake = wake }

func (g *greeter) changed() {
	if g.wake != nil {
		g.wake()
	}
}

// say hands the header over, piece by piece.
func (g *greeter) say() {
	if g.Gone() || len(g.rest) == 0 {
		return
	}
	n, err := g.plainLink.Write(g.rest[:g.r.piece(len(g.rest))])
	if g.rest = g.rest[n:]; len(g.rest) == 0 {
		g.changed()
	} else if err == nil || err == sim.ErrWouldBlock {
		g.r.World.After(1+g.r.pace(false), g.say)
	}
}

// Room is none before the header has left.
func (g *greeter) Room() int {
	if len(g.rest) > 0 && !g.joins {
		return 0
	}
	return max(0, g.plainLink.Room()-len(g.rest))
}

func (g *greeter) Write(b []byte) (int, error) {
	if len(g.rest) == 0 {
		return g.plainLink.Write(b)
	}
	if g.Gone() {
		return 0, io.ErrClosedPipe
	}
	if !g.joins {
		if _, err := g.plainLink.Write(nil); err != nil {
			return 0, err
		}
		return 0, sim.ErrWouldBlock
	}
	header := len(g.rest)
	n, err := g.plainLink.Write(append(g.rest, b...))
	if n < header {
		if g.rest = g.rest[n:]; err == nil {
			err = sim.ErrWouldBlock
		}
		return 0, err
	}
	g.rest = nil
	return n - header, nil
}

// CloseWrite and Close are not of one who has not said for whom he speaks.
func (g *greeter) CloseWrite() {
	g.hurry()
	g.plainLink.CloseWrite()
}

func (g *greeter) Close() {
	if !g.Gone() {
		g.hurry()
	}
	g.plainLink.Close()
}

func (g *greeter) hurry() {
	n, _ := g.plainLink.Write(g.rest)
	g.rest = g.rest[n:]
}

// impostor is one whom the proxy must not serve: its header is wrong, missing, never finished, or
// none that it may send.
type impostor struct {
	r    *Run
	p    *sim.Peer
	out  []byte
	got  []byte
	mute bool // it gets not a byte
	done bool
}

// impostorNs is how long the proxy may take to end an impostor's connection. (The header has
// 5 s; a response to bytes that are none, and lingering behind it, more.)
const impostorNs = int64(200e9)

// startImpostor begins the i-th client, which is none.
func (r *Run) startImpostor(i int, to netip.AddrPort) {
	m := &impostor{r: r, mute: true}
	from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 40000)
	claims := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 19, byte(i >> 8), byte(i)}), 7)
	asks := "GET /r/-1 HTTP/1.1\r\nHost: sim.example\r\nX-Id: -1\r\n\r\n"
	v2 := v2Header(r.rng, claims, namedTo[0], true)
	switch r.rng.IntN(6) {
	case 0: // no header
	case 1:
		m.out = []byte("PROXY TCP4 198.19.0.1 203.0.113.1 01 443\r\n")
	case 2:
		v2[20+r.rng.IntN(4)] ^= 1 << r.rng.IntN(8)
		m.out = v2
	case 3:
		m.out, asks = v2[:1+r.rng.IntN(len(v2)-1)], ""
	case 4:
		v2[12] = 0x22
		m.out = v2
	default:
		from = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 4, byte(i >> 8), byte(i)}), 40000)
		m.out, m.mute = v1Header(claims, namedTo[0]), !r.Traits.OthersPlain
	}
	m.out = append(m.out, asks...)
	if m.p = r.World.Connect(from, to); m.p == nil {
		r.clients--
		return
	}
	if m.mute {
		r.Impostors++
	}
	r.trace(m.p, "an impostor")
	m.p.OnChange(m.read)
	r.World.After(r.pace(false), m.write)
	r.World.After(impostorNs, func() {
		if !m.done {
			r.fail("an impostor's connection is open: %v, %q", m.p.Addr(), m.got)
			m.end()
		}
	})
}

func (m *impostor) write() {
	if m.done || len(m.out) == 0 {
		return
	}
	n, err := m.p.Write(m.out[:m.r.piece(len(m.out))])
	if m.out = m.out[n:]; err == nil || err == sim.ErrWouldBlock {
		m.r.World.After(1+m.r.pace(false), m.write)
	}
}

func (m *impostor) read() {
	for b := make([]byte, 1024); !m.done; {
		n, err := m.p.Read(b)
		m.got = append(m.got, b[:n]...)
		switch {
		case err == sim.ErrWouldBlock:
			return
		case err != nil || n == 0:
			if m.mute && len(m.got) > 0 || bytes.Contains(bytes.ToLower(m.got), []byte("x-id")) {
				m.r.fail("an impostor gets %q", m.got)
			}
			m.end()
		}
	}
}

func (m *impostor) end() {
	m.done = true
	m.r.clients--
	m.p.Close()
}

// demander is the end of an origin that wants to know the client by a PROXY header.
type demander struct {
	plainLink
	r      *Run
	in     []byte // until the header is whole; then what came behind it
	header proxyHeader
	whole  bool
	broken bool
}

func (d *demander) Waiting() int { return len(d.in) + d.plainLink.Waiting() }

func (d *demander) Read(b []byte) (int, error) {
	for !d.whole && !d.broken {
		more := make([]byte, max(1, min(d.plainLink.Waiting(), d.r.piece(4096))))
		n, err := d.plainLink.Read(more)
		if err != nil {
			return 0, err
		}
		d.in = append(d.in, more[:n]...)
		if n, d.header, err = parseProxyHeader(d.in); err != nil {
			d.r.fail("origin: %v", err)
			d.broken = true
			d.Reset()
		} else if n > 0 {
			d.in, d.whole = d.in[n:], true
		}
	}
	switch {
	case d.broken:
		return 0, unix.ECONNRESET
	case len(d.in) > 0:
		n := copy(b, d.in)
		d.in = d.in[n:]
		return n, nil
	}
	return d.plainLink.Read(b)
}

// checkNamed: the connection by which the head of q has come was made for q, on behalf of its client.
func (o *origin) checkNamed(q *Request) error {
	t := &o.r.Traits
	if t.SendProxy == 0 {
		return nil
	}
	p := o.p
	if s, within := p.(*secured); within {
		p = s.p
	}
	h := &p.(*demander).header
	ssl, within := h.tlvs[tlvSSL]
	switch {
	case o.served > 0:
		return fmt.Errorf("request %d comes by a connection that named the client of another one", q.ID)
	case h.version != t.SendProxy:
		return fmt.Errorf("request %d with a PROXY header of version %d", q.ID, h.version)
	case h.from != q.From:
		return fmt.Errorf("request %d of %v with a PROXY header that names %v", q.ID, q.From, h.from)
	case h.to != q.To:
		return fmt.Errorf("request %d to %v with a PROXY header that names %v", q.ID, q.To, h.to)
	case !t.TLVs:
		if len(h.tlvs) > bit(h.version == 2) { // a checksum
			return fmt.Errorf("request %d with a PROXY header that says %q", q.ID, h.tlvs)
		}
	case len(h.tlvs[tlvUniqueID]) != 32 || q.identifier != "" && q.identifier != string(h.tlvs[tlvUniqueID]):
		return fmt.Errorf("request %d with a PROXY header with the identifier %q, and %q before", q.ID, h.tlvs[tlvUniqueID], q.identifier)
	case within != t.SecureClients || within && ssl[0] != 1:
		return fmt.Errorf("request %d with a PROXY header that says of TLS: %q", q.ID, ssl)
	case t.SecureClients && string(h.tlvs[tlvAuthority]) != clientsName:
		return fmt.Errorf("request %d with a PROXY header for %q", q.ID, h.tlvs[tlvAuthority])
	case !q.speaks(string(h.tlvs[tlvALPN]), t.SecureClients):
		return fmt.Errorf("request %d with a PROXY header that says of ALPN: %q", q.ID, h.tlvs[tlvALPN])
	case q.identifier == "":
		q.identifier = string(h.tlvs[tlvUniqueID])
		if o.r.identifiers[q.identifier] {
			return fmt.Errorf("request %d has the identifier of another one", q.ID)
		}
		o.r.identifiers[q.identifier] = true
	}
	return nil
}

// speaks says that q may have come by what ALPN chose. (Not all clients of HTTP/1 offer it.)
func (q *Request) speaks(alpn string, secure bool) bool {
	switch {
	case !secure:
		return alpn == ""
	case q.H2:
		return alpn == "h2"
	}
	return alpn == "" || alpn == "http/1.1"
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
