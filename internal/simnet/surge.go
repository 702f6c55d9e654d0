package simnet

import (
	"fmt"
	"net/netip"

	"zproxy/loop/sim"
)

// Surge is a world in which clients ask more of an origin than it can do: it serves so many requests
// at a time, and has the others wait, first in, first out.
type Surge struct {
	World      *sim.World
	Proxy      netip.AddrPort
	Servers    int
	AnswerNs   int64 // what the origin takes for each request that it serves
	Violations []string
	Classes    []*SurgeClass

	next uint16  // port
	free []int64 // when each of the servers is
}

// SurgeClass is requests for one path, and what became of them since Count.
type SurgeClass struct {
	Served, Shed int
	Took         []int64 // by the origin's responses

	surge   *Surge
	path    string
	everyNs float64
	idle    []*surgeConn
	streams *plainEnd // HTTP/2
	began   map[uint32]int64
	stopped bool
}

// surgeConn is a connection of HTTP/1, with one request at a time.
type surgeConn struct {
	*plainText
	began int64
}

// Where the origins are.
const (
	SurgeOrigin   = "10.3.2.1:80"
	SurgeH2Origin = "10.3.2.2:80"
)

// Origins brings them up.
func (s *Surge) Origins() {
	s.free = make([]int64, s.Servers)
	s.World.Serve(SurgeOrigin, func(p *sim.Peer) {
		e := &plainText{p: p, most: echoPatience}
		e.got = func(b []byte) int {
			n, _ := headOf(b, "content-length")
			if n > 0 {
				s.World.After(s.serves(), func() {
					if !e.gone {
						e.out = append(e.out, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"...)
						e.flush()
					}
				})
			}
			return n
		}
		e.begin()
	})
	s.World.Serve(SurgeH2Origin, func(p *sim.Peer) { newPlainEnd(p, true, h2FirstWindow, surgeOrigin{s}) })
}

// serves is how long it takes from now on until one more request has been served.
func (s *Surge) serves() (ns int64) {
	first := 0
	for i := range s.free {
		if s.free[i] < s.free[first] {
			first = i
		}
	}
	s.free[first] = max(s.World.Now(), s.free[first]) + s.AnswerNs*(90+s.World.Rand().Int64N(21))/100
	return s.free[first] - s.World.Now()
}

// surgeOrigin is the one over HTTP/2.
type surgeOrigin struct{ s *Surge }

func (o surgeOrigin) head(e *plainEnd, st *plainStream, end bool) {
	o.s.World.After(o.s.serves(), func() {
		if !e.gone && e.streams[st.id] == st {
			e.headers(st, false, ":status", "200", "content-length", "2")
			st.send, st.end = 2, true
			e.flush()
		}
	})
}

func (surgeOrigin) data(e *plainEnd, st *plainStream, n int, _ bool) { e.credit(st, n) }
func (surgeOrigin) sent(*plainEnd, *plainStream, int)                {}
func (surgeOrigin) over(e *plainEnd, st *plainStream, _ bool)        { e.forget(st) }

func (s *Surge) fail(format string, args ...any) {
	if len(s.Violations) < 10 {
		s.Violations = append(s.Violations, fmt.Sprintf("at %d: ", s.World.Now())+fmt.Sprintf(format, args...))
	}
}

// Add has requests for path come at random times, so many a second.
func (s *Surge) Add(path string, h2 bool, rate float64) {
	c := &SurgeClass{surge: s, path: path, everyNs: 1e9 / rate, began: map[uint32]int64{}}
	s.Classes = append(s.Classes, c)
	if h2 {
		c.streams = newPlainEnd(c.connect(), false, h2FirstWindow, surgeScript{c})
		c.streams.ended = func() { s.fail("%s loses a connection", path) }
	}
	c.come()
}

// Stop lets no more come.
func (s *Surge) Stop() {
	for _, c := range s.Classes {
		c.stopped = true
	}
}

func (c *SurgeClass) connect() *sim.Peer {
	c.surge.next++
	return c.surge.World.Connect(netip.AddrPortFrom(addrOf(1), 10_000+c.surge.next), c.surge.Proxy)
}

func (c *SurgeClass) come() {
	w := c.surge.World
	w.After(int64(w.Rand().ExpFloat64()*c.everyNs), func() {
		if c.stopped {
			return
		}
		if c.streams != nil {
			c.began[c.streams.ask("GET", c.path).id] = w.Now()
			c.streams.flush()
		} else {
			c.ask()
		}
		c.come()
	})
}

// ask sends a request on a connection that has none under way.
func (c *SurgeClass) ask() {
	request := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: h\r\n\r\n", c.path)
	if n := len(c.idle); n > 0 {
		e := c.idle[n-1]
		c.idle = c.idle[:n-1]
		e.began = c.surge.World.Now()
		e.out = append(e.out, request...)
		e.flush()
		return
	}
	e := &surgeConn{plainText: &plainText{p: c.connect(), most: echoPatience, out: []byte(request)}, began: c.surge.World.Now()}
	e.ended = func(err error) { c.surge.fail("%s loses a connection: %v", c.path, err) }
	e.got = func(b []byte) int {
		n, length := headOf(b, "content-length")
		if n == 0 || len(b) < n+length {
			return 0
		}
		c.answered(string(b[9:12]), e.began)
		c.idle = append(c.idle, e)
		return n + length
	}
	e.begin()
}

func (c *SurgeClass) answered(status string, began int64) {
	switch status {
	case "200":
		c.Served++
		c.Took = append(c.Took, c.surge.World.Now()-began)
	case "503":
		c.Shed++
	default:
		c.surge.fail("%s is answered %s", c.path, status)
	}
}

// Count begins anew.
func (s *Surge) Count() {
	for _, c := range s.Classes {
		c.Served, c.Shed, c.Took = 0, 0, nil
	}
}

// surgeScript is a connection over HTTP/2.
type surgeScript struct{ *SurgeClass }

func (c surgeScript) head(e *plainEnd, st *plainStream, end bool) {
	if end {
		c.done(e, st)
	}
}

func (c surgeScript) data(e *plainEnd, st *plainStream, n int, end bool) {
	e.credit(st, n)
	if end {
		c.done(e, st)
	}
}

func (c surgeScript) done(e *plainEnd, st *plainStream) {
	c.answered(st.status, c.began[st.id])
	delete(c.began, st.id)
	e.forget(st)
}

func (c surgeScript) sent(*plainEnd, *plainStream, int) {}

func (c surgeScript) over(e *plainEnd, st *plainStream, reset bool) {
	if e.streams[st.id] == st || reset {
		c.surge.fail("a stream of %s ends", c.path)
	}
}
