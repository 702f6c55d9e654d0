package tunnel

import (
	"bytes"
	"strings"
	"testing"
	"unsafe"

	"zproxy/proto/ws"
)

// Not a byte of the examples of RFC 6455 5.7 is changed on its way, whatever pieces they
// come in, and they are counted.
func TestExamplesPassUnchanged(t *testing.T) {
	for _, ex := range []struct {
		name   string
		from   Side
		bytes  string
		opcode int // of the last frame
		size   int
		frames int
	}{
		{"a text of a server", Origin, "\x81\x05Hello", 1, 5, 1},
		{"a text of a client", Client, "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", 1, 5, 1},
		{"a text in fragments", Origin, "\x01\x03Hel\x80\x02lo", 0, 2, 2},
		{"a ping", Origin, "\x89\x05Hello", 9, 5, 1},
		{"a pong", Client, "\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", 10, 5, 1},
		{"256 bytes", Origin, "\x82\x7e\x01\x00" + strings.Repeat("x", 256), 2, 256, 1},
		{"64 KiB", Origin, "\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00" + strings.Repeat("x", 65536), 2, 65536, 1},
	} {
		for _, size := range []int{testBlock, 1, 3, 100} {
			r := newRig(t, &Rules{Frames: true})
			r.says(ex.from, []byte(ex.bytes), size)
			if string(r.sent[ex.from.Other()]) != ex.bytes || len(r.sent[ex.from]) > 0 {
				t.Errorf("%s, in pieces of %d: %x, %x", ex.name, size, r.sent[ex.from.Other()], r.sent[ex.from])
			}
			frames := uint64(0)
			for _, n := range r.m.WebSocket.Frames[ex.from] {
				frames += n
			}
			if frames != uint64(ex.frames) || r.m.WebSocket.Bytes[ex.from][ex.opcode] != uint64(ex.size) {
				t.Errorf("%s, in pieces of %d: %d frames, %+v", ex.name, size, frames, r.m.WebSocket.Bytes[ex.from])
			}
			r.isEmpty()
		}
	}
}

