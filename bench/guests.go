package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sys/unix"
)

// guests are clients that come to stay and do nothing.
type guests interface {
	warm() error    // has code and pools touched
	add() error     // one more
	allOpen() error // whether the other side still holds all of them
	leave()
}

func newGuests(s *scenario, addr string) guests {
	c := crowd{addr: addr, body: s.body}
	switch s.memory {
	case http2Idle:
		return &http2Guests{crowd: c}
	case http2Waiting:
		return &http2Guests{crowd: c, waiting: true}
	case webSockets:
		return &webSocketGuests{crowd: c}
	}
	return &keepAliveGuests{crowd: c, tls: s.tls != noKey}
}

// crowd is what all kinds have: connections.
type crowd struct {
	addr   string
	body   int // bytes of an answer
	conns  []*net.TCPConn
	reader bufio.Reader
}

// patience is how long a guest waits for anything.
const patience = 5 * time.Second

// connect opens the next connection.
func (g *crowd) connect() (*net.TCPConn, error) {
	c, err := net.DialTimeout("tcp", g.addr, patience)
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(patience))
	g.conns = append(g.conns, c.(*net.TCPConn))
	return c.(*net.TCPConn), nil
}

// allOpen expects silence on all connections.
func (g *crowd) allOpen() error {
	return g.each(func(received []byte) bool { return len(received) == 0 })
}

// each looks at what every connection has received but not read. It counts as
// closed when it is, and when fine says so.
func (g *crowd) each(fine func([]byte) bool) error {
	closed := 0
	buffer := make([]byte, 64<<10)
	for _, c := range g.conns {
		raw, err := c.SyscallConn()
		if err != nil {
			return err
		}
		open := false
		raw.Control(func(fd uintptr) {
			n, _, err := unix.Recvfrom(int(fd), buffer, unix.MSG_PEEK|unix.MSG_DONTWAIT)
			open = errors.Is(err, unix.EAGAIN) || err == nil && n > 0 && fine(buffer[:n])
		})
		if !open {
			closed++
		}
	}
	if closed > 0 {
		return fmt.Errorf("%d of %d idle connections are closed", closed, len(g.conns))
	}
	return nil
}

func (g *crowd) leave() {
	for _, c := range g.conns {
		c.Close()
	}
}

// keepAliveGuests speak HTTP/1.1, within TLS perhaps, and ask once.
type keepAliveGuests struct {
	crowd
	tls bool
}

// secured is the next connection, as requests see it.
func (g *keepAliveGuests) secured() (net.Conn, error) {
	c, err := g.connect()
	if err != nil || !g.tls {
		return c, err
	}
	t := tls.Client(c, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	return t, t.Handshake()
}

func (g *keepAliveGuests) warm() error {
	c, err := g.secured()
	for n := 0; err == nil && n < warmRequests; n++ {
		err = g.ask(c)
	}
	return err
}

func (g *keepAliveGuests) add() error {
	c, err := g.secured()
	if err != nil {
		return err
	}
	return g.ask(c)
}

func (g *keepAliveGuests) ask(c net.Conn) error {
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+g.addr+"\r\n\r\n"); err != nil {
		return err
	}
	g.reader.Reset(c)
	r, err := http.ReadResponse(&g.reader, nil)
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, r.Body)
	if err == nil && (r.StatusCode != 200 || n != int64(g.body) || r.Close) {
		err = fmt.Errorf("answered %s with %d bytes (closing: %v), want 200 with %d and the connection kept", r.Status, n, r.Close, g.body)
	}
	return err
}

// webSocketGuests open a WebSocket and say one thing.
type webSocketGuests struct{ crowd }

func (g *webSocketGuests) warm() error {
	c, err := g.shakeHands()
	for n := 0; err == nil && n < warmRequests; n++ {
		err = echoed(c)
	}
	return err
}

func (g *webSocketGuests) add() error {
	c, err := g.shakeHands()
	if err != nil {
		return err
	}
	return echoed(c)
}

func (g *webSocketGuests) shakeHands() (net.Conn, error) {
	c, err := g.connect()
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+g.addr+"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"); err != nil {
		return nil, err
	}
	g.reader.Reset(c)
	r, err := http.ReadResponse(&g.reader, nil)
	if err == nil && r.StatusCode != http.StatusSwitchingProtocols {
		err = fmt.Errorf("the WebSocket handshake was answered %s", r.Status)
	}
	return c, err
}

