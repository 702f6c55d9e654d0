package main

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
)

const maxHeadBytes = 256 << 10

// request is one request's head.
type request struct {
	head         []byte // borrowed
	method, path string // of ordinary requests the path is empty, and so is the method unless it is HEAD
	length       int64  // of the body
	chunked      bool
	closes       bool   // the client wants no more than this answer, or can't tell where it ends
	oldVersion   bool   // HTTP/1.0
	expects      bool   // 100-continue
	upgrades     bool   // to WebSocket
	key          string // of the WebSocket handshake; "" unless upgrades
}

var errHead = errors.New("bad request head")

// special are the paths that get something else than the ordinary answer, by their first segment.
var special = [...]string{"bytes", "chunked", "until-close", "echo", "headers", "trailers", "delay", "status", "close",
	"early"}

// parseRequest reads the head that b begins with and returns its length, 0 when it is not complete yet.
func parseRequest(b []byte, q *request) (n int, err error) {
	skipped := 0
	for bytes.HasPrefix(b, []byte("\r\n")) { // RFC 9112 2.2
		b, skipped = b[2:], skipped+2
	}
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		if len(b) > maxHeadBytes {
			return 0, errHead
		}
		return 0, nil
	}
	*q = request{head: b[:end+4]}
	line, rest, _ := bytes.Cut(b[:end+2], []byte("\r\n"))
	method, target, ok := bytes.Cut(line, []byte(" "))
	space := bytes.LastIndexByte(target, ' ')
	if !ok || space < 1 || len(method) == 0 {
		return 0, errHead
	}
	switch string(target[space+1:]) {
	case "HTTP/1.1":
	case "HTTP/1.0":
		q.oldVersion, q.closes = true, true
	default:
		return 0, errHead
	}
	q.setTarget(method, target[:space])
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		if err := q.field(line); err != nil {
			return 0, err
		}
	}
	if q.chunked {
		q.length = 0
	}
	if !q.upgrades {
		q.key = ""
	}
	return skipped + end + 4, nil
}

func (q *request) setTarget(method, target []byte) {
	if string(method) == "HEAD" {
		q.method = "HEAD"
	}
	if i := bytes.Index(target, []byte("://")); i > 0 && target[0] != '/' { // absolute-form
		target = target[i+3:]
		target = target[max(0, bytes.IndexByte(target, '/')):]
	}
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		target = target[:i]
	}
	if len(target) < 2 || target[0] != '/' {
		return
	}
	first, _, _ := bytes.Cut(target[1:], []byte("/"))
	for _, name := range special {
		if string(first) == name {
			q.path = string(target)
			return
		}
	}
}

// field takes in one header field. Only those that say how the message ends matter.
func (q *request) field(line []byte) (err error) {
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 {
		return errHead
	}
	switch colon { // most fields are told apart by the length of their names
	case len("connection"):
		if !named(line, "connection") {
			return nil
		}
		for option := range strings.SplitSeq(string(line[colon+1:]), ",") {
			switch strings.ToLower(strings.TrimSpace(option)) {
			case "close":
				q.closes = true
			case "keep-alive":
				q.closes = false
			}
		}
	case len("content-length"):
		if named(line, "content-length") {
			q.length, err = strconv.ParseInt(string(bytes.TrimSpace(line[colon+1:])), 10, 64)
			if err != nil || q.length < 0 {
				return errHead
			}
		}
	case len("transfer-encoding"): // and len("sec-websocket-key")
		if named(line, "transfer-encoding") {
			if !bytes.EqualFold(bytes.TrimSpace(line[colon+1:]), []byte("chunked")) {
				return errHead
			}
			q.chunked = true
		} else if named(line, "sec-websocket-key") {
			q.key = string(bytes.TrimSpace(line[colon+1:]))
		}
	case len("upgrade"):
		if named(line, "upgrade") {
			q.upgrades = bytes.EqualFold(bytes.TrimSpace(line[colon+1:]), []byte("websocket"))
		}
	case len("expect"):
		if named(line, "expect") {
			q.expects = bytes.EqualFold(bytes.TrimSpace(line[colon+1:]), []byte("100-continue"))
		}
	}
	return nil
}

// named tells whether the field's name, whose length is that of name, is name in lower case.
func named(line []byte, name string) bool {
	for i := range len(name) {
		c := line[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != name[i] {
			return false
		}
	}
	return true
}

// number is the last segment of the request's path, if that is a number from 0 to most.
func (q *request) number(most int64) (n int64, ok bool) {
	n, err := strconv.ParseInt(q.path[strings.LastIndexByte(q.path, '/')+1:], 10, 64)
	return n, err == nil && n >= 0 && n <= most
}

// is tells whether the first segment of the request's path is name.
func (q *request) is(name string) bool {
	rest, ok := strings.CutPrefix(q.path, "/"+name)
	return ok && (rest == "" || rest[0] == '/')
}
