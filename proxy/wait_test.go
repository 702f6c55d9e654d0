package proxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/loop"
	"zproxy/proto/http2"
	"zproxy/proxy/memory"
)

// narrow listens for connections that hold few bytes on their way in, so that
// a peer that does not read is felt at once.
func narrow(t *testing.T, serve func(n int, c net.Conn)) string {
	t.Helper()
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<10) })
	}}
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, l, serve)
}

// narrowUpstream is an upstream whose connections hold few bytes on their way out.
const narrowUpstream = "upstreams: {app: {endpoints: [{address: \"ORIGIN\"}], socket: {send_buffer: 8KiB}, %s}}\n"

// occupy makes a first request take the only connection that the upstream may
// have, and gives the client that sent it.
func (r *rig) occupy() net.Conn {
	r.t.Helper()
	c := r.dial()
	io.WriteString(c, simpleGet)
	for r.reports()[0].Exchanges == 0 {
		time.Sleep(time.Millisecond)
	}
	return c
}

// A request waits in the queue for its time and no longer, also when its body
// arrives meanwhile.
func TestQueueTimeoutOfRequestsWithBody(t *testing.T) {
	bodies := map[string]string{
		"whole":    "Content-Length: 5\r\n\r\nhello",
		"partial":  "Content-Length: 50\r\n\r\nhello",
		"enormous": "Content-Length: 5000000\r\n\r\n" + strings.Repeat("x", 2*memory.HighBytes),
	}
	besides(t, func(t *testing.T, io_ loop.IO) {
		for name, body := range bodies {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				origin := startOrigin(t, func(n int, c net.Conn) { readN(c, 1<<20) })
				text := "upstreams: {app: {endpoints: [{address: \"ORIGIN\"}], pool: {max_connections: 1, max_idle: 1, queue_timeout: 200ms}}}\n"
				r := start(t, io_, 1, yaml(origin, text), nil)
				first := r.occupy()
				c := r.dial()
				go io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\n"+body)
				c.SetReadDeadline(time.Now().Add(3 * time.Second))
				if head, err := readHead(c); !strings.HasPrefix(head, "HTTP/1.1 503") {
					t.Errorf("got %q, %v; want a 503", head, err)
				}
				first.(*net.TCPConn).SetLinger(0)
				first.Close()
			})
		}
	})
}

// A request that is sent again and has to queue for it has the whole
// queue_timeout, however long the origin took before it broke off.
func TestRetryHasItsOwnQueueTime(t *testing.T) {
	besides(t, func(t *testing.T, io_ loop.IO) {
		second := make(chan bool)
		origin := startOrigin(t, func(n int, c net.Conn) {
			readHead(c)
			if n == 1 {
				<-second                           // the other request waits in the queue by now
				time.Sleep(400 * time.Millisecond) // longer than queue_timeout
				return
			}
			time.Sleep(100 * time.Millisecond)
			c.Write([]byte(ok2))
		})
		text := "upstreams: {app: {endpoints: [{address: \"ORIGIN\"}], pool: {max_connections: 1, max_idle: 0, queue_timeout: 300ms}}}\n"
		r := start(t, io_, 1, yaml(origin, text), nil)
		first := r.occupy()
		second <- true
		time.Sleep(200 * time.Millisecond)
		c := r.dial()
		io.WriteString(c, simpleGet) // gets the connection that the first one loses
		if head, err := readHead(first); !strings.HasPrefix(head, "HTTP/1.1 200") {
			t.Errorf("got %q, %v after a retry; want a 200", head, err)
		}
		readHead(c)
	})
}

// An origin that takes nothing of a body that had to wait for it has its idle
// timeout to do so.
func TestOriginTakesNothingOfBacklog(t *testing.T) {
	besides(t, func(t *testing.T, io_ loop.IO) {
		release := make(chan bool)
		defer close(release)
		origin := narrow(t, func(n int, c net.Conn) {
			readHead(c)
			<-release
			c.Write([]byte(ok2))
			<-release
		})
		text := fmt.Sprintf(narrowUpstream, "timeouts: {idle: 200ms}, pool: {max_connections: 1, max_idle: 1}")
		r := start(t, io_, 1, yaml(origin, text), nil)
		r.occupy()
		c := r.dial()
		go io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5000000\r\n\r\n"+strings.Repeat("x", 2*memory.HighBytes))
		for r.reports()[0].Buf.InUse < memory.HighBytes/(16<<10) {
			time.Sleep(time.Millisecond) // until the body is held back
		}
		release <- true
		c.SetReadDeadline(time.Now().Add(3 * time.Second))
		if head, err := readHead(c); !strings.HasPrefix(head, "HTTP/1.1 504") {
			t.Errorf("got %q, %v; want a 504", head, err)
		}
	})
}

