package simnet

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// head is a message's start line and its fields.
type head struct {
	start  string
	fields [][2]string // name in lower case, value
}

// get is the value of a field, which must be there at most once.
func (h *head) get(name string) (value string, ok bool, err error) {
	for _, f := range h.fields {
		if f[0] != name {
			continue
		}
		if ok {
			return "", true, fmt.Errorf("field %s is there twice", name)
		}
		value, ok = f[1], true
	}
	return value, ok, nil
}

// framing of a body.
type framing int

const (
	noBody framing = iota
	byLength
	byChunks
	byClose
)

// of tells a message's framing from its fields, for one that may have a body.
func (h *head) framing(otherwise framing) (framing, int, error) {
	te, chunked, err := h.get("transfer-encoding")
	if err != nil {
		return 0, 0, err
	}
	cl, length, err := h.get("content-length")
	switch {
	case err != nil:
		return 0, 0, err
	case chunked && length:
		return 0, 0, fmt.Errorf("both Transfer-Encoding and Content-Length")
	case chunked && te != "chunked":
		return 0, 0, fmt.Errorf("Transfer-Encoding: %s", te)
	case chunked:
		return byChunks, 0, nil
	case !length:
		return otherwise, 0, nil
	}
	n, err := strconv.ParseUint(cl, 10, 31)
	return byLength, int(n), err
}

// listener is told what a stream consists of.
type listener interface {
	// onHead decides how the message's body ends.
	onHead(h *head) (framing, int, error)
	onData(b []byte) error
	onEnd() error
}

type streamState int

const (
	inHead streamState = iota
	inLength
	inChunkSize
	inChunk
	inChunkEnd
	inTrailers
	inUntilClose
)

// stream cuts what arrives on a connection into messages. It has no tolerance.
type stream struct {
	to    listener
	buf   []byte
	state streamState
	left  int
}

const maxLine = 1 << 17

// feed takes what arrived. An error is final.
func (s *stream) feed(b []byte) error {
	s.buf = append(s.buf, b...)
	for {
		more, err := s.step()
		if err != nil || !more {
			return err
		}
	}
}

// step takes one piece off s.buf; false: it needs more bytes.
func (s *stream) step() (bool, error) {
	switch s.state {
	case inHead:
		return s.head()
	case inLength, inChunk, inUntilClose:
		return s.data()
	case inChunkSize:
		line, ok, err := s.line()
		if !ok || err != nil {
			return false, err
		}
		size, _, _ := strings.Cut(line, ";")
		n, err := strconv.ParseUint(size, 16, 31)
		if err != nil {
			return false, fmt.Errorf("chunk size %q", line)
		}
		s.left, s.state = int(n), inChunk
		if n == 0 {
			s.state = inTrailers
		}
		return true, nil
	case inChunkEnd:
		line, ok, err := s.line()
		if ok && line != "" {
			err = fmt.Errorf("%q behind a chunk", line)
		}
		s.state = inChunkSize
		if !ok {
			s.state = inChunkEnd
		}
		return ok, err
	}
	line, ok, err := s.line()
	if ok && err == nil && line == "" {
		s.state = inHead
		err = s.to.onEnd()
	}
	return ok, err
}

func (s *stream) head() (bool, error) {
	end := bytes.Index(s.buf, []byte("\r\n\r\n"))
	if end < 0 {
		if len(s.buf) > maxLine {
			return false, fmt.Errorf("a head without end: %.80q", s.buf)
		}
		return false, nil
	}
	lines := strings.Split(string(s.buf[:end]), "\r\n")
	s.buf = s.buf[end+4:]
	h := &head{start: lines[0]}
	for _, line := range lines {
		if strings.ContainsAny(line, "\r\n\x00") {
			return false, fmt.Errorf("line %q", line)
		}
	}
	for _, line := range lines[1:] {
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t") {
			return false, fmt.Errorf("field line %.80q", line)
		}
		h.fields = append(h.fields, [2]string{strings.ToLower(name), strings.TrimSpace(value)})
	}
	kind, n, err := s.to.onHead(h)
	if err != nil {
		return false, err
	}
	s.left = n
	switch kind {
	case byChunks:
		s.state = inChunkSize
	case byClose:
		s.state = inUntilClose
	case byLength:
		if n > 0 {
			s.state = inLength
			return true, nil
		}
		return true, s.to.onEnd()
	default:
		return true, s.to.onEnd()
	}
	return true, nil
}

// data passes body bytes on.
func (s *stream) data() (bool, error) {
	n := len(s.buf)
	if s.state != inUntilClose {
		n = min(n, s.left)
	}
	if n == 0 {
		return false, nil
	}
	err := s.to.onData(s.buf[:n])
	s.buf = s.buf[n:]
	s.left -= n
	if err == nil && s.left == 0 {
		switch s.state {
		case inLength:
			s.state = inHead
			err = s.to.onEnd()
		case inChunk:
			s.state = inChunkEnd
		}
	}
	return true, err
}

func (s *stream) line() (string, bool, error) {
	end := bytes.IndexByte(s.buf, '\n')
	if end < 0 {
		if len(s.buf) > maxLine {
			return "", false, fmt.Errorf("a line without end: %.80q", s.buf)
		}
		return "", false, nil
	}
	line := string(s.buf[:end])
	s.buf = s.buf[end+1:]
	if !strings.HasSuffix(line, "\r") {
		return "", false, fmt.Errorf("line %q ends without CR", line)
	}
	return line[:len(line)-1], true, nil
}
