package proxy

import (
	"bufio"
	"bytes"
	"compress/flate"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	gorilla "github.com/gorilla/websocket"
	"zproxy/proxy/memory"
)

// socketEcho is a WebSocket server that sends every message back. It checks
// that texts are UTF-8, which its library leaves to the application.
func socketEcho(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	up := gorilla.Upgrader{EnableCompression: true, Subprotocols: []string{"superchat"}, CheckOrigin: func(*http.Request) bool { return true }}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		for {
			kind, b, err := c.ReadMessage()
			if err == nil && kind == gorilla.TextMessage && !utf8.Valid(b) {
				c.WriteControl(gorilla.CloseMessage, gorilla.FormatCloseMessage(1007, ""), time.Now().Add(time.Second))
				err = errors.New("not UTF-8")
			}
			if err != nil {
				c.NetConn().(*net.TCPConn).CloseWrite() // the Close frame is to arrive
				c.NetConn().SetReadDeadline(time.Now().Add(100 * time.Millisecond))
				io.Copy(io.Discard, c.NetConn())
				return
			}
			c.WriteMessage(kind, b)
		}
	})}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return l.Addr().String()
}

const (
	wsKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	wsAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// acceptOf is the accept value of a key (RFC 6455 1.3).
func acceptOf(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func wsRequest(fields ...string) string {
	all := append([]string{"GET /ws HTTP/1.1", "Host: h", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + wsKey}, fields...)
	return strings.Join(all, "\r\n") + "\r\n\r\n"
}

func wsResponse(fields ...string) string {
	all := append([]string{"HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: " + wsAccept}, fields...)
	return strings.Join(all, "\r\n") + "\r\n\r\n"
}

// socketConn is a client, or an origin, behind its handshake.
type socketConn struct {
	net.Conn
	in *bufio.Reader
}

func openSocket(t testing.TB, addr string, fields ...string) *socketConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { c.Close() })
	io.WriteString(c, wsRequest(fields...))
	s := &socketConn{c, bufio.NewReader(c)}
	res, err := http.ReadResponse(s.in, nil)
	if err != nil || res.StatusCode != 101 || res.Header.Get("Sec-WebSocket-Accept") != wsAccept || res.Header.Get("Upgrade") != "websocket" {
		t.Fatalf("handshake: %v %+v", err, res)
	}
	return s
}

// socketOrigin hands over each WebSocket that the proxy opens.
func socketOrigin(t *testing.T, fields ...string) (addr string, opened chan *socketConn) {
	opened = make(chan *socketConn, 16)
	addr = startOrigin(t, func(_ int, c net.Conn) {
		head, err := readHead(c)
		_, key, ok := strings.Cut(head, "\r\nSec-WebSocket-Key: ")
		key, _, _ = strings.Cut(key, "\r\n")
		if err != nil || !ok || len(key) != len(wsKey) || !strings.HasPrefix(head, "GET /ws HTTP/1.1\r\nHost: h\r\n") ||
			!strings.Contains(head, "Upgrade: websocket\r\nConnection: upgrade\r\n") || strings.Count(head, "13\r\n") != 1 {
			io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
			return
		}
		io.WriteString(c, strings.Replace(wsResponse(fields...), wsAccept, acceptOf(key), 1))
		c.SetDeadline(time.Now().Add(patience))
		opened <- &socketConn{c, bufio.NewReader(c)}
		time.Sleep(patience) // until serveOn closes it, or the one who has it
	})
	return addr, opened
}

// wsFrame builds a frame; b0 is its first byte, a mask makes it a client's.
func wsFrame(b0 byte, payload string, masked bool) []byte {
	b := []byte{b0}
	bit := byte(0)
	if masked {
		bit = 0x80
	}
	switch n := len(payload); {
	case n > 0xffff:
		b = binary.BigEndian.AppendUint64(append(b, bit|127), uint64(n))
	case n > 125:
		b = binary.BigEndian.AppendUint16(append(b, bit|126), uint16(n))
	default:
		b = append(b, bit|byte(n))
	}
	if !masked {
		return append(b, payload...)
	}
	mask := []byte{0x11, 0x22, 0xf3, 0x44}
	b = append(b, mask...)
	for i := range len(payload) {
		b = append(b, payload[i]^mask[i&3])
	}
	return b
}

