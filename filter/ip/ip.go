package ip

import (
	"net/netip"

	"github.com/gaissmai/bart"

	"zproxy/filter"
)

// Denied is the reason for whom a list keeps out, Unknown for whom no address is known of.
const (
	Denied  = "client address is not let in"
	Unknown = "client has no address, and a list says which are let in"
)

// Filter decides by the smallest network that an address is in. Immutable.
type Filter struct {
	networks bart.Table[bool] // to let in
	others   bool             // to let in who is in none
}

// New lets allow in, but not deny. Where allow is empty it lets in whom deny does not name.
func New(allow, deny []netip.Prefix) *Filter {
	f := &Filter{others: len(allow) == 0}
	for _, p := range allow {
		f.networks.Insert(p, true)
	}
	for _, p := range deny {
		f.networks.Insert(p, false)
	}
	return f
}

// Request lets q pass or refuses it.
func (f *Filter) Request(q *filter.Request) filter.Verdict {
	if !q.Client.IsValid() {
		return q.Refuse(403, Unknown)
	}
	in, found := f.networks.Lookup(q.Client.Unmap().WithZone(""))
	if !found {
		in = f.others
	}
	if !in {
		return q.Refuse(403, Denied)
	}
	return filter.Continue
}
