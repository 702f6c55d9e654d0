package proxy

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/buf"
	"zproxy/loop"
)

// exhaust takes all room there is for small messages and every block, but for
// one to receive into where the backend has none of its own. The result gives
// them back.
func (s *stepped) exhaust() (restore func()) {
	p := s.w.pool
	p.Reserve(p.BlockBytes())
	held := []buf.View{p.Commit(p.BlockBytes())}
	for v, ok := p.Get(); ok; v, ok = p.Get() {
		held = append(held, v)
	}
	if s.w.l.IO() == loop.Epoll {
		p.Release(held[len(held)-1])
		held = held[:len(held)-1]
	}
	return func() {
		for _, v := range held {
			p.Release(v)
		}
	}
}

// A body without the head that was to go before it would be read as another
// answer: when there is no memory for the head nothing of the body is sent.
func TestNoBodyWithoutItsHead(t *testing.T) {
	responses := map[string]string{
		"length":  "HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\nHTTP/1.1 200 Poison\r\nContent-Length: 0\r\n\r\n",
		"empty":   "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
	}
	besides(t, func(t *testing.T, io_ loop.IO) {
		for name, response := range responses {
			t.Run(name, func(t *testing.T) {
				s := newStepped(t, io_, "", nil)
				b := make([]byte, 4096)
				s.read(s.origin, b)
				for range 10 {
					s.turn()
				}
				restore := s.exhaust()
				defer restore()
				unix.Write(s.origin, []byte(response))
				if n := s.read(s.client, b); n > 0 {
					t.Errorf("the client got %q, want the end of its connection", b[:n])
				}
				if m := s.w.m; m.RefusedByReason[codeMemory] != 1 {
					t.Errorf("%d answers given up for lack of memory, want 1", m.RefusedByReason[codeMemory])
				}
			})
		}
	})
}

// Bytes that wait hold the blocks they fill, in however small pieces they came.
func TestSmallPiecesHoldFewBlocks(t *testing.T) {
	const pieces = 3000
	cases := []struct{ name, text, head, piece string }{
		{"for a connection", "pool: {max_connections: 1, max_idle: 1}", "Content-Length: 1000000\r\n\r\n", "x"},
		{"for an origin", "pool: {max_connections: 2}", "Content-Length: 1000000\r\n\r\n", "x"},
		{"as chunks", "pool: {max_connections: 2}", "Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"},
	}
	besides(t, func(t *testing.T, io_ loop.IO) {
		for _, tc := range cases {
			t.Run(tc.name, func(t *testing.T) {
				done := make(chan bool)
				defer close(done)
				origin := narrow(t, func(_ int, c net.Conn) { <-done })
				r := start(t, io_, 1, yaml(origin, fmt.Sprintf(narrowUpstream, tc.text)), nil)
				r.occupy().(*net.TCPConn).SetLinger(0)
				c := r.dial()
				io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\n"+tc.head)
				fill := strings.Repeat("x", 200000) // so that the origin's kernel takes no more
				if strings.HasPrefix(tc.head, "T") {
					fill = fmt.Sprintf("%x\r\n%s\r\n", len(fill), fill)
				} else if tc.name == "for a connection" {
					fill = ""
				}
				io.WriteString(c, fill)
				time.Sleep(100 * time.Millisecond)
				before := r.reports()[0].Buf.InUse
				for range pieces {
					io.WriteString(c, tc.piece)
					time.Sleep(10 * time.Microsecond)
				}
				time.Sleep(50 * time.Millisecond)
				if n := r.reports()[0].Buf.InUse - before; n > 50 {
					t.Errorf("%d pieces hold %d blocks", pieces, n)
				}
				c.(*net.TCPConn).SetLinger(0)
			})
		}
	})
}
