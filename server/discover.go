package server

import (
	"os"
	"slices"
	"strconv"
	"time"

	"zproxy/config"
	"zproxy/upstream/discover"
	"zproxy/upstream/discover/consul"
	"zproxy/upstream/discover/kubernetes"
)

// renewInterval is how often upstreams get other slots for endpoints at the most.
const renewInterval = time.Second

// discovery is where the endpoints of upstreams are found.
type discovery struct {
	*discover.Set
	s       *Server
	lacking chan struct{}
}

func newDiscovery(s *Server) *discovery {
	d := &discovery{s: s, lacking: make(chan struct{}, 1)}
	d.Set = discover.New(discover.Config{Source: sourceOf, Report: d.report, Lacking: func() {
		select {
		case d.lacking <- struct{}{}:
		default:
		}
	}})
	return d
}

// sourceOf makes a source that is in a package of its own.
func sourceOf(d *config.Discover) (discover.Source, error) {
	if d.Kubernetes != nil {
		return kubernetes.New(d.Kubernetes), nil
	}
	return consul.New(d.Consul)
}

// plan has sources run for cfg, and waits for those that are new. cfg gets room for what they find.
func (d *discovery) plan(cfg *config.Config) *discover.Plan {
	p := d.Plan(cfg.Upstreams)
	p.Wait()
	p.Room(cfg.Upstreams)
	return p
}

// run gives upstreams other slots where all have been given away, as another configuration would.
func (d *discovery) run() {
	for {
		select {
		case <-d.lacking:
			d.renew()
		case <-d.s.over:
			return
		}
		select {
		case <-time.After(renewInterval):
		case <-d.s.over:
			return
		}
	}
}

func (d *discovery) renew() {
	s := d.s
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.state.Load() != stateReady {
		return
	}
	now := s.serves.Load()
	next := *now.cfg
	next.Upstreams = slices.Clone(now.cfg.Upstreams)
	if err := s.adopt(now, &next, nil, ""); err != nil {
		s.about("discovery").Error("upstreams could not be given room for endpoints", "error", err.Error())
	}
}

// report tells the log.
func (d *discovery) report(e discover.Event) {
	log := d.s.about("discovery")
	switch e.Kind {
	case discover.Changed:
		log.Info("endpoints have changed", "upstream", e.Upstream, "added", e.Added, "removed", e.Removed, "endpoints", e.Total)
	case discover.Fails:
		log.Warn("endpoints cannot be found, the last ones stay", "upstream", e.Upstream, "endpoints", e.Total, "error", e.Why)
	case discover.Works:
		log.Info("endpoints can be found again", "upstream", e.Upstream)
	case discover.Empty:
		log.Warn("there are no endpoints any more, the last ones stay", "upstream", e.Upstream, "endpoints", e.Total,
			"do", "set discover.empty to drain if that is what is meant")
	}
}

// discovery reads files with endpoints: one that is no good may be so by the time that it is needed.
func (k *checker) discovery() {
	for i := range k.cfg.Upstreams {
		u := &k.cfg.Upstreams[i]
		if u.Discover == nil {
			continue
		}
		if c := u.Discover.Consul; c != nil && c.TokenFile != "" {
			k.readable(u.Discover.Pos, "upstreams."+u.Name+".discover.consul.token_file", c.TokenFile)
		}
		if d := u.Discover.Kubernetes; d != nil {
			if err := kubernetes.Check(d); err != nil {
				k.warn(u.Discover.Pos, "upstreams."+u.Name+".discover.kubernetes", strconv.Quote(d.Kubeconfig), "credentials for the API server", err.Error())
			}
		}
		if u.Discover.File == nil {
			continue
		}
		key, path := "upstreams."+u.Name+".discover.file.path", u.Discover.File.Path
		if list, err := discover.ReadFile(path); err != nil {
			k.warn(u.Discover.Pos, key, strconv.Quote(path), "a list of endpoints", err.Error())
		} else if len(list) == 0 {
			k.warn(u.Discover.Pos, key, strconv.Quote(path), "endpoints in it", "there are none")
		}
	}
}

// readable warns of a file that is read while the proxy runs, and cannot be now.
func (k *checker) readable(at config.Pos, key, path string) {
	if f, err := os.Open(path); err != nil {
		k.warn(at, key, strconv.Quote(path), "a file that can be read", err.Error())
	} else {
		f.Close()
	}
}
