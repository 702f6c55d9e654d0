package server

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"zproxy/admin"
	"zproxy/config"
	"zproxy/proxy"
	"zproxy/upstream"
)

// Process is what is known of the process as a whole.
func (src source) Process() admin.Process {
	s := src.s
	return admin.Process{
		Version: s.opt.Version, PID: os.Getpid(), State: stateNames[s.state.Load()], UptimeS: time.Since(s.started).Seconds(),
		Config: s.cfg().File, Loops: len(s.places), ByHand: len(src.byHand()),
	}
}

// Upstreams are those of the configuration.
func (src source) Upstreams() ([]admin.Upstream, error) {
	s := src.s
	reports, err := s.reports()
	if err != nil {
		return nil, err
	}
	serves := s.serves.Load()
	list := make([]admin.Upstream, len(serves.cfg.Upstreams))
	at := map[string]int{}
	for i := range serves.cfg.Upstreams {
		u := &serves.cfg.Upstreams[i]
		list[i] = admin.Upstream{Name: u.Name, Protocol: u.Speaks(), Balance: u.Balance, Found: u.Discover != nil, Endpoints: []admin.Endpoint{}}
		at[u.Name] = i
	}
	for _, r := range reports {
		for _, p := range byUpstream(r.Pools) {
			if i, ok := at[p.Upstream]; ok {
				list[i].Idle += p.Idle
				list[i].Waiting += p.Waiting
			}
		}
	}
	for _, e := range s.endpoints(reports) {
		i, ok := at[e.Upstream]
		if !ok {
			continue
		}
		state, _ := s.hand.stateOf(e.Upstream, e.Endpoint, e.Weight, e.Set)
		list[i].Endpoints = append(list[i].Endpoints, admin.Endpoint{
			Address: e.Endpoint, Up: !e.Down, Reason: e.Reason, State: state, Weight: e.Weight, WeightSet: e.Set, Grown: cmp.Or(e.Grown, 100),
			Priority: e.Priority, Backup: e.Backup, Zone: e.Zone, Connections: int(e.Open), Streams: int(e.Streams), Active: int(e.Active),
			Failures: e.Failures, Ejections: e.Ejected, ResponseUs: e.ResponseUs, Added: s.hand.isAdded(e.Upstream, e.Endpoint),
		})
	}
	return list, nil
}

func endingAt(c *upstream.Cluster, ep int) *proxy.Ending {
	return &proxy.Ending{Cluster: c, Endpoint: ep}
}

// LogLevel is that of the process log.
func (src source) LogLevel() admin.LogLevel {
	h, own := &src.s.hand, src.s.cfg().Log.Level
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.level == "" {
		return admin.LogLevel{Level: own}
	}
	return admin.LogLevel{Level: h.level, Own: own}
}

// SetLogLevel changes it; "": to what the configuration has.
func (src source) SetLogLevel(level string) error {
	s := src.s
	if _, ok := logLevels[level]; !ok && level != "" {
		return fmt.Errorf("level %q: expected info, warn or error, or nothing for that of the configuration", level)
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	s.hand.mu.Lock()
	s.hand.level, s.hand.levelAt = level, time.Now().UTC()
	s.hand.mu.Unlock()
	useLog(s, &s.cfg().Log, &s.cfg().Log)
	return nil
}

// useLog has the process log be as next says, which follows now.
func useLog(s *Server, now, next *config.Log) {
	as := s.hand.logAs(now, next)
	if h, ok := s.log.Handler().(*logHandler); ok {
		h.use(as)
	}
}

// RotateLogs makes the access log go on in a new file.
func (src source) RotateLogs() error { return src.s.ReopenLog() }

// Configuration is that of the process.
func (src source) Configuration() (c admin.Configuration, err error) {
	s := src.s
	if s.opt.Builtin {
		return c, errNoFile
	}
	text, err := os.ReadFile(s.cfg().File)
	return admin.Configuration{File: s.cfg().File, Text: string(text), ByHand: len(src.byHand())}, s.domain.explain(err)
}

// Differences are those of what is in force from the file.
func (src source) Differences() (d admin.Differences, err error) {
	s := src.s
	d.ByHand = src.byHand()
	if s.opt.Builtin {
		return d, nil
	}
	would, err := s.changeTo(admin.Change{Dry: true})
	switch {
	case err != nil:
		d.Error = err.Error()
	case !would.None():
		d.File = would.String()
	}
	return d, nil
}

// Audit writes down who has changed what, whatever the level of the log.
func (src source) Audit(a admin.Audit) {
	src.s.about("audit").Log(context.Background(), levelAudit, "change asked for", "who", a.Who, "from", a.From, "what", a.What, "outcome", a.Outcome)
}

// levelAudit is above all others, and shown as INFO.
const levelAudit = slog.LevelError + 100
