package proxy

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	xnet "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"zproxy/loop"
	"zproxy/proto/http2"
)

// uploader is an HTTP/2 client, frame by frame.
type uploader struct {
	t  *testing.T
	c  net.Conn
	fr *xnet.Framer
}

func (r *rig) uploader() *uploader {
	u := &uploader{t: r.t, c: r.dial()}
	io.WriteString(u.c, http2.Preface)
	u.fr = xnet.NewFramer(u.c, u.c)
	u.fr.WriteSettings()
	return u
}

// ask opens a stream with a request whose content is to come.
func (u *uploader) ask(id uint32, fields ...string) {
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for i := 0; i < len(fields); i += 2 {
		enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	u.fr.WriteHeaders(xnet.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true})
}

// heard is what came about a stream within the time.
type heard struct {
	ended, reset bool
	code         xnet.ErrCode
	windows      int
}

// listen reads frames about a stream until stop says so, or for so long.
func (u *uploader) listen(id uint32, limit time.Duration, stop func(*heard) bool) (h heard) {
	u.c.SetReadDeadline(time.Now().Add(limit))
	for !stop(&h) {
		f, err := u.fr.ReadFrame()
		if err != nil {
			return h
		}
		switch f := f.(type) {
		case *xnet.RSTStreamFrame:
			h.reset, h.code = h.reset || f.StreamID == id, f.ErrCode
		case *xnet.WindowUpdateFrame:
			if f.StreamID == id {
				h.windows++
			}
		case *xnet.DataFrame:
			h.ended = h.ended || f.StreamID == id && f.StreamEnded()
		case *xnet.HeadersFrame:
			h.ended = h.ended || f.StreamID == id && f.StreamEnded()
		}
	}
	return h
}

