package headers

import (
	"net/netip"
	"strings"
	"testing"

	"zproxy/filter"
	"zproxy/proto"
	"zproxy/proto/http1"
	"zproxy/proxy/transport"
	"zproxy/router"
	"zproxy/variables"
)

func parts(t testing.TB, text string) []variables.FieldPart {
	t.Helper()
	p, err := variables.ParseField(text, []string{"id"})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func fields(t testing.TB, lines ...string) (list []Field) {
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		list = append(list, Field{Name: name, Parts: parts(t, value)})
	}
	return list
}

func request(t testing.TB, lines ...string) *filter.Request {
	t.Helper()
	h := new(proto.Head)
	text := "GET /u/42?q=1 HTTP/1.1\r\nHost: a.example:81\r\n" + strings.Join(append(lines, ""), "\r\n") + "\r\n"
	if _, _, f := http1.ParseRequest([]byte(text), http1.Cursor{}, &http1.Limits{HeadBytes: 1 << 16, Fields: 64, LineBytes: 1 << 16}, h); f != nil {
		t.Fatal(f.Reason)
	}
	q := filter.NewRequest()
	q.Begin()
	q.Head, q.Client, q.Scheme, q.ID, q.User = h, netip.MustParseAddr("192.0.2.1"), []byte("https"), []byte("00ff"), []byte("joe")
	q.Path, q.Params = []byte("/u/42"), []router.Param{{Off: 3, Len: 2}}
	q.TLS = &transport.Session{Name: "sni.example", Version: 0x0304}
	return q
}

// result is what comes of the fields of h, which may be nil.
func result(h *proto.Head, c *filter.Changes) string {
	var out []string
	if h != nil {
		for i := range h.Fields {
			if f := &h.Fields[i]; f.Flags&proto.FlagDrop == 0 && f.Token != proto.TokenHost {
				out = append(out, string(h.Bytes(f.Name))+": "+string(h.Bytes(f.Value)))
			}
		}
	}
	for _, e := range c.Apply(nil) {
		out = append(out, e.Name+": "+string(e.Value))
	}
	return strings.Join(out, " | ")
}

