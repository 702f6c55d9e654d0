package simnet

import (
	"fmt"
	"io"
	"net/netip"
	"strconv"

	"golang.org/x/net/http2/hpack"
)

// h2Client is a connection of HTTP/2 to the proxy and the requests on it.
type h2Client struct {
	*h2End
	left     int // requests yet to make
	depth    int
	next     uint32
	leaveAt  int // bytes written, -1: never
	leaveHow howToEnd
	deafAt   int  // bytes read, -1
	gone     bool // the proxy takes no new streams
	resting  bool
	open     int // streams without an end
}

func (r *Run) startH2Client(i int, from, to netip.AddrPort) {
	p := r.World.Connect(from, to)
	if p == nil {
		if !r.Traits.Refused {
			r.fail("h2 client %v: nobody listens", from)
		}
		r.clients--
		return
	}
	newH2Client(r, r.secure(r.behind(p, i), false, "h2"))
}

func newH2Client(r *Run, p socket) *h2Client {
	t := &r.Traits
	c := &h2Client{left: 1 + r.rng.IntN(t.Requests), depth: 1 + r.rng.IntN(max(1, t.Streams)), next: 1, leaveAt: -1, deafAt: -1}
	c.h2End = newH2End(r, p, c, false)
	if chance(r.rng, t.Leave) {
		c.leaveAt = size(r.rng, 400+r.rng.IntN(2)*t.Body)
		c.leaveHow = howToEnd(r.rng.IntN(2))
	}
	if chance(r.rng, t.Stop) {
		c.deafAt = size(r.rng, 400+r.rng.IntN(2)*t.Body)
	}
	c.writeSoon()
	return c
}

// ask opens as many streams as may be under way. Before the proxy has said how
// many that is, it opens one.
func (c *h2Client) ask() {
	for c.left > 0 && c.open < c.depth && int64(c.open) < c.farStreams && !c.gone && !c.done {
		c.left--
		q := c.r.newRequest()
		q.asH2(c.r)
		if p, ok := c.p.(link); ok {
			q.From, q.To = p.Addr(), p.FarAddr()
		}
		s := c.h2End.open(c.next)
		c.next += 2
		c.open++
		s.q = q
		c.trace("asks by stream %d: %+v", s.id, *q)
		c.send1(s)
	}
}

// asH2 takes from a request what HTTP/2 has not.
func (q *Request) asH2(r *Run) {
	q.H2, q.Minor, q.Close, q.AbandonAt, q.BreakAt = true, 1, false, -1, -1
	if q.Upgrade && !q.Socket {
		q.Upgrade, q.Body = false, 0
		q.Reply.Status, q.Reply.Framing = 200, byLength
	}
	if chance(r.rng, r.Traits.Abandon) {
		q.AbandonAt = size(r.rng, q.Reply.Body)
	}
	if q.Socket {
		q.Early = r.rng.IntN(4) == 0
		if chance(r.rng, r.Traits.Abandon) {
			q.BreakAt, q.BreakHow = size(r.rng, q.Body), howToEnd(r.rng.IntN(3))
		}
	}
}

// send1 sends the request of s.
func (c *h2Client) send1(s *h2Stream) {
	q := s.q
	if q.Socket {
		c.connect(s)
		return
	}
	fields := []string{":method", q.Method, ":scheme", c.r.scheme(), ":path", fmt.Sprintf("/r/%d?q=%d", q.ID, q.Body), ":authority", "sim.example",
		"x-id", strconv.Itoa(q.ID), "x-fill", fill(q.ID, upward, q.Fill)}
	if !q.Direct {
		fields = append(fields, "x-forwarded-for", forged, "forwarded", "for="+forged, "x_forwarded_for", forged, "x-real-ip", forged)
	}
	if q.Marked {
		fields = append(fields, "x_set", forged, "x-set", forged)
	}
	bare := !q.Chunked && q.Body == 0
	if !q.Chunked && (!bare || q.ID%2 == 0 && (q.Method == "POST" || q.Method == "PUT")) {
		fields = append(fields, "content-length", strconv.Itoa(q.Body))
	}
	if q.Expect {
		fields = append(fields, "expect", "100-continue")
	}
	if c.r.rng.IntN(3) == 0 {
		fields = append(fields, "te", "trailers")
	}
	switch twin := c.r.rng.IntN(6); { // the same in other words
	case q.Direct: // a proxy makes one of them
	case twin == 0:
		fields = append(fields, "host", "sim.example:"+map[string]string{"http": "80", "https": "443"}[c.r.scheme()])
	case twin == 1:
		fields = append(fields, "host", "SIM.example:")
	}
	c.headers(s, bare, fields...)
	c.say(&q.HeadSent)
	if bare {
		c.say(&q.Sent)
		return
	}
	begin := func() {
		if !s.reset && !s.outgoing && s.n == 0 && !s.sentEnd && !c.done {
			c.body(s, upward, q.Body, q.Trailer)
		}
	}
	switch {
	case q.Patient: // when the 100 comes
	case q.Expect:
		c.r.World.After(c.r.rng.Int64N(1e9), begin) // or when the 100 comes
	default:
		begin()
	}
}

