package simnet

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"

	"zproxy/loop/sim"
)

// Rivals is a world in which clients always have something to ask of an upstream that
// takes few requests at once, and others take what they can of it and do not go on.
type Rivals struct {
	World      *sim.World
	Proxy      netip.AddrPort
	AnswerNs   int64 // what the origin takes for each
	Violations []string
	All        []*Rival

	next  uint16 // port
	since int64  // Count
}

// Rival is one client, which has an address and some connections.
type Rival struct {
	Conns  []*RivalConn
	Demand int // requests at once
	rivals *Rivals
	addr   netip.Addr
}

// RivalConn is one connection of a Rival, and what it got since Count.
type RivalConn struct {
	Served  int
	Longest int64 // of all, ns
	rival   *Rival
	asked   map[uint32]int64 // when, by stream
}

// Where the origins are.
const (
	RivalOrigin   = "10.3.1.1:80"
	RivalH2Origin = "10.3.1.2:80"
)

// Origins brings them up: they answer what has come whole, after AnswerNs.
func (r *Rivals) Origins() {
	r.World.Serve(RivalOrigin, r.newOrigin)
	r.World.Serve(RivalH2Origin, func(p *sim.Peer) { newPlainEnd(p, true, h2FirstWindow, rivalOrigin{r}) })
}

func (r *Rivals) newOrigin(p *sim.Peer) {
	left := 0
	e := &plainText{p: p, most: echoPatience}
	answer := func() {
		if !e.gone {
			e.out = append(e.out, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"...)
			e.flush()
		}
	}
	e.got = func(b []byte) int {
		n := min(left, len(b))
		if left == 0 {
			if n, left = headOf(b, "content-length"); n == 0 {
				return 0
			}
			if bytes.Contains(bytes.ToLower(b[:n]), []byte("\r\ntransfer-encoding: chunked")) {
				left = endlessBytes // nobody ends such a request here
			}
		} else {
			left -= n
		}
		if left == 0 {
			r.World.After(r.AnswerNs, answer)
		}
		return n
	}
	e.begin()
}

// rivalOrigin is the same over HTTP/2.
type rivalOrigin struct{ r *Rivals }

func (o rivalOrigin) head(e *plainEnd, s *plainStream, end bool) {
	if end {
		o.answer(e, s)
	}
}

func (o rivalOrigin) data(e *plainEnd, s *plainStream, n int, end bool) {
	e.credit(s, n)
	if end {
		o.answer(e, s)
	}
}

func (o rivalOrigin) answer(e *plainEnd, s *plainStream) {
	o.r.World.After(o.r.AnswerNs, func() {
		if !e.gone && e.streams[s.id] == s {
			e.headers(s, false, ":status", "200", "content-length", "2")
			s.send, s.end = 2, true
			e.flush()
		}
	})
}

func (rivalOrigin) sent(*plainEnd, *plainStream, int)        {}
func (rivalOrigin) over(e *plainEnd, s *plainStream, _ bool) { e.forget(s) }
func (r *Rivals) fail(format string, args ...any) {
	if len(r.Violations) < 10 {
		r.Violations = append(r.Violations, fmt.Sprintf("at %d: ", r.World.Now())+fmt.Sprintf(format, args...))
	}
}

func (r *Rivals) connect(from netip.Addr) *sim.Peer {
	r.next++
	return r.World.Connect(netip.AddrPortFrom(from, 10_000+r.next), r.Proxy)
}

// addrOf is the address of the nth client.
func addrOf(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 5, 0, byte(n)}) }

// Add lets one more rival begin, with conns connections of which each has so many requests
// under way at any time, one over HTTP/1.
func (r *Rivals) Add(h2 bool, conns, streams int) {
	v := &Rival{rivals: r, addr: addrOf(len(r.All) + 1)}
	r.All = append(r.All, v)
	for range conns {
		c := &RivalConn{rival: v, asked: map[uint32]int64{}}
		v.Conns = append(v.Conns, c)
		if h2 {
			v.Demand += streams
			c.streams(streams)
		} else {
			v.Demand++
			c.text()
		}
	}
}

