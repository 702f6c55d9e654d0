package proto

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseAuthority(t *testing.T) {
	for in, want := range map[string]struct {
		host string
		port int
	}{
		"a": {"a", -1}, "www.example.com:80": {"www.example.com", 80}, "a:": {"a", -1}, "a:0": {"a", 0}, "a:65535": {"a", 65535},
		"a:00080": {"a", 80}, "127.0.0.1:8080": {"127.0.0.1", 8080}, "a_b-c~d.e!$&'()*+,;=": {"a_b-c~d.e!$&'()*+,;=", -1},
		"%41%7e": {"%41%7e", -1}, "[::]": {"[::]", -1}, "[::1]:80": {"[::1]", 80}, "[1:2:3:4:5:6:7:8]": {"[1:2:3:4:5:6:7:8]", -1},
		"[::ffff:192.0.2.1]:1": {"[::ffff:192.0.2.1]", 1}, "[v1.fe:x]": {"[v1.fe:x]", -1}, "[vF.a]:": {"[vF.a]", -1}, "a.": {"a.", -1},
	} {
		n, port, ok := ParseAuthority([]byte(in))
		if !ok || in[:n] != want.host || port != want.port {
			t.Errorf("%q: host %q, port %d, %v", in, in[:n], port, ok)
		}
	}
	for _, in := range []string{"", ":", ":80", "a:b", "a:-1", "a:65536", "a:000080", "a:1:2", "a b", "a/b", "a@b", "a?b", "a#b", "a\\b", "a\x00", "a\r\n",
		"é", "%", "%4", "%4g", "%g4", "a%", "[", "[]", "[::1", "::1", "[::1]a", "[::1]:x", "[::1]]", "[[::1]]", "[1]", "[v1]", "[v.a]", "[v1.]", "[v1.a b]", "[vg.a]",
		"[fe80::1%eth0]", "[fe80::1%25eth0]", "[1.2.3.4]"} {
		if n, port, ok := ParseAuthority([]byte(in)); ok {
			t.Errorf("%q is accepted: host %q, port %d", in, in[:n], port)
		}
	}
}

func TestSameAuthority(t *testing.T) {
	for _, c := range []struct {
		a, b, scheme string
		want         bool
	}{
		{"a", "A", "http", true}, {"a", "b", "http", false}, {"a", "", "http", false}, {"a", "a:80", "http", true}, {"a:", "a:80", "HTTP", true},
		{"a:", "a", "", true}, {"a:80", "a", "", false}, {"a:443", "a", "https", true}, {"a:443", "a", "http", false}, {"a:080", "a:80", "https", true},
		{"[::1]", "[::1]:80", "http", true}, {"[::1]", "[::2]", "http", false}, {"a:x", "a:x", "http", false}, {"a:8", "a:80", "http", false},
	} {
		for range 2 {
			if got := SameAuthority([]byte(c.a), []byte(c.b), []byte(c.scheme)); got != c.want {
				t.Errorf("%q, %q of %q: %v", c.a, c.b, c.scheme, got)
			}
			c.a, c.b = c.b, c.a
		}
	}
}

// The IPv6 grammar is that of netip, whose zones aside.
func FuzzIPLiteral(f *testing.F) {
	for _, s := range []string{"::", "::1", "1::", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1::2::3", ":1::", "1:", "::1.2.3.4", "1:2:3:4:5:6:1.2.3.4",
		"1:2:3:4:5:6:7:1.2.3.4", "::01.2.3.4", "::256.1.1.1", "::1.2.3", "::1.2.3.4.5", "12345::", ":::", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::", "::1:1.2.3.4:1", "1::2:3:4:5:6:1.2.3.4"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsAny(s, "%]vV") {
			return
		}
		addr, err := netip.ParseAddr(s)
		if _, _, ok := ParseAuthority([]byte("[" + s + "]")); ok != (err == nil && addr.Is6()) {
			t.Errorf("[%s] accepted: %v; netip: %v", s, ok, err)
		}
	})
}

func TestFaultTables(t *testing.T) {
	seen := map[string]FaultCode{}
	for c := FaultCode(0); int(c) < FaultCount; c++ {
		f := RequestFault(c)
		if f.Code != c || f.Reason == "" || f.Error() != f.Reason || c.Name() == "" || f.Status < 400 {
			t.Errorf("fault %d is incomplete: %+v, %q", c, f, c.Name())
		}
		for _, s := range []string{f.Reason, c.Name()} {
			if other, ok := seen[s]; ok {
				t.Errorf("%q is said of %d and %d", s, other, c)
			}
			seen[s] = c
		}
		if r := f.AsResponse(); r != ResponseFault(c) || r.Status != 502 || r.Code != c || r.Reason != f.Reason {
			t.Errorf("fault %d of a response: %+v", c, r)
		}
	}
	if (*Fault)(nil).AsResponse() != nil || FaultCode(255).Name() != "unknown" {
		t.Error("no fault became one")
	}
}

func TestMethods(t *testing.T) {
	for m := GET; int(m) < MethodCount; m++ {
		if got := ParseMethod([]byte(m.String())); got != m {
			t.Errorf("%v is parsed as %v", m, got)
		}
		if got := ParseMethod([]byte(strings.ToLower(m.String()))); got != MethodOther {
			t.Errorf("lower-case %v is parsed as %v", m, got)
		}
	}
	for m, want := range map[Method][2]bool{MethodOther: {false, false}, GET: {true, true}, HEAD: {true, true}, POST: {false, false}, PUT: {false, true},
		DELETE: {false, true}, CONNECT: {false, false}, OPTIONS: {true, true}, TRACE: {true, true}, PATCH: {false, false}} {
		if m.Safe() != want[0] || m.Idempotent() != want[1] {
			t.Errorf("%v: safe %v, idempotent %v (RFC 9110 section 9.2)", m, m.Safe(), m.Idempotent())
		}
	}
}

func TestGetAndDrop(t *testing.T) {
	h := Head{Buf: []byte("abc"), Fields: []Field{
		{Value: Span{0, 1}, Token: TokenVia, Flags: FlagDrop}, {Value: Span{1, 1}, Token: TokenVia}, {Value: Span{2, 1}, Token: TokenVia}}}
	if v, ok := h.Get(TokenVia); !ok || string(v) != "b" || cap(v) != 1 {
		t.Errorf("Get = %q %v", v, ok)
	}
	h.Drop(TokenVia)
	if _, ok := h.Get(TokenVia); ok {
		t.Error("a dropped field is found")
	}
	if _, ok := h.Get(TokenHost); ok {
		t.Error("a field that is not there is found")
	}
}