// A client that stops in the middle of its body is told so, and the origin,
// which has taken all there was, is not blamed.
func TestSlowBodyIsTheClientsFault(t *testing.T) {
	besides(t, func(t *testing.T, io_ loop.IO) {
		origin := startOrigin(t, func(n int, c net.Conn) { readN(c, 1<<20) })
		text := "limits: {request_body_timeout: 300ms}\nupstreams: {app: {endpoints: [{address: \"ORIGIN\"}], timeouts: {idle: 100ms, response: 100ms}}}\n"
		r := start(t, io_, 1, yaml(origin, text), nil)
		c := r.dial()
		io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nh")
		time.Sleep(50 * time.Millisecond)
		io.WriteString(c, "e")
		if head, err := readHead(c); !strings.HasPrefix(head, "HTTP/1.1 408") {
			t.Errorf("got %q, %v; want a 408", head, err)
		}
		if rep := r.settled()[0]; rep.Pools[0].ResponseErrors != 0 {
			t.Errorf("the origin has %d failed responses, want none", rep.Pools[0].ResponseErrors)
		}
	})
}

// A client that waits for the origin's 100 has no body to send yet.
func TestExpectWaitsForTheOrigin(t *testing.T) {
	besides(t, func(t *testing.T, io loop.IO) {
		origin := startOrigin(t, func(n int, c net.Conn) { readN(c, 1<<20) })
		text := "limits: {request_body_timeout: 100ms}\nupstreams: {app: {endpoints: [{address: \"ORIGIN\"}], timeouts: {response: 300ms}}}\n"
		r := start(t, io, 1, yaml(origin, text), nil)
		if got := r.ask("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"); got != "HTTP/1.1 504 Gateway Timeout" {
			t.Errorf("got %s, want a 504", got)
		}
	})
}

// The end of an upload does not let a client off that takes no answer.
func TestSendTimeoutOutlastsTheUpload(t *testing.T) {
	besides(t, func(t *testing.T, io_ loop.IO) {
		origin := startOrigin(t, func(n int, c net.Conn) {
			readHead(c)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
			for chunk := make([]byte, 64<<10); ; {
				if _, err := c.Write(chunk); err != nil {
					return
				}
			}
		})
		r := start(t, io_, 1, yaml(origin, "limits: {send_timeout: 1s}\n"), nil)
		c := r.dial()
		io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
		for held, spliced := 0, uint64(0); held < 10; held++ { // until the origin is held back
			time.Sleep(20 * time.Millisecond)
			if n := r.reports()[0].Loop.Spliced; n != spliced || n == 0 {
				held, spliced = 0, n
			}
		}
		io.WriteString(c, "0\r\n\r\n")
		r.settled()
	})
}

// Whose head is cut in two because there is no memory for the rest of it is told so,
// and not that he was too slow.
func TestHeadsThatStarve(t *testing.T) {
	h2 := http2.Preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00" // SETTINGS
	for name, heads := range map[string][2]string{
		"HTTP/1": {"GET / HTTP/1.1\r\nHo", "st: h\r\n\r\n"},
		"HTTP/2": {h2 + "\x00\x00\x64\x01\x05\x00\x00\x00\x01\x82", strings.Repeat("\x84", 99)},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, "listeners: [{address: \"127.0.0.1:8080\", protocols: [http1, h2c]}]\nroutes: [{path: \"/*\", respond: {body: x}}]\n"+
				"limits: {request_header_timeout: 1s}\n", nil)
			p := s.world.Connect(simListen, simListen)
			p.Write([]byte(heads[0]))
			s.until(1e8, func() bool { return false })
			readAll(p)
			s.w.pool.Reserve(1) // there is room for an answer
			held := append(s.holdAll(), s.w.pool.Commit(1))
			p.Write([]byte(heads[1]))
			ended := func() bool { return s.w.m.RefusedByReason[codeMemory]+s.w.m.RefusedByReason[codeHeadTimeout] > 0 }
			s.until(3e9, ended)
			s.until(1e8, func() bool { return false })
			if m := s.w.m; m.RefusedByReason[codeMemory] != 1 || m.Timeouts408 != 0 {
				t.Errorf("%d were refused for want of memory, %d for being slow; want 1, 0", m.RefusedByReason[codeMemory], m.Timeouts408)
			}
			if got := readAll(p); name == "HTTP/1" && !strings.HasPrefix(got, "HTTP/1.1 503 ") {
				t.Errorf("the client is told %q", got)
			}
			for _, v := range held {
				s.w.pool.Release(v)
			}
		})
	}
}
