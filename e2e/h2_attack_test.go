package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"zproxy/internal/longtest"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// attack is what a client does to cost more than it asks for. It goes on until
// an error shows that the proxy has had enough, or its number is up.
type attack struct {
	name string
	// turn does it once more, for the n-th time.
	turn  func(h *h2conn, n int)
	turns int
	// cause is what it is counted as, after "http2_"; or any of several, with
	// spaces between.
	cause string
}

// phrases are what the access log says of each cause.
var phrases = map[string]string{
	"rapid_reset":    "too many streams reset before their response",
	"forced_reset":   "too many stream errors",
	"refused":        "too many streams beyond the limit",
	"continuation":   "too many continuation frames",
	"settings":       "too many settings",
	"ping":           "too many pings",
	"empty_data":     "too many empty data frames",
	"empty_headers":  "too many empty field blocks",
	"window_update":  "too many small window updates",
	"priority":       "too many priorities",
	"closed_stream":  "too many frames for closed streams",
	"unknown_frame":  "too many frames of unknown types",
	"head_too_large": "too many field sections over the limit",
	"table_update":   "too many table size updates",
	"table_churn":    "too many fields put into the table",
}

// raw writes a frame as it is.
func (h *h2conn) raw(kind http2.FrameType, flags http2.Flags, id uint32, payload []byte) {
	h.write(func(fr *http2.Framer) error { return fr.WriteRawFrame(kind, flags, id, payload) })
}

var attackHead = []string{":method", "GET", ":scheme", "http", ":path", "/never", ":authority", "e2e"}

func odd(n int) uint32 { return uint32(2*n + 1) }

// attacks lists the known ways.
func attacks() []attack {
	return append(streamAttacks(), frameAttacks()...)
}

func streamAttacks() []attack {
	open := func(h *h2conn, n int) uint32 {
		h.headers(odd(n), true, attackHead...)
		return odd(n)
	}
	return []attack{
		{name: "rapid reset", cause: "rapid_reset", turns: 20_000, turn: func(h *h2conn, n int) { h.rst(open(h, n), http2.ErrCodeCancel) }},
		{name: "rapid reset with a body", cause: "rapid_reset", turns: 20_000, turn: func(h *h2conn, n int) {
			h.headers(odd(n), false, attackHead...)
			h.data(odd(n), false, "x")
			h.rst(odd(n), http2.ErrCodeCancel)
		}},
		// MadeYouReset: the client breaks a rule of its stream, so that the proxy
		// resets it, while the origin goes on working.
		{name: "window of 0 added", cause: "forced_reset", turns: 20_000, turn: func(h *h2conn, n int) {
			h.raw(http2.FrameWindowUpdate, 0, open(h, n), make([]byte, 4))
		}},
		{name: "window beyond 31 bits", cause: "forced_reset", turns: 20_000, turn: func(h *h2conn, n int) {
			h.raw(http2.FrameWindowUpdate, 0, open(h, n), binary.BigEndian.AppendUint32(nil, 1<<31-1))
		}},
		{name: "HEADERS behind the end", cause: "forced_reset", turns: 20_000, turn: func(h *h2conn, n int) {
			h.headers(open(h, n), true, "x", "y")
		}},
		{name: "PRIORITY on itself", cause: "forced_reset priority", turns: 20_000, turn: func(h *h2conn, n int) {
			h.raw(http2.FramePriority, 0, open(h, n), append(binary.BigEndian.AppendUint32(nil, odd(n)), 1))
		}},
		{name: "second HEADERS without an end", cause: "forced_reset", turns: 20_000, turn: func(h *h2conn, n int) {
			h.headers(odd(n), false, attackHead...)
			h.headers(odd(n), false, "x", "y")
		}},
		{name: "DATA behind the end", cause: "forced_reset", turns: 20_000, turn: func(h *h2conn, n int) { h.data(open(h, n), true, "x") }},
		{name: "malformed trailers", cause: "forced_reset", turns: 20_000, turn: func(h *h2conn, n int) {
			h.headers(odd(n), false, attackHead...)
			h.headers(odd(n), true, ":path", "/")
		}},
		{name: "more than content-length", cause: "forced_reset", turns: 20_000, turn: func(h *h2conn, n int) {
			h.headers(odd(n), false, append(attackHead, "content-length", "1")...)
			h.data(odd(n), true, "xx")
		}},
		{name: "malformed requests", cause: "forced_reset", turns: 20_000, turn: func(h *h2conn, n int) { h.headers(odd(n), true, ":method", "GET") }},
		{name: "streams beyond the limit", cause: "refused", turns: 20_000, turn: func(h *h2conn, n int) { open(h, n) }},
		{name: "header lists over the limit", cause: "head_too_large continuation", turns: 5_000, turn: func(h *h2conn, n int) {
			h.headers(odd(n), true, append(attackHead, "x", strings.Repeat("a", 80_000))...)
		}},
	}
}

