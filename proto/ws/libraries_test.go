package ws

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"net/http"
	"time"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
)

// hijackable is an answer to a handshake that gives way to a stream.
type hijackable struct {
	header http.Header
	conn   net.Conn
}

func (h *hijackable) Header() http.Header         { return h.header }
func (h *hijackable) Write(b []byte) (int, error) { return len(b), nil }
func (h *hijackable) WriteHeader(int)             {}
func (h *hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

func handshake(b []byte) (*hijackable, *http.Request) {
	r, _ := http.NewRequest("GET", "http://h/", nil)
	r.Header = http.Header{"Connection": {"upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}}
	return &hijackable{http.Header{}, stream{Reader: bytes.NewReader(b)}}, r
}

func readGorilla(b []byte) (messages [][]byte, err error) {
	w, r := handshake(b)
	c, err := (&gorilla.Upgrader{}).Upgrade(w, r, nil)
	for err == nil {
		var m []byte
		if _, m, err = c.ReadMessage(); err == nil {
			messages = append(messages, m)
		}
	}
	return messages, err
}

func readCoder(b []byte) (messages [][]byte, err error) {
	w, r := handshake(b)
	c, err := coder.Accept(w, r, nil)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for {
		_, m, err := c.Read(ctx)
		if err != nil {
			return messages, err
		}
		messages = append(messages, m)
	}
}
