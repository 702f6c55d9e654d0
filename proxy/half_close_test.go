package proxy

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	xnet "golang.org/x/net/http2"

	"zproxy/loop"
)

// ended reads to the end of the connection and gives what came.
func ended(t *testing.T, c net.Conn) string {
	t.Helper()
	got, closed := hear(c, func(string) bool { return false })
	if !closed {
		t.Errorf("the connection is not closed; it has %q", got)
	}
	return got
}

// A time-out is held against the origin, unless its client had closed its write
// side and may have left.
func TestTimeoutOfHalfClosedClient(t *testing.T) {
	besides(t, func(t *testing.T, io_ loop.IO) {
		for _, half := range []bool{false, true} {
			origin := startOrigin(t, func(n int, c net.Conn) { readN(c, 1<<20) })
			r := start(t, io_, 1, yaml(origin, "upstreams: {app: {endpoints: [{address: \"ORIGIN\"}], timeouts: {response: 200ms}}}\n"), nil)
			c := r.dial()
			io.WriteString(c, simpleGet)
			if half {
				c.(*net.TCPConn).CloseWrite()
			}
			if head, err := readHead(c); !strings.HasPrefix(head, "HTTP/1.1 504") {
				t.Errorf("half-closed %v: got %q, %v; want a 504", half, head, err)
			}
			rep := r.settled()[0]
			blamed, refused := rep.Pools[0].ResponseErrors, rep.Metrics.RefusedByReason[codeHalfClosed]
			if blamed != uint64(bit(!half)) || refused != uint64(bit(half)) || rep.Metrics.Timeouts504 != uint64(bit(!half)) {
				t.Errorf("half-closed %v: %d failed responses of the origin, %d of half-closed clients, %d in all", half, blamed, refused, rep.Metrics.Timeouts504)
			}
		}
	})
}

// With half_close: end, a client's FIN frees the origin, and what the client had
// of its answer is seen to be cut. An answer to the request before still leaves.
func TestHalfCloseEnds(t *testing.T) {
	t.Parallel()
	const begun = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"
	text := "limits: {half_close: %s}\nroutes: [{path: \"/*\", upstream: app}, {path: /own, respond: {body: own}}]\n" +
		"upstreams: {app: {endpoints: [{address: \"ORIGIN\"}]}}\n"
	for name, answer := range map[string]string{"silent": "", "begun": begun} {
		t.Run(name, func(t *testing.T) {
			besides(t, func(t *testing.T, io_ loop.IO) {
				asked, freed := make(chan bool, 1), make(chan time.Time, 1)
				origin := startOrigin(t, func(n int, c net.Conn) {
					readHead(c)
					io.WriteString(c, answer)
					asked <- true
					c.SetReadDeadline(time.Now().Add(patience))
					if _, err := c.Read(make([]byte, 1)); err == io.EOF {
						freed <- time.Now()
					}
				})
				r := start(t, io_, 1, yaml(origin, fmt.Sprintf(text, "end")), nil)
				c := r.dial()
				io.WriteString(c, "GET /own HTTP/1.1\r\nHost: h\r\n\r\n"+simpleGet)
				want := "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 3\r\n\r\nown" + answer
				<-asked
				begun, _ := hear(c, func(got string) bool { return dateLine.ReplaceAllString(got, "") == want })
				c.(*net.TCPConn).CloseWrite()
				if got := dateLine.ReplaceAllString(begun+ended(t, c), ""); got != want {
					t.Errorf("the client reads %q, want %q", got, want)
				}
				select {
				case <-freed:
				case <-time.After(patience):
					t.Error("the origin's connection is not closed")
				}
				rep := r.settled()[0]
				if rep.Metrics.ClientAborts != 1 || rep.Metrics.OriginAborts != 0 || rep.Pools[0].ResponseErrors != 0 {
					t.Errorf("%d clients that left, %d origins, %d failed responses", rep.Metrics.ClientAborts, rep.Metrics.OriginAborts, rep.Pools[0].ResponseErrors)
				}
			})
		})
	}
}

// The stream to an HTTP/2 origin is reset, and its connection goes on.
func TestHalfCloseEndsTheStream(t *testing.T) {
	besides(t, func(t *testing.T, io_ loop.IO) {
		asked, code := make(chan bool, 1), make(chan xnet.ErrCode, 1)
		origin := startOrigin(t, func(n int, conn net.Conn) {
			fr := framed(conn)
			request(fr)
			asked <- true
			for {
				f, err := fr.ReadFrame()
				if err != nil {
					return
				}
				if reset, ok := f.(*xnet.RSTStreamFrame); ok {
					code <- reset.ErrCode
				}
			}
		})
		r := start(t, io_, 1, yaml(origin, "limits: {half_close: end}\nupstreams: {app: {protocol: h2c, endpoints: [{address: \"ORIGIN\"}]}}\n"), nil)
		c := r.dial()
		io.WriteString(c, simpleGet)
		<-asked
		c.(*net.TCPConn).CloseWrite()
		if got := ended(t, c); got != "" {
			t.Errorf("the client reads %q", got)
		}
		select {
		case got := <-code:
			if got != xnet.ErrCodeCancel {
				t.Errorf("reset with %v", got)
			}
		case <-time.After(patience):
			t.Error("the stream is not reset")
		}
	})
}
