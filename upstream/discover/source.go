package discover

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"zproxy/config"
	"zproxy/upstream"
)

// Endpoint is an origin server as a source knows it.
type Endpoint struct {
	Address  string // "ip:port", "[ip6]:port" or "unix:/path"
	Weight   int    // at least 1
	Priority int    // of its tier, the least first
	Backup   bool   // behind all tiers
	Zone     string
	Labels   map[string]string
	Draining bool // it ends: it gets requests only where no other can
}

// Source finds endpoints.
type Source interface {
	// Run tells what it finds until ctx is done. It begins at once.
	Run(ctx context.Context, to Sink)
}

// Sink is told what a source finds. Any goroutine.
type Sink interface {
	Found(list []Endpoint) // all that there are
	Same()                 // what was found last is so still
	Failed(err error)      // nothing is known
}

// newSource makes the one that a configuration asks for, by other if the kind is not one of this package's.
func newSource(d *config.Discover, other func(*config.Discover) (Source, error)) Source {
	switch {
	case d.DNS != nil:
		return newNames(d.DNS)
	case d.File != nil:
		return &file{path: d.File.Path}
	}
	s, err := other(d)
	if err != nil {
		return broken{err}
	}
	return s
}

// broken is a source that cannot be made.
type broken struct{ err error }

func (b broken) Run(_ context.Context, to Sink) { to.Failed(b.err) }

// tidied is list in the order of addresses, as they are written once. What is wrong with one
// endpoint is wrong with the list.
func tidied(list []Endpoint) ([]Endpoint, error) {
	list = slices.Clone(list)
	for i := range list {
		e := &list[i]
		if at, err := netip.ParseAddrPort(e.Address); err == nil {
			e.Address = netip.AddrPortFrom(at.Addr().Unmap(), at.Port()).String()
		}
		if a, err := upstream.ParseAddress(e.Address); err != nil {
			return nil, err
		} else if a.Host != "" {
			return nil, fmt.Errorf("address %q: expected ip:port or unix:/path, names are not looked up here", e.Address)
		}
		e.Weight = max(1, e.Weight)
	}
	slices.SortFunc(list, func(a, b Endpoint) int { return cmp.Compare(a.Address, b.Address) })
	for i := range list {
		if i > 0 && list[i].Address == list[i-1].Address {
			return nil, fmt.Errorf("address %q: it is there twice", list[i].Address)
		}
	}
	if n := len(list); n > config.MaxEndpoints {
		return nil, fmt.Errorf("%d endpoints, expected at most %d", n, config.MaxEndpoints)
	}
	return list, nil
}

func sameList(a, b []Endpoint) bool {
	return slices.EqualFunc(a, b, func(a, b Endpoint) bool {
		return a.Address == b.Address && a.Weight == b.Weight && a.Priority == b.Priority && a.Backup == b.Backup && a.Zone == b.Zone && a.Draining == b.Draining && maps.Equal(a.Labels, b.Labels)
	})
}

// serving are those of list with these labels that get requests: who drains does only where all of them do.
func serving(list []Endpoint, labels config.Labels) (out []upstream.EndpointConfig) {
	for _, draining := range [2]bool{false, true} {
		for _, e := range list {
			if e.Draining == draining && labels.Fit(e.Labels) {
				out = append(out, upstream.EndpointConfig{Address: e.Address, Weight: e.Weight, Priority: e.Priority, Backup: e.Backup, Zone: e.Zone})
			}
		}
		if len(out) > 0 {
			break
		}
	}
	return out
}
