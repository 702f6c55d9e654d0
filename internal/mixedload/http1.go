package mixedload

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// kept is one connection. It may end by Connection: close, and where that says so by nothing
// else: a request that was sent before is to be answered.
func (c *client) kept() {
	conn, err := c.dial(http1)
	if err != nil {
		c.failed("connecting: %v", err)
		return
	}
	defer conn.Close()
	defer context.AfterFunc(c.load.ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	in := bufio.NewReader(conn)
	for n := 0; c.goesOn(); n++ {
		begun := time.Now()
		more, err := c.post(conn, in, "")
		if err != nil {
			c.early("request %d: %v", n, err)
			c.failed("request %d: %v", n, err)
			return
		}
		if n == 0 {
			c.count(func(n *Counts) { n.Met++ })
		}
		if c.answered(begun); !more {
			c.told()
			return
		}
		// Whoever listens for the end while it pauses does not send into it.
		conn.SetDeadline(time.Now().Add(c.pause))
		if _, err := in.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
			c.early("while request %d has been the last one: %v", n, err)
			return
		}
	}
}

// fresh is one connection with one request.
func (c *client) fresh() {
	begun := time.Now()
	conn, err := c.dial(http1)
	if err != nil {
		c.failed("connecting: %v", err)
		return
	}
	defer conn.Close()
	defer context.AfterFunc(c.load.ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	if _, err := c.post(conn, bufio.NewReader(conn), "Connection: close\r\n"); err != nil {
		c.failed("%v", err)
		return
	}
	c.answered(begun)
	c.waits(c.pause)
}

// post sends a request and reads its response; more says whether there may be another one.
func (c *client) post(conn net.Conn, in *bufio.Reader, field string) (more bool, err error) {
	body := c.body()
	conn.SetDeadline(time.Now().Add(limit))
	if _, err := fmt.Fprintf(conn, "POST /echo HTTP/1.1\r\nHost: %s\r\n%sContent-Length: %d\r\n\r\n%s", c.addr, field, len(body), body); err != nil {
		return false, fmt.Errorf("cannot be sent: %w", err)
	}
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		return false, fmt.Errorf("has no response: %w", err)
	}
	return !res.Close, echoed(res, body)
}

// echoed reads the response to body.
func echoed(res *http.Response, body string) error {
	got, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err == nil && (res.StatusCode != http.StatusOK || string(got) != body) {
		err = fmt.Errorf("%s, %q", res.Status, got)
	}
	return err
}
