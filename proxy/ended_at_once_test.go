package proxy

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	xnet "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"zproxy/proto/http2"
)

// endedCount requests are ended in each of endedWrites.
const endedCount = 100

type asking func(id uint32, end bool, fields ...string)

var endedWrites = map[string]func(fr *xnet.Framer, ask asking){
	"each at once": func(fr *xnet.Framer, ask asking) {
		for n := range uint32(endedCount) {
			ask(2*n+1, true)
			fr.WriteRSTStream(2*n+1, xnet.ErrCodeCancel)
		}
	},
	"all together": func(fr *xnet.Framer, ask asking) {
		for n := range uint32(endedCount) {
			ask(2*n+1, true)
		}
		for n := range uint32(endedCount) {
			fr.WriteRSTStream(2*n+1, xnet.ErrCodeCancel)
		}
	},
	"with content": eachEnded(false, func(fr *xnet.Framer, id uint32) {
		fr.WriteData(id, id%4 == 1, []byte("content"))
		fr.WriteRSTStream(id, xnet.ErrCodeCancel)
	}),
	"with all of its content": eachEnded(false, func(fr *xnet.Framer, id uint32) {
		fr.WriteData(id, true, []byte("x"))
		fr.WriteRSTStream(id, xnet.ErrCodeCancel)
	}, "content-length 1"),
	"with an announced end": eachEnded(false, func(fr *xnet.Framer, id uint32) {
		fr.WriteData(id, true, nil)
		fr.WriteRSTStream(id, xnet.ErrCodeCancel)
	}, "content-length 0"),
	// What has the proxy reset a stream (CVE-2025-8671).
	"window of 0 added": eachEnded(true, func(fr *xnet.Framer, id uint32) {
		fr.WriteRawFrame(xnet.FrameWindowUpdate, 0, id, make([]byte, 4))
	}),
	"window beyond 31 bits": eachEnded(true, func(fr *xnet.Framer, id uint32) {
		fr.WriteWindowUpdate(id, 1<<31-1)
	}),
	"DATA behind the end":    eachEnded(true, func(fr *xnet.Framer, id uint32) { fr.WriteData(id, true, []byte("x")) }),
	"HEADERS behind the end": eachEnded(true, func(fr *xnet.Framer, id uint32) { writeFields(fr, id, true, "x trailer") }),
	"more than content-length": eachEnded(false, func(fr *xnet.Framer, id uint32) {
		fr.WriteData(id, true, []byte("xx"))
	}, "content-length 1"),
	"less than content-length": eachEnded(false, func(fr *xnet.Framer, id uint32) {
		fr.WriteData(id, true, []byte("x"))
	}, "content-length 2"),
	"trailers that end nothing": eachEnded(false, func(fr *xnet.Framer, id uint32) { writeFields(fr, id, false, "x trailer") }),
	"malformed trailers":        eachEnded(false, func(fr *xnet.Framer, id uint32) { writeFields(fr, id, true, ":path /") }),
	"PRIORITY on itself": eachEnded(true, func(fr *xnet.Framer, id uint32) {
		fr.WritePriority(id, xnet.PriorityParam{StreamDep: id})
	}),
	"PRIORITY of a wrong length": eachEnded(true, func(fr *xnet.Framer, id uint32) {
		fr.WriteRawFrame(xnet.FramePriority, 0, id, make([]byte, 4))
	}),
}

// eachEnded asks, and ends each of the requests at once.
func eachEnded(end bool, how func(fr *xnet.Framer, id uint32), fields ...string) func(*xnet.Framer, asking) {
	return func(fr *xnet.Framer, ask asking) {
		for n := range uint32(endedCount) {
			ask(2*n+1, end, fields...)
			how(fr, 2*n+1)
		}
	}
}

// writeFields writes HEADERS with fields of "name value" that go into no table.
func writeFields(fr *xnet.Framer, id uint32, end bool, fields ...string) {
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	enc.SetMaxDynamicTableSize(0)
	for _, f := range fields {
		name, value, _ := strings.Cut(f, " ")
		enc.WriteField(hpack.HeaderField{Name: name, Value: value})
	}
	fr.WriteHeaders(xnet.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: end})
}

