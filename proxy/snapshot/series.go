package snapshot

import "zproxy/config"

// otherSeries is what routes and upstreams beyond the limit are counted under.
const otherSeries = "other"

// Series are the labels that routes and upstreams are counted under, at
// most the configured number of each and then one for all others.
type Series struct {
	Routes, Upstreams []string
	Of                []uint16 // by cluster: its place in upstreams

	RouteAt, UpstreamAt map[string]int // the place of each name
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

// SeriesNames are the labels of metrics.Loop.Routes and Upstreams.
func (s *Snapshot) SeriesNames() (routes, upstreams []string) {
	return s.Series.Routes, s.Series.Upstreams
}
