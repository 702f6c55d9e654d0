package snapshot

import (
	"zproxy/config"
	"zproxy/metrics"
)

// otherSeries is what routes and upstreams beyond the limit are counted under.
const otherSeries = "other"

// Series are the labels that routes and upstreams are counted under, at
// most the configured number of each and then one for all others.
type Series struct {
	Routes, Upstreams []string
	Of                []uint16 // by cluster: its place in upstreams

	RouteAt, UpstreamAt map[string]int // the place of each name

	Filters  []metrics.FilterName
	FilterAt map[metrics.FilterName]int
}

// compileSeries gives each route and upstream its series. Routes of one host
// and path, for other methods or listeners, share one.
func (s *Snapshot) compileSeries(c *config.Config) {
	most := c.Admin.Series
	numbers := map[string]int{}
	s.Series.RouteAt = numbers
	for i := range s.Routes {
		name := c.Routes[i].Host + c.Routes[i].Path
		s.Routes[i].Series = uint16(number(name, numbers, &s.Series.Routes, most))
	}
	numbers = map[string]int{}
	s.Series.UpstreamAt = numbers
	for id, cl := range s.Clusters {
		if cl != nil {
			s.Series.Of = Put(s.Series.Of, id, uint16(number(cl.Name, numbers, &s.Series.Upstreams, most)))
		}
	}
}

func number(name string, numbers map[string]int, names *[]string, most int) int {
	if i, ok := numbers[name]; ok {
		return i
	}
	if len(*names) >= most {
		if len(*names) == most {
			*names = append(*names, otherSeries)
			if _, taken := numbers[otherSeries]; !taken {
				numbers[otherSeries] = most
			}
		}
		return most
	}
	numbers[name] = len(*names)
	*names = append(*names, name)
	return numbers[name]
}

// compileFilterSeries gives each step of each chain its series: those of one kind that routes of one series have
// share it.
func (s *Snapshot) compileFilterSeries() {
	s.Series.FilterAt = map[metrics.FilterName]int{}
	for i := range s.Routes {
		rt := &s.Routes[i]
		if rt.Chain == nil {
			continue
		}
		for j := range rt.Chain.Steps {
			name := metrics.FilterName{Route: s.Series.Routes[rt.Series], Filter: rt.Chain.Steps[j].Kind}
			at, ok := s.Series.FilterAt[name]
			if !ok {
				at = len(s.Series.Filters)
				s.Series.Filters = append(s.Series.Filters, name)
				s.Series.FilterAt[name] = at
			}
			rt.Chain.Steps[j].Series = uint16(at)
		}
		rt.Chain.Ready()
	}
}

// SeriesNames are the labels of metrics.Loop.Routes, Upstreams and Filters.
func (s *Snapshot) SeriesNames() (routes, upstreams []string, filters []metrics.FilterName) {
	return s.Series.Routes, s.Series.Upstreams, s.Series.Filters
}
