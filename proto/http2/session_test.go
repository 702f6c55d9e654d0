package http2

import (
	"runtime"
	"strings"
	"testing"
	"unsafe"

	xnet "golang.org/x/net/http2"

	"zproxy/proto"
)

func TestSizes(t *testing.T) {
	if n := unsafe.Sizeof(Session{}); n > 1024 {
		t.Errorf("a session has %d bytes", n)
	}
	if n := unsafe.Sizeof(Stream{}); n > 56 {
		t.Errorf("a stream has %d bytes", n)
	}
}

// An idle connection that has had a browser's request costs little.
func TestIdleMemory(t *testing.T) {
	const n = 500
	cfg, streams, scratch := DefaultConfig(), new(Streams), new(Scratch)
	in := newRig(t, Server, nil)
	in.in.WriteString(Preface)
	in.fr.WriteSettings()
	in.headers(1, true, browserFields...)
	sessions := make([]*Session, n)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	serve := func() *Session {
		s := new(Session)
		s.Start(Server, &cfg, streams, scratch, startNs)
		for b := in.in.Bytes(); len(b) > 0; {
			var ev Event
			used := s.Next(b, startNs, &ev)
			b = b[used:]
			if ev.Kind == EventHead {
				s.AppendHead(nil, ev.Stream, AppendStatus(nil, 200), true)
			}
		}
		s.Flushed()
		return s
	}
	serve()
	before := heap()
	for i := range sessions {
		sessions[i] = serve()
	}
	each := int(heap()-before) / n
	t.Logf("%d bytes each", each)
	if each > 4096 {
		t.Errorf("%d bytes for an idle connection", each)
	}
	runtime.KeepAlive(sessions)
}

func TestServerConversation(t *testing.T) {
	for _, cut := range []int{0, 1, 7} {
		r := server(t, nil)
		r.cut = cut
		r.own = false
		r.get(1)
		r.post(3, "content-length", "5", "x-a", "b")
		r.want("head 1 GET https a.example / END", "head 3 POST https a.example / length=5 [content-length: 5] [x-a: b]")
		if r.s.Active() != 2 {
			t.Fatalf("%d streams", r.s.Active())
		}
		r.respond(1, 200, true)
		if r.s.Find(1) != 0 {
			t.Error("a stream that ended both ways is still there")
		}
		r.respond(3, 100, false)
		r.respond(3, 200, false)
		r.sends("HEADERS 1 END", "HEADERS 3", "HEADERS 3")
		r.cut = 0
		r.fr.WriteData(3, true, []byte("hello"))
		r.want(`data 3 "hello" END`)
		stream := r.s.Find(3)
		r.out = r.s.AppendDataHeader(r.out, stream, 3, false)
		r.out = append(r.out, "abc"...)
		r.out = r.s.AppendDataHeader(r.out, stream, 0, true)
		r.sends("DATA 3 3", "DATA 3 0 END")
		if r.s.Active() != 0 {
			t.Errorf("%d streams are left", r.s.Active())
		}
		r.empty()
	}
}

func TestTrailersBothWays(t *testing.T) {
	r := server(t, nil)
	r.post(1, "te", "trailers", "trailer", "x-sum")
	r.fr.WriteData(1, false, []byte("a"))
	r.headers(1, true, "x-sum", "1", "content-length", "9")
	r.want("head 1 POST https a.example / chunked [te: trailers] [trailer: x-sum]", `data 1 "a"`,
		"trailers 1 [x-sum: 1] [content-length: 9]- END")
	if h := r.s.Head(); !h.H2 || h.Lines {
		t.Errorf("trailers: %+v", h)
	}
	r.respond(1, 200, false)
	stream := r.s.Find(1)
	r.out = r.s.AppendHead(r.out, stream, AppendField(nil, &proto.Extra{Name: "Grpc-Status", Value: []byte("0")}), true)
	r.sends("HEADERS 1", "HEADERS 1 END")
	r.empty()

	c := client(t, nil)
	c.request(7, "GET", true)
	c.headers(1, false, ":status", "103", "link", "</a>")
	c.headers(1, false, ":status", "200")
	c.fr.WriteData(1, false, []byte("xy"))
	c.headers(1, true, "grpc-status", "0")
	c.want("head 1 103 [link: </a>]", "head 1 200 chunked", `data 1 "xy"`, "trailers 1 [grpc-status: 0] END FREED")
	c.empty()
}

