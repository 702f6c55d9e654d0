package proxy

import (
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"zproxy/loop"
	"zproxy/proxy/memory"
)

const ok2 = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// ask sends one request on a connection of its own and gives the status line.
func (r *rig) ask(request string) string {
	r.t.Helper()
	c := r.dial()
	defer c.Close()
	io.WriteString(c, request)
	head, err := readHead(c)
	if err != nil {
		return "no answer: " + err.Error()
	}
	return strings.SplitN(head, "\r\n", 2)[0]
}

const simpleGet = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"

// A kept-alive connection that the origin has closed meanwhile is replaced
// without the client seeing it, if the request may be repeated.
func TestStaleConnectionIsReplaced(t *testing.T) {
	besides(t, func(t *testing.T, io loop.IO) {
		var served atomic.Int32
		origin := startOrigin(t, func(n int, c net.Conn) {
			if _, err := readHead(c); err != nil {
				return
			}
			served.Add(1)
			c.Write([]byte(ok2))
			if n == 1 { // take the next request and hang up on it
				readHead(c)
				return
			}
			for {
				if _, err := readHead(c); err != nil {
					return
				}
				served.Add(1)
				c.Write([]byte(ok2))
			}
		})
		r := start(t, io, 1, yaml(origin, ""), nil)
		for i := range 3 {
			if got := r.ask(simpleGet); got != "HTTP/1.1 200 OK" {
				t.Errorf("request %d: %s", i, got)
			}
		}
		m := r.settled()[0].Metrics
		if m.UpstreamStale != 1 || m.UpstreamRetries != 1 || served.Load() != 3 {
			t.Errorf("stale %d, retries %d, served %d; want 1, 1, 3", m.UpstreamStale, m.UpstreamRetries, served.Load())
		}
	})
}

// A POST may have had its effect: it is not sent twice.
func TestPostIsNotRepeated(t *testing.T) {
	besides(t, func(t *testing.T, io loop.IO) {
		var posts atomic.Int32
		origin := startOrigin(t, func(n int, c net.Conn) {
			for {
				head, err := readHead(c)
				if err != nil {
					return
				}
				if strings.HasPrefix(head, "POST") {
					posts.Add(1)
					return
				}
				c.Write([]byte(ok2))
			}
		})
		r := start(t, io, 1, yaml(origin, ""), nil)
		r.ask(simpleGet)
		if got := r.ask("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"); got != "HTTP/1.1 502 Bad Gateway" {
			t.Errorf("got %s, want a 502", got)
		}
		if n := posts.Load(); n != 1 {
			t.Errorf("the origin saw %d POSTs, want 1", n)
		}
	})
}

// Connect failures go to the next endpoint, whatever the method.
func TestNextEndpointAfterConnectFailure(t *testing.T) {
	besides(t, func(t *testing.T, io loop.IO) {
		origin := startOrigin(t, func(n int, c net.Conn) {
			for {
				if _, err := readHead(c); err != nil {
					return
				}
				readN(c, 2)
				c.Write([]byte(ok2))
			}
		})
		text := yaml(origin, "upstreams: {app: {endpoints: [{address: \"127.0.0.1:1\"}, {address: \"ORIGIN\"}]}}\n")
		r := start(t, io, 1, text, nil)
		for i := range 4 {
			if got := r.ask("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi"); got != "HTTP/1.1 200 OK" {
				t.Errorf("request %d: %s", i, got)
			}
		}
		r.settled()
	})
}

