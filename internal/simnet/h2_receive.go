package simnet

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/net/http2/hpack"
)

// onFrame does what a frame asks for. An error is something that no frame of a
// right mind has.
func (e *h2End) onFrame(f *h2Frame) error {
	if !e.settled && (f.kind != h2Settings || f.flags&h2Ack != 0) {
		return fmt.Errorf("the first frame is no SETTINGS")
	}
	if (e.blockOf != 0) != (f.kind == h2Continuation) || f.kind == h2Continuation && f.id != e.blockOf {
		return fmt.Errorf("a field section of stream %d is not finished", e.blockOf)
	}
	switch f.kind {
	case h2Data:
		return e.onData(f)
	case h2Headers, h2Continuation:
		return e.onBlock(f)
	case h2RST:
		s := e.streams[f.id]
		if len(f.payload) != 4 || s == nil {
			return fmt.Errorf("RST_STREAM of a stream that never was")
		}
		s.farReset = true
		if s.reset {
			return nil
		}
		s.reset, s.outgoing = true, false
		e.forget(s)
		return e.to.onReset(s, binary.BigEndian.Uint32(f.payload))
	case h2Settings:
		return e.onSettings(f)
	case h2Ping:
		if len(f.payload) != 8 || f.id != 0 {
			return fmt.Errorf("PING of %d bytes", len(f.payload))
		}
		if f.flags&h2Ack == 0 {
			e.frame(h2Ping, h2Ack, 0, f.payload)
		}
	case h2GoAway:
		if len(f.payload) < 8 || f.id != 0 {
			return fmt.Errorf("GOAWAY of %d bytes", len(f.payload))
		}
		return e.to.onGoAway(binary.BigEndian.Uint32(f.payload)&h2MaxWindow, binary.BigEndian.Uint32(f.payload[4:]))
	case h2WindowUpdate:
		return e.onWindow(f)
	case h2Push:
		return fmt.Errorf("a push")
	}
	return nil
}

func (e *h2End) onSettings(f *h2Frame) error {
	if f.id != 0 || len(f.payload)%6 != 0 {
		return fmt.Errorf("SETTINGS of %d bytes", len(f.payload))
	}
	if f.flags&h2Ack != 0 {
		return e.acknowledged()
	}
	for b := f.payload; len(b) > 0; b = b[6:] {
		v := int64(binary.BigEndian.Uint32(b[2:]))
		switch binary.BigEndian.Uint16(b) {
		case h2SetStreams:
			e.farStreams = v
		case h2SetWindow:
			if v > h2MaxWindow {
				return fmt.Errorf("an initial window of %d", v)
			}
			for _, s := range e.order {
				s.send += v - e.farWindow
			}
			e.farWindow = v
		case h2SetConnect:
			e.farConnect = v == 1
		case h2SetTable:
			e.enc.SetMaxDynamicTableSize(uint32(min(v, 4096)))
		}
	}
	e.settled = true
	e.frame(h2Settings, h2Ack, 0, nil)
	return nil
}

func (e *h2End) onWindow(f *h2Frame) error {
	if len(f.payload) != 4 {
		return fmt.Errorf("WINDOW_UPDATE of %d bytes", len(f.payload))
	}
	n := int64(binary.BigEndian.Uint32(f.payload) & h2MaxWindow)
	window := &e.send
	if f.id != 0 {
		s := e.streams[f.id]
		if s == nil {
			return fmt.Errorf("WINDOW_UPDATE of a stream that never was")
		}
		window = &s.send
	}
	if n == 0 {
		return fmt.Errorf("WINDOW_UPDATE by 0")
	}
	if *window += n; *window > h2MaxWindow {
		return fmt.Errorf("a window of %d", *window)
	}
	e.writeSoon()
	return nil
}

