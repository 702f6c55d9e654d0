package http2

import (
	"strings"
	"testing"

	xnet "golang.org/x/net/http2"
)

// What RFC 9113 wants of an endpoint that meets a wrong frame: want begins the
// last event, sent is the answer.
func TestFrameRules(t *testing.T) {
	const headRequest = "head 1 POST https a.example / chunked"
	open := func(r *rig) { r.post(1); r.want(headRequest) }
	ended := func(r *rig) { r.get(1); r.want("head 1 GET https a.example / END") }
	closed := func(r *rig) { ended(r); r.respond(1, 204, true); r.sent() }
	peerReset := func(r *rig) { open(r); r.fr.WriteRSTStream(1, xnet.ErrCodeCancel); r.want("reset 1 CANCEL") }
	resetHere := func(r *rig) { open(r); r.s.Reset(r.s.Find(1), ErrCancel); r.sent() }
	begun := func(r *rig) {
		r.fr.WriteHeaders(xnet.HeadersFrameParam{StreamID: 1, BlockFragment: r.block(getFields...), EndStream: true})
	}
	type rigFunc = func(*rig)
	for _, c := range []struct {
		name       string
		before, do rigFunc
		want, sent string
	}{
		// Section 4.2, 6.1 to 6.10: sizes, streams, padding.
		{"DATA too long", open, func(r *rig) { r.raw(16385, 0, 0, 1, "") }, "closed FRAME_SIZE_ERROR", "GOAWAY 1 FRAME_SIZE_ERROR"},
		{"HEADERS too long", nil, func(r *rig) { r.raw(16385, 1, 4, 1, "") }, "closed FRAME_SIZE_ERROR", "GOAWAY 0 FRAME_SIZE_ERROR"},
		{"unknown frame too long", nil, func(r *rig) { r.raw(16385, 99, 0, 0, "") }, "closed FRAME_SIZE_ERROR", ""},
		{"unknown frame", open, func(r *rig) { r.raw(3, 99, 0xff, 1, "abc") }, "", ""},
		{"DATA on 0", open, func(r *rig) { r.raw(1, 0, 0, 0, "a") }, "closed PROTOCOL_ERROR", "GOAWAY 1 PROTOCOL_ERROR"},
		{"DATA with too much padding", open, func(r *rig) { r.raw(3, 0, 8, 1, "\x03ab") }, "closed PROTOCOL_ERROR: padding", ""},
		{"DATA all padding", open, func(r *rig) { r.raw(3, 0, 9, 1, "\x02ab") }, `data 1 "" END`, ""},
		{"DATA padded without length", open, func(r *rig) { r.raw(0, 0, 8, 1, "") }, "closed FRAME_SIZE_ERROR", ""},
		{"HEADERS on 0", nil, func(r *rig) { r.raw(0, 1, 4, 0, "") }, "closed PROTOCOL_ERROR", ""},
		{"HEADERS on an even stream", nil, func(r *rig) { r.get(2) }, "closed PROTOCOL_ERROR: invalid stream identifier", ""},
		{"HEADERS on a lower stream", func(r *rig) { r.get(5); r.feed() }, func(r *rig) { r.get(3) }, "closed STREAM_CLOSED", "GOAWAY 5 STREAM_CLOSED"},
		{"HEADERS with too much padding", nil, func(r *rig) { r.raw(2, 1, 0xc, 1, "\x02\x82") }, "closed PROTOCOL_ERROR: padding", ""},
		{"HEADERS padded without length", nil, func(r *rig) { r.raw(0, 1, 0xc, 1, "") }, "closed FRAME_SIZE_ERROR", ""},
		{"HEADERS priority cut short", nil, func(r *rig) { r.raw(4, 1, 0x24, 1, "\x00\x00\x00\x00") }, "closed FRAME_SIZE_ERROR", ""},
		{"HEADERS that depends on itself", nil, func(r *rig) {
			r.fr.WriteHeaders(xnet.HeadersFrameParam{StreamID: 1, BlockFragment: r.block(getFields...), EndHeaders: true, Priority: xnet.PriorityParam{StreamDep: 1}})
		}, "reset 1 PROTOCOL_ERROR local: stream depends on itself", "RST 1 PROTOCOL_ERROR"},
		{"HEADERS padded, with a priority", nil, func(r *rig) {
			r.fr.WriteHeaders(xnet.HeadersFrameParam{StreamID: 1, BlockFragment: r.block(getFields...), EndHeaders: true, PadLength: 9,
				Priority: xnet.PriorityParam{StreamDep: 3, Weight: 7}})
		}, "head 1 GET https a.example / chunked", ""},
		{"PRIORITY on 0", nil, func(r *rig) { r.raw(5, 2, 0, 0, "\x00\x00\x00\x00\x00") }, "closed PROTOCOL_ERROR", ""},
		{"PRIORITY of a wrong size", open, func(r *rig) { r.raw(4, 2, 0, 1, "\x00\x00\x00\x00") }, "reset 1 FRAME_SIZE_ERROR", "RST 1 FRAME_SIZE_ERROR"},
		{"PRIORITY of a wrong size, idle", nil, func(r *rig) { r.raw(4, 2, 0, 1, "\x00\x00\x00\x00") }, "closed FRAME_SIZE_ERROR", ""},
		{"PRIORITY", nil, func(r *rig) { r.fr.WritePriority(1, xnet.PriorityParam{StreamDep: 3}) }, "", ""},
		{"PRIORITY that depends on itself", open, func(r *rig) { r.fr.WritePriority(1, xnet.PriorityParam{StreamDep: 1}) }, "reset 1 PROTOCOL_ERROR", "RST 1 PROTOCOL_ERROR"},
		{"PRIORITY idle, depends on itself", nil, func(r *rig) { r.fr.WritePriority(1, xnet.PriorityParam{StreamDep: 1}) }, "closed PROTOCOL_ERROR", ""},
		{"PRIORITY on a closed stream", closed, func(r *rig) { r.fr.WritePriority(1, xnet.PriorityParam{StreamDep: 3}) }, "", ""},
		{"RST_STREAM on 0", nil, func(r *rig) { r.raw(4, 3, 0, 0, "\x00\x00\x00\x00") }, "closed PROTOCOL_ERROR", ""},
		{"RST_STREAM of a wrong size", open, func(r *rig) { r.raw(3, 3, 0, 1, "\x00\x00\x00") }, "closed FRAME_SIZE_ERROR", ""},
		{"RST_STREAM idle", nil, func(r *rig) { r.fr.WriteRSTStream(1, 0) }, "closed PROTOCOL_ERROR: frame for a stream that was never opened", ""},
		{"RST_STREAM on a closed stream", closed, func(r *rig) { r.fr.WriteRSTStream(1, 0) }, "", ""},
		{"SETTINGS on a stream", nil, func(r *rig) { r.raw(0, 4, 0, 1, "") }, "closed PROTOCOL_ERROR", ""},
		{"SETTINGS ACK with a payload", nil, func(r *rig) { r.raw(6, 4, 1, 0, "\x00\x03\x00\x00\x00\x01") }, "closed FRAME_SIZE_ERROR", ""},
		{"SETTINGS of a wrong size", nil, func(r *rig) { r.raw(5, 4, 0, 0, "\x00\x03\x00\x00\x00") }, "closed FRAME_SIZE_ERROR", ""},
		{"SETTINGS push 2", nil, func(r *rig) { r.fr.WriteSettings(xnet.Setting{ID: 2, Val: 2}) }, "closed PROTOCOL_ERROR: invalid setting", ""},
		{"SETTINGS window too large", nil, func(r *rig) { r.fr.WriteSettings(xnet.Setting{ID: 4, Val: 1 << 31}) }, "closed FLOW_CONTROL_ERROR", ""},
		{"SETTINGS frame too small", nil, func(r *rig) { r.fr.WriteSettings(xnet.Setting{ID: 5, Val: 16383}) }, "closed PROTOCOL_ERROR", ""},
		{"SETTINGS frame too large", nil, func(r *rig) { r.fr.WriteSettings(xnet.Setting{ID: 5, Val: 1 << 24}) }, "closed PROTOCOL_ERROR", ""},
		{"SETTINGS unknown", nil, func(r *rig) { r.fr.WriteSettings(xnet.Setting{ID: 99, Val: 1}) }, "", "SETTINGS ACK"},
		{"SETTINGS no priorities 2", nil, func(r *rig) { r.fr.WriteSettings(xnet.Setting{ID: 9, Val: 2}) }, "closed PROTOCOL_ERROR", ""},
		{"PUSH_PROMISE", open, func(r *rig) { r.raw(4, 5, 4, 1, "\x00\x00\x00\x02") }, "closed PROTOCOL_ERROR: push", ""},
		{"PING on a stream", open, func(r *rig) { r.raw(8, 6, 0, 1, "12345678") }, "closed PROTOCOL_ERROR", ""},
		{"PING of a wrong size", nil, func(r *rig) { r.raw(6, 6, 0, 0, "123456") }, "closed FRAME_SIZE_ERROR", ""},
		{"GOAWAY on a stream", open, func(r *rig) { r.raw(8, 7, 0, 1, "12345678") }, "closed PROTOCOL_ERROR", ""},
		{"GOAWAY of a wrong size", nil, func(r *rig) { r.raw(7, 7, 0, 0, "1234567") }, "closed FRAME_SIZE_ERROR", ""},
		{"GOAWAY", nil, func(r *rig) { r.fr.WriteGoAway(0, 0, nil) }, "goaway 0 NO_ERROR", ""},
		{"WINDOW_UPDATE of a wrong size", nil, func(r *rig) { r.raw(3, 8, 0, 0, "\x00\x00\x01") }, "closed FRAME_SIZE_ERROR", ""},
		{"WINDOW_UPDATE by 0", nil, func(r *rig) { r.raw(4, 8, 0, 0, "\x00\x00\x00\x00") }, "closed PROTOCOL_ERROR", ""},
		{"WINDOW_UPDATE of a stream by 0", open, func(r *rig) { r.raw(4, 8, 0, 1, "\x80\x00\x00\x00") }, "reset 1 PROTOCOL_ERROR", "RST 1 PROTOCOL_ERROR"},
		{"WINDOW_UPDATE too large", nil, func(r *rig) { r.fr.WriteWindowUpdate(0, maxWindow) }, "closed FLOW_CONTROL_ERROR", ""},
		{"WINDOW_UPDATE of a stream too large", open, func(r *rig) { r.fr.WriteWindowUpdate(1, maxWindow) }, "reset 1 FLOW_CONTROL_ERROR", "RST 1 FLOW_CONTROL_ERROR"},
		{"WINDOW_UPDATE idle", nil, func(r *rig) { r.fr.WriteWindowUpdate(1, 1) }, "closed PROTOCOL_ERROR", ""},
		{"WINDOW_UPDATE on a closed stream", closed, func(r *rig) { r.fr.WriteWindowUpdate(1, 1) }, "", ""},
		{"SETTINGS make a window too large", func(r *rig) { open(r); r.fr.WriteWindowUpdate(1, maxWindow-65535); r.want() },
			func(r *rig) { r.fr.WriteSettings(xnet.Setting{ID: 4, Val: 65536}) }, "closed FLOW_CONTROL_ERROR", ""},
		{"CONTINUATION without a block", open, func(r *rig) { r.fr.WriteContinuation(1, true, nil) }, "closed PROTOCOL_ERROR", ""},
		{"CONTINUATION on 0", begun, func(r *rig) { r.raw(0, 9, 4, 0, "") }, "closed PROTOCOL_ERROR", ""},
		{"CONTINUATION of another stream", begun, func(r *rig) { r.fr.WriteContinuation(3, true, nil) }, "closed PROTOCOL_ERROR", ""},
		{"CONTINUATION", begun, func(r *rig) { r.fr.WriteContinuation(1, true, nil) }, "head 1 GET https a.example / END", ""},
		{"PING within a block", begun, func(r *rig) { r.fr.WritePing(false, [8]byte{}) }, "closed PROTOCOL_ERROR", ""},
		{"unknown frame within a block", begun, func(r *rig) { r.raw(0, 99, 0, 0, "") }, "closed PROTOCOL_ERROR", ""},
		{"DATA within a block", begun, func(r *rig) { r.fr.WriteData(1, false, nil) }, "closed PROTOCOL_ERROR", ""},
		{"HEADERS within a block", begun, func(r *rig) { r.get(1) }, "closed PROTOCOL_ERROR", ""},
		{"PRIORITY_UPDATE on a stream", nil, func(r *rig) { r.raw(4, 0x10, 0, 1, "\x00\x00\x00\x01") }, "closed PROTOCOL_ERROR", ""},
		{"PRIORITY_UPDATE for 0", nil, func(r *rig) { r.raw(4, 0x10, 0, 0, "\x00\x00\x00\x00") }, "closed PROTOCOL_ERROR", ""},
		{"PRIORITY_UPDATE of a wrong size", nil, func(r *rig) { r.raw(3, 0x10, 0, 0, "\x00\x00\x00") }, "closed FRAME_SIZE_ERROR", ""},
		{"PRIORITY_UPDATE", nil, func(r *rig) { r.raw(7, 0x10, 0, 0, "\x00\x00\x00\x01u=1") }, "", ""},

		// Section 5.1: states.
		{"DATA idle", nil, func(r *rig) { r.fr.WriteData(1, true, []byte("a")) }, "closed PROTOCOL_ERROR", ""},
		{"DATA, half-closed", ended, func(r *rig) { r.fr.WriteData(1, true, []byte("a")) }, "reset 1 STREAM_CLOSED", "RST 1 STREAM_CLOSED"},
		{"HEADERS, half-closed", ended, func(r *rig) { r.get(1) }, "reset 1 STREAM_CLOSED", "RST 1 STREAM_CLOSED"},
		{"DATA, closed", closed, func(r *rig) { r.fr.WriteData(1, true, []byte("a")) }, "closed STREAM_CLOSED", "GOAWAY 1 STREAM_CLOSED"},
		{"HEADERS, closed", closed, func(r *rig) { r.get(1) }, "closed STREAM_CLOSED", ""},
		{"DATA, reset by the peer", peerReset, func(r *rig) { r.fr.WriteData(1, true, []byte("a")) }, "closed STREAM_CLOSED", ""},
		{"HEADERS, reset by the peer", peerReset, func(r *rig) { r.get(1) }, "closed STREAM_CLOSED", ""},
		{"DATA, reset here", resetHere, func(r *rig) { r.fr.WriteData(1, true, []byte("a")) }, "", ""},
		{"HEADERS, reset here", resetHere, func(r *rig) { r.headers(1, true, "x-new", "table entry") }, "", ""},
		{"HEADERS that end nothing", open, func(r *rig) { r.headers(1, false, "x", "y") }, "reset 1 PROTOCOL_ERROR local: second field section", "RST 1 PROTOCOL_ERROR"},
		{"HEADERS that cannot be decoded", nil, func(r *rig) { r.raw(1, 1, 5, 1, "\xff") }, "closed COMPRESSION_ERROR", "GOAWAY 1 COMPRESSION_ERROR"},
		{"trailers that cannot be decoded", resetHere, func(r *rig) { r.raw(1, 1, 5, 1, "\xff") }, "closed COMPRESSION_ERROR", ""},
		{"CONNECT", nil, func(r *rig) {
			r.headers(1, false, ":method", "CONNECT", ":authority", "a.example:443")
			r.fr.WriteData(1, false, []byte("x"))
		}, `data 1 "x"`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, cut := range []int{0, 1, 3} {
				r := server(t, nil)
				if c.before != nil {
					c.before(r)
				}
				r.sent()
				r.cut = cut
				c.do(r)
				got := r.feed()
				last := ""
				if len(got) > 0 {
					last = got[len(got)-1]
				}
				if last != c.want && (c.want == "" || !strings.HasPrefix(last, c.want)) {
					t.Fatalf("cut %d: events %q, want %q", cut, got, c.want)
				}
				if sent := strings.Join(r.sent(), ", "); c.sent != "" && !strings.HasPrefix(sent, c.sent) {
					t.Fatalf("cut %d: sent %q, want %q", cut, sent, c.sent)
				} else if c.want == "" && c.sent == "" && sent != "" {
					t.Fatalf("cut %d: sent %q", cut, sent)
				}
				if c.want == "" || strings.HasPrefix(c.want, "reset") { // it goes on, with the table right
					r.cut = 0
					r.get(101)
					if got := r.feed(); len(got) != 1 || got[0] != "head 101 GET https a.example / END" {
						t.Fatalf("cut %d: afterwards %q", cut, got)
					}
				}
				r.empty()
			}
		})
	}
}