// clientSays and originSays build frames in a row: "text", "binary", "close",
// "ping", "pong" and the like with their payloads.
func clientSays(says ...string) string { return saying(true, says) }
func originSays(says ...string) string { return saying(false, says) }

var wsOpcodes = map[string]byte{"more": 0x00, "last": 0x80, "text": 0x81, "Text": 0x01, "binary": 0x82, "Binary": 0x02, "close": 0x88, "ping": 0x89, "pong": 0x8a,
	"ztext": 0xc1, "zText": 0x41}

func saying(masked bool, says []string) string {
	var b []byte
	for i := 0; i < len(says); i += 2 {
		b0, ok := wsOpcodes[says[i]]
		if !ok {
			panic(says[i])
		}
		b = append(b, wsFrame(b0, says[i+1], masked)...)
	}
	return string(b)
}

func code(n int, reason string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(n))) + reason
}

// next describes the next frame; masked ones must come where a server reads.
func (s *socketConn) next() (string, error) {
	b0, err := s.in.ReadByte()
	if err != nil {
		return "", err
	}
	b1, err := s.in.ReadByte()
	if err != nil {
		return "", io.ErrUnexpectedEOF
	}
	n := uint64(b1 & 0x7f)
	if more := map[uint64]int{126: 2, 127: 8}[n]; more > 0 {
		long := make([]byte, 8)
		if _, err := io.ReadFull(s.in, long[8-more:]); err != nil {
			return "", io.ErrUnexpectedEOF
		}
		n = binary.BigEndian.Uint64(long)
	}
	var mask [4]byte
	if b1&0x80 != 0 {
		io.ReadFull(s.in, mask[:])
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(s.in, payload); err != nil {
		return "", io.ErrUnexpectedEOF
	}
	for i := range payload {
		payload[i] ^= mask[i&3]
	}
	name := ""
	for k, v := range wsOpcodes {
		if v == b0 {
			name = k
		}
	}
	if strings.HasPrefix(name, "z") {
		payload = inflate(payload)
	}
	switch {
	case name == "":
		name = fmt.Sprintf("%02x", b0)
	case name == "close" && n >= 2:
		name = fmt.Sprintf("close %d", binary.BigEndian.Uint16(payload))
		return name, nil
	case name == "close":
		return "close", nil
	}
	if len(payload) > 40 {
		return fmt.Sprintf("%s of %d, %08x", name, len(payload), crc32.ChecksumIEEE(payload)), nil
	}
	return fmt.Sprintf("%s %q", name, payload), nil
}

// inflate undoes permessage-deflate for one message by itself.
func inflate(b []byte) []byte {
	r := flate.NewReader(io.MultiReader(bytes.NewReader(b), strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff")))
	out, _ := io.ReadAll(r)
	return out
}

func deflate(s string) string {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, 6)
	io.WriteString(w, s)
	w.Flush()
	return strings.TrimSuffix(b.String(), "\x00\x00\xff\xff")
}

// rest describes everything up to the end of the connection.
func (s *socketConn) rest() string {
	var all []string
	for {
		f, err := s.next()
		switch {
		case err == nil:
			all = append(all, f)
			continue
		case err == io.EOF:
			all = append(all, "end")
		case errors.Is(err, syscall.ECONNRESET):
			all = append(all, "reset")
		default:
			all = append(all, "cut")
		}
		return strings.Join(all, "; ")
	}
}

// want reads frames up to what is wanted.
func (s *socketConn) want(t *testing.T, frames ...string) {
	t.Helper()
	for _, want := range frames {
		s.SetReadDeadline(time.Now().Add(patience))
		if got, err := s.next(); err != nil || got != want {
			t.Fatalf("got %s, %v; want %s", got, err, want)
		}
	}
}

func (s *socketConn) say(t *testing.T, b string) {
	t.Helper()
	if _, err := io.WriteString(s.Conn, b); err != nil {
		t.Fatal(err)
	}
}

// backpressureBlocks is how many blocks may wait for a side that takes nothing,
// when the other one writes messages of so many bytes one by one. The marks
// count bytes, and a message that was received alone has a block to itself:
// only pieces of up to 2 KiB are put together, behind eight blocks. So that is
// a block for each message below the mark, and for the one that exceeds it;
// then what a receive brings that was under way: 16 blocks full of bytes at
// most, in the ring by messages again; and the eight.
func backpressureBlocks(message, block int) int {
	return memory.HighBytes/message + 1 + 16*block/message + 1 + 8
}