// onBlock collects a field section and decodes it.
func (e *h2End) onBlock(f *h2Frame) error {
	b, err := f.content()
	if err != nil {
		return err
	}
	if f.kind == h2Headers {
		e.block, e.blockOf, e.blockEnds = e.block[:0], f.id, f.flags&h2EndStream != 0
	}
	e.block = append(e.block, b...)
	if f.flags&h2EndHeaders == 0 {
		return nil
	}
	e.blockOf = 0
	fields, err := e.dec.DecodeFull(e.block)
	if err != nil {
		return fmt.Errorf("the field section cannot be decoded: %w", err)
	}
	s, err := e.streamOf(f.id)
	if err != nil || s == nil {
		return err
	}
	if err := e.to.onHeaders(s, fields, e.blockEnds); err != nil || !e.blockEnds || s.reset {
		return err
	}
	return e.ends(s)
}

// streamOf finds the stream of a HEADERS frame, or opens it; nil: it was reset.
func (e *h2End) streamOf(id uint32) (*h2Stream, error) {
	s := e.streams[id]
	switch {
	case s == nil && e.server && id%2 == 1 && id > e.highest:
		if len(e.order) >= e.most {
			return nil, fmt.Errorf("%d streams are open already, and %d may be", len(e.order), e.most)
		}
		return e.open(id), nil
	case s == nil:
		return nil, fmt.Errorf("HEADERS of a stream that was never opened")
	case s.farReset:
		return nil, fmt.Errorf("HEADERS behind RST_STREAM")
	case s.reset:
		return nil, nil
	case s.gotEnd:
		return nil, fmt.Errorf("HEADERS behind the end of the stream")
	}
	return s, nil
}

// onData counts against both windows, whatever becomes of the bytes.
func (e *h2End) onData(f *h2Frame) error {
	s := e.streams[f.id]
	if s == nil {
		return fmt.Errorf("DATA of a stream that never was")
	}
	n := len(f.payload)
	e.receive -= int64(n)
	s.receive -= int64(n)
	if n > 0 && (e.receive < 0 || !s.reset && s.receive+e.ahead() < 0) {
		return fmt.Errorf("%d bytes leave windows of %d and, for the stream, %d (acknowledged %d, later %v)", n, e.receive, s.receive, e.first, e.later)
	}
	b, err := f.content()
	if err != nil {
		return err
	}
	e.repay(s, n)
	if s.farReset {
		return fmt.Errorf("DATA behind RST_STREAM")
	}
	if s.reset {
		return nil
	}
	if s.gotEnd || !s.headed {
		return fmt.Errorf("DATA before the head or behind the end")
	}
	if err := e.to.onData(s, b); err != nil || f.flags&h2EndStream == 0 || s.reset {
		return err
	}
	return e.ends(s)
}

// ends: the far end's direction has ended.
func (e *h2End) ends(s *h2Stream) error {
	s.gotEnd = true
	if s.length >= 0 && s.length != s.got {
		return fmt.Errorf("the stream ends with %d bytes of %d", s.got, s.length)
	}
	err := e.to.onEnd(s)
	e.forget(s)
	return err
}

// repay gives window back for n bytes, now or when more are owed.
func (e *h2End) repay(s *h2Stream, n int) {
	e.owed += n
	if e.owed > e.credits || int64(e.owed) >= e.receive {
		if e.owed > 0 {
			e.update(nil, e.owed)
		}
		e.owed = 0
	}
	if s.reset || s.gotEnd || s.stalled {
		return
	}
	s.owed += n
	if s.owed > 0 && (s.owed > e.credits || int64(s.owed) >= s.receive) {
		e.update(s, s.owed)
		s.owed = 0
	}
}

// contentLength notes what a head says about its body.
func (s *h2Stream) contentLength(h *head) error {
	v, ok, err := h.get("content-length")
	if !ok || err != nil {
		return err
	}
	_, err = fmt.Sscanf(v, "%d", &s.length)
	return err
}

// named finds a pseudo-field.
func named(fields []hpack.HeaderField, name string) string {
	for _, f := range fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}
