package simnet

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"zproxy/loop/sim"
)

// origin is one connection of the proxy to an origin.
type origin struct {
	r *Run
	p link
	s stream

	q        *Request // being received or answered
	received int      // body bytes
	frames   frames   // of a WebSocket
	places   []int    // between the frames it sends, counted like wrote
	accept   string   // what agrees to it
	whole    bool     // the request is here in full
	begun    bool     // its answer is on the agenda
	encoded  bool     // ... and in out
	faulty   bool     // the answer may go wrong as planned: the first attempt
	out      []byte
	wrote    int // of this answer
	answered bool

	slow    bool
	deaf    bool
	stopped bool
	writing bool
	reading bool
	served  int
	gone    bool
}

func (r *Run) startOrigin(p link) {
	o := &origin{r: r, p: p, slow: chance(r.rng, r.Traits.Slow)}
	o.s.to = o
	p.OnChange(o.changed)
	o.idle()
}

// idle: nobody asks. Now and then that is too long for the origin.
func (o *origin) idle() {
	if chance(o.r.rng, o.r.Traits.IdleClose) {
		served := o.served
		o.r.World.After(o.r.rng.Int64N(50e6), func() {
			if o.q == nil && o.served == served && !o.gone {
				o.r.HangUps++
				o.close(false)
			}
		})
	}
}

func (o *origin) changed() {
	o.readSoon()
	if len(o.out) > 0 {
		o.writeSoon()
	}
}

func (o *origin) readSoon() {
	if !o.reading && !o.gone && !o.deaf {
		o.reading = true
		o.r.World.After(o.r.pace(o.slow), o.read)
	}
}

func (o *origin) writeSoon() {
	if !o.writing && !o.gone && !o.stopped {
		o.writing = true
		o.r.World.After(o.r.pace(o.slow), o.write)
	}
}

func (o *origin) close(reset bool) {
	o.gone = true
	o.r.trace(o.p, "origin closes, reset %v", reset)
	if reset {
		o.p.Reset()
	} else {
		o.p.Close()
	}
}

func (o *origin) read() {
	o.reading = false
	if o.gone || o.deaf {
		return
	}
	b := make([]byte, min(o.r.piece(64<<10), max(1, o.p.Waiting())))
	n, err := o.p.Read(b)
	o.r.trace(o.p, "origin reads %d: %v", n, err)
	switch {
	case err == sim.ErrWouldBlock:
		return
	case err != nil:
		o.ended(err)
		return
	}
	if err := o.s.feed(b[:n]); err != nil {
		o.r.fail("origin: %v (request %d, %d bytes of its body)", err, o.id(), o.received)
		o.close(true)
		return
	}
	o.readSoon()
}

func (o *origin) id() int {
	if o.q == nil {
		return -1
	}
	return o.q.ID
}

// ended: the proxy has closed its direction, or all.
func (o *origin) ended(err error) {
	if o.q != nil && o.q.Tunnels() && (!o.q.Opened() || o.q.Heads > 1) && o.received == 0 {
		// There never was a tunnel: the answer came too late, or another origin's
		// was taken.
		o.q.ReplyEnded = o.q.ReplyEnded || o.encoded
		o.close(false)
		return
	}
	if o.q != nil && o.q.Tunnels() && o.s.state == inUntilClose && err == io.EOF {
		o.s.state = inHead
		if o.q.Socket && !o.frames.whole() && !o.r.Traits.Calm {
			o.q.ClientEnded = true // without a Close frame: everybody can see the cut
		}
		if err := o.onEnd(); err != nil {
			o.r.fail("origin: request %d: %v", o.id(), err)
		}
		if len(o.out) > 0 && !o.stopped {
			o.deaf = true // it goes on sending through the tunnel
			return
		}
		o.q.ReplyEnded = true
	}
	o.close(false)
}

