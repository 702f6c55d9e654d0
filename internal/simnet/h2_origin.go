package simnet

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"
)

// h2Origin is one connection of HTTP/2 to an origin.
type h2Origin struct {
	*h2End
	served   int
	last     uint32 // the highest stream that was processed
	going    bool   // GOAWAY was sent
	softly   bool   // of the kind that still takes what is on its way
	breakAt  int    // bytes written at which the connection ends, -1
	breakHow howToEnd
}

func newH2Origin(r *Run, p socket) *h2Origin {
	o := &h2Origin{breakAt: -1}
	o.h2End = newH2End(r, p, o, true)
	if chance(r.rng, r.Traits.Cut) {
		o.breakAt = size(r.rng, 2000+r.Traits.Body)
		o.breakHow = howToEnd(r.rng.IntN(2))
	}
	if chance(r.rng, r.Traits.GoAway) {
		r.World.After(r.rng.Int64N(200e6), o.leave)
	}
	o.idle()
	return o
}

// leave sends GOAWAY, and closes when what was begun has ended.
func (o *h2Origin) leave() {
	if o.done || o.going || !o.prefaced {
		return
	}
	o.going = true
	o.r.HangUps++
	last := o.last
	if o.softly = o.r.Traits.Calm || o.r.rng.IntN(2) == 0; o.softly {
		last = h2MaxWindow
	}
	o.goAway(last, h2NoError)
	o.over()
}

// idle: nobody asks. Now and then that is too long for the origin.
func (o *h2Origin) idle() {
	if chance(o.r.rng, o.r.Traits.IdleClose) {
		served := o.served
		o.r.World.After(o.r.rng.Int64N(50e6), func() {
			if len(o.order) == 0 && o.served == served && !o.done {
				o.r.HangUps++
				o.close(false)
			}
		})
	}
}

// sending breaks the connection off, or stops, at a byte of the script.
func (o *h2Origin) sending(wrote int) bool {
	if o.breakAt >= 0 && wrote >= o.breakAt {
		o.r.Cuts++
		o.close(o.breakHow == byReset)
		return false
	}
	return true
}

func (o *h2Origin) onHeaders(s *h2Stream, fields []hpack.HeaderField, end bool) error {
	h := h2Fields(fields)
	if s.headed {
		if err := checkFields(fields, nil); err != nil || !end {
			return fmt.Errorf("trailers of request %d, end %v: %w", s.q.ID, end, err)
		}
		if v, ok, err := h.get("x-trailer"); err != nil || ok && v != strconv.Itoa(s.q.ID) {
			return fmt.Errorf("request %d has trailer %q (%v)", s.q.ID, v, err)
		}
		return nil
	}
	s.headed = true
	pseudo := map[string]bool{":method": true, ":scheme": true, ":path": true, ":authority": true}
	if named(fields, ":method") == "CONNECT" {
		pseudo[":protocol"] = true
	}
	if err := checkFields(fields, pseudo); err != nil {
		return err
	}
	rest, ok := strings.CutPrefix(named(fields, ":path"), "/r/")
	number, _, _ := strings.Cut(rest, "?")
	id, err := strconv.Atoi(number)
	if !ok || err != nil || id < 0 || id >= len(o.r.Requests) {
		return fmt.Errorf("path %q", named(fields, ":path"))
	}
	q := o.r.Requests[id]
	s.q = q
	o.trace("has the head of %d by stream %d", id, s.id)
	if o.going && !o.softly || chance(o.r.rng, o.r.Traits.Refuse) && q.Heads == 0 {
		// Not processed: so it is nothing to count.
		s.refused = true
		if !o.going || o.softly {
			o.r.Cuts++
			o.resetStream(s, h2Refused)
		}
		return nil
	}
	o.last = max(o.last, s.id)
	return o.onRequest(s, h, fields, end)
}

