package simnet

import (
	"fmt"
	"io"
	"math"
	"net/netip"
	"strconv"

	"zproxy/loop/sim"
)

// client is a connection to the proxy and the requests it carries.
type client struct {
	r *Run
	p link
	s stream

	out     []byte
	wrote   int        // bytes, ever
	marks   []mark     // what has been said when wrote gets there
	waiting *Request   // its body is held back until a 100
	body    []byte     // that body
	held    int64      // until when
	expect  []*Request // asked, not answered
	got     int        // body bytes of the answer under way
	cur     *Request   // whose head is there
	tunnel  *Request   // the last, if it asks for one
	own     bool       // the answer is the proxy's own
	frames  frames     // of a WebSocket
	places  []int      // between the frames it sends

	left     int // requests yet to make
	depth    int
	slow     bool
	leaveAt  int // bytes written, -1: never
	leaveHow howToEnd
	deafAt   int // bytes read at which it stops reading, -1
	read     int
	upgraded bool // the tunnel has ended towards the client, not away from it
	closing  bool // the last answer said so
	half     bool // it has closed its write side
	writing  bool // a write is on the agenda
	reading  bool
	done     bool
}

type mark struct {
	at   int
	what *bool
}

// startClient begins the i-th client.
func (r *Run) startClient(i int, from, to netip.AddrPort) {
	c := &client{r: r, left: 1 + r.rng.IntN(r.Traits.Requests), depth: 1, leaveAt: -1, deafAt: -1}
	c.s.to = c
	t := &r.Traits
	p := r.World.Connect(from, to)
	if p == nil {
		if !t.Refused {
			r.fail("client %v: nobody listens", from)
		}
		r.clients--
		return
	}
	var protocols []string
	if r.rng.IntN(2) == 0 {
		protocols = []string{"http/1.1"}
	}
	c.p = r.secure(r.behind(p, i), false, protocols...)
	if chance(r.rng, t.Pipeline) {
		c.depth = 2 + r.rng.IntN(7)
	}
	c.slow = chance(r.rng, t.Slow)
	if chance(r.rng, t.Leave) {
		c.leaveAt = size(r.rng, 400+r.rng.IntN(2)*t.Body)
		c.leaveHow = howToEnd(r.rng.IntN(3))
	}
	if chance(r.rng, t.Stop) {
		c.deafAt = size(r.rng, 400+r.rng.IntN(2)*t.Body)
	}
	c.p.OnChange(c.changed)
	c.ask()
	c.writeSoon()
}

// ask queues as many requests as may be under way.
func (c *client) ask() {
	for c.left > 0 && len(c.expect) < c.depth && !c.closing && c.waiting == nil && !c.half {
		q := c.r.newRequest()
		c.r.overlong(q)
		q.From, q.To = c.p.Addr(), c.p.FarAddr()
		if c.left--; q.Close || q.Upgrade {
			c.left = 0
		}
		if q.Upgrade {
			c.tunnel = q
		}
		c.expect = append(c.expect, q)
		c.r.trace(c.p, "client asks %+v", *q)
		b, head := q.encode(c.r.rng)
		end := c.wrote + len(c.out)
		c.marks = append(c.marks, mark{end + head, &q.HeadSent})
		if q.Expect {
			c.waiting, c.body = q, b[head:]
			b = b[:head]
			c.held = math.MaxInt64
			if !q.Patient {
				c.held = c.r.World.Now() + c.r.rng.Int64N(1e9)
				c.r.World.At(c.held, c.unhold)
			}
		} else if !q.Tunnels() {
			c.marks = append(c.marks, mark{end + len(b), &q.Sent})
		}
		c.out = append(c.out, b...)
	}
	c.writeSoon()
}

// unhold sends a body that waited for its 100 long enough.
func (c *client) unhold() {
	if q := c.waiting; q != nil && !c.done && c.r.World.Now() >= c.held {
		c.waiting = nil
		c.say(c.body, q)
		c.ask()
	}
}

// say queues the last bytes of a request.
func (c *client) say(b []byte, q *Request) {
	c.marks = append(c.marks, mark{c.wrote + len(c.out) + len(b), &q.Sent})
	c.out = append(c.out, b...)
	c.writeSoon()
}

func (c *client) writeSoon() {
	if c.writing || c.done || c.half {
		return
	}
	c.writing = true
	c.r.World.After(c.r.pace(c.slow), c.write)
}

func (c *client) readSoon() {
	if c.reading || c.done {
		return
	}
	c.reading = true
	c.r.World.After(c.r.pace(c.slow), c.readSome)
}

func (c *client) changed() {
	c.readSoon()
	if len(c.out) > 0 {
		c.writeSoon()
	}
}

func (c *client) write() {
	c.writing = false
	if c.done || c.half {
		return
	}
	if c.leaveAt >= 0 && c.wrote >= c.leaveAt {
		c.leave()
		return
	}
	if len(c.out) == 0 {
		c.said()
		return
	}
	n := c.r.piece(len(c.out))
	if c.leaveAt > c.wrote {
		n = min(n, c.leaveAt-c.wrote)
	}
	n, err := c.p.Write(c.out[:n])
	c.r.trace(c.p, "client writes %d of %d: %v", n, len(c.out), err)
	c.out = c.out[n:]
	c.wrote += n
	c.said()
	if err == nil {
		c.writeSoon()
	} else if err != sim.ErrWouldBlock && c.upgraded {
		c.finish() // it has read the end already
	}
	// Otherwise the proxy does not read now, or not any more: a change will
	// say which.
}

