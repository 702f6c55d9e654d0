package forward

import (
	"strings"
	"testing"

	"zproxy/proxy/snapshot"
)

// Who may not go on by what proxies have noted, and what becomes of Max-Forwards.
func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name, first string
		fields      []string
		want        Verdict
		left        string
	}{
		{"nothing is noted", "GET / HTTP/1.1", nil, Pass, ""},
		{"others have passed it on", "GET / HTTP/1.1", []string{"Via: 1.0 fred, 1.1 p.example.net"}, Pass, "via: 1.0 fred, 1.1 p.example.net\n"},
		{"this one has", "GET / HTTP/1.1", []string{"Via: 1.0 fred", "Via: 1.1 zproxy " + snapshot.Instance}, Loops, ""},
		{"too many have", "GET / HTTP/1.1", []string{"Via: 1.1 a, 1.1 b,, 1.1 c", "Via: 1.1 d"}, TooManyHops, ""},
		{"too many CDNs have, RFC 8586", "GET / HTTP/1.1", []string{"CDN-Loop: foo123.foocdn.example, barcdn.example; trace=\"abcdef\"", "CDN-Loop: AnotherCDN, x"}, TooManyHops, ""},
		{"as many as may", "GET / HTTP/1.1", []string{"Via: 1.1 a, 1.1 b, , 1.1 c", "CDN-Loop: a"}, Pass, "via: 1.1 a, 1.1 b, , 1.1 c\ncdn-loop: a\n"},
		{"Max-Forwards of another method", "GET / HTTP/1.1", []string{"Max-Forwards: 0"}, Pass, "max-forwards: 0\n"},
		{"one left, RFC 9110 7.6.2", "OPTIONS / HTTP/1.1", []string{"Max-Forwards: 1"}, Pass, "max-forwards: 0\n"},
		{"none left", "TRACE / HTTP/1.1", []string{"Max-Forwards: 0"}, Last, ""},
		{"more than anybody counts", "TRACE / HTTP/1.1", []string{"Max-Forwards: 99999999999"}, Pass, "max-forwards: 1073741823\n"},
		{"no number", "OPTIONS / HTTP/1.1", []string{"Max-Forwards: -1"}, BadMaxForwards, ""},
		{"two numbers", "OPTIONS / HTTP/1.1", []string{"Max-Forwards: 2", "Max-Forwards: 2"}, BadMaxForwards, ""},
	} {
		f := compiled(t, "x_forwarded: false, max_hops: 4")
		q := from(f, "192.0.2.1", parsed(t, c.first, append([]string{"Host: h"}, c.fields...)...))
		noted, got := q.Judge(f)
		if got != c.want {
			t.Errorf("%s: verdict %d, want %d", c.name, got, c.want)
		}
		fields := NewFields()
		if left := shown(q.Head, fields.Request(f, q, &Way{Noted: noted})); got == Pass && left != c.left {
			t.Errorf("%s: the origin gets %q, want %q", c.name, left, c.left)
		}
	}
	f := compiled(t, "max_hops: 0")
	if _, v := from(f, "192.0.2.1", parsed(t, "GET / HTTP/1.1", "Host: h", "Via: 1.1 a"+strings.Repeat(", 1.1 b", 100))).Judge(f); v != Pass {
		t.Errorf("without a limit: %d", v)
	}
}