func TestClientRules(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*rig)
		want string
	}{
		{"DATA before the head", func(r *rig) { r.fr.WriteData(1, true, []byte("a")) }, "reset 1 PROTOCOL_ERROR local: data before the response head"},
		{"HEADERS idle", func(r *rig) { r.headers(3, true, ":status", "200") }, "closed PROTOCOL_ERROR: invalid stream identifier"},
		{"HEADERS on an even stream", func(r *rig) { r.headers(2, true, ":status", "200") }, "closed PROTOCOL_ERROR"},
		{"PUSH_PROMISE", func(r *rig) { r.raw(4, 5, 4, 1, "\x00\x00\x00\x02") }, "closed PROTOCOL_ERROR: push"},
		{"push enabled", func(r *rig) { r.fr.WriteSettings(xnet.Setting{ID: 2, Val: 1}) }, "closed PROTOCOL_ERROR: invalid setting"},
		{"PRIORITY_UPDATE", func(r *rig) { r.raw(4, 0x10, 0, 0, "\x00\x00\x00\x01") }, "closed PROTOCOL_ERROR"},
		{"interim that ends", func(r *rig) { r.headers(1, true, ":status", "103") }, "reset 1 PROTOCOL_ERROR local: interim response ends the stream"},
		{"101", func(r *rig) { r.headers(1, false, ":status", "101") }, "reset 1 PROTOCOL_ERROR local: malformed status code"},
		{"no status", func(r *rig) { r.headers(1, true, "a", "b") }, "reset 1 PROTOCOL_ERROR local: pseudo-field"},
		{"two heads", func(r *rig) {
			r.headers(1, false, ":status", "200")
			r.headers(1, false, ":status", "200")
		}, "reset 1 PROTOCOL_ERROR local: second field section"},
		{"request fields", func(r *rig) { r.headers(1, true, ":status", "200", ":path", "/") }, "reset 1 PROTOCOL_ERROR local: pseudo-field"},
		{"too large", func(r *rig) { r.headers(1, true, ":status", "200", "x", strings.Repeat("a", 70000)) }, ""},
	} {
		r := client(t, nil)
		r.request(1, "GET", true)
		if c.name == "too large" {
			big := r.block(":status", "200", "x", strings.Repeat("a", 100_000))
			r.fr.WriteHeaders(xnet.HeadersFrameParam{StreamID: 1, BlockFragment: big[:16384]})
			for big = big[16384:]; len(big) > 16384; big = big[16384:] {
				r.fr.WriteContinuation(1, false, big[:16384])
			}
			r.fr.WriteContinuation(1, true, big)
			r.want("reset 1 ENHANCE_YOUR_CALM local: head too large")
			continue
		}
		c.do(r)
		got := r.feed()
		if last := got[len(got)-1]; !strings.HasPrefix(last, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		r.empty()
	}
}

