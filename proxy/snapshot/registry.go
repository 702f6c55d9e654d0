package snapshot

import (
	"fmt"
	"slices"

	"zproxy/config"
	"zproxy/proto"
	"zproxy/proto/http1"
	"zproxy/proxy/transport"
	"zproxy/proxy/transport/handshake"
	"zproxy/upstream"
)

// Listener is the number of a listener, by its place in the configuration.
func (s *Snapshot) Listener(i int) int { return s.order[i] }

// Registry makes the snapshots of a process. What did not change from one to the next
// keeps its number, and with it what loops know of it: an upstream its pools, health and
// name look-ups, a listener its TLS tickets, a route its limits. A number is given to
// something else only when no loop has the snapshot any more in which it meant what it did
// before. One goroutine at a time.
type Registry struct {
	loops      int
	near       [][]int
	workers    handshake.Starter // of all handshakes
	challenges *challenges
	live       []*Snapshot // that a loop has, or may yet; the newest last
	routes     uint64      // how many have had an id
}

// NewRegistry begins with none. loops is their number; near, if not nil, lists for each
// loop the others, nearest first.
func NewRegistry(loops int, near [][]int) *Registry {
	return &Registry{loops: loops, near: near, workers: handshake.NewWorkers(max(2, loops/8)), challenges: new(challenges)}
}

// Compile turns a configuration into what workers read. Every worker is to get it, or it is
// given to Abandon. The error names file and line.
func (r *Registry) Compile(c *config.Config) (*Snapshot, error) {
	newest := len(r.live) - 1
	kept := r.live[:0]
	for i, s := range r.live {
		if i == newest || s.InUse() {
			kept = append(kept, s)
		}
	}
	clear(r.live[len(kept):])
	r.live = kept
	s, err := r.compile(c, r.last())
	if err != nil {
		return nil, err
	}
	s.users.Store(int32(r.loops))
	r.live = append(r.live, s)
	return s, nil
}

// Abandon takes back a snapshot that no worker was given.
func (r *Registry) Abandon(s *Snapshot) {
	r.live = slices.DeleteFunc(r.live, func(other *Snapshot) bool { return other == s })
}

// Live is how many snapshots a loop may have, as far as is known.
func (r *Registry) Live() int { return len(r.live) }

// last is the newest snapshot, which may be an empty one.
func (r *Registry) last() *Snapshot {
	if len(r.live) == 0 {
		return new(Snapshot)
	}
	return r.live[len(r.live)-1]
}

// number finds the least one, of those not below from, that means nothing in any snapshot, nor in s.
func (r *Registry) number(taken func(s *Snapshot, i int) bool, s *Snapshot, from int) int {
	for i := from; ; i++ {
		if !taken(s, i) && !slices.ContainsFunc(r.live, func(s *Snapshot) bool { return taken(s, i) }) {
			return i
		}
	}
}

// HasCluster says that a cluster has number i in s, HasListener that a listener has.
func HasCluster(s *Snapshot, i int) bool { return i < len(s.Clusters) && s.Clusters[i] != nil }

func HasListener(s *Snapshot, i int) bool { return i < len(s.Listeners) && s.Listeners[i] != nil }

// Put makes list long enough for place i and puts v there.
func Put[T any](list []T, i int, v T) []T {
	for len(list) <= i {
		var none T
		list = append(list, none)
	}
	list[i] = v
	return list
}

// addClusters gives s its clusters, and says which number each upstream, or subset of one, has by its key.
func (r *Registry) addClusters(s, before *Snapshot, c *config.Config) (byKey map[string]int, err error) {
	byKey = map[string]int{}
	all := withSpares(c)
	numbers := make([]int, len(all)) // and 1
	had := make(map[string][]int, len(before.Clusters))
	for id, old := range before.Clusters {
		if old != nil {
			key := keyOf(old.config)
			had[key] = append(had[key], id) // a spare has the key of its main one
		}
	}
	for i, u := range all {
		for _, id := range had[keyOf(u)] {
			if old := before.Clusters[id]; config.Same(old.config, u) {
				s.Clusters, numbers[i] = Put(s.Clusters, id, old), id+1
			}
		}
	}
	free := 0 // numbers below it are taken, and stay so while s is made
	for i, u := range all {
		if numbers[i] == 0 {
			cl, err := compileCluster(u, r.loops, r.near)
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", c.File, u.Line, err)
			}
			ids := had[keyOf(u)]
			if len(ids) == 0 {
				ids = had[u.Name] // a subset that there was not: weights that were set are those of the upstream
			}
			if len(ids) > 0 {
				cl.Shared.Succeed(before.Clusters[ids[0]].Shared)
			}
			id := r.number(HasCluster, s, free)
			s.Clusters, numbers[i] = Put(s.Clusters, id, cl), id+1
			free = id + 1
		}
		if id, main := byKey[keyOf(u)]; main { // u is the spare of what is before it
			if cl := s.Clusters[id]; cl.Spare == 0 { // else it is kept, and so is its spare
				cl.Spare = numbers[i]
			}
			s.spares = Put(s.spares, numbers[i]-1, true)
			continue
		}
		byKey[keyOf(u)] = numbers[i] - 1
	}
	return byKey, nil
}

