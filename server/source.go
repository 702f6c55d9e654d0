package server

import (
	"fmt"
	"time"

	"zproxy/loop"
	"zproxy/metrics"
	"zproxy/proxy"
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
	case stateDraining:
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
	snap := metrics.Snapshot{Reasons: proxy.FaultNames(), Violations: proxy.ViolationNames()}
	if s.access != nil {
		snap.Gauges = append(snap.Gauges, s.access.Gauges()...)
	}
	if s.keeper != nil {
		s.keeper.report(&snap, time.Now())
	}
	clusters := s.snap.Clusters()
	for i, r := range reports {
		snap.Loops = append(snap.Loops, &r.Metrics)
		snap.States = append(snap.States, s.loopState(s.workers[i], r))
		for j, p := range r.Pools {
			snap.Pools = append(snap.Pools, metrics.PoolState{
				Loop: i, Upstream: clusters[j].Name(), Idle: uint64(p.Idle), Waiting: uint64(p.Waiting),
			})
		}
	}
	snap.RouteNames, snap.UpstreamNames = s.snap.SeriesNames()
	snap.Endpoints = s.endpoints(reports)
	return snap, nil
}

func (s *Server) endpoints(reports []*proxy.Report) []metrics.EndpointState {
	var out []metrics.EndpointState
	for i, c := range s.snap.Clusters() {
		for j, e := range c.Endpoints() {
			open := e.Open()
			up, reason := e.State(reports[0].Now)
			st := metrics.EndpointState{
				Upstream: c.Name(), Endpoint: e.Address,
				Open: uint64(open), Active: uint64(max(0, open-c.Idle(e.ID))),
				Failures: e.Failures(), Down: !up, Reason: reason,
				Broken: brokenOf(reports, i, j),
			}
			if reports[0].HTTP2[i] != nil {
				// The pool counts leaves for streams there, not connections.
				st.Open = 0
				for _, r := range reports {
					st.Open += uint64(r.HTTP2[i][j].Connections)
					st.Streams += uint64(r.HTTP2[i][j].Streams)
				}
			}
			out = append(out, st)
		}
	}
	return out
}

func (s *Server) loopState(t *workerThread, r *proxy.Report) metrics.LoopState {
	l, b, a := r.Loop, r.Buf, r.Arena
	return metrics.LoopState{
		Index: t.index, CPU: t.place.cpu, Node: t.place.node, IO: t.loop.IO().String(),
		Polls: l.Polls, Waits: l.Waits, BatchWaits: l.BatchWaits, Events: l.Events, AcceptErrors: l.AcceptErrors,
		RecvCalls: l.RecvCalls, SendCalls: l.SendCalls, ShortSends: l.ShortSends, Spliced: l.Spliced, Gathers: l.Gathers,
		NoBuffers: l.Enobufs, MailsIn: l.MailsIn, MailsFull: l.MailsFull,
		Conns: uint64(l.Conns), ConnsHigh: uint64(l.ConnsHigh), Timers: uint64(l.Timers), ConnsLimit: uint64(s.maxConns()), Parked: l.Parked,
		BlockBytes: uint64(b.BlockBytes), Blocks: uint64(b.Blocks), InUse: uint64(b.InUse), Posted: uint64(l.Posted), InUseHigh: uint64(b.InUseHigh),
		Exhausted: b.Exhausted, Grown: b.Grown, Shrunk: b.Shrunk,
		HugeBytes: uint64(a.HugeBytes), THPBytes: uint64(a.THPBytes),
		Size: uint64(a.HugeBytes + a.THPBytes + a.SmallBytes), Bound: a.Bound,
	}
}

// status is the shape of /status.
type status struct {
	Version   string                  `json:"version"`
	State     string                  `json:"state"`
	UptimeSec float64                 `json:"uptime_s"`
	Config    string                  `json:"config"`
	Listeners []string                `json:"listeners"`
	Limits    limits                  `json:"limits"`
	Loops     []loopStatus            `json:"loops"`
	Endpoints []metrics.EndpointState `json:"endpoints"`
	Error     string                  `json:"error,omitempty"`
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

// Status is what /status shows.
func (src source) Status() any {
	s := src.s
	st := status{
		Version: s.opt.Version, UptimeSec: time.Since(s.started).Seconds(), Config: s.cfg.File,
		State: [...]string{"starting", "ready", "draining"}[s.state.Load()],
	}
	st.Limits = s.limits()
	for i := range s.cfg.Listeners {
		st.Listeners = append(st.Listeners, s.cfg.Listeners[i].Address)
	}
	reports, err := s.reports()
	if err != nil {
		st.Error = err.Error()
		return st
	}
	clusters := s.snap.Clusters()
	for i, r := range reports {
		row := loopStatus{
			LoopState: s.loopState(s.workers[i], r), Fallback: s.workers[i].loop.Fallback(),
			Clients: r.Clients, Origins: r.Origins, Active: r.Exchanges,
			Requests: r.Metrics.Requests, Reuse: r.Metrics.ReuseRatio(),
		}
		for j, p := range r.Pools {
			row.Pools = append(row.Pools, poolRow{clusters[j].Name(), p.Idle, p.Waiting})
		}
		st.Loops = append(st.Loops, row)
	}
	st.Endpoints = s.endpoints(reports)
	return st
}
