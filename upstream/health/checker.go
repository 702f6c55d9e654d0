package health

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"zproxy/config"
	"zproxy/metrics"
	"zproxy/upstream"
)

// Use is a cluster whose endpoints are to be checked.
type Use struct {
	Cluster  *upstream.Cluster
	Upstream *config.Upstream // which has a HealthCheck
	TLS      []*tls.Config    // by endpoint; nil: in clear

	spec     string         // equal specs are the same check
	resolved []uint32       // generations of the endpoints' addresses that are checked
	body     *regexp.Regexp // of the check
}

// Change tells of an endpoint's address whose state has changed.
type Change struct {
	Cluster  *upstream.Cluster
	Endpoint int
	Address  string // that requests go to
	Up       bool
	Why      string // the result that decided
}

// Config of a Checker.
type Config struct {
	// Report is told of changes, on goroutines of checks.
	Report func(Change)
	// Local says whether an error is for want of something on this machine, and so says
	// nothing of the endpoint.
	Local func(error) bool
}

const (
	// lookInterval is how often endpoints are looked at for other addresses.
	lookInterval = 100 * time.Millisecond
	// maxWait is how long a start, or a reload, waits for first checks.
	maxWait = 5 * time.Second
	// maxHistory is how many changes are kept of each address.
	maxHistory = 8
)

// Checker makes checks until Stop.
type Checker struct {
	cfg    Config
	run    func(ctx context.Context, p *probe) result
	ctx    context.Context
	cancel context.CancelFunc
	all    sync.WaitGroup

	mu      sync.Mutex // guards what follows, and the targets
	uses    []Use
	of      map[*upstream.Cluster]*Use
	targets map[key]*target
	looks   bool
}

// key tells targets apart: what is asked, in which endpoint's name, and where.
type key struct{ spec, name, address string }

// target is an address that is checked, for all endpoints that have it.
type target struct {
	probe  probe
	cancel context.CancelFunc
	first  chan struct{} // closed when the first check has ended
	users  []user
	record
	status metrics.CheckState // but for State and Against
}

// user is an endpoint with an address that is checked.
type user struct {
	use      *Use
	endpoint int
	address  string // that requests go to
}

// New begins with nothing to check.
func New(cfg Config) *Checker {
	c := &Checker{cfg: cfg, targets: map[key]*target{}}
	c.run = func(ctx context.Context, p *probe) result { return p.run(ctx, cfg.Local) }
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Stop ends all checks.
func (c *Checker) Stop() {
	c.cancel()
	c.all.Wait()
}

// Set has these clusters checked and no others. What was checked before in the same way
// keeps its state, which holds at once for a new cluster. Where no state is known and none
// is assumed it waits for the first check.
func (c *Checker) Set(uses []Use) {
	c.mu.Lock()
	c.uses, c.of = uses, map[*upstream.Cluster]*Use{}
	for i := range c.uses {
		u := &c.uses[i]
		c.of[u.Cluster] = u
		for _, e := range u.Cluster.Endpoints() {
			if !c.looks && (u.Cluster.Slots() > 0 || e.Target.Host != "") {
				c.looks = true
				c.all.Go(c.look)
			}
		}
		u.spec = specOf(u.Upstream)
		if text := u.Upstream.HealthCheck.Body; text != "" {
			u.body = regexp.MustCompile(text) // which config has checked
		}
	}
	var wait []*target
	longest := time.Duration(0)
	for _, t := range c.arrange() {
		if t.state == Unknown {
			wait = append(wait, t)
			longest = max(longest, t.probe.check.Timeout+time.Second/10)
		}
	}
	c.mu.Unlock()
	over := time.NewTimer(min(longest, maxWait))
	defer over.Stop()
	for _, t := range wait {
		select {
		case <-t.first:
		case <-over.C:
			return
		case <-c.ctx.Done():
			return
		}
	}
}

// arrange makes targets what the addresses of all endpoints are now, tells the clusters,
// and gives the targets that are new.
func (c *Checker) arrange() (begun []*target) {
	for _, t := range c.targets {
		t.users = nil
	}
	for i := range c.uses {
		u := &c.uses[i]
		u.resolved = u.resolved[:0]
		for _, e := range u.Cluster.Endpoints() {
			u.resolved = append(u.resolved, e.Generation())
			for _, address := range e.Addrs() {
				k := u.key(e, address)
				t := c.targets[k]
				if t == nil {
					t = u.target(e, k.address)
					c.targets[k] = t
					begun = append(begun, t)
				}
				t.users = append(t.users, user{u, e.ID, address})
			}
		}
	}
	for k, t := range c.targets {
		if len(t.users) == 0 {
			if t.cancel != nil {
				t.cancel()
			}
			delete(c.targets, k)
		}
	}
	for i := range c.uses {
		u := &c.uses[i]
		for _, e := range u.Cluster.Endpoints() {
			c.tell(u, e)
		}
	}
	for _, t := range begun {
		ctx, cancel := context.WithCancel(c.ctx)
		t.cancel = cancel
		c.all.Go(func() { c.check(ctx, t) })
	}
	return begun
}

// look follows what names resolve to, and which endpoints there are.
func (c *Checker) look() {
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-c.ctx.Done():
			return
		}
		c.mu.Lock()
		if c.moved() {
			c.arrange()
		}
		c.mu.Unlock()
	}
}

// moved says that an endpoint has other addresses than those that are checked.
func (c *Checker) moved() bool {
	for i := range c.uses {
		for j, e := range c.uses[i].Cluster.Endpoints() {
			if e.Generation() != c.uses[i].resolved[j] {
				return true
			}
		}
	}
	return false
}

