package http1

import (
	"bytes"
	"testing"

	"zproxy/proto"
)

// splitter cuts where a generator seeded by the input says so.
func splitter(seed uint64) func(int) bool {
	return func(int) bool {
		seed = seed*6364136223846793005 + 1442695040888963407
		return seed>>61 == 0
	}
}

// sameInPieces fails when splitting changes what parse finds.
func sameInPieces(t *testing.T, parse parser, in []byte, seed uint64) string {
	want := outcome(parse, in, atOnce)
	if got := outcome(parse, in, everyByte); got != want {
		t.Fatalf("%q in bytes:\n%s\nat once:\n%s", in, got, want)
	}
	if got := outcome(parse, in, splitter(seed)); got != want {
		t.Fatalf("%q in pieces of %d:\n%s\nat once:\n%s", in, seed, got, want)
	}
	return want
}

// Limits small enough for a fuzzer to reach.
var fuzzLimits = []Limits{testLimits, {HeadBytes: 100, Fields: 4, LineBytes: 24}}

func FuzzRequestSplit(f *testing.F) {
	for _, c := range goodRequests {
		f.Add([]byte(c.in), uint64(1))
	}
	for _, c := range badRequests {
		f.Add([]byte(c.in), uint64(2))
	}
	for _, c := range badRequestFields {
		f.Add([]byte("POST / HTTP/1.1\r\nHost: a\r\n"+c.in+"\r\n"), uint64(3))
	}
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) {
		for i := range fuzzLimits {
			sameInPieces(t, requestParser(&fuzzLimits[i]), in, seed)
		}
	})
}

func FuzzResponseSplit(f *testing.F) {
	f.Add([]byte(nginxHead), uint64(1), uint8(0))
	f.Add([]byte("HTTP/1.1 204\r\nTransfer-Encoding: chunked\r\n\r\n"), uint64(1), uint8(1))
	f.Add([]byte("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5, 5\r\n\r\n"), uint64(1), uint8(2))
	f.Fuzz(func(t *testing.T, in []byte, seed uint64, method uint8) {
		for i := range fuzzLimits {
			sameInPieces(t, responseParser(proto.Method(int(method)%proto.MethodCount), &fuzzLimits[i]), in, seed)
		}
	})
}

func FuzzTrailersSplit(f *testing.F) {
	f.Add([]byte("\r\n"), uint64(1))
	f.Add([]byte("X: y\r\nHost: z\r\n\r\nGET"), uint64(1))
	f.Add([]byte("X: y\r\n z\r\n\r\n"), uint64(1))
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) {
		for i := range fuzzLimits {
			sameInPieces(t, func(b []byte, scanned Cursor, h *proto.Head) (int, Cursor, *proto.Fault) {
				return ParseTrailers(b, scanned, &fuzzLimits[i], h)
			}, in, seed)
		}
	})
}

func FuzzBodySplit(f *testing.F) {
	f.Add([]byte("5;a=\"b\\\"c\"\r\nhello\r\n0\r\nX: y\r\n\r\n"), uint64(1), uint8(2), int64(0))
	f.Add([]byte("hello world"), uint64(1), uint8(1), int64(5))
	f.Add([]byte("hello world"), uint64(1), uint8(3), int64(5))
	f.Add([]byte("7fffffffffffffff\r\nx"), uint64(1), uint8(2), int64(5))
	f.Fuzz(func(t *testing.T, in []byte, seed uint64, kind uint8, length int64) {
		one := func(cuts func(int) bool) (string, Body) {
			var d Body
			d.Start(proto.BodyKind(kind%4), length)
			return walk(&d, in, cuts), d
		}
		want, wantBody := one(atOnce)
		for _, cuts := range []func(int) bool{everyByte, splitter(seed)} {
			if got, body := one(cuts); got != want || body != wantBody {
				t.Fatalf("%q: %s %+v, at once: %s %+v", in, got, body, want, wantBody)
			}
		}
	})
}

