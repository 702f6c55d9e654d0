package server

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"zproxy/admin"
	"zproxy/config"
	"zproxy/upstream"
)

// What was changed by hand outlives a reload, until it is undone or the file says something else about it: about
// the weight of an endpoint, about one that was added or removed, about the level of the log. An upgrade passes it on
// to the next process; a restart ends it.

// hand is what was changed by hand, beside weights, which are the clusters'.
type hand struct {
	mu      sync.Mutex
	marks   map[endpointKey]mark
	added   []handEndpoint
	removed []handEndpoint
	level   string // of the log; "": as the file says
	levelAt time.Time
}

type endpointKey struct{ upstream, endpoint string }

// mark is what a weight that was set is meant as.
type mark struct {
	State string    `json:"state"` // StateDrained, StateDisabled; "": a weight
	Since time.Time `json:"since"`
}

// handEndpoint is an endpoint that was added, or one as the file had it when it was removed.
type handEndpoint struct {
	Upstream string          `json:"upstream"`
	Endpoint config.Endpoint `json:"endpoint"`
	Since    time.Time       `json:"since"`
}

func (h *handEndpoint) is(upstream, address string) bool {
	return h.Upstream == upstream && h.Endpoint.Address == address
}

// apply makes next what it is with what was added and removed, and says what of that is left: the file has not
// spoken on it. Nothing of next is changed that others have.
func (h *hand) apply(next *config.Config) (added, removed []handEndpoint) {
	h.mu.Lock()
	defer h.mu.Unlock()
	find := func(name string) *config.Upstream {
		for i := range next.Upstreams {
			if next.Upstreams[i].Name == name && next.Upstreams[i].Discover == nil {
				return &next.Upstreams[i]
			}
		}
		return nil
	}
	for _, a := range h.added {
		if u := find(a.Upstream); u != nil && indexOf(u, a.Endpoint.Address) < 0 {
			u.Endpoints = append(slices.Clip(u.Endpoints), a.Endpoint)
			added = append(added, a)
		}
	}
	for _, r := range h.removed {
		u := find(r.Upstream)
		if u == nil {
			continue
		}
		if i := indexOf(u, r.Endpoint.Address); i >= 0 && len(u.Endpoints) > 1 && config.Same(u.Endpoints[i], r.Endpoint) {
			u.Endpoints = slices.Delete(slices.Clone(u.Endpoints), i, i+1)
			removed = append(removed, r)
		}
	}
	return added, removed
}

func (h *hand) keep(added, removed []handEndpoint) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.added, h.removed = added, removed
}

func indexOf(u *config.Upstream, address string) int {
	return slices.IndexFunc(u.Endpoints, func(e config.Endpoint) bool { return e.Address == address })
}

// note remembers what a weight that was set is meant as.
func (h *hand) note(upstream, endpoint string, m mark) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.marks == nil {
		h.marks = map[endpointKey]mark{}
	}
	h.marks[endpointKey{upstream, endpoint}] = m
}

// stateOf is that of an endpoint with this weight.
func (h *hand) stateOf(upstream, endpoint string, weight int, set bool) (state string, since time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.marks[endpointKey{upstream, endpoint}]
	if !set || weight != 0 {
		return admin.StateEnabled, m.Since
	}
	return cmp.Or(m.State, admin.StateDrained), m.Since
}

func (h *hand) isAdded(upstream, endpoint string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.added, func(a handEndpoint) bool { return a.is(upstream, endpoint) })
}

// byHand lists what is in force.
func (src source) byHand() []admin.ByHand {
	s := src.s
	list := []admin.ByHand{}
	seen := map[endpointKey]bool{}
	for _, c := range s.snap().Upstreams() {
		for j, e := range c.Endpoints() {
			key := endpointKey{c.Name(), e.Address}
			weight, _, set := c.WeightOf(j)
			if !set || e.Vacant() || seen[key] {
				continue
			}
			seen[key] = true
			state, since := s.hand.stateOf(c.Name(), e.Address, weight, set)
			what := state
			if state == admin.StateEnabled {
				what = "weight"
			}
			list = append(list, admin.ByHand{What: what, Upstream: c.Name(), Endpoint: e.Address, Now: "weight " + strconv.Itoa(weight), File: "weight " + strconv.Itoa(upstream.ListedWeight(c, j)), Since: since})
		}
	}
	h := &s.hand
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range h.added {
		list = append(list, admin.ByHand{What: "added", Upstream: a.Upstream, Endpoint: a.Endpoint.Address, Now: "there", File: "not there", Since: a.Since})
	}
	for _, r := range h.removed {
		list = append(list, admin.ByHand{What: "removed", Upstream: r.Upstream, Endpoint: r.Endpoint.Address, Now: "not there", File: "there", Since: r.Since})
	}
	if h.level != "" {
		list = append(list, admin.ByHand{What: "log level", Now: h.level, File: s.cfg().Log.Level, Since: h.levelAt})
	}
	return list
}

// logAs is how the log is to be by next, which follows now. A level that was set by hand stays, unless the file has
// another one than before.
func (h *hand) logAs(now, next *config.Log) *config.Log {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now.Level != next.Level {
		h.level = ""
	}
	as := *next
	as.Level = cmp.Or(h.level, next.Level)
	return &as
}