func (c *RivalConn) text() {
	r := c.rival.rivals
	e := &plainText{p: r.connect(c.rival.addr), most: echoPatience}
	ask := func() {
		c.asked[0] = r.World.Now()
		e.out = append(e.out, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"...)
	}
	e.ended = func(err error) { r.fail("%v loses a connection: %v", c.rival.addr, err) }
	e.got = func(b []byte) int {
		n, length := headOf(b, "content-length")
		if n == 0 || len(b) < n+length {
			return 0
		}
		c.answered(0, string(b[9:12]))
		ask()
		return n + length
	}
	ask()
	e.begin()
}

func (c *RivalConn) streams(n int) {
	r := c.rival.rivals
	e := newPlainEnd(r.connect(c.rival.addr), false, h2FirstWindow, rivalScript{c})
	e.ended = func() { r.fail("%v loses a connection", c.rival.addr) }
	for range n {
		c.ask(e)
	}
	e.flush()
}

func (c *RivalConn) ask(e *plainEnd) { c.asked[e.ask("GET", "/").id] = c.rival.rivals.World.Now() }

func (c *RivalConn) answered(id uint32, status string) {
	r := c.rival.rivals
	if status != "200" {
		r.fail("%v is answered %s", c.rival.addr, status)
	}
	c.Served++
	c.Longest = max(c.Longest, r.World.Now()-max(r.since, c.asked[id]))
	delete(c.asked, id)
}

// Waits is the longest of what is not answered yet.
func (c *RivalConn) Waits() (ns int64) {
	for _, at := range c.asked {
		ns = max(ns, c.rival.rivals.World.Now()-max(c.rival.rivals.since, at))
	}
	return ns
}

// rivalScript is a connection of a rival over HTTP/2.
type rivalScript struct{ *RivalConn }

func (c rivalScript) head(e *plainEnd, s *plainStream, end bool) {}

func (c rivalScript) data(e *plainEnd, s *plainStream, n int, end bool) {
	e.credit(s, n)
	if end {
		c.answered(s.id, s.status)
		e.forget(s)
		c.ask(e)
	}
}

func (c rivalScript) sent(*plainEnd, *plainStream, int) {}

func (c rivalScript) over(e *plainEnd, s *plainStream, reset bool) {
	c.rival.rivals.fail("a stream of %v is reset", c.rival.addr)
}

// Count begins anew.
func (r *Rivals) Count() {
	r.since = r.World.Now()
	for _, v := range r.All {
		for _, c := range v.Conns {
			c.Served, c.Longest = 0, 0
		}
	}
}

// Greed is a kind of client that opens requests with content and stops.
type Greed struct {
	Name    string
	H2      bool
	Fields  []string // name, value ...
	Content int      // bytes that it sends
}

// Greeds are all of them. The first field is what announces content, or says that there
// may be some.
var Greeds = []Greed{
	{"h2 posts without content", true, []string{"content-length", "100000"}, 0},
	{"h1 posts without content", false, []string{"Content-Length", "100000"}, 0},
	{"h1 chunked posts without content", false, []string{"Transfer-Encoding", "chunked"}, 0},
	{"h2 gRPC streams without content", true, []string{"content-type", "application/grpc"}, 0},
	{"h1 posts that expect a 100", false, []string{"Content-Length", "100000", "Expect", "100-continue"}, 0},
	{"h2 posts that stop", true, []string{"content-length", "100000"}, 1},
	{"h1 posts that stop", false, []string{"Content-Length", "100000"}, 3000},
}

// greedy is one connection of a greedy client.
type greedy struct {
	*Greed
	r    *Rivals
	from netip.Addr
	n    int
}

// Take lets the nth greedy client begin: so many connections, over HTTP/2 with so many
// requests each. What ends is begun again.
func (r *Rivals) Take(n int, g *Greed, conns, streams int) {
	for range conns {
		(&greedy{g, r, addrOf(128 + n), streams}).connect()
	}
}

func (g *greedy) connect() {
	p := g.r.connect(g.from)
	again := func() { g.r.World.After(again, g.connect) }
	if g.H2 {
		e := newPlainEnd(p, false, h2FirstWindow, greedyScript{g})
		e.ended = again
		for range g.n {
			g.ask(e)
		}
		e.flush()
		return
	}
	e := &plainText{p: p, most: echoPatience, got: func(b []byte) int { return len(b) }, ended: func(error) { again() }}
	e.out = []byte("POST / HTTP/1.1\r\nHost: h\r\n")
	for i := 0; i < len(g.Fields); i += 2 {
		e.out = fmt.Appendf(e.out, "%s: %s\r\n", g.Fields[i], g.Fields[i+1])
	}
	e.out = append(append(e.out, "\r\n"...), make([]byte, g.Content)...)
	e.begin()
}

func (g *greedy) ask(e *plainEnd) {
	if !e.gone {
		e.ask("POST", "/"+strconv.Itoa(g.n), g.Fields...).send = g.Content
	}
}

// greedyScript is one over HTTP/2.
type greedyScript struct{ *greedy }

func (g greedyScript) head(e *plainEnd, s *plainStream, end bool) { g.over(e, s, true) }
func (g greedyScript) data(e *plainEnd, s *plainStream, n int, _ bool) {
	e.credit(s, n)
}
func (g greedyScript) sent(*plainEnd, *plainStream, int) {}

func (g greedyScript) over(e *plainEnd, s *plainStream, reset bool) {
	if e.streams[s.id] == s || reset {
		e.forget(s)
		g.r.World.After(again, func() {
			g.ask(e)
			e.flush()
		})
	}
}
