package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2conn is a connection of HTTP/2 frames, at either end, that hides nothing
// and holds its peer to the windows it gave. One goroutine reads; any may
// write.
type h2conn struct {
	net.Conn
	t        *testing.T
	fr       *http2.Framer
	streams  map[uint32]*h2stream
	settings map[http2.SettingID]uint32 // of the peer
	goaways  []h2goaway
	pongs    int
	frames   int
	ended    error // why nothing more can be read
	drips    bool  // somebody opens the windows of its streams without telling it
	stingy   bool  // gives no window back by itself
	mute     bool  // acknowledges neither SETTINGS nor PING

	window  int64 // what the peer may still send on the connection
	initial int64 // and on a new stream

	mu    sync.Mutex // of writing
	block bytes.Buffer
	enc   *hpack.Encoder
}

type h2goaway struct {
	last uint32
	code http2.ErrCode
}

// h2stream is what has come on a stream.
type h2stream struct {
	id       uint32
	head     []hpack.HeaderField
	interims [][]hpack.HeaderField
	trailers []hpack.HeaderField
	body     []byte
	ended    bool // END_STREAM
	reset    bool
	code     http2.ErrCode
	window   int64
}

func field(fields []hpack.HeaderField, name string) string {
	for _, f := range fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

func (s *h2stream) status() string { return field(s.head, ":status") }

func (s *h2stream) over() bool { return s.ended || s.reset }

func (s *h2stream) String() string {
	return fmt.Sprintf("stream %d: %v, %d bytes, trailers %v, ended %v, reset %v (%v)", s.id, s.head, len(s.body), s.trailers, s.ended, s.reset, s.code)
}

func newH2(t *testing.T, c net.Conn) *h2conn {
	h := &h2conn{Conn: c, t: t, streams: map[uint32]*h2stream{}, settings: map[http2.SettingID]uint32{}, window: 65535, initial: 65535}
	h.fr = http2.NewFramer(c, bufio.NewReaderSize(c, 64<<10))
	h.fr.AllowIllegalWrites = true
	h.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	h.enc = hpack.NewEncoder(&h.block)
	return h
}

// dialH2 connects and sends the preface with settings.
func dialH2(t *testing.T, addr string, settings ...http2.Setting) *h2conn {
	t.Helper()
	h, err := openH2(t, addr, settings...)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// openH2 is dialH2 for other goroutines than the test's.
func openH2(t *testing.T, addr string, settings ...http2.Setting) (*h2conn, error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { c.Close() })
	h := newH2(t, c)
	h.announce(settings)
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		return nil, err
	}
	return h, h.fr.WriteSettings(settings...)
}

func (h *h2conn) announce(settings []http2.Setting) {
	for _, s := range settings {
		if s.ID == http2.SettingInitialWindowSize {
			h.initial = int64(s.Val)
		}
	}
}

// encode makes a field block of names and values in turn.
func (h *h2conn) encode(fields ...string) []byte {
	h.block.Reset()
	for i := 0; i+1 < len(fields); i += 2 {
		h.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return bytes.Clone(h.block.Bytes())
}

// headers sends a field section; an error shows when reading.
func (h *h2conn) headers(id uint32, end bool, fields ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	block := h.encode(fields...)
	first := block[:min(len(block), 16384)]
	h.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: first, EndStream: end, EndHeaders: len(first) == len(block)})
	for block = block[len(first):]; len(block) > 0; {
		next := block[:min(len(block), 16384)]
		block = block[len(next):]
		h.fr.WriteContinuation(id, len(block) == 0, next)
	}
}

func (h *h2conn) data(id uint32, end bool, b string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fr.WriteData(id, end, []byte(b))
}

// write runs one of the framer's functions.
func (h *h2conn) write(frame func(fr *http2.Framer) error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return frame(h.fr)
}

func (h *h2conn) rst(id uint32, code http2.ErrCode) {
	h.write(func(fr *http2.Framer) error { return fr.WriteRSTStream(id, code) })
}

// credit gives window back.
func (h *h2conn) credit(id uint32, n int) {
	if h.window += int64(n); id != 0 {
		h.window -= int64(n)
		h.streams[id].window += int64(n)
	}
	h.write(func(fr *http2.Framer) error { return fr.WriteWindowUpdate(id, uint32(n)) })
}

// ask sends a GET, POST and so on.
func (h *h2conn) ask(id uint32, end bool, method, path string, fields ...string) *h2stream {
	s := h.stream(id)
	h.headers(id, end, append([]string{":method", method, ":scheme", "http", ":path", path, ":authority", "e2e"}, fields...)...)
	return s
}

// get asks and waits for the end of the answer.
func (h *h2conn) get(id uint32, path string) *h2stream {
	h.t.Helper()
	s := h.ask(id, true, "GET", path)
	h.until("the answer to GET "+path, s.over)
	return s
}

func (h *h2conn) stream(id uint32) *h2stream {
	s := h.streams[id]
	if s == nil {
		s = &h2stream{id: id, window: h.initial}
		h.streams[id] = s
	}
	return s
}

// until reads frames until done.
func (h *h2conn) until(what string, done func() bool) {
	h.t.Helper()
	if err := h.within(patience, done); err != nil {
		h.t.Fatalf("waiting for %s: %v", what, err)
	}
}

