package mixedload

import (
	"context"
	"net"
	"time"

	gorilla "github.com/gorilla/websocket"
)

// webSocket sends messages until it is told to go away.
func (c *client) webSocket() {
	dialer := gorilla.Dialer{HandshakeTimeout: limit, NetDialContext: func(context.Context, string, string) (net.Conn, error) { return c.dial(http1) }}
	ws, _, err := dialer.DialContext(c.load.ctx, "ws://"+c.addr+"/ws", nil)
	if err != nil {
		c.failed("opening a WebSocket: %v", err)
		return
	}
	defer ws.Close()
	got := make(chan string)
	ended := make(chan error, 1)
	gone := make(chan struct{})
	defer close(gone)
	go func() {
		for {
			_, b, err := ws.ReadMessage()
			if err != nil {
				ended <- err
				return
			}
			select {
			case got <- string(b):
			case <-gone:
				return
			}
		}
	}()
	c.converse(ws, got, ended)
}

func (c *client) converse(ws *gorilla.Conn, got chan string, ended chan error) {
	over := func(err error, waiting bool) {
		if gorilla.IsCloseError(err, gorilla.CloseGoingAway) {
			c.told()
			return
		}
		c.early("a WebSocket: %v", err)
		if waiting {
			c.failed("a message: %v", err)
		}
	}
	for c.goesOn() {
		begun, body := time.Now(), c.body()
		ws.SetWriteDeadline(begun.Add(limit))
		ws.WriteMessage(gorilla.TextMessage, []byte(body)) // why it fails is known to who reads
		select {
		case echo := <-got:
			if echo != body {
				c.failed("a message was echoed as %q, want %q", echo, body)
				return
			}
			c.answered(begun)
		case err := <-ended:
			over(err, true)
			return
		case <-time.After(limit):
			c.failed("a message has no echo")
			return
		case <-c.load.ctx.Done():
			return
		}
		select {
		case <-time.After(c.pause):
		case err := <-ended:
			over(err, false)
			return
		case <-c.load.ctx.Done():
			return
		}
	}
}