// tell gives a cluster what is known of one of its endpoints.
func (c *Checker) tell(u *Use, e *upstream.Endpoint) {
	why := ""
	first := u.Upstream.HealthCheck.Initial != "up"
	u.Cluster.Checked(e.ID, func(address string) bool {
		t := c.targets[u.key(e, address)]
		if t == nil {
			return first
		}
		if t.status.Last != "" {
			why = t.status.Last
		}
		return t.state != Up
	}, &why)
}

// check makes the checks of one target.
func (c *Checker) check(ctx context.Context, t *target) {
	h := t.probe.check
	timer := time.NewTimer(t.firstPause(h))
	defer timer.Stop()
	for first := true; ; first = false {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		began := time.Now()
		r := c.run(ctx, &t.probe)
		if ctx.Err() != nil {
			return
		}
		changes, pause := c.took(t, began, r)
		if first {
			close(t.first)
		}
		for _, change := range changes {
			c.cfg.Report(change)
		}
		timer.Reset(max(0, pause-time.Since(began)))
	}
}

// took adds a result, and tells the clusters where it makes a difference.
func (c *Checker) took(t *target, began time.Time, r result) (changes []Change, pause time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := t.probe.check
	t.status.Last, t.status.LastAt, t.status.TookMs = r.words, stamp(began), float64(r.took.Microseconds())/1000
	if r.void {
		return nil, t.pause(h)
	}
	counter := &t.status.Failed
	if r.passed {
		counter = &t.status.Passed
	}
	*counter++
	changed := t.take(h, r.passed)
	if changed {
		t.begin(began.Add(r.took), r.words)
	}
	for _, u := range t.users {
		e := u.use.Cluster.Endpoints()[u.endpoint]
		switch {
		case changed:
			c.tell(u.use, e)
			changes = append(changes, Change{u.use.Cluster, e.ID, u.address, r.passed, r.words})
		case r.passed && t.state == Up && t.probe.isAt(u.address):
			passed(u.use.Cluster, e.ID, u.address, h.Type)
		}
	}
	return changes, t.pause(h)
}

// passed ends an outage that requests have found. That an endpoint accepts connections ends
// only one that began with connecting.
func passed(c *upstream.Cluster, endpoint int, address, kind string) {
	if kind == "tcp" {
		c.Probed(0, endpoint, true, 0)
		return
	}
	c.CheckPassed(endpoint, address)
}

// begin notes that a state has begun.
func (t *target) begin(at time.Time, why string) {
	t.status.Since = stamp(at)
	if len(t.status.History) == maxHistory {
		t.status.History = append(t.status.History[:0:0], t.status.History[1:]...)
	}
	t.status.History = append(t.status.History, metrics.CheckChange{At: t.status.Since, State: t.state.String(), Why: why})
}

func stamp(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

// States are what checks know of the addresses of an endpoint.
func (c *Checker) States(cluster *upstream.Cluster, endpoint int) (list []metrics.CheckState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.of[cluster]
	if u == nil {
		return nil
	}
	e := cluster.Endpoints()[endpoint]
	seen := map[*target]bool{nil: true}
	for _, address := range e.Addrs() {
		t := c.targets[u.key(e, address)]
		if seen[t] {
			continue
		}
		seen[t] = true
		s := t.status
		s.State, s.Against = t.state.String(), t.against
		s.History = append([]metrics.CheckChange{}, s.History...)
		list = append(list, s)
	}
	return list
}

// key is that of the target of an address of e.
func (u *Use) key(e *upstream.Endpoint, address string) key {
	return key{u.spec, e.Address, where(u.Upstream.HealthCheck, address)}
}

// where is the address that a check of an endpoint's address connects to.
func where(h *config.HealthCheck, address string) string {
	if h.Address != "" {
		return h.Address
	}
	if h.Port != 0 {
		if host, _, err := net.SplitHostPort(address); err == nil {
			return net.JoinHostPort(host, strconv.Itoa(h.Port))
		}
	}
	return address
}

func (u *Use) target(e *upstream.Endpoint, address string) *target {
	h := u.Upstream.HealthCheck
	t := &target{first: make(chan struct{}), record: record{state: initialState(h)}}
	t.probe = probe{check: h, network: "tcp", address: address, host: h.Host, protocol: u.Upstream.Protocol, body: u.body, preface: prefaceOf(u.Upstream)}
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		t.probe.network, t.probe.address = "unix", path
	}
	if u.TLS != nil && h.TLS == "upstream" {
		t.probe.tls = u.TLS[e.ID]
	}
	if t.probe.host == "" {
		t.probe.host = u.Upstream.Host
	}
	if t.probe.host == "" {
		t.probe.host = e.Address
		if strings.HasPrefix(e.Address, "unix:") {
			t.probe.host = "localhost"
		}
	}
	t.status = metrics.CheckState{Address: address, Type: h.Type, Since: stamp(time.Now())}
	return t
}

// isAt says that requests go where checks do.
func (p *probe) isAt(address string) bool {
	return p.network == "tcp" && p.address == address || p.network == "unix" && "unix:"+p.address == address
}

// specOf sums up all that a check depends on but for the endpoint.
func specOf(u *config.Upstream) string {
	var t config.UpstreamTLS
	if u.TLS != nil {
		t = *u.TLS
		if t.Client != nil {
			cert := *t.Client
			cert.Pos = config.Pos{}
			t.Client = &cert
		}
	}
	text, err := json.Marshal([]any{u.HealthCheck, u.Host, u.Protocol, u.TLS != nil, t})
	if err != nil {
		panic(fmt.Sprintf("health: %v", err)) // they are plain
	}
	sum := sha256.Sum256(text)
	return string(sum[:])
}
