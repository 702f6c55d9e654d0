package tunnel

import (
	"net/netip"
	"strings"
	"testing"

	"zproxy/proto"
	"zproxy/proto/http1"
)

// The key and its answer in RFC 6455 1.3.
const (
	sampleKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	sampleAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

var (
	testLimits = http1.Limits{HeadBytes: 16384, Fields: 64, LineBytes: 8192}
	somebody   = netip.MustParseAddrPort("192.0.2.7:4711")
)

func request(t testing.TB, fields ...string) *proto.Head {
	t.Helper()
	h := new(proto.Head)
	all := append([]string{"GET /chat HTTP/1.1", "Host: h", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + sampleKey}, fields...)
	b := []byte(strings.Join(all, "\r\n") + "\r\n\r\n")
	if n, _, f := http1.ParseRequest(b, http1.Cursor{}, &testLimits, h); f != nil || n == 0 {
		t.Fatalf("%q: %v", b, f)
	}
	return h
}

func response(t testing.TB, fields ...string) *proto.Head {
	t.Helper()
	h := new(proto.Head)
	all := append([]string{"HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Accept: " + sampleAccept}, fields...)
	b := []byte(strings.Join(all, "\r\n") + "\r\n\r\n")
	if n, _, f := http1.ParseResponse(b, http1.Cursor{}, proto.GET, &testLimits, h); f != nil || n == 0 {
		t.Fatalf("%q: %v", b, f)
	}
	return h
}

// What a response has to say to what its request has offered.
func TestHandshakes(t *testing.T) {
	for _, tc := range []struct {
		name              string
		request, response *proto.Head
		chosen, others    bool // what the response names
		want              string
		websocket         bool
	}{
		{"the example", request(t), response(t), true, false, "", true},
		{"a subprotocol", request(t, "Sec-WebSocket-Protocol: chat, superchat"), response(t, "Sec-WebSocket-Protocol: chat"), true, false, "", true},
		{"one that nobody offered", request(t, "Sec-WebSocket-Protocol: chat"), response(t, "Sec-WebSocket-Protocol: x"), true, false, "origin chose a subprotocol that was not offered", true},
		{"another accept", request(t), response(t, "Sec-WebSocket-Accept: x"), true, false, "sec-websocket-accept is not the one for the key", true},
		{"something else", request(t), response(t), false, true, "not agreed", true},
		{"something else of several", request(t, "Upgrade: echo"), response(t), false, true, "", false},
		{"both at once", request(t, "Upgrade: echo"), response(t), true, true, "not agreed", true},
		{"nothing", request(t), response(t), false, false, "not agreed", true},
	} {
		t.Run(strings.ReplaceAll(tc.name, " ", "_"), func(t *testing.T) {
			r := newRig(t, &Rules{Frames: true})
			defer r.isEmpty()
			i := r.offer(tc.request)
			defer func() { r.ts.Free(i, r.rules) }()
			got := ""
			if f := r.ts.Agree(i, tc.response, tc.chosen, tc.others, somebody, r.env()); f != nil {
				got = f.Reason
			}
			if got != tc.want || r.ts.IsWebSocket(i) != tc.websocket {
				t.Errorf("%q, WebSocket: %v", got, r.ts.IsWebSocket(i))
			}
			if got == "" && tc.websocket && (string(r.ts.Accept()) != sampleAccept || r.ts.Peer(i) != somebody) {
				t.Errorf("accept %q, peer %v", r.ts.Accept(), r.ts.Peer(i))
			}
		})
	}
}

// A request that asks for something else has no tunnel yet, and one that is no good none
// at all.
func TestOffers(t *testing.T) {
	r := newRig(t, &Rules{Frames: true})
	defer r.isEmpty()
	echo := request(t)
	echo.Buf = []byte(strings.Replace(string(echo.Buf), "websocket", "echoecho!", 1))
	if i, f := r.ts.Offer(echo, r.rules, r.now); i != 0 || f != nil {
		t.Errorf("%d, %v for another protocol", i, f)
	}
	old := request(t, "Sec-WebSocket-Version: 8")
	if i, f := r.ts.Offer(old, r.rules, r.now); i != 0 || f == nil || f.Status != 426 {
		t.Errorf("%d, %v for two versions", i, f)
	}
	long := request(t, "Sec-WebSocket-Protocol: "+strings.Repeat("a,", 3000))
	for range 2 {
		long.Fields = append(long.Fields, long.Fields...)
	}
	for i := range long.Fields { // but one version, and one key
		if f := &long.Fields[i]; i >= len(long.Fields)/4 && f.Token != proto.TokenSecWebSocketProtocol {
			f.Flags |= proto.FlagDrop
		}
	}
	if i, f := r.ts.Offer(long, r.rules, r.now); i != 0 || f == nil || f.Status != 431 {
		t.Errorf("%d, %v for an offer longer than a block", i, f)
	}
}

// A client of HTTP/2 has no key, and its origin gets one of the proxy's.
func TestExtendedConnect(t *testing.T) {
	r := newRig(t, &Rules{Frames: true})
	defer r.isEmpty()
	keys := map[string]bool{}
	for range 100 {
		h := request(t)
		h.Drop(proto.TokenSecWebSocketKey)
		h.H2 = true
		i := r.offer(h)
		if keys[string(r.ts.Key())] = true; len(r.ts.Key()) != len(sampleKey) {
			t.Errorf("key %q", r.ts.Key())
		}
		r.ts.Free(i, r.rules)
	}
	if len(keys) != 100 {
		t.Errorf("%d keys for 100 clients", len(keys))
	}
}

// There are as many as the rules say, and a place that comes free is free, whatever a
// tunnel has come to.
func TestMost(t *testing.T) {
	r := newRig(t, &Rules{Frames: true, Most: 3})
	first, second := r.offer(request(t)), r.offer(request(t, "Upgrade: echo"))
	if i, f := r.ts.Offer(request(t), r.rules, r.now); i != 0 || f != &tooMany {
		t.Errorf("%d, %v: want no fourth", i, f)
	}
	r.ts.Free(first, r.rules)
	first = r.offer(request(t))
	if f := r.ts.Agree(second, response(t), false, true, somebody, r.env()); f != nil {
		t.Fatal(f)
	}
	third := r.offer(request(t)) // in the place of what has become something else
	if _, f := r.ts.Offer(request(t), r.rules, r.now); f != &tooMany {
		t.Errorf("%v: want no fourth", f)
	}
	for _, i := range []uint32{first, second, third} {
		r.ts.Free(i, r.rules)
	}
	r.isEmpty()
	if n := r.rules.open.Load(); n != 0 {
		t.Errorf("%d count as open", n)
	}
}

// Without memory there is no WebSocket, and no place is taken.
func TestNoMemory(t *testing.T) {
	r := newRig(t, &Rules{Frames: true, Most: 3})
	for {
		if _, ok := r.pool.Get(); !ok {
			break
		}
	}
	for r.pool.Reserve(100) != nil {
		r.pool.Commit(100)
	}
	if i, f := r.ts.Offer(request(t), r.rules, r.now); i != 0 || f != &noMemory {
		t.Errorf("%d, %v", i, f)
	}
	if n := r.rules.open.Load(); n != 1 {
		t.Errorf("%d count as open", n)
	}
}
