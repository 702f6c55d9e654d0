package discover

import (
	"context"
	"sync"
	"time"

	"zproxy/config"
	"zproxy/metrics"
	"zproxy/upstream"
)

// EventKind says what an Event tells of.
type EventKind uint8

const (
	Changed EventKind = iota // endpoints came or went
	Fails                    // the source does, with Why
	Works                    // it does again
	Empty                    // it has no endpoints, and the last ones stay
)

// Event is for the log.
type Event struct {
	Upstream       string
	Kind           EventKind
	Added, Removed int // Changed: since the last one
	Total          int // endpoints that there are
	Why            string
}

// Config of a Set. Report and Lacking are called on goroutines of the set and must not call it.
type Config struct {
	Source  func(*config.Discover) (Source, error) // of kinds that this package does not have
	Report  func(Event)
	Lacking func() // an upstream has endpoints that its cluster has no slot for, see Plan.Room
}

// Set keeps the sources of all upstreams until Stop.
type Set struct {
	cfg    Config
	ctx    context.Context
	cancel context.CancelFunc
	all    sync.WaitGroup
	plan   *Plan // that is in force
}

// New begins without any source.
func New(cfg Config) *Set {
	s := &Set{cfg: cfg, plan: new(Plan)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Stop ends all sources.
func (s *Set) Stop() {
	s.cancel()
	s.all.Wait()
}

// Plan is the sources that a configuration needs.
type Plan struct {
	feeds []*feed
	begun []*feed // those that the plan in force when it was made does not have
}

// Plan has the sources of upstreams run: those that are the same go on, others begin. Either Use or
// Abandon is called for it, before another one is made.
func (s *Set) Plan(upstreams []config.Upstream) *Plan {
	p := new(Plan)
	for i := range upstreams {
		u := &upstreams[i]
		if u.Discover == nil {
			continue
		}
		f := s.plan.feed(u.Name)
		if f == nil || !config.Same(f.spec, *u.Discover) {
			f = s.begin(u)
			p.begun = append(p.begun, f)
		}
		p.feeds = append(p.feeds, f)
	}
	return p
}

func (s *Set) begin(u *config.Upstream) *feed {
	f := &feed{set: s, name: u.Name, spec: *u.Discover, first: make(chan struct{}), wake: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(s.ctx)
	f.cancel = cancel
	s.all.Go(func() { newSource(u.Discover, s.cfg.Source).Run(ctx, f) })
	s.all.Go(func() { f.run(ctx) })
	return f
}

// Wait waits for what begins to have found something, as long as each may take.
func (p *Plan) Wait() {
	began := time.Now()
	for _, f := range p.begun {
		limit := time.NewTimer(f.spec.Wait - time.Since(began))
		select {
		case <-f.first:
		case <-limit.C:
		case <-f.set.ctx.Done():
		}
		limit.Stop()
	}
}

// fewest is how many slots there are where few are needed: a set of them is one word.
const fewest = 64

// Room has upstreams have room for what was found, and as much again for what is to come. Where there is
// enough nothing changes.
func (p *Plan) Room(upstreams []config.Upstream) {
	for i := range upstreams {
		u := &upstreams[i]
		f := p.feed(u.Name)
		if f == nil {
			continue
		}
		f.mu.Lock()
		n, lacking := len(f.list), f.lacking
		f.mu.Unlock()
		if u.Room.Slots == 0 {
			u.Room.Slots = slotsFor(n)
		} else if lacking > 0 || n > u.Room.Slots {
			u.Room = config.Room{Slots: slotsFor(n), Round: u.Room.Round + 1}
		}
	}
}

func slotsFor(n int) int {
	slots := fewest
	for slots < n+n/2 {
		slots *= 2
	}
	return min(slots, upstream.MaxSlots)
}

// Fill gives clusters that are to be in force what was found.
func (p *Plan) Fill(clusters []*upstream.Cluster) {
	for _, c := range clusters {
		if f := p.feed(c.Name()); f != nil {
			f.mu.Lock()
			c.SetEndpoints(serving(f.list, c.Config().Labels))
			f.mu.Unlock()
		}
	}
}

// Use puts p, and with it these clusters, in force.
func (s *Set) Use(p *Plan, clusters []*upstream.Cluster) {
	for _, f := range s.plan.feeds {
		if p.feed(f.name) != f {
			f.cancel()
		}
	}
	s.plan = p
	for _, f := range p.feeds {
		f.mu.Lock()
		f.clusters = nil
		for _, c := range clusters {
			if c.Name() == f.name {
				f.clusters = append(f.clusters, c)
			}
		}
		f.lacking = 0
		f.fill()
		f.mu.Unlock()
	}
}

// Abandon ends what begins with p.
func (p *Plan) Abandon() {
	for _, f := range p.begun {
		f.cancel()
	}
}

func (p *Plan) feed(upstream string) *feed {
	for _, f := range p.feeds {
		if f.name == upstream {
			return f
		}
	}
	return nil
}

// States are those of the sources.
func (p *Plan) States(now time.Time) (list []metrics.DiscoveryState) {
	for _, f := range p.feeds {
		list = append(list, f.state(now))
	}
	return list
}

// Found is how many endpoints an upstream has.
func (p *Plan) Found(upstream string) int {
	f := p.feed(upstream)
	if f == nil {
		return 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.list)
}
