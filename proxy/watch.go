package proxy

import (
	"net/netip"

	"zproxy/loop"
	"zproxy/proxy/journal"
)

// What has become of requests, for people: of those that failed the last ones, and of those that a trace is of all.
// Of any other one nothing is kept.

// Ended is a request that is over.
type Ended struct {
	WallMs   int64 // when
	Client   netip.AddrPort
	HTTP2    bool
	Method   string
	Asked    Asked
	Route    string
	Upstream string
	Endpoint string
	Status   uint16 // 0: its client went away before
	Reason   string // why the proxy answered, or ended it; "": it did not
	Reused   bool   // its connection to the endpoint had served before
	Retries  int
	In, Out  uint64 // bytes of content

	// From when its head had come until the origin was given it, and until all was over; how long connecting
	// took, and the origin from then to the head of its response. ns; 0: that has not happened.
	GivenNs, TotalNs, ConnectNs, ResponseNs int64
}

// failuresKept is how many failed requests a worker keeps.
const failuresKept = 32

// watch is what a worker keeps of requests that are over.
type watch struct {
	part
	trace    *Trace // nil: none
	failures []Ended
	failed   uint64 // so far; the last one lies in front of it in failures, which is a ring
}

// Trace asks a worker for what becomes of requests until another Trace, or nil, takes its place. It is the
// worker's until Finished is told.
type Trace struct {
	Client   netip.Prefix // not valid: any
	Route    string       // "": any
	Rows     []Ended      // what has no room in it is counted in Lost
	Lost     int
	Finished Finished
}

// AskTrace has the worker of l begin with t, and give back the trace before. nil: none is to follow. Any thread.
func AskTrace(l *loop.Loop, t *Trace) bool { return l.Post(loop.Mail{Kind: mailTrace, Ref: t}) }

// Failures are the last requests of a worker that failed, the newest first.
type Failures struct {
	Loop     int
	Rows     []Ended
	Finished Finished
}

// AskFailures has the worker of l fill in f, and tell f.Finished. Any thread.
func AskFailures(l *loop.Loop, f *Failures) bool {
	return l.Post(loop.Mail{Kind: mailFailures, Ref: f})
}

func (wt *watch) begin(t *Trace) {
	if old := wt.trace; old != nil {
		old.Finished.Finished()
	}
	wt.trace = t
}

func (wt *watch) report(f *Failures) {
	for n := uint64(0); n < min(wt.failed, failuresKept); n++ {
		f.Rows = append(f.Rows, wt.failures[(wt.failed-1-n)%failuresKept])
	}
	f.Finished.Finished()
}

// wants says that of a request with this end something is kept.
func (wt *watch) wants(status uint16, why string) bool {
	return status >= 500 || why != "" && status < 400 || wt.trace != nil
}

// note keeps an exchange at its end. c.x still names it.
func (wt *watch) note(c *client, x *exchange, e *journal.Exchange) {
	t := wt.trace
	traced := t != nil && (t.Route == "" || t.Route == wt.w.inspector.routeOf(x)) && (!t.Client.IsValid() || t.Client.Contains(wt.w.legs.peer(c).Addr().Unmap()))
	failed := e.Status >= 500 || e.Reason != "" && e.Status < 400
	if !traced && !failed {
		return
	}
	r := Ended{
		WallMs: wt.l.WallMs(), Client: wt.w.legs.peer(c), HTTP2: c.isStream(), Method: x.method.String(), Route: wt.w.inspector.routeOf(x),
		Status: e.Status, Reason: e.Reason, Reused: e.Reused, In: e.BytesIn, Out: e.BytesOut,
		TotalNs: e.TotalNs, ConnectNs: e.ConnectNs, ResponseNs: e.ResponseNs,
	}
	if e.Cluster != nil {
		r.Upstream = e.Cluster.Name
		if e.Endpoint >= 0 {
			r.Endpoint = e.Cluster.Shared.Endpoints()[e.Endpoint].Address
		}
	}
	if x.flags&xHeadGiven != 0 {
		r.GivenNs = int64(x.askedUs) * 1000
	}
	wt.w.inspector.askedOf(c.x, x, &r.Asked)
	if traced && len(t.Rows) == cap(t.Rows) {
		t.Lost++
	} else if traced {
		t.Rows = append(t.Rows, r)
	}
	if failed {
		if wt.failures == nil {
			wt.failures = make([]Ended, failuresKept)
		}
		wt.failures[wt.failed%failuresKept] = r
		wt.failed++
	}
}
