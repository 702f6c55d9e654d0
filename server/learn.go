package server

import (
	"context"
	"crypto/tls"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"zproxy/config"
	"zproxy/proxy/snapshot"
	"zproxy/upstream"
)

const (
	// learnInterval is how often it is looked at what is to be asked.
	learnInterval = 250 * time.Millisecond
	// learnEvery is how often endpoints are asked again that do not all agree to HTTP/2, and
	// for how long at least those that have lost it are served by HTTP/1.
	learnEvery = time.Minute
	// learnSoon is how often those are that cannot be asked, or reached.
	learnSoon = 2 * time.Second
	// learnFirst is how long the start, or a reload, waits for what is asked for the first time.
	learnFirst = time.Second
)

// learner finds out what the endpoints of upstreams with protocol: auto speak, by handshakes
// of its own. What it learns is put into force as another configuration would be.
type learner struct {
	s    *Server
	stop chan struct{}
	due  map[string]time.Time // by upstream
}

func (s *Server) learn() *learner {
	l := &learner{s: s, stop: make(chan struct{}), due: map[string]time.Time{}}
	for _, u := range s.cfg().Upstreams {
		if l.due[u.Name] = time.Now().Add(learnEvery); u.Agreed == "" {
			delete(l.due, u.Name)
		}
	}
	go l.run()
	return l
}

// close does not wait: a handshake may be under way.
func (l *learner) close() { close(l.stop) }

func (l *learner) run() {
	tick := time.NewTicker(learnInterval)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			l.look(now)
		case <-l.stop:
			return
		}
	}
}

func (l *learner) look(now time.Time) {
	serves := l.s.serves.Load()
	agreed := map[string]string{}
	for _, name := range serves.snap.Lost() {
		agreed[name] = "http1"
		l.due[name] = now.Add(learnEvery)
	}
	failing := failingUpstreams(serves.snap)
	var ask []*config.Upstream
	for i := range serves.cfg.Upstreams {
		u := &serves.cfg.Upstreams[i]
		if u.Protocol == "auto" && u.Speaks() != "h2" && now.After(l.dueOf(u, failing)) {
			ask = append(ask, u)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for i, protocol := range askAll(ctx, ask) {
		if l.due[ask[i].Name] = now.Add(learnEvery); protocol == "" {
			l.due[ask[i].Name] = now.Add(learnSoon)
		} else if protocol != ask[i].Agreed {
			agreed[ask[i].Name] = protocol
		}
	}
	if len(agreed) > 0 {
		l.put(agreed)
	}
}

// dueOf is when u is to be asked: before the time where requests find its endpoints down, which
// they may be for speaking HTTP/2 alone.
func (l *learner) dueOf(u *config.Upstream, failing map[string]bool) time.Time {
	due := l.due[u.Name]
	if failing[u.Name] {
		due = due.Add(learnSoon - learnEvery)
	}
	return due
}

// failingUpstreams names those of which requests find an endpoint down.
func failingUpstreams(snap *snapshot.Snapshot) map[string]bool {
	names := map[string]bool{}
	for _, c := range snap.Upstreams() {
		if slices.ContainsFunc(c.Endpoints(), func(e *upstream.Endpoint) bool { return e.Failing() }) {
			names[c.Name()] = true
		}
	}
	return names
}

// put makes what was learnt the configuration.
func (l *learner) put(agreed map[string]string) {
	s := l.s
	s.changing.Lock()
	defer s.changing.Unlock()
	select {
	case <-l.stop:
		return
	default:
	}
	now := s.serves.Load()
	if s.state.Load() != stateReady {
		return
	}
	next := *now.cfg
	next.Upstreams = slices.Clone(now.cfg.Upstreams)
	changed := false
	for i := range next.Upstreams {
		u := &next.Upstreams[i]
		if to, ok := agreed[u.Name]; ok && u.Protocol == "auto" && u.Agreed != to {
			s.tellProtocol(u, to)
			u.Agreed, changed = to, true
		}
	}
	if !changed {
		return
	}
	if err := s.adopt(now, &next, nil, ""); err != nil {
		s.about("upstream").Error("what endpoints speak could not be put into force", "error", err.Error())
	}
}

func (s *Server) tellProtocol(u *config.Upstream, to string) {
	s.about("upstream").Info("protocol is known", "upstream", u.Name, "protocol", to, "before", u.Agreed)
}

// learnFirst asks those of which nothing is known yet, and does not wait for long.
func (s *Server) learnFirst(cfg *config.Config) {
	var ask []*config.Upstream
	for i := range cfg.Upstreams {
		if u := &cfg.Upstreams[i]; u.Protocol == "auto" && u.Agreed == "" {
			ask = append(ask, u)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), learnFirst)
	defer cancel()
	for i, protocol := range askAll(ctx, ask) {
		if protocol != "" {
			s.tellProtocol(ask[i], protocol)
		}
		ask[i].Agreed = protocol
	}
}

// keepAgreed has upstreams that are the same go on with what is known of them, and with the slots they have.
func keepAgreed(now, next *config.Config) {
	had := make(map[string]*config.Upstream, len(now.Upstreams))
	for i := range now.Upstreams {
		had[now.Upstreams[i].Name] = &now.Upstreams[i]
	}
	for i := range next.Upstreams {
		u := &next.Upstreams[i]
		old := had[u.Name]
		if u.Protocol != "auto" && u.Discover == nil || old == nil {
			continue
		}
		as := *old
		as.Agreed, as.Room = u.Agreed, u.Room
		if config.Same(&as, u) {
			u.Agreed, u.Room = old.Agreed, old.Room
		}
	}
}

// askAll asks all endpoints of all upstreams at once, as many as probes may: "h2" where all
// that answer agree to HTTP/2, "" where none answers.
func askAll(ctx context.Context, upstreams []*config.Upstream) []string {
	agreed := make([]string, len(upstreams))
	slots := make(chan struct{}, probes)
	var lock sync.Mutex
	var all sync.WaitGroup
	for i, u := range upstreams {
		configs, err := snapshot.OriginTLS(u)
		if err != nil {
			continue // which compiling says
		}
		for j := range u.Endpoints {
			all.Add(1)
			go func() {
				defer all.Done()
				slots <- struct{}{}
				protocol := askEndpoint(ctx, u, u.Endpoints[j].Address, configs[j])
				<-slots
				lock.Lock()
				defer lock.Unlock()
				if agreed[i] == "" || protocol == "http1" {
					agreed[i] = protocol
				}
			}()
		}
	}
	all.Wait()
	return agreed
}

// askEndpoint makes one handshake; "": there is none.
func askEndpoint(ctx context.Context, u *config.Upstream, address string, config *tls.Config) string {
	ctx, cancel := context.WithTimeout(ctx, u.Timeouts.Connect)
	defer cancel()
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return ""
	}
	defer conn.Close()
	own := config.Clone()
	own.NextProtos, own.ClientSessionCache = []string{"h2", "http/1.1"}, nil
	c := tls.Client(conn, own)
	if c.HandshakeContext(ctx) != nil {
		return ""
	}
	if c.ConnectionState().NegotiatedProtocol == "h2" {
		return "h2"
	}
	return "http1"
}
