package simnet

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"zproxy/loop/sim"
)

// Holders is a world in which peers make a proxy hold what it cannot pass on, and
// others want to be served all the same.
type Holders struct {
	World      *sim.World
	Proxy      netip.AddrPort
	TLS        *Run // has which of the peers are within TLS, and what was wrong with that
	Violations []string

	Served int   // small requests of witnesses
	Talks  int   // of talkers, answered to the end
	Again  int   // those that were refused or reset, and asked again
	Left   int   // talks to come
	Moved  int64 // bytes, towards talkers

	next  int
	leave []func()
	asked []*witness
}

// The addresses of origins: two that read nothing, two that send back what they get
// while their answer is taken, and two with small and large answers.
const (
	DeafOrigin, DeafH2Origin = "10.3.0.1:80", "10.3.0.2:80"
	EchoOrigin, EchoH2Origin = "10.3.0.3:80", "10.3.0.4:80"
	FileOrigin, FileH2Origin = "10.3.0.5:80", "10.3.0.6:80"
)

const (
	witnessNs    = int64(1e9) // a small answer takes that long at most
	smallAnswer  = 700        // more than is copied of blocks of 4 and 8 KiB
	echoPatience = 64 << 10   // bytes that wait for their reader, beyond which an origin reads no more
	endlessBytes = 1 << 30
)

// Origins brings them up.
func (h *Holders) Origins() {
	serve := func(addr string, begin func(p socket)) {
		h.World.Serve(addr, func(p *sim.Peer) { begin(h.TLS.secure(p, true, "http/1.1")) })
	}
	serveH2 := func(addr string, to plainScript) {
		h.World.Serve(addr, func(p *sim.Peer) { newPlainEnd(h.TLS.secure(p, true, "h2"), true, h2FirstWindow, to) })
	}
	serve(DeafOrigin, func(socket) {})
	serveH2(DeafH2Origin, deafScript{})
	serve(EchoOrigin, newEcho)
	serveH2(EchoH2Origin, echoScript{})
	serve(FileOrigin, newFiles)
	serveH2(FileH2Origin, fileScript{})
}

func (h *Holders) fail(format string, args ...any) {
	if len(h.Violations) < 10 {
		h.Violations = append(h.Violations, fmt.Sprintf("at %d: ", h.World.Now())+fmt.Sprintf(format, args...))
	}
}

// connect gives a connection for HTTP/1 or HTTP/2, nil when nobody listens.
func (h *Holders) connect(h2 bool) socket {
	h.next++
	from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 4, byte(h.next >> 8), byte(h.next)}), 40000)
	p := h.World.Connect(from, h.Proxy)
	if p == nil {
		h.fail("nobody listens")
		return nil
	}
	protocol := "http/1.1"
	if h2 {
		protocol = "h2"
	}
	return h.TLS.secure(p, false, protocol)
}

// Upload opens a connection that uploads to path without end, h2 with so many streams.
func (h *Holders) Upload(path string, h2 bool, streams int) {
	p := h.connect(h2)
	if p == nil {
		return
	}
	if h2 {
		e := newPlainEnd(p, false, h2FirstWindow, uploadScript{})
		for range streams {
			e.ask("POST", path).endless = true
		}
		e.flush()
		h.leave = append(h.leave, e.leave)
		return
	}
	e := &plainText{p: p, endless: true, got: func(b []byte) int { return len(b) }}
	e.out = fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: sim.example\r\nContent-Length: %d\r\n\r\n", path, endlessBytes)
	h.leave = append(h.leave, func() { e.leave(nil) })
	e.begin()
}

// Download opens a connection that asks for path and takes nothing of the answer.
func (h *Holders) Download(path string, h2 bool, streams int) {
	p := h.connect(h2)
	if p == nil {
		return
	}
	if h2 {
		e := newPlainEnd(p, false, 0, uploadScript{})
		for range streams {
			e.ask("GET", path)
		}
		e.flush()
		h.leave = append(h.leave, e.leave)
		return
	}
	e := &plainText{p: p, deaf: true}
	e.out = fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: sim.example\r\n\r\n", path)
	h.leave = append(h.leave, func() { e.leave(nil) })
	e.begin()
}

// Leave ends all of them with a reset.
func (h *Holders) Leave() {
	for _, leave := range h.leave {
		leave()
	}
	h.leave = nil
}

// deafScript reads until it was asked something.
type deafScript struct{}

