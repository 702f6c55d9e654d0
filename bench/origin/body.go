package main

import (
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/cloudwego/netpoll"
)

// body is what follows a request's head, read as it comes.
type body struct {
	in       netpoll.Reader
	left     int64 // of the body, or of the chunk
	chunked  bool
	between  bool // chunked: a chunk has been read, its line end has not
	done     bool
	trailers int
}

var errBody = errors.New("bad request body")

// next gives bytes of the body that are there, after waiting for some; they are good until the call after. At the end
// it gives io.EOF.
func (b *body) next() ([]byte, error) {
	if b.left == 0 && !b.done {
		if !b.chunked {
			b.done = true
		} else if err := b.nextChunk(); err != nil {
			return nil, err
		}
	}
	if b.done {
		return nil, io.EOF
	}
	if err := b.in.Release(); err != nil {
		return nil, err
	}
	if _, err := b.in.Peek(1); err != nil {
		return nil, err
	}
	p, err := b.in.Next(int(min(b.left, int64(b.in.Len()), 1<<20)))
	b.left -= int64(len(p))
	return p, err
}

// nextChunk reads the line before a chunk's data, or the end (RFC 9112 7.1).
func (b *body) nextChunk() error {
	if b.between {
		if line, err := b.line(); err != nil || line != "" {
			return errors.Join(errBody, err)
		}
	}
	line, err := b.line()
	if err != nil {
		return err
	}
	size, _, _ := strings.Cut(line, ";")
	b.left, err = strconv.ParseInt(strings.TrimSpace(size), 16, 64)
	if err != nil || b.left < 0 {
		return errBody
	}
	b.between = true
	if b.left > 0 {
		return nil
	}
	for b.done = true; ; b.trailers++ {
		if line, err := b.line(); err != nil || line == "" {
			return err
		}
	}
}

// line reads up to a line end.
func (b *body) line() (string, error) {
	line, err := b.in.Until('\n')
	if err != nil {
		return "", err
	}
	if len(line) > maxHeadBytes || len(line) < 2 || line[len(line)-2] != '\r' {
		return "", errBody
	}
	return string(line[:len(line)-2]), nil
}

// discard reads to the end and returns how many bytes there were.
func (b *body) discard() (n int64, err error) {
	for {
		p, err := b.next()
		n += int64(len(p))
		if err == io.EOF {
			return n, b.in.Release()
		}
		if err != nil {
			return n, err
		}
	}
}