// writeEnded writes the requests of one of endedWrites, one behind them that stays, and
// what then is left to write.
func writeEnded(t *testing.T, c net.Conn, write func(*xnet.Framer, asking), rest func(*xnet.Framer)) *xnet.Framer {
	t.Helper()
	var out bytes.Buffer
	io.WriteString(&out, http2.Preface)
	fr := xnet.NewFramer(&out, c)
	fr.AllowIllegalWrites = true
	fr.WriteSettings()
	ask := func(path string) asking {
		return func(id uint32, end bool, fields ...string) {
			writeFields(fr, id, end, append([]string{":method POST", ":scheme http", ":authority a", ":path " + path}, fields...)...)
		}
	}
	write(fr, ask("/gone"))
	ask("/stays")(2*endedCount+1, true)
	rest(fr)
	if _, err := c.Write(out.Bytes()); err != nil {
		t.Fatal(err)
	}
	return fr
}

// No origin hears of requests that end in the same write, in whatever order and by
// whoever's fault; those beside them are served.
func TestRequestsEndedAtOnce(t *testing.T) {
	t.Parallel()
	var heard, served atomic.Int64
	onPairs(t, "http2: {abuse_score: 1048576}", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/stays" {
			heard.Add(1)
		}
		served.Add(1)
		io.Copy(io.Discard, r.Body)
	}, func(t *testing.T, p *pair) {
		if !p.h2.client {
			return // HTTP/1 cannot take a request back
		}
		for name, write := range endedWrites {
			heard.Store(0)
			served.Store(0)
			before := p.rig.reports()[0].Metrics
			c := p.rig.dial()
			fr := writeEnded(t, c, write, func(*xnet.Framer) {})
			for {
				f, err := fr.ReadFrame()
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if h, ok := f.(*xnet.HeadersFrame); ok {
					if h.StreamID != 2*endedCount+1 {
						t.Errorf("%s: stream %d is answered", name, h.StreamID)
					}
					break
				}
			}
			after := p.rig.settled()[0].Metrics
			if heard.Load() != 0 || served.Load() != 1 {
				t.Errorf("%s: the origin has heard of %d requests that had ended, and served %d", name, heard.Load(), served.Load())
			}
			if n := after.UpstreamConnects - before.UpstreamConnects; n > 1 {
				t.Errorf("%s: %d connections to the origin were opened", name, n)
			}
			if n, m := after.Requests-before.Requests, after.ClientAborts-before.ClientAborts; n != endedCount+1 || m != endedCount {
				t.Errorf("%s: %d requests and %d aborts are counted", name, n, m)
			}
			c.Close()
		}
	})
}

// Nor does one hear of requests whose connection ends with the same write.
func TestConnectionEndedAtOnce(t *testing.T) {
	t.Parallel()
	var heard atomic.Int64
	onPairs(t, "", func(w http.ResponseWriter, r *http.Request) { heard.Add(1) }, func(t *testing.T, p *pair) {
		if !p.h2.client {
			return
		}
		heard.Store(0)
		c := p.rig.dial()
		defer c.Close()
		fr := writeEnded(t, c, func(fr *xnet.Framer, ask asking) {
			for n := range uint32(endedCount) {
				ask(2*n+1, n%2 == 0)
			}
		}, func(fr *xnet.Framer) { fr.WriteRawFrame(xnet.FrameWindowUpdate, 0, 0, make([]byte, 4)) })
		for {
			f, err := fr.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			if g, ok := f.(*xnet.GoAwayFrame); ok {
				if g.ErrCode != xnet.ErrCodeProtocol {
					t.Errorf("ended with %v", g.ErrCode)
				}
				break
			}
		}
		if m := p.rig.settled()[0].Metrics; heard.Load() != 0 || m.UpstreamConnects != 0 {
			t.Errorf("the origin has heard of %d requests, on %d connections", heard.Load(), m.UpstreamConnects)
		}
	})
}
