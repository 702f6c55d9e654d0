package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// stream is a WebSocket on an HTTP/2 connection: RFC 8441.
type stream struct {
	talk
	id     uint32
	window int64
	open   bool // accepted by the server
	held   bool // its message waits for a window
}

// streams are all WebSockets of one connection.
type streams struct {
	*talker
	conn      net.Conn
	out       []byte // what is sent once all that has come is dealt with
	byID      map[uint32]*stream
	all       []*stream
	window    int64 // of the connection
	initial   int64 // of streams to come
	connects  bool  // the server allows extended CONNECT
	settled   bool  // its first SETTINGS have come
	decoder   *hpack.Decoder
	status    string // in the head that is being decoded
	lastError error
}

var errNotOffered = errors.New("the server does not allow extended CONNECT (RFC 8441)")

const (
	frameHead   = 9
	largeWindow = 1<<31 - 1
)

// runHTTP2 talks on streams of one HTTP/2 connection.
func (p *talks) runHTTP2() (*Result, error) {
	s := &streams{talker: newTalker(p), byID: map[uint32]*stream{}, window: 65535, initial: 65535}
	s.decoder = hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		if f.Name == ":status" {
			s.status = f.Value
		}
	})
	var err error
	if s.conn, err = net.DialTimeout("tcp", p.addr.String(), p.patience); err != nil {
		return nil, err
	}
	defer s.conn.Close()
	s.out = append(s.out, http2.ClientPreface...)
	s.out = appendHead(s.out, http2.FrameSettings, 0, 0, 6)
	s.out = binary.BigEndian.AppendUint16(s.out, uint16(http2.SettingInitialWindowSize))
	s.out = binary.BigEndian.AppendUint32(s.out, largeWindow)
	s.windowUpdate(largeWindow - 65535)
	s.start = time.Now() // of patience; talking starts when all streams are open
	ready := func() bool { return s.settled }
	if err := s.until(ready, s.patience); err != nil {
		return nil, fmt.Errorf("waiting for the server's settings: %w", err)
	}
	if !s.connects {
		return nil, errNotOffered
	}
	s.connect()
	opened := func() bool {
		n := 0
		for _, c := range s.all {
			if c.open {
				n++
			}
		}
		return n+int(s.result.Errors) == s.sockets
	}
	if err := s.until(opened, s.patience); err != nil {
		return nil, fmt.Errorf("opening %d WebSockets: %w", s.sockets, err)
	}
	if s.result.Errors > 0 {
		return nil, fmt.Errorf("%d of %d WebSockets were refused: %w", s.result.Errors, s.sockets, s.lastError)
	}
	s.start = time.Now()
	for _, c := range s.all {
		s.say(c)
	}
	err = s.until(func() bool { return s.busy == 0 }, s.duration+s.patience)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, err
	}
	return s.finish(), nil
}

// until works on the connection until done says so, at most up to `most` after the start.
func (s *streams) until(done func() bool, most time.Duration) error {
	s.conn.SetDeadline(s.start.Add(most))
	in := make([]byte, 256<<10)
	held := 0 // bytes of a frame that is not complete
	for !done() || held > 0 {
		if len(s.out) > 0 {
			if _, err := s.conn.Write(s.out); err != nil {
				return err
			}
			s.out = s.out[:0]
		}
		n, err := s.conn.Read(in[held:])
		if err != nil {
			if err == io.EOF {
				err = errors.Join(errors.New("the server has closed the connection"), s.lastError)
			}
			return err
		}
		held += n
		used, err := s.frames(in[:held])
		if err != nil {
			return err
		}
		held = copy(in, in[used:held])
	}
	return nil
}

// frames deals with the whole frames that b begins with.
func (s *streams) frames(b []byte) (used int, err error) {
	for len(b)-used >= frameHead {
		h := b[used:]
		length := int(h[0])<<16 | int(h[1])<<8 | int(h[2])
		if length > 16<<10 {
			return used, fmt.Errorf("a frame of %d bytes", length)
		}
		if len(h) < frameHead+length {
			break
		}
		id := binary.BigEndian.Uint32(h[5:]) & (1<<31 - 1)
		if err := s.frame(http2.FrameType(h[3]), http2.Flags(h[4]), id, h[frameHead:frameHead+length]); err != nil {
			return used, err
		}
		used += frameHead + length
	}
	return used, nil
}

func (s *streams) frame(kind http2.FrameType, flags http2.Flags, id uint32, payload []byte) error {
	c := s.byID[id]
	switch kind {
	case http2.FrameSettings:
		if !flags.Has(http2.FlagSettingsAck) {
			s.settings(payload)
		}
	case http2.FramePing:
		if !flags.Has(http2.FlagPingAck) {
			s.out = append(appendHead(s.out, http2.FramePing, http2.FlagPingAck, 0, len(payload)), payload...)
		}
	case http2.FrameWindowUpdate:
		if len(payload) != 4 {
			return errors.New("a WINDOW_UPDATE that is not 4 bytes long")
		}
		n := int64(binary.BigEndian.Uint32(payload))
		if id == 0 {
			s.window += n
		} else if c != nil {
			c.window += n
		}
		s.sayHeld()
	case http2.FrameHeaders:
		return s.accepted(c, flags, payload)
	case http2.FrameData:
		return s.heard(c, flags, payload)
	case http2.FrameRSTStream:
		if c != nil && len(payload) == 4 {
			s.lose(c, fmt.Errorf("stream %d was reset: %v", id, http2.ErrCode(binary.BigEndian.Uint32(payload))))
		}
	case http2.FrameGoAway:
		if len(payload) >= 8 {
			s.lastError = fmt.Errorf("GOAWAY: %v", http2.ErrCode(binary.BigEndian.Uint32(payload[4:])))
		}
	}
	return nil
}