func (o *origin) onHead(h *head) (framing, int, error) {
	method, target, proto := cut3(h.start)
	rest, ok := strings.CutPrefix(target, "/r/")
	number, _, _ := strings.Cut(rest, "?")
	id, err := strconv.Atoi(number)
	if !ok || err != nil || id < 0 || id >= len(o.r.Requests) || proto != "HTTP/1.1" {
		return 0, 0, fmt.Errorf("request line %q", h.start)
	}
	if o.q != nil {
		return 0, 0, fmt.Errorf("request %d before the answer to %d was given", id, o.q.ID)
	}
	q := o.r.Requests[id]
	if o.r.denied(q) {
		return 0, 0, fmt.Errorf("request %d of %v, whom a filter keeps out", id, q.From)
	}
	if err := q.checkHead(method, h); err != nil {
		return 0, 0, err
	}
	kind, n, err := h.framing(noBody)
	if err == nil {
		err = q.checkFraming(kind, n)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("request %d: %w", id, err)
	}
	if err := o.checkNamed(q); err != nil {
		return 0, 0, err
	}
	if q.Heads++; q.Heads > 1 && (q.Method == "POST" || q.Method == "PURGE") {
		return 0, 0, fmt.Errorf("%s %d is sent for the %d. time", q.Method, id, q.Heads)
	}
	o.r.trace(o.p, "origin has the head of %d", id)
	o.q, o.received, o.whole, o.begun, o.encoded, o.answered = q, 0, false, false, false, false
	o.faulty = q.Heads == 1
	o.served++
	if q.Socket {
		if o.accept, err = checkOffer(h, q); err != nil {
			return 0, 0, fmt.Errorf("request %d: %w", id, err)
		}
	}
	if q.Tunnels() {
		o.whole = true
		o.beginSoon()
		return byClose, 0, nil
	}
	if q.Expect && o.r.rng.IntN(2) == 0 {
		o.out = append(o.out, "HTTP/1.1 100 Continue\r\n\r\n"...)
		o.writeSoon()
	}
	o.early()
	return kind, n, nil
}

// checkHead: the head is the one the client sent.
func (q *Request) checkHead(method string, h *head) error {
	id, _, err := h.get("x-id")
	if err != nil || id != strconv.Itoa(q.ID) || method != q.Method {
		return fmt.Errorf("%q with X-Id %q, want %d (%v)", h.start, id, q.ID, err)
	}
	if !q.HeadSent {
		return fmt.Errorf("request %d, whose client has not sent all of its head", q.ID)
	}
	if v, _, err := h.get("x-fill"); err != nil || v != fill(q.ID, upward, q.Fill) {
		return fmt.Errorf("request %d has a field that is not its own (%v)", q.ID, err)
	}
	if v, _, err := h.get("host"); err != nil || v != "sim.example" {
		return fmt.Errorf("request %d has Host %q (%v)", q.ID, v, err)
	}
	if q.Direct {
		return nil
	}
	return q.checkClient(h)
}

// path is what the filters mark heads with.
func (q *Request) path() string { return "/r/" + strconv.Itoa(q.ID) }

// denied says that a filter keeps q's client out.
func (r *Run) denied(q *Request) bool {
	for _, p := range r.Traits.Denied {
		if p.Contains(q.From.Addr()) {
			return true
		}
	}
	return false
}

// checkClient: whom the origin is told of is the client, not whom it claims to be.
func (q *Request) checkClient(h *head) error {
	for _, f := range h.fields {
		if strings.Contains(f[1], forged) {
			return fmt.Errorf("request %d: what the client claims is believed: %s: %s", q.ID, f[0], f[1])
		}
	}
	if v, _, err := h.get("x-set"); q.Marked && (err != nil || v != q.path()) {
		return fmt.Errorf("request %d is marked %q, want %q (%v)", q.ID, v, q.path(), err)
	}
	if v, ok, err := h.get("x-forwarded-for"); err != nil || ok && v != q.From.Addr().String() {
		return fmt.Errorf("request %d is said to come from %q, want %v (%v)", q.ID, v, q.From.Addr(), err)
	}
	return nil
}

func (q *Request) checkFraming(kind framing, n int) error {
	switch {
	case q.Upgrade && kind == noBody, q.Chunked && kind == byChunks:
	case !q.Upgrade && !q.Chunked && kind == byLength && n == q.Body:
	case !q.Upgrade && !q.Chunked && kind == noBody && q.Body == 0 && q.Method != "POST" && q.Method != "PUT":
	default:
		return fmt.Errorf("framing %d with %d bytes, want %d", kind, n, q.Body)
	}
	return nil
}