// Deadlines end waits with the status that says whose fault it was.
func TestDeadlines(t *testing.T) {
	cases := []struct{ name, config, send, want string }{
		{"origin never answers", "upstreams: {app: {endpoints: [{address: \"ORIGIN\"}], timeouts: {response: 100ms}}}\n", simpleGet, "HTTP/1.1 504 Gateway Timeout"},
		{"head never ends", "limits: {request_header_timeout: 100ms}\n", "GET / HTTP/1.1\r\nHost:", "HTTP/1.1 408 Request Timeout"},
		{"body never comes", "limits: {request_body_timeout: 100ms}\n", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe", "HTTP/1.1 408 Request Timeout"},
		{"no connection comes free", "upstreams: {app: {endpoints: [{address: \"ORIGIN\"}], pool: {max_connections: 1, max_idle: 1, prewarm: 0, queue_timeout: 100ms}}}\n", "", "HTTP/1.1 503 Service Unavailable"},
		{"queue full", "upstreams: {app: {endpoints: [{address: \"ORIGIN\"}], pool: {max_connections: 1, max_idle: 1, prewarm: 0, queue: 0}}}\n", "", "HTTP/1.1 503 Service Unavailable"},
	}
	besides(t, func(t *testing.T, io loop.IO) {
		for _, tc := range cases {
			t.Run(strings.ReplaceAll(tc.name, " ", "_"), func(t *testing.T) {
				t.Parallel()
				origin := startOrigin(t, func(n int, c net.Conn) { readN(c, 1<<20) })
				r := start(t, io, 1, yaml(origin, tc.config), nil)
				send := tc.send
				if send == "" { // the only connection is taken by a first request
					first := r.dial()
					first.Write([]byte(simpleGet))
					defer first.Close()
					first.(*net.TCPConn).SetLinger(0) // so that its request does not outlive it
					for r.reports()[0].Exchanges == 0 {
						time.Sleep(time.Millisecond)
					}
					send = simpleGet
				}
				if got := r.ask(send); got != tc.want {
					t.Errorf("got %s, want %s", got, tc.want)
				}
			})
		}
	})
}

// An idle connection is closed without a word when its time is over.
func TestIdleClientIsClosedQuietly(t *testing.T) {
	besides(t, func(t *testing.T, io loop.IO) {
		r := start(t, io, 1, yaml("127.0.0.1:1", "limits: {keepalive_timeout: 1s, request_header_timeout: 1s}\nroutes: [{path: \"/*\", respond: {status: 200, body: ok}}]\n"), nil)
		c := r.dial()
		c.Write([]byte(simpleGet))
		got, closed := hear(c, func(string) bool { return false })
		if !strings.HasSuffix(got, "\r\n\r\nok") || !closed {
			t.Errorf("got %q, closed %v", got, closed)
		}
	})
}

// pattern is n bytes that differ at every distance below 251.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}

// Bodies larger than everything that is buffered come through byte for byte,
// both ways at once, with a slow client, chunked or not, in bounded memory.
func TestLargeBodiesSlowClient(t *testing.T) {
	const size = 6 << 20
	want := pattern(size)
	besides(t, func(t *testing.T, io_ loop.IO) {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("chunked_%v", chunked), func(t *testing.T) {
				origin := startOrigin(t, echoOrigin(size))
				r := start(t, io_, 1, yaml(origin, ""), nil)
				c := r.dial()
				c.SetDeadline(time.Now().Add(30 * time.Second))
				go sendBody(c, want, chunked)
				head, err := readHead(c)
				if err != nil || !strings.HasPrefix(head, "HTTP/1.1 200") {
					t.Fatalf("%q, %v", head, err)
				}
				got := make([]byte, 0, size)
				chunk := make([]byte, 96<<10)
				peak := 0
				for len(got) < size {
					n, err := c.Read(chunk)
					if err != nil {
						t.Fatalf("after %d bytes: %v", len(got), err)
					}
					got = append(got, chunk[:n]...)
					if len(got) < size/4 { // slow for a while
						time.Sleep(2 * time.Millisecond)
						peak = max(peak, r.reports()[0].Buf.InUse)
					}
				}
				if string(got) != string(want) {
					t.Error("bytes differ")
				}
				if limit := 4 * memory.HighBytes / (16 << 10); peak > limit {
					t.Errorf("%d blocks in use at the peak, want at most %d", peak, limit)
				}
				c.Close()
				r.settled()
			})
		}
	})
}

