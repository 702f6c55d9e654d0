package server

import (
	"time"

	"zproxy/proxy"
	"zproxy/proxy/snapshot"
	"zproxy/upstream"
)

const (
	// watchInterval is how often the health of the endpoints is looked at.
	watchInterval = 250 * time.Millisecond
	// troublesEvery is how often the loops are asked for their troubles.
	troublesEvery = 2 * time.Second
)

// watcher tells the log which endpoints fail and which are back, also when no
// request has met them yet: a prewarmed connection that cannot be made is the
// first sign of a wrong address.
type watcher struct {
	s       *Server
	stop    chan struct{}
	failing map[*upstream.Endpoint]bool // of the endpoints of of
	of      *snapshot.Snapshot
}

func (s *Server) watch() *watcher {
	w := &watcher{s: s, stop: make(chan struct{}), failing: map[*upstream.Endpoint]bool{}}
	go w.run()
	if s.notifier.watchdog > 0 {
		go w.keepAlive(s.notifier.watchdog / 2)
	}
	return w
}

// close does not wait: a loop that has just ended may owe the watcher a report.
func (w *watcher) close() { close(w.stop) }

func (w *watcher) run() {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	short := shortages{s: w.s}
	broken := brokenOrigins{s: w.s, of: map[brokenKey]*brokenTold{}}
	var next time.Time
	prober := newProber(w.s)
	for {
		select {
		case now := <-tick.C:
			w.look()
			w.readmit()
			w.grow()
			prober.look(w.failing)
			if now.Before(next) {
				continue
			}
			next = now.Add(troublesEvery)
			if reports, err := w.s.collect(reportTimeout, proxy.AskTroubles); err == nil { // else the loops are ending
				short.look(now, reports)
				broken.look(now, reports)
			}
		case <-w.stop:
			return
		}
	}
}

// grow lets the shares of endpoints grow that have come up.
func (w *watcher) grow() {
	for _, c := range w.s.snap().Resolved() {
		c.Grow(int64(time.Since(w.s.started)))
	}
}

// readmit gives requests to endpoints again whose ejection is over.
func (w *watcher) readmit() {
	for _, c := range w.s.snap().Resolved() {
		if c.Ejected() == 0 {
			continue
		}
		now, ok := w.s.loopNow()
		if !ok {
			return // the loops are ending
		}
		c.Readmit(now)
	}
}

// look goes through the endpoints that there are, and forgets others.
func (w *watcher) look() {
	if s := w.s.snap(); s != w.of {
		known := map[*upstream.Endpoint]bool{}
		for _, c := range s.Upstreams() {
			for _, e := range c.Endpoints() {
				known[e] = w.failing[e]
			}
		}
		w.of, w.failing = s, known
	}
	for _, c := range w.of.Upstreams() {
		for _, e := range c.Endpoints() {
			if failing := e.Failing(); failing != w.failing[e] {
				w.failing[e] = failing
				w.report(c, e)
			}
		}
	}
}

// report logs a change. The loops' clock says when the next try is, so one of
// them is asked.
func (w *watcher) report(c *upstream.Cluster, e *upstream.Endpoint) {
	reports, err := w.s.reports()
	if err != nil {
		return // the loops are ending
	}
	if up, reason := e.State(reports[0].Now); up {
		w.s.about("upstream").Info("endpoint is back", "upstream", upstream.Title(c), "endpoint", e.Address)
	} else {
		w.s.about("upstream").Warn("endpoint is down", "upstream", upstream.Title(c), "endpoint", e.Address, "reason", reason)
	}
}