func (c *h2Client) spent(s *h2Stream) {
	c.say(&s.q.Sent)
	if s.gotEnd {
		c.then(func() { c.over(s) })
	}
}

// sending ends the connection at a byte of the script.
func (c *h2Client) sending(wrote int) bool {
	if c.leaveAt >= 0 && wrote >= c.leaveAt {
		c.r.Leaves++
		c.finish(c.leaveHow == byReset)
		return false
	}
	if c.deafAt >= 0 && c.read >= c.deafAt && !c.deaf {
		c.r.Stops++
		c.deaf = true
		c.r.World.After(int64(300e9), func() { c.finish(true) })
	}
	if c.farSaid() {
		c.ask()
	}
	return true
}

// farSaid: the proxy's SETTINGS are there, or this client is not one to wait.
func (c *h2Client) farSaid() bool { return c.settled || !c.r.Traits.Calm && c.r.rng.IntN(2) == 0 }

func (c *h2Client) finish(reset bool) {
	if !c.done {
		c.h2End.close(reset)
		c.r.clients--
	}
}

func (c *h2Client) onHeaders(s *h2Stream, fields []hpack.HeaderField, end bool) error {
	h := h2Fields(fields)
	if s.headed {
		if err := checkFields(fields, nil); err != nil || !end {
			return fmt.Errorf("trailers of answer %d, end %v: %w", s.q.ID, end, err)
		}
		if v, ok, err := h.get("x-trailer"); err != nil || ok && v != strconv.Itoa(s.q.ID) {
			return fmt.Errorf("answer %d has trailer %q (%v)", s.q.ID, v, err)
		}
		return nil
	}
	if err := checkFields(fields, map[string]bool{":status": true}); err != nil {
		return err
	}
	status, err := strconv.Atoi(named(fields, ":status"))
	if err != nil || status == 101 || status < 200 && end {
		return fmt.Errorf("status %q, end %v", named(fields, ":status"), end)
	}
	if status < 200 {
		if err := c.r.interim(s.q, status); err != nil {
			return err
		}
		if status == 100 && !s.outgoing && !s.sentEnd && !s.reset {
			c.body(s, upward, s.q.Body, s.q.Trailer)
		}
		return nil
	}
	return c.onFinal(s, h, status)
}

// onFinal checks the head of the answer itself.
func (c *h2Client) onFinal(s *h2Stream, h *head, status int) error {
	q := s.q
	s.headed = true
	id, fromOrigin, err := h.get("x-id")
	if err != nil {
		return err
	}
	if !fromOrigin && !c.r.mayAnswer(q, status) {
		return fmt.Errorf("the proxy answers %d to %d", status, q.ID)
	}
	q.Answered = status
	if fromOrigin && q.Socket && status == 200 {
		return c.onTunnel(s, h, id)
	}
	if fromOrigin {
		if err := q.checkReplyHead(h, id, status); err != nil {
			return err
		}
	} else {
		s.own = true
	}
	if q.Method == "HEAD" || status == 304 {
		return nil
	}
	return s.contentLength(h)
}

func (c *h2Client) onData(s *h2Stream, b []byte) error {
	if s.own {
		s.got += len(b)
		return nil
	}
	if s.tunnel {
		return c.listen(s, b, func(b []byte) error { return c.bodyData(s, b) })
	}
	return c.bodyData(s, b)
}

// bodyData checks bytes of an answer's body.
func (c *h2Client) bodyData(s *h2Stream, b []byte) error {
	q := s.q
	if at := differsAt(b, q.ID, downward, s.got); at >= 0 {
		return fmt.Errorf("answer %d differs at byte %d of %d", q.ID, at, q.Reply.Body)
	}
	s.got += len(b)
	if q.Reply.Framing == noBody && len(b) > 0 || s.got > q.Reply.Body {
		return fmt.Errorf("answer %d has more than its %d bytes", q.ID, q.Reply.Body)
	}
	if q.AbandonAt >= 0 && s.got >= q.AbandonAt && !s.reset {
		c.abandon(s)
	}
	return nil
}

func (c *h2Client) abandon(s *h2Stream) {
	c.r.Leaves++
	s.q.Code = []uint32{h2Cancel, h2Internal, h2NoError, h2Calm}[c.r.rng.IntN(4)]
	c.resetStream(s, s.q.Code)
	c.over(s)
}

