package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"zproxy/loop"
	"zproxy/metrics/accesslog"
)

// wire is one end of an HTTP/2 connection, made of x/net's frames, whose streams
// are used like connections.
type wire struct {
	net.Conn
	fr      *http2.Framer
	mu      sync.Mutex
	moved   sync.Cond
	streams map[uint32]*wireStream
	opened  uint32            // the latest stream
	window  int64             // of the connection
	initial int64             // of streams to come
	connect bool              // the far end takes extended CONNECT
	goaway  bool              // it takes no more streams
	dead    error             // why there is no connection any more
	serve   func(*wireStream) // of a server: a stream was opened
	enc     *hpack.Encoder
	block   bytes.Buffer
}

// wireStream is a net.Conn, whose deadlines are for reading alone.
type wireStream struct {
	net.Conn // the connection, for what is not about the stream
	w        *wire
	id       uint32
	head     []hpack.HeaderField // the first one received
	in       []byte
	ended    bool // by the far end
	finished bool // by this one
	reset    error
	code     *http2.ErrCode // of the far end's reset
	window   int64
	deadline time.Time
}

func newWire(c net.Conn, serve func(*wireStream), settings ...http2.Setting) *wire {
	w := &wire{Conn: c, streams: map[uint32]*wireStream{}, window: 65535, initial: 65535, serve: serve}
	w.moved.L = &w.mu
	w.enc = hpack.NewEncoder(&w.block)
	if serve == nil {
		io.WriteString(c, http2.ClientPreface)
	}
	in := bufio.NewReader(c)
	w.fr = http2.NewFramer(c, in)
	w.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	w.fr.WriteSettings(settings...)
	go func() {
		if serve != nil {
			io.ReadFull(in, make([]byte, len(http2.ClientPreface)))
		}
		err := w.read()
		c.Close()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.dead = err
		w.moved.Broadcast()
	}()
	return w
}

func (w *wire) read() error {
	for {
		f, err := w.fr.ReadFrame()
		if err != nil {
			return err
		}
		w.mu.Lock()
		w.take(f)
		w.moved.Broadcast()
		w.mu.Unlock()
	}
}

func (w *wire) take(f http2.Frame) {
	s := w.streams[f.Header().StreamID]
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if f.IsAck() {
			return
		}
		f.ForeachSetting(func(v http2.Setting) error {
			switch v.ID {
			case http2.SettingInitialWindowSize:
				for _, s := range w.streams {
					s.window += int64(v.Val) - w.initial
				}
				w.initial = int64(v.Val)
			case http2.SettingEnableConnectProtocol:
				w.connect = v.Val == 1
			}
			return nil
		})
		w.fr.WriteSettingsAck()
	case *http2.PingFrame:
		if !f.IsAck() {
			w.fr.WritePing(true, f.Data)
		}
	case *http2.WindowUpdateFrame:
		if f.StreamID == 0 {
			w.window += int64(f.Increment)
		} else if s != nil {
			s.window += int64(f.Increment)
		}
	case *http2.GoAwayFrame:
		w.goaway = true
	case *http2.MetaHeadersFrame:
		if s == nil {
			s = w.open(f.StreamID)
			s.head = slices.Clone(f.Fields)
			s.ended = f.StreamEnded()
			go w.serve(s)
			return
		}
		if s.head == nil {
			s.head = slices.Clone(f.Fields)
		}
		s.ended = s.ended || f.StreamEnded()
	case *http2.DataFrame:
		if n := uint32(f.Length); n > 0 {
			w.fr.WriteWindowUpdate(0, n)
		}
		if s != nil {
			s.in = append(s.in, f.Data()...)
			s.ended = s.ended || f.StreamEnded()
		}
	case *http2.RSTStreamFrame:
		if s != nil {
			s.reset = fmt.Errorf("%w: %v", syscall.ECONNRESET, f.ErrCode)
			s.finished = true
			s.code = &f.ErrCode
		}
	}
}

