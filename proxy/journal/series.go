package journal

import (
	"zproxy/proxy/snapshot"
)

// Adopt makes all the memory that counting by route and upstream takes by now. What was counted
// under a name in before goes on there.
func (j *Journal) Adopt(now, before *snapshot.Snapshot) {
	j.m.Routes = carried(now.Series.Routes, before.Series.RouteAt, j.m.Routes)
	j.m.Upstreams = carried(now.Series.Upstreams, before.Series.UpstreamAt, j.m.Upstreams)
	j.m.Filters = carried(now.Series.Filters, before.Series.FilterAt, j.m.Filters)
}

func carried[N comparable, C any](names []N, had map[N]int, counted []C) []C {
	out := make([]C, len(names))
	for i, name := range names {
		if j, ok := had[name]; ok {
			out[i] = counted[j]
		}
	}
	return out
}

// countSeries counts what began with an older snapshot under the same names, if there
// are such.
func (j *Journal) countSeries(e *Exchange, now *snapshot.Snapshot) {
	s := e.Plan
	if e.Route >= 0 {
		if i := place(s == now, int(s.Routes[e.Route].Series), s.Series.Routes, now.Series.RouteAt); i >= 0 {
			j.m.Routes[i].Count(e.Status, e.BytesIn, e.BytesOut, e.TotalNs)
		}
	}
	if e.Cluster != nil {
		if i := place(s == now, int(s.Series.Of[e.Upstream]), s.Series.Upstreams, now.Series.UpstreamAt); i >= 0 {
			j.m.Upstreams[i].Count(e.Status, e.BytesIn, e.BytesOut, e.TotalNs)
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