func (o *h2Origin) onRequest(s *h2Stream, h *head, fields []hpack.HeaderField, end bool) error {
	q := s.q
	if o.r.denied(q) {
		return fmt.Errorf("request %d of %v, whom a filter keeps out", q.ID, q.From)
	}
	h.fields = append(h.fields, [2]string{"host", named(fields, ":authority")})
	method := named(fields, ":method")
	if q.Socket && method == "CONNECT" {
		if err := o.onConnect(q, h, fields); err != nil {
			return err
		}
		method = q.Method
	} else if q.Socket {
		return fmt.Errorf("request %d is a WebSocket by %s", q.ID, method)
	}
	if err := q.checkHead(method, h); err != nil {
		return err
	}
	if err := s.contentLength(h); err != nil {
		return err
	}
	if want := q.Body; q.Socket {
		if s.length >= 0 || end && !q.ClientEnded {
			return fmt.Errorf("request %d announces %d bytes, end %v, for a WebSocket", q.ID, s.length, end)
		}
	} else if s.length >= 0 && (s.length != want || q.Chunked) || s.length < 0 && !q.Chunked && want > 0 || end && want > 0 {
		return fmt.Errorf("request %d announces %d bytes, end %v, want %d", q.ID, s.length, end, want)
	}
	if q.Heads++; q.Heads > 1 && (q.Method == "POST" || q.Method == "PURGE") {
		return fmt.Errorf("%s %d is sent for the %d. time", q.Method, q.ID, q.Heads)
	}
	o.served++
	s.faulty = q.Heads == 1
	if q.Expect && o.r.rng.IntN(2) == 0 {
		o.headers1xx(s, "100")
	}
	if q.Socket {
		o.beginSoon(s)
		return nil
	}
	o.early(s)
	return nil
}

// headers1xx sends an interim response.
func (o *h2Origin) headers1xx(s *h2Stream, status string) {
	o.headers(s, false, ":status", status, "link", "</x>")
}

func (o *h2Origin) onData(s *h2Stream, b []byte) error {
	if s.refused || s.q.Socket && !s.q.Tunnels() {
		return nil
	}
	if s.q.Socket {
		return o.listen(s, b, func(b []byte) error { return o.bodyData(s, b) })
	}
	return o.bodyData(s, b)
}

// bodyData checks bytes of a request's body.
func (o *h2Origin) bodyData(s *h2Stream, b []byte) error {
	if at := differsAt(b, s.q.ID, upward, s.got); at >= 0 {
		return fmt.Errorf("the body of %d differs at byte %d of %d", s.q.ID, at, s.q.Body)
	}
	if s.got += len(b); s.got > s.q.Body {
		return fmt.Errorf("the body of %d has more than %d bytes", s.q.ID, s.q.Body)
	}
	o.early(s)
	return nil
}

// early begins an answer before its request has ended, if that is the plan.
func (o *h2Origin) early(s *h2Stream) {
	p := &s.q.Reply
	if s.q.Socket && s.faulty && p.Deaf && s.got >= p.Early {
		s.stalled = true
	}
	if !s.faulty || s.begun || p.Early < 0 || s.got < p.Early || s.got == s.q.Body {
		return
	}
	o.r.Earlies++
	s.stalled = p.Deaf
	o.beginSoon(s)
}

func (o *h2Origin) onEnd(s *h2Stream) error {
	q := s.q
	if s.refused {
		return nil
	}
	if q.Tunnels() && !s.frames.whole() && !o.r.Traits.Calm {
		q.ClientEnded = true // without a Close frame: everybody can see the cut
	}
	if s.got != q.content() && !q.ClientEnded {
		return fmt.Errorf("request %d passes for whole with %d of %d bytes", q.ID, s.got, q.content())
	}
	if !q.Sent && !q.ClientEnded {
		return fmt.Errorf("request %d passes for whole, and its client has not sent all of it", q.ID)
	}
	q.Whole++
	if !s.begun {
		o.beginSoon(s)
	}
	o.over()
	return nil
}