// SetState has an endpoint get requests, or not.
func (src source) SetState(name, endpoint, state string) (admin.Endpoint, error) {
	s, weight := src.s, 0
	switch state {
	case admin.StateEnabled:
		weight = -1
	case admin.StateDrained, admin.StateDisabled:
	default:
		return admin.Endpoint{}, fmt.Errorf("state %q: expected enabled, drained or disabled", state)
	}
	if err := src.weigh(admin.Weight{Upstream: name, Endpoint: endpoint, Weight: weight}, state); err != nil {
		return admin.Endpoint{}, err
	}
	if state == admin.StateDisabled {
		for _, c := range s.snap().Resolved() {
			if c.Name() == name {
				src.endAllAt(c, endpoint)
			}
		}
	}
	return src.endpoint(name, endpoint)
}

// endAllAt ends what goes on at an endpoint.
func (src source) endAllAt(c *upstream.Cluster, endpoint string) {
	for j, e := range c.Endpoints() {
		if e.Vacant() || e.Address != endpoint {
			continue
		}
		for i := range src.s.peers {
			_ = src.end(i, endingAt(c, j)) // there may be nothing, or the loop ends
		}
	}
}

// endpoint is one of an upstream.
func (src source) endpoint(name, address string) (admin.Endpoint, error) {
	all, err := src.Upstreams()
	for _, u := range all {
		for _, e := range u.Endpoints {
			if u.Name == name && e.Address == address {
				return e, nil
			}
		}
	}
	return admin.Endpoint{}, cmp.Or(err, admin.ErrNotFound)
}

// AddEndpoint has an upstream with one more endpoint.
func (src source) AddEndpoint(name string, e admin.NewEndpoint) (admin.Endpoint, error) {
	own := config.Endpoint{Address: e.Address, Weight: cmp.Or(e.Weight, 1), Priority: e.Priority, Backup: e.Backup, Zone: e.Zone}
	_, err := upstream.ParseAddress(e.Address)
	switch {
	case err != nil:
		return admin.Endpoint{}, err
	case own.Weight < 1 || own.Weight > 256:
		return admin.Endpoint{}, fmt.Errorf("weight %d: expected 1 to 256", own.Weight)
	}
	err = src.changeUpstream(name, func(u *config.Upstream) error {
		if indexOf(u, e.Address) >= 0 {
			return fmt.Errorf("upstream %q has endpoint %q already", name, e.Address)
		}
		if len(u.Endpoints) >= config.MaxEndpoints {
			return fmt.Errorf("upstream %q has %d endpoints, which is the most that there can be", name, len(u.Endpoints))
		}
		u.Endpoints = append(slices.Clip(u.Endpoints), own)
		return nil
	}, func(h *hand) {
		for i := range h.removed {
			if r := &h.removed[i]; r.is(name, e.Address) {
				same := config.Same(r.Endpoint, own)
				h.removed = slices.Delete(h.removed, i, i+1)
				if same {
					return // what was removed is back
				}
				break
			}
		}
		h.added = append(h.added, handEndpoint{name, own, time.Now().UTC()})
	})
	if err != nil {
		return admin.Endpoint{}, err
	}
	return src.endpoint(name, e.Address)
}

// RemoveEndpoint has an upstream without one of its endpoints.
func (src source) RemoveEndpoint(name, address string) error {
	var was config.Endpoint
	return src.changeUpstream(name, func(u *config.Upstream) error {
		i := indexOf(u, address)
		switch {
		case i < 0:
			return admin.ErrNotFound
		case len(u.Endpoints) == 1:
			return fmt.Errorf("%s is the last endpoint of upstream %q: drain it instead", address, name)
		}
		was = u.Endpoints[i]
		u.Endpoints = slices.Delete(slices.Clone(u.Endpoints), i, i+1)
		return nil
	}, func(h *hand) {
		delete(h.marks, endpointKey{name, address})
		for i := range h.added {
			if h.added[i].is(name, address) {
				h.added = slices.Delete(h.added, i, i+1)
				return
			}
		}
		h.removed = append(h.removed, handEndpoint{name, was, time.Now().UTC()})
	})
}

// changeUpstream puts a configuration in force in which change has changed an upstream.
func (src source) changeUpstream(name string, change func(*config.Upstream) error, note func(*hand)) error {
	s := src.s
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.state.Load() != stateReady {
		return errEnding
	}
	now := s.serves.Load()
	next := *now.cfg
	next.Upstreams = slices.Clone(now.cfg.Upstreams)
	i := slices.IndexFunc(next.Upstreams, func(u config.Upstream) bool { return u.Name == name })
	if i < 0 {
		return admin.ErrNotFound
	}
	u := &next.Upstreams[i]
	if u.Discover != nil {
		return fmt.Errorf("the endpoints of upstream %q are found by %s: they come and go there", name, u.Discover.Kind())
	}
	if err := change(u); err != nil {
		return err
	}
	if err := s.adopt(now, &next, nil, ""); err != nil {
		return err
	}
	s.hand.mu.Lock()
	note(&s.hand)
	s.hand.mu.Unlock()
	return nil
}
