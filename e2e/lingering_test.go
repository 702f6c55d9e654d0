package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// slowly sends pieces on c for longer than the shorter bound.
func slowly(c net.Conn, piece string) error {
	for range 16 {
		time.Sleep(250 * time.Millisecond)
		if _, err := io.WriteString(c, piece); err != nil {
			return err
		}
	}
	return nil
}

// A client that sends slowly, and reads when it has sent all, gets the answer
// that refused it, and the GOAWAY.
func TestSlowSenderIsRead(t *testing.T) {
	cert, key := selfSigned(t, p256...)
	besides(t, func(t *testing.T, backend string) {
		z := start(t, backend, fmt.Sprintf(`
listeners:
  - {address: LISTEN, protocols: [http1, h2c]}
  - {address: LISTEN2, tls: {certificates: [{cert: %q, key: %q}]}}
routes: [{path: "/*", respond: {body: x}}]
limits: {body_bytes: 1000}
`, cert, key))
		plain := func() (net.Conn, error) { return net.Dial("tcp", z.addr) }
		for _, s := range []struct {
			name, head, piece, want string
			connect                 func() (net.Conn, error)
		}{
			{"HTTP/1", "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n", strings.Repeat("x", 50_000), "HTTP/1.1 413", plain},
			{"TLS", "BAD\r\n\r\n", strings.Repeat("x", 50_000), "HTTP/1.1 400", func() (net.Conn, error) {
				return tls.Dial("tcp", secondAddr(z), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
			}},
			// DATA on stream 0 (RFC 9113 6.1).
			{"HTTP/2", http2.ClientPreface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00" + "\x00\x00\x01\x00\x00\x00\x00\x00\x00x", "\x00\x00\x08\x06\x00\x00\x00\x00\x00pingping", "\x00\x00\x08\x07\x00\x00\x00\x00\x00", plain},
		} {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				c, err := s.connect()
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(patience))
				io.WriteString(c, s.head)
				if err := slowly(c, s.piece); err != nil {
					t.Errorf("reset while it sends, for which some clients give up: %v", err)
				}
				if b, err := io.ReadAll(c); !strings.Contains(string(b), s.want) || err != nil {
					t.Errorf("%q, %v; want %q in it", b, err, s.want)
				}
			})
		}
	})
}

// Clients that only linger do not keep others out.
func TestLingeringClientsMakeRoom(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		const places = 16
		z := start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN}]
loops: 1
routes: [{path: "/*", respond: {body: x}}]
limits: {connections: %d, lingering_timeout: 5m, lingering_time: 5m}
`, places))
		for i := range 10 * places {
			c, err := net.Dial("tcp", z.addr)
			if err != nil {
				continue // refused at once, as there is no place
			}
			defer c.Close()
			io.WriteString(c, "BAD\r\n\r\n")
			if i >= places && i%places == 0 {
				time.Sleep(200 * time.Millisecond) // it looks now and then
			}
		}
		eventually(t, patience, "a client is served beside those that linger", func() (bool, string) {
			c, err := net.Dial("tcp", z.addr)
			if err != nil {
				return false, err.Error()
			}
			defer c.Close()
			status, _, err := tryGet(c, bufio.NewReader(c), "/")
			return status == 200, fmt.Sprint(status, err)
		})
	})
}