// addListeners gives s its listeners: those of the configuration, which keep their number by
// their address, and those that are gone, for clients that came by them before.
func (r *Registry) addListeners(s, before *Snapshot, c *config.Config) error {
	for i := range c.Listeners {
		l := &c.Listeners[i]
		id := slices.IndexFunc(before.Listeners, func(old *Listener) bool { return old != nil && !old.Gone && old.config.Address == l.Address })
		if id < 0 {
			id = r.number(HasListener, s, 0)
		}
		var old *Listener
		if HasListener(before, id) {
			old = before.Listeners[id]
		}
		own, err := compileListener(c, l, old)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", c.File, l.Line, err)
		}
		own.Of = s
		s.Listeners = Put(s.Listeners, id, own)
		s.order = append(s.order, id)
	}
	for id, old := range before.Listeners {
		if old != nil && !HasListener(s, id) && old.Of.InUse() {
			gone := *old
			gone.Gone = true
			s.Listeners = Put(s.Listeners, id, &gone)
		}
	}
	return nil
}

// identify gives routes of s the id they had before, or one that none has had.
func (r *Registry) identify(s, before *Snapshot) {
	had := make(map[string]uint64, len(before.Routes))
	for i := range before.Routes {
		had[routeKey(before.Routes[i].config)] = before.Routes[i].id
	}
	s.routeByID = make(map[uint64]int32, len(s.Routes))
	for i := range s.Routes {
		route := &s.Routes[i]
		if route.id = had[routeKey(route.config)]; route.id == 0 {
			r.routes++
			route.id = r.routes
		}
		s.routeByID[route.id] = int32(i)
	}
}

// LetGo says that a loop has s no more.
func (s *Snapshot) LetGo() { s.users.Add(-1) }

// InUse says that a loop has s, or is to get it.
func (s *Snapshot) InUse() bool { return s.users.Load() > 0 }

// Upstreams lists the upstreams, for reports.
func (s *Snapshot) Upstreams() (out []*upstream.Cluster) {
	for id, c := range s.Clusters {
		if c != nil && !(id < len(s.spares) && s.spares[id]) {
			out = append(out, c.Shared)
		}
	}
	return out
}

// ConfigOf is what one of the clusters of s is made from: of a subset with its endpoints alone.
func (s *Snapshot) ConfigOf(of *upstream.Cluster) *config.Upstream {
	for _, c := range s.Clusters {
		if c != nil && c.Shared == of {
			return c.config
		}
	}
	return nil
}

// Resolved lists those whose names are to be looked up: the upstreams, and spares of theirs.
func (s *Snapshot) Resolved() (out []*upstream.Cluster) {
	for _, c := range s.Clusters {
		if c != nil {
			out = append(out, c.Shared)
		}
	}
	return out
}

// compile makes the snapshot that comes behind before.
func (r *Registry) compile(c *config.Config, before *Snapshot) (*Snapshot, error) {
	s := &Snapshot{
		Limits: Limits{
			BodyBytes:             uint64(c.Limits.BodyBytes),
			RequestHeaderNs:       int64(c.Limits.RequestHeaderTimeout),
			RequestBodyNs:         int64(c.Limits.RequestBodyTimeout),
			SendNs:                int64(c.Limits.SendTimeout),
			MinRate:               transport.Rate(c.Limits.MinRate),
			KeepaliveNs:           int64(c.Limits.KeepaliveTimeout),
			LingerTimeoutNs:       int64(c.Limits.LingeringTimeout),
			LingerTimeNs:          int64(c.Limits.LingeringTime),
			RequestsPerConnection: uint32(c.Limits.RequestsPerConnection),
			EndHalfClosed:         c.Limits.HalfClose == "end",
		},
		HeadLimits: http1.Limits{
			HeadBytes: int(c.Limits.HeaderBytes),
			Fields:    c.Limits.Headers,
			LineBytes: min(int(c.Limits.HeaderBytes), MaxTargetBytes),
		},
		Forwarding: Forwarding{
			XForwarded: c.Forwarding.XForwarded,
			Forwarded:  c.Forwarding.Forwarded,
			XRealIP:    c.Forwarding.XRealIP,
			RequestID:  c.Forwarding.RequestID,
			MaxHops:    c.Forwarding.MaxHops,
			Trusted:    c.Forwarding.TrustedProxies,
		},
		HTTP2:      compileHTTP2(c),
		challenges: r.challenges,
		GraceNs:    int64(c.Shutdown.Grace),
		EndIdleNs:  int64(c.Shutdown.IdleTimeout),
		RemovedNs:  int64(c.RemovedGrace()),
	}
	s.Forwarding.compileNames(c.Forwarding.Drop)
	s.Forwarding.compileVia(c.Forwarding.Via)
	s.Workers = r.workers
	if err := r.addListeners(s, before, c); err != nil {
		return nil, err
	}
	byKey, err := r.addClusters(s, before, c)
	if err != nil {
		return nil, err
	}
	for i := range c.Routes {
		s.Routes = append(s.Routes, compileRoute(&c.Routes[i], byKey))
	}
	r.identify(s, before)
	s.keepSockets(before)
	for _, status := range OwnStatuses {
		s.pages[status] = newPage(status, "text/plain; charset=utf-8", fmt.Sprintf("%d %s\n", status, proto.ReasonPhrase(status)))
	}
	for status, page := range c.ErrorPages {
		s.pages[status] = newPage(status, page.ContentType, page.Body)
	}
	for _, status := range bareStatuses {
		s.bare[status] = NewResponse(status, "", nil, "")
	}
	s.compileSeries(c)
	s.loops = r.loops
	if err := s.addFilters(c, before); err != nil {
		return nil, err
	}
	s.compileFilterSeries()
	return s, s.compileRouters(c)
}