// within reads frames until done, or says why not.
func (h *h2conn) within(limit time.Duration, done func() bool) error {
	h.SetReadDeadline(time.Now().Add(limit))
	h.SetWriteDeadline(time.Now().Add(max(limit, patience)))
	for !done() {
		if err := h.step(); err != nil {
			return fmt.Errorf("%w; goaways %v", err, h.goaways)
		}
	}
	return nil
}

// drain reads until the connection ends or nothing more comes for the time.
func (h *h2conn) drain(limit time.Duration) error {
	return h.within(limit, func() bool { return false })
}

// step reads a frame and does what it asks for.
func (h *h2conn) step() error {
	if h.ended != nil {
		return h.ended
	}
	f, err := h.fr.ReadFrame()
	var streamErr http2.StreamError
	if errors.As(err, &streamErr) {
		return fmt.Errorf("what came on stream %d is malformed: %w", streamErr.StreamID, err)
	}
	if err != nil {
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			h.ended = err
		}
		return err
	}
	h.frames++
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if f.IsAck() {
			return nil
		}
		f.ForeachSetting(func(s http2.Setting) error { h.settings[s.ID] = s.Val; return nil })
		if !h.mute {
			h.write(func(fr *http2.Framer) error { return fr.WriteSettingsAck() })
		}
	case *http2.PingFrame:
		if f.IsAck() {
			h.pongs++
		} else if !h.mute {
			h.write(func(fr *http2.Framer) error { return fr.WritePing(true, f.Data) })
		}
	case *http2.GoAwayFrame:
		h.goaways = append(h.goaways, h2goaway{f.LastStreamID, f.ErrCode})
	case *http2.MetaHeadersFrame:
		return h.onHeaders(f)
	case *http2.DataFrame:
		return h.onData(f)
	case *http2.RSTStreamFrame:
		s := h.stream(f.StreamID)
		s.reset, s.code = true, f.ErrCode
	}
	return nil
}

func (h *h2conn) onHeaders(f *http2.MetaHeadersFrame) error {
	s := h.stream(f.StreamID)
	switch {
	case s.ended:
		return fmt.Errorf("HEADERS behind the end of stream %d", s.id)
	case s.head == nil && len(f.PseudoValue("status")) == 3 && f.PseudoValue("status")[0] == '1':
		s.interims = append(s.interims, f.Fields)
		if f.StreamEnded() {
			return fmt.Errorf("stream %d ends with an interim response", s.id)
		}
	case s.head == nil:
		s.head = f.Fields
	case !f.StreamEnded():
		return fmt.Errorf("a second head on stream %d: %v", s.id, f.Fields)
	default:
		s.trailers = f.Fields
	}
	s.ended = f.StreamEnded()
	return nil
}

func (h *h2conn) onData(f *http2.DataFrame) error {
	s := h.stream(f.StreamID)
	n := int64(f.Length)
	if h.window -= n; h.window < 0 {
		return fmt.Errorf("%d bytes beyond the window of the connection", -h.window)
	}
	if s.window -= n; s.window < 0 && !h.drips {
		return fmt.Errorf("%d bytes beyond the window of stream %d", -s.window, s.id)
	}
	if s.ended || s.head == nil {
		return fmt.Errorf("DATA on stream %d, which has ended or not begun", s.id)
	}
	s.body = append(s.body, f.Data()...)
	s.ended = f.StreamEnded()
	if n > 0 && !h.stingy {
		h.credit(0, int(n))
		h.credit(s.id, int(n))
	}
	return nil
}

// buffered is a connection of which something has been read ahead.
type buffered struct {
	net.Conn
	br *bufio.Reader
}

func (b *buffered) Read(p []byte) (int, error) { return b.br.Read(p) }

// startH2Origin listens on a free port and runs serve once per connection,
// after both prefaces; it closes when serve returns.
func startH2Origin(t *testing.T, serve func(h *h2conn), settings ...http2.Setting) *origin {
	t.Helper()
	return startOrigin(t, func(c *originConn) {
		preface := make([]byte, len(http2.ClientPreface))
		if _, err := io.ReadFull(c.br, preface); err != nil || string(preface) != http2.ClientPreface {
			if len(bytes.Trim(preface, "\x00")) > 0 {
				t.Errorf("the connection to an h2c origin begins with %q", preface)
			}
			return
		}
		h := newH2(t, &buffered{c.Conn, c.br})
		h.announce(settings)
		h.fr.WriteSettings(settings...)
		serve(h)
	})
}

// serving reads frames and runs answer for every stream whose request is
// complete, until the connection ends.
func serving(answer func(h *h2conn, s *h2stream)) func(h *h2conn) {
	return func(h *h2conn) {
		answered := map[uint32]bool{}
		for h.step() == nil { // the end of the test is an end at the latest
			for id, s := range h.streams {
				if s.over() && !answered[id] {
					answered[id] = true
					if s.ended {
						answer(h, s)
					}
				}
			}
		}
	}
}

// reply sends a whole response.
func (h *h2conn) reply(id uint32, body string, fields ...string) {
	h.headers(id, body == "", append([]string{":status", "200"}, fields...)...)
	if body != "" {
		h.data(id, true, body)
	}
}
