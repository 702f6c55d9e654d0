package http2

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	xnet "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"zproxy/proto"
)

// run feeds in, cut into pieces of the given lengths in turn, to a session
// behind its handshake, and tells everything: data joined, so that only what
// matters can differ. An owner answers every head.
func run(t testing.TB, role Role, in []byte, cuts []byte) string {
	var r *rig
	if role == Server {
		r = server(t, nil)
	} else {
		r = client(t, nil)
		for range 3 {
			r.request(1, "GET", true)
		}
		r.request(1, "POST", false)
		r.request(1, "HEAD", true)
	}
	r.sent()
	w := &strings.Builder{}
	body := map[uint32][]byte{}
	for k := 0; ; k++ {
		n := len(in)
		if len(cuts) > 0 {
			n = min(n, int(cuts[k%len(cuts)])+1)
		}
		piece := in[:n]
		in = in[n:]
		for {
			var ev Event
			used := r.s.Next(piece, r.now, &ev)
			switch ev.Kind {
			case EventNone:
			case EventData:
				body[ev.ID] = append(body[ev.ID], piece[ev.Off:ev.Off+ev.N]...)
				if ev.End {
					fmt.Fprintf(w, "end %d %x\n", ev.ID, body[ev.ID])
				}
				r.s.Consumed(map[bool]uint32{false: ev.Stream}[ev.Freed], ev.N)
			default:
				fmt.Fprintln(w, r.tell(piece, &ev))
			}
			if ev.Kind == EventHead && role == Server {
				r.take()
				r.out = r.s.AppendHead(r.out, ev.Stream, AppendStatus(nil, 200), ev.ID%4 == 1)
			}
			r.take()
			if ev.Kind == EventClosed {
				piece, in = nil, nil
				break
			}
			if piece = piece[used:]; ev.Kind == EventNone {
				if len(piece) > 0 {
					t.Fatalf("%d bytes are left without an event", len(piece))
				}
				break
			}
		}
		if len(in) == 0 {
			break
		}
	}
	fmt.Fprintf(w, "%x\n%v\n%x\n", body, r.s.Abuse, r.out)
	r.empty()
	return w.String()
}

func FuzzNext(f *testing.F) {
	r := server(f, nil)
	r.get(1)
	r.post(3, "content-length", "5", "cookie", "a", "cookie", "b")
	r.fr.WriteDataPadded(3, true, []byte("hello"), make([]byte, 3))
	r.fr.WritePing(false, [8]byte{1})
	r.post(5)
	r.fr.WriteData(5, false, make([]byte, 300))
	r.fr.WriteWindowUpdate(5, 10)
	r.headers(5, true, "x", "y")
	f.Add(bytes.Clone(r.in.Bytes()), []byte{0})
	r.in.Reset()
	block := r.block(append(getFields, "x-long", strings.Repeat("abc", 100))...)
	r.fr.WriteHeaders(xnet.HeadersFrameParam{StreamID: 1, BlockFragment: block[:5], PadLength: 3, Priority: xnet.PriorityParam{StreamDep: 5}})
	r.fr.WriteContinuation(1, false, block[5:9])
	r.fr.WriteContinuation(1, true, block[9:])
	r.fr.WriteRSTStream(1, xnet.ErrCodeCancel)
	r.fr.WriteGoAway(0, 0, []byte("debug"))
	r.raw(7, 0x10, 0, 0, "\x00\x00\x00\x03u=1")
	f.Add(bytes.Clone(r.in.Bytes()), []byte{3, 1, 40})
	c := client(f, nil)
	c.headers(1, false, ":status", "200", "content-length", "3")
	c.fr.WriteData(1, true, []byte("abc"))
	c.headers(3, false, ":status", "103")
	c.headers(3, false, ":status", "200")
	c.headers(3, true, "x", "y")
	c.fr.WriteSettings(xnet.Setting{ID: 4, Val: 5}, xnet.Setting{ID: 3, Val: 5})
	c.fr.WriteGoAway(5, 0, nil)
	f.Add(bytes.Clone(c.in.Bytes()), []byte{0})
	f.Add([]byte("\x00\x00\x00\x01\x04\x00\x00\x00\x01"), []byte{4})
	f.Fuzz(func(t *testing.T, in, cuts []byte) {
		for _, role := range []Role{Server, Client} {
			whole := run(t, role, in, nil)
			if split := run(t, role, in, append(slices.Clip(cuts), 0)); split != whole {
				t.Errorf("split %v:\n%s\nwhole:\n%s", cuts, split, whole)
			}
		}
	})
}