func (w *wire) open(id uint32) *wireStream {
	s := &wireStream{Conn: w.Conn, w: w, id: id, window: w.initial}
	w.opened = max(w.opened, id)
	w.streams[id] = s
	return s
}

// headers sends pairs of names and values.
func (s *wireStream) headers(end bool, pairs ...string) {
	w := s.w
	w.block.Reset()
	for i := 0; i < len(pairs); i += 2 {
		w.enc.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	w.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: s.id, BlockFragment: w.block.Bytes(), EndHeaders: true, EndStream: end})
	s.finished = s.finished || end
}

// field is the value of a field of the first head.
func (s *wireStream) field(name string) string {
	for _, f := range s.head {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// wait waits for what cond looks at. The lock is held.
func (s *wireStream) wait(cond func() bool) error {
	limit := time.Now().Add(patience)
	if !s.deadline.IsZero() {
		limit = s.deadline
	}
	wake := time.AfterFunc(time.Until(limit), s.w.moved.Broadcast)
	defer wake.Stop()
	for !cond() {
		if s.w.dead != nil {
			return s.w.dead
		}
		if !time.Now().Before(limit) {
			return errors.New("nothing came in time")
		}
		s.w.moved.Wait()
	}
	return nil
}

func (s *wireStream) Read(b []byte) (int, error) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if err := s.wait(func() bool { return len(s.in) > 0 || s.ended || s.reset != nil }); err != nil {
		return 0, err
	}
	n := copy(b, s.in)
	s.in = s.in[n:]
	switch {
	case n > 0:
		if !s.ended && s.reset == nil {
			s.w.fr.WriteWindowUpdate(s.id, uint32(n))
		}
		return n, nil
	case s.ended:
		return 0, io.EOF
	}
	return 0, s.reset
}

func (s *wireStream) Write(b []byte) (sent int, err error) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	for len(b) > 0 {
		if err := s.wait(func() bool { return s.window > 0 && s.w.window > 0 || s.reset != nil || s.finished }); err != nil {
			return sent, err
		}
		if s.reset != nil || s.finished {
			return sent, errors.Join(s.reset, io.ErrClosedPipe)
		}
		n := int(min(int64(len(b)), s.window, s.w.window, 16384))
		if err := s.w.fr.WriteData(s.id, false, b[:n]); err != nil {
			return sent, err
		}
		s.window -= int64(n)
		s.w.window -= int64(n)
		b, sent = b[n:], sent+n
	}
	return sent, nil
}

// CloseWrite ends this end's direction.
func (s *wireStream) CloseWrite() error {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if s.finished {
		return nil
	}
	s.finished = true
	return s.w.fr.WriteData(s.id, true, nil)
}

// Close is CloseWrite: what comes later is discarded.
func (s *wireStream) Close() error { return s.CloseWrite() }

// abort resets what has not ended.
func (s *wireStream) abort() error {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if s.reset == nil && !(s.ended && s.finished) {
		s.w.fr.WriteRSTStream(s.id, http2.ErrCodeCancel)
		s.reset, s.finished = io.ErrClosedPipe, true
	}
	return nil
}

func (s *wireStream) SetDeadline(at time.Time) error { return s.SetReadDeadline(at) }
func (s *wireStream) SetReadDeadline(at time.Time) error {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.deadline = at
	return nil
}

// dialWire connects a client that knows the proxy's settings.
func dialWire(t testing.TB, addr string) *wire {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	w := newWire(c, nil)
	w.mu.Lock()
	defer w.mu.Unlock()
	s := &wireStream{w: w}
	if err := s.wait(func() bool { return w.connect }); err != nil {
		t.Fatalf("no SETTINGS_ENABLE_CONNECT_PROTOCOL: %v", err)
	}
	return w
}

