package snapshot

import (
	"net/netip"
	"slices"
	"strings"

	"zproxy/config"
	"zproxy/proxy/transport"
	"zproxy/router"
)

// Greeted says whether a connection from addr begins with a header of the PROXY protocol. Who
// may open the file of a unix socket may say whom he speaks for.
func (l *Listener) Greeted(addr netip.Addr) bool {
	addr = addr.Unmap()
	for _, p := range l.config.ProxyProtocol.From {
		if addr.IsValid() && p.Contains(addr) {
			return true
		}
	}
	return l.Unix
}

// Listener is what is known of the clients of one. Immutable.
type Listener struct {
	config      *config.Listener
	Of          *Snapshot // with the routes that router names
	Gone        bool      // it is in the configuration no more, but its clients may be there
	Router      *router.Router
	Versions    Versions
	Unix        bool // its clients come by a unix socket
	DropInterim bool
	Server      *transport.Server // nil: in clear
	store       *Credentials      // nil likewise

	Greeting    *transport.Greeting // nil: clients speak for themselves
	OthersPlain bool                // so do those that may not speak for others
}

// compileListener keeps of before, nil or the listener with the same address, what TLS is
// made with, where that is the same.
func compileListener(c *config.Config, l *config.Listener, before *Listener) (own *Listener, err error) {
	own = &Listener{
		config: l, Versions: compileVersions(l.Protocols),
		Unix: strings.HasPrefix(l.Address, "unix:"), DropInterim: l.Interim == "drop",
	}
	switch {
	case l.TLS == nil:
	case before != nil && config.SameButFiles(before.config.TLS, l.TLS) && config.Same(before.config.Protocols, l.Protocols):
		own.Server, own.store = before.Server, before.store
	default:
		own.Server, own.store, err = compileServer(l)
	}
	if p := l.ProxyProtocol; p != nil {
		own.Greeting, own.OthersPlain = &transport.Greeting{TimeoutNs: int64(p.Timeout), Server: own.Server}, p.Others == "plain"
	}
	return own, err
}

// Versions says what a listener's clients may speak.
type Versions uint8

const (
	OnlyHTTP1 Versions = iota
	OnlyHTTP2
	EitherVersion // told apart by the client's first bytes
)

func compileVersions(protocols []string) Versions {
	switch {
	case !slices.Contains(protocols, "h2c") && !slices.Contains(protocols, "h2"):
		return OnlyHTTP1
	case !slices.Contains(protocols, "http1"):
		return OnlyHTTP2
	}
	return EitherVersion
}