func TestPreface(t *testing.T) {
	for in, want := range map[string]string{
		"GET / HTTP/1.1\r\n": "closed PROTOCOL_ERROR: not the preface of http/2",
		Preface[:20] + "x":   "closed PROTOCOL_ERROR: not the preface of http/2",
		Preface[:20]:         "",
		Preface + "\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678": "closed PROTOCOL_ERROR: first frame is not settings",
		Preface + "\x00\x00\x00\x04\x01\x00\x00\x00\x00":         "closed PROTOCOL_ERROR: first frame is not settings",
		Preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00":         "settings",
	} {
		for _, cut := range []int{0, 1} {
			r := newRig(t, Server, nil)
			r.cut = cut
			r.in.WriteString(in)
			if got := strings.Join(r.feed(), ", "); got != want {
				t.Errorf("%q: %q, want %q", in, got, want)
			}
		}
	}
	r := newRig(t, Client, nil)
	r.in.WriteString("HTTP/1.1 400 Bad Request\r\n")
	r.want("closed FRAME_SIZE_ERROR: frame of a wrong size")
}

// More resets than are remembered one by one: what is on its way for the older
// ones must not end the connection.
func TestManyResetsOnTheirWay(t *testing.T) {
	r := server(t, nil)
	const n = 3 * resetsMax
	for i := range uint32(n) {
		r.post(2*i + 1)
	}
	r.feed()
	for i := range uint32(n) {
		r.s.Reset(r.s.Find(2*i+1), ErrCancel)
	}
	for i := range uint32(n) {
		r.fr.WriteData(2*i+1, true, []byte("late"))
	}
	r.want()
	if r.s.recvHeld != 0 {
		t.Errorf("%d bytes were not given back", r.s.recvHeld)
	}
	r.empty()
}

func TestErrCodeNames(t *testing.T) {
	for c := ErrNo; c <= ErrHTTP11Required; c++ {
		if c.String() != xnet.ErrCode(c).String() {
			t.Errorf("%d is %v", c, c)
		}
	}
	if ErrCode(99).String() != "UNKNOWN" {
		t.Error("99 has a name")
	}
}
