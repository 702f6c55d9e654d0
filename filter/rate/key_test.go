package rate

import (
	"bytes"
	"net/netip"
	"testing"
)

func TestAddressesBySpelling(t *testing.T) {
	for _, c := range []struct {
		a, b         string
		bits4, bits6 int
		same         bool
	}{
		{"192.0.2.1", "192.0.2.1", 32, 64, true},
		{"192.0.2.1", "::ffff:192.0.2.1", 32, 64, true},
		{"192.0.2.1", "::ffff:c000:201", 32, 64, true},
		{"192.0.2.1", "192.0.2.2", 32, 64, false},
		{"192.0.2.1", "192.0.2.2", 24, 64, true},
		{"192.0.2.127", "192.0.2.128", 25, 64, false},
		{"2001:db8::1", "2001:DB8:0:0:0::1", 32, 128, true},
		{"2001:db8::1", "2001:db8::ffff:1", 32, 64, true},
		{"2001:db8:0:1::1", "2001:db8:0:2::1", 32, 64, false},
		{"2001:db8:0:1::1", "2001:db8:0:2::1", 32, 48, true},
		{"fe80::1%eth0", "fe80::1%eth1", 32, 64, true},
		{"::1", "0.0.0.1", 32, 128, false},
		{"64:ff9b::c000:201", "192.0.2.1", 32, 64, false}, // a translator's: another client's address
		{"192.0.2.1", "198.51.100.1", 0, 0, true},
	} {
		a := AppendAddress(nil, netip.MustParseAddr(c.a), c.bits4, c.bits6)
		b := AppendAddress(nil, netip.MustParseAddr(c.b), c.bits4, c.bits6)
		if bytes.Equal(a, b) != c.same {
			t.Errorf("%s and %s with %d and %d bits: %q and %q, same is to be %v", c.a, c.b, c.bits4, c.bits6, a, b, c.same)
		}
	}
	if got := AppendAddress(nil, netip.Addr{}, 32, 64); !bytes.Equal(got, AppendNone(nil)) {
		t.Errorf("no address: %q", got)
	}
}

// No two lists of parts are the same key.
func FuzzPartsAreNotConfused(f *testing.F) {
	f.Add("a", "bc", "ab", "c")
	f.Add("", "t\x00", "t\x00", "")
	f.Add("-", "+", "+", "-")
	f.Fuzz(func(t *testing.T, a, b, c, d string) {
		x, y := AppendText(AppendText(nil, a), b), AppendText(AppendText(nil, c), d)
		if bytes.Equal(x, y) != (a == c && b == d) {
			t.Errorf("%q %q and %q %q: %q %q", a, b, c, d, x, y)
		}
		for _, other := range [][]byte{AppendText(nil, a), AppendRepeated(AppendText(nil, a)), AppendNone(AppendText(nil, a))} {
			if bytes.Equal(x, other) {
				t.Errorf("%q %q is %q", a, b, other)
			}
		}
	})
}
