package proxy

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/loop"
)

// Whoever sends something that is refused and then closes its side for writing
// gets its answer all the same.
func TestRefusalReachesHalfClosedClient(t *testing.T) {
	besides(t, func(t *testing.T, io_ loop.IO) {
		s := newStepped(t, io_, "", nil)
		b := make([]byte, 4096)
		s.read(s.origin, b)
		unix.Write(s.origin, []byte(okResponse))
		s.read(s.client, b)
		// Both are there when the worker looks next.
		unix.Write(s.client, []byte("GET /\r\n\r\n"))
		unix.Shutdown(s.client, unix.SHUT_WR)
		if got := string(b[:s.read(s.client, b)]); !strings.HasPrefix(got, "HTTP/1.1 400") {
			t.Errorf("got %q, want a 400", got)
		}
	})
}

// A head may be as long as the configuration allows, and a long one may come
// behind other requests.
func TestLongHeads(t *testing.T) {
	long := func(n int) string {
		var b strings.Builder
		b.WriteString("GET / HTTP/1.1\r\nHost: h\r\n")
		for b.Len() < n {
			b.WriteString("X-Long: " + strings.Repeat("x", 8000) + "\r\n")
		}
		return b.String() + "\r\n"
	}
	cases := []struct {
		name, config string
		heads        []string
	}{
		{"one of 200 KiB", "limits: {header_bytes: 256KiB}\n", []string{long(200 << 10)}},
		{"pipelined", "", []string{simpleGet, long(30 << 10), long(56 << 10)}},
	}
	besides(t, func(t *testing.T, io_ loop.IO) {
		for _, tc := range cases {
			t.Run(strings.ReplaceAll(tc.name, " ", "_"), func(t *testing.T) {
				origin := startOrigin(t, func(_ int, c net.Conn) {
					for {
						if _, err := readHead(c); err != nil {
							return
						}
						time.Sleep(50 * time.Millisecond)
						c.Write([]byte(ok2))
					}
				})
				r := start(t, io_, 1, yaml(origin, tc.config), nil)
				c := r.dial()
				all := strings.Join(tc.heads, "")
				io.WriteString(c, all[:len(all)-5])
				time.Sleep(300 * time.Millisecond)
				io.WriteString(c, all[len(all)-5:])
				for i := range tc.heads {
					if head, err := readHead(c); !strings.HasPrefix(head, "HTTP/1.1 200") {
						t.Fatalf("answer %d: %q, %v", i, head, err)
					}
					readN(c, 2)
				}
			})
		}
	})
}

// What an idle origin connection has sent by itself is no answer to a request
// that has not left yet.
func TestUnsolicitedResponseIsNoAnswer(t *testing.T) {
	besides(t, func(t *testing.T, io_ loop.IO) {
		s := newStepped(t, io_, "", nil)
		b := make([]byte, 4096)
		s.read(s.origin, b)
		unix.Write(s.origin, []byte(okResponse))
		s.read(s.client, b)
		for range 10 {
			s.turn() // until the connection is idle, and nothing is on its way
		}
		unix.Write(s.client, []byte(getRequest))
		unix.Write(s.origin, []byte("HTTP/1.1 200 Poison\r\nContent-Length: 0\r\n\r\n"))
		for range 100 {
			s.turn()
			if n, err := unix.Read(s.client, b); err == nil {
				t.Fatalf("the client got %q", b[:n])
			}
		}
		if m := s.w.m; m.UpstreamConnects != 2 {
			t.Errorf("%d connections to the origin, want a second one for the request", m.UpstreamConnects)
		}
	})
}

// A connection on whose way a request body still is carries no other request.
func TestConnectionWithUnsentBodyIsNotReused(t *testing.T) {
	besides(t, func(t *testing.T, io_ loop.IO) {
		done := make(chan bool)
		t.Cleanup(func() { close(done) })
		origin := narrow(t, func(n int, c net.Conn) {
			head, err := readHead(c)
			if err != nil {
				return
			}
			if strings.HasPrefix(head, "POST") {
				time.Sleep(100 * time.Millisecond) // until all of it is with the proxy
			}
			c.Write([]byte(ok2))
			<-done
		})
		text := "upstreams: {app: {endpoints: [{address: \"ORIGIN\"}], socket: {send_buffer: 8KiB}, timeouts: {response: 2s}}}\n"
		r := start(t, io_, 1, yaml(origin, text), nil)
		c := r.dial()
		io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 400000\r\n\r\n"+strings.Repeat("x", 400000))
		for range 2 {
			if head, err := readHead(c); !strings.HasPrefix(head, "HTTP/1.1 200") {
				t.Fatalf("got %q, %v", head, err)
			}
			readN(c, 2)
			io.WriteString(c, simpleGet)
		}
	})
}

// Trailers that cannot be kept until they leave are refused; the request does
// not go on as whole without them.
func TestLongTrailersAreRefused(t *testing.T) {
	besides(t, func(t *testing.T, io_ loop.IO) {
		arrived := make(chan string, 1)
		origin := startOrigin(t, func(_ int, c net.Conn) {
			got, _ := io.ReadAll(c)
			arrived <- string(got)
		})
		r := start(t, io_, 1, yaml(origin, "buffers: {block: 4KiB, max_per_loop: 8MiB}\n"), nil)
		c := r.dial()
		io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
		for r.reports()[0].Metrics.UpstreamBytesOut == 0 {
			time.Sleep(time.Millisecond)
		}
		io.WriteString(c, "0\r\nX-T: "+strings.Repeat("t", 5000)+"\r\n\r\n")
		if head, err := readHead(c); !strings.HasPrefix(head, "HTTP/1.1 431") {
			t.Errorf("got %q, %v; want a 431", head, err)
		}
		if got := <-arrived; strings.Contains(got, "\r\n0\r\n") {
			t.Errorf("the origin got %q, the end included", got)
		}
	})
}
