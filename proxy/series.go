package proxy

import (
	"zproxy/metrics"
	"zproxy/proxy/snapshot"
)

// makeSeries is all the memory that counting by route and upstream takes. What was counted
// under a name in before goes on there.
func (jo *journal) makeSeries(before *snapshot.Snapshot) {
	now := &jo.w.snap.Series
	jo.m.Routes = carried(now.Routes, before.Series.RouteAt, jo.m.Routes)
	jo.m.Upstreams = carried(now.Upstreams, before.Series.UpstreamAt, jo.m.Upstreams)
}

func carried(names []string, had map[string]int, counted []metrics.Series) []metrics.Series {
	out := make([]metrics.Series, len(names))
	for i, name := range names {
		if j, ok := had[name]; ok {
			out[i] = counted[j]
		}
	}
	return out
}

// countSeries counts what began with an older snapshot under the same names, if there
// are such.
func (jo *journal) countSeries(x *exchange, ns int64) {
	s, now := jo.w.snapOf(x), jo.w.snap
	if x.route >= 0 {
		if i := place(s == now, int(s.Routes[x.route].Series), s.Series.Routes, now.Series.RouteAt); i >= 0 {
			jo.m.Routes[i].Count(x.status, x.reqBytes, x.respBytes, ns)
		}
	}
	if x.cluster >= 0 {
		if i := place(s == now, int(s.Series.Of[x.cluster]), s.Series.Upstreams, now.Series.UpstreamAt); i >= 0 {
			jo.m.Upstreams[i].Count(x.status, x.reqBytes, x.respBytes, ns)
		}
	}
}

// place is where the name at i of had stands among those of at; below 0: nowhere.
func place(same bool, i int, had []string, at map[string]int) int {
	if same {
		return i
	}
	if j, ok := at[had[i]]; ok {
		return j
	}
	return -1
}