func (s *streams) settings(payload []byte) {
	for ; len(payload) >= 6; payload = payload[6:] {
		value := binary.BigEndian.Uint32(payload[2:])
		switch http2.SettingID(binary.BigEndian.Uint16(payload)) {
		case http2.SettingEnableConnectProtocol:
			s.connects = value == 1
		case http2.SettingInitialWindowSize:
			for _, c := range s.all {
				c.window += int64(value) - s.initial
			}
			s.initial = int64(value)
		}
	}
	s.settled = true
	s.out = appendHead(s.out, http2.FrameSettings, http2.FlagSettingsAck, 0, 0)
	s.sayHeld()
}

// connect asks for all WebSockets.
func (s *streams) connect() {
	var block hpackBlock
	encoder := hpack.NewEncoder(&block)
	for i := range s.sockets {
		block.b = block.b[:0]
		for _, f := range [...][2]string{{":method", "CONNECT"}, {":protocol", "websocket"}, {":scheme", "http"}, {":path", s.path},
			{":authority", s.addr.String()}, {"sec-websocket-version", "13"}} {
			encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
		}
		c := &stream{id: uint32(2*i + 1), window: s.initial}
		s.byID[c.id], s.all = c, append(s.all, c)
		s.out = append(appendHead(s.out, http2.FrameHeaders, http2.FlagHeadersEndHeaders, c.id, len(block.b)), block.b...)
	}
}

// accepted reads the head of an answer. CONTINUATION frames are not expected of an answer this short.
func (s *streams) accepted(c *stream, flags http2.Flags, payload []byte) error {
	if !flags.Has(http2.FlagHeadersEndHeaders) || flags.Has(http2.FlagHeadersPadded) || flags.Has(http2.FlagHeadersPriority) {
		return errors.New("HEADERS in several frames, padded or with a priority, which this program does not read")
	}
	s.status = ""
	if _, err := s.decoder.Write(payload); err != nil {
		return fmt.Errorf("HPACK: %w", err)
	}
	if err := s.decoder.Close(); err != nil {
		return fmt.Errorf("HPACK: %w", err)
	}
	switch {
	case c == nil:
	case s.status == "200" && !flags.Has(http2.FlagHeadersEndStream):
		c.open = true
	default:
		s.lose(c, fmt.Errorf("stream %d: status %s", c.id, strconv.Quote(s.status)))
	}
	return nil
}

// heard takes DATA of a stream.
func (s *streams) heard(c *stream, flags http2.Flags, payload []byte) error {
	if c == nil || len(payload) == 0 && !flags.Has(http2.FlagDataEndStream) {
		return nil
	}
	if flags.Has(http2.FlagDataPadded) {
		return errors.New("padded DATA, which this program does not read")
	}
	now := time.Since(s.start)
	done, err := s.receive(&c.talk, payload, now)
	if err != nil || flags.Has(http2.FlagDataEndStream) {
		s.lose(c, fmt.Errorf("stream %d ended: %w", c.id, errors.Join(err, io.EOF)))
		return nil
	}
	if done && now < s.duration {
		s.say(c)
	}
	return nil
}

// say sends a message, if the windows allow.
func (s *streams) say(c *stream) {
	n := int64(len(s.message))
	if n > s.window || n > c.window {
		c.held = true
		return
	}
	c.held = false
	s.window -= n
	c.window -= n
	s.out = append(appendHead(s.out, http2.FrameData, 0, c.id, len(s.message)), s.message...)
	s.sends(&c.talk, time.Since(s.start))
}

func (s *streams) sayHeld() {
	for _, c := range s.all {
		if c.held {
			s.say(c)
		}
	}
}

func (s *streams) lose(c *stream, err error) {
	s.lastError = err
	s.fails(&c.talk)
	c.held = false
	delete(s.byID, c.id)
}

func (s *streams) windowUpdate(n uint32) {
	s.out = binary.BigEndian.AppendUint32(appendHead(s.out, http2.FrameWindowUpdate, 0, 0, 4), n)
}

func appendHead(dst []byte, kind http2.FrameType, flags http2.Flags, id uint32, length int) []byte {
	dst = append(dst, byte(length>>16), byte(length>>8), byte(length), byte(kind), byte(flags))
	return binary.BigEndian.AppendUint32(dst, id)
}

// hpackBlock collects what an encoder writes.
type hpackBlock struct{ b []byte }

func (h *hpackBlock) Write(p []byte) (int, error) {
	h.b = append(h.b, p...)
	return len(p), nil
}
