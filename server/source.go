package server

import (
	"cmp"
	"fmt"
	"os"
	"time"

	"zproxy/admin"
	"zproxy/config"
	"zproxy/loop"
	"zproxy/metrics"
	"zproxy/proxy"
	"zproxy/proxy/tunnel"
	"zproxy/upstream"
)

// source tells the admin pages what they show.
type source struct{ s *Server }

// reportTimeout is how long a loop may take to report: it answers between two
// events, so only a loop that hangs misses it.
const (
	reportTimeout = 2 * time.Second
	endTimeout    = 200 * time.Millisecond // when the process is to end at once
)

// collector gathers one report per loop.
type collector chan *proxy.Report

// Deliver is called on a loop's thread; the channel has room for all.
func (c collector) Deliver(r *proxy.Report) { c <- r }

// reports asks every loop for its account, in loop order.
func (s *Server) reports() ([]*proxy.Report, error) { return s.reportsWithin(reportTimeout) }

func (s *Server) reportsWithin(limit time.Duration) ([]*proxy.Report, error) {
	return s.collect(limit, proxy.AskReport)
}

func (s *Server) collect(limit time.Duration, ask func(*loop.Loop, proxy.ReportSink) bool) ([]*proxy.Report, error) {
	c := make(collector, len(s.peers))
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for i, p := range s.peers {
		for !ask(p.Loop, c) {
			select {
			case <-deadline.C:
				return nil, fmt.Errorf("loop %d: its mailbox has been full for %v", i, limit)
			case <-time.After(time.Millisecond):
			}
		}
	}
	out := make([]*proxy.Report, len(s.peers))
	for range s.peers {
		select {
		case r := <-c:
			out[r.Index] = r
		case <-deadline.C:
			return nil, fmt.Errorf("a loop did not report within %v", limit)
		}
	}
	return out, nil
}

// Ready says whether new clients are welcome.
func (src source) Ready() (bool, string) {
	switch src.s.state.Load() {
	case stateReady:
		return true, ""
	case stateLeaving, stateStandby, stateDraining:
		return false, "draining"
	}
	return false, "starting"
}

// Snapshot is everything for /metrics.
func (src source) Snapshot() (metrics.Snapshot, error) {
	s := src.s
	reports, err := s.reports()
	if err != nil {
		return metrics.Snapshot{}, err
	}
	snap := metrics.Snapshot{Reasons: proxy.FaultNames(), Violations: tunnel.ViolationNames()}
	snap.Gauges = append(snap.Gauges, s.reloads.gauges()...)
	snap.Gauges = append(snap.Gauges, s.upgrades.gauges()...)
	if a := s.access(); a != nil {
		snap.Gauges = append(snap.Gauges, a.Gauges()...)
	}
	if k := s.keeper(); k != nil {
		k.report(&snap, time.Now())
		snap.ACME = s.acme().States(time.Now())
	}
	for i, r := range reports {
		snap.Loops = append(snap.Loops, &r.Metrics)
		snap.Active += uint64(r.Exchanges)
		snap.States = append(snap.States, s.loopState(s.workers[i], r))
		for _, p := range byUpstream(r.Pools) {
			snap.Pools = append(snap.Pools, metrics.PoolState{
				Loop: i, Upstream: p.Upstream, Idle: uint64(p.Idle), Waiting: uint64(p.Waiting),
			})
		}
	}
	snap.RouteNames, snap.UpstreamNames, snap.FilterNames = s.snap().SeriesNames()
	snap.Endpoints = s.endpoints(reports)
	snap.Protocols = agreements(s.cfg())
	snap.Discovery = s.serves.Load().found.States(time.Now())
	snap.Concurrency = concurrencyOf(s.snap().Upstreams())
	return snap, nil
}

// agreements lists what is known of upstreams whose endpoints choose their protocol.
func agreements(cfg *config.Config) (list []metrics.ProtocolState) {
	for i := range cfg.Upstreams {
		if u := &cfg.Upstreams[i]; u.Protocol == "auto" {
			list = append(list, metrics.ProtocolState{Upstream: u.Name, Protocol: cmp.Or(u.Agreed, "unknown")})
		}
	}
	return list
}

