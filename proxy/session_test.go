package proxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	xnet "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sys/unix"

	"zproxy/loop"
	"zproxy/proto"
	"zproxy/proto/http2"
	"zproxy/proxy/h2conn"
)

// framed is an origin's end of a connection: it has greeted.
func framed(c net.Conn) *xnet.Framer {
	readN(c, http2.PrefaceLen)
	fr := xnet.NewFramer(c, c)
	fr.WriteSettings(xnet.Setting{ID: xnet.SettingMaxConcurrentStreams, Val: 1})
	return fr
}

// request reads up to the next request.
func request(fr *xnet.Framer) (stream uint32) {
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return 0
		}
		if h, ok := f.(*xnet.HeadersFrame); ok {
			return h.StreamID
		}
	}
}

// Who waits for the only connection to an endpoint gets a new one as soon as it
// ends, however it does.
func TestWaitersOfAConnectionThatEnds(t *testing.T) {
	const rounds = 5
	for name, c := range map[string]struct {
		pool string
		end  func(c net.Conn, fr *xnet.Framer)
	}{
		"in order, leaves are short":   {"max_connections: 1", func(c net.Conn, fr *xnet.Framer) { fr.WriteGoAway(1, xnet.ErrCodeNo, nil); c.Close() }},
		"in order, streams are short":  {"max_connections: 9", func(c net.Conn, fr *xnet.Framer) { fr.WriteGoAway(1, xnet.ErrCodeNo, nil); c.Close() }},
		"with a fault, it lingers":     {"max_connections: 9", func(c net.Conn, fr *xnet.Framer) { fr.AllowIllegalWrites = true; fr.WriteData(0, true, nil) }},
		"with a fault, leaves are few": {"max_connections: 1", func(c net.Conn, fr *xnet.Framer) { fr.AllowIllegalWrites = true; fr.WriteData(0, true, nil) }},
	} {
		t.Run(name, func(t *testing.T) {
			onBackends(t, func(t *testing.T, io_ loop.IO) {
				came, end := make(chan bool), make(chan bool)
				origin := startOrigin(t, func(n int, conn net.Conn) {
					fr := framed(conn)
					request(fr)
					came <- true
					<-end
					c.end(conn, fr)
					<-t.Context().Done() // it does not close as long as it need not
				})
				text := "upstreams: {app: {protocol: h2c, endpoints: [{address: \"ORIGIN\"}], retries: 0, pool: {prewarm: 0, queue_timeout: 20s, " + c.pool + "}}}\n" +
					"http2: {upstream_connections: 1}\n"
				r := start(t, io_, 1, yaml(origin, text), nil)
				post := "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx"
				io.WriteString(r.dial(), post)
				<-came
				var took time.Duration
				for range rounds {
					io.WriteString(r.dial(), post)
					time.Sleep(20 * time.Millisecond) // it waits
					end <- true
					begin := time.Now()
					<-came
					took += time.Since(begin)
				}
				close(end)
				if took > rounds*200*time.Millisecond {
					t.Errorf("%d requests waited %v for a new connection", rounds, took)
				}
			})
		})
	}
}

// A client that asks and does not read is not read, either, and goes on where
// it was.
func TestClientThatTakesNoHeads(t *testing.T) {
	besides(t, func(t *testing.T, io_ loop.IO) {
		r := start(t, io_, 1, "listeners: [{address: \"127.0.0.1:8080\", protocols: [h2c], socket: {receive_buffer: 64KiB, send_buffer: 64KiB}}]\n"+
			"routes: [{path: \"/*\", respond: {status: 200, body: x, content_type: \"text/plain; is="+strings.Repeat("long", 50)+"\"}}]\n", nil)
		d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
			return raw.Control(func(fd uintptr) {
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<10)
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, 64<<10)
			})
		}}
		c, err := d.DialContext(context.Background(), "tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, http2.Preface)
		fr := xnet.NewFramer(c, c)
		fr.WriteSettings()
		asked := 0
		for most := 100_000; asked < most; asked += 100 {
			c.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
			if _, err := c.Write(headRequests(asked, 100)); err != nil {
				break
			}
		}
		if asked == 100_000 {
			t.Error("all requests were read, although no answer was")
		}
		// What is received in one turn may be answered beyond the mark.
		if n := r.reports()[0].Buf.InUse; n > 6*h2conn.HeadMark/(16<<10) {
			t.Errorf("the answers hold %d blocks", n)
		}
		c.SetReadDeadline(time.Now().Add(patience))
		for answered := 0; answered < asked; {
			f, err := fr.ReadFrame()
			if err != nil {
				t.Fatalf("%d of %d requests were answered: %v", answered, asked, err)
			}
			if f.Header().Type == xnet.FrameHeaders {
				answered++
			}
		}
	})
}

// requests are n requests behind the first so many.
func headRequests(from, n int) []byte {
	var b, block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "HEAD"}, {":scheme", "http"}, {":path", "/"}, {":authority", "h"}} {
		enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1], Sensitive: true})
	}
	fr := xnet.NewFramer(&b, nil)
	for i := range n {
		fr.WriteHeaders(xnet.HeadersFrameParam{StreamID: uint32(2*(from+i) + 1), BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true})
	}
	return b.Bytes()
}

// A connection to an origin that hangs ends, and it is the origin that has failed:
// the report names it, with the reason.
func TestOriginsThatHang(t *testing.T) {
	for name, c := range map[string]struct {
		origin func(t *testing.T) string
		limits string
		body   int
		want   *proto.Fault
	}{
		"half a frame": {func(t *testing.T) string {
			return startOrigin(t, func(_ int, c net.Conn) {
				request(framed(c))
				io.WriteString(c, "\x00\x00\x08\x06\x00\x00\x00\x00\x00123") // of a PING
				<-t.Context().Done()
			})
		}, "request_header_timeout: 200ms", 0, &faultHalfFrame},
		"takes nothing": {deafH2(true), "send_timeout: 300ms", 300_000, &faultOriginTakesNot},
	} {
		t.Run(name, func(t *testing.T) {
			onBackends(t, func(t *testing.T, io_ loop.IO) {
				r := start(t, io_, 1, yaml(c.origin(t), "limits: {"+c.limits+"}\n"+
					"upstreams: {app: {protocol: h2c, socket: {send_buffer: 8KiB}, endpoints: [{address: \"ORIGIN\"}], retries: 0, pool: {prewarm: 0}}}\n"), nil)
				conn := r.dial()
				defer conn.Close()
				fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", c.body, strings.Repeat("x", c.body))
				if head, _ := readHead(conn); !strings.HasPrefix(head, "HTTP/1.1 502 ") {
					t.Errorf("answered %.40q", head)
				}
				rep := r.settled()[0]
				if len(rep.Broken) != 1 || rep.Broken[0].Reason != c.want.Reason || rep.Broken[0].Code != c.want.Code || rep.Broken[0].Requests != 1 {
					t.Errorf("noted: %+v", rep.Broken)
				}
				if m := &rep.Metrics; m.ClientAborts != 0 || m.Timeouts408 != 0 || m.OriginAborts+m.Timeouts504 == 0 || m.RefusedByReason[c.want.Code] != 1 {
					t.Errorf("%d clients and %d origins have left, %d and %d were late, %d counted", m.ClientAborts, m.OriginAborts, m.Timeouts408, m.Timeouts504, m.RefusedByReason[c.want.Code])
				}
			})
		})
	}
}