// conversations are what two sides say, and what that comes to.
var conversations = []struct {
	name   string
	rules  *Rules // nil: frames are followed, and there are no limits
	say    func(r *rig)
	client string // hears
	origin string // hears
	end    string
}{
	{"the client closes", nil, func(r *rig) {
		r.says(Client, append(text(Client, "a"), closing(Client, 1000)...), testBlock)
		r.says(Origin, closing(Origin, 1000), testBlock)
		r.ended(Origin)
		r.ended(Client)
	}, "close 1000; end", "text a; close 1000; end", "flushed (1000 by client)"},
	{"the origin closes", nil, func(r *rig) {
		r.says(Origin, closing(Origin, 4000), testBlock)
		r.says(Client, closing(Client, 4000), testBlock)
		r.ended(Client)
		r.ended(Origin)
	}, "close 4000; end", "close 4000; end", "flushed (4000 by origin)"},
	{"a Close frame without a code, byte by byte", nil, func(r *rig) {
		r.says(Client, frame(Client, 0x88, ""), 1)
		r.says(Origin, frame(Origin, 0x88, ""), 1)
		r.ts.Expired(r.i, r.env())
		r.pull()
	}, "close", "close", "flushed (1005 by client)"},
	{"more behind a Close frame", nil, func(r *rig) {
		r.says(Client, append(closing(Client, 1000), text(Client, "more")...), testBlock)
		r.says(Client, text(Client, "still more"), testBlock)
		r.ts.Broke(r.i, Origin, r.env())
		r.pull()
	}, "", "close 1000", "reset origin broke the connection (1000 by client)"},
	{"broken once both have closed", nil, func(r *rig) {
		r.says(Client, closing(Client, 1000), testBlock)
		r.says(Origin, closing(Origin, 1000), testBlock)
		r.ts.Broke(r.i, Client, r.env())
		r.pull()
	}, "close 1000", "close 1000", "flushed (1000 by client)"},

	{"the client breaks a rule", nil, func(r *rig) {
		r.says(Client, append(text(Client, "a"), frame(Client, 0x80, "b")...), testBlock)
		r.says(Origin, text(Origin, "c"), testBlock)
		r.says(Client, text(Client, "d"), testBlock)
		r.says(Origin, closing(Origin, 1002), testBlock)
	}, "text c; close 1002 websocket client: continuation of no message", "text a; close 1002 websocket client: continuation of no message",
		"flushed websocket client: continuation of no message (1002 by proxy)"},
	{"the origin breaks a rule", nil, func(r *rig) {
		r.says(Origin, frame(Origin, 0x81, "\xff"), testBlock)
		r.says(Client, closing(Client, 1000), testBlock)
	}, "close 1007 websocket origin: text is not UTF-8", "close 1007 websocket origin: text is not UTF-8", "flushed websocket origin: text is not UTF-8 (1007 by proxy)"},
	{"a frame that has gone in part", nil, func(r *rig) {
		r.says(Origin, text(Origin, "all is well so far\xff"), 10)
		r.says(Client, closing(Client, 1000), testBlock)
	}, "a part; end", "close 1007 websocket origin: text is not UTF-8", "flushed websocket origin: text is not UTF-8 (1007 by proxy)"},
	{"both break a rule", nil, func(r *rig) {
		r.says(Client, text(Origin, "not masked"), testBlock)
		r.says(Origin, text(Client, "masked"), testBlock)
	}, "close 1002 websocket origin: frame of a server is masked", "close 1002 websocket client: frame of a client is not masked",
		"flushed websocket client: frame of a client is not masked (1002 by proxy)"},
	{"a rule is broken by whom the other has closed towards", nil, func(r *rig) {
		r.says(Origin, closing(Origin, 1000), testBlock)
		r.says(Client, frame(Client, 0x83, ""), testBlock)
	}, "close 1000", "close 1002 websocket client: reserved opcode", "flushed websocket client: reserved opcode (1000 by origin)"},
	{"nobody answers who has broken a rule", nil, func(r *rig) {
		r.says(Client, frame(Client, 0x83, ""), testBlock)
		r.now = r.deadline
		r.ts.Expired(r.i, r.env())
		r.pull()
	}, "close 1002 websocket client: reserved opcode", "close 1002 websocket client: reserved opcode", "flushed websocket client: reserved opcode (1002 by proxy)"},
	{"and ends without a word", nil, func(r *rig) {
		r.says(Client, frame(Client, 0x83, ""), testBlock)
		r.ended(Origin)
	}, "close 1002 websocket client: reserved opcode", "close 1002 websocket client: reserved opcode", "flushed websocket client: reserved opcode (1002 by proxy)"},
	{"a frame above the limit", &Rules{Frames: true, Limits: ws.Limits{FrameBytes: 10}}, func(r *rig) {
		r.says(Client, append(text(Client, "0123456789"), text(Client, "0123456789a")...), testBlock)
		r.says(Origin, closing(Origin, 1009), testBlock)
	}, "close 1009 websocket client: frame too big", "text 0123456789; close 1009 websocket client: frame too big", "flushed websocket client: frame too big (1009 by proxy)"},
	{"a message above the limit", &Rules{Frames: true, Limits: ws.Limits{MessageBytes: 10}}, func(r *rig) {
		r.says(Origin, append(frame(Origin, 0x01, "0123456789"), frame(Origin, 0x80, "a")...), testBlock)
		r.says(Client, closing(Client, 1009), testBlock)
	}, "text... 0123456789; close 1009 websocket origin: message too big", "close 1009 websocket origin: message too big", "flushed websocket origin: message too big (1009 by proxy)"},
	{"a tunnel does not look", &Rules{Limits: ws.Limits{FrameBytes: 1}}, func(r *rig) {
		r.says(Client, frame(Client, 0x80, "of no message"), 2)
		r.ended(Client)
		r.ended(Origin)
	}, "end", "last of no message; end", "closed"},

	{"a half is closed", nil, func(r *rig) {
		r.says(Client, text(Client, "q"), testBlock)
		r.ended(Client)
		r.says(Origin, append(text(Origin, "a"), closing(Origin, 1000)...), testBlock)
		r.ended(Origin)
	}, "text a; close 1000; end", "text q; end", "closed (1006 by client)"},
	{"in the middle of a header", nil, func(r *rig) {
		r.says(Client, append(text(Client, "q"), 0x81), testBlock)
		r.ended(Client)
		r.ts.CutOff(r.i, "a test", r.env())
		r.pull()
	}, "", "text q; end", "reset a test (1006 by client)"},
	{"the client breaks off", nil, func(r *rig) {
		r.says(Client, text(Client, "q"), testBlock)
		r.ts.Broke(r.i, Client, r.env())
		r.pull()
	}, "", "text q", "reset client broke the connection (1006 by client)"},
	{"an origin that had ended is gone", nil, func(r *rig) {
		r.ended(Origin)
		if !r.ts.Lost(r.i, Origin) {
			r.t.Error("it is taken for broken")
		}
		r.drained(0, 0)
	}, "end", "", "closed (1006 by origin)"},
	{"one that had not", nil, func(r *rig) {
		if r.ts.Lost(r.i, Origin) {
			r.t.Error("it is not taken for broken")
		}
	}, "", "", ""},

	{"nothing is said", nil, func(r *rig) {
		r.ts.Expired(r.i, r.env())
		r.pull()
	}, "close 1001 websocket idle for too long", "close 1001 websocket idle for too long", "flushed websocket idle for too long (1006 by proxy)"},
	{"nothing more, in the middle of a frame", nil, func(r *rig) {
		r.says(Origin, text(Origin, "long enough")[:5], testBlock)
		r.ts.Expired(r.i, r.env())
		r.pull()
	}, "a part", "close 1001 websocket idle for too long", "flushed websocket idle for too long (1006 by proxy)"},
	{"the owner ends it", nil, func(r *rig) {
		r.ts.Fail(r.i, "a test", r.env())
		r.pull()
	}, "close 1001 a test", "close 1001 a test", "flushed a test (1006 by proxy)"},
	{"the owner ends it at once", nil, func(r *rig) {
		r.ts.CutOff(r.i, "a test", r.env())
		r.pull()
	}, "", "", "reset a test (1006 by proxy)"},

	{"the proxy shuts down", nil, func(r *rig) {
		r.draining = true
		r.away(true)
		r.away(false)
		r.says(Origin, text(Origin, "unheard"), testBlock)
		r.says(Client, append(text(Client, "last words"), closing(Client, 1001)...), testBlock)
		r.says(Origin, closing(Origin, 1001), testBlock)
		r.ended(Origin)
		r.ended(Client)
	}, "close 1001 proxy is shutting down; end", "text last words; close 1001; end", "flushed (1001 by proxy)"},
	{"it does in the middle of a frame", nil, func(r *rig) {
		b := text(Origin, "still here")
		r.says(Origin, b[:4], testBlock)
		r.away(true)
		r.says(Origin, append(b[4:], text(Origin, "unheard")...), testBlock)
	}, "text still here; close 1001 removed from the proxy", "", ""},
	{"it does in the middle of a header", nil, func(r *rig) {
		b := text(Origin, "unheard")
		r.says(Origin, b[:1], testBlock)
		r.away(true)
		r.says(Origin, b[1:], testBlock)
	}, "close 1001 removed from the proxy", "", ""},
	{"the client leaves without a word", nil, func(r *rig) {
		r.away(true)
		r.ended(Client)
	}, "close 1001 removed from the proxy", "close 1001 removed from the proxy; end", ""},
	{"who has closed is not told", nil, func(r *rig) {
		r.says(Origin, closing(Origin, 1000), testBlock)
		r.away(true)
	}, "close 1000", "", ""},
}

