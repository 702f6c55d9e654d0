package proxy

import (
	"testing"

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
	onBackends(t, func(t *testing.T, io_ loop.IO) {
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
