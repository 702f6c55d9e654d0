package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// answer reads responses: 200 with a Content-Length, nothing else is expected
// of a server that is measured.
type answer struct {
	head   []byte // of which the end has not come
	left   int64  // bytes of the body; only when inBody
	inBody bool
}

// feed takes the next bytes, as far as they belong to this answer, and says
// whether it is complete.
func (a *answer) feed(b []byte) (used int, done bool, err error) {
	if !a.inBody {
		head, kept := b, len(a.head)
		if kept > 0 {
			a.head = append(a.head, b...)
			head = a.head
		}
		end := bytes.Index(head, []byte("\r\n\r\n"))
		if end < 0 {
			if kept == 0 {
				a.head = append(a.head, b...)
			}
			return len(b), false, nil
		}
		if a.left, err = parseHead(head[:end+2]); err != nil {
			return 0, false, err
		}
		used = end + 4 - kept
		a.head, a.inBody = a.head[:0], true
	}
	n := min(a.left, int64(len(b)-used))
	a.left -= n
	a.inBody = a.left > 0
	return used + int(n), a.left == 0, nil
}

// parseHead returns the Content-Length of a 200. head ends with a line end.
func parseHead(head []byte) (int64, error) {
	line, fields, _ := bytes.Cut(head, []byte("\r\n"))
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
		return 0, fmt.Errorf("not a 200: %q", line)
	}
	for len(fields) > 0 {
		line, fields, _ = bytes.Cut(fields, []byte("\r\n"))
		name, value, _ := bytes.Cut(line, []byte(":"))
		if len(name) == len("content-length") && strings.EqualFold(string(name), "content-length") {
			n, err := strconv.ParseInt(strings.TrimSpace(string(value)), 10, 64)
			if err != nil || n < 0 {
				return 0, fmt.Errorf("bad length: %q", line)
			}
			return n, nil
		}
	}
	return 0, errors.New("no Content-Length")
}