func frameAttacks() []attack {
	begun := func(h *h2conn, n int) {
		if n == 0 {
			h.headers(1, false, ":method", "POST", ":scheme", "http", ":path", "/never", ":authority", "e2e")
		}
	}
	settings := func(pairs ...uint32) []byte {
		var b []byte
		for i := 0; i < len(pairs); i += 2 {
			b = binary.BigEndian.AppendUint16(b, uint16(pairs[i]))
			b = binary.BigEndian.AppendUint32(b, pairs[i+1])
		}
		return b
	}
	return []attack{
		{name: "CONTINUATION without end", cause: "empty_headers", turns: 200_000, turn: func(h *h2conn, n int) {
			if n == 0 {
				h.raw(http2.FrameHeaders, http2.FlagHeadersEndStream, 1, nil)
				return
			}
			h.raw(http2.FrameContinuation, 0, 1, nil)
		}},
		{name: "CONTINUATION of much", cause: "continuation", turns: 20_000, turn: func(h *h2conn, n int) {
			if n == 0 {
				h.raw(http2.FrameHeaders, http2.FlagHeadersEndStream, 1, nil)
				return
			}
			h.raw(http2.FrameContinuation, 0, 1, []byte("\x00\x01x\x7f\xfb\x7e"+strings.Repeat("a", 16378)))
		}},
		{name: "SETTINGS", cause: "settings", turns: 100_000, turn: func(h *h2conn, n int) { h.raw(http2.FrameSettings, 0, 0, nil) }},
		{name: "SETTINGS that move all windows", cause: "settings", turns: 100_000, turn: func(h *h2conn, n int) {
			h.raw(http2.FrameSettings, 0, 0, settings(4, uint32(1000+n%2)))
		}},
		{name: "SETTINGS of many", cause: "settings", turns: 5_000, turn: func(h *h2conn, n int) {
			h.raw(http2.FrameSettings, 0, 0, []byte(strings.Repeat(string(settings(0xf00, 1)), 2000)))
		}},
		{name: "PING", cause: "ping", turns: 100_000, turn: func(h *h2conn, n int) { h.raw(http2.FramePing, 0, 0, make([]byte, 8)) }},
		{name: "empty DATA", cause: "empty_data", turns: 100_000, turn: func(h *h2conn, n int) { begun(h, n); h.data(1, false, "") }},
		{name: "DATA of padding alone", cause: "empty_data", turns: 20_000, turn: func(h *h2conn, n int) {
			begun(h, n)
			h.raw(http2.FrameData, http2.FlagDataPadded, 1, []byte{3, 0, 0, 0})
		}},
		{name: "window by bytes", cause: "window_update", turns: 100_000, turn: func(h *h2conn, n int) {
			h.raw(http2.FrameWindowUpdate, 0, 0, []byte{0, 0, 0, 1})
		}},
		{name: "PRIORITY", cause: "priority", turns: 100_000, turn: func(h *h2conn, n int) {
			h.raw(http2.FramePriority, 0, odd(n%1000), []byte{0, 0, 0, 0, 1})
		}},
		{name: "PRIORITY_UPDATE", cause: "priority", turns: 100_000, turn: func(h *h2conn, n int) {
			h.raw(0x10, 0, 0, append(binary.BigEndian.AppendUint32(nil, odd(n)), "u=1"...))
		}},
		{name: "frames nobody knows", cause: "unknown_frame", turns: 200_000, turn: func(h *h2conn, n int) { h.raw(0xbe, 0, 0, nil) }},
		{name: "RST_STREAM of closed ones", cause: "closed_stream", turns: 100_000, turn: func(h *h2conn, n int) {
			if n == 0 {
				h.headers(1, true, attackHead...)
			}
			h.rst(1, http2.ErrCodeCancel)
		}},
		{name: "HPACK bomb", cause: "head_too_large", turns: 2_000, turn: hpackBomb},
		{name: "fields of a byte behind a closed window", cause: "head_too_large", turns: 2_000, turn: func(h *h2conn, n int) {
			bytesOfFields(h, n, "\x8f", "\x8f") // accept-charset, which has no value
		}},
		{name: "crumbs of a byte behind a closed window", cause: "head_too_large", turns: 2_000, turn: func(h *h2conn, n int) {
			bytesOfFields(h, n, "\x60\x01a", "\xbe")
		}},
		{name: "table churn", cause: "table_churn", turns: 2_000, turn: tableChurn},
	}
}