// Any field section: what somebody else's encoder makes of it is taken or
// refused, and what is taken can be passed on as HTTP/1 and as HTTP/2 without
// becoming something else.
func FuzzSection(f *testing.F) {
	f.Add("x-a", "b", "/path?q", "a.example", false)
	f.Add("cookie", "a=b", "*", "[::1]:80", true)
	f.Add("content-length", "0", "/", "a", true)
	f.Add("te", "trailers", "/%2e", "a:1", false)
	f.Fuzz(func(t *testing.T, name, value, path, authority string, huffman bool) {
		r := server(t, nil)
		if !huffman {
			r.enc.SetMaxDynamicTableSize(0)
		}
		r.headers(1, true, ":method", "GET", ":scheme", "http", ":authority", authority, ":path", path, name, value, name, value)
		got := r.feed()
		if len(got) != 1 {
			t.Fatalf("%q", got)
		}
		if strings.HasPrefix(got[0], "reset") || strings.Contains(got[0], "FAULT") {
			return
		}
		h := r.s.Head()
		for i := range h.Fields {
			n, v := h.Bytes(h.Fields[i].Name), h.Bytes(h.Fields[i].Value)
			if !proto.IsToken(n) || string(bytes.ToLower(n)) != string(n) || bytes.ContainsAny(v, "\r\n\x00") || string(bytes.Trim(v, " \t")) != string(v) {
				t.Errorf("%q: %q is taken", n, v)
			}
		}
		if p := h.Bytes(h.Target); bytes.ContainsAny(p, " \r\n\t#") || len(p) == 0 {
			t.Errorf("target %q is taken", p)
		}
		var back RequestLine
		back.Method, back.Scheme, back.Authority, back.Path = h.Bytes(h.MethodName), h.Bytes(h.Scheme), h.Bytes(h.Host), h.Bytes(h.Target)
		block := AppendRequestBlock(nil, h, &back, -1, nil)
		if len(block) > RequestBlockBound(h, &back, nil) {
			t.Errorf("%d bytes, bound %d", len(block), RequestBlockBound(h, &back, nil))
		}
		fields, err := hpack.NewDecoder(0, nil).DecodeFull(block)
		if err != nil {
			t.Fatalf("%x: %v", block, err)
		}
		before := tellHead(h)
		var passedOn int // of the fields
		for i := range h.Fields {
			if !ofConnection[h.Fields[i].Token] {
				passedOn++
			}
		}
		again := server(t, nil)
		again.enc = hpack.NewEncoder(&again.blk)
		var flat []string
		for _, f := range fields {
			flat = append(flat, f.Name, f.Value)
		}
		again.headers(1, true, flat...)
		if got := again.feed(); len(got) != 1 || !strings.HasPrefix(got[0], "head 1 GET") || len(again.s.Head().Fields) != passedOn {
			t.Errorf("%q came back as %q", before, got)
		}
	})
}

// FuzzFrames: what this package writes is read by another framer as what was
// meant. The other way round is what rig does in every test.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("hello"), uint16(3), true)
	f.Add([]byte{}, uint16(0), false)
	f.Fuzz(func(t *testing.T, body []byte, chunk uint16, end bool) {
		r := client(t, nil)
		stream := r.request(1, "POST", false)
		body = body[:min(len(body), 60_000)]
		n := max(1, int(chunk)%16384)
		for rest := body; len(rest) > 0; {
			k := min(n, len(rest), r.s.Sendable(stream))
			r.out = r.s.AppendDataHeader(r.out, stream, k, end && k == len(rest))
			r.out = append(r.out, rest[:k]...)
			rest = rest[k:]
		}
		fr := xnet.NewFramer(nil, bytes.NewReader(r.out))
		fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		first, err := fr.ReadFrame()
		head, ok := first.(*xnet.MetaHeadersFrame)
		if err != nil || !ok || head.PseudoValue("method") != "POST" || head.StreamEnded() {
			t.Fatalf("%v %v", first, err)
		}
		var got []byte
		ended := false
		for {
			f, err := fr.ReadFrame()
			if err != nil {
				break
			}
			d := f.(*xnet.DataFrame)
			got = append(got, d.Data()...)
			ended = d.StreamEnded()
		}
		if !bytes.Equal(got, body) || ended != (end && len(body) > 0) {
			t.Errorf("%d bytes, end %v", len(got), ended)
		}
	})
}