// beginSoon begins the answer after the planned time.
func (o *h2Origin) beginSoon(s *h2Stream) {
	s.begun = true
	o.r.World.After(s.q.Reply.DelayNs, func() {
		if !s.reset && !o.done {
			o.answer(s)
		}
	})
}

func (o *h2Origin) answer(s *h2Stream) {
	q, p := s.q, &s.q.Reply
	if q.Tunnels() {
		o.agree(s)
		return
	}
	if s.faulty && p.Cut >= 0 {
		// Some are reset at once, the others at a byte of the body.
		s.stopAt, s.stop = min(p.Cut, p.Body), func() { o.r.Cuts++; o.resetStream(s, p.Code); o.over() }
		if p.Framing == noBody || p.Cut == 0 {
			s.stop()
			return
		}
	} else if s.faulty && p.Stop >= 0 && p.Framing != noBody {
		s.stopAt, s.stop = min(p.Stop, p.Body), func() { o.r.Stops++; s.outgoing = false }
	}
	for range p.Continues {
		o.headers1xx(s, "100")
	}
	for range p.Interims {
		o.headers1xx(s, "103")
	}
	fields := []string{":status", strconv.Itoa(p.Status), "x-id", strconv.Itoa(q.ID), "x-fill", fill(q.ID, downward, p.Fill)}
	bare := p.Framing == noBody
	if p.Framing == byLength || bare && p.Status != 204 && o.r.rng.IntN(2) == 0 {
		fields = append(fields, "content-length", strconv.Itoa(p.Body))
	}
	// The head of an answer without content may end the stream, and need not say
	// how long the content is (RFC 9113 8.1).
	bare = bare || p.Body == 0 && !p.Trailer && s.stop == nil && o.r.rng.IntN(2) == 0
	o.headers(s, bare, fields...)
	if bare {
		o.spent(s)
		o.forget(s)
		return
	}
	o.body(s, downward, p.Body, p.Trailer)
}

// spent: the answer is queued to its end.
func (o *h2Origin) spent(s *h2Stream) {
	q := s.q
	o.say(&q.Replied)
	if s.tunnel && q.Reply.Deaf {
		o.then(func() {
			if !s.gotEnd && !s.reset {
				o.resetStream(s, h2NoError) // it has said all, and wants to hear no more
			}
		})
	} else if !s.gotEnd && !s.tunnel {
		o.then(func() {
			if !s.gotEnd && !s.reset && o.r.rng.IntN(2) == 0 {
				o.resetStream(s, h2NoError) // nobody needs the rest (RFC 9113 8.1)
			}
		})
	}
	if q.Reply.HangUp && q.Reply.Framing != byClose {
		o.then(o.leave)
	}
	o.then(o.over)
}

// over: when all that was begun has ended, the connection may end.
func (o *h2Origin) over() {
	for _, s := range o.order {
		if !s.refused {
			return
		}
	}
	if !o.going {
		o.idle()
		return
	}
	wait := o.r.rng.Int64N(20e6)
	if o.softly {
		wait += 1e9 // for what was sent before the proxy knew
	}
	served := o.served
	o.then(func() {
		o.r.World.After(wait, func() {
			if o.served == served {
				o.close(false)
			}
		})
	})
	o.writeSoon()
}

// onReset: the proxy's client has left, or the proxy has.
func (o *h2Origin) onReset(s *h2Stream, code uint32) error {
	if o.r.Traits.Calm && (s.tunnel || !s.sentEnd || code != h2NoError && !(s.q.Socket && code == h2Cancel)) {
		return fmt.Errorf("request %d is reset with %d in a calm run", s.q.ID, code)
	}
	if code != h2NoError && code != h2Cancel && code != s.q.Code {
		return fmt.Errorf("request %d is reset with %d, its client says %d", s.q.ID, code, s.q.Code)
	}
	o.over()
	return nil
}

func (o *h2Origin) onGoAway(_, code uint32) error {
	if code != h2NoError {
		return fmt.Errorf("GOAWAY with %d", code)
	}
	return nil
}

func (o *h2Origin) onClosed(error) { o.close(false) }
