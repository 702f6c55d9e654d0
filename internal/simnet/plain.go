package simnet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"golang.org/x/net/http2/hpack"

	"zproxy/loop/sim"
)

// plainEnd is one end of an HTTP/2 connection that does as it should and no more:
// for scripts that are about how much is on its way, not about what.
type plainEnd struct {
	p       socket
	in, out []byte
	enc     *hpack.Encoder
	block   bytes.Buffer
	dec     *hpack.Decoder
	server  bool
	greeted bool
	deaf    bool // it reads no more
	gone    bool
	next    uint32
	window  int64 // of the connection
	initial int64 // of new streams
	streams map[uint32]*plainStream
	order   []uint32
	to      plainScript
	ended   func() // if set, is told that the connection is gone
}

// plainStream is one stream of it.
type plainStream struct {
	id      uint32
	window  int64
	endless bool // there is always more to send
	send    int  // bytes yet to send
	end     bool // and then its end
	got     int
	path    string
	status  string
}

// plainScript says what an end does when something has come.
type plainScript interface {
	head(e *plainEnd, s *plainStream, end bool)
	data(e *plainEnd, s *plainStream, n int, end bool)
	// sent: n bytes of s have left.
	sent(e *plainEnd, s *plainStream, n int)
	over(e *plainEnd, s *plainStream, reset bool)
}

// newPlainEnd greets with a receive window for streams of window.
func newPlainEnd(p socket, server bool, window uint32, to plainScript) *plainEnd {
	e := &plainEnd{p: p, server: server, next: 1, window: h2FirstWindow, initial: h2FirstWindow, streams: map[uint32]*plainStream{}, to: to}
	e.enc = hpack.NewEncoder(&e.block)
	e.enc.SetMaxDynamicTableSizeLimit(0)
	e.dec = hpack.NewDecoder(4096, nil)
	if !server {
		e.out = append(e.out, h2Preface...)
	}
	e.out = appendFrame(e.out, h2Settings, 0, 0, binary.BigEndian.AppendUint32([]byte{0, h2SetWindow}, window))
	p.OnChange(e.changed)
	e.flush()
	return e
}

func (e *plainEnd) headers(s *plainStream, end bool, fields ...string) {
	e.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		e.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	flags := byte(h2EndHeaders)
	if end {
		flags |= h2EndStream
	}
	e.out = appendFrame(e.out, h2Headers, flags, s.id, e.block.Bytes())
}

// ask opens a stream.
func (e *plainEnd) ask(method, path string, more ...string) *plainStream {
	s := e.open(e.next)
	e.next += 2
	s.path = path
	scheme := "http"
	if _, ok := e.p.(*secured); ok {
		scheme = "https"
	}
	e.headers(s, method == "GET", append([]string{":method", method, ":scheme", scheme, ":path", path, ":authority", "sim.example"}, more...)...)
	return s
}

func (e *plainEnd) open(id uint32) *plainStream {
	s := &plainStream{id: id, window: e.initial}
	e.streams[id] = s
	e.order = append(e.order, id)
	return s
}

func (e *plainEnd) forget(s *plainStream) { delete(e.streams, s.id) }

// credit gives n bytes of s back.
func (e *plainEnd) credit(s *plainStream, n int) {
	if n == 0 {
		return
	}
	inc := binary.BigEndian.AppendUint32(nil, uint32(n))
	e.out = appendFrame(e.out, h2WindowUpdate, 0, 0, inc)
	if e.streams[s.id] == s {
		e.out = appendFrame(e.out, h2WindowUpdate, 0, s.id, inc)
	}
}

func (e *plainEnd) changed() {
	if e.gone {
		return
	}
	b := make([]byte, 32<<10)
	for !e.deaf && len(e.out) < 64<<10 {
		n, err := e.p.Read(b)
		e.in = append(e.in, b[:n]...)
		if err == sim.ErrWouldBlock {
			break
		}
		if err != nil {
			e.leave()
			return
		}
		e.take()
	}
	e.flush()
}

// leave ends the connection.
func (e *plainEnd) leave() {
	if !e.gone {
		e.gone = true
		e.p.Reset()
		if e.ended != nil {
			e.ended()
		}
	}
}

// take acts on whole frames.
func (e *plainEnd) take() {
	if e.server && !e.greeted {
		if len(e.in) < len(h2Preface) {
			return
		}
		e.in, e.greeted = e.in[len(h2Preface):], true
	}
	for !e.deaf {
		f, n, err := cutFrame(e.in)
		if err != nil || n == 0 {
			return
		}
		e.act(&f)
		e.in = e.in[n:]
	}
}

