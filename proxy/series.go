package proxy

import (
	"zproxy/config"
	"zproxy/metrics"
)

// otherSeries is what routes and upstreams beyond the limit are counted under.
const otherSeries = "other"

// seriesNames are the labels that routes and upstreams are counted under, at
// most the configured number of each and then one for all others.
type seriesNames struct{ routes, upstreams []string }

// compileSeries gives each route and upstream its series. Routes of one host
// and path, for other methods or listeners, share one.
func (s *Snapshot) compileSeries(c *config.Config) {
	most := c.Admin.Series
	numbers := map[string]int{}
	for i := range s.routes {
		name := c.Routes[i].Host + c.Routes[i].Path
		s.routes[i].series = uint16(number(name, numbers, &s.series.routes, most))
	}
	numbers = map[string]int{}
	for _, cl := range s.clusters {
		cl.series = uint16(number(cl.name, numbers, &s.series.upstreams, most))
	}
}

func number(name string, numbers map[string]int, names *[]string, most int) int {
	if i, ok := numbers[name]; ok {
		return i
	}
	if len(*names) >= most {
		if len(*names) == most {
			*names = append(*names, otherSeries)
		}
		return most
	}
	numbers[name] = len(*names)
	*names = append(*names, name)
	return numbers[name]
}

// SeriesNames are the labels of metrics.Loop.Routes and Upstreams.
func (s *Snapshot) SeriesNames() (routes, upstreams []string) {
	return s.series.routes, s.series.upstreams
}

// makeSeries is all the memory that counting by route and upstream takes.
func (w *Worker) makeSeries() {
	w.m.Routes = make([]metrics.Series, len(w.snap.series.routes))
	w.m.Upstreams = make([]metrics.Series, len(w.snap.series.upstreams))
}

func (w *Worker) countSeries(x *exchange, ns int64) {
	if x.route >= 0 {
		w.m.Routes[w.snap.routes[x.route].series].Count(x.status, x.reqBytes, x.respBytes, ns)
	}
	if x.cluster >= 0 {
		w.m.Upstreams[w.snap.clusters[x.cluster].series].Count(x.status, x.reqBytes, x.respBytes, ns)
	}
}
