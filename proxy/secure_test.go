package proxy

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"zproxy/loop"
)

const secureText = `
listeners: [{address: "127.0.0.1:8443", tls: {certificates: [{cert: cert.pem, key: key.pem}]}}]
routes: [{path: "/*", respond: {body: ok}}]
`

// heldBack is a connection whose writes do not leave while hold is set.
type heldBack struct {
	net.Conn
	hold bool
	held []byte
}

func (c *heldBack) Write(b []byte) (int, error) {
	if c.hold {
		c.held = append(c.held, b...)
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// secureClient is a client within TLS and what is under it.
func secureClient(t *testing.T, addr string) (*tls.Conn, *heldBack) {
	t.Helper()
	return secureClientOf(t, addr, "http/1.1")
}

func secureClientOf(t *testing.T, addr, protocol string) (*tls.Conn, *heldBack) {
	t.Helper()
	raw, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.SetDeadline(time.Now().Add(30 * time.Second))
	t.Cleanup(func() { raw.Close() })
	under := &heldBack{Conn: raw}
	c := tls.Client(under, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}, DynamicRecordSizingDisabled: true})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	return c, under
}

// A client whose records are not in order is counted under its own name.
func TestBrokenRecordsAreCounted(t *testing.T) {
	onBackends(t, func(t *testing.T, io loop.IO) {
		r := start(t, io, 1, secureText, nil)
		c, under := secureClient(t, r.addr)
		under.hold = true
		if _, err := c.Write([]byte("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		under.held[len(under.held)-1] ^= 1
		if _, err := under.Conn.Write(under.held); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err == nil || err.Error() != "remote error: tls: bad record MAC" {
			t.Errorf("the client is told %v", err)
		}
		if n := r.settled()[0].Metrics.RefusedByReason[codeRecord]; n != 1 {
			t.Errorf("counted %d times", n)
		}
	})
}

// An answer that has not left when its connection breaks is dropped: nothing follows
// an alert, of either side.
func TestAlertBehindRequest(t *testing.T) {
	onBackends(t, func(t *testing.T, io loop.IO) {
		for _, spoil := range []bool{true, false} {
			r := start(t, io, 1, secureText, nil)
			c, under := secureClient(t, r.addr)
			under.hold = true
			if _, err := c.Write([]byte("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")); err != nil {
				t.Fatal(err)
			}
			whole := len(under.held)
			if spoil {
				_, _ = c.Write([]byte("GET"))
				under.held[whole+10] ^= 1
			} else {
				// A ticket is nothing that clients send: crypto/tls answers what breaks the rules
				// with a fatal alert, here by a record of the server's that was made up.
				c.NetConn().(*heldBack).Conn = fed{under.Conn, []byte{23, 3, 3, 0, 17, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17}}
				if _, err := c.Read(make([]byte, 1)); err == nil {
					t.Fatal("a made-up record opens")
				}
			}
			raw := under.Conn
			if f, ok := raw.(fed); ok {
				raw = f.Conn
			}
			if _, err := raw.Write(under.held); err != nil {
				t.Fatal(err)
			}
			for b := make([]byte, 1000); ; {
				if _, err := raw.Read(b); err != nil {
					break
				}
			}
			if n := r.settled()[0].Metrics.RefusedByReason[codeRecord]; n != 1 {
				t.Errorf("spoilt %v: counted %d times", spoil, n)
			}
			c, _ = secureClient(t, r.addr)
			if _, err := c.Write([]byte("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 12)
			if n, err := c.Read(b); err != nil || string(b[:n]) != "HTTP/1.1 200" {
				t.Errorf("the next client is answered %q, %v", b[:n], err)
			}
		}
	})
}

// fed is a connection from which other bytes are read.
type fed struct {
	net.Conn
	b []byte
}

func (f fed) Read(b []byte) (int, error) { return copy(b, f.b), nil }

// Clients that each hold a part of a record do not keep others from being served.
func TestHalfRecordsDoNotFillThePool(t *testing.T) {
	onBackends(t, func(t *testing.T, io loop.IO) {
		r := start(t, io, 1, secureText+"buffers: {block: 16KiB, max_per_loop: 2MiB}\nlimits: {keepalive_timeout: 1h, request_header_timeout: 1h}\n", nil)
		for range 160 {
			c, under := secureClient(t, r.addr)
			under.hold = true
			if _, err := c.Write(make([]byte, 16000)); err != nil {
				t.Fatal(err)
			}
			if _, err := under.Conn.Write(under.held[:12000]); err != nil {
				t.Fatal(err)
			}
		}
		// Who comes while the blocks come back one by one may be told so, by a 503.
		b := make([]byte, 12)
		for deadline := time.Now().Add(patience); ; {
			c, _ := secureClient(t, r.addr)
			if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Fill: %s\r\nConnection: close\r\n\r\n", strings.Repeat("f", 8000)); err != nil {
				t.Fatal(err)
			}
			n, err := c.Read(b)
			if err == nil && string(b[:n]) == "HTTP/1.1 200" {
				break
			}
			if err != nil || string(b[:n]) != "HTTP/1.1 503" || time.Now().After(deadline) {
				t.Fatalf("another client is answered %q, %v", b[:n], err)
			}
		}
		if n := r.settled()[0].Metrics.RefusedByReason[codeHeld]; n == 0 {
			t.Error("nobody was ended for what he held")
		}
	})
}

// A worker that drains waits for no handshake longer than for requests.
func TestDrainEndsHandshakes(t *testing.T) {
	onBackends(t, func(t *testing.T, io loop.IO) {
		r := start(t, io, 1, secureText+"shutdown: {grace: 300ms}\n", nil)
		for _, say := range []string{"", "\x16\x03\x01"} {
			c, err := net.Dial("tcp", r.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Write([]byte(say)); err != nil {
				t.Fatal(err)
			}
		}
		r.settled()
		began := time.Now()
		AskDrain(r.peers[0].Loop)
		r.done.Wait()
		if took := time.Since(began); took > 8*time.Second { // handshake_timeout is 10 s
			t.Errorf("the worker ends after %v", took)
		}
	})
}