// echoed sends a message and waits for its echo: frames of RFC 6455 section
// 5.2, with a mask of zeros one way and none the other.
func echoed(c net.Conn) error {
	text := strings.Repeat("m", message)
	if _, err := io.WriteString(c, "\x82"+string([]byte{0x80 | message, 0, 0, 0, 0})+text); err != nil {
		return err
	}
	echo := make([]byte, 2+message)
	if _, err := io.ReadFull(c, echo); err != nil {
		return err
	}
	if want := "\x82" + string([]byte{message}) + text; string(echo) != want {
		return fmt.Errorf("a message was echoed as %q", echo)
	}
	return nil
}

// http2Guests speak HTTP/2. Connections ask once; or there are a few, and all
// streams wait for an answer that does not come in time.
type http2Guests struct {
	crowd
	waiting bool
	hosts   []*http2Guest // connections for streams in waiting
	streams int
}

// streamsEach is what every server allows on a connection.
const streamsEach = 100

// http2Guest is one connection.
type http2Guest struct {
	framer  *http2.Framer
	encoder *hpack.Encoder
	block   bytes.Buffer
	next    uint32
}

func (g *http2Guests) warm() error {
	h, err := g.open()
	for n := 0; err == nil && n < warmRequests; n++ {
		err = g.ask(h)
	}
	// What a connection takes is not what a stream takes: have them all open before.
	for err == nil && g.waiting {
		if g.hosts = append(g.hosts, h); len(g.hosts) == waitingStreams/streamsEach {
			break
		}
		if h, err = g.open(); err == nil {
			err = g.ask(h)
		}
	}
	return err
}

func (g *http2Guests) add() error {
	if g.waiting {
		h := g.hosts[g.streams%len(g.hosts)]
		g.streams++
		// So long that nobody waits for it here.
		_, err := h.request(g.addr, "/delay/600000")
		return err
	}
	h, err := g.open()
	if err != nil {
		return err
	}
	return g.ask(h)
}

func (g *http2Guests) open() (*http2Guest, error) {
	c, err := g.connect()
	if err != nil {
		return nil, err
	}
	h := &http2Guest{framer: http2.NewFramer(c, c), next: 1}
	h.encoder = hpack.NewEncoder(&h.block)
	h.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		return nil, err
	}
	return h, h.framer.WriteSettings()
}

// request begins a stream.
func (h *http2Guest) request(authority, path string) (stream uint32, err error) {
	h.block.Reset()
	for _, f := range [...][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", authority}, {":path", path}} {
		if err := h.encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			return 0, err
		}
	}
	stream = h.next
	h.next += 2
	return stream, h.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: h.block.Bytes(), EndStream: true, EndHeaders: true})
}

// ask waits for the answer.
func (g *http2Guests) ask(h *http2Guest) error {
	stream, err := h.request(g.addr, "/")
	if err != nil {
		return err
	}
	bytes, status := 0, ""
	for ended := false; !ended; {
		f, err := h.framer.ReadFrame()
		if err != nil {
			return err
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				err = h.framer.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				err = h.framer.WritePing(true, f.Data)
			}
		case *http2.MetaHeadersFrame:
			if f.StreamID == stream {
				status, ended = f.PseudoValue("status"), f.StreamEnded()
			}
		case *http2.DataFrame:
			bytes, ended = bytes+len(f.Data()), f.StreamEnded()
		case *http2.RSTStreamFrame:
			err = fmt.Errorf("stream %d was reset: %v", f.StreamID, f.ErrCode)
		case *http2.GoAwayFrame:
			err = fmt.Errorf("GOAWAY: %v", f.ErrCode)
		}
		if err != nil {
			return err
		}
	}
	if status != "200" || bytes != g.body {
		return fmt.Errorf("answered %s with %d bytes, want 200 with %d", status, bytes, g.body)
	}
	return nil
}

// allOpen lets servers say what ends no stream.
func (g *http2Guests) allOpen() error {
	return g.each(func(b []byte) bool {
		for len(b) >= 9 {
			length := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
			switch http2.FrameType(b[3]) {
			case http2.FrameGoAway, http2.FrameRSTStream, http2.FrameHeaders:
				return false
			}
			b = b[min(len(b), 9+length):]
		}
		return true
	})
}