func (deafScript) head(e *plainEnd, _ *plainStream, _ bool)       { e.deaf = true }
func (deafScript) data(*plainEnd, *plainStream, int, bool)        {}
func (deafScript) sent(*plainEnd, *plainStream, int)              {}
func (deafScript) over(e *plainEnd, s *plainStream, _ bool)       {}
func (uploadScript) head(e *plainEnd, s *plainStream, end bool)   { s.endless = false }
func (uploadScript) data(*plainEnd, *plainStream, int, bool)      {}
func (uploadScript) sent(*plainEnd, *plainStream, int)            {}
func (uploadScript) over(e *plainEnd, s *plainStream, reset bool) {}

// uploadScript sends until it is answered.
type uploadScript struct{}

// echoScript sends back what it gets, and gives credit for what it could send.
type echoScript struct{}

func (echoScript) head(e *plainEnd, s *plainStream, end bool) {
	if s.status == "" {
		s.status = "200"
		e.headers(s, false, ":status", "200")
	}
	s.end = end
}

func (echoScript) data(_ *plainEnd, s *plainStream, n int, end bool) {
	s.send += n
	s.end = end
}

func (echoScript) sent(e *plainEnd, s *plainStream, n int) { e.credit(s, n) }
func (echoScript) over(e *plainEnd, s *plainStream, _ bool) {
	e.forget(s)
	e.credit(s, s.send) // what a reset leaves behind
}

