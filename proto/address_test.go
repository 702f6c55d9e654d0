package proto

import (
	"net/netip"
	"strings"
	"testing"
)

// parseNode is ParseNode by way of net/netip.
func parseNode(s string) (netip.Addr, bool) {
	if strings.HasPrefix(s, "[") {
		if strings.HasSuffix(s, "]:") {
			s = s[:len(s)-1]
		}
		if a, ok := strings.CutSuffix(s, "]"); ok {
			addr, err := netip.ParseAddr(a[1:])
			return addr.Unmap(), err == nil && addr.Zone() == "" && strings.Contains(a, ":")
		}
		ap, err := netip.ParseAddrPort(s)
		return ap.Addr().Unmap(), err == nil && ap.Addr().Zone() == ""
	}
	if strings.Count(s, ":") == 1 {
		if a, ok := strings.CutSuffix(s, ":"); ok {
			s = a
		} else {
			ap, err := netip.ParseAddrPort(s)
			return ap.Addr(), err == nil
		}
	}
	addr, err := netip.ParseAddr(s)
	return addr.Unmap(), err == nil && addr.Zone() == ""
}

func FuzzParseNode(f *testing.F) {
	for _, s := range []string{
		"192.0.2.1", "192.0.2.1:80", "192.0.2.1:", "256.1.1.1", "1.2.3", "01.2.3.4", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:443", "::", "::1", "1::",
		"::ffff:192.0.2.7", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:192.0.2.1", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8:9", "fe80::1%eth0", "[1.2.3.4]",
		"unknown", "_hidden", "", ":", "[", "[]", "[::1]x", "[::1]:x", "[::1]:70000", "1.2.3.4:70000", "v1.x:y:z", "[v1.x]", "1:::2", "12345::", "::1.2.3.4.5",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := ParseNode([]byte(s))
		want, fine := parseNode(s)
		if len(s) > 6 && strings.Contains(s, ":0") { // net/netip allows any number of zeros in front of a port
			if _, port, _ := strings.Cut(s[strings.LastIndexByte(s, ':'):], ":"); len(port) > 5 {
				t.Skip("a port of more than five digits")
			}
		}
		if ok != fine || ok && got != want {
			t.Errorf("ParseNode(%q) = %v, %v, want %v, %v", s, got, ok, want, fine)
		}
	})
}

func TestNextForwarded(t *testing.T) {
	for _, c := range []struct {
		field string
		nodes []string
	}{
		{"for=192.0.2.43", []string{"192.0.2.43"}},
		{`For="[2001:db8:cafe::17]:4711"`, []string{"[2001:db8:cafe::17]:4711"}},
		{"for=192.0.2.60;proto=http;by=203.0.113.43", []string{"192.0.2.60"}},
		{"proto=http; for=192.0.2.60 , for=198.51.100.17", []string{"192.0.2.60", "198.51.100.17"}},
		{`host="a,b;for=1.1.1.1";for=192.0.2.1, by=x`, []string{"192.0.2.1", ""}},
		{`host="a\",for=1.1.1.1";for=192.0.2.1`, []string{"192.0.2.1"}},
		{`for="192.0.2.1`, []string{`"192.0.2.1`}}, // no address: the quote is not closed
		{"", []string{""}},
		{",", []string{"", ""}},
		{"fortune=1", []string{""}},
	} {
		list, more := []byte(c.field), true
		var got []string
		for more {
			var node []byte
			node, list, more = NextForwarded(list)
			got = append(got, string(node))
		}
		if strings.Join(got, "|") != strings.Join(c.nodes, "|") {
			t.Errorf("%q names %q, want %q", c.field, got, c.nodes)
		}
	}
}