// concurrencyOf lists the limits that are found out.
func concurrencyOf(upstreams []*upstream.Cluster) (list []metrics.ConcurrencyState) {
	for _, c := range upstreams {
		a := upstream.ConcurrencyOf(c)
		if a == nil {
			continue
		}
		st := a.State()
		list = append(list, metrics.ConcurrencyState{
			Upstream: upstream.Title(c), Limit: st.Limit, UnderWay: st.Under, LeastUs: uint64(st.LeastUs), LastUs: uint64(st.LastUs),
			Samples: st.Samples, Measurements: st.Measurements, Shed: st.Shed[:],
		})
	}
	return list
}

func (s *Server) endpoints(reports []*proxy.Report) []metrics.EndpointState {
	var out []metrics.EndpointState
	for _, c := range s.snap().Upstreams() {
		for j, e := range c.Endpoints() {
			if e.Vacant() && !e.Leaving() {
				continue
			}
			open := e.Open()
			up, reason := e.State(reports[0].Now)
			st := metrics.EndpointState{
				Upstream: upstream.Title(c), Endpoint: e.Address,
				Open: uint64(open), Active: uint64(max(0, open-c.Idle(e.ID))),
				Failures: e.Failures(), Ejected: e.Ejections(), ResponseUs: e.ResponseTimeUs(), Down: !up, Reason: reason,
				Broken: brokenOf(reports, c, j), Checks: s.checks.States(c, j),
			}
			st.Priority, st.Backup, st.Zone = c.RankOf(j)
			if st.Weight, st.Grown, st.Set = c.WeightOf(j); st.Grown == 100 {
				st.Grown = 0
			}
			for i, r := range reports {
				of := poolOf(r, c)
				if of == nil || of.HTTP2 == nil {
					continue
				}
				if i == 0 { // the pool counts leaves for streams there, not connections
					st.Open = 0
				}
				st.Open += uint64(of.HTTP2[j].Connections)
				st.Streams += uint64(of.HTTP2[j].Streams)
			}
			out = append(out, st)
		}
	}
	return out
}

// byUpstream adds up what a loop has under each name: what is left of an upstream that has
// changed goes with the new one.
func byUpstream(pools []proxy.PoolReport) (rows []poolRow) {
	at := map[string]int{}
	for _, p := range pools {
		name := upstream.Title(p.Cluster)
		i, ok := at[name]
		if !ok {
			i = len(rows)
			at[name] = i
			rows = append(rows, poolRow{Upstream: name})
		}
		rows[i].Idle += p.Idle
		rows[i].Waiting += p.Waiting
	}
	return rows
}

// poolOf is what a loop has of a cluster, nil: nothing.
func poolOf(r *proxy.Report, c *upstream.Cluster) *proxy.PoolReport {
	for i := range r.Pools {
		if r.Pools[i].Cluster == c {
			return &r.Pools[i]
		}
	}
	return nil
}

func (s *Server) loopState(t *workerThread, r *proxy.Report) metrics.LoopState {
	l, b, a := r.Loop, r.Buf, r.Arena
	return metrics.LoopState{
		Index: t.index, CPU: t.place.cpu, Node: t.place.node, IO: t.loop.IO().String(),
		Polls: l.Polls, Waits: l.Waits, BatchWaits: l.BatchWaits, LongTurns: l.LongTurns, LongestTurn: uint64(l.LongestTurn.Microseconds()), Events: l.Events, AcceptErrors: l.AcceptErrors,
		RecvCalls: l.RecvCalls, SendCalls: l.SendCalls, ShortSends: l.ShortSends, Spliced: l.Spliced, Gathers: l.Gathers,
		NoBuffers: l.Enobufs, MailsIn: l.MailsIn, MailsFull: l.MailsFull,
		Conns: uint64(l.Conns), ConnsHigh: uint64(l.ConnsHigh), Timers: uint64(l.Timers), ConnsLimit: uint64(s.limits().maxConns()), Parked: l.Parked,
		BlockBytes: uint64(b.BlockBytes), Blocks: uint64(b.Blocks), InUse: uint64(b.InUse), Posted: uint64(l.Posted), InUseHigh: uint64(b.InUseHigh),
		Exhausted: b.Exhausted, Grown: b.Grown, Shrunk: b.Shrunk,
		HugeBytes: uint64(a.HugeBytes), THPBytes: uint64(a.THPBytes),
		Size: uint64(a.HugeBytes + a.THPBytes + a.SmallBytes), Bound: a.Bound,
	}
}