// newEcho is echoScript over HTTP/1.
func newEcho(p socket) {
	left := 0
	e := &plainText{p: p, most: echoPatience}
	e.got = func(b []byte) int {
		if left > 0 {
			n := min(left, len(b))
			left -= n
			e.out = append(e.out, b[:n]...)
			return n
		}
		n, length := headOf(b, "content-length")
		if n > 0 {
			left = length
			e.out = fmt.Appendf(e.out, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", length)
		}
		return n
	}
	e.begin()
}

// newFiles answers /small and, with anything else, without end.
func newFiles(p socket) {
	e := &plainText{p: p, most: echoPatience}
	e.got = func(b []byte) int {
		n, _ := headOf(b, "content-length")
		if n == 0 {
			return 0
		}
		if string(b[:10]) == "GET /small" {
			e.out = fmt.Appendf(e.out, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", smallAnswer)
			e.out = append(e.out, make([]byte, smallAnswer)...)
		} else {
			e.out = fmt.Appendf(e.out, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", endlessBytes)
			e.endless = true
		}
		return n
	}
	e.begin()
}

// fileScript is newFiles over HTTP/2.
type fileScript struct{}

func (fileScript) head(e *plainEnd, s *plainStream, _ bool) {
	if !strings.HasPrefix(s.path, "/small") {
		e.headers(s, false, ":status", "200")
		s.endless = true
		return
	}
	e.headers(s, false, ":status", "200", "content-length", strconv.Itoa(smallAnswer))
	s.send, s.end = smallAnswer, true
}

func (fileScript) data(*plainEnd, *plainStream, int, bool)      {}
func (fileScript) sent(*plainEnd, *plainStream, int)            {}
func (fileScript) over(e *plainEnd, s *plainStream, reset bool) { e.forget(s) }

// witness asks for small answers, one after the other.
type witness struct {
	h     *Holders
	path  string
	every int64
	keeps bool
	e     *plainText
	since int64 // when it asked what is not answered, 0: nothing is
}

// Witness lets one ask for path every so many ns, on one connection or on new ones.
func (h *Holders) Witness(path string, every int64, keeps bool) {
	w := &witness{h: h, path: path, every: every, keeps: keeps}
	h.asked = append(h.asked, w)
	h.World.After(every, w.ask)
}

func (w *witness) ask() {
	w.since = w.h.World.Now()
	ask := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: sim.example\r\n\r\n", w.path)
	if w.e == nil {
		p := w.h.connect(false)
		if p == nil {
			return
		}
		w.e = &plainText{p: p, most: echoPatience, got: w.got, ended: w.ended}
		w.e.out = []byte(ask)
		w.e.begin()
		return
	}
	w.e.out = append(w.e.out, ask...)
	w.e.flush()
}

func (w *witness) got(b []byte) int {
	n, length := headOf(b, "content-length")
	if n == 0 || len(b) < n+length {
		return 0
	}
	if status := string(b[9:12]); status != strconv.Itoa(200) {
		w.h.fail("a client of another upstream is answered %s", status)
	}
	w.late()
	w.h.Served++
	w.since = 0
	w.h.World.After(w.every, w.ask)
	if !w.keeps {
		e := w.e
		w.e = nil
		e.ended = nil
		e.leave(nil)
	}
	return n + length
}

func (w *witness) ended(err error) {
	w.h.fail("a client of another upstream is not answered: %v", err)
}

func (w *witness) late() {
	if now := w.h.World.Now(); w.since != 0 && now-w.since > witnessNs {
		w.h.fail("a client of another upstream waits for %d ms", (now-w.since)/1e6)
	}
}

// Judge looks at the witnesses that are not answered yet.
func (h *Holders) Judge() {
	for _, w := range h.asked {
		w.late()
	}
}

// talker is a client whose requests have bodies that come back. What is refused or
// reset for want of memory it asks again.
type talker struct {
	h              *Holders
	path           string
	h2             bool
	size           int
	streams, times int // at once, and yet to begin
	open           int // begun and not over
}

// again is after how long a talker asks again.
const again = int64(50e6)

// Talk lets a client talk with path: so many times, so many at once over HTTP/2,
// with bodies of so many bytes.
func (h *Holders) Talk(path string, h2 bool, times, streams, size int) {
	h.Left += times
	t := &talker{h: h, path: path, h2: h2, size: size, times: times, streams: 1}
	if h2 {
		t.streams = streams
	}
	t.connect()
}

func (t *talker) connect() {
	p := t.h.connect(t.h2)
	if p == nil || t.times == 0 {
		return
	}
	if !t.h2 {
		t.text(p)
		return
	}
	e := newPlainEnd(p, false, h2FirstWindow, talkScript{t})
	e.ended = t.lost
	t.ask(e)
}

// lost: the connection is gone, and with it what was under way.
func (t *talker) lost() {
	t.h.Again += t.open
	t.times += t.open
	t.open = 0
	t.h.World.After(again, t.connect)
}

// ends is the end of one talk.
func (t *talker) ends(got int) {
	t.open--
	t.h.Talks++
	t.h.Left--
	if got != t.size {
		t.h.fail("%d of %d bytes of a talk have come back", got, t.size)
	}
}

// refused: it is asked again.
func (t *talker) refused(ask func()) {
	t.open--
	t.times++
	t.h.Again++
	t.h.World.After(again, ask)
}

func (t *talker) ask(e *plainEnd) {
	for !e.gone && t.times > 0 && t.open < t.streams {
		t.times--
		t.open++
		s := e.ask("POST", t.path, "content-length", strconv.Itoa(t.size))
		s.send, s.end = t.size, true
	}
	e.flush()
}

// talkScript is a talker over HTTP/2.
type talkScript struct{ *talker }

func (t talkScript) head(e *plainEnd, s *plainStream, end bool) {
	if s.status != "200" {
		e.forget(s)
		t.refused(func() { t.ask(e) })
	}
}

func (t talkScript) data(e *plainEnd, s *plainStream, n int, end bool) {
	t.h.Moved += int64(n)
	if end {
		t.ends(s.got)
		e.forget(s)
		t.ask(e)
	}
	e.credit(s, n)
}

func (t talkScript) sent(*plainEnd, *plainStream, int) {}

func (t talkScript) over(e *plainEnd, s *plainStream, reset bool) {
	if reset {
		t.refused(func() { t.ask(e) })
	}
}

// text is a talker over HTTP/1.
func (t *talker) text(p socket) {
	got, inBody := 0, false
	e := &plainText{p: p, most: 1 << 30, ended: func(error) { t.lost() }}
	e.got = func(b []byte) int {
		if !inBody {
			n, _ := headOf(b, "content-length")
			if n > 0 && string(b[9:12]) != "200" {
				e.leave(nil)
				return n
			}
			inBody = n > 0
			return n
		}
		n := min(len(b), t.size-got)
		got += n
		t.h.Moved += int64(n)
		if got == t.size {
			t.ends(got)
			e.ended = nil
			e.leave(nil) // as the proxy does, whose answer began before the request had ended
			t.connect()
		}
		return n
	}
	t.times--
	t.open++
	e.out = fmt.Appendf(e.out, "POST %s HTTP/1.1\r\nHost: sim.example\r\nContent-Length: %d\r\n\r\n", t.path, t.size)
	e.out = append(e.out, make([]byte, t.size)...)
	e.begin()
}
