package main

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// echo answers frames of a client until it ends; each waits for `before`, and `spoil` may change what is sent back.
// What it sends, it sends in two pieces.
func echo(c io.ReadWriter, before time.Duration, spoil func(n int, echo []byte)) {
	for n := 0; ; n++ {
		head := make([]byte, 2)
		if _, err := io.ReadFull(c, head); err != nil {
			return
		}
		length := int(head[1] & 0x7f)
		reply := []byte{head[0], byte(length)}
		if length == 126 {
			long := make([]byte, 2)
			io.ReadFull(c, long)
			length = int(binary.BigEndian.Uint16(long))
			reply = append([]byte{head[0], 126}, long...)
		}
		masked := make([]byte, 4+length)
		if _, err := io.ReadFull(c, masked); err != nil {
			return
		}
		for i, b := range masked[4:] {
			reply = append(reply, b^masked[i&3])
		}
		time.Sleep(before)
		spoil(n, reply)
		c.Write(reply[:len(reply)/2])
		time.Sleep(time.Millisecond)
		c.Write(reply[len(reply)/2:])
	}
}

// webSockets serves HTTP/1.1 handshakes.
func webSockets(t *testing.T, before time.Duration, spoil func(n int, echo []byte)) netip.AddrPort {
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" || r.Header.Get("Sec-WebSocket-Key") != handshakeKey {
			http.Error(w, "not a handshake", http.StatusBadRequest)
			return
		}
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "+handshakeAccept+"\r\n\r\n")
		echo(c, before, spoil)
	})
}

func TestWebSocketsTalk(t *testing.T) {
	const before = 20 * time.Millisecond
	for _, size := range []int{1, 64, 125, 126, 5000} {
		var frames atomic.Int64
		addr := webSockets(t, before, func(int, []byte) { frames.Add(1) })
		p := talks{addr: addr, path: "/", sockets: 5, size: size, duration: 200 * time.Millisecond, patience: 5 * time.Second}
		r, err := p.run()
		if err != nil {
			t.Fatal(err)
		}
		if r.Requests < 5 || r.Requests != frames.Load() || r.Errors != 0 || r.Unanswered != 0 {
			t.Errorf("%d bytes: %+v, and the server has seen %d messages", size, r, frames.Load())
		}
		if r.P50Micros < 20e3 || r.Seconds < 0.2 || r.Seconds > 5 {
			t.Errorf("%d bytes: %+v, want echoes after 20 ms and a run of 200 ms", size, r)
		}
	}
}

func TestWebSocketFailuresAreCounted(t *testing.T) {
	p := talks{path: "/", sockets: 4, size: 64, duration: 200 * time.Millisecond, patience: 300 * time.Millisecond}
	p.addr = webSockets(t, 0, func(n int, echo []byte) {
		if n == 2 {
			echo[30]++
		}
	})
	if r, err := p.run(); err != nil || r.Requests != 8 || r.Errors != 4 || r.Unanswered != 0 {
		t.Errorf("every third echo is wrong: %+v, %v; want 8 messages and 4 errors", r, err)
	}
	p.addr = webSockets(t, time.Second, func(int, []byte) {})
	if r, err := p.run(); err != nil || r.Requests != 0 || r.Unanswered != 4 {
		t.Errorf("no echo in time: %+v, %v; want 4 unanswered", r, err)
	}
	p.addr = serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) })
	if _, err := p.run(); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("handshake refused: %v, want the status", err)
	}
}

// http2Server is one connection of a server that is not ours: x/net's framer, and pipes to echo.
type http2Server struct {
	t        *testing.T
	framer   *http2.Framer
	settings []http2.Setting
	refuses  uint32 // this stream
}

func (s *http2Server) listen() netip.AddrPort {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err == nil {
			s.framer = http2.NewFramer(c, c)
			s.serve()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func (s *http2Server) serve() {
	s.framer.WriteSettings(s.settings...)
	heard := map[uint32][]byte{}
	for {
		f, err := s.framer.ReadFrame()
		if err != nil {
			return
		}
		switch f := f.(type) {
		case *http2.HeadersFrame:
			block := []byte{0x88} // :status 200
			if f.StreamID == s.refuses {
				block = []byte{0x8d} // 404
			}
			s.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: f.StreamID, BlockFragment: block, EndHeaders: true})
			s.framer.WritePing(false, [8]byte{1})
		case *http2.DataFrame:
			got := append(heard[f.StreamID], f.Data()...)
			if len(got) < 2+4+64 {
				heard[f.StreamID] = got
				continue
			}
			heard[f.StreamID] = nil
			reply := []byte{got[0], 64}
			for i, b := range got[6:] {
				reply = append(reply, b^got[2+i&3])
			}
			s.framer.WriteData(f.StreamID, false, reply[:10])
			s.framer.WriteData(f.StreamID, false, reply[10:])
			// Only now may it say more.
			s.framer.WriteWindowUpdate(f.StreamID, uint32(len(got)))
			s.framer.WriteWindowUpdate(0, uint32(len(got)))
		}
	}
}

func TestWebSocketsOnOneConnection(t *testing.T) {
	connect := http2.Setting{ID: http2.SettingEnableConnectProtocol, Val: 1}
	p := talks{path: "/", sockets: 50, size: 64, duration: 200 * time.Millisecond, patience: 5 * time.Second}
	// A window of one message: what is beyond has to wait.
	p.addr = (&http2Server{t: t, settings: []http2.Setting{connect, {ID: http2.SettingInitialWindowSize, Val: 70}}}).listen()
	r, err := p.runHTTP2()
	if err != nil || r.Requests < 100 || r.Errors != 0 || r.Unanswered != 0 || r.P50Micros <= 0 {
		t.Errorf("%+v, %v; want all 50 to talk, more than once", r, err)
	}
	p.addr = (&http2Server{t: t}).listen()
	if _, err := p.runHTTP2(); !errors.Is(err, errNotOffered) {
		t.Errorf("a server without extended CONNECT: %v", err)
	}
	p.addr = (&http2Server{t: t, settings: []http2.Setting{connect}, refuses: 3}).listen()
	if _, err := p.runHTTP2(); err == nil || !strings.Contains(err.Error(), `1 of 50 WebSockets were refused: stream 3: status "404"`) {
		t.Errorf("a stream is refused: %v", err)
	}
}

func TestWrongUsage(t *testing.T) {
	for args, want := range map[string]string{
		"-connect localhost:80":          "IPv4:PORT",
		"-rate -1":                       "-rate",
		"-origin localhost:80":           "IPv4:PORT",
		"-origin 127.0.0.1:1 -size 9000": "-size",
		"-websocket 70000":               "-websocket",
		"-http2":                         "-http2",
		"-duration 100ms":                "-warm-up",
		"extra":                          "extra",
		"-websocket 64 -connections 0":   "-connections",
	} {
		_, err := parse(strings.Fields(args))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("load %s: %v, want an error about %s", args, err, want)
		}
	}
}