// What is written for an accepted head is accepted, and means the same.
func FuzzRoundTrip(f *testing.F) {
	for _, c := range goodRequests {
		f.Add([]byte(c.in), false)
	}
	f.Add([]byte(browserHead), false)
	f.Add([]byte(nginxHead), true)
	f.Fuzz(func(t *testing.T, in []byte, response bool) {
		var h, again proto.Head
		lim := testLimits
		lim.HeadBytes += 1000
		lim.LineBytes += 10
		extras := []proto.Extra{{Name: "X-Extra", Value: in[:min(len(in), 20)]}}
		var out []byte
		var n int
		if response {
			if n, _, _ = ParseResponse(in, Cursor{}, proto.GET, &testLimits, &h); n == 0 || h.Status < 200 {
				return
			}
			MarkHopByHop(&h)
			out = AppendResponseHead(nil, &h, 1, h.Body, h.Length, h.KeepAlive, extras)
			if bound := ResponseHeadBound(&h, extras); len(out) > bound {
				t.Fatalf("%d bytes, bound %d", len(out), bound)
			}
			n, _, f := ParseResponse(out, Cursor{}, proto.GET, &lim, &again)
			if f != nil || n != len(out) || again.KeepAlive != h.KeepAlive {
				t.Fatalf("wrote %q for %q: n = %d, fault %v", out, in, n, f)
			}
		} else {
			if n, _, _ = ParseRequest(in, Cursor{}, &testLimits, &h); n == 0 || h.Host.Len == 0 || h.Method == proto.CONNECT {
				return
			}
			MarkHopByHop(&h)
			target, host := h.AppendOriginTarget(nil), h.Bytes(h.Host)
			out = AppendRequestHead(nil, &h, target, host, h.Body, h.Length, extras)
			if bound := RequestHeadBound(&h, target, host, extras); len(out) > bound {
				t.Fatalf("%d bytes, bound %d", len(out), bound)
			}
			n, _, f := ParseRequest(out, Cursor{}, &lim, &again)
			if f != nil || n != len(out) {
				t.Fatalf("wrote %q for %q: n = %d, fault %v", out, in, n, f)
			}
			if again.Method != h.Method || str(&again, again.Target) != string(target) || str(&again, again.Host) != string(host) ||
				!again.KeepAlive || again.Upgrade {
				t.Fatalf("wrote %q for %q", out, in)
			}
		}
		if again.Body != h.Body || again.Length != h.Length {
			t.Fatalf("wrote %q for %q: framing %v %d, was %v %d", out, in, again.Body, again.Length, h.Body, h.Length)
		}
		sameFields(t, &h, &again)
	})
}

// sameFields checks that the fields forwarded arrived as they were, in order.
func sameFields(t *testing.T, h, again *proto.Head) {
	kept := make([]proto.Field, 0, len(again.Fields))
	for _, f := range again.Fields {
		ours := f.Token == proto.TokenHost || f.Token == proto.TokenContentLength || f.Token == proto.TokenTransferEncoding || f.Token == proto.TokenConnection
		if !ours {
			kept = append(kept, f)
		}
	}
	i := 0
	for _, f := range h.Fields {
		if f.Flags&proto.FlagDrop != 0 || f.Token == proto.TokenHost {
			continue
		}
		if i >= len(kept) || !bytes.Equal(h.Bytes(f.Name), again.Bytes(kept[i].Name)) || !bytes.Equal(h.Bytes(f.Value), again.Bytes(kept[i].Value)) {
			t.Fatalf("field %q: %q is lost", h.Bytes(f.Name), h.Bytes(f.Value))
		}
		i++
	}
	if i+1 != len(kept) || string(again.Bytes(kept[i].Name)) != "X-Extra" {
		t.Fatalf("%d fields more than sent", len(kept)-i-1)
	}
}