func TestClientConversation(t *testing.T) {
	r := client(t, nil)
	a, b := r.request(10, "GET", true), r.request(11, "HEAD", true)
	c := r.request(12, "POST", false)
	r.sends("HEADERS 1 END", "HEADERS 3 END", "HEADERS 5")
	if r.streams.At(a).ID != 1 || r.streams.At(b).User != 11 || r.streams.At(c).ID != 5 {
		t.Error("streams do not know who they are")
	}
	r.headers(3, true, ":status", "200", "content-length", "100")
	r.headers(1, false, ":status", "200", "content-length", "2")
	r.fr.WriteDataPadded(1, true, []byte("ab"), make([]byte, 10))
	r.headers(5, true, ":status", "200", "content-length", "0")
	r.want("head 3 200 [content-length: 100] END FREED", "head 1 200 length=2 [content-length: 2]", `data 1 "ab" END FREED`,
		"head 5 200 length=0 [content-length: 0] END")
	r.fr.WriteRSTStream(5, xnet.ErrCodeNo) // a complete answer to half a request (RFC 9113 section 8.1)
	r.want("reset 5 NO_ERROR")
	r.empty()
}

func TestResponseWithoutContent(t *testing.T) {
	for _, c := range []struct {
		method, status string
		length, data   string
		want           string
	}{
		{"HEAD", "200", "5", "", `data 1 "" END FREED`},
		{"HEAD", "200", "5", "x", "reset 1 PROTOCOL_ERROR local: data in a message without content"},
		{"GET", "304", "5", "", `data 1 "" END FREED`},
		{"GET", "304", "5", "x", "reset 1 PROTOCOL_ERROR local: data in a message without content"},
		{"GET", "204", "0", "", `data 1 "" END FREED`},
		{"GET", "204", "0", "x", "reset 1 PROTOCOL_ERROR local: data in a message without content"},
		{"GET", "200", "5", "", "reset 1 PROTOCOL_ERROR local: content differs from content-length"},
		{"GET", "200", "5", "12345", `data 1 "12345" END FREED`},
		{"GET", "200", "5", "123456", "reset 1 PROTOCOL_ERROR local: content differs from content-length"},
		{"CONNECT", "200", "5", "x", `data 1 "x" END FREED`},
		{"CONNECT", "403", "5", "x", "reset 1 PROTOCOL_ERROR local: content differs from content-length"},
	} {
		r := client(t, nil)
		r.request(1, c.method, true)
		r.headers(1, false, ":status", c.status, "content-length", c.length)
		r.fr.WriteData(1, true, []byte(c.data))
		if got := r.feed(); got[len(got)-1] != c.want {
			t.Errorf("%+v: %q", c, got)
		}
		r.empty()

		end := client(t, nil)
		end.request(1, c.method, true)
		end.headers(1, true, ":status", c.status, "content-length", c.length)
		refused := c.method == "GET" && c.status == "200" || c.status == "403"
		if got := end.feed()[0]; strings.HasPrefix(got, "reset") != refused {
			t.Errorf("%+v ended by its head: %q", c, got)
		}
	}
}