func (o *origin) onData(b []byte) error {
	if o.q.Socket {
		return o.socketData(b)
	}
	return o.bodyData(b)
}

// bodyData checks bytes of a request's body.
func (o *origin) bodyData(b []byte) error {
	if at := differsAt(b, o.q.ID, upward, o.received); at >= 0 {
		return fmt.Errorf("its body differs at byte %d of %d", at, o.q.Body)
	}
	o.received += len(b)
	if o.received > o.q.Body {
		return fmt.Errorf("its body has more than %d bytes", o.q.Body)
	}
	o.early()
	return nil
}

// early begins an answer before its request has ended, if that is the plan.
func (o *origin) early() {
	p := &o.q.Reply
	if !o.faulty || o.begun || p.Early < 0 || o.received < p.Early {
		return
	}
	o.r.Earlies++
	o.beginSoon()
	if p.Deaf {
		o.deaf = true
	}
}

func (o *origin) onEnd() error {
	q := o.q
	if o.received != q.content() && !q.ClientEnded {
		return fmt.Errorf("it passes for whole with %d of %d bytes", o.received, q.content())
	}
	if !q.Sent && !q.ClientEnded {
		return fmt.Errorf("it passes for whole, and its client has not sent all of it")
	}
	q.Whole++
	o.whole = true
	if !o.begun {
		o.beginSoon()
	}
	o.over()
	return nil
}

// beginSoon begins the answer after the planned time.
func (o *origin) beginSoon() {
	o.begun = true
	q := o.q
	o.r.World.After(q.Reply.DelayNs, func() {
		if o.q == q && !o.gone {
			o.encoded = true
			o.wrote = -len(o.out) // of a 100 that is still on its way
			b, places := q.encodeReply(o.r.rng, o.accept)
			o.out = append(o.out, b...)
			o.places = places
			o.writeSoon()
		}
	})
}

// limit cuts n to what the script lets this answer have, and says whether the
// script's byte is reached.
func (o *origin) limit(n, at int) (int, bool) {
	if !o.faulty || at < 0 || !o.encoded {
		return n, false
	}
	return max(0, min(n, at-o.wrote)), o.wrote >= at
}

func (o *origin) write() {
	o.writing = false
	if o.gone || o.stopped || o.q == nil {
		return
	}
	p := &o.q.Reply
	n := o.r.piece(max(1, len(o.out)))
	n, stop := o.limit(min(n, len(o.out)), p.Stop)
	if stop {
		o.r.Stops++
		o.stopped = true
		return
	}
	n, cut := o.limit(n, p.Cut)
	if cut {
		o.cutOff()
		return
	}
	if len(o.out) == 0 {
		return
	}
	n, err := o.p.Write(o.out[:n])
	o.r.trace(o.p, "origin writes %d of %d: %v", n, len(o.out), err)
	o.out = o.out[n:]
	o.wrote += n
	if len(o.out) > 0 {
		if err == nil {
			o.writeSoon()
		}
		return
	}
	if o.encoded {
		o.answered = true
		o.replied()
	}
}

// cutOff ends the connection at a byte of the script.
func (o *origin) cutOff() {
	o.r.Cuts++
	o.stopped = true
	if p := &o.q.Reply; p.Framing == byClose && p.How != byReset && !silent(o.p) {
		o.q.ReplyEnded = true
	}
	switch o.q.Reply.How {
	case byHalfClose:
		o.p.CloseWrite()
	case byReset:
		o.close(true)
	default:
		o.close(false)
	}
}

// replied: the answer is handed over.
func (o *origin) replied() {
	q := o.q
	q.Replied = true
	q.Unclosed = q.Reply.Framing == byClose && silent(o.p)
	if q.Tunnels() {
		o.p.CloseWrite()
		o.stopped = true
		if o.deaf {
			o.close(false)
		}
		return
	}
	if q.Reply.HangUp {
		o.r.HangUps++
		o.close(false)
		return
	}
	o.over()
}

// over: when both are done, the next may come.
func (o *origin) over() {
	if o.whole && o.answered && !o.q.Tunnels() {
		o.q = nil
		o.idle()
	}
}