func (r *rig) away(want bool) {
	r.t.Helper()
	if got := r.ts.Away(r.i, r.env()); got != want {
		r.t.Errorf("told to go: %v", got)
	}
	r.pull()
}

func TestConversations(t *testing.T) {
	for _, tc := range conversations {
		t.Run(strings.ReplaceAll(tc.name, " ", "_"), func(t *testing.T) {
			rules := tc.rules
			if rules == nil {
				rules = &Rules{Frames: true}
			}
			r := newRig(t, rules)
			tc.say(r)
			if got := r.heard(Client); got != tc.client {
				t.Errorf("the client hears %q, want %q", got, tc.client)
			}
			if got := r.heard(Origin); got != tc.origin {
				t.Errorf("the origin hears %q, want %q", got, tc.origin)
			}
			if r.end != tc.end {
				t.Errorf("it ends: %q, want %q", r.end, tc.end)
			}
			r.isEmpty()
		})
	}
}

// A tunnel for something else passes what comes, half-closes included.
func TestOtherProtocols(t *testing.T) {
	r := newRig(t, nil)
	r.says(Client, []byte("ping?"), 2)
	r.says(Origin, []byte("\x88\x00"), 1)
	if string(r.sent[Origin]) != "ping?" || string(r.sent[Client]) != "\x88\x00" {
		t.Errorf("%q, %q", r.sent[Origin], r.sent[Client])
	}
	if r.ts.Speaks(r.i) || r.ts.IsWebSocket(r.i) || r.ts.NextPing(r.i, r.env()) != 0 {
		t.Error("it is taken for a WebSocket")
	}
	r.away(false)
	r.ended(Client)
	r.says(Origin, []byte("more"), 4)
	if r.end != "" || !r.finished[Origin] || r.finished[Client] || r.ts.BothEnded(r.i) {
		t.Errorf("%q, %v", r.end, r.finished)
	}
	r.ts.Ended(r.i, Origin, r.env())
	r.pull()
	r.drained(5, 0) // the last bytes have not left
	if r.end != "" || !r.ts.BothEnded(r.i) {
		t.Errorf("it ends too early: %q", r.end)
	}
	if r.drained(0, 0); r.end != "closed" {
		t.Errorf("%q", r.end)
	}
	r.isEmpty()

	r = newRig(t, nil)
	r.ts.Expired(r.i, r.env())
	if r.pull(); r.end != "reset tunnel idle for too long" {
		t.Errorf("%q", r.end)
	}
	r.isEmpty()
}