// bytesOfFields asks with 4000 fields, of which the first is another one in the first
// request, and opens no window for the answers.
func bytesOfFields(h *h2conn, n int, first, next string) {
	block := "\x82\x86\x84\x01\x03e2e"
	if n == 0 {
		h.raw(http2.FrameSettings, 0, 0, []byte{0, 4, 0, 0, 0, 0})
		block += first
	}
	h.raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, odd(n), []byte(block+strings.Repeat(next, 4000)))
}

// hpackBomb puts a field of 3 KB into the table and names it 16 000 times.
func hpackBomb(h *h2conn, n int) {
	if n == 0 {
		h.headers(1, true, attackHead...)
		h.raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, 3,
			[]byte("\x40\x01x\x7f\xb9\x16"+strings.Repeat("a", 3000)))
	}
	h.raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, odd(n+2), []byte(strings.Repeat("\xbe", 16_000)))
}

// tableChurn sends heads whose every field goes into the table and pushes
// another out.
func tableChurn(h *h2conn, n int) {
	fields := []string{":method", "GET", ":scheme", "http", ":path", "/1", ":authority", "e2e"}
	for i := range 100 {
		fields = append(fields, fmt.Sprintf("x-%d-%d", n, i), "v")
	}
	h.headers(odd(n), true, fields...)
}

// attackSite serves /never not at all, /slow/N in pieces and everything else
// at once.
func attackSite(t *testing.T) string {
	return startGo(t, "http1", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/never" {
			<-r.Context().Done()
			return
		}
		echoSums(w, r)
	})
}

