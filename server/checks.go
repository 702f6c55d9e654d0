package server

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"zproxy/config"
	"zproxy/loop"
	"zproxy/proxy/snapshot"
	"zproxy/upstream"
	"zproxy/upstream/health"
)

// checks are active health checks: what of the configuration in force they need, and what
// they say in the log.
type checks struct {
	*health.Checker
	s *Server
}

func newChecks(s *Server) *checks {
	c := &checks{s: s}
	c.Checker = health.New(health.Config{Report: c.report, Local: isLocalShortage})
	return c
}

// isLocalShortage says that err says nothing of the peer.
func isLocalShortage(err error) bool {
	var errno unix.Errno
	return errors.As(err, &errno) && loop.IsLocalShortage(errno)
}

// serve has the endpoints of what is in force checked, and waits for first checks where they are asked for.
func (c *checks) serve(serves *serving) {
	byName := map[string]*config.Upstream{}
	for i := range serves.cfg.Upstreams {
		if u := &serves.cfg.Upstreams[i]; u.HealthCheck != nil {
			byName[u.Name] = u
		}
	}
	var uses []health.Use
	for _, of := range serves.snap.Resolved() {
		u := byName[of.Name()]
		if u == nil {
			continue
		}
		if upstream.IsSubset(of) {
			u = serves.snap.ConfigOf(of)
		}
		configs, err := snapshot.OriginTLS(u)
		if err != nil {
			continue // which compiling has said
		}
		uses = append(uses, health.Use{Cluster: of, Upstream: u, TLS: configs})
	}
	c.Set(uses)
}

// report tells the log of a change. Of an upstream with a spare, or with subsets, it tells once.
func (c *checks) report(of health.Change) {
	if upstream.IsSubset(of.Cluster) || !slices.Contains(c.s.snap().Upstreams(), of.Cluster) {
		return
	}
	fields := []any{"upstream", of.Cluster.Name(), "endpoint", of.Cluster.Endpoints()[of.Endpoint].Address}
	if of.Address != fields[3] {
		fields = append(fields, "address", of.Address)
	}
	if fields = append(fields, "result", of.Why); of.Up {
		c.s.about("health_check").Info("endpoint is up", fields...)
	} else {
		c.s.about("health_check").Warn("endpoint is down", fields...)
	}
}