// echoOrigin answers a request with its body of size bytes, as it comes in.
func echoOrigin(size int) func(int, net.Conn) {
	return func(n int, c net.Conn) {
		head, err := readHead(c)
		if err != nil {
			return
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
		if strings.Contains(head, "chunked") {
			io.Copy(c, io.LimitReader(httputil.NewChunkedReader(c), int64(size)))
		} else {
			io.Copy(c, io.LimitReader(c, int64(size)))
		}
		io.Copy(io.Discard, c) // to close on unread bytes would reset the connection
	}
}

func sendBody(c net.Conn, body []byte, chunked bool) {
	if !chunked {
		fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", len(body))
		c.Write(body)
		return
	}
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
	for n := 1; len(body) > 0; n = n*3%70000 + 1 {
		n = min(n, len(body))
		fmt.Fprintf(c, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	io.WriteString(c, "0\r\n\r\n")
}

// Two loops share a cap of one connection: the one that has none takes over
// its neighbour's idle connection, instead of waiting for it to end.
func TestNeighboursConnectionIsTakenOver(t *testing.T) {
	besides(t, func(t *testing.T, io_ loop.IO) {
		var conns atomic.Int32
		origin := startOrigin(t, func(n int, c net.Conn) {
			conns.Store(int32(n))
			for {
				if _, err := readHead(c); err != nil {
					return
				}
				c.Write([]byte(ok2))
			}
		})
		r := start(t, io_, 2, yaml(origin, "upstreams: {app: {endpoints: [{address: \"ORIGIN\"}], pool: {max_connections: 1, max_idle: 1, prewarm: 0}}}\n"), nil)
		// Clients of both loops, asked in turn.
		var clients []net.Conn
		for range 16 {
			clients = append(clients, r.dial())
		}
		for range 5 {
			for i, c := range clients {
				io.WriteString(c, simpleGet)
				head, err := readHead(c)
				if err != nil || !strings.HasPrefix(head, "HTTP/1.1 200") {
					t.Fatalf("client %d: %q, %v", i, head, err)
				}
				readN(c, 2)
			}
		}
		var adopted, given, served uint64
		for _, rep := range r.settled() {
			adopted += rep.Metrics.UpstreamAdopted
			given += rep.Metrics.UpstreamHandedOver
			served = max(served, rep.Metrics.Requests)
		}
		if served == 80 {
			t.Skip("all 16 connections were steered to one loop; nothing to take over")
		}
		if adopted == 0 || adopted != given || conns.Load() != 1 {
			t.Errorf("adopted %d, handed over %d, over %d origin connections; want as many adopted as handed over, over 1", adopted, given, conns.Load())
		}
	})
}

// Pipelined requests are answered in order, however they are cut, and a
// client that takes no answers is not read for ever.
func TestPipelining(t *testing.T) {
	const n = 500
	besides(t, func(t *testing.T, io_ loop.IO) {
		origin := startOrigin(t, func(_ int, c net.Conn) {
			for {
				head, err := readHead(c)
				if err != nil {
					return
				}
				path := strings.Fields(head)[1]
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(path), path)
			}
		})
		r := start(t, io_, 1, yaml(origin, ""), nil)
		c := r.dial()
		var send, want strings.Builder
		for i := range n {
			fmt.Fprintf(&send, "GET /%d HTTP/1.1\r\nHost: h\r\n\r\n", i)
			path := fmt.Sprintf("/%d", i)
			fmt.Fprintf(&want, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(path), path)
		}
		go io.WriteString(c, send.String())
		got, _ := hear(c, func(got string) bool {
			return len(dateLine.ReplaceAllString(got, "")) >= want.Len()
		})
		if dateLine.ReplaceAllString(got, "") != want.String() {
			t.Error("answers differ from what was asked, or came in another order")
		}
		c.Close()
		r.settled()
	})
}

// A client that pipelines for ever and reads nothing is held back.
func TestPipeliningWithoutReading(t *testing.T) {
	body := strings.Repeat("x", 8<<10)
	besides(t, func(t *testing.T, io_ loop.IO) {
		r := start(t, io_, 1, yaml("127.0.0.1:1", "routes: [{path: \"/*\", respond: {status: 200, body: "+body+"}}]\n"), nil)
		c := r.dial()
		c.SetWriteDeadline(time.Now().Add(time.Second))
		for {
			if _, err := io.WriteString(c, strings.Repeat(simpleGet, 100)); err != nil {
				break // no longer read
			}
		}
		rep := r.reports()[0]
		// An answer has a block of its own: two do not fit. Requests are served
		// until the answers pass the mark, and of the first a part may have left.
		const block, turnBlocks = 16 << 10, 16
		answers := memory.HighBytes/len(body) + 2
		// Requests are received until more than pipelineBytes wait, and one turn
		// more: what was asked for before it, and what came during it.
		requests := pipelineBytes/block + 1 + 2*turnBlocks
		if held := rep.Buf.InUse - rep.Loop.Posted; held > answers+requests || held < answers/2 {
			t.Errorf("%d blocks held, want at most %d for answers and %d for requests", held, answers, requests)
		}
		c.(*net.TCPConn).SetLinger(0)
	})
}

// An origin that is reloaded closes all its idle connections together: a
// request does not go through them one by one until it gives up.
func TestManyStaleConnections(t *testing.T) {
	const idle = 8
	besides(t, func(t *testing.T, io loop.IO) {
		var together sync.WaitGroup
		together.Add(idle)
		origin := startOrigin(t, func(n int, c net.Conn) {
			for i := 0; ; i++ {
				if _, err := readHead(c); err != nil {
					return
				}
				if n <= idle {
					if i == 1 {
						return
					}
					together.Done()
					together.Wait() // until all are in use
				}
				c.Write([]byte(ok2))
			}
		})
		r := start(t, io, 1, yaml(origin, ""), nil)
		var asking sync.WaitGroup
		for range idle {
			asking.Add(1)
			go func() {
				defer asking.Done()
				r.ask(simpleGet)
			}()
		}
		asking.Wait()
		if got := r.ask(simpleGet); got != "HTTP/1.1 200 OK" {
			t.Errorf("got %s", got)
		}
		if m := r.settled()[0].Metrics; m.UpstreamStale != 1 || m.UpstreamConnects != idle+1 {
			t.Errorf("stale %d, connects %d; want 1, %d", m.UpstreamStale, m.UpstreamConnects, idle+1)
		}
	})
}

// A fresh connection that breaks without an answer counts against retries.
func TestRetriesBoundBrokenConnections(t *testing.T) {
	besides(t, func(t *testing.T, io loop.IO) {
		for retries, want := range []int32{1, 2, 3} {
			var asked atomic.Int32
			origin := startOrigin(t, func(n int, c net.Conn) {
				if _, err := readHead(c); err == nil {
					asked.Add(1)
				}
			})
			r := start(t, io, 1, yaml(origin, fmt.Sprintf("upstreams: {app: {endpoints: [{address: \"ORIGIN\"}], retries: %d}}", retries)), nil)
			if got := r.ask(simpleGet); got != "HTTP/1.1 502 Bad Gateway" {
				t.Errorf("retries %d: got %s, want a 502", retries, got)
			}
			if n := asked.Load(); n != want {
				t.Errorf("retries %d: the origin was asked %d times, want %d", retries, n, want)
			}
		}
	})
}
