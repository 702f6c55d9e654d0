package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"

	xnet "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"zproxy/proto/http2"
)

// takenBackCount requests are taken back in each of takenBackWrites.
const takenBackCount = 100

var takenBackWrites = map[string]func(fr *xnet.Framer, ask func(id uint32, path string, end bool)){
	"each at once": func(fr *xnet.Framer, ask func(uint32, string, bool)) {
		for n := range uint32(takenBackCount) {
			ask(2*n+1, "/gone", true)
			fr.WriteRSTStream(2*n+1, xnet.ErrCodeCancel)
		}
	},
	"all together": func(fr *xnet.Framer, ask func(uint32, string, bool)) {
		for n := range uint32(takenBackCount) {
			ask(2*n+1, "/gone", true)
		}
		for n := range uint32(takenBackCount) {
			fr.WriteRSTStream(2*n+1, xnet.ErrCodeCancel)
		}
	},
	"with content": func(fr *xnet.Framer, ask func(uint32, string, bool)) {
		for n := range uint32(takenBackCount) {
			ask(2*n+1, "/gone", false)
			fr.WriteData(2*n+1, n%2 == 0, []byte("content"))
			fr.WriteRSTStream(2*n+1, xnet.ErrCodeCancel)
		}
	},
}

// No origin hears of requests that are taken back in the same write, in
// whatever order; those beside them are served.
func TestRequestsTakenBackAtOnce(t *testing.T) {
	t.Parallel()
	var heard, served atomic.Int64
	onPairs(t, "", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/stays" {
			heard.Add(1)
		}
		served.Add(1)
		io.Copy(io.Discard, r.Body)
	}, func(t *testing.T, p *pair) {
		if !p.h2.client {
			return // HTTP/1 cannot take a request back
		}
		for name, write := range takenBackWrites {
			heard.Store(0)
			served.Store(0)
			before := p.rig.reports()[0].Metrics
			c := p.rig.dial()
			var out bytes.Buffer
			io.WriteString(&out, http2.Preface)
			fr := xnet.NewFramer(&out, c)
			fr.WriteSettings()
			ask := func(id uint32, path string, end bool) {
				var block bytes.Buffer
				enc := hpack.NewEncoder(&block)
				enc.SetMaxDynamicTableSize(0)
				for _, f := range []string{":method POST", ":scheme http", ":authority a", ":path " + path} {
					var name, value string
					fmt.Sscan(f, &name, &value)
					enc.WriteField(hpack.HeaderField{Name: name, Value: value})
				}
				fr.WriteHeaders(xnet.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: end})
			}
			write(fr, ask)
			const last = 2*takenBackCount + 1
			ask(last, "/stays", true)
			if _, err := c.Write(out.Bytes()); err != nil {
				t.Fatal(err)
			}
			for {
				f, err := fr.ReadFrame()
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if h, ok := f.(*xnet.HeadersFrame); ok {
					if h.StreamID != last {
						t.Errorf("%s: stream %d is answered", name, h.StreamID)
					}
					break
				}
			}
			after := p.rig.settled()[0].Metrics
			if heard.Load() != 0 || served.Load() != 1 {
				t.Errorf("%s: the origin has heard of %d requests that were taken back, and served %d", name, heard.Load(), served.Load())
			}
			if n, m := after.Requests-before.Requests, after.ClientAborts-before.ClientAborts; n != takenBackCount+1 || m != takenBackCount {
				t.Errorf("%s: %d requests and %d aborts are counted", name, n, m)
			}
			c.Close()
		}
	})
}
