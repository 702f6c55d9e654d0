package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"zproxy/loop"
)

// How an origin of these tests says where its answer ends.
const (
	untilClose  = "until close"
	withLength  = "length"
	inChunks    = "chunks"
	oldLength   = "HTTP/1.0 length"
	endOnHead   = "END_STREAM on HEADERS"
	endOnData   = "END_STREAM on DATA"
	endOnField  = "trailers"
	streamSized = "content-length"
)

var (
	lineFramings   = []string{untilClose, withLength, inChunks, oldLength}
	streamFramings = []string{endOnHead, endOnData, endOnField, streamSized}
)

// framedAnswer is a request, and how it is answered.
type framedAnswer struct {
	framing string
	method  string // UPGRADE: GET that asks for WebSocket, and does not get it
	status  int
	content string
}

func (a *framedAnswer) String() string {
	return fmt.Sprintf("%s %d %q, %s", a.method, a.status, a.content, a.framing)
}

// want is the content that is to arrive.
func (a *framedAnswer) want() string {
	if a.silent() {
		return ""
	}
	return a.content
}

// silent: RFC 9112 6.3 rule 1.
func (a *framedAnswer) silent() bool { return a.method == "HEAD" || a.status == 204 || a.status == 304 }

// framedAnswers are all that make sense.
func framedAnswers() (all []*framedAnswer) {
	for _, framing := range slices.Concat(lineFramings, streamFramings) {
		for _, method := range []string{"GET", "HEAD", "POST", "UPGRADE"} {
			for _, status := range []int{200, 204, 205, 206, 304, 403, 404, 426, 500, 503} {
				for _, content := range []string{"", "hello"} {
					a := &framedAnswer{framing, method, status, content}
					switch {
					case method == "UPGRADE" && status < 400: // it would be one
					case content != "" && (status == 205 || framing == endOnHead && !a.silent()):
					default:
						all = append(all, a)
					}
				}
			}
		}
	}
	return all
}

// lines is the answer in HTTP/1.
func (a *framedAnswer) lines() string {
	minor, content := 1, a.want()
	var fields string
	switch a.framing {
	case oldLength:
		minor = 0
		fields = fmt.Sprintf("Content-Length: %d\r\n", len(a.content))
	case withLength:
		fields = fmt.Sprintf("Content-Length: %d\r\n", len(a.content))
	case inChunks:
		fields = "Transfer-Encoding: chunked\r\n"
		if content != "" {
			content = fmt.Sprintf("%x\r\n%s\r\n", len(content), content)
		}
		if !a.silent() {
			content += "0\r\nX-Trailer: 1\r\n\r\n"
		}
	}
	if a.status == 204 {
		fields = ""
	}
	if a.status == 426 {
		fields += "Upgrade: other\r\nConnection: upgrade, x-named\r\nX-Named: 1\r\nKeep-Alive: timeout=5\r\n"
	}
	return fmt.Sprintf("HTTP/1.%d %d Whatever\r\nX-Case: 1\r\n%s\r\n%s", minor, a.status, fields, content)
}

// frames answers s in HTTP/2.
func (a *framedAnswer) frames(s *wireStream) {
	pairs := []string{":status", fmt.Sprint(a.status), "x-case", "1"}
	if a.framing == streamSized && a.status != 204 {
		pairs = append(pairs, "content-length", fmt.Sprint(len(a.content)))
	}
	end := a.silent() && a.framing != endOnField || a.framing == endOnHead
	s.head1(end, pairs...)
	if end {
		return
	}
	if content := a.want(); content != "" {
		io.WriteString(s, content)
	}
	if a.framing == endOnField {
		s.head1(true, "x-trailer", "1")
	} else {
		s.CloseWrite()
	}
}

// head1 is headers under the lock of its connection.
func (s *wireStream) head1(end bool, pairs ...string) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.headers(end, pairs...)
}

// framedOrigins are one of either version that answer /N as the N-th says.
func framedOrigins(t *testing.T, all []*framedAnswer) (lines, streams string) {
	of := func(target string) *framedAnswer {
		n := -1
		fmt.Sscan(target[strings.LastIndexByte(target, '/')+1:], &n)
		if n < 0 || n >= len(all) {
			return &framedAnswer{withLength, "GET", 200, "second"}
		}
		return all[n]
	}
	lines = startOrigin(t, func(_ int, c net.Conn) {
		for {
			head, err := readHead(c)
			if err != nil {
				return
			}
			a := of(strings.Fields(head)[1])
			io.WriteString(c, a.lines())
			// A silent one ends with its head: a close behind it may meet the next POST, which is not sent again.
			if a.framing == untilClose && !a.silent() || a.framing == oldLength {
				return
			}
		}
	})
	streams = wireServer(t, func(s *wireStream) { of(s.field(":path")).frames(s) }, http2.Setting{ID: http2.SettingEnableConnectProtocol, Val: 1})
	return lines, streams
}