// ask opens a stream with an extended CONNECT. fields are lines.
func (w *wire) ask(protocol string, fields ...string) *wireStream {
	pairs := []string{":method", "CONNECT", ":protocol", protocol, ":scheme", "http", ":path", "/ws", ":authority", "h", "sec-websocket-version", "13"}
	for _, line := range fields {
		name, value, _ := strings.Cut(line, ": ")
		pairs = append(pairs, strings.ToLower(name), value)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	id := uint32(1)
	if w.opened > 0 {
		id = w.opened + 2
	}
	s := w.open(id)
	s.headers(false, pairs...)
	return s
}

// status waits for the head of the answer.
func (s *wireStream) status(t testing.TB) string {
	t.Helper()
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if err := s.wait(func() bool { return s.head != nil || s.reset != nil }); err != nil {
		t.Fatal(err)
	}
	if s.head == nil {
		return s.reset.Error()
	}
	return s.field(":status")
}

// socket opens a WebSocket on a stream.
func (w *wire) socket(t testing.TB, fields ...string) *socketConn {
	t.Helper()
	s := w.ask("websocket", fields...)
	if got := s.status(t); got != "200" {
		t.Fatalf("extended CONNECT is answered %s", got)
	}
	for _, name := range []string{"sec-websocket-accept", "upgrade", "connection"} {
		if s.field(name) != "" {
			t.Errorf("HTTP/2 has no use for %s: %s", name, s.field(name))
		}
	}
	return &socketConn{s, bufio.NewReader(s)}
}

// wireGate serves HTTP/2 in front of a WebSocket server of HTTP/1.
func wireGate(t testing.TB, server string) string {
	return wireServer(t, func(s *wireStream) {
		c, err := net.Dial("tcp", server)
		if err != nil {
			s.abort()
			return
		}
		defer c.Close()
		var fields []string
		for _, name := range []string{"sec-websocket-protocol", "sec-websocket-extensions"} {
			if v := s.field(name); v != "" {
				fields = append(fields, name+": "+v)
			}
		}
		io.WriteString(c, wsRequest(fields...))
		in := bufio.NewReader(c)
		res, err := http.ReadResponse(in, nil)
		if err != nil || s.field(":method") != "CONNECT" || s.field(":protocol") != "websocket" || s.field("sec-websocket-version") != "13" ||
			s.field("sec-websocket-key") != "" || s.field(":path") != "/ws" || res.StatusCode != 101 {
			s.refuse("400")
			return
		}
		s.agree("sec-websocket-protocol", res.Header.Get("Sec-WebSocket-Protocol"), "sec-websocket-extensions", res.Header.Get("Sec-WebSocket-Extensions"))
		go func() {
			io.Copy(c, s)
			c.(*net.TCPConn).CloseWrite()
		}()
		if _, err := io.Copy(s, in); err != nil && !errors.Is(err, io.ErrClosedPipe) {
			s.abort()
			return
		}
		s.CloseWrite()
		s.w.mu.Lock()
		defer s.w.mu.Unlock()
		s.wait(func() bool { return s.ended || s.reset != nil })
	}, http2.Setting{ID: http2.SettingEnableConnectProtocol, Val: 1})
}

// agree answers 200, with the fields that have a value.
func (s *wireStream) agree(pairs ...string) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	all := []string{":status", "200"}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			all = append(all, pairs[i], pairs[i+1])
		}
	}
	s.headers(false, all...)
}

func (s *wireStream) refuse(status string) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.headers(true, ":status", status)
}

// wireServer serves HTTP/2 until the end of the test.
func wireServer(t testing.TB, serve func(*wireStream), settings ...http2.Setting) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var conns []net.Conn
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range conns {
			c.Close()
		}
	})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			newWire(c, serve, settings...)
		}
	}()
	return l.Addr().String()
}

// versionPair is what client and origin speak.
type versionPair struct {
	name           string
	client, origin bool // HTTP/2
}

// sockets is a worker between ends of WebSockets.
type sockets struct {
	*rig
	opened chan *socketConn // the origin's ends
	h2     bool             // the client speaks HTTP/2
	wire   *wire            // its connection, if there is one
}

