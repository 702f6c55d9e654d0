package e2e

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// upgrading is an origin that becomes an echo after 101, says how much it
// echoed when the client has finished, and closes then.
func upgrading(c *originConn) {
	r := c.request()
	if r == nil || r.Header.Get("Upgrade") != "echo" {
		c.write("HTTP/1.1 426 Upgrade Required\r\nUpgrade: echo\r\nConnection: Upgrade, close\r\nContent-Length: 0\r\n\r\n")
		return
	}
	// Its first words come with the head, in one piece.
	c.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nhi\n")
	n, err := io.Copy(c.Conn, c.br)
	if err == nil {
		fmt.Fprintf(c.Conn, "\nechoed %d", n)
	}
}

const upgrade = "GET /echo HTTP/1.1\r\nHost: e2e\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"

// A 101 makes a pipe of both connections: bytes pass both ways, more than fits
// any buffer, and each side may finish on its own.
func TestUpgrade(t *testing.T) {
	const size = 4 * mib
	besides(t, func(t *testing.T, backend string) {
		o := startOrigin(t, upgrading)
		z := bodyProxy(t, backend, o.addr)
		sum := sumOfStream(t, size)

		c := dial(t, z.addr)
		c.write(upgrade + "early ") // bytes of the new protocol right behind the request
		if res := c.head("GET"); res.StatusCode != 101 || res.Header.Get("Upgrade") != "echo" || !strings.EqualFold(res.Header.Get("Connection"), "upgrade") {
			t.Fatalf("%s %v", res.Status, res.Header)
		}
		want := "hi\nearly "
		if got := make([]byte, len(want)); true {
			if _, err := io.ReadFull(c.br, got); err != nil || string(got) != want {
				t.Fatalf("read %q, %v", got, err)
			}
		}
		if n := z.metrics(t).sum("zproxy_tunnels_open"); n != 1 {
			t.Errorf("%v tunnels open, want 1", n)
		}
		go func() {
			io.Copy(c.Conn, stream(size))
			c.Conn.(*net.TCPConn).CloseWrite()
		}()
		time.Sleep(100 * time.Millisecond) // let it fill up first
		if n, got := sumOf(t, io.LimitReader(c.br, size)); n != size || got != sum {
			t.Errorf("echo of %d bytes, SHA-256 %s; want %s", n, got, sum)
		}
		rest, err := io.ReadAll(c.br)
		if want := fmt.Sprintf("\nechoed %d", size+len("early ")); err != nil || string(rest) != want {
			t.Errorf("after the half-close: %q, %v; want %q", rest, err, want)
		}
		c.Close()

		// Refused, it is a response like any other.
		c = dial(t, z.addr)
		c.write(strings.ReplaceAll(upgrade, "Upgrade: echo", "Upgrade: other"))
		if res, _ := c.response("GET"); res.StatusCode != 426 || res.Header.Get("Upgrade") != "echo" {
			t.Errorf("%s %v, want 426", res.Status, res.Header)
		}
		c.Close()

		// A client that vanishes takes the tunnel with it.
		c = dial(t, z.addr)
		c.write(upgrade)
		c.head("GET")
		c.Conn.(*net.TCPConn).SetLinger(0)
		c.Close()
		eventually(t, patience, "the origin's side ends", func() (bool, string) {
			now, _ := o.open()
			return now == 0, fmt.Sprintf("%d open", now)
		})
	})
}