// Whatever version an origin speaks, and however it says where its answer ends,
// a client of any version learns the end at once and by its own version's means,
// and the next answer is the next. net/http is the judge of what HTTP/1 says.
func TestFramingOfAnswers(t *testing.T) {
	besides(t, func(t *testing.T, io_ loop.IO) {
		all := framedAnswers()
		lines, streams := framedOrigins(t, all)
		r := start(t, io_, 1, fmt.Sprintf("listeners: [{address: \"127.0.0.1:8080\", protocols: [http1, h2c]}]\n"+
			"upstreams:\n  lines: {endpoints: [{address: %q}], pool: {prewarm: 0}}\n  streams: {protocol: h2c, endpoints: [{address: %q}], pool: {prewarm: 0}}\n"+
			"routes: [{path: \"/h1/*\", upstream: lines}, {path: \"/h2/*\", upstream: streams}]\n", lines, streams), nil)
		wire := dialWire(t, r.addr)
		for n, a := range all {
			path := fmt.Sprintf("/h1/%d", n)
			if slices.Contains(streamFramings, a.framing) {
				path = fmt.Sprintf("/h2/%d", n)
			}
			for minor := range 2 {
				if minor == 1 || a.method != "UPGRADE" { // HTTP/1.0 has no Upgrade
					askLines(t, r, a, path, minor)
				}
			}
			askStreams(t, wire, a, path)
		}
		t.Logf("%d answers to each of three versions", len(all))
		wire.Conn.Close()
		r.settled()
	})
}

// askLines asks by HTTP/1.minor, with a second request right behind.
func askLines(t *testing.T, r *rig, a *framedAnswer, path string, minor int) {
	t.Helper()
	c := r.dial()
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	method, fields := a.method, ""
	if method == "UPGRADE" {
		method, fields = "GET", "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	}
	if minor == 0 {
		fields += "Connection: keep-alive\r\n"
	}
	fmt.Fprintf(c, "%s %s HTTP/1.%d\r\nHost: h\r\n%s\r\n", method, path, minor, fields)
	fmt.Fprintf(c, "GET %s/second HTTP/1.%d\r\nHost: h\r\nConnection: close\r\n\r\n", path[:3], minor)
	br := bufio.NewReader(c)
	name := fmt.Sprintf("HTTP/1.%d client, %v", minor, a)
	res, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	content, err := io.ReadAll(res.Body)
	if err != nil || string(content) != a.want() || res.StatusCode != a.status || res.Header.Get("X-Case") != "1" {
		t.Errorf("%s: %s %v with %q, %v", name, res.Status, res.Header, content, err)
	}
	delimited := len(res.TransferEncoding) > 0 || res.ContentLength >= 0
	switch {
	case a.status == 204 && (res.Header["Content-Length"] != nil || len(res.TransferEncoding) > 0):
		t.Errorf("%s: a length in a 204: %v", name, res.Header)
	case minor == 0 && len(res.TransferEncoding) > 0:
		t.Errorf("%s: chunks for HTTP/1.0", name)
	case !a.silent() && !delimited && (minor == 1 || !res.Close):
		t.Errorf("%s: nothing says where the content ends: %v", name, res.Header)
	case a.content == "" && a.framing == endOnHead && !a.silent() && res.ContentLength != 0:
		t.Errorf("%s: no Content-Length of 0: %v", name, res.Header)
	}
	if res.Close {
		if minor == 1 {
			t.Errorf("%s: the connection ends", name)
		}
		return
	}
	next, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Errorf("%s: the next answer: %v", name, err)
		return
	}
	if content, err := io.ReadAll(next.Body); err != nil || string(content) != "second" {
		t.Errorf("%s: the next answer is %q, %v", name, content, err)
	}
}

// askStreams asks by HTTP/2.
func askStreams(t *testing.T, w *wire, a *framedAnswer, path string) {
	t.Helper()
	name := fmt.Sprintf("HTTP/2 client, %v", a)
	w.mu.Lock()
	s := w.open(w.opened + 1 + w.opened&1)
	if a.method == "UPGRADE" {
		s.headers(false, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":path", path, ":authority", "h", "sec-websocket-version", "13")
	} else {
		s.headers(true, ":method", a.method, ":scheme", "http", ":path", path, ":authority", "h")
	}
	w.mu.Unlock()
	s.SetReadDeadline(time.Now().Add(patience))
	status := s.status(t)
	content, err := io.ReadAll(s)
	if err != nil || string(content) != a.want() || status != fmt.Sprint(a.status) || s.field("x-case") != "1" {
		t.Errorf("%s: %s %v with %q, %v", name, status, s.head, content, err)
	}
	for _, field := range []string{"connection", "upgrade", "keep-alive", "x-named", "transfer-encoding", "proxy-connection"} {
		if v := s.field(field); v != "" {
			t.Errorf("%s: %s: %s, which HTTP/2 has no place for", name, field, v)
		}
	}
	if length := s.field("content-length"); length != "" && (a.status == 204 || length != fmt.Sprint(len(a.content))) {
		t.Errorf("%s: content-length: %s", name, length)
	}
	if a.method == "UPGRADE" {
		s.CloseWrite()
	}
}