// onVersions runs a test with every pair of versions, on every backend.
func onVersions(t *testing.T, f func(t *testing.T, io_ loop.IO, v versionPair)) {
	for _, v := range versionPairs {
		t.Run(v.name, func(t *testing.T) {
			besides(t, func(t *testing.T, io_ loop.IO) { f(t, io_, v) })
		})
	}
}

// sockets starts a worker whose route has these settings.
func (v versionPair) sockets(t *testing.T, io_ loop.IO, loops int, settings, extra string, log *accesslog.Logger) *sockets {
	t.Helper()
	s := &sockets{}
	var addr string
	if v.origin {
		addr, s.opened = streamOrigin(t)
	} else {
		addr, s.opened = socketOrigin(t)
	}
	s.rig = start(t, io_, loops, v.yaml(addr, settings, extra), log)
	s.h2 = v.client
	return s
}

// yaml is a configuration with one listener and a route with these settings.
func (v versionPair) yaml(origin, settings, extra string) string {
	protocol := "http1"
	if v.origin {
		protocol = "h2c"
	}
	return fmt.Sprintf("listeners: [{address: \"127.0.0.1:8080\", protocols: [http1, h2c]}]\n"+
		"upstreams: {app: {protocol: %s, endpoints: [{address: %q}], pool: {prewarm: 0}}}\n"+
		"routes: [{path: \"/*\", upstream: app, websocket: {%s}}]\n%s", protocol, origin, settings, extra)
}

// streamOrigin is socketOrigin on streams.
func streamOrigin(t *testing.T) (addr string, opened chan *socketConn) {
	opened = make(chan *socketConn, 16)
	return wireServer(t, func(s *wireStream) {
		if s.field(":protocol") != "websocket" {
			s.refuse("400")
			return
		}
		s.agree()
		opened <- &socketConn{s, bufio.NewReader(s)}
	}, http2.Setting{ID: http2.SettingEnableConnectProtocol, Val: 1}), opened
}

// connection is the one whose streams a client of HTTP/2 uses.
func (s *sockets) connection() *wire {
	s.t.Helper()
	if s.wire == nil {
		s.wire = dialWire(s.t, s.addr)
	}
	return s.wire
}

// between opens a WebSocket through the proxy and gives both its ends.
func (s *sockets) between(fields ...string) (client, origin *socketConn) {
	s.t.Helper()
	if s.h2 {
		client = s.connection().socket(s.t, fields...)
	} else {
		client = openSocket(s.t, s.addr, fields...)
	}
	select {
	case origin = <-s.opened:
	case <-time.After(patience):
		s.t.Fatal("the origin was not asked")
	}
	s.t.Cleanup(func() { origin.Close() })
	return client, origin
}

// settled ends the connection that the streams were on, and waits for rest.
func (s *sockets) settled() []*Report {
	s.t.Helper()
	if s.wire != nil {
		s.wire.mu.Lock()
		n := 0
		for _, st := range s.wire.streams {
			if st.reset == nil && !(st.ended && st.finished) {
				n++
			}
		}
		s.wire.mu.Unlock()
		if n > 0 {
			s.t.Errorf("%d streams go on", n)
		}
		s.wire.Conn.Close()
		s.wire = nil
	}
	return s.rig.settled()
}

// refused asks for a WebSocket and gives the status that it gets.
func (s *sockets) refused() string {
	s.t.Helper()
	if s.h2 {
		st := s.connection().ask("websocket")
		defer st.Close()
		return st.status(s.t)
	}
	c := s.rig.dial()
	defer c.Close()
	io.WriteString(c, wsRequest())
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return fmt.Sprint(res.StatusCode)
}

func (s *socketConn) closeWrite() { s.Conn.(interface{ CloseWrite() error }).CloseWrite() }

// abort breaks the connection, or resets the stream.
func (s *socketConn) abort() {
	if st, ok := s.Conn.(*wireStream); ok {
		st.abort()
		return
	}
	s.Conn.(*net.TCPConn).SetLinger(0)
	s.Close()
}
