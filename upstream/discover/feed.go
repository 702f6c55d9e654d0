package discover

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"zproxy/config"
	"zproxy/metrics"
	"zproxy/upstream"
)

const (
	// applyInterval is how often the endpoints of an upstream change at the most: what comes
	// faster is taken together.
	applyInterval = 100 * time.Millisecond
	// tellInterval is the same for what the log is told.
	tellInterval = time.Second
)

// feed is a source, with what it has found and the clusters that have it.
type feed struct {
	set    *Set
	name   string // of the upstream
	spec   config.Discover
	cancel context.CancelFunc
	first  chan struct{} // closed when the source has told something
	wake   chan struct{} // there is something to apply

	mu       sync.Mutex // guards what follows, and the changes of clusters
	fresh    []Endpoint // what was found last, if there is any that is not applied
	any      bool       // fresh is such
	list     []Endpoint
	clusters []*upstream.Cluster // that are in force: the upstream and its subsets; nil: none yet
	lacking  int
	heard    time.Time // when the source last worked
	failing  string    // why it does not, "": it does
	ignored  bool      // it says that there are none, and the last ones stay
	counts   struct{ updates, failures uint64 }

	told struct { // what the log knows
		at             time.Time
		added, removed int // since
	}
}

func (f *feed) Found(list []Endpoint) {
	list, err := tidied(list)
	if err != nil {
		f.Failed(err)
		return
	}
	f.mu.Lock()
	f.works()
	f.fresh, f.any = list, true
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *feed) Same() {
	f.mu.Lock()
	f.works()
	f.mu.Unlock()
}

// works notes that the source does.
func (f *feed) works() {
	f.heard = time.Now()
	if f.failing != "" {
		f.failing = ""
		f.set.cfg.Report(Event{Upstream: f.name, Kind: Works})
	}
}

func (f *feed) Failed(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts.failures++
	if why := err.Error(); f.failing != why {
		f.failing = why
		f.set.cfg.Report(Event{Upstream: f.name, Kind: Fails, Why: why, Total: len(f.list)})
	}
	f.begun()
}

// begun notes that there is no reason to wait any longer.
func (f *feed) begun() {
	select {
	case <-f.first:
	default:
		close(f.first)
	}
}

// run applies what is found.
func (f *feed) run(ctx context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	tell := time.NewTimer(tellInterval)
	defer tell.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tell.C:
			f.mu.Lock()
			f.tell()
			f.mu.Unlock()
			continue
		case <-f.wake:
		}
		f.mu.Lock()
		f.apply()
		if f.told.added+f.told.removed > 0 && !f.tell() {
			tell.Reset(tellInterval)
		}
		f.mu.Unlock()
		pause.Reset(applyInterval)
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
	}
}

// apply gives the cluster what was found last.
func (f *feed) apply() {
	list := f.fresh
	if !f.any {
		return
	}
	f.fresh, f.any = nil, false
	defer f.begun()
	if len(list) == 0 && len(f.list) > 0 && f.spec.Empty == "keep" {
		if !f.ignored {
			f.ignored = true
			f.set.cfg.Report(Event{Upstream: f.name, Kind: Empty, Total: len(f.list)})
		}
		return
	}
	f.ignored = false
	if sameList(list, f.list) {
		return
	}
	f.counts.updates++
	added, removed := difference(f.list, list)
	f.told.added, f.told.removed = f.told.added+added, f.told.removed+removed
	f.list = list
	f.fill()
}

// fill makes what was found the endpoints of the clusters.
func (f *feed) fill() {
	if f.clusters == nil {
		return
	}
	was := f.lacking
	f.lacking = 0
	for _, c := range f.clusters {
		f.lacking = max(f.lacking, c.SetEndpoints(serving(f.list, c.Config().Labels)))
	}
	if f.lacking > 0 && was == 0 {
		f.set.cfg.Lacking()
	}
}

// tell has the log told what has changed; false: not yet.
func (f *feed) tell() bool {
	if time.Since(f.told.at) < tellInterval {
		return false
	}
	if f.told.added+f.told.removed > 0 {
		f.set.cfg.Report(Event{Upstream: f.name, Kind: Changed, Added: f.told.added, Removed: f.told.removed, Total: len(f.list)})
		f.told.at, f.told.added, f.told.removed = time.Now(), 0, 0
	}
	return true
}

// difference counts what is in one of two lists alone, by address.
func difference(before, after []Endpoint) (added, removed int) {
	i, j := 0, 0
	for i < len(before) && j < len(after) {
		switch a, b := before[i].Address, after[j].Address; {
		case a == b:
			i, j = i+1, j+1
		case a < b:
			i, removed = i+1, removed+1
		default:
			j, added = j+1, added+1
		}
	}
	return added + len(after) - j, removed + len(before) - i
}

// state is for metrics and pages.
func (f *feed) state(now time.Time) metrics.DiscoveryState {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := metrics.DiscoveryState{
		Upstream: f.name, Kind: f.spec.Kind(), Updates: f.counts.updates, Failures: f.counts.failures,
		AgeSec: -1, Failing: f.failing, Kept: f.ignored, Lacking: f.lacking,
		Endpoints: make([]metrics.DiscoveredEndpoint, len(f.list)),
	}
	if !f.heard.IsZero() {
		s.AgeSec = now.Sub(f.heard).Seconds()
	}
	for i, e := range f.list {
		s.Endpoints[i] = metrics.DiscoveredEndpoint{Address: e.Address, Weight: e.Weight, Priority: e.Priority, Backup: e.Backup, Zone: e.Zone, Draining: e.Draining}
		for _, name := range slices.Sorted(maps.Keys(e.Labels)) {
			s.Endpoints[i].Labels = append(s.Endpoints[i].Labels, metrics.DiscoveredLabel{Name: name, Value: e.Labels[name]})
		}
		if e.Draining {
			s.Draining++
		}
	}
	return s
}