func (e *plainEnd) act(f *h2Frame) {
	s := e.streams[f.id]
	end := f.flags&h2EndStream != 0
	switch f.kind {
	case h2Settings:
		if f.flags&h2Ack != 0 {
			return
		}
		for p := f.payload; len(p) >= 6; p = p[6:] {
			if binary.BigEndian.Uint16(p) == h2SetWindow {
				v := int64(binary.BigEndian.Uint32(p[2:]))
				for _, s := range e.streams {
					s.window += v - e.initial
				}
				e.initial = v
			}
		}
		e.out = appendFrame(e.out, h2Settings, h2Ack, 0, nil)
	case h2Ping:
		if f.flags&h2Ack == 0 {
			e.out = appendFrame(e.out, h2Ping, h2Ack, 0, f.payload)
		}
	case h2WindowUpdate:
		n := int64(binary.BigEndian.Uint32(f.payload))
		if f.id == 0 {
			e.window += n
		} else if s != nil {
			s.window += n
		}
	case h2Headers:
		fields, err := e.dec.DecodeFull(f.payload)
		if err != nil {
			return
		}
		if s == nil && e.server {
			s = e.open(f.id)
		}
		if s == nil {
			return
		}
		for _, field := range fields {
			switch field.Name {
			case ":path":
				s.path = field.Value
			case ":status":
				s.status = field.Value
			}
		}
		e.to.head(e, s, end)
	case h2Data:
		if s == nil { // on its way when the stream ended
			e.credit(&plainStream{}, len(f.payload))
			return
		}
		s.got += len(f.payload)
		e.to.data(e, s, len(f.payload), end)
	case h2RST:
		if s != nil {
			e.forget(s)
			e.to.over(e, s, true)
		}
	case h2GoAway:
		e.leave()
	}
}

// flush sends what windows and connection allow.
func (e *plainEnd) flush() {
	for !e.gone {
		if len(e.out) < 32<<10 && !e.fill() && len(e.out) == 0 {
			return
		}
		n, err := e.p.Write(e.out)
		e.out = e.out[n:]
		if err == sim.ErrWouldBlock || n == 0 {
			return
		}
		if err != nil {
			e.leave()
			return
		}
	}
}

// fill makes a frame for each stream that may send. False: none may.
func (e *plainEnd) fill() (some bool) {
	kept := e.order[:0]
	for _, id := range e.order {
		s := e.streams[id]
		if s == nil {
			continue
		}
		kept = append(kept, id)
		n := min(int64(s.send), s.window, e.window, 16000)
		if s.endless {
			n = min(s.window, e.window, 16000)
		}
		last := s.end && int(n) == s.send
		if n <= 0 && !last {
			continue
		}
		flags := byte(0)
		if last {
			flags, s.end = h2EndStream, false
		}
		if n = max(n, 0); !s.endless {
			s.send -= int(n)
		}
		s.window -= n
		e.window -= n
		e.out = appendFrame(e.out, h2Data, flags, id, make([]byte, n))
		some = true
		e.to.sent(e, s, int(n))
		if last {
			e.to.over(e, s, false)
		}
	}
	e.order = kept
	return some
}

// plainText is one end of an HTTP/1 connection: heads are told apart from bytes
// by the empty line, which is all it knows.
type plainText struct {
	p       socket
	in, out []byte
	endless bool
	deaf    bool
	gone    bool
	most    int // bytes of out with which it reads no more
	got     func(b []byte) (used int)
	ended   func(err error)
}

func (e *plainText) begin() {
	e.p.OnChange(e.changed)
	e.changed()
}

func (e *plainText) changed() {
	b := make([]byte, 32<<10)
	for !e.gone && !e.deaf && len(e.out) <= e.most {
		n, err := e.p.Read(b)
		e.in = append(e.in, b[:n]...)
		for len(e.in) > 0 && !e.gone {
			used := e.got(e.in)
			if used == 0 {
				break
			}
			e.in = e.in[used:]
		}
		if err == sim.ErrWouldBlock {
			break
		}
		if err != nil {
			e.leave(err)
		}
		e.flush()
	}
	e.flush()
}

func (e *plainText) flush() {
	for !e.gone {
		if e.endless && len(e.out) < 16<<10 {
			e.out = append(e.out, make([]byte, 16<<10)...)
		}
		if len(e.out) == 0 {
			return
		}
		n, err := e.p.Write(e.out)
		e.out = e.out[n:]
		if err == sim.ErrWouldBlock {
			return
		}
		if err != nil {
			e.leave(err)
		}
	}
}

func (e *plainText) leave(err error) {
	if e.gone {
		return
	}
	e.gone = true
	e.p.Reset()
	if e.ended != nil {
		if err == nil {
			err = io.EOF
		}
		e.ended(err)
	}
}

// headOf is the length of the head that b begins with, and what its first field
// of that name says as a number.
func headOf(b []byte, field string) (n, value int) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return 0, 0
	}
	head := string(b[:end+4])
	if i := bytes.Index(bytes.ToLower([]byte(head)), []byte("\r\n"+field+": ")); i >= 0 {
		fmt.Sscanf(head[i+len(field)+4:], "%d", &value)
	}
	return end + 4, value
}