// run goes on until the proxy ends the connection, and says how often it did
// its turn and how it was ended. What was still on its way when the proxy
// closed may have turned the end into a reset, and the GOAWAY is lost.
func (a *attack) run(h *h2conn) (turns int, code http2.ErrCode, ended error) {
	h.SetDeadline(time.Now().Add(patience))
	over := make(chan struct{})
	go func() {
		defer close(over)
		for h.step() == nil {
		}
	}()
	for turns < a.turns && !closed(over) {
		a.turn(h, turns)
		turns++
	}
	h.SetReadDeadline(time.Now().Add(patience)) // it may be many turns behind
	<-over
	if n := len(h.goaways); n > 0 {
		code = h.goaways[n-1].code
	}
	return turns, code, h.ended
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// accounted expects one connection more that was ended for the attack's cause,
// counted and logged.
func (a *attack) accounted(t *testing.T, z *zproxy, before samples) {
	t.Helper()
	counted, total := "", 0.0
	eventually(t, patience, "one that ended with "+a.cause+" is counted", func() (bool, string) {
		after := z.metrics(t)
		for cause := range strings.FieldsSeq(a.cause) {
			reason := fmt.Sprintf("reason=%q", "http2_"+cause)
			if total = after.sum("zproxy_refused_total", reason); total-before.sum("zproxy_refused_total", reason) == 1 {
				counted = cause
				return true, ""
			}
		}
		return false, fmt.Sprint(after.sum("zproxy_refused_total"))
	})
	line := fmt.Sprintf(`"reason":%q`, phrases[counted])
	eventually(t, patience, "the log says "+line, func() (bool, string) {
		text, err := os.ReadFile(z.log)
		return err == nil && strings.Count(string(text), line) >= int(total), fmt.Sprint(err)
	})
}

// Who attacks is sent away with a reason, and a client on another connection
// is served all the while.
func TestH2Attacks(t *testing.T) {
	onlyZproxy(t)
	eachBackend(t, func(t *testing.T, backend string) {
		f := startFront(t, backend, site{origin: "http1", addr: attackSite(t), pool: "pool: {max_connections: 2000}", more: "loops: 1"})
		for _, a := range attacks() {
			t.Run(a.name, func(t *testing.T) {
				healthy := startHealthy(t, f.addr)
				before := f.z.metrics(t)
				h := dialH2(t, f.addr)
				h.mute = true
				turns, code, ended := a.run(h)
				answered, slowest := healthy.stop(t)
				if answered == 0 || healthy.shed > 0 || slowest > fastLimit {
					t.Errorf("another client got %d answers, the slowest in %v", answered, slowest)
				}
				t.Logf("%d turns, %v, %v; another client got %d answers, the slowest in %v", turns, code, ended, answered, slowest.Round(time.Millisecond))
				if ended == nil {
					t.Errorf("it may go on after %d turns", turns)
				}
				if code != http2.ErrCodeEnhanceYourCalm && code != http2.ErrCodeNo { // none: what was on its way has turned the end into a reset
					t.Errorf("ended with %v", code)
				}
				a.accounted(t, f.z, before)
			})
		}
	})
}

// h2healthy is one client that asks one thing after the other.
type h2healthy struct {
	end      chan struct{}
	done     chan struct{}
	once     chan struct{} // closed when it has been answered once
	answered int
	shed     int // turned away with 503 for want of memory
	slowest  time.Duration
	err      error
}

func startHealthy(t *testing.T, addr string) *h2healthy {
	t.Helper()
	l := &h2healthy{end: make(chan struct{}), done: make(chan struct{}), once: make(chan struct{})}
	h := dialH2(t, addr)
	h.get(1, "/1")
	go func() {
		defer close(l.done)
		defer h.Close()
		for id := uint32(3); ; id += 2 {
			select {
			case <-l.end:
				return
			default:
			}
			begin := time.Now()
			s := h.ask(id, true, "GET", "/1000")
			err := h.within(patience, s.over)
			if err == nil && s.status() == "503" {
				l.shed++
				time.Sleep(10 * time.Millisecond)
				continue
			}
			if err != nil || len(s.body) != 1000 || s.reset {
				l.err = fmt.Errorf("%w: %v", errors.Join(err, errors.New("another client is not served")), s)
				return
			}
			if l.answered++; l.answered == 1 {
				close(l.once)
			}
			l.slowest = max(l.slowest, time.Since(begin))
			time.Sleep(time.Millisecond)
		}
	}()
	return l
}

func (l *h2healthy) stop(t *testing.T) (answered int, slowest time.Duration) {
	t.Helper()
	select {
	case <-l.once: // whatever was going on
	case <-l.done:
	case <-time.After(patience):
	}
	close(l.end)
	<-l.done
	if l.err != nil {
		t.Error(l.err)
	}
	t.Logf("another client got %d answers, and %d times a 503", l.answered, l.shed)
	return l.answered, l.slowest
}

// Clients that read nothing, or by the byte, hold no more than their windows
// and are sent away in time. Two hundred origins that answer at once may use up
// the buffers for a moment, and others are told so; then they are served.
func TestLengthyH2StalledReaders(t *testing.T) {
	longtest.Need(t)
	onlyZproxy(t)
	eachBackend(t, func(t *testing.T, backend string) {
		f := startFront(t, backend, site{origin: "http1", addr: attackSite(t), pool: "pool: {max_connections: 2000}",
			more: "loops: 1\nlimits: {send_timeout: 1s}"})
		for name, c := range map[string]struct {
			window uint32
			drip   bool
			deaf   bool // does not even read from its socket
		}{
			"window of 0":         {0, false, false},
			"window of 1":         {1, false, false},
			"one byte at a time":  {1, true, false},
			"a socket not read":   {1 << 30, false, true},
			"an ordinary window":  {65535, false, false},
			"a window of a stall": {100, false, false},
		} {
			t.Run(name, func(t *testing.T) {
				healthy := startHealthy(t, f.addr)
				h := dialH2(t, f.addr, http2.Setting{ID: http2.SettingInitialWindowSize, Val: c.window})
				h.stingy, h.drips = true, c.drip
				h.credit(0, 1<<30)
				for i := range 200 {
					h.ask(odd(i), true, "GET", fmt.Sprintf("/%d", mib))
				}
				begin := time.Now()
				if c.deaf {
					time.Sleep(3 * time.Second)
				} else if c.drip {
					go func() {
						for i := 0; h.write(func(fr *http2.Framer) error { return fr.WriteWindowUpdate(odd(i%200), 1) }) == nil; i++ {
							time.Sleep(time.Millisecond)
						}
					}()
				}
				err := h.within(15*time.Second, func() bool { return len(h.streams) > 0 && allOver(h) })
				if err != nil && h.ended == nil {
					t.Errorf("the streams are still there after %v: %v", time.Since(begin), err)
				}
				h.Close()
				answered, slowest := healthy.stop(t)
				if answered == 0 || slowest > fastLimit {
					t.Errorf("another client got %d answers, the slowest in %v", answered, slowest)
				}
			})
		}
		if rss := f.z.memory(t, "status", "VmHWM"); rss > 100*mib {
			t.Errorf("%d MiB of memory", rss>>20)
		}
	})
}

func allOver(h *h2conn) bool {
	for _, s := range h.streams {
		if !s.over() {
			return false
		}
	}
	return true
}

// What browsers and gRPC clients do when they change their minds, and what
// careful ones do all the time, is no attack.
func TestH2OrdinaryBursts(t *testing.T) {
	onlyZproxy(t)
	besides(t, func(t *testing.T, backend string) {
		f := startFront(t, backend, site{origin: "http1", addr: attackSite(t), pool: "pool: {max_connections: 2000}"})
		healthy := func(t *testing.T, h *h2conn, id uint32) {
			t.Helper()
			if s := h.get(id, "/1000"); len(s.body) != 1000 || len(h.goaways) > 0 {
				t.Errorf("%v, goaways %v", s, h.goaways)
			}
		}
		t.Run("a page is left", func(t *testing.T) {
			h, n := dialH2(t, f.addr), 0
			for range 5 {
				first := n
				for range 100 {
					h.ask(odd(n), true, "GET", "/never")
					n++
				}
				time.Sleep(100 * time.Millisecond)
				for ; first < n; first++ {
					h.rst(odd(first), http2.ErrCodeCancel)
				}
				time.Sleep(time.Second)
			}
			healthy(t, h, odd(n))
		})
		t.Run("downloads are cancelled", func(t *testing.T) {
			h := dialH2(t, f.addr)
			for n := range 300 {
				s := h.ask(odd(n), true, "GET", fmt.Sprintf("/%d", 10*mib))
				h.until("its beginning", func() bool { return len(s.body) > 0 })
				h.rst(s.id, http2.ErrCodeCancel)
			}
			healthy(t, h, odd(300))
		})
		t.Run("calls with deadlines", func(t *testing.T) {
			h := dialH2(t, f.addr)
			for n := range 200 {
				h.ask(odd(n), false, "POST", "/never", "te", "trailers", "content-type", "application/grpc")
				h.data(odd(n), false, "\x00\x00\x00\x00\x02hi")
				time.Sleep(5 * time.Millisecond)
				h.rst(odd(n), http2.ErrCodeCancel)
			}
			healthy(t, h, odd(200))
		})
		busyConnections(t, f, healthy)
	})
}

// busyConnections: many small frames that all belong to something.
func busyConnections(t *testing.T, f *front, healthy func(*testing.T, *h2conn, uint32)) {
	t.Run("pings and window updates", func(t *testing.T) {
		h := dialH2(t, f.addr)
		go func() {
			for range 30 {
				h.raw(http2.FramePing, 0, 0, make([]byte, 8))
				time.Sleep(100 * time.Millisecond)
			}
		}()
		s := h.ask(1, true, "GET", fmt.Sprintf("/%d", 100*mib)) // with two updates for each frame
		if h.until("its end", s.over); len(s.body) != 100*mib {
			t.Errorf("%d bytes", len(s.body))
		}
		healthy(t, h, 3)
	})
	t.Run("small uploads in small pieces", func(t *testing.T) {
		h := dialH2(t, f.addr)
		s := h.ask(1, false, "PUT", "/")
		for range 20_000 {
			h.data(1, false, "x")
		}
		h.data(1, true, "")
		if h.until("the answer", s.over); !strings.HasPrefix(string(s.body), "20000 ") {
			t.Errorf("%v: %s", s, s.body)
		}
		healthy(t, h, 3)
	})
}

// An attack that is ended is seen to be, with its code, wherever it is.
func TestH2AttacksAreEnded(t *testing.T) {
	for _, a := range attacks() {
		o := startH2Origin(t, func(h *h2conn) {
			h.fr.ReadMetaHeaders = nil
			for range 1000 {
				if _, err := h.fr.ReadFrame(); err != nil {
					break
				}
			}
			h.write(func(fr *http2.Framer) error { return fr.WriteGoAway(0, http2.ErrCodeEnhanceYourCalm, nil) })
			h.Conn.(*buffered).Conn.(*net.TCPConn).CloseWrite()
			io.Copy(io.Discard, h.Conn)
		})
		h := dialH2(t, o.addr)
		h.mute = true
		if turns, code, ended := a.run(h); code != http2.ErrCodeEnhanceYourCalm || ended != io.EOF || turns == 0 {
			t.Errorf("%s: %d turns, %v, %v", a.name, turns, code, ended)
		}
	}
}

// The bomb is what it is meant to be: blocks that decode to much more than they
// are.
func TestH2BombsExplode(t *testing.T) {
	in, out := net.Pipe()
	go hpackBomb(newH2(t, in), 0)
	fr := http2.NewFramer(io.Discard, out)
	bytes, decoded := 0, 0
	dec := hpack.NewDecoder(4096, func(f hpack.HeaderField) { decoded += len(f.Name) + len(f.Value) })
	for range 3 {
		f, err := fr.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		block := f.(*http2.HeadersFrame).HeaderBlockFragment()
		bytes += len(block)
		if _, err := dec.Write(block); err != nil {
			t.Fatal(err)
		}
		if err := dec.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if decoded < 1000*bytes {
		t.Errorf("%d bytes decode to %d", bytes, decoded)
	}
}