func TestExtendedConnect(t *testing.T) {
	fields := []string{":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":authority", "a.example", ":path", "/chat?x"}
	r := server(t, func(c *Config) { c.ConnectProtocol = true })
	r.headers(1, false, fields...)
	r.want("head 1 CONNECT https a.example /chat?x protocol=websocket chunked")
	if h := r.s.Head(); string(h.Bytes(h.Path)) != "/chat" || string(h.Bytes(h.Query)) != "x" {
		t.Errorf("path %q, query %q", h.Bytes(h.Path), h.Bytes(h.Query))
	}
	r.headers(1, true, "x", "y")
	r.want("reset 1 PROTOCOL_ERROR local: field section in a tunnel")

	r = server(t, nil)
	r.headers(1, false, fields...)
	r.want("reset 1 PROTOCOL_ERROR local: pseudo-field unknown, repeated, missing or misplaced")

	c := newRig(t, Client, nil)
	c.fr.WriteSettings(xnet.Setting{ID: 8, Val: 1})
	c.want("settings")
	if !c.s.ExtendedConnect() {
		t.Error("the origin's setting was not seen")
	}
	c.fr.WriteSettings(xnet.Setting{ID: 8, Val: 0})
	c.want("closed PROTOCOL_ERROR: invalid setting")
}

func TestGoAwayFromOrigin(t *testing.T) {
	r := client(t, nil)
	for user := range uint32(4) {
		r.request(user+1, "POST", false)
	}
	unsent, ok := r.s.Open(9)
	if !ok || r.s.Active() != 5 {
		t.Fatal("no fifth stream")
	}
	r.fr.WriteGoAway(3, xnet.ErrCodeNo, []byte("bye"))
	r.headers(3, true, ":status", "200")
	r.want("goaway 3 NO_ERROR", "reset 5 REFUSED_STREAM unprocessed", "reset 7 REFUSED_STREAM unprocessed",
		"reset 0 REFUSED_STREAM unprocessed", "head 3 200 length=0 END")
	if _, ok := r.s.Open(1); ok || r.s.Capacity() != 0 {
		t.Error("a stream was opened at an origin that goes away")
	}
	if r.streams.Len() != 2 {
		t.Errorf("%d streams are left, %d was never sent", r.streams.Len(), unsent)
	}
	r.fr.WriteGoAway(0, xnet.ErrCodeEnhanceYourCalm, nil)
	r.want("goaway 0 ENHANCE_YOUR_CALM", "reset 1 REFUSED_STREAM unprocessed", "reset 3 REFUSED_STREAM unprocessed")
	r.empty()
}

func TestRefusedByOrigin(t *testing.T) {
	r := client(t, nil)
	r.request(1, "POST", false)
	r.request(2, "POST", false)
	r.fr.WriteRSTStream(1, xnet.ErrCodeRefusedStream)
	r.fr.WriteRSTStream(3, xnet.ErrCodeCancel)
	r.want("reset 1 REFUSED_STREAM unprocessed", "reset 3 CANCEL")
	r.empty()
}

func TestCapacity(t *testing.T) {
	r := newRig(t, Client, func(c *Config) { c.MaxStreams = 300 })
	if n := r.s.Capacity(); n != trustStreams {
		t.Errorf("%d streams on trust", n)
	}
	r.fr.WriteSettings(xnet.Setting{ID: xnet.SettingMaxConcurrentStreams, Val: 2})
	r.want("settings")
	r.request(1, "GET", true)
	second, _ := r.s.Open(2)
	if _, ok := r.s.Open(3); ok || r.s.Capacity() != 0 {
		t.Error("more streams than the origin allows")
	}
	r.take()
	r.sent()
	r.s.Reset(second, ErrCancel)
	r.sends() // it was never sent
	if r.s.Capacity() != 1 {
		t.Errorf("capacity %d", r.s.Capacity())
	}
	r.fr.WriteSettings(xnet.Setting{ID: xnet.SettingMaxConcurrentStreams, Val: 1000})
	r.want()
	if r.s.Capacity() != 299 {
		t.Errorf("capacity %d, the configuration says 300", r.s.Capacity())
	}
	r.s.maxID = maxStreamID - 4
	if r.s.Capacity() != 2 {
		t.Errorf("%d identifiers left", r.s.Capacity())
	}
	r.request(4, "GET", true)
	if last := r.request(5, "GET", true); r.streams.At(last).ID != maxStreamID || r.s.Capacity() != 0 {
		t.Errorf("last identifier %d, capacity %d", r.streams.At(last).ID, r.s.Capacity())
	}
	r.empty()
}

func TestShutdown(t *testing.T) {
	r := server(t, nil)
	r.post(1)
	r.want("head 1 POST https a.example / chunked")
	r.s.Shutdown(false)
	r.s.Shutdown(false)
	r.post(3) // was on its way
	r.want("head 3 POST https a.example / chunked")
	r.sends("GOAWAY 2147483647 NO_ERROR")
	r.s.Shutdown(true)
	r.s.Shutdown(true)
	r.post(5, "x-new", "y")
	r.fr.WriteData(5, true, []byte("ignored"))
	r.fr.WriteData(3, true, []byte("a"))
	r.want(`data 3 "a" END`)
	r.sends("GOAWAY 3 NO_ERROR", "RST 5 REFUSED_STREAM")
	r.in.WriteString("\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	r.want("closed PROTOCOL_ERROR: window update by 0")
	r.sends("GOAWAY 3 PROTOCOL_ERROR")
	r.empty()

	c := client(t, nil)
	c.request(1, "GET", true)
	c.sent()
	c.s.Shutdown(false)
	c.sends("GOAWAY 0 NO_ERROR")
	if c.s.Capacity() != 0 {
		t.Error("a client that goes away opens streams")
	}
}

func TestPing(t *testing.T) {
	r := server(t, nil)
	r.fr.WritePing(false, [8]byte{1, 2, 3})
	r.want()
	r.sends("PING ack=true")
	r.s.Ping(r.now)
	r.s.Ping(r.now + 5)
	r.take()
	if len(r.out) != 17 || r.s.PingSince() != r.now {
		t.Fatalf("%d bytes for a ping", len(r.out))
	}
	var data [8]byte
	copy(data[:], r.out[9:])
	r.now += 3e6
	r.fr.WritePing(true, [8]byte{9})
	r.want()
	if r.s.PingSince() == 0 {
		t.Error("the answer to another ping counts")
	}
	r.fr.WritePing(true, data)
	r.want()
	if r.s.RTT() != 3e6 || r.s.PingSince() != 0 {
		t.Errorf("round trip %d", r.s.RTT())
	}
}

// A session of which only the memory is left serves another connection.
func TestReuse(t *testing.T) {
	r := server(t, nil)
	for range 3 {
		r.post(1, "x-dynamic", "value")
		r.in.WriteString("\x00\x00\x09")
		r.want("head 1 POST https a.example / chunked [x-dynamic: value]")
		if r.s.Held() != 0 || r.s.headerLen != 3 {
			t.Error("three bytes of a frame are not there")
		}
		r.empty()
		r.s.Start(Server, &r.cfg, r.streams, r.scratch, r.now)
		r.in.WriteString(Preface)
		r.fr.WriteSettings()
		// Another client's encoder: nothing of the old table may be left.
		r.fr.WriteHeaders(xnet.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x80 | 62}, EndHeaders: true})
		r.want("settings", "closed COMPRESSION_ERROR: field section cannot be decoded")
		r.empty()
		n := newRig(t, Server, nil)
		r.enc = n.enc
		r.enc.SetMaxDynamicTableSizeLimit(4096)
		n.s, n.streams, n.scratch = r.s, r.streams, r.scratch
		n.s.Start(Server, &n.cfg, n.streams, n.scratch, n.now)
		n.in.WriteString(Preface)
		n.fr.WriteSettings()
		n.want("settings")
		r = n
	}
}