// said keeps the book about what has been handed over.
func (c *client) said() {
	for len(c.marks) > 0 && c.marks[0].at <= c.wrote {
		*c.marks[0].what = true
		c.marks = c.marks[1:]
		if len(c.marks) > 0 {
			continue
		}
		if c.cur != nil && c.cur.Tunnels() && c.cur.Sent {
			c.half = true
			c.p.CloseWrite()
		}
		if c.upgraded {
			c.finish()
		}
	}
}

// leave ends the connection at a byte of the script.
func (c *client) leave() {
	c.r.Leaves++
	c.r.trace(c.p, "client leaves (%d)", c.leaveHow)
	c.leaveAt = -1
	if c.tunnel != nil && c.leaveHow != byReset && !silent(c.p) {
		c.tunnel.ClientEnded = true
	}
	switch c.leaveHow {
	case byReset:
		c.p.Reset()
		c.finish()
	case byHalfClose:
		c.half = true
		c.p.CloseWrite()
		if c.upgraded {
			c.finish()
		}
	default:
		c.p.Close()
		c.finish()
	}
}

func (c *client) finish() {
	if !c.done {
		c.done = true
		c.r.trace(c.p, "client is done")
		c.r.clients--
		c.p.Close()
	}
}

func (c *client) readSome() {
	c.reading = false
	if c.done {
		return
	}
	if c.deafAt >= 0 && c.read >= c.deafAt {
		c.deaf()
		return
	}
	n := c.r.piece(64 << 10)
	if c.deafAt > c.read {
		n = min(n, c.deafAt-c.read)
	}
	b := make([]byte, min(n, c.p.Waiting()))
	if len(b) == 0 {
		b = make([]byte, 1)
	}
	n, err := c.p.Read(b)
	c.r.trace(c.p, "client reads %d: %v", n, err)
	switch {
	case err == sim.ErrWouldBlock:
		return
	case err != nil:
		c.ended(err)
		return
	}
	c.read += n
	if err := c.s.feed(b[:n]); err != nil {
		c.r.fail("client: %v; expected answer %s", err, c.expected())
		c.p.Reset()
		c.finish()
		return
	}
	c.readSoon()
}

// deaf: it reads no more, and goes when nobody can still be waiting for it.
func (c *client) deaf() {
	c.r.Stops++
	c.reading = true
	c.r.World.After(int64(300e9), func() {
		if !c.done {
			c.p.Reset()
			c.finish()
		}
	})
}

func (c *client) expected() string {
	if len(c.expect) == 0 {
		return "none"
	}
	return fmt.Sprintf("to %+v", *c.expect[0])
}

// ended: the proxy has closed the connection.
func (c *client) ended(err error) {
	if q := c.cur; q != nil && c.s.state == inUntilClose && err == io.EOF {
		c.s.state = inHead
		if q.Socket && !c.frames.whole() && !c.r.Traits.Calm {
			q.ReplyEnded = true // without a Close frame: everybody can see the cut
		}
		c.upgraded = q.Tunnels() && !q.Sent && !c.half
		if err := c.onEnd(); err != nil {
			c.r.fail("client: %v", err)
		}
		if c.upgraded {
			c.reading = true // nothing more comes, but it has more to say
			return
		}
	}
	if c.own && c.cur != nil && err == io.EOF {
		c.r.fail("client: the proxy's answer %d to request %d has only %d bytes", c.cur.Answered, c.cur.ID, c.got)
	}
	if c.r.Traits.Calm && len(c.expect) > 0 && !c.closing {
		c.r.fail("client: %v before answer %s in a calm run", err, c.expected())
	}
	c.finish()
}

// ownStatus lists what the proxy may answer itself when others misbehave.
var ownStatus = map[int]bool{408: true, 502: true, 503: true, 504: true}

// mayAnswer says whether the proxy may answer q itself, with status. In calm runs
// it has one reason: origins that take no WebSocket (RFC 8441 3).
func (r *Run) mayAnswer(q *Request, status int) bool {
	switch {
	case q.Overlong && status == 431: // RFC 6585 5
		return true
	case r.denied(q) && status == 403:
		return true
	case r.Traits.Calm:
		return q.Socket && r.Traits.NoConnect > 0 && status == 502
	case q.Early && status == 413:
		return true // there is a limit to what may come before an answer
	}
	return ownStatus[status]
}

