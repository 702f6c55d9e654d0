// Package resolve keeps the addresses of named endpoints current: it asks the
// name service in the background, at an interval, and gives what it learns to
// the clusters. The loops never wait for a name.
package resolve

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"zproxy/upstream"
)

// Config of a Resolver. Zero values take the defaults named with the fields.
type Config struct {
	// Interval between two rounds; 30 s. The system's resolver does not tell
	// how long an answer holds, so this is the time a change may go unnoticed.
	Interval time.Duration
	// Timeout of one lookup, and of the first round as a whole; 5 s.
	Timeout time.Duration
	// Lookup asks for the addresses of a host; net.DefaultResolver.LookupNetIP.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	// Report is told when a host starts to fail (err), when it works again, and
	// when its addresses change (addrs, err nil). It is called from background
	// goroutines, one at a time, and must not call the Resolver.
	Report func(host string, addrs []netip.Addr, err error)
}

const (
	defaultInterval = 30 * time.Second
	defaultTimeout  = 5 * time.Second
	// retryInterval is the longest wait for a host without any address yet:
	// nothing works before it resolves.
	retryInterval = time.Second
)

var errTimeout = errors.New("no answer from the name service in time")

// Resolver looks names up until Stop.
type Resolver struct {
	cfg    Config
	hosts  []*host
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex // guards what follows and the hosts' states
	stopped bool
}

// host is one name with the endpoints that carry it.
type host struct {
	name    string
	users   []user
	busy    bool // a lookup is under way
	failing bool
	known   bool // has had addresses
}

type user struct {
	cluster  *upstream.Cluster
	endpoint int
	port     uint16
}

// Start resolves the names of all clusters once, waiting at most
// Config.Timeout, and then goes on in the background. Names that fail are
// reported, not fatal: their endpoints are down until they resolve. Without any
// name there is nothing in the background.
func Start(clusters []*upstream.Cluster, cfg Config) *Resolver {
	if cfg.Interval <= 0 {
		cfg.Interval = defaultInterval
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.Lookup == nil {
		cfg.Lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if cfg.Report == nil {
		cfg.Report = func(string, []netip.Addr, error) {}
	}
	r := &Resolver{cfg: cfg, hosts: hostsOf(clusters), done: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	if len(r.hosts) == 0 {
		close(r.done)
		return r
	}
	round := r.round()
	first := time.NewTimer(cfg.Timeout)
	defer first.Stop()
	select {
	case <-round:
	case <-first.C:
	}
	go r.run()
	return r
}

// Stop ends the background work. A lookup that hangs is not waited for; what
// it brings later is dropped, so a next Resolver may serve the same clusters.
func (r *Resolver) Stop() {
	r.cancel()
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	<-r.done
}

func hostsOf(clusters []*upstream.Cluster) []*host {
	var hosts []*host
	byName := map[string]*host{}
	for _, c := range clusters {
		for _, e := range c.Endpoints() {
			if e.Target.Host == "" {
				continue
			}
			port, err := net.LookupPort("tcp", e.Target.Port)
			if err != nil {
				continue // NewCluster has checked that it is a number
			}
			h := byName[e.Target.Host]
			if h == nil {
				h = &host{name: e.Target.Host}
				byName[h.name] = h
				hosts = append(hosts, h)
			}
			h.users = append(h.users, user{c, e.ID, uint16(port)})
			h.known = h.known || e.Generation() != 0
		}
	}
	return hosts
}

func (r *Resolver) run() {
	defer close(r.done)
	timer := time.NewTimer(r.pause())
	defer timer.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-timer.C:
		}
		r.round()
		timer.Reset(r.pause())
	}
}

// pause is the interval and up to a tenth more, so that many proxies started
// together do not ask together.
func (r *Resolver) pause() time.Duration {
	d := r.cfg.Interval
	r.mu.Lock()
	for _, h := range r.hosts {
		if !h.known {
			d = min(d, retryInterval)
		}
	}
	r.mu.Unlock()
	return d + rand.N(d/10+1)
}

// round starts a lookup of every host that has none under way. The channel is
// closed when all of them are through.
func (r *Resolver) round() <-chan struct{} {
	var wg sync.WaitGroup
	r.mu.Lock()
	for _, h := range r.hosts {
		if h.busy {
			continue
		}
		h.busy = true
		wg.Go(func() { r.lookup(h) })
	}
	r.mu.Unlock()
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	return done
}

func (r *Resolver) lookup(h *host) {
	ctx, cancel := context.WithTimeoutCause(r.ctx, r.cfg.Timeout, errTimeout)
	defer cancel()
	found, err := r.cfg.Lookup(ctx, h.name)
	// The system's resolver gives IPv4 addresses in the form of IPv6.
	addrs := make([]netip.Addr, len(found))
	for i, a := range found {
		addrs[i] = a.Unmap()
	}
	if err != nil && context.Cause(ctx) == errTimeout {
		err = errTimeout
	}
	if err == nil && len(addrs) == 0 {
		err = errors.New("the name has no address")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	h.busy = false
	if r.stopped {
		return
	}
	if err != nil {
		r.failed(h, err)
		return
	}
	changed := false
	for _, u := range h.users {
		set := make([]string, len(addrs))
		for i, a := range addrs {
			set[i] = netip.AddrPortFrom(a, u.port).String()
		}
		changed = u.cluster.Resolved(u.endpoint, set) || changed
	}
	if changed || h.failing {
		r.cfg.Report(h.name, addrs, nil)
	}
	h.failing, h.known = false, true
}

// failed keeps the last addresses; reported once, not in every round.
func (r *Resolver) failed(h *host, err error) {
	for _, u := range h.users {
		u.cluster.ResolveFailed(u.endpoint, err.Error())
	}
	if !h.failing {
		h.failing = true
		r.cfg.Report(h.name, nil, err)
	}
}
