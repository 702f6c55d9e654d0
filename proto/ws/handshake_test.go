package ws

import (
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"zproxy/proto"
	"zproxy/proto/http1"
)

var testLimits = http1.Limits{HeadBytes: 16384, Fields: 64, LineBytes: 8192}

const (
	sampleKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	sampleAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

func request(t *testing.T, line string, fields ...string) *proto.Head {
	t.Helper()
	h := new(proto.Head)
	b := []byte(line + " HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\n" + strings.Join(fields, "\r\n") + "\r\n\r\n")
	if n, _, f := http1.ParseRequest(b, http1.Cursor{}, &testLimits, h); f != nil || n == 0 {
		t.Fatalf("%q: %v", b, f)
	}
	return h
}

func response(t *testing.T, fields ...string) *proto.Head {
	t.Helper()
	h := new(proto.Head)
	b := []byte("HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + strings.Join(fields, "\r\n") + "\r\n\r\n")
	if n, _, f := http1.ParseResponse(b, http1.Cursor{}, proto.GET, &testLimits, h); f != nil || n == 0 {
		t.Fatalf("%q: %v", b, f)
	}
	return h
}

// RFC 6455 section 4.2.1, and a request of section 1.3.
func TestCheckRequest(t *testing.T) {
	const up, version, key = "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + sampleKey
	for _, tc := range []struct {
		name, line string
		fields     []string
		status     uint16 // 0: in order
	}{
		{"sample", "GET /chat", []string{up, key, "Sec-WebSocket-Protocol: chat, superchat", version, "Origin: http://example.com"}, 0},
		{"extensions", "GET /", []string{up, key, version, `Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x; a="b, c"`}, 0},
		{"empty length", "GET /", []string{up, key, version, "Content-Length: 0"}, 0},
		{"post", "POST /", []string{up, key, version}, 400},
		{"no key", "GET /", []string{up, version}, 400},
		{"two keys", "GET /", []string{up, version, key, key}, 400},
		{"short key", "GET /", []string{up, version, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ="}, 400},
		{"key of 17 bytes", "GET /", []string{up, version, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQA="}, 400},
		{"key not base64", "GET /", []string{up, version, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub2_jZQ=="}, 400},
		{"no version", "GET /", []string{up, key}, 426},
		{"version 8", "GET /", []string{up, key, "Sec-WebSocket-Version: 8"}, 426},
		{"two versions", "GET /", []string{up, key, version, "Sec-WebSocket-Version: 8"}, 426},
		{"subprotocol no token", "GET /", []string{up, key, version, "Sec-WebSocket-Protocol: a b"}, 400},
		{"extension no token", "GET /", []string{up, key, version, "Sec-WebSocket-Extensions: =x"}, 400},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := CheckRequest(request(t, tc.line, tc.fields...))
			if f == nil && tc.status != 0 || f != nil && f.Status != tc.status {
				t.Errorf("%v, want %d", f, tc.status)
			}
		})
	}
}

func TestOffered(t *testing.T) {
	for upgrade, want := range map[string][2]bool{
		"websocket": {true, false}, "WebSocket": {true, false}, "echo": {false, true}, "echo, websocket": {true, true},
		"websocket\r\nUpgrade: echo": {true, true}, "websockets": {false, true}, "websocket/13": {false, true},
	} {
		h := request(t, "GET /", "Upgrade: "+upgrade)
		http1.MarkHopByHop(h)
		if ws, others := Offered(h); ws != want[0] || others != want[1] {
			t.Errorf("%q: websocket %v, others %v, want %v", upgrade, ws, others, want)
		}
	}
}

// RFC 6455 section 4.1, 4.2.2.
func TestCheckResponse(t *testing.T) {
	const accept = "Sec-WebSocket-Accept: " + sampleAccept
	offers := []string{"Sec-WebSocket-Protocol: chat, superchat", "Sec-WebSocket-Protocol: third",
		"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits", `Sec-WebSocket-Extensions: x-other; a=", y"`}
	for _, tc := range []struct {
		name   string
		fields []string
		ext    Extensions
		reason string
	}{
		{"plain", []string{accept}, 0, ""},
		{"subprotocol", []string{accept, "Sec-WebSocket-Protocol: superchat"}, 0, ""},
		{"subprotocol of the second field", []string{accept, "Sec-WebSocket-Protocol: third"}, 0, ""},
		{"deflate", []string{accept, "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover"}, Deflate, ""},
		{"another extension", []string{accept, "Sec-WebSocket-Extensions: x-other"}, Unknown, ""},
		{"both", []string{accept, "Sec-WebSocket-Extensions: x-other", "Sec-WebSocket-Extensions: permessage-deflate"}, Unknown | Deflate, ""},
		{"no accept", nil, 0, faultAccept.Reason},
		{"two", []string{accept, accept}, 0, faultAccept.Reason},
		{"wrong accept", []string{"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOO="}, 0, faultAccept.Reason},
		{"subprotocol not offered", []string{accept, "Sec-WebSocket-Protocol: Chat"}, 0, faultProtocol.Reason},
		{"two subprotocols", []string{accept, "Sec-WebSocket-Protocol: chat, superchat"}, 0, faultProtocol.Reason},
		{"two subprotocol fields", []string{accept, "Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: chat"}, 0, faultProtocol.Reason},
		{"empty subprotocol", []string{accept, "Sec-WebSocket-Protocol: "}, 0, faultProtocol.Reason},
		{"extension not offered", []string{accept, "Sec-WebSocket-Extensions: y"}, 0, faultExtension.Reason},
		{"one extension not offered", []string{accept, "Sec-WebSocket-Extensions: permessage-deflate, y"}, 0, faultExtension.Reason},
		{"extension of another case", []string{accept, "Sec-WebSocket-Extensions: Permessage-Deflate"}, 0, faultExtension.Reason},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := request(t, "GET /", append(offers, "Sec-WebSocket-Key: "+sampleKey)...)
			ext, f := CheckResponse(response(t, tc.fields...), AppendOffer(nil, h, keyOf(h)))
			reason := ""
			if f != nil {
				reason = f.Reason
			}
			if reason != tc.reason || f == nil && ext != tc.ext {
				t.Errorf("extensions %b, fault %q; want %b, %q", ext, reason, tc.ext, tc.reason)
			}
		})
	}
	t.Run("nothing offered", func(t *testing.T) {
		offer := AppendOffer(nil, request(t, "GET /"), []byte(sampleKey))
		for _, field := range []string{"Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Extensions: permessage-deflate"} {
			if _, f := CheckResponse(response(t, accept, field), offer); f == nil || f.Status != 502 {
				t.Errorf("%s: %v, want 502", field, f)
			}
		}
	})
}

// The accept value agrees with the standard library's hash and encoding.
func TestAppendAccept(t *testing.T) {
	if got := string(AppendAccept(nil, []byte(sampleKey))); got != sampleAccept {
		t.Errorf("%s, want %s", got, sampleAccept)
	}
	for i := range 100 {
		key := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%016d", i*i*i))
		sum := sha1.Sum([]byte(key + guid))
		if got, want := string(AppendAccept(nil, []byte(key))), base64.StdEncoding.EncodeToString(sum[:]); got != want {
			t.Errorf("%s: %s, want %s", key, got, want)
		}
		if n := 1 + i%20; string(appendBase64(nil, sum[:n])) != base64.StdEncoding.EncodeToString(sum[:n]) {
			t.Errorf("%d bytes: %s", n, appendBase64(nil, sum[:n]))
		}
	}
}

// Whatever fields come, no crash; and what CheckRequest lets pass can be
// answered.
func FuzzHandshake(f *testing.F) {
	f.Add("chat, superchat", `permessage-deflate; a="\", x`, "chat", "permessage-deflate", sampleKey)
	f.Fuzz(func(t *testing.T, protocols, extensions, protocol, extension, key string) {
		parse := func(b string, response bool) *proto.Head {
			h := new(proto.Head)
			var n int
			var fault *proto.Fault
			if response {
				n, _, fault = http1.ParseResponse([]byte(b), http1.Cursor{}, proto.GET, &testLimits, h)
			} else {
				n, _, fault = http1.ParseRequest([]byte(b), http1.Cursor{}, &testLimits, h)
			}
			if fault != nil || n != len(b) {
				return nil
			}
			return h
		}
		q := parse("GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "+key+
			"\r\nSec-WebSocket-Protocol: "+protocols+"\r\nSec-WebSocket-Extensions: "+extensions+"\r\n\r\n", false)
		if q == nil || CheckRequest(q) != nil {
			return
		}
		offer := AppendOffer(nil, q, keyOf(q))
		a := parse("HTTP/1.1 101 x\r\nSec-WebSocket-Accept: "+string(offer[:acceptBytes])+"\r\nSec-WebSocket-Protocol: "+protocol+
			"\r\nSec-WebSocket-Extensions: "+extension+"\r\n\r\n", true)
		if a == nil {
			return
		}
		if _, fault := CheckResponse(a, offer); fault == nil && !strings.Contains(protocols, strings.Trim(protocol, " \t")) {
			t.Errorf("subprotocol %q is not one of %q", protocol, protocols)
		}
	})
}

func keyOf(h *proto.Head) []byte {
	key, _ := h.Get(proto.TokenSecWebSocketKey)
	return key
}