func TestRequests(t *testing.T) {
	for _, c := range []struct {
		name  string
		c     Config
		lines []string
		want  string
	}{
		{"set", Config{Set: fields(t, "X-User: me")}, []string{"x-user: a", "X_USER: b", "X-User : c"[:6] + ": c"}, "X-User: me"},
		{"set to nothing", Config{Set: fields(t, "X-User: {cookie.none}")}, []string{"X-User: a", "A: b"}, "A: b"},
		{"set to itself", Config{Set: fields(t, "X-User: {header.x-user}!")}, []string{"X-User: a", "x_user: b"}, "X-User: a, b!"},
		{"add", Config{Add: fields(t, "X-A: 2", "X-A: 3")}, []string{"X-A: 1"}, "X-A: 1 | X-A: 2 | X-A: 3"},
		{"remove", Config{Remove: []string{"x-a"}}, []string{"X-A: 1", "X_a: 2", "X-AB: 3"}, "X-AB: 3"},
		{"rename", Config{Rename: [][2]string{{"X-A", "X-B"}}}, []string{"X-B: old", "x-a: 1", "X_A: 2"}, "X-B: 1 | X-B: 2"},
		{"rename, then remove", Config{Rename: [][2]string{{"X-A", "X-B"}}, Remove: []string{"X-B"}}, []string{"X-A: 1"}, ""},
		{"variables", Config{Set: fields(t, "X-A: {scheme} {host} {path} {query} {client_ip} {request_id} {method} {tls_sni} {tls_version} {user} {path.id}")}, nil,
			"X-A: https a.example /u/42 q=1 192.0.2.1 00ff GET sni.example TLSv1.3 joe 42"},
		{"cookies", Config{Set: fields(t, "X-A: {cookie.b}")}, []string{"Cookie: a=1; b=2 ;c=3", "Cookie: b=4"}, "Cookie: a=1; b=2 ;c=3 | Cookie: b=4 | X-A: 2"},
		{"a cookie named alike", Config{Set: fields(t, "X-A: {cookie.b}")}, []string{"Cookie: ab=1; B=2; b; b =3"}, "Cookie: ab=1; B=2; b; b =3"},
	} {
		q := request(t, c.lines...)
		if v := NewRequests(&c.c).Request(q); v != filter.Continue {
			t.Errorf("%s: verdict %d", c.name, v)
		}
		if got := result(q.Head, q.Forward); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestResponses(t *testing.T) {
	f := NewResponses(&Config{Rename: [][2]string{{"X-Old", "X-New"}}, Remove: []string{"Server"}, Set: fields(t, "X-ID: {request_id}", "X-Frame-Options: DENY"), Add: fields(t, "Vary: Cookie")})
	q := request(t)
	f.Request(q)
	h := request(t, "X-Old: 1", "X-New: 2", "SERVER: a", "x_id: 3", "vary: Accept").Head // a head is a head
	q.Respond.Mark(h)
	f.Response(&filter.Response{Head: h, Change: q.Respond})
	if got := result(h, q.Respond); got != "vary: Accept | X-ID: 00ff | X-Frame-Options: DENY | Vary: Cookie | X-New: 1" {
		t.Error(got)
	}
	f.Response(&filter.Response{Change: q.Respond}) // of the proxy's own: there is nothing to rename
	if !f.Renames() || NewResponses(&Config{}).Renames() {
		t.Error("it does not say whether it renames")
	}
}

func TestUses(t *testing.T) {
	for text, want := range map[string]bool{"X-A: {request_id}": true, "X-A: {host}": false} {
		if c := (Config{Add: fields(t, text)}); c.Uses(variables.FieldRequestID) != want {
			t.Errorf("%s: %v", text, !want)
		}
	}
}

func TestChangesAllocateNothing(t *testing.T) {
	c := Config{Rename: [][2]string{{"X-A", "X-B"}}, Remove: []string{"Server"}, Set: fields(t, "X-ID: {request_id} {client_ip} {header.accept} {cookie.a} {host}"), Add: fields(t, "Vary: Cookie")}
	requests, responses, q := NewRequests(&c), NewResponses(&c), request(t, "X-A: 1", "Accept: b", "Cookie: a=b")
	if n := testing.AllocsPerRun(100, func() {
		q.Begin()
		requests.Request(q)
		responses.Request(q)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Whatever a client sends in what a value is made of, the message stays one, with the fields it had and that one.
func FuzzSetFieldNeverSplits(f *testing.F) {
	f.Add("a", "b", "/c", "q=1")
	f.Add("a\r\nSet-Cookie: b=c", "\r\n\r\n", "\x00\x7f", "\n")
	f.Add("\t a \t", "b\x0b\x0c\x85", "\u2028", " ")
	f.Fuzz(func(t *testing.T, value, id, path, sni string) {
		q := request(t, "X-In: a", "Cookie: a=b")
		// What no codec lets through comes here all the same.
		q.Head.Buf = append(q.Head.Buf, value...)
		q.Head.Fields[1].Value = proto.Span{Off: uint32(len(q.Head.Buf) - len(value)), Len: uint32(len(value))}
		q.ID, q.Path, q.Params = []byte(id), []byte(path), []router.Param{{Len: uint32(len(path))}}
		q.TLS.Name = sni
		c := Config{Set: fields(t, "X-Out: {header.x-in}|{request_id}|{path}|{path.id}|{tls_sni}|{cookie.a}"), Rename: [][2]string{{"X-In", "X-Was"}}}
		NewRequests(&c).Request(q)
		out := http1.AppendRequestHead(nil, q.Head, []byte("/"), []byte("h"), proto.BodyNone, -1, q.Forward.Apply(nil))
		again := new(proto.Head)
		n, _, fault := http1.ParseRequest(out, http1.Cursor{}, &http1.Limits{HeadBytes: 1 << 20, Fields: 64, LineBytes: 1 << 20}, again)
		if fault != nil || n != len(out) {
			t.Fatalf("%q: %v, %d bytes of %d", out, fault, n, len(out))
		}
		for i := range again.Fields {
			switch name := string(again.Bytes(again.Fields[i].Name)); name {
			case "Host", "Cookie", "X-Out", "X-Was", "Connection":
			default:
				t.Errorf("there is a field %q in %q", name, out)
			}
		}
	})
}