// status is the shape of /status.
type status struct {
	Version   string                   `json:"version"`
	PID       int                      `json:"pid"`
	State     string                   `json:"state"`
	UptimeSec float64                  `json:"uptime_s"`
	Config    string                   `json:"config"`
	Listeners []string                 `json:"listeners"`
	Upgrades  upgradeStatus            `json:"upgrades"`
	Limits    limits                   `json:"limits"`
	Loops     []loopStatus             `json:"loops"`
	Upstreams []upstreamStatus         `json:"upstreams"`
	Endpoints []metrics.EndpointState  `json:"endpoints"`
	Discovery []metrics.DiscoveryState `json:"discovery,omitempty"`

	Concurrency []metrics.ConcurrencyState `json:"concurrency,omitempty"`

	Error string `json:"error,omitempty"`
}

type upstreamStatus struct {
	Upstream string `json:"upstream"`
	Protocol string `json:"protocol"` // that is spoken
	Auto     bool   `json:"auto,omitempty"`
}

type loopStatus struct {
	metrics.LoopState
	Fallback string    `json:"fallback,omitempty"`
	Clients  int       `json:"clients"`
	Origins  int       `json:"origins"`
	Requests uint64    `json:"requests"`
	Active   int       `json:"active_requests"`
	Reuse    float64   `json:"upstream_reuse_ratio"`
	Pools    []poolRow `json:"pools"`
}

type poolRow struct {
	Upstream string `json:"upstream"`
	Idle     int    `json:"idle"`
	Waiting  int    `json:"waiting"`
}

// stateNames are those of states.
var stateNames = [...]string{"starting", "ready", "leaving", "standby", "draining"}

// Change is what is asked for by the admin address.
func (src source) Change(c admin.Change) (any, error) { return src.s.changeTo(c) }

// Status is what /status shows.
func (src source) Status() any {
	s := src.s
	st := status{
		Version: s.opt.Version, UptimeSec: time.Since(s.started).Seconds(), Config: s.cfg().File,
		State: stateNames[s.state.Load()],
	}
	st.PID, st.Upgrades, st.Limits = os.Getpid(), s.upgrades.status(), s.limits()
	for i := range s.cfg().Listeners {
		st.Listeners = append(st.Listeners, s.cfg().Listeners[i].Address)
	}
	for i := range s.cfg().Upstreams {
		u := &s.cfg().Upstreams[i]
		st.Upstreams = append(st.Upstreams, upstreamStatus{u.Name, u.Speaks(), u.Protocol == "auto"})
	}
	st.Discovery, st.Concurrency = s.serves.Load().found.States(time.Now()), concurrencyOf(s.snap().Upstreams())
	reports, err := s.reports()
	if err != nil {
		st.Error = err.Error()
		return st
	}
	for i, r := range reports {
		row := loopStatus{
			LoopState: s.loopState(s.workers[i], r), Fallback: s.workers[i].loop.Fallback(),
			Clients: r.Clients, Origins: r.Origins, Active: r.Exchanges,
			Requests: r.Metrics.Requests, Reuse: r.Metrics.ReuseRatio(),
		}
		row.Pools = byUpstream(r.Pools)
		st.Loops = append(st.Loops, row)
	}
	st.Endpoints = s.endpoints(reports)
	return st
}