// earlyAnswers are ways to get an answer before the request has ended.
var earlyAnswers = []struct {
	name   string
	extra  string
	origin func(c net.Conn)
	fields []string // instead of a POST
}{
	{name: "of an HTTP/1 origin that closes later", origin: func(c net.Conn) {
		readHead(c)
		io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n")
		time.Sleep(300 * time.Millisecond)
	}},
	{name: "of an HTTP/1 origin, ended by its close", origin: func(c net.Conn) {
		readHead(c)
		io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\n\r\nno\n")
		c.(*net.TCPConn).CloseWrite()
		readN(c, 1<<30)
	}},
	{name: "of an HTTP/2 origin", extra: "upstreams: {app: {protocol: h2c, endpoints: [{address: \"ORIGIN\"}]}}\n", origin: earlyH2},
	{name: "of the proxy, for its length", extra: "limits: {body_bytes: 100}\n"},
	{name: "of the proxy, where there is no route", extra: "routes: [{path: /x, upstream: app}]\n"},
	{name: "of the route", extra: "routes: [{path: \"/*\", respond: {status: 401, body: no}}]\n"},
	{name: "to a WebSocket that is declined", origin: func(c net.Conn) {
		readHead(c)
		io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno\n")
		readN(c, 1)
	}, fields: []string{":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "h", ":path", "/", "sec-websocket-version", "13"}},
}

func earlyH2(conn net.Conn) {
	fr := framed(conn)
	for id := request(fr); id != 0; id = request(fr) {
		var block bytes.Buffer
		hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":status", Value: "413"})
		fr.WriteHeaders(xnet.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
		fr.WriteRSTStream(id, xnet.ErrCodeNo)
	}
}

// onEarlyAnswers runs f for each of them: u has opened stream 1 and read the
// end of its answer.
func onEarlyAnswers(t *testing.T, f func(t *testing.T, r *rig, u *uploader)) {
	for _, tc := range earlyAnswers {
		t.Run(tc.name, func(t *testing.T) {
			besides(t, func(t *testing.T, io_ loop.IO) {
				addr := "127.0.0.1:1"
				if tc.origin != nil {
					addr = startOrigin(t, func(n int, c net.Conn) { tc.origin(c) })
				}
				text := yaml(addr, tc.extra)
				r := start(t, io_, 1, "listeners: [{address: \"127.0.0.1:8080\", protocols: [h2c]}]\n"+text[len("listeners: [{address: \"127.0.0.1:8080\"}]\n"):], nil)
				u := r.uploader()
				fields := tc.fields
				if fields == nil {
					fields = []string{":method", "POST", ":scheme", "http", ":authority", "h", ":path", "/", "content-length", "3000000"}
				}
				u.ask(1, fields...)
				if h := u.listen(1, patience, func(h *heard) bool { return h.ended }); !h.ended || h.reset {
					t.Fatalf("the answer: %+v", h)
				}
				f(t, r, u)
			})
		})
	}
}

// A client that goes on sending behind its answer is told to stop a while later,
// and not with the answer; its window is not opened any more.
func TestEarlyAnswerThenReset(t *testing.T) {
	t.Parallel()
	onEarlyAnswers(t, func(t *testing.T, r *rig, u *uploader) {
		piece := make([]byte, 16<<10)
		for range 3 { // as its window allows
			u.fr.WriteData(1, false, piece)
		}
		if h := u.listen(1, 500*time.Millisecond, func(h *heard) bool { return h.reset }); h.reset {
			t.Fatalf("reset with %v at once", h.code)
		}
		if h := u.listen(1, patience, func(h *heard) bool { return h.reset }); !h.reset || h.code != xnet.ErrCodeNo || h.windows > 0 {
			t.Errorf("%+v, want a reset without an error", h)
		}
		if n := r.reports()[0].Metrics.Streams; n != 0 {
			t.Errorf("%d streams are left", n)
		}
	})
}

// A client that ends its request, or takes it back, is not told anything, and
// the connection goes on.
func TestEarlyAnswerThenEnd(t *testing.T) {
	t.Parallel()
	onEarlyAnswers(t, func(t *testing.T, r *rig, u *uploader) {
		u.fr.WriteRSTStream(1, xnet.ErrCodeNo)
		for id := uint32(3); id <= 5; id += 2 {
			u.ask(id, ":method", "POST", ":scheme", "http", ":authority", "h", ":path", "/", "content-length", "3000000")
			if h := u.listen(id, patience, func(h *heard) bool { return h.ended }); !h.ended {
				t.Fatalf("stream %d: %+v", id, h)
			}
			if id == 5 {
				u.fr.WriteRSTStream(id, xnet.ErrCodeCancel)
			}
		}
		for deadline := time.Now().Add(lingerNsAsTime / 2); r.reports()[0].Metrics.Streams != 1; {
			if time.Now().After(deadline) {
				t.Fatalf("%d streams are left", r.reports()[0].Metrics.Streams)
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
}

const lingerNsAsTime = time.Duration(lingerNs)

// What is thrown away behind an answer is credited to the connection, whose
// other streams go on.
func TestEarlyAnswersKeepTheConnectionOpen(t *testing.T) {
	besides(t, func(t *testing.T, io_ loop.IO) {
		text := "listeners: [{address: \"127.0.0.1:8080\", protocols: [h2c]}]\nhttp2: {stream_window: 64KiB, connection_window: 128KiB}\n" +
			"routes: [{path: \"/*\", respond: {status: 401, body: no}}]\n"
		r := start(t, io_, 1, text, nil)
		u := r.uploader()
		piece := make([]byte, 16<<10)
		for i := range 50 {
			id := uint32(2*i + 1)
			u.ask(id, ":method", "POST", ":scheme", "http", ":authority", "h", ":path", "/")
			u.fr.WriteData(id, false, piece)
			if h := u.listen(id, patience, func(h *heard) bool { return h.ended }); !h.ended {
				t.Fatalf("request %d: %+v", i, h)
			}
			u.fr.WriteData(id, false, piece)
		}
	})
}