func (c *client) onHead(h *head) (framing, int, error) {
	proto, rest, _ := cut3(h.start)
	status, err := strconv.Atoi(rest)
	if err != nil || proto != "HTTP/1.1" && proto != "HTTP/1.0" {
		return 0, 0, fmt.Errorf("status line %q", h.start)
	}
	if len(c.expect) == 0 {
		return 0, 0, fmt.Errorf("answer %q to no request", h.start)
	}
	q := c.expect[0]
	if status < 200 && status != 101 {
		if q.Minor == 0 {
			return 0, 0, fmt.Errorf("an interim answer to an HTTP/1.0 client")
		}
		if err := c.r.interim(q, status); err != nil {
			return 0, 0, err
		}
		if status == 100 && q == c.waiting {
			c.held = 0
			c.unhold()
		}
		return noBody, 0, nil // onEnd finds no c.cur
	}
	id, fromOrigin, err := h.get("x-id")
	if err != nil {
		return 0, 0, err
	}
	c.own = !fromOrigin
	if c.own && !c.r.mayAnswer(q, status) || !c.own && q.Overlong {
		return 0, 0, fmt.Errorf("%q to request %d", h.start, q.ID)
	}
	if fromOrigin {
		if err := q.checkReplyHead(h, id, status); err != nil {
			return 0, 0, err
		}
	}
	conn, _, _ := h.get("connection")
	c.closing = conn == "close" || q.Minor == 0 && conn != "keep-alive"
	c.cur, c.got, q.Answered = q, 0, status
	if status == 101 {
		if !q.Socket {
			c.say(appendBody(nil, q.ID, upward, 0, q.Body), q)
			return byClose, 0, nil
		}
		if err := checkAccept(h, socketAccept); err != nil {
			return 0, 0, err
		}
		b, places := appendMessages(nil, c.r.rng, q, upward, q.Body)
		for _, at := range places {
			c.places = append(c.places, c.wrote+len(c.out)+at)
		}
		c.say(b, q)
		return byClose, 0, nil
	}
	if q.Method == "HEAD" || status == 204 || status == 304 {
		return noBody, 0, nil
	}
	return h.framing(byClose)
}

// checkReplyHead compares what arrived with what the origin said.
func (q *Request) checkReplyHead(h *head, id string, status int) error {
	if id != strconv.Itoa(q.ID) {
		return fmt.Errorf("answer %s to request %d", id, q.ID)
	}
	if status != q.Reply.Status {
		return fmt.Errorf("status %d for %d", status, q.Reply.Status)
	}
	if v, _, err := h.get("x-reply"); q.Marked && (err != nil || v != q.path()) {
		return fmt.Errorf("answer %s is marked %q, want %q (%v)", id, v, q.path(), err)
	}
	if v, _, err := h.get("x-fill"); err != nil || v != fill(q.ID, downward, q.Reply.Fill) {
		return fmt.Errorf("answer %s has a field that is not its own (%v)", id, err)
	}
	return nil
}

func (c *client) onData(b []byte) error {
	if c.own {
		c.got += len(b)
		return nil
	}
	if c.cur.Socket && c.cur.Answered == 101 {
		return c.socketData(b)
	}
	return c.bodyData(b)
}

// bodyData checks bytes of an answer's body.
func (c *client) bodyData(b []byte) error {
	if at := differsAt(b, c.cur.ID, downward, c.got); at >= 0 {
		return fmt.Errorf("answer %d differs at byte %d of %d", c.cur.ID, at, c.cur.Reply.Body)
	}
	c.got += len(b)
	if c.got > c.cur.Reply.Body {
		return fmt.Errorf("answer %d has more than its %d bytes", c.cur.ID, c.cur.Reply.Body)
	}
	return nil
}

func (c *client) onEnd() error {
	q := c.cur
	if q == nil {
		return nil
	}
	c.cur = nil
	c.expect = c.expect[1:]
	if !c.own && !q.ReplyEnded {
		if q.Reply.Framing != noBody && c.got != q.Reply.Body {
			return fmt.Errorf("answer %d passes for whole with %d of %d bytes", q.ID, c.got, q.Reply.Body)
		}
		if !q.Replied {
			return fmt.Errorf("answer %d passes for whole, and its origin has not sent all of it", q.ID)
		}
		if q.Unclosed {
			return fmt.Errorf("answer %d passes for whole, and its origin has not said that it is", q.ID)
		}
		q.Complete = true
	}
	if q == c.waiting {
		// Answered without the body: it is not sent any more, so this
		// connection can carry nothing else (RFC 9110 10.1.1).
		c.waiting, c.left = nil, 0
		c.p.Close()
		c.finish()
		return nil
	}
	c.ask()
	if len(c.expect) == 0 && !c.closing && !c.done && !c.upgraded {
		c.rest()
	}
	return nil
}

// rest: all is answered. The client goes, or waits until the proxy does.
func (c *client) rest() {
	if c.r.rng.IntN(4) == 0 && !c.r.Traits.Calm {
		return
	}
	c.r.World.After(c.r.rng.Int64N(100e6), func() {
		if !c.done {
			c.p.Close()
			c.finish()
		}
	})
}

// cut3 splits a start line at its first two spaces.
func cut3(line string) (a, b, c string) {
	parts := [3]string{}
	i := 0
	for _, r := range line {
		if r == ' ' && i < 2 {
			i++
			continue
		}
		parts[i] += string(r)
	}
	return parts[0], parts[1], parts[2]
}
