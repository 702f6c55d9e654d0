package mixedload

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	xhttp2 "golang.org/x/net/http2"
)

// messages are how many a stream of gRPC has.
const messages = 16

var transport = &xhttp2.Transport{DisableCompression: true}

// session opens a connection of HTTP/2.
func (c *client) session() (*xhttp2.ClientConn, error) {
	conn, err := c.dial(http2)
	if err != nil {
		return nil, err
	}
	h, err := transport.NewClientConn(conn)
	if err != nil {
		conn.Close()
	}
	return h, err
}

// ended says whether a connection has no more requests, and counts why. Closing: GOAWAY has come.
func (c *client) ended(h *xhttp2.ClientConn) bool {
	switch s := h.State(); {
	case s.Closing:
		c.told()
	case s.Closed:
		c.early("the connection has ended without GOAWAY")
	default:
		return false
	}
	return true
}

// refused says that GOAWAY has come before a request, which nobody has looked at then (RFC 9113 section 6.8).
func refused(h *xhttp2.ClientConn, err error) bool {
	return h.State().Closing && (strings.Contains(err.Error(), "graceful shutdown GOAWAY") || strings.Contains(err.Error(), "client conn not usable"))
}

// request is one with what it takes.
func (c *client) request(ctx context.Context, path string, body io.Reader) *http.Request {
	scheme := "http"
	if c.secure {
		scheme = "https"
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, scheme+"://"+c.addr+path, body)
	if err != nil {
		panic(err) // addresses are ours
	}
	return q
}

// fails counts what has become of a request on h.
func (c *client) fails(h *xhttp2.ClientConn, err error) {
	if s := h.State(); s.Closed && !s.Closing {
		c.early("%v", err)
	}
	c.failed("%v", err)
}

// streams is one connection, with a request at a time.
func (c *client) streams() {
	h, err := c.session()
	if err != nil {
		c.failed("connecting: %v", err)
		return
	}
	defer h.Close()
	for c.goesOn() {
		body := c.body()
		err := c.stream(h, body)
		if err != nil && refused(h, err) {
			c.unsent = body
			c.told()
			return
		}
		if err != nil {
			c.fails(h, err)
			return
		}
		if !c.waits(c.pause) || c.ended(h) {
			return
		}
	}
}

func (c *client) stream(h *xhttp2.ClientConn, body string) error {
	ctx, cancel := context.WithTimeout(c.load.ctx, limit)
	defer cancel()
	begun := time.Now()
	res, err := h.RoundTrip(c.request(ctx, "/echo", strings.NewReader(body)))
	if err != nil {
		return err
	}
	if err := echoed(res, body); err != nil {
		return err
	}
	c.answered(begun)
	return nil
}

// grpc is one connection, with a stream at a time.
func (c *client) grpc() {
	h, err := c.session()
	if err != nil {
		c.failed("connecting: %v", err)
		return
	}
	defer h.Close()
	for c.goesOn() && !c.ended(h) {
		err := c.call(h)
		if err != nil && refused(h, err) {
			c.told()
			return
		}
		if err != nil {
			c.fails(h, err)
			return
		}
	}
}

// call is a stream with messages both ways. A client that is told of the end begins no other message.
func (c *client) call(h *xhttp2.ClientConn) error {
	ctx, cancel := context.WithCancel(c.load.ctx)
	defer cancel()
	late := time.AfterFunc(limit, cancel)
	defer late.Stop()
	from, to := io.Pipe()
	defer to.CloseWithError(errors.New("the call is over"))
	q := c.request(ctx, "/grpc", from)
	q.Header.Set("Content-Type", "application/grpc")
	q.Header.Set("TE", "trailers")
	// The first message goes before the head of the response is waited for, which a proxy may hold back until then.
	begun, sent := time.Now(), message(c.body())
	wrote := make(chan error, 1)
	go func() {
		_, err := to.Write(sent)
		wrote <- err
	}()
	res, err := h.RoundTrip(q)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	for n := 0; n < messages && (n == 0 || !h.State().Closing); n++ {
		late.Reset(limit)
		if n > 0 {
			begun, sent = time.Now(), message(c.body())
			_, err = to.Write(sent)
		} else {
			err = <-wrote
		}
		if err != nil {
			return fmt.Errorf("message %d cannot be sent: %w", n, err)
		}
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != string(sent) {
			return fmt.Errorf("message %d: %q, %w", n, got, err)
		}
		late.Reset(limit + c.pause)
		if c.answered(begun); !c.waits(c.pause) {
			return nil
		}
	}
	to.Close()
	late.Reset(limit)
	if rest, err := io.ReadAll(res.Body); err != nil || len(rest) > 0 || res.Trailer.Get("Grpc-Status") != "0" {
		return fmt.Errorf("at the end of a call: %q, trailers %v, %v", rest, res.Trailer, err)
	}
	return nil
}

// message has the prefix that gRPC gives it: not compressed, and its length.
func message(text string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(text))), text...)
}
