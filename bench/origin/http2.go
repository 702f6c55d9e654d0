package main

import (
	"encoding/binary"
	"errors"
	"strconv"

	"github.com/cloudwego/netpoll"
)

// preface is what a client begins HTTP/2 with that knows beforehand that the server speaks it: RFC 9113 section 3.4.
const (
	preface     = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	prefaceLine = len("PRI * HTTP/2.0\r\n") // with which no request of HTTP/1 begins
)

// Frames of RFC 9113 section 6, and what of them is looked at.
const (
	frameData         = 0x0
	frameHeaders      = 0x1
	frameReset        = 0x3
	frameSettings     = 0x4
	framePing         = 0x6
	frameWindowUpdate = 0x8
	frameContinuation = 0x9

	flagAck        = 0x1
	flagEndStream  = 0x1
	flagEndHeaders = 0x4

	settingMaxStreams    = 0x3
	settingInitialWindow = 0x4

	frameHeadBytes = 9
	maxFrameBytes  = 16 << 10 // what we and the client begin with, and we stay with
	maxStreams     = 1000     // at once
	startWindow    = 65535
	ourWindow      = 1<<31 - 1
)

var errFrame = errors.New("bad HTTP/2 frame")

// session is one HTTP/2 connection. Every request gets the ordinary answer, whatever it asks for: its fields are not
// decoded, which keeps the origin cheap.
type session struct {
	s   *server
	in  netpoll.Reader
	out netpoll.Writer

	window  int64            // what the client lets us send on the connection
	initial int64            // and on each new stream
	streams map[uint32]int64 // windows of those whose request has not ended, and of those in waiting
	waiting []unsent         // answers that a window holds up
	asked   uint32           // stream whose head goes on in CONTINUATION frames, 0: none
	asksEnd bool             // that head ends its request
	since   int64            // bytes of DATA received that the client has not been given back
}

// unsent is the rest of an answer's body.
type unsent struct {
	stream uint32
	body   []byte
}

// serveHTTP2 takes over a connection that begins with the preface.
func (s *server) serveHTTP2(in netpoll.Reader, out netpoll.Writer) error {
	h := &session{s: s, in: in, out: out, window: startWindow, initial: startWindow, streams: map[uint32]int64{}}
	if err := in.Skip(len(preface)); err != nil {
		return err
	}
	settings := appendFrame(nil, frameSettings, 0, 0, 12)
	settings = binary.BigEndian.AppendUint16(settings, settingMaxStreams)
	settings = binary.BigEndian.AppendUint32(settings, maxStreams)
	settings = binary.BigEndian.AppendUint16(settings, settingInitialWindow)
	settings = binary.BigEndian.AppendUint32(settings, ourWindow)
	settings = appendWindowUpdate(settings, ourWindow-startWindow)
	if _, err := out.WriteBinary(settings); err != nil {
		return err
	}
	for {
		if err := h.frame(); err != nil {
			return err
		}
		if in.Len() < frameHeadBytes {
			if err := errors.Join(in.Release(), out.Flush()); err != nil {
				return err
			}
		}
	}
}

// frame waits for a frame and does what it asks for.
func (h *session) frame() error {
	head, err := h.in.Next(frameHeadBytes)
	if err != nil {
		return err
	}
	length := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
	kind, flags, stream := head[3], head[4], binary.BigEndian.Uint32(head[5:])&(1<<31-1)
	if length > maxFrameBytes || (h.asked != 0) != (kind == frameContinuation) {
		return errFrame
	}
	payload, err := h.payload(length)
	if err != nil {
		return err
	}
	switch kind {
	case frameHeaders:
		if stream == 0 {
			return errFrame
		}
		h.asked, h.asksEnd = stream, flags&flagEndStream != 0
		h.streams[stream] = h.initial
		return h.headEnds(flags)
	case frameContinuation:
		if stream != h.asked {
			return errFrame
		}
		return h.headEnds(flags)
	case frameData:
		return h.data(stream, flags, length)
	case frameReset:
		h.forget(stream)
	case frameSettings:
		if flags&flagAck == 0 {
			return h.settings(payload)
		}
	case framePing:
		if flags&flagAck == 0 {
			_, err := h.out.WriteBinary(append(appendFrame(nil, framePing, flagAck, 0, length), payload...))
			return err
		}
	case frameWindowUpdate:
		if length != 4 {
			return errFrame
		}
		return h.windowUpdate(stream, int64(binary.BigEndian.Uint32(payload)&(1<<31-1)))
	}
	return nil
}

// payload has what is in flight sent before it waits for the rest of a frame.
func (h *session) payload(length int) ([]byte, error) {
	if length == 0 {
		return nil, nil
	}
	if h.in.Len() < length {
		if err := h.out.Flush(); err != nil {
			return nil, err
		}
	}
	return h.in.Next(length)
}

// headEnds answers if a request is complete.
func (h *session) headEnds(flags byte) error {
	if flags&flagEndHeaders == 0 {
		return nil
	}
	stream := h.asked
	h.asked = 0
	if h.asksEnd {
		return h.answer(stream)
	}
	return nil
}

