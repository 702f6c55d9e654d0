package config

import (
	"net/netip"
	"strconv"
)

// IPFilter lets clients in by their addresses.
type IPFilter struct {
	Allow, Deny []netip.Prefix
}

func init() {
	const most = 10000
	registerFilter[IPFilter]("ip", "Lets clients in, or keeps them out, by their addresses: 403 for those who stay out. The address is that of the connection, or the one that a proxy of `forwarding.trusted_proxies` names. "+
		"A client of which no address is known, behind a `unix:` listener, stays out. Of the networks that an address is in the smallest decides, whatever the order; of the same one in both lists `deny` does.",
		[]field{
			{key: "allow", kind: kindPrefixes, min: 1, max: most, elem: &field{kind: kindPrefix, want: wantPrefix}, at: at(func(f *IPFilter) *[]netip.Prefix { return &f.Allow }),
				zero: "all that `deny` does not name", doc: "Networks (`10.0.0.0/8`) and addresses of clients that are let in. With it, all others stay out."},
			{key: "deny", kind: kindPrefixes, min: 1, max: most, elem: &field{kind: kindPrefix, want: wantPrefix}, at: at(func(f *IPFilter) *[]netip.Prefix { return &f.Deny }),
				zero: "nobody", doc: "Networks and addresses of clients that stay out."},
		},
		[]string{"allow", "deny"}, nil)
}

// Rules says in a few words what f does.
func (f *IPFilter) Rules() string {
	return strconv.Itoa(len(f.Allow)) + " allowed, " + strconv.Itoa(len(f.Deny)) + " denied"
}
