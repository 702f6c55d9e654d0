package snapshot

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"zproxy/config"
	"zproxy/loop"
	"zproxy/proto/http1"
	"zproxy/proxy/transport"
	"zproxy/proxy/transport/handshake"
	"zproxy/router"
)

// Lost names the upstreams that have lost HTTP/2, and are served by their spares.
func (s *Snapshot) Lost() (names []string) {
	for _, c := range s.Clusters {
		if c != nil && c.Lost.Load() {
			names = append(names, c.Name)
		}
	}
	return names
}

// Snapshot is a configuration compiled for the workers: shared by all of them, and
// immutable but for who has it. Clusters and listeners stand at their numbers (see
// Registry), between which there may be places for none.
type Snapshot struct {
	loops      int          // that there are
	users      atomic.Int32 // loops that have it, or are to get it
	Listeners  []*Listener
	order      []int // numbers of listeners, as they stand in the configuration
	Routes     []Route
	conditions []*condition // of routes, by their number less 1
	Clusters   []*Cluster
	spares     []bool // by number of a cluster: it is one, see Cluster.Spare
	Series     Series
	pages      [600]*Response // by status; nil: the plain page of OwnStatuses
	bare       [400]*Response // by status: without content
	filters    map[filterPlace][]keptStep
	Limits     Limits
	HeadLimits http1.Limits
	Forwarding Forwarding
	HTTP2      HTTP2
	Workers    handshake.Starter // of all handshakes
	challenges *challenges
	GraceNs    int64
	EndIdleNs  int64 // of clients between requests, when the process ends
	RemovedNs  int64 // for what began on what this snapshot has no more, below 0: no limit
	routeByID  map[uint64]int32
}

// Limits are those of clients.
type Limits struct {
	BodyBytes             uint64
	RequestHeaderNs       int64
	RequestBodyNs         int64
	SendNs                int64
	MinRate               transport.Rate
	KeepaliveNs           int64
	LingerTimeoutNs       int64 // between reads of a client that lingers
	LingerTimeNs          int64 // in all
	RequestsPerConnection uint32
	EndHalfClosed         bool // a client's FIN ends its exchange
}

// routeKey is what makes a route the same one.
func routeKey(r *config.Route) string {
	key := r.Listener + "\x00" + r.Host + "\x00" + r.Path + "\x00" + strings.Join(r.Methods, ",")
	if r.TLS != nil {
		key += "\x00" + r.TLS.String()
	}
	return key
}

// keepSockets has routes count their WebSockets on with what they had before.
func (s *Snapshot) keepSockets(before *Snapshot) {
	for i := range s.Routes {
		r := &s.Routes[i]
		at, had := before.routeByID[r.id]
		if !had || r.WebSocket == nil || r.WebSocket == plainWebSocket {
			continue
		}
		old := &before.Routes[at]
		if old.WebSocket != nil && old.WebSocket != plainWebSocket && config.Same(old.config.WebSocket, r.config.WebSocket) {
			r.WebSocket = old.WebSocket
		}
	}
}

// MaxTargetBytes is the longest request-target; RFC 9112 3 asks for 8000 at
// the least.
const MaxTargetBytes = 8192

// SockOpts translates socket settings for the loop, but for the file of a unix
// socket: users and groups are the server's to look up.
func SockOpts(s *config.Socket) loop.SockOpts {
	return loop.SockOpts{
		NoDelay: s.NoDelay, KeepAliveSec: int(s.KeepAlive / time.Second),
		Backlog: s.Backlog, RcvBuf: int(s.RcvBuf), SndBuf: int(s.SndBuf),
		DeferAcceptSec: int(s.DeferAccept / time.Second), FastOpen: s.FastOpen,
		Congestion: s.Congestion,
	}
}

// compileConditions gives each route of c the number of its condition, 0: none. The same ones
// share a number.
func (s *Snapshot) compileConditions(c *config.Config) (numbers []int, err error) {
	numbers = make([]int, len(c.Routes))
	for i := range c.Routes {
		r := &c.Routes[i]
		if r.TLS == nil {
			continue
		}
		at := slices.IndexFunc(s.conditions, func(other *condition) bool { return config.Same(other.config, r.TLS) })
		if at < 0 {
			if at = len(s.conditions); at == router.MaxConditions {
				return nil, fmt.Errorf("%s:%d:%d: more than %d different tls sections of routes: put certificates with the same routes into one", c.File, r.Line, r.Col, at)
			}
			s.conditions = append(s.conditions, newCondition(r.TLS))
		}
		numbers[i] = at + 1
	}
	return numbers, nil
}

// compileRouters builds one router per set of routes that a listener sees.
func (s *Snapshot) compileRouters(c *config.Config) error {
	needs, err := s.compileConditions(c)
	if err != nil {
		return err
	}
	var common *router.Router
	for _, l := range s.Listeners {
		if l == nil || l.Gone {
			continue
		}
		address := l.config.Address
		own := false
		for j := range c.Routes {
			own = own || c.Routes[j].Listener == address
		}
		if !own && common != nil {
			l.Router = common
			continue
		}
		b := router.NewBuilder()
		for j := range c.Routes {
			r := &c.Routes[j]
			if r.Listener != "" && r.Listener != address {
				continue
			}
			if err := b.AddIf(needs[j], r.Host, r.Path, r.Methods, int32(j)); err != nil {
				return fmt.Errorf("%s:%d:%d: %w", c.File, r.Line, r.Col, err)
			}
		}
		l.Router = b.Build()
		if !own {
			common = l.Router
		}
	}
	return nil
}