// Thousands of WebSockets that say nothing are held in these.
func TestSize(t *testing.T) {
	if n := unsafe.Sizeof(tunnel{}); n > 152 {
		t.Errorf("%d bytes, want at most 152", n)
	}
}

// Who is freed with events that nobody has pulled, and with a block half read, leaves
// nothing behind, and the next one starts afresh.
func TestFreeInTheMiddle(t *testing.T) {
	r := newRig(t, &Rules{Frames: true, PingNs: second})
	r.says(Origin, text(Origin, "a part")[:3], testBlock)
	r.ts.PingDue(r.i, [2]bool{}, r.env())
	r.pull()
	// The ping is to go behind the first frame: what is behind it has not been read then.
	r.ts.Received(r.i, Origin, r.view(append(text(Origin, "a part")[3:], text(Origin, "another")...)), r.env())
	if ev := r.ts.Next(); ev == nil || ev.Kind != Send {
		t.Fatalf("%+v", ev)
	} else {
		r.pool.Release(ev.View)
	}
	r.free()
	if ev := r.ts.Next(); ev != nil {
		t.Errorf("%+v", ev)
	}
	r.end = "freed"
	r.isEmpty()
}

// A message allocates nothing.
func TestAllocatesNothing(t *testing.T) {
	r := newRig(t, &Rules{Frames: true, PingNs: second})
	b := bytes.Join([][]byte{text(Client, "hello κόσμε"), frame(Client, 0x89, "p"), frame(Client, 0x02, "x"), frame(Client, 0x80, "y")}, nil)
	message := func() {
		r.ts.PingDue(r.i, [2]bool{}, r.env())
		r.discard()
		for _, piece := range [][]byte{b[:9], b[9:30], b[30:]} {
			r.ts.Received(r.i, Client, r.view(piece), r.env())
			r.discard()
		}
		r.ts.Drained(r.i, [2]Waiting{}, r.env())
		r.discard()
	}
	for range 10 {
		message()
	}
	if n := testing.AllocsPerRun(1000, message); n != 0 {
		t.Errorf("%v allocations", n)
	}
	r.isEmpty()
}

func (r *rig) discard() {
	for ev := r.ts.Next(); ev != nil; ev = r.ts.Next() {
		if ev.Kind == Send {
			r.pool.Release(ev.View)
		}
	}
}
