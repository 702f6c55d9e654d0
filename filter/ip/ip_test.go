package ip

import (
	"net/netip"
	"testing"

	"zproxy/filter"
)

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestRequest(t *testing.T) {
	nested := New(prefixes("10.0.0.0/8", "10.1.2.0/24", "2001:db8::/32"), prefixes("10.1.0.0/16", "10.1.2.3/32", "2001:db8:bad::/48"))
	denies := New(nil, prefixes("192.0.2.0/24", "::1/128"))
	for _, c := range []struct {
		name string
		f    *Filter
		addr string
		in   bool
	}{
		{"in", nested, "10.9.9.9", true},
		{"in the smaller one that is denied", nested, "10.1.9.9", false},
		{"in a still smaller one", nested, "10.1.2.9", true},
		{"itself denied", nested, "10.1.2.3", false},
		{"in none, where some are allowed", nested, "192.0.2.1", false},
		{"IPv6", nested, "2001:db8::1", true},
		{"IPv6 denied", nested, "2001:db8:bad::1", false},
		{"IPv4 as IPv6", nested, "::ffff:10.1.9.9", false},
		{"IPv4 as IPv6, allowed", nested, "::ffff:10.1.2.9", true},
		{"with a zone", nested, "2001:db8:bad::1%eth0", false},
		{"denied", denies, "192.0.2.77", false},
		{"denied as IPv6", denies, "::ffff:192.0.2.77", false},
		{"not denied", denies, "192.0.3.1", true},
		{"denied alone", denies, "::1", false},
		{"no address", denies, "", false},
		{"no address, where some are allowed", nested, "", false},
	} {
		q := filter.NewRequest()
		q.Begin()
		if c.addr != "" {
			q.Client = netip.MustParseAddr(c.addr)
		}
		v := c.f.Request(q)
		if (v == filter.Continue) != c.in || !c.in && (v != filter.Reply || q.Status != 403 || q.Reason == "") {
			t.Errorf("%s: verdict %d, status %d, reason %q", c.name, v, q.Status, q.Reason)
		}
	}
}

// The same network in both lists is denied.
func TestDenyWins(t *testing.T) {
	q := filter.NewRequest()
	q.Client = netip.MustParseAddr("10.0.0.1")
	if New(prefixes("10.0.0.0/8"), prefixes("10.0.0.0/8")).Request(q) == filter.Continue {
		t.Error("a network that is denied is let in")
	}
}

func TestAllocatesNothing(t *testing.T) {
	f := New(prefixes("10.0.0.0/8", "2001:db8::/32"), prefixes("10.1.0.0/16"))
	q := filter.NewRequest()
	q.Client = netip.MustParseAddr("10.2.3.4")
	if n := testing.AllocsPerRun(1000, func() { f.Request(q) }); n != 0 {
		t.Errorf("%v allocations per request", n)
	}
}