func (h *session) data(stream uint32, flags byte, length int) error {
	// The streams' own windows are larger than what anybody uploads here.
	if h.since += int64(length); h.since > ourWindow/2 {
		if _, err := h.out.WriteBinary(appendWindowUpdate(nil, uint32(h.since))); err != nil {
			return err
		}
		h.since = 0
	}
	if _, ok := h.streams[stream]; ok && flags&flagEndStream != 0 {
		return h.answer(stream)
	}
	return nil
}

// appendAnswer appends the ordinary answer for stream 0: :status 200 from the static table, the length, and the fields of
// the HTTP/1 answer, all without Huffman codes and without use of the dynamic table (RFC 7541 section 6.2.2). A body of
// more than one frame is left out.
func appendAnswer(dst, body []byte) (b []byte, headLen int) {
	fields := []byte{0x88}
	for _, f := range [...]struct {
		index byte // of the name, in the static table
		value string
	}{{54, "origin"}, {31, "text/plain"}, {28, strconv.Itoa(len(body))}} {
		fields = append(fields, 0x0f, f.index-15, byte(len(f.value)))
		fields = append(fields, f.value...)
	}
	flags := byte(flagEndHeaders)
	if len(body) == 0 {
		flags |= flagEndStream
	}
	b = append(appendFrame(dst, frameHeaders, flags, 0, len(fields)), fields...)
	headLen = len(b) - len(dst)
	if len(body) > 0 && len(body) <= maxFrameBytes {
		b = append(appendFrame(b, frameData, flagEndStream, 0, len(body)), body...)
	}
	return b, headLen
}

func (h *session) answer(stream uint32) error {
	ready, headLen := h.s.answer2, h.s.headLen2
	body := h.s.ordinary[h.s.headLen:]
	n := int64(len(body))
	atOnce := n <= maxFrameBytes && len(h.waiting) == 0 && n <= h.window && n <= h.streams[stream]
	if !atOnce {
		ready = ready[:headLen]
	}
	p, err := h.out.Malloc(len(ready))
	if err != nil {
		return err
	}
	copy(p, ready)
	binary.BigEndian.PutUint32(p[5:], stream)
	if !atOnce {
		h.waiting = append(h.waiting, unsent{stream, body})
		return h.send()
	}
	if n > 0 {
		binary.BigEndian.PutUint32(p[headLen+5:], stream)
	}
	h.window -= n
	delete(h.streams, stream)
	return nil
}

// send passes on what the windows allow, stream by stream.
func (h *session) send() error {
	held := h.waiting[:0]
	for _, u := range h.waiting {
		for len(u.body) > 0 {
			n := min(int64(len(u.body)), h.window, h.streams[u.stream], maxFrameBytes)
			if n <= 0 {
				break
			}
			h.window -= n
			h.streams[u.stream] -= n
			flags := byte(0)
			if int(n) == len(u.body) {
				flags = flagEndStream
			}
			if _, err := h.out.WriteBinary(appendFrame(nil, frameData, flags, u.stream, int(n))); err != nil {
				return err
			}
			if _, err := h.out.WriteBinary(u.body[:n]); err != nil {
				return err
			}
			u.body = u.body[n:]
		}
		if len(u.body) > 0 {
			held = append(held, u)
		} else {
			delete(h.streams, u.stream)
		}
	}
	h.waiting = held
	return nil
}

func (h *session) forget(stream uint32) {
	delete(h.streams, stream)
	for i := range h.waiting {
		if h.waiting[i].stream == stream {
			h.waiting = append(h.waiting[:i], h.waiting[i+1:]...)
			return
		}
	}
}

func (h *session) settings(payload []byte) error {
	for ; len(payload) >= 6; payload = payload[6:] {
		if binary.BigEndian.Uint16(payload) != settingInitialWindow {
			continue
		}
		size := int64(binary.BigEndian.Uint32(payload[2:]))
		for stream := range h.streams {
			h.streams[stream] += size - h.initial // RFC 9113 section 6.9.2
		}
		h.initial = size
	}
	if _, err := h.out.WriteBinary(appendFrame(nil, frameSettings, flagAck, 0, 0)); err != nil {
		return err
	}
	return h.send()
}

func (h *session) windowUpdate(stream uint32, n int64) error {
	if stream == 0 {
		h.window += n
		return h.send()
	}
	if _, ok := h.streams[stream]; ok {
		h.streams[stream] += n
		return h.send()
	}
	return nil
}

func appendFrame(dst []byte, kind, flags byte, stream uint32, length int) []byte {
	dst = append(dst, byte(length>>16), byte(length>>8), byte(length), kind, flags)
	return binary.BigEndian.AppendUint32(dst, stream)
}

// appendWindowUpdate appends one of the connection.
func appendWindowUpdate(dst []byte, n uint32) []byte {
	return binary.BigEndian.AppendUint32(appendFrame(dst, frameWindowUpdate, 0, 0, 4), n)
}