func (c *h2Client) onEnd(s *h2Stream) error {
	q := s.q
	if s.tunnel && !s.frames.whole() && !c.r.Traits.Calm {
		q.ReplyEnded = true // without a Close frame: everybody can see the cut
	}
	if !s.own && !q.ReplyEnded {
		if q.Reply.Framing != noBody && s.got != q.Reply.Body {
			return fmt.Errorf("answer %d passes for whole with %d of %d bytes", q.ID, s.got, q.Reply.Body)
		}
		if !q.Replied {
			return fmt.Errorf("answer %d passes for whole, and its origin has not sent all of it", q.ID)
		}
		q.Complete = true
	}
	if s.tunnel && !s.sentEnd {
		return nil // the other direction goes on
	}
	if s.sentEnd || c.answeredEarly(s) {
		c.over(s)
	}
	return nil
}

// answeredEarly: the answer is whole and the request is not: nobody needs the
// rest (RFC 9113 8.1). The client says so, stops without a word, or goes on; then
// the stream is not over before the far end resets it, or it is spent.
func (c *h2Client) answeredEarly(s *h2Stream) (over bool) {
	s.endedAt = c.r.World.Now()
	switch how := c.r.rng.IntN(3); {
	case how == 0 || c.r.Traits.Direct: // only a proxy ends it otherwise
		c.resetStream(s, h2NoError)
		return true
	case how == 1:
		s.outgoing = false
	}
	c.r.Lingers++
	return false
}

// early is for how long a client that has its answer must not be reset: it may
// take a reset that comes with the answer for the loss of it.
const earlyReset = int64(500e6)

// onReset: an answer that is not whole shows it.
func (c *h2Client) onReset(s *h2Stream, code uint32) error {
	if since := c.r.World.Now() - s.endedAt; s.endedAt > 0 && !c.slow && since < earlyReset && c.r.World.Tally.Jumps == 0 {
		return fmt.Errorf("request %d is reset %d ms behind its early answer", s.q.ID, since/1e6)
	}
	if c.r.Traits.Calm && (!s.gotEnd || s.tunnel) {
		return fmt.Errorf("request %d is reset with %d in a calm run", s.q.ID, code)
	}
	if code == h2Calm && s.q.Reply.Code != h2Calm {
		return fmt.Errorf("request %d is reset with %d, its origin says %d", s.q.ID, code, s.q.Reply.Code)
	}
	if code == h2Refused && s.q.Heads > 0 {
		return fmt.Errorf("request %d is refused, and an origin has it", s.q.ID)
	}
	c.over(s)
	return nil
}

func (c *h2Client) onGoAway(last, code uint32) error {
	if code != h2NoError {
		return fmt.Errorf("GOAWAY with %d", code)
	}
	if c.r.Traits.Calm && c.open > 0 {
		return fmt.Errorf("GOAWAY in a calm run")
	}
	c.gone = true
	for i := len(c.order) - 1; i >= 0; i-- {
		if s := c.order[i]; s.id > last && !s.gotEnd {
			if s.q.Heads > 0 {
				return fmt.Errorf("request %d is above GOAWAY's %d, and an origin has it", s.q.ID, last)
			}
			s.reset, s.outgoing = true, false
			c.forget(s)
			c.over(s)
		}
	}
	c.rest()
	return nil
}

// over: a stream is.
func (c *h2Client) over(s *h2Stream) {
	if s.over {
		return
	}
	s.over = true
	c.open--
	c.writeSoon()
	c.rest()
}

// rest: when all is answered the client goes, or waits until the proxy does.
func (c *h2Client) rest() {
	if c.open > 0 || c.left > 0 && !c.gone || c.resting {
		return
	}
	c.resting = true
	if c.r.rng.IntN(4) == 0 && !c.r.Traits.Calm {
		return
	}
	c.r.World.After(c.r.rng.Int64N(100e6), c.leave)
}

// leave ends the connection; in a calm run not before all that was to be said is
// on its way: an answer may be there before the end of its request is written.
func (c *h2Client) leave() {
	if c.r.Traits.Calm && !c.done && len(c.out) > 0 {
		c.r.World.After(1e6, c.leave)
		return
	}
	if !c.done && chance(c.r.rng, c.r.Traits.GoAway) {
		c.goAway(0, h2NoError)
		c.r.World.After(10e6, func() { c.finish(false) })
		return
	}
	c.finish(false)
}

func (c *h2Client) onClosed(err error) {
	if c.r.Traits.Calm && c.open > 0 {
		c.r.fail("h2 client: %v before %d answers in a calm run", err, c.open)
	}
	if err == io.EOF && c.gone && c.open > 0 && c.r.Traits.Calm {
		c.r.fail("h2 client: the end behind GOAWAY comes before %d answers", c.open)
	}
	c.finish(false)
}
